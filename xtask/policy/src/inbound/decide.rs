//! The decision for one request or one connection.

use std::sync::Arc;

use super::trace::{NoTrace, Observe};
use super::{Permits, PortPolicy, ProxyProtocol, Routes};
use crate::authz::Client;
use crate::label::PolicyLabels;
use crate::route::{Filter, Match, PathSummary, Request, Route, find};

/// Whether a client is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is.
    Allow,
    /// It is, and that is to be noted: only the access policy `audit` lets it in.
    Audit,
    /// It is not: HTTP 403, gRPC 7.
    Deny,
    /// No route takes the request: HTTP 404, gRPC 5.
    NoRoute,
}

/// A verdict on a request or connection, with what it rests on.
#[derive(Clone, Copy, Debug)]
pub struct RequestVerdict<'p> {
    /// The verdict.
    pub verdict: Verdict,
    /// Server, route and authorization. The same `Arc` for the same ones.
    pub labels: &'p Arc<PolicyLabels>,
    /// What the route does to the request, in order.
    pub filters: &'p [Filter],
    /// How the path matched, for redirects.
    pub path: PathSummary,
}

impl PortPolicy {
    /// Decides on a request. Cost: that of the port's own routes and authorizations.
    pub fn decide(&self, client: &Client<'_>, request: &Request<'_>) -> RequestVerdict<'_> {
        self.observe(client, request, &mut NoTrace)
    }

    /// Decides on a connection: on ports that are opaque or TLS, and where nothing HTTP is detected.
    pub fn decide_connection(&self, client: &Client<'_>) -> RequestVerdict<'_> {
        self.observe_connection(client, &mut NoTrace)
    }

    /// Whether connections are what is decided on, before any request is read.
    pub fn is_by_connection(&self) -> bool {
        matches!(self.protocol, ProxyProtocol::Opaque | ProxyProtocol::Tls)
    }

    /// [`PortPolicy::decide`], telling `trace` of each step.
    pub(crate) fn observe<'p>(
        &'p self,
        client: &Client<'_>,
        request: &Request<'_>,
        trace: &mut impl Observe<'p>,
    ) -> RequestVerdict<'p> {
        match &self.routes {
            _ if self.is_by_connection() => self.observe_connection(client, trace),
            Routes::Http(routes) => self.on_route(routes, client, request, trace, |found| found.path),
            Routes::Grpc(routes) => {
                self.on_route(routes, client, request, trace, |_| PathSummary::Exact(request.path.len()))
            }
        }
    }

    /// [`PortPolicy::decide_connection`], telling `trace` of each step.
    pub(crate) fn observe_connection<'p>(
        &'p self,
        client: &Client<'_>,
        trace: &mut impl Observe<'p>,
    ) -> RequestVerdict<'p> {
        let (verdict, labels) = permit(&self.connections, client, trace);
        RequestVerdict { verdict, labels, filters: &[], path: PathSummary::Exact(0) }
    }

    fn on_route<'p, M: Match>(
        &'p self,
        routes: &'p [Route<M, Permits>],
        client: &Client<'_>,
        request: &Request<'_>,
        trace: &mut impl Observe<'p>,
        path: impl Fn(&M::Summary) -> PathSummary,
    ) -> RequestVerdict<'p> {
        trace.routes(routes, request);
        let Some(found) = find(routes, request) else {
            trace.no_route();
            let labels = &self.no_route;
            return RequestVerdict {
                verdict: Verdict::NoRoute,
                labels,
                filters: &[],
                path: PathSummary::Exact(0),
            };
        };
        trace.found(&found.route.policy, found.route_index, found.rule_index);
        let (verdict, labels) = permit(&found.route.policy, client, trace);
        let filters = &found.rule.filters;
        RequestVerdict { verdict, labels, filters, path: path(&found.summary.request) }
    }
}

/// The first authorization that permits a client is the one that counts. Linkerd keeps those of one level in no
/// order; here they are by name, and an access policy comes after all of them.
fn permit<'p>(
    permits: &'p Permits,
    client: &Client<'_>,
    trace: &mut impl Observe<'p>,
) -> (Verdict, &'p Arc<PolicyLabels>) {
    for permit in &permits.authorizations {
        let lack = permit.authorization.lacks(client);
        trace.authorization(&permit.authorization, lack);
        if lack.is_none() {
            let audit = permit.authorization.label.is_audit();
            return (if audit { Verdict::Audit } else { Verdict::Allow }, &permit.labels);
        }
    }
    (Verdict::Deny, &permits.denied)
}
