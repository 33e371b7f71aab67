//! What the application calls: a listener for each Service port, balanced request by request.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ::http::uri::Authority;
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    MeshError, OutboundSettings, Protocol, Target,
    conn::{self, Conn},
    context::Context,
    detect::{DETECT_TIMEOUT, detect_protocol},
    metrics::{TransportMetrics, app_labels},
};

mod accrual;
mod balance;
mod endpoint;
pub(crate) mod h1;
pub(crate) mod h2;
mod http;
pub(crate) mod opaque;
mod random;
mod rescue;
mod rewrite;
pub(crate) mod upgrade;

pub(crate) use endpoint::Lease;
pub(crate) use rewrite::strip_hop;

/// A limit of `timeout.linkerd.io/*` or `retry.linkerd.io/timeout` that has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimedOut {
    /// An attempt's wait for headers.
    #[error("response header timeout: {0:?}")]
    Headers(Duration),
    /// The wait for the whole response.
    #[error("response stream timeout: {0:?}")]
    Response(Duration),
    /// The whole request.
    #[error("request timeout: {0:?}")]
    Request(Duration),
    /// Nothing has passed.
    #[error("idle timeout: {0:?}")]
    Idle(Duration),
}

/// A listener for one Service port, and its balancer.
pub(crate) struct Outbound {
    sidecar: Arc<Context>,
    addr: SocketAddr,
    /// `addr` as the application's requests name it.
    listener: String,
    authority: Authority,
    /// `SERVICE.NAMESPACE.svc.cluster.local:PORT`
    name: Arc<str>,
    /// What comes before the reason in `l5d-proxy-error`, as in Linkerd's.
    logical: String,
    backend: String,
    settings: OutboundSettings,
    opaque: bool,
    balancer: Arc<balance::Balancer>,
    accepted: Arc<TransportMetrics>,
}

impl Outbound {
    /// Listens and serves until the sidecar's outbound side is drained.
    pub(crate) fn start(target: Target, sidecar: &Arc<Context>) -> Result<Arc<Self>, MeshError> {
        let Target { service, namespace, port, authority, opaque, settings, endpoints } = target;
        let authority = authority.parse::<Authority>().map_err(|_| MeshError::Authority {
            service: service.clone(),
            namespace: namespace.clone(),
            authority: authority.clone(),
        })?;
        let any = SocketAddr::from((sidecar.app_ip, 0));
        let failed = |source| MeshError::Listen { addr: any, source };
        let listener = conn::listen(any).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let name: Arc<str> = format!("{service}.{namespace}.svc.cluster.local:{port}").into();
        let balancer = balance::Balancer::new(sidecar, &service, &namespace, port, !opaque);
        let backend = format!("Service.{namespace}.{service}:{port}");
        let outbound = Arc::new(Self {
            addr,
            listener: addr.to_string(),
            authority,
            logical: format!("logical service {addr}: route default.http: "),
            backend,
            accepted: sidecar.metrics.transport(&app_labels(addr)),
            settings: settings.clone(),
            opaque,
            balancer: balancer.clone(),
            sidecar: sidecar.clone(),
            name: name.clone(),
        });
        let follow = balancer.follow(endpoints, sidecar.clone(), name.to_string(), service, settings);
        sidecar.outbound.listen(follow);
        sidecar.outbound.listen(outbound.clone().accept(listener));
        Ok(outbound)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (io, peer) = conn::accept(&listener).await;
            self.sidecar.outbound.connection(self.clone().connection(io, peer));
        }
    }

    async fn connection(self: Arc<Self>, mut io: TcpStream, peer: SocketAddr) {
        let (protocol, prefix) = if self.opaque || self.balancer.is_opaque() {
            (Protocol::Opaque, Bytes::new())
        } else {
            match detect_protocol(&mut io, DETECT_TIMEOUT).await {
                Ok(detected) => detected,
                Err(error) => return tracing::debug!(%peer, %error, "connection lost"),
            }
        };
        let conn = Conn::plain(prefix, io).counted(self.accepted.clone());
        match protocol {
            Protocol::Opaque => self.forward(conn).await,
            protocol => self.serve(conn, protocol).await,
        }
    }
}
