//! What `/metrics` shows of requests answered and calls made. Every label is bounded: none takes a value
//! that a client chooses.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

/// Upper bounds in seconds; the last is beyond the deadline of a call.
const BUCKETS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// A latency histogram in seconds, with the bounds that all of them share.
pub fn latency() -> Histogram {
    Histogram::new(BUCKETS)
}

/// Requests answered.
#[derive(Clone, Debug)]
pub(crate) struct ServerMetrics {
    requests: Family<Served, Counter>,
    durations: Family<ServedRoute, Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Served {
    protocol: &'static str,
    method: &'static str,
    path: String,
    status: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServedRoute {
    protocol: &'static str,
    path: String,
}

impl ServerMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(latency as fn() -> _),
        };
        registry.register(
            "server_requests",
            "Requests answered; status is the HTTP status, or for protocol grpc the gRPC status",
            metrics.requests.clone(),
        );
        registry.register(
            "server_request_duration_seconds",
            "Time from a request's headers to its answer's",
            metrics.durations.clone(),
        );
        metrics
    }

    /// Counts one request. `path` must be a template or a known method, not what the client wrote.
    pub(crate) fn record(
        &self,
        protocol: &'static str,
        method: &http::Method,
        path: &str,
        status: i32,
        took: Duration,
    ) {
        let path = path.to_owned();
        self.durations
            .get_or_create(&ServedRoute { protocol, path: path.clone() })
            .observe(took.as_secs_f64());
        let served = Served { protocol, method: bounded(method), path, status: status.to_string() };
        self.requests.get_or_create(&served).inc();
    }
}

/// Methods of one's own making are one label.
fn bounded(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

/// Calls made to other services.
#[derive(Clone, Debug)]
pub(crate) struct ClientMetrics {
    calls: Family<Called, Counter>,
    durations: Family<CalledService, Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Called {
    callee: &'static str,
    protocol: &'static str,
    status: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CalledService {
    callee: &'static str,
    protocol: &'static str,
}

impl ClientMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics =
            Self { calls: Family::default(), durations: Family::new_with_constructor(latency as fn() -> _) };
        registry.register(
            "client_requests",
            "Calls to other services; status is the HTTP status, or for protocol grpc the gRPC status",
            metrics.calls.clone(),
        );
        registry.register(
            "client_request_duration_seconds",
            "Time from a call to the end of its answer",
            metrics.durations.clone(),
        );
        metrics
    }

    /// Counts one call.
    pub(crate) fn record(&self, callee: &'static str, protocol: &'static str, status: i32, took: Duration) {
        self.durations.get_or_create(&CalledService { callee, protocol }).observe(took.as_secs_f64());
        self.calls.get_or_create(&Called { callee, protocol, status: status.to_string() }).inc();
    }
}
