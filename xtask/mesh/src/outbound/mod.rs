//! What the application calls: a listener for each Service port, balanced request by request.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ::http::uri::Authority;
use bytes::Bytes;
use policy::{inbound::ProxyProtocol, outbound::ServicePort};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    MeshError, Protocol, Target,
    conn::{self, Conn},
    context::Context,
    detect::{DETECT_TIMEOUT, detect_protocol},
    metrics::{TransportMetrics, app_labels},
    outbound::{backend::Backends, route::Routing},
};

mod accrual;
mod backend;
mod balance;
mod endpoint;
mod exchange;
pub(crate) mod h1;
pub(crate) mod h2;
mod http;
pub(crate) mod opaque;
pub(crate) mod random;
mod rescue;
mod rewrite;
mod route;
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

/// What the names of Services end with.
pub(crate) const DNS_DOMAIN: &str = "cluster.local";

/// A listener for one Service port, and where its requests go.
pub(crate) struct Outbound {
    sidecar: Arc<Context>,
    addr: SocketAddr,
    /// `addr` as the application's requests name it.
    listener: String,
    authority: Authority,
    /// `SERVICE.NAMESPACE.svc.cluster.local:PORT`
    name: Arc<str>,
    routing: Routing,
    accepted: Arc<TransportMetrics>,
}

impl Outbound {
    /// Listens and serves until the sidecar's outbound side is drained.
    pub(crate) fn start(target: Target, sidecar: &Arc<Context>) -> Result<Arc<Self>, MeshError> {
        let Target { service, namespace, port, authority, endpoints, routes, resolve } = target;
        let authority = authority.parse::<Authority>().map_err(|_| MeshError::Authority {
            service: service.clone(),
            namespace: namespace.clone(),
            authority: authority.clone(),
        })?;
        let any = SocketAddr::from((sidecar.app_ip, 0));
        let failed = |source| MeshError::Listen { addr: any, source };
        let listener = conn::listen(any).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let service = ServicePort::new(namespace, service, port);
        let name = service.authority(DNS_DOMAIN).into();
        let eager = !is_opaque(routes.borrow().protocol);
        let backends = Backends::new(sidecar.clone(), service, resolve, eager);
        let outbound = Arc::new(Self {
            addr,
            listener: addr.to_string(),
            authority,
            accepted: sidecar.metrics.transport(&app_labels(addr)),
            routing: Routing::new(routes, endpoints, backends),
            sidecar: sidecar.clone(),
            name,
        });
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
        let current = self.routing.current();
        let (protocol, prefix) = match current.policy.protocol {
            _ if current.own.balancer.is_opaque() => (Protocol::Opaque, Bytes::new()),
            protocol if is_opaque(protocol) => (Protocol::Opaque, Bytes::new()),
            // What the Service's port is said to be is not looked into, as in Linkerd's.
            ProxyProtocol::Http1 => (Protocol::Http1, Bytes::new()),
            ProxyProtocol::Http2 | ProxyProtocol::Grpc => (Protocol::Http2, Bytes::new()),
            _ => match detect_protocol(&mut io, DETECT_TIMEOUT).await {
                Ok(detected) => detected,
                Err(error) => return tracing::debug!(%peer, %error, "connection lost"),
            },
        };
        let conn = Conn::plain(prefix, io).counted(self.accepted.clone());
        match protocol {
            Protocol::Opaque => self.forward(current, conn).await,
            protocol => self.serve(conn, protocol).await,
        }
    }
}

fn is_opaque(protocol: ProxyProtocol) -> bool {
    matches!(protocol, ProxyProtocol::Opaque | ProxyProtocol::Tls)
}
