use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderMap;
use policy::{inbound::Verdict, label::PolicyLabels, rate_limit::RateLimited};
use tokio::sync::broadcast;

use crate::{
    Endpoint, Identity, Protocol, Workload,
    metrics::{HttpMetrics, Outcome},
    outbound::Lease,
    respond::GRPC_STATUS,
    trace::Joined,
};

/// Which side of the sidecar saw a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From others to the application.
    Inbound,
    /// From the application to a Service.
    Outbound,
}

/// What a policy said of a request or a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Whether it was let in. [`Verdict::Audit`]: only the access policy `audit` lets it in, and it would be refused
    /// by `deny`.
    pub verdict: Verdict,
    /// The limit that a request which was let in exceeded: it was answered with HTTP 429, gRPC 8.
    pub exceeded: Option<RateLimited>,
    /// The Server, the route and the authorization that decided.
    pub labels: Arc<PolicyLabels>,
}

/// One finished request, for those who watch live traffic. Also an inbound connection that is not HTTP, when it is
/// decided on: with the protocol [`Protocol::Opaque`], the method CONNECT and no path.
#[derive(Clone, Debug)]
pub struct Record {
    /// Which side of the sidecar saw it.
    pub direction: Direction,
    /// The sidecar's pod.
    pub workload: Arc<Workload>,
    /// The client's address when inbound; the endpoint's when outbound (None if no endpoint was reached).
    pub peer: Option<SocketAddr>,
    /// The other pod's identity, when the connection was mutual TLS.
    pub peer_identity: Option<Identity>,
    /// The endpoint's pod, when outbound.
    pub peer_workload: Option<Arc<Workload>>,
    /// The authority (outbound: the Service port called).
    pub authority: Arc<str>,
    /// How the application spoke.
    pub protocol: Protocol,
    /// The HTTP method.
    pub method: http::Method,
    /// The path, without the query.
    pub path: String,
    /// What the pod's policy said, when inbound.
    pub decision: Option<Decision>,
    /// The HTTP status; None when the stream broke before one.
    pub status: Option<u16>,
    /// `grpc-status`, from headers or trailers.
    pub grpc_status: Option<i32>,
    /// It broke off before its end. A connection that is not HTTP: it was closed at once.
    pub broken: bool,
    /// From the request's headers to the end of the response.
    pub latency: Duration,
}

/// The stream of [`Record`]s of one sidecar. Making a record costs only while somebody listens.
#[derive(Clone)]
pub(crate) struct Records(broadcast::Sender<Arc<Record>>);

/// The stream of records of a sidecar that may have ended.
#[derive(Clone, Debug)]
pub struct RecordSource(broadcast::WeakSender<Arc<Record>>);

impl RecordSource {
    /// Listens from now on; none when the sidecar has ended.
    pub fn subscribe(&self) -> Option<broadcast::Receiver<Arc<Record>>> {
        self.0.upgrade().map(|sender| sender.subscribe())
    }

    /// Whether the sidecar is still there.
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Whether both are of one living sidecar.
    pub fn is_same(&self, other: &Self) -> bool {
        let both = self.0.upgrade().zip(other.0.upgrade());
        both.is_some_and(|(own, other)| own.same_channel(&other))
    }
}

/// So many records a slow listener may be behind before it loses some.
const CAPACITY: usize = 4096;

impl Records {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Record>> {
        self.0.subscribe()
    }

    pub(crate) fn source(&self) -> RecordSource {
        RecordSource(self.0.downgrade())
    }

    /// A record to be finished, if anybody listens or the request has a span.
    pub(crate) fn draft(
        &self,
        span: Option<Box<Joined>>,
        draft: impl FnOnce() -> Record,
    ) -> Option<Box<Draft>> {
        let is_wanted = span.is_some() || self.0.receiver_count() > 0;
        is_wanted.then(|| Box::new(Draft { record: draft(), to: self.0.clone(), span }))
    }

    /// A record that is whole already, if anybody listens.
    pub(crate) fn publish(&self, record: impl FnOnce() -> Record) {
        if self.0.receiver_count() > 0 {
            // Nobody listening any more is no error.
            let _ = self.0.send(Arc::new(record()));
        }
    }
}

/// A record of a request that is still under way.
pub(crate) struct Draft {
    pub record: Record,
    to: broadcast::Sender<Arc<Record>>,
    span: Option<Box<Joined>>,
}

impl Draft {
    /// The endpoint that took an outbound request.
    pub(crate) fn reached(&mut self, endpoint: &Endpoint) {
        self.record.peer = Some(endpoint.addr);
        self.record.peer_identity.clone_from(&endpoint.identity);
        self.record.peer_workload = Some(endpoint.workload.clone());
    }

    pub(crate) fn publish(mut self, outcome: Outcome, latency: Duration) {
        self.record.status = outcome.status;
        self.record.grpc_status = outcome.grpc_status;
        self.record.broken = outcome.error == "unexpected";
        self.record.latency = latency;
        if let Some(span) = self.span {
            span.end(&self.record);
        }
        // Nobody listening any more is no error.
        let _ = self.to.send(Arc::new(self.record));
    }
}

/// Follows one response to its end, then counts it.
pub(crate) struct Tracker {
    pub metrics: Arc<HttpMetrics>,
    pub start: Instant,
    pub status: u16,
    pub grpc: bool,
    pub grpc_status: Option<i32>,
    pub draft: Option<Box<Draft>>,
    /// The endpoint that answers: its load until the first data, its breaker.
    pub lease: Option<Lease>,
}

impl Tracker {
    /// A frame has passed.
    pub(crate) fn frame(&mut self, trailers: Option<&HeaderMap>) {
        if let Some(lease) = &mut self.lease {
            lease.first_data();
        }
        if let Some(trailers) = trailers {
            self.grpc_status = grpc_status(trailers).or(self.grpc_status);
        }
    }

    pub(crate) fn complete(self) {
        self.finish("");
    }

    pub(crate) fn broken(self) {
        self.finish("unexpected");
    }

    /// The receiver has gone.
    pub(crate) fn canceled(self) {
        self.finish("canceled");
    }

    fn finish(mut self, error: &'static str) {
        let outcome = Outcome {
            status: Some(self.status),
            // gRPC without a status is UNKNOWN.
            grpc_status: self.grpc_status.or((self.grpc && error.is_empty()).then_some(2)),
            error,
        };
        let latency = self.start.elapsed();
        self.metrics.response(outcome, latency);
        if let Some(lease) = self.lease.take() {
            lease.end(outcome);
        }
        if let Some(draft) = self.draft.take() {
            draft.publish(outcome, latency);
        }
    }
}

/// `grpc-status` in headers or trailers.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<i32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}
