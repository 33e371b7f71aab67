//! A [`View`] on a terminal.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::column::{Column, Rated, percent, share};
use super::layout::{self, GAP, cell, columns, shorten, title};
use super::view::View;

/// Lines that are no rows: what is shown, the titles, the keys.
pub const FRAME: u16 = 3;

/// Below it the success rate is bad, and below the other not good: as Linkerd's dashboard has it
/// (`web/app/js/components/util/MetricUtils.jsx` of linkerd2).
const POOR: f64 = 0.9;
const WARNING: f64 = 0.95;

/// Draws all of it; without `colour` the same with weights only.
pub fn draw(frame: &mut Frame, view: &View, colour: bool) {
    let area = frame.area();
    let rows = view.rows();
    let paint = |style: Style, color: Color| if colour { style.fg(color) } else { style };
    let mut lines = vec![summary(view, &rows, &paint)];
    let columns = columns(area.width.into(), &rows, view.sort);
    lines.push(titles(view, &columns));
    let page = usize::from(area.height.saturating_sub(FRAME));
    lines.extend(rows.iter().skip(view.above).take(page).map(|rated| row(rated, &columns, &paint)));
    if rows.is_empty() {
        lines.push(Line::raw(if view.filter.is_empty() {
            " no calls yet"
        } else {
            " no calls match the filter"
        }));
    }
    for (y, line) in (area.y..).zip(lines).take(usize::from(area.height.saturating_sub(1))) {
        put(frame, Rect { y, height: 1, ..area }, &line);
    }
    if let Some(y) = area.bottom().checked_sub(1) {
        put(frame, Rect { y, height: 1, ..area }, &footer(view, rows.len(), page));
    }
}

fn put(frame: &mut Frame, at: Rect, line: &Line) {
    frame.buffer_mut().set_line(at.x, at.y, line, at.width);
}

/// What is counted, and all of it together.
fn summary(view: &View, rows: &[&Rated], paint: &impl Fn(Style, Color) -> Style) -> Line<'static> {
    let sum = |of: fn(&Rated) -> u64| rows.iter().map(|rated| of(rated)).sum::<u64>();
    let (count, denied) = (sum(|rated| rated.row.count), sum(|rated| rated.row.denied));
    // Of no rows the sum is -0.
    let rps = rows.iter().map(|rated| rated.rps).sum::<f64>() + 0.0;
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let what = view.resource.as_deref().map_or_else(String::new, |resource| format!(" of {resource}"));
    let mut spans = vec![
        Span::styled(format!(" calls{what}"), bold),
        Span::raw(format!("  {:.0}s  {rps:.1}/s  ", view.seconds)),
    ];
    if count > 0 {
        let successes = sum(|rated| rated.row.successes);
        spans.push(Span::raw("success "));
        spans.push(Span::styled(percent(successes, count), success(successes, count, paint)));
    }
    if denied > 0 {
        spans.push(Span::styled(format!("  denied {denied}"), paint(bold, Color::Red)));
    }
    if view.missed > 0 {
        spans.push(Span::raw(format!("  {} more not told apart", view.missed)));
    }
    if view.paused {
        spans.push(Span::raw("  "));
        spans.push(Span::styled(" PAUSED ", bold.add_modifier(Modifier::REVERSED)));
    }
    Line::from(spans)
}

fn titles(view: &View, columns: &[(Column, usize)]) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::raw(" ".repeat(layout::GUTTER))];
    for (column, width) in columns {
        let (mut text, mut style) = (title(*column).to_owned(), bold);
        if *column == view.sort {
            text.push(if view.is_descending() { '▼' } else { '▲' });
            style = style.add_modifier(Modifier::REVERSED);
        }
        let text = shorten(&text, *width);
        let space = " ".repeat(width.saturating_sub(text.chars().count()));
        let text = Span::styled(text, style);
        spans.extend(if column.is_number() { [Span::raw(space), text] } else { [text, Span::raw(space)] });
        spans.push(Span::raw(" ".repeat(GAP)));
    }
    Line::from(spans)
}

fn row(rated: &Rated, columns: &[(Column, usize)], paint: &impl Fn(Style, Color) -> Style) -> Line<'static> {
    let plain = if rated.rps > 0.0 { Style::new() } else { Style::new().add_modifier(Modifier::DIM) };
    let denied = paint(plain.add_modifier(Modifier::BOLD), Color::Red);
    let is_denied = rated.row.denied > 0;
    let mut spans = vec![if is_denied { Span::styled("!", denied) } else { Span::raw(" ") }];
    for (column, width) in columns {
        let text = cell(*column, rated, *width);
        let text = if column.is_number() { format!("{text:>width$}") } else { format!("{text:<width$}") };
        let style = match column {
            Column::SuccessRate => plain.patch(success(rated.row.successes, rated.row.count, paint)),
            Column::Denied if is_denied => denied,
            _ => plain,
        };
        spans.push(Span::styled(text + &" ".repeat(GAP), style));
    }
    Line::from(spans)
}

fn success(successes: u64, count: u64, paint: &impl Fn(Style, Color) -> Style) -> Style {
    let rate = share(successes, count);
    let color = match rate {
        rate if rate < POOR => Color::Red,
        rate if rate < WARNING => Color::Yellow,
        _ => Color::Green,
    };
    paint(Style::new(), color)
}

/// The keys; the filter while it is typed. What rows there are, where not all are seen.
fn footer(view: &View, rows: usize, page: usize) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let key = |key: &'static str, does: &'static str| [Span::styled(key, bold), Span::raw(does)];
    if view.typing {
        let mut spans = vec![Span::styled(format!(" /{}", view.filter), bold), Span::raw("▏  ")];
        spans.extend(key("Enter", " keep  "));
        spans.extend(key("Esc", " drop"));
        return Line::from(spans);
    }
    let mut spans = vec![Span::raw(" ")];
    spans.extend(key("q", " quit  "));
    spans.extend(key("space", if view.paused { " go on  " } else { " pause  " }));
    spans.extend(key("/", if view.filter.is_empty() { " filter  " } else { "" }));
    if !view.filter.is_empty() {
        spans.push(Span::styled(format!("{}  ", view.filter), bold.add_modifier(Modifier::REVERSED)));
    }
    spans.extend(key("← →", " sort  "));
    spans.extend(key("r", " reverse  "));
    if rows > page {
        spans.extend(key("↑ ↓", ""));
        let last = (view.above + page).min(rows);
        spans.push(Span::raw(format!(" rows {}-{last} of {rows}", view.above + 1)));
    }
    Line::from(spans)
}

#[cfg(test)]
mod tests;
