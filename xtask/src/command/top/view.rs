//! What a person looks at: the calls as told, and what the keys have made of them. Pure: nothing is read or drawn here.

use std::cmp::Ordering;
use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::column::{Column, Rated, rate};
use crate::runtime::top::{Call, Top};

/// Calls a second are those of so many seconds, or of all the time while that is less.
const WINDOW: f64 = 5.0;

/// What is on the screen, apart from how it is drawn.
#[derive(Debug)]
pub struct View {
    /// Only calls from or to this, as typed on the command line.
    pub resource: Option<String>,
    /// What it is sorted by.
    pub sort: Column,
    /// In the other order than that column's usual one.
    pub reversed: bool,
    /// Only rows with each of these words.
    pub filter: String,
    /// The filter is being typed.
    pub typing: bool,
    /// What comes is kept, but not shown.
    pub paused: bool,
    /// Calls that could not be told apart.
    pub missed: u64,
    /// It was counted for so long.
    pub seconds: f64,
    /// How many rows stand above those that are seen.
    pub above: usize,
    /// How many rows can be seen.
    page: usize,
    lines: Vec<Rated>,
    /// What was told in the last [`WINDOW`], and one telling from before it.
    told: VecDeque<Top>,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    Stay,
    /// End.
    Quit,
}

impl View {
    /// Nothing told yet; the most frequent first.
    pub fn new(resource: Option<String>) -> Self {
        Self {
            resource,
            sort: Column::Count,
            reversed: false,
            filter: String::new(),
            typing: false,
            paused: false,
            missed: 0,
            seconds: 0.0,
            above: 0,
            page: 1,
            lines: Vec::new(),
            told: VecDeque::new(),
        }
    }

    /// What was counted so far.
    pub fn tell(&mut self, top: Top) {
        while self.told.get(1).is_some_and(|second| top.seconds - second.seconds >= WINDOW) {
            self.told.pop_front();
        }
        self.told.push_back(top);
        if !self.paused {
            self.catch_up();
        }
    }

    /// Shows what was told last.
    fn catch_up(&mut self) {
        let (Some(first), Some(last)) = (self.told.front(), self.told.back()) else { return };
        // Of the first telling nothing earlier is known but that it all began at 0.
        let before = (self.told.len() > 1).then_some(first);
        let seconds = last.seconds - before.map_or(0.0, |top| top.seconds);
        let earlier: std::collections::HashMap<&Call, u64> =
            before.iter().flat_map(|top| &top.rows).map(|row| (&row.call, row.count)).collect();
        let lines = last.rows.iter().map(|row| {
            let count = row.count - earlier.get(&row.call).copied().unwrap_or(0).min(row.count);
            Rated { row: row.clone(), rps: rate(count, seconds) }
        });
        self.lines = lines.collect();
        (self.missed, self.seconds) = (last.missed, last.seconds);
    }

    /// So many rows can be seen from now on.
    pub fn fit(&mut self, page: usize) {
        self.page = page.max(1);
        self.scroll(self.above);
    }

    /// With so many rows above, as far as there are rows.
    fn scroll(&mut self, above: usize) {
        let rows = self.lines.iter().filter(|line| self.passes(line)).count();
        self.above = above.min(rows.saturating_sub(self.page));
    }

    /// The rows that the filter lets through, sorted.
    pub fn rows(&self) -> Vec<&Rated> {
        let mut rows: Vec<&Rated> = self.lines.iter().filter(|line| self.passes(line)).collect();
        rows.sort_by(|a, b| self.compare(a, b).then_with(|| a.row.call.cmp(&b.row.call)));
        rows
    }

    fn passes(&self, line: &Rated) -> bool {
        let text = [Column::Source, Column::Destination, Column::Protocol, Column::Method, Column::Path]
            .map(|column| column.text(line))
            .join(" ")
            .to_lowercase();
        self.filter.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }

    fn compare(&self, a: &Rated, b: &Rated) -> Ordering {
        let order = self.sort.compare(a, b);
        if self.is_descending() { order.reverse() } else { order }
    }

    /// Whether the largest comes first: the usual order of numbers.
    pub fn is_descending(&self) -> bool {
        self.sort.is_number() != self.reversed
    }

    /// A key was pressed.
    pub fn press(&mut self, key: KeyEvent) -> Next {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Next::Quit,
                KeyCode::Char('u') if self.typing => self.filter.clear(),
                _ => {}
            }
            return Next::Stay;
        }
        if !self.typing {
            return self.command(key.code);
        }
        self.write(key.code);
        Next::Stay
    }

    fn write(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace if self.filter.is_empty() => self.typing = false,
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.typing = false;
            }
            _ => {}
        }
    }

    fn command(&mut self, key: KeyCode) -> Next {
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char(' ') => {
                self.paused = !self.paused;
                if !self.paused {
                    self.catch_up();
                }
            }
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Left | KeyCode::Char('<') => self.sort_by(Column::ALL.len() - 1),
            KeyCode::Right | KeyCode::Char('>') => self.sort_by(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(self.above.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(self.above + 1),
            KeyCode::PageUp => self.scroll(self.above.saturating_sub(self.page)),
            KeyCode::PageDown => self.scroll(self.above + self.page),
            KeyCode::Home => self.scroll(0),
            KeyCode::End => self.scroll(usize::MAX),
            _ => {}
        }
        Next::Stay
    }

    /// By the column so many to the right, beyond the last one from the left again.
    fn sort_by(&mut self, steps: usize) {
        let own = Column::ALL.iter().position(|column| *column == self.sort).unwrap_or(0);
        self.sort = Column::ALL[(own + steps) % Column::ALL.len()];
        self.reversed = false;
    }
}

#[cfg(test)]
pub mod tests;
