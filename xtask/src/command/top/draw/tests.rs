use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyCode;

use super::*;
use crate::command::top::view::tests::{calls, press, refused, row, told};
use crate::runtime::top::{Row, Top};

fn drawn(view: &mut View, width: u16, height: u16, colour: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    view.fit(usize::from(height.saturating_sub(FRAME)));
    terminal.draw(|frame| draw(frame, view, colour)).unwrap();
    terminal
}

/// What can be read, without the spaces at the ends of lines.
fn text(view: &mut View, width: u16, height: u16) -> String {
    let terminal = drawn(view, width, height, true);
    let cells = terminal.backend().buffer().content();
    let line = |cells: &[ratatui::buffer::Cell]| {
        cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()
    };
    cells.chunks(width.into()).map(line).collect::<Vec<_>>().join("\n")
}

/// The colour of what is written as `what`.
fn colour_of(terminal: &Terminal<TestBackend>, what: &str) -> Color {
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width);
    for (y, cells) in buffer.content().chunks(width).enumerate() {
        let symbols: Vec<&str> = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        let at = (0..width).find(|x| symbols[*x..].concat().starts_with(what));
        if let Some(x) = at {
            return buffer.content()[y * width + x].fg;
        }
    }
    panic!("{what} is not there")
}

#[test]
fn eighty_columns_have_what_matters_most() {
    let mut view = told(calls(240, 5));
    insta::assert_snapshot!(text(&mut view, 80, 24), @"
    calls  5s  384.0/s  success 98.44%
    SOURCE        DESTINATION   PATH           COUNT▼  WORST   LAST  SUCCESS    RPS
    bar-97…-tgzwk baz-r4…-dcsb9 ….Baz/GetInfo     240 2.50ms  960us  100.00%   48.0
    bar-97…-tgzwk baz-r4…-vk4zs ….Baz/GetInfo     240 2.50ms  960us  100.00%   48.0
    bar-97…-tgzwk baz-r4…-xq4f5 ….Baz/GetInfo     240 2.50ms  960us  100.00%   48.0
    foo-sm…-8jn5x bar-97…-tgzwk ….Bar/GetInfo     240 7.01ms  960us   87.50%   48.0
    foo-sm…-8jn5x baz-r4…-dcsb9 ….Baz/GetInfo     240 3.10ms  960us  100.00%   48.0
    foo-sm…-8jn5x baz-r4…-vk4zs ….Baz/GetInfo     240 3.10ms  960us  100.00%   48.0
    foo-sm…-8jn5x baz-r4…-xq4f5 ….Baz/GetInfo     240 3.10ms  960us  100.00%   48.0
    ingres…-nginx foo-sm…-8jn5x /                 240 12.9ms  960us  100.00%   48.0













    q quit  space pause  / filter  ← → sort  r reverse
    ");
}

#[test]
fn where_calls_were_refused_it_is_marked_and_counted() {
    let mut view = told(Top { missed: 3, ..refused(calls(240, 5), 17) });
    press(&mut view, [KeyCode::Left; 6]);
    insta::assert_snapshot!(text(&mut view, 80, 14), @"
     calls  5s  387.4/s  success 98.45%  denied 17  3 more not told apart
     SOURCE        DESTINATION   PATH           COUNT  WORST  SUCCESS    RPS DENIED▼
    !synthe…efault baz-r4…-vk4zs …Baz/GetInfo      17 2.50ms  100.00%    3.4      17
     bar-97…-tgzwk baz-r4…-dcsb9 …Baz/GetInfo     240 2.50ms  100.00%   48.0       -
     bar-97…-tgzwk baz-r4…-vk4zs …Baz/GetInfo     240 2.50ms  100.00%   48.0       -
     bar-97…-tgzwk baz-r4…-xq4f5 …Baz/GetInfo     240 2.50ms  100.00%   48.0       -
     foo-sm…-8jn5x bar-97…-tgzwk …Bar/GetInfo     240 7.01ms   87.50%   48.0       -
     foo-sm…-8jn5x baz-r4…-dcsb9 …Baz/GetInfo     240 3.10ms  100.00%   48.0       -
     foo-sm…-8jn5x baz-r4…-vk4zs …Baz/GetInfo     240 3.10ms  100.00%   48.0       -
     foo-sm…-8jn5x baz-r4…-xq4f5 …Baz/GetInfo     240 3.10ms  100.00%   48.0       -
     ingres…-nginx foo-sm…-8jn5x /                240 12.9ms  100.00%   48.0       -


     q quit  space pause  / filter  ← → sort  r reverse
    ");
}

#[test]
fn a_wide_screen_has_every_column() {
    let mut view = told(refused(calls(240, 5), 17));
    view.resource = Some("baz".to_owned());
    press(&mut view, [KeyCode::Char(' ')]);
    insta::assert_snapshot!(text(&mut view, 120, 30), @"
     calls of baz  5s  387.4/s  success 98.45%  denied 17   PAUSED
     SOURCE            DESTINATION      PROTO  METHOD  PATH              COUNT▼   BEST  WORST   LAST  SUCCESS    RPS  DENIED
     bar-97fc…vj-tgzwk baz-r4zt…h-dcsb9 grpc   POST    …emo.Baz/GetInfo     240  350us 2.50ms  960us  100.00%   48.0       -
     bar-97fc…vj-tgzwk baz-r4zt…h-vk4zs grpc   POST    …emo.Baz/GetInfo     240  350us 2.50ms  960us  100.00%   48.0       -
     bar-97fc…vj-tgzwk baz-r4zt…h-xq4f5 grpc   POST    …emo.Baz/GetInfo     240  350us 2.50ms  960us  100.00%   48.0       -
     foo-smmj…8r-8jn5x bar-97fc…j-tgzwk grpc   POST    …emo.Bar/GetInfo     240  420us 7.01ms  960us   87.50%   48.0       -
     foo-smmj…8r-8jn5x baz-r4zt…h-dcsb9 grpc   POST    …emo.Baz/GetInfo     240  420us 3.10ms  960us  100.00%   48.0       -
     foo-smmj…8r-8jn5x baz-r4zt…h-vk4zs grpc   POST    …emo.Baz/GetInfo     240  420us 3.10ms  960us  100.00%   48.0       -
     foo-smmj…8r-8jn5x baz-r4zt…h-xq4f5 grpc   POST    …emo.Baz/GetInfo     240  420us 3.10ms  960us  100.00%   48.0       -
     ingress-…ss-nginx foo-smmj…r-8jn5x http   GET     /                    240  420us 12.9ms  960us  100.00%   48.0       -
    !synthetic.default baz-r4zt…h-vk4zs grpc   POST    …emo.Baz/GetInfo      17  420us 2.50ms  960us  100.00%    3.4      17


















     q quit  space go on  / filter  ← → sort  r reverse
    ");
}

#[test]
fn the_filter_is_seen_while_it_is_typed_and_after() {
    let mut view = told(calls(3, 1));
    press(&mut view, "/bar baz".chars().map(KeyCode::Char));
    insta::assert_snapshot!(text(&mut view, 80, 8), @"
    calls  1s  9.0/s  success 100.00%
    SOURCE        DESTINATION   PATH           COUNT▼  WORST   LAST  SUCCESS    RPS
    bar-97…-tgzwk baz-r4…-dcsb9 ….Baz/GetInfo       3 2.50ms  960us  100.00%    3.0
    bar-97…-tgzwk baz-r4…-vk4zs ….Baz/GetInfo       3 2.50ms  960us  100.00%    3.0
    bar-97…-tgzwk baz-r4…-xq4f5 ….Baz/GetInfo       3 2.50ms  960us  100.00%    3.0


    /bar baz▏  Enter keep  Esc drop
    ");
    press(&mut view, [KeyCode::Enter]);
    insta::assert_snapshot!(text(&mut view, 80, 5), @"
    calls  1s  9.0/s  success 100.00%
    SOURCE        DESTINATION   PATH           COUNT▼  WORST   LAST  SUCCESS    RPS
    bar-97…-tgzwk baz-r4…-dcsb9 ….Baz/GetInfo       3 2.50ms  960us  100.00%    3.0
    bar-97…-tgzwk baz-r4…-vk4zs ….Baz/GetInfo       3 2.50ms  960us  100.00%    3.0
    q quit  space pause  /bar baz  ← → sort  r reverse  ↑ ↓ rows 1-2 of 3
    ");
    press(&mut view, "/!".chars().map(KeyCode::Char));
    insta::assert_snapshot!(text(&mut view, 60, 5), @"
    calls  1s  0.0/s
    SOURCE DESTINATION PATH  COUNT▼  WORST  SUCCESS    RPS
    no calls match the filter

    /bar baz!▏  Enter keep  Esc drop
    ");
}

#[test]
fn there_is_nothing_yet_and_there_are_more_rows_than_fit() {
    let mut view = View::new(None);
    insta::assert_snapshot!(text(&mut view, 80, 4), @"
    calls  0s  0.0/s
    SOURCE DESTINATION METHOD  PATH  COUNT▼   BEST  WORST   LAST  SUCCESS    RPS
    no calls yet
    q quit  space pause  / filter  ← → sort  r reverse
    ");
    let mut top = calls(1, 1);
    top.rows.extend((0..40).map(|path| row("foo-1", "baz-1", &format!("/orders/{path}"), 1)));
    let mut view = told(top);
    press(&mut view, [KeyCode::PageDown]);
    insta::assert_snapshot!(text(&mut view, 80, 8), @"
    calls  1s  48.0/s  success 97.92%
    SOURCE        DESTINATION   PATH           COUNT▼  WORST   LAST  SUCCESS    RPS
    foo-1         baz-1         /orders/24          1 2.50ms  960us  100.00%    1.0
    foo-1         baz-1         /orders/25          1 2.50ms  960us  100.00%    1.0
    foo-1         baz-1         /orders/26          1 2.50ms  960us  100.00%    1.0
    foo-1         baz-1         /orders/27          1 2.50ms  960us  100.00%    1.0
    foo-1         baz-1         /orders/28          1 2.50ms  960us  100.00%    1.0
    q quit  space pause  / filter  ← → sort  r reverse  ↑ ↓ rows 21-25 of 48
    ");
}

#[test]
fn rates_and_refusals_are_coloured_and_without_colour_nothing_is() {
    let mut top = refused(calls(8, 1), 2);
    top.rows.push(Row { successes: 0, ..row("foo-1", "qux-1", "/a", 1) });
    let mut view = told(top);
    let terminal = drawn(&mut view, 120, 20, true);
    let colours = ["87.50%", "100.00%", " 0.00%", "!", "denied 2"].map(|what| colour_of(&terminal, what));
    assert_eq!(colours, [Color::Red, Color::Green, Color::Red, Color::Red, Color::Red]);
    let plain = drawn(&mut view, 120, 20, false);
    assert!(plain.backend().buffer().content().iter().all(|cell| cell.fg == Color::Reset));
    assert_eq!(plain.backend().buffer().content().iter().filter(|cell| cell.symbol() == "!").count(), 1);
}

#[test]
fn any_size_can_be_drawn() {
    let mut view = told(refused(calls(3, 1), 1));
    for width in 1..130 {
        for height in [1, 2, 3, 5, 40] {
            drawn(&mut view, width, height, true);
        }
    }
}

#[test]
fn a_row_that_is_no_longer_called_is_dim() {
    let mut view = told(calls(3, 1));
    for second in 2..10 {
        view.tell(calls(3, second));
    }
    let terminal = drawn(&mut view, 80, 10, false);
    assert!(terminal.backend().buffer()[(1, 2)].modifier.contains(Modifier::DIM));
}
