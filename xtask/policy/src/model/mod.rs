//! The objects that policies are made of, as they are written. Reading is the caller's; every type here is
//! plain `serde`, with the fields of the CRDs that Linkerd 2.20 installs.

mod authentication;
mod authorization;
mod rate_limit;
mod reference;
mod route;
mod server;
mod workload;

use k8s_openapi::api::core::v1::{Namespace, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use authentication::{
    MeshTLSAuthentication, MeshTLSAuthenticationSpec, Network, NetworkAuthentication,
    NetworkAuthenticationSpec,
};
pub use authorization::{AuthorizationPolicy, AuthorizationPolicySpec};
pub use rate_limit::{HTTPLocalRateLimitPolicy, HTTPLocalRateLimitPolicySpec, Limit, Override};
pub use reference::{LocalTargetRef, NamespacedTargetRef, ParentRef};
pub use route::{
    BackendRef, GRPCMethodMatch, GRPCRoute, GRPCRouteMatch, GRPCRouteRule, GRPCRouteSpec, HTTPPathMatch,
    HTTPRoute, HTTPRouteMatch, HTTPRouteRule, HTTPRouteSpec, HeaderChange, HeaderModifier, PathModifier,
    RequestRedirect, RouteFilter, Timeouts, ValueMatch,
};
pub use server::{Server, ServerSpec};
pub use workload::{Port, Workload};

/// `policy.linkerd.io`
pub const LINKERD: &str = "policy.linkerd.io";

/// `gateway.networking.k8s.io`
pub const GATEWAY: &str = "gateway.networking.k8s.io";

/// Everything that a decision can depend on. The order of objects never matters.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Namespaces that are written down; others exist without annotations.
    pub namespaces: Vec<Namespace>,
    /// Who pods can be.
    pub service_accounts: Vec<ServiceAccount>,
    /// What runs.
    pub workloads: Vec<Workload>,
    /// How it is called.
    pub services: Vec<Service>,
    /// How it is called from outside.
    pub ingresses: Vec<Ingress>,
    /// `policy.linkerd.io` `Server`.
    pub servers: Vec<Server>,
    /// `policy.linkerd.io` `AuthorizationPolicy`.
    pub authorization_policies: Vec<AuthorizationPolicy>,
    /// `policy.linkerd.io` `MeshTLSAuthentication`.
    pub mesh_tls_authentications: Vec<MeshTLSAuthentication>,
    /// `policy.linkerd.io` `NetworkAuthentication`.
    pub network_authentications: Vec<NetworkAuthentication>,
    /// `policy.linkerd.io` `HTTPLocalRateLimitPolicy`.
    pub rate_limits: Vec<HTTPLocalRateLimitPolicy>,
    /// `HTTPRoute` of both groups; [`HTTPRoute::group`] says which.
    pub http_routes: Vec<HTTPRoute>,
    /// `gateway.networking.k8s.io` `GRPCRoute`.
    pub grpc_routes: Vec<GRPCRoute>,
}

/// An object with a name and a namespace.
pub trait Named {
    /// Its metadata.
    fn metadata(&self) -> &ObjectMeta;

    /// Its name; empty when it has none, which strict reading refuses.
    fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// Its namespace: `default` when it does not say, as for kubectl without a context's namespace.
    fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
    }
}

/// The namespace of objects that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

macro_rules! named {
    ($($kind:ty),+) => {
        $(impl Named for $kind {
            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }
        })+
    };
}

named!(
    Namespace,
    ServiceAccount,
    Service,
    Ingress,
    Server,
    AuthorizationPolicy,
    MeshTLSAuthentication,
    NetworkAuthentication,
    HTTPLocalRateLimitPolicy,
    HTTPRoute,
    GRPCRoute
);
