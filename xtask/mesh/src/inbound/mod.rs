//! What others send to the pod: TLS, policy, and on to the application.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ::http::HeaderValue;
use ::policy::{
    inbound::{ProxyProtocol, Verdict},
    label::PolicyLabels,
};
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    Identity, MeshError, Protocol,
    conn::{self, Conn},
    context::Context,
    detect::{DETECT_TIMEOUT, detect_protocol},
    metrics::{
        AppendList, HttpMetrics, TransportMetrics, accept_labels, authz_labels, inbound_labels, local_labels,
    },
    outbound::opaque::pipe,
};

mod app;
mod http;
mod policy;
pub(crate) mod server;
mod tls;

/// On an opaque port the server may have to speak first: a client that does not begin TLS in this time is plain.
const OPAQUE_TLS_WAIT: Duration = Duration::from_millis(500);

/// A container port: its listener on the pod's address, and the application behind.
pub(crate) struct Inbound {
    sidecar: Arc<Context>,
    addr: SocketAddr,
    policy: policy::Watched,
    app: app::App,
    to_app: Arc<TransportMetrics>,
}

/// One connection's client, and the counters resolved for it.
pub(crate) struct Client {
    inbound: Arc<Inbound>,
    addr: SocketAddr,
    /// Its address as policies see it.
    policy_address: IpAddr,
    identity: Option<Identity>,
    id_header: Option<HeaderValue>,
    /// By what decided: the address of the policy's labels, kept alive beside.
    counters: AppendList<(usize, bool), (Arc<PolicyLabels>, Arc<HttpMetrics>)>,
}

impl Inbound {
    /// Listens and serves until the sidecar's inbound side is drained.
    pub(crate) fn start(port: u16, sidecar: &Arc<Context>) -> Result<(), MeshError> {
        let addr = SocketAddr::from((sidecar.pod_ip, port));
        let listener = conn::listen(addr).map_err(|source| MeshError::Listen { addr, source })?;
        let to_app = sidecar.metrics.transport(&local_labels());
        let app = app::App::new(SocketAddr::from((sidecar.app_ip, port)), to_app.clone());
        let policy = policy::Watched::new(port, sidecar.policy.clone());
        let inbound = Arc::new(Self { sidecar: sidecar.clone(), addr, policy, app, to_app });
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
        let opaque = self.policy.current().protocol == ProxyProtocol::Opaque;
        let wait = if opaque { OPAQUE_TLS_WAIT } else { DETECT_TIMEOUT };
        let tls::Accepted { mut conn, identity, alpn } =
            tls::accept(io, &self.sidecar.credentials, wait).await?;
        let labels = accept_labels(self.addr, identity.as_ref());
        let protocol = match alpn {
            Some(protocol) => protocol,
            None if opaque => Protocol::Opaque,
            None => {
                let (protocol, prefix) = detect_protocol(&mut conn, DETECT_TIMEOUT).await?;
                conn.unread(prefix);
                protocol
            }
        };
        let conn = conn.counted(self.sidecar.metrics.transport(&labels));
        let id_header = identity.as_ref().and_then(|id| HeaderValue::from_str(id.as_str()).ok());
        let policy_address = (self.sidecar.client_address)(peer.ip());
        let client = Client {
            addr: peer,
            policy_address,
            identity,
            id_header,
            counters: AppendList::default(),
            inbound: self,
        };
        match protocol {
            Protocol::Opaque => client.forward(conn).await,
            protocol => {
                let inbound = client.inbound.clone();
                http::serve(conn, protocol, client, &inbound.sidecar.inbound).await;
                Ok(())
            }
        }
    }
}

impl Client {
    /// Passes a connection's bytes to the application, if the policy allows the connection.
    async fn forward(self, mut conn: Conn) -> io::Result<()> {
        let policy = self.inbound.policy.current();
        if policy.decide_connection(&self.as_policies_see()).verdict == Verdict::Deny {
            tracing::info!(client = %self.addr, "connection denied");
            return Ok(());
        }
        let io = conn::connect(self.inbound.app.addr(), None).await?;
        let mut upstream = Conn::plain(Bytes::new(), io).counted(self.inbound.to_app.clone());
        pipe(&mut conn, &mut upstream).await;
        Ok(())
    }

    fn as_policies_see(&self) -> ::policy::authz::Client<'_> {
        let identity = self.identity.as_ref().map(Identity::as_str);
        ::policy::authz::Client { address: self.policy_address, identity }
    }

    /// The counters for what this decision lets through or refuses.
    fn counters(&self, labels: &Arc<PolicyLabels>, allowed: bool) -> &Arc<HttpMetrics> {
        let key = (Arc::as_ptr(labels).addr(), allowed);
        let (_, counters) = self.counters.get_or_insert(&key, || {
            let Self { inbound, identity, .. } = self;
            let authz = authz_labels(inbound.addr, identity.as_ref(), labels);
            let labels_of = inbound_labels(inbound.addr, identity.as_ref(), labels);
            (labels.clone(), inbound.sidecar.metrics.http(labels_of, Some((allowed, authz))))
        });
        counters
    }
}
