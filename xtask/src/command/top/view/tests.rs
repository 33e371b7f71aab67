use proptest::prelude::*;
use ratatui::crossterm::event::KeyCode;

use super::*;
use crate::runtime::top::Row;

/// The tutorial's calls, so many times, told after so long: through the ingress to foo, from foo to bar and baz, from
/// bar to baz. Each eighth from foo to bar fails.
pub fn calls(times: u64, seconds: u32) -> Top {
    let (foo, bar) = ("foo-smmjpjtf8r-8jn5x", "bar-97fcltr8vj-tgzwk");
    let mut rows = Vec::new();
    for baz in ["baz-r4ztlznw6h-dcsb9", "baz-r4ztlznw6h-vk4zs", "baz-r4ztlznw6h-xq4f5"] {
        rows.push(Row { worst_ms: 3.1, ..row(foo, baz, "/demo.Baz/GetInfo", times) });
        rows.push(Row { best_ms: 0.35, ..row(bar, baz, "/demo.Baz/GetInfo", times) });
    }
    let failed = times.div_ceil(8);
    rows.push(Row { successes: times - failed, worst_ms: 7.01, ..row(foo, bar, "/demo.Bar/GetInfo", times) });
    let mut to_foo = Row { worst_ms: 12.9, ..row("ingress-nginx.ingress-nginx", foo, "/", times) };
    (to_foo.call.method, to_foo.call.protocol) = ("GET".to_owned(), "http".to_owned());
    rows.push(to_foo);
    Top { seconds: f64::from(seconds), rows, ..Top::default() }
}

/// And calls of somebody who may not.
pub fn refused(mut top: Top, times: u64) -> Top {
    let row = row("synthetic.default", "baz-r4ztlznw6h-vk4zs", "/demo.Baz/GetInfo", times);
    top.rows.push(Row { denied: times, ..row });
    top
}

pub fn row(source: &str, destination: &str, path: &str, count: u64) -> Row {
    let deployment = |pod: &str| pod.split_once('-').map(|(deployment, _)| deployment.to_owned());
    let call = Call {
        source: source.to_owned(),
        source_deployment: deployment(source),
        destination: destination.to_owned(),
        destination_deployment: deployment(destination),
        protocol: "grpc".to_owned(),
        method: "POST".to_owned(),
        path: path.to_owned(),
    };
    Row { call, count, successes: count, denied: 0, best_ms: 0.42, worst_ms: 2.5, last_ms: 0.96 }
}

/// A view that was told that.
pub fn told(top: Top) -> View {
    let mut view = View::new(None);
    view.tell(top);
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
    let mut view = told(refused(calls(16, 4), 3));
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
    let mut view = told(calls(4, 1));
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
    let mut view = told(calls(1, 1));
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
    let mut view = told(calls(1, 1));
    press(&mut view, typed(" "));
    view.tell(calls(9, 2));
    assert_eq!((view.paused, view.rows()[0].row.count, view.seconds), (true, 1, 1.0));
    press(&mut view, typed(" "));
    assert_eq!((view.paused, view.rows()[0].row.count, view.seconds), (false, 9, 2.0));
}

#[test]
fn calls_a_second_are_those_of_the_last_seconds() {
    let mut view = View::new(None);
    let rps = |view: &View| view.rows()[0].rps;
    for second in 1..=10_u32 {
        view.tell(calls(u64::from(second) * 3, second));
        assert!((rps(&view) - 3.0).abs() < 1e-9);
    }
    for (second, left) in (11..=15_u32).zip([4, 3, 2, 1, 0]) {
        view.tell(calls(30, second));
        assert!((rps(&view) - f64::from(left) * 3.0 / 5.0).abs() < 1e-9, "{second}: {}", rps(&view));
    }
    assert!(view.told.len() <= 6, "what is older is not kept");
}

#[test]
fn it_scrolls_as_far_as_there_are_rows() {
    let mut view = told(calls(2, 1));
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
        let mut view = told(calls(2, 1));
        for key in keys {
            let _ = view.press(key.into());
        }
        view.fit(page);
        prop_assert!(view.above <= 8);
        prop_assert!(!view.filter.is_empty() || view.rows().len() == 8);
    }
}
