//! What goes on at present: the calls of the last seconds.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use mesh::{Calls, Observer};

use super::stat::Edges;
use super::top::{counted, row};
use crate::runtime::stat::{RecentRow, Traffic};
use crate::runtime::top::{Call, TopRequest};

/// How often it is told.
const EVERY: Duration = Duration::from_millis(500);
/// What ended within this is recent.
const RECENT: Duration = Duration::from_secs(10);
/// So many rows are told.
const ROWS: usize = 200;

/// What is called from now on.
pub fn watch(observer: &Observer) -> BoxStream<'static, Traffic> {
    let counted = counted(observer, TopRequest { every: EVERY, span: None });
    counted
        .scan(Window::default(), |window, (counting, time, _)| {
            std::future::ready(Some(counting.read(|calls| window.next(calls, time))))
        })
        .boxed()
}

/// What was counted, at moments up to [`RECENT`] ago.
#[derive(Debug, Default)]
struct Window(VecDeque<Moment>);

#[derive(Debug)]
struct Moment {
    /// Since the start.
    time: Duration,
    edges: Edges,
    counts: BTreeMap<Call, u64>,
}

impl Window {
    fn next(&mut self, calls: &Calls, time: Duration) -> Traffic {
        let edges = Edges::of(calls);
        let all: Vec<_> = calls.rows().map(|(call, counted)| row(call, counted)).collect();
        while self.0.len() > 1 && self.0[1].time + RECENT <= time {
            self.0.pop_front();
        }
        let earlier = self.0.front();
        let before =
            |call: &Call| earlier.and_then(|then| then.counts.get(call)).copied().unwrap_or_default();
        let mut rows: Vec<_> = all
            .iter()
            .map(|row| RecentRow { recent: row.count - before(&row.call), row: row.clone() })
            .collect();
        rows.sort_by(|a, b| {
            b.recent
                .cmp(&a.recent)
                .then(b.row.count.cmp(&a.row.count))
                .then_with(|| a.row.call.cmp(&b.row.call))
        });
        rows.truncate(ROWS);
        let lately = edges.0.iter().map(|(ends, edge)| {
            let then = earlier.and_then(|then| then.edges.0.get(ends));
            then.map_or_else(|| edge.clone(), |then| edge.since(then)).told(ends)
        });
        let traffic = Traffic {
            seconds: time.saturating_sub(earlier.map_or(Duration::ZERO, |then| then.time)).as_secs_f64(),
            edges: lately.collect(),
            rows,
            missed: calls.missed(),
        };
        let counts = all.into_iter().map(|row| (row.call, row.count)).collect();
        self.0.push_back(Moment { time, edges, counts });
        traffic
    }
}
