//! The policy on a connection that is not HTTP, for as long as it is open: `policy/tcp.rs` of linkerd2-proxy.

use std::{io, time::Duration};

use bytes::Bytes;
use policy::inbound::Verdict;

use crate::{
    Decision, Direction, Protocol, Record,
    conn::{self, Conn},
    inbound::client::Client,
    metrics::authz_labels,
    outbound::opaque::pipe,
};

impl Client {
    /// Passes a connection's bytes to the application, while the policy lets the client in. Closes it otherwise.
    pub(super) async fn forward(self, mut conn: Conn) -> io::Result<()> {
        let decision = self.decide();
        let is_denied = decision.verdict == Verdict::Deny;
        let metrics = &self.inbound.sidecar.metrics.authz;
        let labels = authz_labels(self.inbound.addr, self.tls(), &decision.labels);
        let family = if is_denied { &metrics.tcp_deny } else { &metrics.tcp_allow };
        family.get_or_create_owned(&labels).inc();
        tracing::info!(client = %self.addr, id = self.id(), verdict = ?decision.verdict, "connection decided");
        self.inbound.sidecar.records.publish(|| self.connection(decision));
        if is_denied {
            return Ok(());
        }
        let io = conn::connect(self.inbound.app.addr(), None).await?;
        let mut upstream = Conn::plain(Bytes::new(), io).counted(self.inbound.to_app.clone());
        tokio::select! {
            () = pipe(&mut conn, &mut upstream) => {}
            refusal = self.refused() => {
                tracing::info!(client = %self.addr, "connection terminated due to policy change");
                let labels = authz_labels(self.inbound.addr, self.tls(), &refusal.labels);
                metrics.tcp_terminate.get_or_create_owned(&labels).inc();
            }
        }
        Ok(())
    }

    fn decide(&self) -> Decision {
        let in_force = self.inbound.policy.current();
        let decided = in_force.policy.decide_connection(&self.as_policies_see());
        Decision { verdict: decided.verdict, exceeded: None, labels: decided.labels.clone() }
    }

    /// Waits until the policy no longer lets the client in.
    async fn refused(&self) -> Decision {
        let mut changes = self.inbound.policy.changes();
        loop {
            if changes.changed().await.is_err() {
                // What is in force stays in force.
                std::future::pending::<()>().await;
            }
            let decision = self.decide();
            if decision.verdict == Verdict::Deny {
                return decision;
            }
        }
    }

    fn connection(&self, decision: Decision) -> Record {
        Record {
            direction: Direction::Inbound,
            workload: self.inbound.sidecar.workload.clone(),
            peer: Some(self.addr),
            peer_identity: self.identity.clone(),
            peer_workload: None,
            authority: self.inbound.authority.as_str().into(),
            protocol: Protocol::Opaque,
            method: http::Method::CONNECT,
            path: String::new(),
            broken: decision.verdict == Verdict::Deny,
            decision: Some(decision),
            status: None,
            grpc_status: None,
            latency: Duration::ZERO,
        }
    }
}
