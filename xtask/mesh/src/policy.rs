use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
};

use http::{HeaderMap, Method};

use crate::{Identity, Protocol, Workload};

/// What a policy is asked about: one HTTP request, or one connection when the protocol is opaque.
#[derive(Clone, Copy, Debug)]
pub struct InboundRequest<'a> {
    /// The pod that is called.
    pub workload: &'a Workload,
    /// The port called.
    pub port: u16,
    /// Its name in the pod's specification.
    pub port_name: Option<&'a str>,
    /// Whence the connection comes.
    pub client: SocketAddr,
    /// The identity in the client's certificate. None: the client is unmeshed.
    pub identity: Option<&'a Identity>,
    /// HTTP/1 also where the hop between the sidecars is HTTP/2.
    pub protocol: Protocol,
    /// GET for opaque connections.
    pub method: &'a Method,
    /// The path without the query; empty for opaque connections.
    pub path: &'a str,
    /// The query after `?`, if any.
    pub query: Option<&'a str>,
    /// The headers as received; `l5d-client-id` in them is the client's claim.
    pub headers: &'a HeaderMap,
}

/// A policy's answer. The labels are for the metrics; return the same `Arc` for the same labels, since
/// counters are looked up by its address.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Pass it on.
    Allow {
        /// The server, route and authorization that allowed it.
        labels: Arc<PolicyLabels>,
    },
    /// Refuse it: HTTP 403, gRPC 7; a connection is closed.
    Deny {
        /// The server and route; no authorization.
        labels: Arc<PolicyLabels>,
    },
    /// No route of the server matches: HTTP 404, gRPC 5.
    NoRoute {
        /// The server.
        labels: Arc<PolicyLabels>,
    },
}

/// Group, kind and name of a policy object, or of a default.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourceLabel {
    /// The API group; empty for defaults.
    pub group: String,
    /// The kind in lower case, `default` for defaults.
    pub kind: String,
    /// The name.
    pub name: String,
}

impl ResourceLabel {
    /// A default, as Linkerd labels it: no group, kind `default`.
    pub fn default_of(name: &str) -> Self {
        Self { group: String::new(), kind: "default".to_owned(), name: name.to_owned() }
    }
}

/// What decided, as the metrics' labels `srv_*`, `route_*` and `authz_*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyLabels {
    /// The Server.
    pub server: ResourceLabel,
    /// The route; None where none matched, or for a connection.
    pub route: Option<ResourceLabel>,
    /// The authorization; None when refused.
    pub authz: Option<ResourceLabel>,
}

/// Decides what a pod accepts: per request for HTTP, also on connections that are already open; per connection
/// for opaque TCP. Called on the data path, so it must not block.
pub trait InboundPolicy: Send + Sync {
    /// The verdict for one request.
    fn decide(&self, request: &InboundRequest<'_>) -> Decision;
}

/// Linkerd's default policy: everyone is admitted, meshed or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllUnauthenticated;

impl InboundPolicy for AllUnauthenticated {
    fn decide(&self, request: &InboundRequest<'_>) -> Decision {
        static HTTP: LazyLock<Arc<PolicyLabels>> = LazyLock::new(|| {
            Arc::new(PolicyLabels {
                server: ResourceLabel::default_of("all-unauthenticated"),
                route: Some(ResourceLabel::default_of("default")),
                authz: Some(ResourceLabel::default_of("all-unauthenticated")),
            })
        });
        static OPAQUE: LazyLock<Arc<PolicyLabels>> =
            LazyLock::new(|| Arc::new(PolicyLabels { route: None, ..(**HTTP).clone() }));
        let labels = if request.protocol == Protocol::Opaque { &OPAQUE } else { &HTTP };
        Decision::Allow { labels: Arc::clone(labels) }
    }
}
