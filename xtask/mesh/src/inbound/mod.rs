//! What others send to the pod: TLS, policy, and on to the application.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use ::policy::inbound::ProxyProtocol;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    MeshError, Protocol, conn,
    context::Context,
    detect::{DETECT_TIMEOUT, detect_protocol},
    metrics::{TransportMetrics, accept_labels, local_labels},
};

mod app;
mod client;
mod enforce;
mod fault;
mod http;
mod policy;
pub(crate) mod server;
mod tcp;
mod tls;

use client::Client;
pub use fault::FAULT_HEADER;

/// On an opaque port the server may have to speak first: a client that does not begin TLS in this time is plain.
const OPAQUE_TLS_WAIT: Duration = Duration::from_millis(500);

/// A container port: its listener on the pod's address, and the application behind.
pub(crate) struct Inbound {
    sidecar: Arc<Context>,
    addr: SocketAddr,
    /// `addr`, as an authority.
    authority: String,
    policy: policy::Watched,
    app: app::App,
    to_app: Arc<TransportMetrics>,
}

impl Inbound {
    /// Listens and serves until the sidecar's inbound side is drained.
    pub(crate) fn start(port: u16, sidecar: &Arc<Context>) -> Result<(), MeshError> {
        let addr = SocketAddr::from((sidecar.pod_ip, port));
        let listener = conn::listen(addr).map_err(|source| MeshError::Listen { addr, source })?;
        let to_app = sidecar.metrics.transport(&local_labels());
        let app = app::App::new(SocketAddr::from((sidecar.app_ip, port)), to_app.clone());
        let policy = policy::Watched::new(port, sidecar.policy.clone());
        let authority = addr.to_string();
        let inbound = Arc::new(Self { sidecar: sidecar.clone(), addr, authority, policy, app, to_app });
        sidecar.inbound.listen(inbound.accept(listener));
        Ok(())
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (io, peer) = conn::accept(&listener).await;
            self.sidecar.inbound.connection(self.clone().connection(io, peer));
        }
    }

    async fn connection(self: Arc<Self>, io: TcpStream, peer: SocketAddr) {
        if let Err(error) = self.serve(io, peer).await {
            tracing::debug!(%peer, %error, "connection broken");
        }
    }

    async fn serve(self: Arc<Self>, io: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let in_force = self.policy.current();
        let opaque = in_force.policy.protocol == ProxyProtocol::Opaque;
        let wait = if opaque { OPAQUE_TLS_WAIT } else { DETECT_TIMEOUT };
        let tls::Accepted { mut conn, identity, alpn } =
            tls::accept(io, &self.sidecar.credentials, wait).await?;
        let protocol = match (alpn, self.spoken(identity.is_some())) {
            // A peer sidecar says what it sends, whatever the port speaks.
            (Some(protocol), _) | (None, Some(protocol)) => protocol,
            (None, None) => {
                let (protocol, prefix) = detect_protocol(&mut conn, DETECT_TIMEOUT).await?;
                conn.unread(prefix);
                protocol
            }
        };
        let client = Client::new(self.clone(), peer, identity, opaque);
        let labels = accept_labels(self.addr, client.tls(), &in_force.policy.server);
        let conn = conn.counted(self.sidecar.metrics.transport(&labels));
        match protocol {
            Protocol::Opaque => client.forward(conn).await,
            protocol => {
                http::serve(conn, protocol, client, &self.sidecar.inbound).await;
                Ok(())
            }
        }
    }

    /// What a connection speaks because the policy says so; none where that is to be detected. A meshed client's
    /// HTTP/1 may come over HTTP/2, also to an HTTP/1 port (`detect.rs` of linkerd2-proxy).
    fn spoken(&self, meshed: bool) -> Option<Protocol> {
        match self.policy.current().policy.protocol {
            ProxyProtocol::Opaque | ProxyProtocol::Tls => Some(Protocol::Opaque),
            ProxyProtocol::Http1 if !meshed => Some(Protocol::Http1),
            ProxyProtocol::Http2 | ProxyProtocol::Grpc => Some(Protocol::Http2),
            ProxyProtocol::Http1 | ProxyProtocol::Detect => None,
        }
    }
}
