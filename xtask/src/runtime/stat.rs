//! Calls of services and between them, counted: what `stat` and `edges` show.

use serde::{Deserialize, Serialize};

use super::top::Row;

/// How many calls, and how they went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How many ended.
    pub count: u64,
    /// Of them, those that ended well.
    pub successes: u64,
    /// Of them, those that a policy refused.
    pub denied: u64,
    /// Of them, those that came over mutual TLS.
    pub secured: u64,
    /// Half of them took no longer, in milliseconds; none without calls.
    pub p50_ms: Option<f64>,
    /// 95 of a hundred took no longer.
    pub p95_ms: Option<f64>,
    /// 99 of a hundred took no longer.
    pub p99_ms: Option<f64>,
}

/// A side of an edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Side {
    /// The Deployment; else the `ServiceAccount` of a client's identity, a Service of which no pod was reached, an
    /// address.
    pub name: String,
    /// Its namespace; empty for an address.
    pub namespace: String,
}

/// Who calls whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EdgeStat {
    /// The client.
    pub source: Side,
    /// Who is asked.
    pub destination: Side,
    /// The client's identity, where mutual TLS told it: `foo.default`.
    pub client_id: Option<String>,
    /// The identity of who is asked, where mutual TLS told it.
    pub server_id: Option<String>,
    /// Why not all is mutual TLS, in the words of Linkerd's `no_tls_reason`; none where all is.
    pub no_tls_reason: Option<String>,
    /// The calls.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Calls of a Deployment's pods: those that it was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStat {
    /// The Deployment.
    pub name: String,
    /// The calls.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stat {
    /// For so long.
    pub seconds: f64,
    /// Deployments that were asked, by name.
    pub services: Vec<ServiceStat>,
    /// By source and destination.
    pub edges: Vec<EdgeStat>,
    /// Calls that came too fast, or were of too many kinds, to be counted.
    pub missed: u64,
    /// It ends here.
    pub last: bool,
}

/// Connections that are open between two pods, by way of a Service's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenConnections {
    /// The client's pod.
    pub source: String,
    /// Its Deployment.
    pub source_deployment: String,
    /// The pod that they were given to.
    pub destination: String,
    /// Its Deployment.
    pub destination_deployment: String,
    /// How many.
    pub open: u64,
}

/// What goes on at present: what the dashboard shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// What is recent began so long ago.
    pub seconds: f64,
    /// Recent calls, by source and destination.
    pub edges: Vec<EdgeStat>,
    /// Calls since somebody looks, the most frequent lately first.
    pub rows: Vec<RecentRow>,
    /// Calls that came too fast, or were of too many kinds, to be counted.
    pub missed: u64,
}

/// Calls that are counted together, and those of them that are recent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecentRow {
    /// All.
    #[serde(flatten)]
    pub row: Row,
    /// How many ended lately.
    pub recent: u64,
}
