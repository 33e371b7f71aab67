use std::time::Duration;

use proptest::prelude::*;
use ratatui::crossterm::event::KeyCode;

use super::*;
use crate::runtime::top::{Ended, Tally};

/// The tutorial's calls: through the ingress to foo, from foo to bar and baz, from bar to baz.
pub fn tally(rounds: u64) -> Tally {
    let mut tally = Tally::default();
    for round in 0..rounds {
        for pod in ["dcsb9", "vk4zs", "xq4f5"] {
            let baz = format!("baz-r4ztlznw6h-{pod}");
            tally.count(call("foo-smmjpjtf8r-8jn5x", &baz, "/demo.Baz/GetInfo"), &ended(0, 400 + round));
            tally.count(call("bar-97fcltr8vj-tgzwk", &baz, "/demo.Baz/GetInfo"), &ended(0, 350 + round * 9));
        }
        tally.count(
            call("foo-smmjpjtf8r-8jn5x", "bar-97fcltr8vj-tgzwk", "/demo.Bar/GetInfo"),
            &ended(if round % 8 == 0 { 14 } else { 0 }, 2_900),
        );
        let mut to_foo = call("ingress-nginx.ingress-nginx", "foo-smmjpjtf8r-8jn5x", "/");
        (to_foo.method, to_foo.protocol) = ("GET".to_owned(), "http".to_owned());
        tally.count(to_foo, &Ended { grpc_status: None, ..ended(0, 4_180) });
    }
    tally
}

/// Calls of somebody who may not.
pub fn refused(tally: &mut Tally, times: u64) {
    let refused = Ended { denied: true, ..ended(7, 91) };
    for _ in 0..times {
        tally.count(call("synthetic.default", "baz-r4ztlznw6h-vk4zs", "/demo.Baz/GetInfo"), &refused);
    }
}

pub fn call(source: &str, destination: &str, path: &str) -> Call {
    let deployment = |pod: &str| pod.split_once('-').map(|(deployment, _)| deployment.to_owned());
    Call {
        source: source.to_owned(),
        source_deployment: deployment(source),
        destination: destination.to_owned(),
        destination_deployment: deployment(destination),
        protocol: "grpc".to_owned(),
        method: "POST".to_owned(),
        path: path.to_owned(),
    }
}

pub fn ended(grpc_status: i32, micros: u64) -> Ended {
    let latency = Duration::from_micros(micros);
    Ended { status: Some(200), grpc_status: Some(grpc_status), broken: false, denied: false, latency }
}

/// A view that was told that.
pub fn told(tally: &Tally, seconds: u64) -> View {
    let mut view = View::new(None);
    view.tell(tally.top(Duration::from_secs(seconds), false));
    view.fit(20);
    view
}

pub fn press(view: &mut View, keys: impl IntoIterator<Item = KeyCode>) {
    for key in keys {
        assert_eq!(view.press(key.into()), Next::Stay);
    }
}

fn typed(text: &str) -> impl Iterator<Item = KeyCode> + '_ {
    text.chars().map(KeyCode::Char)
}

/// The rows' sources, and destinations' last letters.
fn rows(view: &View) -> Vec<String> {
    let short = |rated: &&Rated| {
        let call = &rated.row.call;
        format!("{} {}", &call.source[..3], &call.destination[call.destination.len() - 5..])
    };
    view.rows().iter().map(short).collect()
}

#[test]
fn it_is_sorted_by_any_column_the_largest_number_first_and_reversed() {
    let mut tally = tally(16);
    refused(&mut tally, 3);
    let mut view = told(&tally, 4);
    assert_eq!((view.sort, rows(&view).last().unwrap().as_str()), (Column::Count, "syn vk4zs"));
    press(&mut view, typed("r"));
    assert_eq!(rows(&view)[0], "syn vk4zs", "the rarest first");
    press(&mut view, [KeyCode::Right, KeyCode::Right]);
    assert_eq!((view.sort, view.is_descending()), (Column::Worst, true));
    assert_eq!(rows(&view)[0], "ing 8jn5x");
    press(&mut view, [KeyCode::Left; 7]);
    assert_eq!((view.sort, view.is_descending()), (Column::Source, false));
    assert_eq!(rows(&view)[0], "bar dcsb9");
    press(&mut view, [KeyCode::Left]);
    assert_eq!((view.sort, rows(&view)[0].as_str()), (Column::Denied, "syn vk4zs"));
}

#[test]
fn the_filter_wants_each_word_and_is_dropped_by_escape() {
    let mut view = told(&tally(4), 1);
    press(&mut view, typed("/FOO getinfo"));
    assert_eq!(rows(&view).len(), 4, "foo to bar, and to each baz");
    press(&mut view, [KeyCode::Enter]);
    assert!(!view.typing && view.filter == "FOO getinfo");
    press(&mut view, typed("/q"));
    assert_eq!((rows(&view).len(), view.filter.as_str()), (0, "FOO getinfoq"), "letters are no commands now");
    press(&mut view, [KeyCode::Backspace, KeyCode::Esc]);
    assert_eq!((rows(&view).len(), view.filter.as_str(), view.typing), (8, "", false));
    assert_eq!(view.press(KeyCode::Esc.into()), Next::Quit);
}

#[test]
fn q_escape_and_control_c_quit_the_last_also_while_the_filter_is_typed() {
    let mut view = told(&tally(1), 1);
    assert_eq!(view.press(KeyCode::Char('q').into()), Next::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.press(interrupt), Next::Quit);
    press(&mut view, typed("/b"));
    assert_eq!(view.press(interrupt), Next::Quit);
    assert_eq!(view.press(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)), Next::Stay);
    assert_eq!(view.filter, "");
}

#[test]
fn a_pause_holds_what_is_shown_and_then_the_latest_is_there() {
    let mut view = told(&tally(1), 1);
    press(&mut view, typed(" "));
    view.tell(tally(9).top(Duration::from_secs(2), false));
    assert_eq!((view.paused, view.rows()[0].row.count, view.seconds), (true, 1, 1.0));
    press(&mut view, typed(" "));
    assert_eq!((view.paused, view.rows()[0].row.count, view.seconds), (false, 9, 2.0));
}

#[test]
fn calls_a_second_are_those_of_the_last_seconds() {
    let mut view = View::new(None);
    let rps = |view: &View| view.rows()[0].rps;
    for second in 1..=10 {
        view.tell(tally(second * 3).top(Duration::from_secs(second), false));
        assert!((rps(&view) - 3.0).abs() < 1e-9);
    }
    for (second, left) in (11..=15).zip([4, 3, 2, 1, 0]) {
        view.tell(tally(30).top(Duration::from_secs(second), false));
        assert!((rps(&view) - f64::from(left) * 3.0 / 5.0).abs() < 1e-9, "{second}: {}", rps(&view));
    }
    assert!(view.told.len() <= 6, "what is older is not kept");
}

#[test]
fn it_scrolls_as_far_as_there_are_rows() {
    let mut view = told(&tally(2), 1);
    view.fit(3);
    let mut above = |keys: &[KeyCode]| {
        press(&mut view, keys.iter().copied());
        view.fit(3);
        view.above
    };
    assert_eq!(above(&[KeyCode::Up]), 0);
    assert_eq!(above(&[KeyCode::Down, KeyCode::Down]), 2);
    assert_eq!(above(&[KeyCode::PageDown]), 5, "8 rows, 3 seen");
    assert_eq!(above(&[KeyCode::Down]), 5);
    assert_eq!(above(&[KeyCode::PageUp, KeyCode::Up]), 1);
    assert_eq!(above(&[KeyCode::End]), 5);
    assert_eq!(above(&[KeyCode::Home]), 0);
}

proptest! {
    /// Whatever is typed: no panic, and sorting and pausing lose no row.
    #[test]
    fn any_keys_leave_a_view_that_can_be_shown(
        keys in prop::collection::vec(
            prop_oneof![
                any::<char>().prop_map(KeyCode::Char),
                prop::sample::select(vec![
                    KeyCode::Left, KeyCode::Right, KeyCode::Up, KeyCode::Down, KeyCode::PageUp, KeyCode::PageDown,
                    KeyCode::Home, KeyCode::End, KeyCode::Enter, KeyCode::Backspace, KeyCode::Esc, KeyCode::Tab,
                    KeyCode::Char('/'), KeyCode::Char(' '), KeyCode::Char('r'),
                ]),
            ],
            0..40,
        ),
        page in 0..12_usize,
    ) {
        let mut view = told(&tally(2), 1);
        for key in keys {
            let _ = view.press(key.into());
        }
        view.fit(page);
        prop_assert!(view.above <= 8);
        prop_assert!(!view.filter.is_empty() || view.rows().len() == 8);
    }
}
