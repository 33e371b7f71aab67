use std::sync::Arc;

use policy::outbound::Broken;
use tokio::io::copy_bidirectional_with_sizes;

use crate::{
    conn::Conn,
    metrics::Outcome,
    outbound::{Outbound, endpoint::Wire, route::Current},
    tls::ALPN_OPAQUE,
};

const BUFFER: usize = 32 * 1024;

impl Outbound {
    /// Passes a connection's bytes to one endpoint: the less loaded of two, or another if it cannot be reached.
    /// Routes are for HTTP: it goes to the Service itself.
    pub(crate) async fn forward(self: Arc<Self>, current: Arc<Current>, mut conn: Conn) {
        if let Some(Broken::Unreadable(reason)) = &current.policy.broken {
            return tracing::info!(reason, "a connection is closed");
        }
        let backend = &current.own;
        let mut tried = Vec::new();
        let (mut upstream, lease) = loop {
            let Ok(lease) = backend.balancer.pick(Wire::Own, &tried, None).await else {
                return tracing::info!(%backend, "no endpoint for a connection");
            };
            match lease.endpoint.connect(ALPN_OPAQUE).await {
                Ok(upstream) => break (upstream, lease),
                Err(error) => {
                    tracing::debug!(addr = %lease.endpoint.info.addr, %error, "endpoint not reached");
                    lease.endpoint.suspend();
                    tried.push(lease.endpoint.clone());
                }
            }
        };
        pipe(&mut conn, &mut upstream).await;
        lease.end(Outcome { status: None, grpc_status: None, error: "canceled" });
    }
}

/// Copies both ways until both have ended, or one breaks.
pub(crate) async fn pipe<A, B>(a: &mut A, b: &mut B)
where
    A: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + ?Sized,
    B: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + ?Sized,
{
    if let Err(error) = copy_bidirectional_with_sizes(a, b, BUFFER, BUFFER).await {
        tracing::debug!(%error, "connection broken");
    }
}
