//! A process's ports: all are served until shutdown, then drained, the admin port last.

use std::{future::Future, time::Duration};

use axum::{Router, middleware::from_fn_with_state};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tracing::{info, warn};

use crate::{
    accept::{Speaks, accept},
    admin,
    metrics::ServerMetrics,
    observe::{Observer, observe},
    trace::Tracer,
};

/// How long open requests may take to finish once shutdown began. With the two seconds of the manifests'
/// `preStop` it stays below their `terminationGracePeriodSeconds` of 10.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for the admin port, where nobody waits for more than a probe.
const ADMIN_DRAIN_TIMEOUT: Duration = Duration::from_millis(100);

/// Why a process stops serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It ends, and its clients go elsewhere.
    Stop,
    /// The next version of its program goes on in its place: probes shall not notice.
    Handover,
}

impl Ending {
    /// [`Self::Stop`], once `shutdown` is done.
    pub(crate) async fn stop_after(shutdown: impl Future<Output = ()>) -> Self {
        shutdown.await;
        Self::Stop
    }
}

/// Bound ports.
pub struct Listeners {
    /// HTTP, of a process that answers requests.
    pub http: Option<TcpListener>,
    /// gRPC, likewise.
    pub grpc: Option<TcpListener>,
    /// Probes and metrics.
    pub admin: TcpListener,
}

/// What is served on them.
pub(crate) struct Servers {
    registry: Registry,
    tracer: Tracer,
    http: Option<(Router, ServerMetrics)>,
    grpc: Option<(Router, ServerMetrics)>,
    grpc_services: Vec<&'static str>,
}

impl Servers {
    /// Nothing but the admin port.
    pub(crate) fn new(registry: Registry, tracer: Tracer) -> Self {
        Self { registry, tracer, http: None, grpc: None, grpc_services: Vec::new() }
    }

    pub(crate) fn http(&mut self, router: Router, metrics: ServerMetrics) {
        self.http = Some((router, metrics));
    }

    /// `service` is the name that its health is reported under.
    pub(crate) fn grpc(&mut self, service: &'static str, routes: Routes, metrics: ServerMetrics) {
        self.grpc = Some((routes.into_axum_router(), metrics));
        self.grpc_services.push(service);
    }

    /// Serves until `ending`. Then it is not ready any more, unless it hands over, stops accepting (what has connected
    /// by then is still served), tells clients to go elsewhere (`Connection: close`, GOAWAY) and waits for the requests
    /// that have arrived, at most [`DRAIN_TIMEOUT`].
    pub(crate) async fn run(self, listeners: Listeners, ending: impl Future<Output = Ending>) {
        let (admin, health) = admin::router(self.registry, &self.grpc_services).await;
        let draining = CancellationToken::new();
        let traffic = TaskTracker::new();
        let ports =
            [(listeners.http, self.http, Speaks::Http1AndHttp2), (listeners.grpc, self.grpc, Speaks::Http2)];
        for (listener, server, speaks) in ports {
            let (Some(listener), Some((router, metrics))) = (listener, server) else { continue };
            log_address(&listener, speaks);
            let grpc = matches!(speaks, Speaks::Http2);
            let tracer = self.tracer.clone();
            let observer = Observer { metrics, tracer, draining: draining.clone(), grpc };
            let router = router.layer(from_fn_with_state(observer, observe));
            traffic.spawn(accept(listener, router, speaks, draining.clone()));
        }
        traffic.close();

        let closing = CancellationToken::new();
        log_address(&listeners.admin, Speaks::Http1AndHttp2);
        let probes = tokio::spawn(accept(listeners.admin, admin, Speaks::Http1AndHttp2, closing.clone()));

        let ending = ending.await;
        info!("draining");
        if ending == Ending::Stop {
            health.not_ready().await;
        }
        draining.cancel();
        if timeout(DRAIN_TIMEOUT, traffic.wait()).await.is_err() {
            warn!("requests still open after {DRAIN_TIMEOUT:?}; ending all the same");
        }
        self.tracer.flush().await;
        closing.cancel();
        let _ = timeout(ADMIN_DRAIN_TIMEOUT, probes).await;
        info!("drained");
    }
}

fn log_address(listener: &TcpListener, speaks: Speaks) {
    if let Ok(address) = listener.local_addr() {
        info!(%address, ?speaks, "listening");
    }
}
