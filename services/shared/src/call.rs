//! Calls to other services: who is called, over which protocol, and what came of it.

use std::{error::Error, fmt::Write, future::Future, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use http::Uri;
use proto::demo::{InfoRequest, InfoResponse};
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, transport::Channel};

use otlp::Kind;

use crate::{
    answer::{CalleeReport, Document},
    asked::Asked,
    call_grpc::GrpcClient,
    call_http::HttpClient,
    env::{A_BASE_URL, Env, base_url},
    metrics::ClientMetrics,
    trace::{Ended, Tracer, status_attribute},
};

/// How long a call may take; less, if the client of the request that it serves waits less.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long connecting may take, so that an address that swallows packets is told from a slow answer.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A service that this one calls.
#[derive(Clone)]
pub struct Callee {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) get_info: GetInfo,
}

/// The generated client's call, which alone knows the callee's gRPC service.
pub(crate) type GetInfo = Arc<
    dyn Fn(Channel, Request<InfoRequest>) -> BoxFuture<'static, Result<Response<InfoResponse>, Status>>
        + Send
        + Sync,
>;

impl Callee {
    /// The service `name`, which is asked for `path` over HTTP and by `get_info` over gRPC. `name` also
    /// names its variables: `bar` is at `BAR_HTTP_URL` and `BAR_GRPC_URL`.
    pub fn new<F, Fut>(name: &'static str, path: &'static str, get_info: F) -> Self
    where
        F: Fn(Channel, Request<InfoRequest>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<InfoResponse>, Status>> + Send + 'static,
    {
        let get_info = Arc::new(move |channel, request| get_info(channel, request).boxed());
        Self { name, path, get_info }
    }

    /// Where it is. Only the variable of the protocol in use has to be set, but none may be wrong.
    pub(crate) fn read(&self, env: &mut Env<'_>, use_grpc: Option<bool>) -> Option<Uri> {
        let prefix = self.name.to_uppercase().replace('-', "_");
        let mut url = |protocol: &str, required: bool| {
            let variable = format!("{prefix}_{protocol}_URL");
            if required {
                env.required(&variable, A_BASE_URL, base_url)
            } else {
                env.optional(&variable, A_BASE_URL, base_url)
            }
        };
        let http = url("HTTP", use_grpc == Some(false));
        let grpc = url("GRPC", use_grpc == Some(true));
        if use_grpc? { grpc } else { http }
    }
}

/// Who calls, for every callee alike.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) service: &'static str,
    pub(crate) metrics: ClientMetrics,
    pub(crate) tracer: Tracer,
}

impl Origin {
    /// `foo/0.1.0`
    pub(crate) fn user_agent(&self) -> String {
        format!("{}/{}", self.service, env!("CARGO_PKG_VERSION"))
    }
}

/// A callee and the connections to it.
pub(crate) struct Client {
    callee: &'static str,
    origin: Origin,
    over: Over,
}

enum Over {
    Http(Box<HttpClient>),
    Grpc(GrpcClient),
}

impl Client {
    /// Connects with the first call, not now.
    pub(crate) fn new(callee: Callee, at: &Uri, use_grpc: bool, origin: Origin) -> anyhow::Result<Self> {
        let name = callee.name;
        let over = if use_grpc {
            Over::Grpc(GrpcClient::new(callee, at, &origin)?)
        } else {
            Over::Http(HttpClient::new(&callee, at, &origin)?.into())
        };
        Ok(Self { callee: name, origin, over })
    }

    /// Calls on behalf of the request `asked`, and says how it went.
    pub(crate) async fn call(&self, asked: &Asked) -> CalleeReport {
        let started = Instant::now();
        let limit = started + CALL_TIMEOUT;
        let deadline = asked.deadline.map_or(limit, |deadline| deadline.min(limit));
        let trace = asked.trace.child();
        let (protocol, outcome) = match &self.over {
            Over::Http(client) => ("http", client.call(&trace, deadline).await),
            Over::Grpc(client) => ("grpc", client.call(&trace, deadline).await),
        };
        let (status, grpc_status, answer, error) = match outcome {
            Ok(document) => (200, None, Some(Box::new(document)), None),
            Err(Failure { status, code, error }) => (status, code.map(i32::from), None, Some(error)),
        };
        let counted = match (&self.over, &answer) {
            (Over::Http(_), _) => i32::from(status),
            (Over::Grpc(_), Some(_)) => 0,
            (Over::Grpc(_), None) => grpc_status.unwrap_or_default(),
        };
        self.origin.metrics.record(self.callee, protocol, counted, started.elapsed());
        self.origin.tracer.end(|| Ended {
            kind: Kind::Client,
            name: format!("call {}", self.callee),
            attributes: vec![("peer.service", self.callee.into()), status_attribute(protocol, counted)],
            failed: error.is_some(),
            trace: &trace,
        });
        let callee = self.callee.to_owned();
        CalleeReport { callee, protocol: protocol.to_owned(), status, grpc_status, answer, error }
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The callee's HTTP status, or the one that says the same as what happened.
    pub(crate) status: u16,
    /// The gRPC status, of gRPC calls.
    pub(crate) code: Option<Code>,
    /// One line for people.
    pub(crate) error: String,
}

/// Reads a callee's document.
pub(crate) fn document(json: &[u8]) -> Result<Document, String> {
    serde_json::from_slice(json).map_err(|error| format!("the answer is not a document: {error}"))
}

/// An error with its causes in one line, without those that an outer one has said already.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            // Writing to a string cannot fail.
            let _ = write!(line, ": {text}");
        }
        cause = error.source();
    }
    line
}

/// The error of type `E` among an error and its causes.
pub(crate) fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}
