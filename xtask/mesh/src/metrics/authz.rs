use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::Labels;

/// What the policies have decided: the families of `inbound/src/metrics/authz.rs` of linkerd2-proxy.
#[derive(Default)]
pub(crate) struct Authz {
    pub http_allow: Family<Labels, Counter>,
    pub http_deny: Family<Labels, Counter>,
    pub route_not_found: Family<Labels, Counter>,
    pub rate_limited: Family<Labels, Counter>,
    pub tcp_allow: Family<Labels, Counter>,
    pub tcp_deny: Family<Labels, Counter>,
    pub tcp_terminate: Family<Labels, Counter>,
}

impl Authz {
    /// With Linkerd's names; counters get the suffix `_total` when printed.
    pub(super) fn register(&self, registry: &mut Registry) {
        let families = [
            (
                "inbound_http_authz_allow",
                "The total number of inbound HTTP requests that were authorized",
                &self.http_allow,
            ),
            (
                "inbound_http_authz_deny",
                "The total number of inbound HTTP requests that were denied for lack of an authorization",
                &self.http_deny,
            ),
            (
                "inbound_http_route_not_found",
                "The total number of inbound HTTP requests that no route takes",
                &self.route_not_found,
            ),
            (
                "inbound_http_local_ratelimit",
                "The total number of inbound HTTP requests that were rate-limited",
                &self.rate_limited,
            ),
            (
                "inbound_tcp_authz_allow",
                "The total number of inbound TCP connections that were authorized",
                &self.tcp_allow,
            ),
            (
                "inbound_tcp_authz_deny",
                "The total number of inbound TCP connections that were denied",
                &self.tcp_deny,
            ),
            (
                "inbound_tcp_authz_terminate",
                "The total number of inbound TCP connections that were ended because their authorization was",
                &self.tcp_terminate,
            ),
        ];
        for (name, help, family) in families {
            registry.register(name, help, family.clone());
        }
    }
}
