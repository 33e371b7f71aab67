use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use policy::outbound::ServicePort;
use rustls::pki_types::ServerName;
use tokio_util::sync::CancellationToken;
use tower::load::{Load, PeakEwma, completion::TrackCompletion, peak_ewma};

use crate::{
    Endpoint, FailureAccrual,
    body::{BoxError, RequestBody},
    conn::{CONNECT_TIMEOUT, Conn, Prefixed, connect, within},
    context::Context as Sidecar,
    metrics::{HttpMetrics, Outcome, TransportMetrics, endpoint_labels},
    outbound::{DNS_DOMAIN, accrual::Breaker, h1::Connector, h2, random},
    tls::{ALPN_H2, server_name},
};

/// Linkerd's load estimate of an endpoint that has not answered yet, and how fast estimates fade.
const DEFAULT_RTT: Duration = Duration::from_millis(30);
const DECAY_NS: f64 = 10_000_000_000.0;
/// The pauses between attempts to connect (Linkerd's: 100 ms to 500 ms).
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_millis(500);
/// How long an endpoint that refused a request is passed over.
const SUSPENSION: Duration = Duration::from_millis(100);

/// How long the series of an endpoint that is gone can still be scraped (Linkerd's).
const RETAIN_IDLE: Duration = Duration::from_secs(10 * 60);

/// How a request goes to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Over the endpoint's HTTP/2 connection.
    H2,
    /// Over a pool of HTTP/1 connections: HTTP/1 to an unmeshed pod.
    H1,
    /// Over a connection of its own.
    Own,
}

/// One pod behind a Service port: its connection, its load, its health.
pub(crate) struct EndpointState {
    pub info: Endpoint,
    pub http: Arc<HttpMetrics>,
    pub transport: Arc<TransportMetrics>,
    sidecar: Arc<Sidecar>,
    name: Option<ServerName<'static>>,
    load: Mutex<PeakEwma<Dispatch, TakeHandle>>,
    h2: RwLock<Option<h2::Sender>>,
    h1: Client<Connector, RequestBody>,
    breaker: Option<Arc<Breaker>>,
    driven: AtomicBool,
    suspended: AtomicBool,
    removed: CancellationToken,
    changed: Arc<dyn Fn() + Send + Sync>,
}

/// An endpoint chosen for a request, which counts towards its load until the first data of the answer.
pub(crate) struct Lease {
    pub endpoint: Arc<EndpointState>,
    load: Option<peak_ewma::Handle>,
    ended: bool,
}

impl Lease {
    /// The answer has begun: its latency is known.
    pub(crate) fn first_data(&mut self) {
        self.load = None;
    }

    /// The answer has ended.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.ended = true;
        if let Some(breaker) = &self.endpoint.breaker {
            let known = outcome.error != "canceled" || outcome.is_failure();
            breaker.note(known.then_some(outcome));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.ended
            && let Some(breaker) = &self.endpoint.breaker
        {
            breaker.note(None);
        }
    }
}

impl EndpointState {
    pub(crate) fn new(
        info: Endpoint,
        sidecar: Arc<Sidecar>,
        service: &ServicePort,
        accrual: Option<FailureAccrual>,
        changed: Arc<dyn Fn() + Send + Sync>,
    ) -> Arc<Self> {
        let authority = service.authority(DNS_DOMAIN);
        let http = sidecar.metrics.http(endpoint_labels(&authority, &service.name, &info, false), None);
        let transport = sidecar.metrics.transport(&endpoint_labels(&authority, &service.name, &info, true));
        let connector = Connector::new(info.addr, Some(sidecar.pod_ip), transport.clone());
        let breaker = accrual.map(|config| {
            let changed = changed.clone();
            Breaker::new(config, move || changed())
        });
        Arc::new(Self {
            name: info.identity.as_ref().and_then(server_name),
            load: Mutex::new(PeakEwma::new(Dispatch, DEFAULT_RTT, DECAY_NS, TakeHandle)),
            h2: RwLock::default(),
            h1: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .set_host(false)
                .build(connector),
            driven: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            removed: sidecar.outbound.life(),
            info,
            http,
            transport,
            sidecar,
            breaker,
            changed,
        })
    }

    /// Whether a request could be sent now.
    pub(crate) fn is_ready(&self, wire: Wire) -> bool {
        !self.suspended.load(Ordering::Relaxed)
            && self.breaker.as_ref().is_none_or(|breaker| breaker.admits())
            && (wire != Wire::H2 || self.h2_slot(h2::Sender::is_ready) == Some(true))
    }

    /// Takes a place. None if the last one has just gone.
    pub(crate) fn lease(self: &Arc<Self>) -> Option<Lease> {
        if !self.breaker.as_ref().is_none_or(|breaker| breaker.enter()) {
            return None;
        }
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = tower::Service::call(&mut *load, ()).now_or_never().and_then(Result::ok);
        Some(Lease { endpoint: self.clone(), load: handle, ended: false })
    }

    pub(crate) fn cost(&self) -> peak_ewma::Cost {
        self.load.lock().unwrap_or_else(PoisonError::into_inner).load()
    }

    pub(crate) fn h2(&self) -> Option<h2::Sender> {
        self.h2_slot(Clone::clone)
    }

    pub(crate) fn h1(&self) -> &Client<Connector, RequestBody> {
        &self.h1
    }

    fn h2_slot<T>(&self, read: impl FnOnce(&h2::Sender) -> T) -> Option<T> {
        self.h2.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(read)
    }

    /// Passes the endpoint over for a moment: it has refused a request, or could not be reached.
    pub(crate) fn suspend(self: &Arc<Self>) {
        if !self.suspended.swap(true, Ordering::Relaxed) {
            let endpoint = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(SUSPENSION).await;
                endpoint.suspended.store(false, Ordering::Relaxed);
                (endpoint.changed)();
            });
            (self.changed)();
        }
    }

    /// A new connection, mutual TLS if the pod is meshed.
    pub(crate) async fn connect(&self, alpn: &[u8]) -> io::Result<Conn> {
        let io = connect(self.info.addr, Some(self.sidecar.pod_ip)).await?;
        let conn = match (&self.info.identity, &self.name) {
            (None, _) => Conn::plain(bytes::Bytes::new(), io),
            (Some(_), Some(name)) => {
                let io = Prefixed::new(bytes::Bytes::new(), io);
                let connector = self.sidecar.credentials.connector(alpn);
                Conn::tls(within(CONNECT_TIMEOUT, connector.connect(name.clone(), io)).await?)
            }
            (Some(identity), None) => {
                return Err(io::Error::other(format!("{identity:?} is no DNS name")));
            }
        };
        Ok(conn.counted(self.transport.clone()))
    }

    /// Keeps an HTTP/2 connection to the endpoint, from the first call on until it is removed.
    pub(crate) fn drive(self: &Arc<Self>) {
        if !self.driven.swap(true, Ordering::Relaxed) {
            let endpoint = self.clone();
            tokio::spawn(async move { endpoint.keep_connected().await });
        }
    }

    /// No new requests; those under way are finished.
    pub(crate) fn remove(&self) {
        self.removed.cancel();
        self.set_h2(None);
        let (life, metrics, http) =
            (self.sidecar.outbound.life(), self.sidecar.metrics.clone(), self.http.clone());
        tokio::spawn(life.run_until_cancelled_owned(async move {
            tokio::time::sleep(RETAIN_IDLE).await;
            metrics.forget(&http);
        }));
    }

    async fn keep_connected(&self) {
        let mut backoff = MIN_BACKOFF;
        while !self.removed.is_cancelled() {
            let began = Instant::now();
            match self.removed.run_until_cancelled(self.connect_h2()).await {
                None => break,
                Some(Err(error)) => {
                    tracing::debug!(addr = %self.info.addr, %error, "endpoint not reached");
                }
                Some(Ok((sender, connection))) => {
                    self.set_h2(Some(sender));
                    // A task of its own: it outlives the endpoint's removal until its last request is answered.
                    let mut connection = tokio::spawn(connection);
                    tokio::select! {
                        _ = &mut connection => {}
                        () = self.removed.cancelled() => {}
                    }
                    self.set_h2(None);
                    if began.elapsed() > MAX_BACKOFF {
                        backoff = MIN_BACKOFF;
                        continue;
                    }
                }
            }
            let pause = backoff.mul_f64(1.0 + 0.1 * random::fraction());
            self.removed.run_until_cancelled(tokio::time::sleep(pause)).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
        self.set_h2(None);
    }

    async fn connect_h2(&self) -> Result<(h2::Sender, impl Future<Output = ()> + use<>), BoxError> {
        let conn = self.connect(ALPN_H2).await?;
        Ok(h2::handshake(TokioIo::new(conn)).await?)
    }

    fn set_h2(&self, sender: Option<h2::Sender>) {
        let mut slot = self.h2.write().unwrap_or_else(PoisonError::into_inner);
        let turned = slot.is_some() != sender.is_some();
        *slot = sender;
        drop(slot);
        if turned {
            (self.changed)();
        }
    }
}

/// The service whose load is measured: it does nothing, so that a handle can be had without sending. The
/// measure is tower's, the sending ours: requests of many connections share an endpoint without a lock on it.
struct Dispatch;

impl tower::Service<()> for Dispatch {
    type Response = ();
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<(), Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

/// Hands the handle over, to be dropped when the answer begins.
#[derive(Clone)]
struct TakeHandle;

impl TrackCompletion<peak_ewma::Handle, ()> for TakeHandle {
    type Output = peak_ewma::Handle;

    fn track_completion(&self, handle: peak_ewma::Handle, (): ()) -> Self::Output {
        handle
    }
}
