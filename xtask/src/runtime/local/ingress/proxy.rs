//! One request through the ingress: which backend, which of its addresses, what when one fails.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, request};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{Refusal, Reply, broke_off, no_endpoint, too_large, unreachable};
use super::backend::Backend;
use super::body::{Replay, Source};
use super::headers::{self, Received};
use super::pool::{Connection, Pool, Protocol, Streamed};
use super::routes::Routes;
use super::trace::Tracer;

/// Where backends are; asked for every attempt, so what it says must be at hand.
pub trait Upstreams: Send + Sync + 'static {
    /// The addresses to take turns over: the Service's own or that of a sidecar's outbound listener
    /// alone, or each ready endpoint's. Empty while no endpoint is ready, or there is no such Service.
    fn addresses(&self, backend: &Backend) -> Arc<[SocketAddr]>;
}

/// ingress-nginx's `proxy-next-upstream-tries`.
const TRIES: usize = 3;

/// What requests go through.
pub struct Proxy {
    live: RwLock<Arc<Live>>,
    upstreams: Arc<dyn Upstreams>,
    tracer: Option<Tracer>,
    pool: Arc<Pool>,
    /// Upgraded connections, which no longer belong to the server that accepted them.
    pub(super) upgraded: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// The routes, and whose turn it is for each backend.
struct Live {
    routes: Routes,
    turns: HashMap<Backend, AtomicUsize>,
}

impl Live {
    fn new(routes: Routes) -> Arc<Self> {
        let turns = routes.backends().map(|backend| (backend.clone(), AtomicUsize::new(0))).collect();
        Arc::new(Self { routes, turns })
    }
}

impl Proxy {
    /// A proxy that asks `upstreams` where backends are.
    pub fn new(routes: Routes, upstreams: Arc<dyn Upstreams>, tracer: Option<Tracer>) -> Self {
        Self {
            live: RwLock::new(Live::new(routes)),
            upstreams,
            tracer,
            pool: Arc::default(),
            upgraded: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Requests from now on go by `routes`; those under way stay where they are.
    pub fn set_routes(&self, routes: Routes) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Live::new(routes);
    }

    /// Closes the connections that no request uses.
    pub fn close_idle(&self) {
        self.pool.clear();
    }

    /// Answers one request that came to `port` from `client`.
    pub async fn answer(
        &self,
        mut request: Request<Incoming>,
        client: SocketAddr,
        port: u16,
    ) -> Result<Response<Reply>, Infallible> {
        let span = self.tracer.as_ref().and_then(|tracer| tracer.begin(&mut request));
        let response = self.forward(request, client, port).await.unwrap_or_else(Refusal::into_response);
        if let Some(span) = span {
            span.end(response.status());
        }
        Ok(response)
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
        client: SocketAddr,
        port: u16,
    ) -> Result<Response<Reply>, Refusal> {
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            let text = format!("the ingress does not serve {}", request.method());
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text));
        }
        let host = host(&request)
            .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "the request has no valid Host"))?;
        let live = Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner));
        let name = host.to_str().unwrap_or_default();
        let path = request.uri().path();
        let backend = live.routes.find(name, path).ok_or_else(|| {
            let hosts = live.routes.hosts().join(", ");
            let hosts = if hosts.is_empty() { "none".to_owned() } else { hosts };
            let text = format!("no Ingress rule takes {name}{path}\nhosts with rules: {hosts}");
            Refusal::new(StatusCode::NOT_FOUND, text)
        })?;
        let limit = backend.options.body_size;
        let length = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if let (Some(length), Some(limit)) = (length, limit)
            && length > limit
        {
            return Err(too_large(limit));
        }

        let grpc = backend.options.grpc || headers::is_grpc(request.headers());
        let protocol = if grpc { Protocol::Http2 } else { Protocol::Http1 };
        let upgrade = headers::upgrade(request.headers())
            .filter(|_| protocol == Protocol::Http1 && request.version() == Version::HTTP_11)
            .map(|to| (to, hyper::upgrade::on(&mut request)));

        let (mut parts, body) = request.into_parts();
        headers::to_backend(&mut parts.headers, &Received { client: client.ip(), port, host: host.clone() });
        address_to(&mut parts, protocol, &host)?;
        if let Some((to, _)) = &upgrade {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(UPGRADE, to.clone());
        }
        let body = Replay::new(body, limit);
        let turn = live.turns.get(backend).map_or(0, |turn| turn.fetch_add(1, Ordering::Relaxed));
        let (connection, answer) = self.attempts(backend, turn, protocol, parts, body).await?;

        let (mut parts, body) = answer.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS
            && let Some((_, client)) = upgrade
        {
            let to = parts.headers.get(UPGRADE).cloned();
            self.join(client, Response::from_parts(parts.clone(), body));
            headers::to_client(&mut parts.headers);
            parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.extend(to.map(|to| (UPGRADE, to)));
            return Ok(Response::from_parts(parts, Reply::Text(Full::default())));
        }
        headers::to_client(&mut parts.headers);
        parts.version = Version::HTTP_11;
        let body = Streamed::new(body, Arc::clone(&self.pool), connection, backend.options.read_timeout);
        Ok(Response::from_parts(parts, Reply::Streamed(body)))
    }

    /// Sends the request until a backend answers: `proxy_next_upstream error timeout`, which does not
    /// repeat what a backend may have done unless the method allows it.
    async fn attempts(
        &self,
        backend: &Backend,
        turn: usize,
        protocol: Protocol,
        parts: request::Parts,
        mut body: Replay,
    ) -> Result<(Connection, Response<Incoming>), Refusal> {
        let source = body.source();
        let idempotent =
            !matches!(parts.method, Method::POST | Method::PATCH) && parts.method.as_str() != "LOCK";
        let mut failures = 0;
        loop {
            let addresses = self.upstreams.addresses(backend);
            if addresses.is_empty() {
                return Err(no_endpoint(backend));
            }
            let address = addresses[turn.wrapping_add(failures) % addresses.len()];
            let mut connection = match self.connection(address, protocol, backend).await {
                Ok(connection) => connection,
                Err(error) => {
                    failures += 1;
                    if failures < TRIES {
                        continue;
                    }
                    return Err(unreachable(backend, address, &error));
                }
            };
            let sent = connection.send(Request::from_parts(parts.clone(), body));
            let failed = match self.in_time(backend, &source, sent).await? {
                Ok(answer) => return Ok((connection, answer)),
                Err(failed) => failed,
            };
            if source.too_large() {
                return Err(too_large(backend.options.body_size.unwrap_or_default()));
            }
            // One that was closed since its last request says nothing about the backend.
            if !connection.reused {
                failures += 1;
            }
            let again = failures < TRIES && (failed.unsent || idempotent);
            body = again
                .then(|| source.again())
                .flatten()
                .ok_or_else(|| broke_off(backend, address, &failed))?;
        }
    }

    async fn connection(
        &self,
        address: SocketAddr,
        protocol: Protocol,
        backend: &Backend,
    ) -> io::Result<Connection> {
        match self.pool.take(address, protocol) {
            Some(connection) => Ok(connection),
            None => Pool::connect(address, protocol, backend.options.connect_timeout).await,
        }
    }

    /// Waits for an answer's head, `read_timeout` after the last of the request was sent.
    async fn in_time<T>(
        &self,
        backend: &Backend,
        source: &Source,
        answer: impl Future<Output = T>,
    ) -> Result<T, Refusal> {
        let timeout = backend.options.read_timeout;
        let mut answer = std::pin::pin!(answer);
        let mut deadline = Instant::now() + timeout;
        loop {
            if let Ok(answer) = tokio::time::timeout_at(deadline, answer.as_mut()).await {
                return Ok(answer);
            }
            match source.progress().map(|progress| progress + timeout) {
                Some(later) if later > Instant::now() => deadline = later,
                _ => {
                    let text = format!("Service {} did not answer within {timeout:?}", backend.service);
                    return Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, text));
                }
            }
        }
    }

    /// Passes bytes both ways once both sides changed the protocol.
    fn join(&self, client: hyper::upgrade::OnUpgrade, answer: Response<Incoming>) {
        let stop = self.stop.clone();
        self.upgraded.spawn(async move {
            let both = async {
                let (client, backend) = tokio::try_join!(client, hyper::upgrade::on(answer))?;
                let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
                // Either side breaking off is how such a connection ends.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut backend).await;
                Ok::<_, hyper::Error>(())
            };
            let _ = stop.run_until_cancelled(both).await;
        });
    }
}

/// The Host header, or HTTP/2's `:authority`, or that of a request's absolute URI, which goes first.
fn host(request: &Request<Incoming>) -> Option<HeaderValue> {
    match request.uri().authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => request.headers().get(HOST).cloned(),
    }
    .filter(|host| !host.is_empty() && host.to_str().is_ok())
}

/// Puts path and host where the protocol has them.
fn address_to(parts: &mut request::Parts, protocol: Protocol, host: &HeaderValue) -> Result<(), Refusal> {
    let path = parts.uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    match protocol {
        Protocol::Http1 => {
            parts.version = Version::HTTP_11;
            parts.headers.insert(HOST, host.clone());
            parts.uri = path.into();
        }
        Protocol::Http2 => {
            parts.version = Version::HTTP_2;
            parts.uri = Uri::builder()
                .scheme("http")
                .authority(host.as_bytes())
                .path_and_query(path)
                .build()
                .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "the request has no valid Host"))?;
        }
    }
    Ok(())
}
