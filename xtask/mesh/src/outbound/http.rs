//! The life of one request of the application: choose, send, and choose again while it is safe.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, Uri, Version, header::HOST, request::Parts};
use hyper::{body::Incoming, service::service_fn, upgrade::OnUpgrade};

use crate::{
    Direction, Protocol, Record, Retry, Timeouts,
    body::{BoxError, RequestBody, ResponseBody},
    conn::Conn,
    inbound::server,
    metrics::Outcome,
    outbound::{
        Outbound, TimedOut,
        balance::wire_of,
        endpoint::{EndpointState, Lease, Wire},
        h2::{self, SendError},
        random,
        rescue::Failure,
        rewrite::{Answer, answer, strip_hop, to_h2},
        upgrade,
    },
    record::{Draft, Tracker, grpc_status},
    respond::{Shape, Synthetic},
    tls::ALPN_HTTP1,
};

/// How long a gRPC request whose server is not there is tried (Linkerd's inbound fail-fast).
const REFUSED_PATIENCE: Duration = Duration::from_secs(1);
/// Linkerd's pauses between retries: 25 ms doubling to 250 ms, and as much again at random.
const RETRY_BACKOFF: Duration = Duration::from_millis(25);
const MAX_RETRY_BACKOFF: Duration = Duration::from_millis(250);

impl Outbound {
    pub(crate) async fn serve(self: Arc<Self>, conn: Conn, protocol: Protocol) {
        let outbound = self.clone();
        let service = service_fn(move |request| outbound.clone().request(request));
        server::serve(conn, protocol, service, &self.sidecar.outbound).await;
    }

    async fn request(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, BoxError> {
        let start = Instant::now();
        let shape = Shape::of(&request, false);
        let draft = self.sidecar.records.draft(|| self.record(&request, shape));
        if shape.version != Version::HTTP_2 && upgrade::wants_upgrade(request.headers()) {
            return Ok(Box::pin(self.upgrade(request, shape)).await);
        }
        let (mut head, body) = {
            request.extensions_mut().clear();
            request.into_parts()
        };
        self.restore_authority(&mut head);
        let body = RequestBody::gather(body).await?;
        let timeouts = self.settings.timeouts;
        let deadline = timeouts.request.map(|limit| tokio::time::Instant::now() + limit);
        // What only some Services ask for is boxed: each request's task is as large as its largest path.
        let result = if self.retry(shape).is_none() && timeouts == Timeouts::default() {
            self.send(head, body, shape, start).await
        } else {
            let exchange = Box::pin(self.exchange(head, body, shape, start));
            match (deadline, timeouts.request) {
                (Some(deadline), Some(limit)) => tokio::time::timeout_at(deadline, exchange)
                    .await
                    .unwrap_or(Err(Failure::TimedOut(TimedOut::Request(limit)))),
                _ => exchange.await,
            }
        };
        match result {
            Ok((mut response, mut tracker)) => {
                tracker.draft = draft.map(|draft| tracker.describe(draft));
                self.limit(&mut response, deadline);
                response.body_mut().track(tracker);
                Ok(response)
            }
            Err(failure) => self.rescue(failure, shape, draft, start),
        }
    }

    fn retry(&self, shape: Shape) -> Option<&Retry> {
        let (grpc, http) = (&self.settings.grpc_retry, &self.settings.http_retry);
        if shape.grpc { grpc.as_ref().or(http.as_ref()) } else { http.as_ref() }
    }

    /// Sends the request, and again as the Service's retries ask for.
    async fn exchange(
        &self,
        head: Parts,
        body: RequestBody,
        shape: Shape,
        start: Instant,
    ) -> Result<Answer, Failure> {
        let Some(retry) = self.retry(shape) else {
            return self.attempt(head, body, shape, start, None).await;
        };
        let mut body = body;
        let mut backoff = RETRY_BACKOFF;
        for _ in 0..retry.limit {
            let Some(handle) = body.handle() else { break };
            let result = self.attempt(head.clone(), body, shape, start, retry.timeout).await;
            let again = match result {
                Ok((mut response, tracker)) => {
                    let grpc_status = match tracker.grpc_status {
                        None if shape.grpc => response.body_mut().peek_trailers().await.and_then(grpc_status),
                        known => known,
                    };
                    if !retry.wants(response.status().as_u16(), grpc_status) {
                        return Ok((response, tracker));
                    }
                    match handle.again() {
                        None => return Ok((response, tracker)),
                        Some(again) => {
                            Tracker { grpc_status, ..tracker }.complete();
                            again
                        }
                    }
                }
                Err(failure @ (Failure::FailFast | Failure::TimedOut(TimedOut::Headers(_)))) => {
                    handle.again().ok_or(failure)?
                }
                Err(failure) => return Err(failure),
            };
            body = again;
            tokio::time::sleep(backoff.mul_f64(1.0 + random::fraction())).await;
            backoff = (backoff * 2).min(MAX_RETRY_BACKOFF);
        }
        self.attempt(head, body, shape, start, None).await
    }

    /// Sends the request once as far as any server can know: it goes to another endpoint while it is sure that
    /// it was not processed.
    async fn attempt(
        &self,
        head: Parts,
        body: RequestBody,
        shape: Shape,
        start: Instant,
        headers_limit: Option<Duration>,
    ) -> Result<Answer, Failure> {
        let response_limit = self.settings.timeouts.response.map(TimedOut::Response);
        let headers_limit = headers_limit.map(TimedOut::Headers);
        let limit = match (response_limit, headers_limit) {
            (Some(response), Some(headers)) if response.limit() < headers.limit() => Some(response),
            (response, headers) => headers.or(response),
        };
        let send = self.send(head, body, shape, start);
        match limit {
            None => send.await,
            Some(limit) => {
                tokio::time::timeout(limit.limit(), send).await.unwrap_or(Err(Failure::TimedOut(limit)))
            }
        }
    }

    async fn send(
        &self,
        head: Parts,
        mut body: RequestBody,
        shape: Shape,
        start: Instant,
    ) -> Result<Answer, Failure> {
        let wire = if shape.version == Version::HTTP_2 { Wire::H2 } else { Wire::H1 };
        let mut tried: Vec<Arc<EndpointState>> = Vec::new();
        let mut patience = None;
        loop {
            let lease = match self.balancer.try_pick(wire, &tried) {
                Some(lease) => lease,
                // Everyone was tried and nobody listens: HTTP says so, gRPC waits as its server's proxy would.
                None if patience.is_some() && !shape.grpc => return Err(Failure::Refused),
                None => {
                    tried.clear();
                    self.balancer.pick(wire, &tried, patience).await.map_err(|_| Failure::FailFast)?
                }
            };
            let handle = body.handle();
            let mut request = Request::from_parts(head.clone(), body);
            let wire = wire_of(&lease.endpoint, wire);
            let metrics = lease.endpoint.http.clone();
            metrics.request();
            let sent = match wire {
                Wire::H2 => {
                    let Some(mut sender) = lease.endpoint.h2() else {
                        body = request.into_body();
                        continue;
                    };
                    to_h2(&mut request, shape);
                    h2::send(&mut sender, request).await
                }
                _ => Box::pin(send_h1(&lease, request)).await,
            };
            let refused = match sent {
                Ok(response) => return Ok(answer(response, lease, metrics, shape, start)),
                Err(SendError::Unsent(request)) => {
                    tried.push(lease.endpoint.clone());
                    body = request.into_body();
                    continue;
                }
                Err(SendError::Refused) => "the endpoint refused the request",
                Err(SendError::Broken(error)) => {
                    let outcome = Outcome { status: None, grpc_status: None, error: "unexpected" };
                    metrics.response(outcome, start.elapsed());
                    lease.end(outcome);
                    return Err(Failure::Broken(error));
                }
            };
            tracing::debug!(addr = %lease.endpoint.info.addr, refused);
            lease.endpoint.suspend();
            tried.push(lease.endpoint.clone());
            patience.get_or_insert_with(|| tokio::time::Instant::now() + REFUSED_PATIENCE);
            body = handle.and_then(|handle| handle.again()).ok_or(Failure::Refused)?;
        }
    }

    /// Sends a request for an upgrade over a connection of its own.
    async fn upgrade(&self, mut request: Request<Incoming>, shape: Shape) -> Response<ResponseBody> {
        let client: OnUpgrade = hyper::upgrade::on(&mut request);
        let (mut head, body) = request.into_parts();
        head.extensions.clear();
        self.restore_authority(&mut head);
        if let Some(authority) = head.uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            head.headers.insert(HOST, host);
        }
        head.uri = head.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
        head.version = Version::HTTP_11;
        let mut tried = Vec::new();
        let (conn, lease) = loop {
            let Ok(lease) = self.balancer.pick(Wire::Own, &tried, None).await else {
                return self.synthetic(&Failure::FailFast).response(shape, true);
            };
            match lease.endpoint.connect(ALPN_HTTP1).await {
                Ok(conn) => break (conn, lease),
                Err(error) => {
                    lease.endpoint.suspend();
                    tried.push(lease.endpoint.clone());
                    if self.balancer.try_pick(Wire::Own, &tried).is_none() {
                        let message = format!("{}{}", self.logical, upgrade::no_connection(&error));
                        return Synthetic::bad_gateway(message).response(shape, true);
                    }
                }
            }
        };
        let start = Instant::now();
        let request = Request::from_parts(head, RequestBody::Once(body));
        match upgrade::send(conn, request, client, &self.sidecar.outbound).await {
            Ok(response) => {
                let metrics = lease.endpoint.http.clone();
                metrics.request();
                let (mut response, tracker) = answer(response, lease, metrics, shape, start);
                response.body_mut().track(tracker);
                response
            }
            Err(error) => self.synthetic(&Failure::Broken(error)).response(shape, true),
        }
    }

    fn record(&self, request: &Request<Incoming>, shape: Shape) -> Record {
        Record {
            direction: Direction::Outbound,
            workload: self.sidecar.workload.clone(),
            peer: None,
            peer_identity: None,
            peer_workload: None,
            authority: self.name.clone(),
            protocol: shape.protocol(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            status: None,
            grpc_status: None,
            latency: Duration::ZERO,
        }
    }
}

impl TimedOut {
    fn limit(self) -> Duration {
        match self {
            Self::Headers(limit) | Self::Response(limit) | Self::Request(limit) | Self::Idle(limit) => limit,
        }
    }
}

impl Tracker {
    /// Adds who answered.
    fn describe(&self, mut draft: Box<Draft>) -> Box<Draft> {
        if let Some(lease) = &self.lease {
            let endpoint = &lease.endpoint.info;
            draft.record.peer = Some(endpoint.addr);
            draft.record.peer_identity.clone_from(&endpoint.identity);
            draft.record.peer_workload = Some(endpoint.workload.clone());
        }
        draft
    }
}

async fn send_h1(lease: &Lease, mut request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    *request.version_mut() = Version::HTTP_11;
    strip_hop(request.headers_mut());
    lease.endpoint.h1().request(request).await.map_err(|error| {
        if error.is_connect() { SendError::Refused } else { SendError::Broken(error.into()) }
    })
}
