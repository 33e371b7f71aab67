//! What objects are called in metrics and in chains.

use std::fmt;
use std::sync::Arc;

/// Group, kind and name of a policy object or of a default, as Linkerd's metrics label them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceLabel {
    /// The API group; empty for defaults.
    pub group: String,
    /// The kind as Linkerd writes it in that label: `server`, `authorizationpolicy`, `HTTPRoute`, `GRPCRoute`;
    /// `default` for defaults.
    pub kind: String,
    /// The name.
    pub name: String,
}

impl ResourceLabel {
    /// A default: no group, kind `default`.
    pub fn default_of(name: &str) -> Self {
        Self::new("", "default", name)
    }

    /// An object.
    pub fn new(group: &str, kind: &str, name: &str) -> Self {
        Self { group: group.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }

    /// Whether it stands for no object.
    pub fn is_default(&self) -> bool {
        self.kind == "default" && self.group.is_empty()
    }

    /// Whether what it authorizes is to be noted: the default `audit` (`Meta::is_audit` of linkerd2-proxy).
    pub fn is_audit(&self) -> bool {
        self.is_default() && self.name == "audit"
    }
}

impl fmt::Display for ResourceLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind.as_str() {
            "server" => "Server",
            "authorizationpolicy" => "AuthorizationPolicy",
            kind => kind,
        };
        write!(f, "{kind} {}", self.name)
    }
}

/// What decided, for `srv_*`, `route_*` and `authz_*` of metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyLabels {
    /// The Server.
    pub server: ResourceLabel,
    /// The route; none where no route matched, or for a connection.
    pub route: Option<ResourceLabel>,
    /// The authorization; none when refused.
    pub authz: Option<ResourceLabel>,
}

impl PolicyLabels {
    /// Shared, since every decision hands them out.
    pub(crate) fn shared(
        server: &ResourceLabel,
        route: Option<&ResourceLabel>,
        authz: Option<&ResourceLabel>,
    ) -> Arc<Self> {
        Arc::new(Self { server: server.clone(), route: route.cloned(), authz: authz.cloned() })
    }
}
