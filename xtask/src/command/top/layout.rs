//! Which columns there is room for, and how wide they are. Pure.

use super::column::{Column, Rated};

/// Between two columns.
pub const GAP: usize = 1;
/// Before the first: the mark of rows with refused calls.
pub const GUTTER: usize = 1;
/// Of a text that does not fit, so much is worth more than one more column.
const ENOUGH: usize = 12;
/// What is left out where it is narrow, the first first.
const SPARED: [Column; 6] =
    [Column::Protocol, Column::Best, Column::Method, Column::Last, Column::Worst, Column::Rps];

/// The columns that so many characters have room for, each with its width. The sorted one is always there.
pub fn columns(width: usize, rows: &[&Rated], sort: Column) -> Vec<(Column, usize)> {
    let denied = rows.iter().any(|rated| rated.row.denied > 0);
    let mut chosen: Vec<Column> = Column::ALL.to_vec();
    let natural = |column: Column| {
        let longest = rows.iter().map(|rated| column.text(rated).chars().count()).max().unwrap_or(0);
        longest.max(column.title().len())
    };
    let room = |chosen: &[Column]| {
        let fixed: usize = chosen.iter().filter_map(|column| fixed(*column)).sum();
        width.saturating_sub(GUTTER + fixed + GAP * chosen.len().saturating_sub(1))
    };
    let needed: usize = chosen
        .iter()
        .filter(|column| fixed(**column).is_none())
        .map(|column| natural(*column).min(ENOUGH))
        .sum();
    // Where nothing was refused, its column is the first to go.
    for spared in (!denied).then_some(Column::Denied).into_iter().chain(SPARED) {
        if room(&chosen) >= needed {
            break;
        }
        chosen.retain(|column| *column != spared || spared == sort);
    }
    let flexible: Vec<usize> =
        chosen.iter().filter(|column| fixed(**column).is_none()).map(|column| natural(*column)).collect();
    let mut shared = share_out(room(&chosen), &flexible).into_iter();
    chosen.into_iter().map(|column| (column, fixed(column).or_else(|| shared.next()).unwrap_or(0))).collect()
}

/// The width of a column that has the same one always, so that nothing moves when numbers grow; room for the arrow
/// of the sorted one is in it.
fn fixed(column: Column) -> Option<usize> {
    Some(match column {
        Column::Source | Column::Destination | Column::Path => return None,
        Column::Protocol | Column::Best | Column::Worst | Column::Last | Column::Rps => 6,
        Column::Method | Column::Count | Column::Denied => 7,
        Column::SuccessRate => 8,
    })
}

/// What stands above a column on the screen.
pub fn title(column: Column) -> &'static str {
    match column {
        Column::Protocol => "PROTO",
        Column::SuccessRate => "SUCCESS",
        column => column.title(),
    }
}

/// Gives each what it wants; where that is too much, none more than another that wants more as well.
fn share_out(mut room: usize, wanted: &[usize]) -> Vec<usize> {
    let mut given = vec![0; wanted.len()];
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|index| wanted[*index]);
    for (served, index) in order.iter().enumerate() {
        given[*index] = wanted[*index].min(room / (wanted.len() - served));
        room -= given[*index];
    }
    given
}

/// What is in a column, cut to its width: of a pod's name the beginning and the end, of a path the end, of which
/// gRPC's has the service and the method.
pub fn cell(column: Column, rated: &Rated, width: usize) -> String {
    let text = column.text(rated);
    let length = text.chars().count();
    match width.checked_sub(1) {
        Some(kept) if column == Column::Path && length > width => {
            ['…'].into_iter().chain(text.chars().skip(length - kept)).collect()
        }
        _ => shorten(&text, width),
    }
}

/// Its beginning and its end, where it is too long.
pub fn shorten(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let Some(kept) = width.checked_sub(1) else { return String::new() };
    let (head, tail) = (kept.div_ceil(2), kept / 2);
    let chars = || text.chars();
    chars().take(head).chain(['…']).chain(chars().skip(length - tail)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_too_long_keeps_both_ends() {
        let told = [30, 13, 2, 1, 0].map(|width| shorten("foo-smmjpjtf8r-8jn5x", width));
        assert_eq!(told, ["foo-smmjpjtf8r-8jn5x", "foo-sm…-8jn5x", "f…", "…", ""]);
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_it_may_be(text in "\\PC{0,40}", width in 0..50_usize) {
            let short = shorten(&text, width).chars().count();
            prop_assert_eq!(short, text.chars().count().min(width));
        }

        #[test]
        fn all_room_is_used_and_nobody_gets_more_than_it_wants(
            room in 0..100_usize,
            wanted in prop::collection::vec(0..50_usize, 1..5),
        ) {
            let given = share_out(room, &wanted);
            prop_assert!(given.iter().zip(&wanted).all(|(given, wanted)| given <= wanted));
            prop_assert_eq!(given.iter().sum::<usize>(), room.min(wanted.iter().sum()));
        }
    }
}
