//! Calls between pods, counted: what `top` shows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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
