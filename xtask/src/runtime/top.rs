//! Calls between pods, counted: what `top` shows.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// So many different calls are told apart at most: a bound on what paths with numbers in them come to.
const MOST: usize = 2000;

/// What is asked: calls from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopRequest {
    /// Between two tellings of what was counted so far.
    pub every: Duration,
    /// Count for this long, tell once more and end; none: until nobody reads.
    pub span: Option<Duration>,
}

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Call {
    /// The client's pod; its identity where that is no pod of this environment, else its address.
    pub source: String,
    /// The Deployment of the client's pod.
    pub source_deployment: Option<String>,
    /// The pod that was asked; the Service where no pod was reached.
    pub destination: String,
    /// Its Deployment.
    pub destination_deployment: Option<String>,
    /// `http`, `grpc` or `opaque`.
    pub protocol: String,
    /// The HTTP method; CONNECT for a connection that is no HTTP.
    pub method: String,
    /// The path, without the query.
    pub path: String,
}

/// How one call ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    /// The HTTP status; none when the stream broke before one, and of what is no HTTP.
    pub status: Option<u16>,
    /// `grpc-status`.
    pub grpc_status: Option<i32>,
    /// It broke off.
    pub broken: bool,
    /// A policy refused it.
    pub denied: bool,
    /// From the request's headers to the end of the response.
    pub latency: Duration,
}

impl Ended {
    /// As `linkerd viz top` counts successes: no broken stream, no HTTP 5xx, and none of gRPC's UNKNOWN,
    /// `DEADLINE_EXCEEDED`, INTERNAL, UNAVAILABLE and `DATA_LOSS`. A refused call is therefore one. Source:
    /// `viz/cmd/top.go` of linkerd2 2.20.
    pub fn is_success(&self) -> bool {
        !self.broken
            && self.status.is_none_or(|status| status < 500)
            && !matches!(self.grpc_status, Some(2 | 4 | 13 | 14 | 15))
    }
}

/// Calls that are counted together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which.
    #[serde(flatten)]
    pub call: Call,
    /// How many ended.
    pub count: u64,
    /// Of them, those that ended well.
    pub successes: u64,
    /// Of them, those that a policy refused.
    pub denied: u64,
    /// The shortest, in milliseconds.
    pub best_ms: f64,
    /// The longest, in milliseconds.
    pub worst_ms: f64,
    /// That of the latest, in milliseconds.
    pub last_ms: f64,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// For so long.
    pub seconds: f64,
    /// The most frequent first.
    pub rows: Vec<Row>,
    /// Calls that came too fast, or were of too many kinds, to be told apart.
    pub missed: u64,
    /// It ends here.
    pub last: bool,
}

/// Counts calls.
#[derive(Debug, Default)]
pub struct Tally {
    rows: HashMap<Call, Row>,
    missed: u64,
}

impl Tally {
    /// One more call that ended.
    pub fn count(&mut self, call: Call, ended: &Ended) {
        if self.rows.len() >= MOST && !self.rows.contains_key(&call) {
            self.missed += 1;
            return;
        }
        let ms = ended.latency.as_secs_f64() * 1000.0;
        let new = |call: &Call| Row {
            call: call.clone(),
            count: 0,
            successes: 0,
            denied: 0,
            best_ms: ms,
            worst_ms: ms,
            last_ms: ms,
        };
        let row = self.rows.entry(call).or_insert_with_key(new);
        row.count += 1;
        row.successes += u64::from(ended.is_success());
        row.denied += u64::from(ended.denied);
        row.best_ms = row.best_ms.min(ms);
        row.worst_ms = row.worst_ms.max(ms);
        row.last_ms = ms;
    }

    /// So many calls were not seen.
    pub fn miss(&mut self, calls: u64) {
        self.missed += calls;
    }

    /// What was counted in that time.
    pub fn top(&self, time: Duration, last: bool) -> Top {
        let mut rows: Vec<Row> = self.rows.values().cloned().collect();
        rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.call.cmp(&b.call)));
        Top { seconds: time.as_secs_f64(), rows, missed: self.missed, last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(path: &str) -> Call {
        Call {
            source: "foo-1".to_owned(),
            source_deployment: Some("foo".to_owned()),
            destination: "baz-1".to_owned(),
            destination_deployment: Some("baz".to_owned()),
            protocol: "grpc".to_owned(),
            method: "POST".to_owned(),
            path: path.to_owned(),
        }
    }

    fn ended(status: u16, grpc_status: Option<i32>, ms: u64) -> Ended {
        let denied = grpc_status == Some(7);
        Ended { status: Some(status), grpc_status, broken: false, denied, latency: Duration::from_millis(ms) }
    }

    #[test]
    fn equal_calls_are_one_row_and_the_most_frequent_comes_first() {
        let mut tally = Tally::default();
        tally.count(call("/a"), &ended(200, Some(0), 5));
        for (status, ms) in [(0, 4), (14, 9), (7, 6)] {
            tally.count(call("/b"), &ended(200, Some(status), ms));
        }
        let top = tally.top(Duration::from_secs(2), true);
        let paths: Vec<_> = top.rows.iter().map(|row| row.call.path.as_str()).collect();
        assert_eq!(paths, ["/b", "/a"]);
        let row = &top.rows[0];
        assert_eq!((row.count, row.successes, row.denied), (3, 2, 1));
        let latencies = [row.best_ms, row.worst_ms, row.last_ms].map(|ms| format!("{ms:.3}"));
        assert_eq!(latencies, ["4.000", "9.000", "6.000"]);
        assert_eq!((top.seconds, top.missed, top.last), (2.0, 0, true));
    }

    #[test]
    fn success_is_what_viz_counts_as_one() {
        let broken = Ended { broken: true, ..ended(200, None, 1) };
        let connection = Ended { status: None, ..ended(200, None, 1) };
        let successes = [
            ended(200, None, 1),
            ended(404, None, 1),
            ended(200, Some(5), 1),
            ended(200, Some(7), 1),
            connection,
        ];
        let failures = [ended(500, None, 1), ended(200, Some(2), 1), ended(200, Some(14), 1), broken];
        assert!(successes.iter().all(Ended::is_success));
        assert!(!failures.iter().any(Ended::is_success));
    }

    #[test]
    fn the_number_of_rows_is_bounded_and_what_is_over_is_told() {
        let mut tally = Tally::default();
        for n in 0..MOST + 3 {
            tally.count(call(&format!("/{n}")), &ended(200, None, 1));
        }
        tally.count(call("/0"), &ended(200, None, 1));
        tally.miss(4);
        let top = tally.top(Duration::from_secs(1), false);
        assert_eq!((top.rows.len(), top.missed, top.rows[0].count), (MOST, 7, 2));
    }
}
