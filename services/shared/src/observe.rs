//! What happens around every request, on both protocols: it is taken down, given its time, counted and
//! logged.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Version, header::CONNECTION},
    middleware::Next,
    response::{IntoResponse, Response},
};
use otlp::Kind;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::{debug, warn};

use crate::{
    asked::Asked,
    metrics::ServerMetrics,
    trace::{Ended, Tracer, status_attribute},
};

/// The longest that a request may take until its answer begins, its body's arrival included. Well above
/// the deadline of a call, which is what should run out first.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What [`observe`] needs to know.
#[derive(Clone)]
pub(crate) struct Observer {
    pub(crate) metrics: ServerMetrics,
    pub(crate) tracer: Tracer,
    pub(crate) draining: CancellationToken,
    /// Whether this is the gRPC port.
    pub(crate) grpc: bool,
}

/// The middleware of both ports. It leaves an `Arc<Asked>` in the request's extensions.
pub(crate) async fn observe(State(observer): State<Observer>, mut request: Request, next: Next) -> Response {
    let Observer { metrics, tracer, draining, grpc } = observer;
    let started = Instant::now();
    let asked = Arc::new(Asked::of(&request, grpc));
    let (method, version) = (request.method().clone(), request.version());
    request.extensions_mut().insert(asked.clone());

    let limit = started + REQUEST_TIMEOUT;
    let deadline = asked.deadline.map_or(limit, |deadline| deadline.min(limit));
    let answered = timeout_at(deadline, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| too_late(grpc));
    // hyper closes such a connection after the answer, and the client knows that it will.
    if version < Version::HTTP_2 && draining.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }

    let took = started.elapsed();
    let (protocol, counted, status, failed) = if grpc {
        // Headers have a status only if the call failed; a success says so in its trailers.
        let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
        let path = if code == Code::Unimplemented { "other" } else { asked.path.as_str() };
        ("grpc", path, i32::from(code), code != Code::Ok)
    } else {
        let status = response.status();
        ("http", "/*", i32::from(status.as_u16()), status.is_server_error())
    };
    metrics.record(protocol, &method, counted, status, took);
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let Asked { method, path, trace, .. } = &*asked;
    tracer.end(|| Ended {
        kind: Kind::Server,
        name: if grpc { path.trim_start_matches('/').to_owned() } else { format!("{method} {path}") },
        attributes: vec![
            ("http.request.method", method.as_str().into()),
            ("url.path", path.as_str().into()),
            status_attribute(protocol, status),
        ],
        failed,
        trace,
    });
    if failed {
        warn!(protocol, %method, %path, status, micros, trace_id = %trace.id, "request failed");
    } else {
        debug!(protocol, %method, %path, status, micros, trace_id = %trace.id, "request answered");
    }
    response
}

fn too_late(grpc: bool) -> Response {
    if grpc {
        Status::deadline_exceeded("the deadline passed before the answer was ready").into_http()
    } else {
        (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response()
    }
}
