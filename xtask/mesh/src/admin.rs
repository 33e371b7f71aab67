use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::{MeshError, conn, context::Context};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `/metrics`, `/live` and `/ready`, as Linkerd's proxy does on port 4191.
pub(crate) fn start(port: u16, sidecar: &Arc<Context>) -> Result<(), MeshError> {
    let addr = SocketAddr::from((sidecar.pod_ip, port));
    let listener = conn::listen(addr).map_err(|source| MeshError::Listen { addr, source })?;
    let context = sidecar.clone();
    // As long as the pod's other side: what drains can still be looked at.
    sidecar.outbound.listen(async move {
        loop {
            let (io, _) = conn::accept(&listener).await;
            let answering = context.clone();
            let service = service_fn(move |request| {
                let response = answer(&request, &answering);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).keep_alive(false);
            let connection = http.serve_connection(TokioIo::new(io), service);
            context.outbound.connection(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "admin connection broken");
                }
            });
        }
    });
    Ok(())
}

fn answer(request: &Request<Incoming>, sidecar: &Context) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let text = sidecar.metrics.render(sidecar.credentials.expires());
            response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(OPEN_METRICS));
            *response.body_mut() = Full::from(text);
        }
        (&Method::GET, "/live") => *response.body_mut() = Full::from("live\n"),
        (&Method::GET, "/ready") => *response.body_mut() = Full::from("ready\n"),
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}
