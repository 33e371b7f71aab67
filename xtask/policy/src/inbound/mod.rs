//! What a pod's proxy lets in: compiled once from the objects, then decided request by request.

mod compile;
mod decide;
mod index;
pub(crate) mod routes;
pub(crate) mod settings;
mod trace;

use std::sync::Arc;

pub use compile::Ignored;
pub use decide::{RequestVerdict, Verdict};
pub use index::Inbound;
pub(crate) use index::selects;
pub use trace::{Step, Trace};

use crate::authz::Authorization;
use crate::label::{PolicyLabels, ResourceLabel};
use crate::rate_limit::RateLimit;
use crate::route::{GrpcMatch, HttpMatch, Route};

/// How a proxy serves a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// It looks at the first bytes.
    Detect,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// Bytes that are not looked at.
    Opaque,
    /// TLS of the application's own.
    Tls,
}

/// Everything that a pod's proxy knows of one of its ports.
#[derive(Clone, Debug, PartialEq)]
pub struct PortPolicy {
    /// The Server, or the default in its place.
    pub server: ResourceLabel,
    /// How the port is served.
    pub protocol: ProxyProtocol,
    /// Who may connect, where connections are what is decided on: nobody where HTTP is a must.
    pub connections: Permits,
    /// Who may send which request.
    pub routes: Routes,
    /// How many requests.
    pub rate_limit: Option<RateLimit>,
    /// Why nobody is let in, where the Server's routes cannot be sent to a proxy.
    pub broken: Option<String>,
    /// The labels of what no route takes.
    pub no_route: Arc<PolicyLabels>,
}

/// A port's routes, best first among equals.
#[derive(Clone, Debug, PartialEq)]
pub enum Routes {
    /// `HTTPRoute`s, or the default.
    Http(Vec<Route<HttpMatch, Permits>>),
    /// `GRPCRoute`s, or the default.
    Grpc(Vec<Route<GrpcMatch, Permits>>),
}

/// Who is let in on a route, or as a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Permits {
    /// The route; none for connections.
    pub route: Option<ResourceLabel>,
    /// Any of them permits; the first that does is the one that counts.
    pub authorizations: Vec<Permit>,
    /// The labels of what none of them permits.
    pub denied: Arc<PolicyLabels>,
}

/// An authorization, and the labels of what it permits.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    /// Whom it lets in.
    pub authorization: Authorization,
    /// For metrics.
    pub labels: Arc<PolicyLabels>,
}

impl Permits {
    /// With the labels of each. `own` are the route's, `server` those that all routes share.
    fn new<'a>(
        server_label: &ResourceLabel,
        route: Option<ResourceLabel>,
        authorizations: impl Iterator<Item = &'a Authorization>,
    ) -> Self {
        let permit = |authorization: &Authorization| Permit {
            labels: PolicyLabels::shared(server_label, route.as_ref(), Some(&authorization.label)),
            authorization: authorization.clone(),
        };
        let authorizations = authorizations.map(permit).collect();
        let denied = PolicyLabels::shared(server_label, route.as_ref(), None);
        Self { route, authorizations, denied }
    }
}
