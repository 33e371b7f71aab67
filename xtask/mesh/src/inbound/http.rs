//! The life of one request to the application: decide, rewrite, forward.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{
    HeaderValue, Request, Response, StatusCode, Uri, Version,
    header::HOST,
    request::Parts,
    uri::{PathAndQuery, Scheme},
};
use hyper::{body::Incoming, service::service_fn};

use crate::{
    Direction, Protocol, Record,
    body::{BoxError, RequestBody, ResponseBody},
    conn::Conn,
    drain::Drain,
    inbound::{app::AppError, client::Client, server},
    metrics::{HttpMetrics, Outcome},
    outbound::{h2::h2_error, upgrade},
    record::{Draft, Tracker, grpc_status},
    respond::{L5D_CLIENT_ID, L5D_ORIG_PROTO, Shape, Synthetic, says_grpc},
};

/// How long a request waits for an application that does not listen (Linkerd's inbound fail-fast).
const FAILFAST: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Serves one connection's requests.
pub(crate) async fn serve(conn: Conn, protocol: Protocol, client: Client, drain: &Drain) {
    let client = Arc::new(client);
    let service = service_fn(move |request| client.clone().request(request));
    server::serve(conn, protocol, service, drain).await;
}

/// A request on its way, and what is to be counted at its end.
pub(super) struct Exchange {
    pub(super) shape: Shape,
    /// HTTP/1 as it came over HTTP/2: the version to restore.
    original: Option<Version>,
    start: Instant,
    metrics: Arc<HttpMetrics>,
    draft: Option<Box<Draft>>,
}

impl Client {
    async fn request(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, BoxError> {
        let start = Instant::now();
        let original = original_version(&mut request);
        let shape = Shape::of(&request, original.is_some());
        let sidecar = &self.inbound.sidecar;
        let span = sidecar.span(request.headers_mut());
        let mut draft = sidecar.records.draft(span, || self.record(&request, shape));
        // To a peer's gRPC the answer has that shape, also where its application speaks HTTP/1.
        let answered = Shape { grpc: shape.grpc || (original.is_some() && says_grpc(&request)), ..shape };
        let (decision, ruling) = self.enforce(&mut request, shape);
        let fault = if ruling.is_ok() { self.fault(&request, shape, &decision) } else { None };
        if let Some(draft) = &mut draft {
            draft.record.decision = Some(decision);
        }
        match ruling {
            Ok(metrics) => {
                let exchange = Exchange { shape, original, start, metrics, draft };
                match fault {
                    None => self.forward_request(request, exchange).await,
                    Some(fault) => Box::pin(self.forward_with_fault(request, exchange, fault)).await,
                }
            }
            Err(synthetic) => Ok(self.refuse_with(&synthetic, answered, draft, start)),
        }
    }

    /// The answer to what is not let through. As in Linkerd, such requests are not among those that are counted
    /// by their responses.
    fn refuse_with(
        &self,
        synthetic: &Synthetic,
        shape: Shape,
        draft: Option<Box<Draft>>,
        start: Instant,
    ) -> Response<ResponseBody> {
        let response = synthetic.response(shape, self.identity.is_some());
        if let Some(draft) = draft {
            let status = Some(response.status().as_u16());
            let outcome = Outcome { status, grpc_status: grpc_status(response.headers()), error: "" };
            draft.publish(outcome, start.elapsed());
        }
        response
    }

    pub(super) async fn forward_request(
        &self,
        mut request: Request<Incoming>,
        exchange: Exchange,
    ) -> Result<Response<ResponseBody>, BoxError> {
        let headers = request.headers_mut();
        match &self.id_header {
            Some(id) => drop(headers.insert(L5D_CLIENT_ID, id.clone())),
            None => drop(headers.remove(L5D_CLIENT_ID)),
        }
        if exchange.shape.version == Version::HTTP_2 {
            request.extensions_mut().clear();
            let (head, body) = request.into_parts();
            let body = RequestBody::gather(body).await?;
            self.forward_h2(head, body, exchange).await
        } else if exchange.original.is_none() && upgrade::wants_upgrade(request.headers()) {
            Ok(Box::pin(self.forward_upgrade(request, exchange)).await)
        } else {
            request.extensions_mut().clear();
            Box::pin(self.forward_h1(request, exchange)).await
        }
    }

    async fn forward_h2(
        &self,
        head: Parts,
        body: RequestBody,
        exchange: Exchange,
    ) -> Result<Response<ResponseBody>, BoxError> {
        let app = &self.inbound.app;
        if self.identity.is_some() {
            return match app.h2(Request::from_parts(head, body)).await {
                Ok(response) => Ok(exchange.respond(response)),
                // The peer sidecar knows what to do: another endpoint, or Linkerd's answer.
                Err(AppError::Closed(_)) => {
                    Err(exchange.fail(h2::Error::from(h2::Reason::REFUSED_STREAM).into()))
                }
                Err(AppError::Broken(error)) => Err(exchange.fail(error)),
            };
        }
        Box::pin(self.forward_patiently(head, body, exchange)).await
    }

    /// For an unmeshed client, which cannot be told to go elsewhere: waits for an application that does not listen.
    async fn forward_patiently(
        &self,
        head: Parts,
        mut body: RequestBody,
        exchange: Exchange,
    ) -> Result<Response<ResponseBody>, BoxError> {
        let app = &self.inbound.app;
        let deadline = tokio::time::Instant::now() + FAILFAST;
        loop {
            let handle = body.handle();
            match app.h2(Request::from_parts(head.clone(), body)).await {
                Ok(response) => return Ok(exchange.respond(response)),
                Err(AppError::Broken(error)) => return Err(exchange.fail(error)),
                Err(AppError::Closed(_)) => {}
            }
            match handle.and_then(|handle| handle.again()) {
                Some(again) if tokio::time::Instant::now() + RETRY_PAUSE < deadline => body = again,
                _ => {
                    let message = self.explain("service in fail-fast");
                    return Ok(self.synthetic(&Synthetic::gateway_timeout(message), exchange));
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn forward_h1(
        &self,
        request: Request<Incoming>,
        exchange: Exchange,
    ) -> Result<Response<ResponseBody>, BoxError> {
        let (mut head, body) = request.into_parts();
        let body = RequestBody::Once(body);
        head.version = exchange.original.unwrap_or(head.version).max(Version::HTTP_11);
        set_host(&mut head);
        if exchange.original.is_none() {
            crate::outbound::strip_hop(&mut head.headers);
        }
        head.uri = self.app_uri(&head.uri);
        match self.inbound.app.h1(Request::from_parts(head, body)).await {
            Ok(response) => Ok(exchange.respond(response)),
            Err(AppError::Closed(error)) if exchange.original.is_some() => {
                tracing::debug!(%error, "the application does not listen");
                Err(exchange.fail(h2::Error::from(h2::Reason::REFUSED_STREAM).into()))
            }
            Err(AppError::Closed(error) | AppError::Broken(error)) => {
                let message = self.explain(&error.to_string());
                Ok(self.synthetic(&Synthetic::bad_gateway(message), exchange))
            }
        }
    }

    async fn forward_upgrade(
        &self,
        mut request: Request<Incoming>,
        exchange: Exchange,
    ) -> Response<ResponseBody> {
        let client = hyper::upgrade::on(&mut request);
        let (mut head, body) = request.into_parts();
        head.extensions.clear();
        set_host(&mut head);
        head.uri = head.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
        let request = Request::from_parts(head, RequestBody::Once(body));
        let connections = &self.inbound.sidecar.inbound;
        let sent = match self.inbound.app.connect().await {
            Ok(conn) => {
                upgrade::send(conn, request, client, connections).await.map_err(|error| error.to_string())
            }
            Err(error) => Err(upgrade::no_connection(&error)),
        };
        match sent {
            Ok(response) => exchange.respond(response),
            Err(error) => self.synthetic(&Synthetic::bad_gateway(self.explain(&error)), exchange),
        }
    }

    /// The pool wants an absolute URI; the application sees only its path.
    fn app_uri(&self, uri: &Uri) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.inbound.app.authority().clone());
        parts.path_and_query =
            Some(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        Uri::from_parts(parts).unwrap_or_default()
    }

    /// The proxy's own answer. Only meshed peers are told why.
    fn synthetic(&self, synthetic: &Synthetic, exchange: Exchange) -> Response<ResponseBody> {
        let mut response = synthetic.response(exchange.shape, self.identity.is_some());
        exchange.track(&mut response);
        response
    }

    fn record(&self, request: &Request<Incoming>, shape: Shape) -> Record {
        Record {
            direction: Direction::Inbound,
            workload: self.inbound.sidecar.workload.clone(),
            peer: Some(self.addr),
            peer_identity: self.identity.clone(),
            peer_workload: None,
            authority: authority(request).unwrap_or_default().into(),
            protocol: shape.protocol(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            decision: None,
            status: None,
            grpc_status: None,
            broken: false,
            latency: Duration::ZERO,
        }
    }
}

impl Exchange {
    fn respond(self, response: Response<Incoming>) -> Response<ResponseBody> {
        let mut response = response.map(ResponseBody::incoming);
        if self.shape.version != Version::HTTP_2 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            crate::outbound::strip_hop(response.headers_mut());
        }
        if self.original.is_some() {
            let headers = response.headers_mut();
            headers.insert(L5D_ORIG_PROTO, HeaderValue::from_static("HTTP/1.1"));
            *response.version_mut() = Version::HTTP_2;
        }
        self.track(&mut response);
        response
    }

    pub(super) fn track(self, response: &mut Response<ResponseBody>) {
        let Self { shape, start, metrics, draft, .. } = self;
        let status = response.status().as_u16();
        let grpc_status = grpc_status(response.headers());
        let grpc = shape.grpc;
        response.body_mut().track(Tracker { metrics, start, status, grpc, grpc_status, draft, lease: None });
    }

    /// Counts a stream that is reset.
    pub(super) fn fail(self, error: BoxError) -> BoxError {
        let outcome = Outcome { status: None, grpc_status: None, error: "unexpected" };
        let latency = self.start.elapsed();
        self.metrics.response(outcome, latency);
        if let Some(draft) = self.draft {
            draft.publish(outcome, latency);
        }
        tracing::debug!(reason = ?h2_error(&*error).and_then(h2::Error::reason), "stream reset");
        error
    }
}

/// Takes off the header by which a peer sidecar says that this is HTTP/1, and returns the version it names.
fn original_version(request: &mut Request<Incoming>) -> Option<Version> {
    if request.version() != Version::HTTP_2 {
        return None;
    }
    let original = request.headers_mut().remove(L5D_ORIG_PROTO)?;
    Some(if original.as_bytes().starts_with(b"HTTP/1.0") { Version::HTTP_10 } else { Version::HTTP_11 })
}

/// What the client calls: `:authority`, or `Host`.
pub(super) fn authority(request: &Request<Incoming>) -> Option<&str> {
    let host = || request.headers().get(HOST).and_then(|host| host.to_str().ok());
    request.uri().authority().map(http::uri::Authority::as_str).or_else(host)
}

/// HTTP/2 names the host in `:authority`, HTTP/1 in `Host`.
fn set_host(head: &mut Parts) {
    if let Some(authority) = head.uri.authority()
        && !head.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, host);
    }
}
