//! What a page is told, for as long as it is open: one stream of server-sent events.
//!
//! It is pulled: what a page does not read is not made, so a slow one costs nothing and misses lines, which it is told.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Served;
use super::history::Line;

/// At most so often something is told.
const TICK: Duration = Duration::from_millis(100);
/// At least so often, so that a page knows that it is still there.
const BEAT: Duration = Duration::from_secs(2);
/// At most so many lines of logs at once: 10,000 a second.
const LINES: usize = 1000;

/// Text that is replaced as a whole: JSON, empty for none yet.
pub type Latest = watch::Receiver<Arc<str>>;

/// What a page was told so far.
struct Reader {
    served: Arc<Served>,
    /// By name.
    latest: [(&'static str, Latest); 4],
    first: bool,
    events: u64,
    lines: u64,
    told: Instant,
    _open: Open,
}

/// A page that is open. Counted as long as it lives.
#[derive(Debug)]
pub struct Open(watch::Sender<usize>);

impl Open {
    /// One more; none where there are too many.
    pub fn new(pages: &watch::Sender<usize>, most: usize) -> Option<Self> {
        let counted = pages.send_if_modified(|open| {
            let more = *open < most;
            *open += usize::from(more);
            more
        });
        counted.then(|| Self(pages.clone()))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

/// Everything so far, and what comes.
pub fn stream(
    served: Arc<Served>,
    open: Open,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    let mut latest = served.latest();
    for (_, latest) in &mut latest {
        latest.mark_changed();
    }
    let reader =
        Reader { served, latest, first: true, events: 0, lines: 0, told: Instant::now(), _open: open };
    futures_util::stream::unfold(reader, |mut reader| async move {
        loop {
            if !reader.first {
                tokio::time::sleep(TICK).await;
            }
            let text = reader.next();
            if !text.is_empty() {
                reader.told = Instant::now();
                return Some((Ok(Bytes::from(text)), reader));
            }
        }
    })
}

impl Reader {
    /// What is new, as server-sent events; empty when nothing is.
    fn next(&mut self) -> String {
        let mut text = String::new();
        if std::mem::take(&mut self.first) {
            text.push_str("retry: 1000\n");
            add(&mut text, "hello", &self.served.hello());
        }
        for (name, latest) in &mut self.latest {
            // Its sender lives as long as what is served.
            if latest.has_changed().unwrap_or(false) {
                let json = latest.borrow_and_update();
                if !json.is_empty() {
                    raw(&mut text, name, &json);
                }
            }
        }
        let events = self.served.history.events(self.events);
        self.events = events.next;
        if !events.items.is_empty() {
            add(&mut text, "happened", &events.items);
        }
        let lines = self.served.history.lines(self.lines, LINES);
        let first = std::mem::replace(&mut self.lines, lines.next) == 0;
        if !lines.items.is_empty() || lines.dropped > 0 {
            // What was before the page was opened is not missed.
            let dropped = if first { 0 } else { lines.dropped };
            let lines: Vec<&Line> = lines.items.iter().map(|line| &**line).collect();
            add(&mut text, "lines", &Lines { lines: &lines, dropped });
        }
        if text.is_empty() && self.told.elapsed() >= BEAT {
            raw(&mut text, "beat", "{}");
        }
        text
    }
}

#[derive(Serialize)]
struct Lines<'a> {
    lines: &'a [&'a Line],
    dropped: u64,
}

fn add(text: &mut String, name: &str, value: &impl Serialize) {
    // Nothing here is a map whose keys are no text.
    raw(text, name, &serde_json::to_string(value).unwrap_or_default());
}

fn raw(text: &mut String, name: &str, json: &str) {
    text.push_str("event: ");
    text.push_str(name);
    text.push_str("\ndata: ");
    text.push_str(json);
    text.push_str("\n\n");
}
