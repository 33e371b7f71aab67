//! The life of one request of the application: choose, send, and choose again while it is safe.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, Uri, Version, header::HOST, request::Parts};
use hyper::{body::Incoming, service::service_fn, upgrade::OnUpgrade};

use crate::{
    Direction, Protocol, Record,
    body::{BoxError, RequestBody, ResponseBody},
    conn::Conn,
    inbound::server,
    metrics::Outcome,
    outbound::{
        Outbound, TimedOut,
        backend::Backend,
        balance::wire_of,
        endpoint::{EndpointState, Lease, Wire},
        exchange::wire,
        h2::{self, SendError},
        rescue::{Failed, Failure},
        rewrite::{Answer, answer, strip_hop, to_h2},
        route::Current,
        upgrade,
    },
    record::{Draft, Tracker},
    respond::Shape,
    tls::ALPN_HTTP1,
};

/// How long a gRPC request whose server is not there is tried (Linkerd's inbound fail-fast).
const REFUSED_PATIENCE: Duration = Duration::from_secs(1);
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
        let span = self.sidecar.span(request.headers_mut());
        let draft = self.sidecar.records.draft(span, || self.record(&request, shape));
        let current = self.routing.current();
        if shape.version != Version::HTTP_2 && upgrade::wants_upgrade(request.headers()) {
            let result = Box::pin(self.upgrade(&current, request, shape)).await;
            return result.or_else(|failed| self.rescue(failed, shape, draft, start));
        }
        let (mut head, body) = {
            request.extensions_mut().clear();
            request.into_parts()
        };
        self.restore_authority(&mut head);
        let body = RequestBody::gather(body).await?;
        // What only some Services ask for is boxed: each request's task is as large as its largest path.
        let result = if current.is_plain() {
            let sent = self.send(&current.own, head, body, shape, start).await;
            sent.map_err(|failure| Failed { route: None, failure })
        } else {
            Box::pin(self.route(&current, head, body, shape, start)).await
        };
        match result {
            Ok((mut response, mut tracker)) => {
                tracker.draft = draft.map(|draft| tracker.describe(draft));
                response.body_mut().track(tracker);
                Ok(response)
            }
            Err(failed) => self.rescue(failed, shape, draft, start),
        }
    }

    /// Sends the request once as far as any server can know: it goes to another endpoint while it is sure that
    /// it was not processed.
    pub(crate) async fn send(
        &self,
        backend: &Arc<Backend>,
        head: Parts,
        mut body: RequestBody,
        shape: Shape,
        start: Instant,
    ) -> Result<Answer, Failure> {
        let wire = wire(shape);
        let mut tried: Vec<Arc<EndpointState>> = Vec::new();
        let mut patience = None;
        loop {
            let lease = match backend.balancer.try_pick(wire, &tried) {
                Some(lease) => lease,
                // One that is still being connected to may listen where others do not.
                None if patience.is_some() && !shape.grpc => {
                    let others = backend.balancer.has_others(&tried);
                    let picked =
                        if others { backend.balancer.pick(wire, &tried, patience).await.ok() } else { None };
                    // Everyone was tried and nobody listens: HTTP says so, gRPC waits as its server's proxy would.
                    picked.ok_or_else(|| Failure::Refused(backend.clone()))?
                }
                None => {
                    tried.clear();
                    let picked = backend.balancer.pick(wire, &tried, patience).await;
                    picked.map_err(|unready| Failure::unready(unready, backend))?
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
                    let endpoint = lease.endpoint.clone();
                    lease.end(outcome);
                    return Err(Failure::Broken(backend.clone(), endpoint, error));
                }
            };
            tracing::debug!(addr = %lease.endpoint.info.addr, refused);
            lease.endpoint.suspend();
            tried.push(lease.endpoint.clone());
            patience.get_or_insert_with(|| tokio::time::Instant::now() + REFUSED_PATIENCE);
            let again = handle.and_then(|handle| handle.again());
            body = again.ok_or_else(|| Failure::Refused(backend.clone()))?;
        }
    }

    /// Sends a request for an upgrade over a connection of its own.
    async fn upgrade(
        &self,
        current: &Current,
        mut request: Request<Incoming>,
        shape: Shape,
    ) -> Result<Response<ResponseBody>, Failed> {
        let client: OnUpgrade = hyper::upgrade::on(&mut request);
        let (mut head, body) = request.into_parts();
        head.extensions.clear();
        self.restore_authority(&mut head);
        let routed = current.route(&head, shape)?;
        let failed = |failure| Failed::on(routed.matched.route, failure);
        let (backend, edits) = routed.choose(&mut head, shape, Wire::Own).map_err(failed)?;
        if let Some(authority) = head.uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            head.headers.insert(HOST, host);
        }
        head.uri = head.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
        head.version = Version::HTTP_11;
        let mut tried = Vec::new();
        let (conn, lease) = loop {
            let picked = backend.balancer.pick(Wire::Own, &tried, None).await;
            let lease = picked.map_err(|unready| failed(Failure::unready(unready, backend)))?;
            match lease.endpoint.connect(ALPN_HTTP1).await {
                Ok(conn) => break (conn, lease),
                Err(error) => {
                    lease.endpoint.suspend();
                    tried.push(lease.endpoint.clone());
                    if backend.balancer.try_pick(Wire::Own, &tried).is_none() {
                        return Err(failed(Failure::Unconnected(upgrade::no_connection(&error))));
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
                edits.apply(response.headers_mut());
                response.body_mut().track(tracker);
                Ok(response)
            }
            Err(error) => Err(failed(Failure::Broken(backend.clone(), lease.endpoint.clone(), error))),
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
            decision: None,
            status: None,
            grpc_status: None,
            broken: false,
            latency: Duration::ZERO,
        }
    }
}

impl TimedOut {
    pub(crate) fn limit(self) -> Duration {
        match self {
            Self::Headers(limit) | Self::Response(limit) | Self::Request(limit) | Self::Idle(limit) => limit,
        }
    }
}

impl Tracker {
    /// Adds who answered.
    fn describe(&self, mut draft: Box<Draft>) -> Box<Draft> {
        if let Some(lease) = &self.lease {
            draft.reached(&lease.endpoint.info);
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
