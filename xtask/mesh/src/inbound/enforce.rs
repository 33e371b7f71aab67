//! The policy on one request: `policy/http.rs` and `http/server.rs` of linkerd2-proxy.

use std::{net::SocketAddr, sync::Arc};

use http::{Request, Version};
use hyper::body::Incoming;
use policy::{
    inbound::{RequestVerdict, Verdict},
    route::{self, Filter, PathSummary},
};

use crate::{
    Decision, Protocol,
    inbound::client::{Client, Refused},
    metrics::HttpMetrics,
    respond::{Shape, Synthetic},
};

/// Linkerd's inbound proxy port, which its messages name.
const PROXY_PORT: u16 = 4143;

impl Client {
    /// Decides on a request by the policy in force now, and makes the changes that its route asks for. Returns the
    /// counters of a request that is let through, or the answer to one that is not.
    pub(super) fn enforce(
        &self,
        request: &mut Request<Incoming>,
        shape: Shape,
    ) -> (Decision, Result<Arc<HttpMetrics>, Synthetic>) {
        let met = self.met();
        let policy = &*met.in_force.policy;
        let asked = self.asked(request, shape);
        let decided = if policy.is_by_connection() {
            // A peer said that it sends HTTP, but the port has no routes.
            let (labels, path) = (&policy.no_route, PathSummary::Exact(0));
            RequestVerdict { verdict: Verdict::NoRoute, labels, filters: &[], path }
        } else {
            policy.decide(&self.as_policies_see(), &asked)
        };
        let labels = decided.labels;
        let mut decision = Decision { verdict: decided.verdict, exceeded: None, labels: labels.clone() };
        match decided.verdict {
            Verdict::Deny => {
                tracing::info!(client = %self.addr, id = self.id(), path = asked.path, %labels.server, "request denied");
                self.refuse(&met, labels, Refused::Denied);
                let message = self.explain("unauthorized request on route");
                return (decision, Err(Synthetic::permission_denied(message)));
            }
            Verdict::NoRoute => {
                self.refuse(&met, labels, Refused::NoRoute);
                let message = self.explain("no route found for request");
                return (decision, Err(Synthetic::not_found(message)));
            }
            Verdict::Audit => {
                tracing::info!(client = %self.addr, id = self.id(), path = asked.path, %labels.server, "request allowed by audit");
            }
            Verdict::Allow => {}
        }
        let metrics = self.allowed(&met, labels);
        metrics.allow();
        if let Some(answer) = redirect(&decided, &asked) {
            return (decision, Err(answer));
        }
        for filter in decided.filters {
            if let Filter::RequestHeaders(edit) = filter {
                edit.apply(request.headers_mut());
            }
        }
        if let Err(limited) = met.in_force.count(self.id()) {
            self.refuse(&met, labels, Refused::Limited(limited));
            decision.exceeded = Some(limited);
            return (decision, Err(Synthetic::rate_limited(self.explain(&limited.to_string()))));
        }
        metrics.request();
        (decision, Ok(metrics.clone()))
    }

    fn asked<'a>(&'a self, request: &'a Request<Incoming>, shape: Shape) -> route::Request<'a> {
        // HTTP/1 without a host: Linkerd takes the address that was called.
        let default = || (shape.version < Version::HTTP_2).then_some(self.inbound.authority.as_str());
        route::Request {
            protocol: match shape.protocol() {
                Protocol::Grpc => route::Protocol::Grpc,
                Protocol::Http2 => route::Protocol::Http2,
                Protocol::Http1 | Protocol::Opaque => route::Protocol::Http1,
            },
            method: request.method(),
            authority: super::http::authority(request).or_else(default),
            path: request.uri().path(),
            query: request.uri().query(),
            headers: request.headers(),
        }
    }

    /// `client IP:PORT: server: IP:PORT: REASON`
    pub(super) fn explain(&self, reason: &str) -> String {
        let server = SocketAddr::from((self.inbound.sidecar.pod_ip, PROXY_PORT));
        format!("client {}: server: {server}: {reason}", self.addr)
    }
}

/// The answer of the route's redirect, if it has one that leads elsewhere.
fn redirect(decided: &RequestVerdict<'_>, asked: &route::Request<'_>) -> Option<Synthetic> {
    decided.filters.iter().find_map(|filter| {
        let Filter::Redirect(redirect) = filter else { return None };
        match redirect.apply(asked, decided.path) {
            Ok(None) => None,
            Ok(Some(to)) => Some(Synthetic::redirect(to.status, &to.location)),
            Err(error) => {
                tracing::warn!(%error, "invalid redirect");
                Some(Synthetic::unexpected_error())
            }
        }
    })
}
