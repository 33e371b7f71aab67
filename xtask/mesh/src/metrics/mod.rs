//! A sidecar's metrics, with Linkerd's names, labels and label order.
//!
//! Label sets are resolved once, per connection or endpoint and then per status; a request costs a walk over a
//! list of a few nodes and some atomic additions.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use policy::outbound::ServicePort;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

mod authz;
mod labels;
mod list;

pub(crate) use authz::Authz;
pub(crate) use labels::{
    ClientTls, Labels, accept_labels, app_labels, authz_labels, endpoint_labels, inbound_labels,
    local_labels, rate_limit_labels,
};
pub(crate) use list::AppendList;

/// Linkerd's bounds for `response_latency_ms`.
const LATENCY_MS: [f64; 25] = [
    1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 1_000.0,
    2_000.0, 3_000.0, 4_000.0, 5_000.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0,
];

/// All metrics of one sidecar.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    request: Family<Labels, Counter>,
    response: Family<Labels, Counter>,
    latency: Family<Labels, Histogram, fn() -> Histogram>,
    tcp_opened: Family<Labels, Counter>,
    tcp_open: Family<Labels, Gauge>,
    tcp_read: Family<Labels, Counter>,
    tcp_write: Family<Labels, Counter>,
    pub authz: Authz,
    balancer_endpoints: Family<Labels, Gauge>,
    cert_expiration: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        let metrics = Self {
            registry: Mutex::default(),
            request: Family::default(),
            response: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCY_MS)),
            tcp_opened: Family::default(),
            tcp_open: Family::default(),
            tcp_read: Family::default(),
            tcp_write: Family::default(),
            authz: Authz::default(),
            balancer_endpoints: Family::default(),
            cert_expiration: Gauge::default(),
        };
        let start = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        start.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        let mut registry = metrics.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let r = &mut *registry;
        // Counters get the suffix _total when printed.
        r.register("request", "Total count of HTTP requests", metrics.request.clone());
        r.register("response", "Total count of HTTP responses", metrics.response.clone());
        r.register(
            "response_latency_ms",
            "Elapsed times between a request's headers being received and its response stream completing",
            metrics.latency.clone(),
        );
        r.register("tcp_open", "Total count of opened connections", metrics.tcp_opened.clone());
        r.register("tcp_open_connections", "Number of currently-open connections", metrics.tcp_open.clone());
        r.register("tcp_read_bytes", "Total count of bytes read from peers", metrics.tcp_read.clone());
        r.register("tcp_write_bytes", "Total count of bytes written to peers", metrics.tcp_write.clone());
        metrics.authz.register(r);
        r.register(
            "outbound_http_balancer_endpoints",
            "The number of endpoints currently in a HTTP request balancer",
            metrics.balancer_endpoints.clone(),
        );
        r.register(
            "identity_cert_expiration_timestamp_seconds",
            "Time when the this proxy's current mTLS identity certificate will expire (in seconds since the UNIX epoch)",
            metrics.cert_expiration.clone(),
        );
        r.register(
            "process_start_time_seconds",
            "Time that the process started (in seconds since the UNIX epoch)",
            start,
        );
        drop(registry);
        Arc::new(metrics)
    }

    /// The text that `/metrics` answers, in the `OpenMetrics` format.
    pub(crate) fn render(&self, cert_expiration: f64) -> String {
        self.cert_expiration.set(cert_expiration);
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner));
        text
    }

    /// The counters of one endpoint; or of what one authorization lets in, with the labels of that.
    pub(crate) fn http(self: &Arc<Self>, labels: Labels, allow: Option<Labels>) -> Arc<HttpMetrics> {
        let allow = allow.map(|labels| self.authz.http_allow.get_or_create_owned(&labels));
        let requests = self.request.get_or_create_owned(&labels);
        Arc::new(HttpMetrics {
            metrics: self.clone(),
            requests,
            allow,
            labels,
            by_status: AppendList::default(),
        })
    }

    pub(crate) fn transport(&self, labels: &Labels) -> Arc<TransportMetrics> {
        Arc::new(TransportMetrics {
            opened: self.tcp_opened.get_or_create_owned(labels),
            open: self.tcp_open.get_or_create_owned(labels),
            read: self.tcp_read.get_or_create_owned(labels),
            write: self.tcp_write.get_or_create_owned(labels),
        })
    }

    /// The gauges of a balancer: endpoints that are ready, and those that are not.
    pub(crate) fn balancer(&self, parent: &ServicePort, backend: &ServicePort) -> [Gauge; 2] {
        ["ready", "pending"].map(|state| {
            self.balancer_endpoints.get_or_create_owned(&vec![
                ("parent_group", "core".to_owned()),
                ("parent_kind", "Service".to_owned()),
                ("parent_namespace", parent.namespace.clone()),
                ("parent_name", parent.name.clone()),
                ("parent_port", parent.port.to_string()),
                ("backend_group", "core".to_owned()),
                ("backend_kind", "Service".to_owned()),
                ("backend_namespace", backend.namespace.clone()),
                ("backend_name", backend.name.clone()),
                ("backend_port", backend.port.to_string()),
                ("endpoint_state", state.to_owned()),
            ])
        })
    }

    /// Forgets an endpoint's series, when it is gone for good.
    pub(crate) fn forget(&self, http: &HttpMetrics) {
        self.request.remove(&http.labels);
        for (key, _) in http.by_status.iter() {
            self.response.remove(&http.response_labels(*key));
            self.latency.remove(&http.latency_labels(*key));
        }
    }
}

/// The counters of one label set.
pub(crate) struct HttpMetrics {
    metrics: Arc<Metrics>,
    requests: Counter,
    allow: Option<Counter>,
    labels: Labels,
    by_status: AppendList<Outcome, (Counter, Histogram)>,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub status: Option<u16>,
    pub grpc_status: Option<i32>,
    /// Why the stream did not end well; empty if it did.
    pub error: &'static str,
}

impl Outcome {
    /// Linkerd's default classification: HTTP 5xx; gRPC UNKNOWN, `DEADLINE_EXCEEDED`, `PERMISSION_DENIED`, INTERNAL,
    /// UNAVAILABLE and `DATA_LOSS`.
    pub(crate) fn is_failure(self) -> bool {
        self.error == "unexpected"
            || match self.grpc_status {
                Some(code) => matches!(code, 2 | 4 | 7 | 13 | 14 | 15),
                None => self.status.is_none_or(|status| status >= 500),
            }
    }
}

impl HttpMetrics {
    /// A request is let in. Not each such request is passed on.
    pub(crate) fn allow(&self) {
        if let Some(allow) = &self.allow {
            allow.inc();
        }
    }

    pub(crate) fn request(&self) {
        self.requests.inc();
    }

    pub(crate) fn response(&self, outcome: Outcome, latency: Duration) {
        let (total, histogram) = self.by_status.get_or_insert(&outcome, || {
            (
                self.metrics.response.get_or_create_owned(&self.response_labels(outcome)),
                self.metrics.latency.get_or_create_owned(&self.latency_labels(outcome)),
            )
        });
        total.inc();
        histogram.observe(latency.as_secs_f64() * 1000.0);
    }

    fn latency_labels(&self, outcome: Outcome) -> Labels {
        let mut labels = self.labels.clone();
        if let Some(status) = outcome.status {
            labels.push(("status_code", status.to_string()));
        }
        labels
    }

    fn response_labels(&self, outcome: Outcome) -> Labels {
        let mut labels = self.latency_labels(outcome);
        labels.push(("classification", if outcome.is_failure() { "failure" } else { "success" }.to_owned()));
        labels.push(("grpc_status", outcome.grpc_status.map(|code| code.to_string()).unwrap_or_default()));
        labels.push(("error", outcome.error.to_owned()));
        labels
    }
}

/// The TCP counters of one label set.
pub(crate) struct TransportMetrics {
    opened: Counter,
    open: Gauge,
    read: Counter,
    write: Counter,
}

impl TransportMetrics {
    pub(crate) fn open(&self) {
        self.opened.inc();
        self.open.inc();
    }

    pub(crate) fn close(&self) {
        self.open.dec();
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.read.inc_by(bytes as u64);
    }

    pub(crate) fn wrote(&self, bytes: usize) {
        self.write.inc_by(bytes as u64);
    }
}
