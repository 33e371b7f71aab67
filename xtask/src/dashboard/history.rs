//! What happened and what services wrote lately, kept for pages that are opened later. Bounded, whatever comes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::AbortOnDropHandle;

use crate::report::{Event, Events, readable};

/// So many events are kept.
const EVENTS: usize = 512;
/// So many lines of logs are kept, and so many bytes of them.
const LINES: usize = 5000;
const BYTES: usize = 2 << 20;
/// A longer line is cut.
const LONGEST: usize = 2000;

/// Something that happened, and when.
#[derive(Clone, Debug, Serialize)]
pub struct Happened {
    /// Milliseconds since 1970.
    pub at: i64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// A line that a pod wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Milliseconds since 1970.
    pub at: i64,
    /// The pod.
    pub pod: String,
    /// Its Deployment.
    pub service: String,
    /// As people read it.
    pub text: String,
}

/// The last of a sequence that goes on: each has a number, from 0.
#[derive(Debug)]
struct Ring<T> {
    items: VecDeque<T>,
    /// The number of the next.
    next: u64,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), next: 0 }
    }
}

/// What a reader gets of a [`Ring`].
#[derive(Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// In order.
    pub items: Vec<T>,
    /// So many are gone between those that this reader had and these.
    pub dropped: u64,
    /// Where it goes on.
    pub next: u64,
}

impl<T: Clone> Ring<T> {
    fn push(&mut self, item: T) {
        self.items.push_back(item);
        self.next += 1;
    }

    /// Those from number `from` on, the last `most` of them.
    fn read(&self, from: u64, most: usize) -> Read<T> {
        let wanted = self.next.saturating_sub(from);
        let given = wanted.min(most as u64).min(self.items.len() as u64);
        let skip = self.items.len() - usize::try_from(given).unwrap_or(0);
        Read {
            items: self.items.iter().skip(skip).cloned().collect(),
            dropped: wanted - given,
            next: self.next,
        }
    }
}

#[derive(Debug, Default)]
struct Kept {
    events: Ring<Happened>,
    lines: Ring<Arc<Line>>,
    bytes: usize,
}

/// Listens to a run's events for as long as it lives.
#[derive(Debug)]
pub struct History {
    kept: Arc<Mutex<Kept>>,
    _listening: AbortOnDropHandle<()>,
}

impl History {
    /// Keeps what comes from now on, and what came lately.
    pub fn start(events: &Events) -> Self {
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let (recent, mut live) = events.subscribe();
        for event in &recent {
            locked(&kept).add(event);
        }
        let keeps = Arc::clone(&kept);
        let listening = tokio::spawn(async move {
            loop {
                match live.recv().await {
                    Ok(event) => locked(&keeps).add(&event),
                    Err(RecvError::Lagged(missed)) => locked(&keeps).missed(missed),
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Self { kept, _listening: AbortOnDropHandle::new(listening) }
    }

    /// What happened, from number `from` on.
    pub fn events(&self, from: u64) -> Read<Happened> {
        locked(&self.kept).events.read(from, EVENTS)
    }

    /// What was written, from number `from` on: the last `most` lines.
    pub fn lines(&self, from: u64, most: usize) -> Read<Arc<Line>> {
        locked(&self.kept).lines.read(from, most)
    }
}

fn locked(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    /// So many came too fast. Lines, for whatever else comes is rare.
    fn missed(&mut self, missed: u64) {
        // What is kept is an unbroken sequence.
        self.lines.items.clear();
        self.bytes = 0;
        self.lines.next += missed;
    }

    fn add(&mut self, event: &Event) {
        let at = Timestamp::now().as_millisecond();
        match event {
            Event::Log { pod, deployment, line } => {
                let text = cut(readable(line));
                self.bytes += text.len();
                self.lines.push(Arc::new(Line { at, pod: pod.clone(), service: deployment.clone(), text }));
                while self.lines.items.len() > LINES || self.bytes > BYTES {
                    let Some(gone) = self.lines.items.pop_front() else { break };
                    self.bytes -= gone.text.len();
                }
            }
            // Many, and past at once.
            Event::BuildProgress { .. } | Event::Transfer { .. } => {}
            _ => {
                self.events.push(Happened { at, event: event.clone() });
                if self.events.items.len() > EVENTS {
                    self.events.items.pop_front();
                }
            }
        }
    }
}

fn cut(mut line: String) -> String {
    if line.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(line: String) -> Event {
        Event::Log { pod: "baz-1-a".into(), deployment: "baz".into(), line }
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_missed_is_told() {
        let mut kept = Kept::default();
        (0..LINES + 10).for_each(|at| kept.add(&log(at.to_string())));
        let read = kept.lines.read(0, 100);
        assert_eq!((read.items.len(), read.dropped), (100, LINES as u64 - 90));
        assert_eq!(read.items[99].text, (LINES + 9).to_string());
        let again = kept.lines.read(read.next, 100);
        assert_eq!((again.items.len(), again.dropped), (0, 0));
        kept.add(&log("one more".into()));
        assert_eq!(kept.lines.read(read.next, 100).items.len(), 1);
        kept.missed(7);
        kept.add(&log("after".into()));
        let read = kept.lines.read(read.next + 1, 100);
        assert_eq!((read.items.len(), read.dropped), (1, 7));
        (0..LINES).for_each(|_| kept.add(&log("é".repeat(5000))));
        assert!(kept.bytes <= BYTES && kept.lines.items.iter().all(|line| line.text.len() <= LONGEST + 3));
        (0..EVENTS + 5).for_each(|_| kept.add(&Event::Ready { ms: 1 }));
        assert_eq!((kept.events.items.len(), kept.events.read(0, EVENTS).dropped), (EVENTS, 5));
    }
}
