//! What the annotations of a pod or its namespace say.

use std::collections::BTreeMap;

use crate::access::AccessPolicy;
use crate::cluster::ClusterInfo;
use crate::model::Workload;

/// Who is let in on ports without a Server.
pub const DEFAULT_INBOUND_POLICY: &str = "config.linkerd.io/default-inbound-policy";
/// Ports that are not looked into.
pub const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
/// Ports whose clients must have an identity.
pub const REQUIRE_IDENTITY: &str = "config.linkerd.io/proxy-require-identity-inbound-ports";

/// A pod's own settings.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub default_policy: AccessPolicy,
    pub opaque: Vec<(u16, u16)>,
    pub require_identity: Vec<(u16, u16)>,
}

impl Settings {
    /// The pod's annotations; where it has none, its namespace's, which the injector copies to the pod; else the
    /// cluster's. A value that cannot be read counts as none said, as in the policy controller.
    pub(super) fn of(
        workload: &Workload,
        namespace: Option<&BTreeMap<String, String>>,
        cluster: &ClusterInfo,
    ) -> Self {
        let annotation =
            |name: &str| workload.annotations.get(name).or_else(|| namespace.and_then(|own| own.get(name)));
        let ports = |name: &str| annotation(name).map(|text| parse_ports(text).unwrap_or_default());
        Self {
            default_policy: annotation(DEFAULT_INBOUND_POLICY)
                .and_then(|text| text.parse().ok())
                .unwrap_or(cluster.default_policy),
            opaque: ports(OPAQUE_PORTS).unwrap_or_else(|| declared_opaque(workload, cluster)),
            require_identity: ports(REQUIRE_IDENTITY).unwrap_or_default(),
        }
    }

    /// The policy of a port without a Server.
    pub(super) fn policy(&self, port: u16) -> AccessPolicy {
        match self.default_policy {
            AccessPolicy::Allow { cluster, .. } if contains(&self.require_identity, port) => {
                AccessPolicy::Allow { authenticated: true, cluster }
            }
            policy => policy,
        }
    }

    /// Whether a port without a Server is not looked into.
    pub(super) fn is_opaque(&self, port: u16) -> bool {
        contains(&self.opaque, port)
    }
}

/// The cluster's opaque ports that the pod declares: the injector writes only those into the pod's annotation.
fn declared_opaque(workload: &Workload, cluster: &ClusterInfo) -> Vec<(u16, u16)> {
    let opaque = workload.numbers.iter().filter(|number| cluster.opaque_ports.contains(number));
    opaque.map(|number| (*number, *number)).collect()
}

fn contains(ranges: &[(u16, u16)], port: u16) -> bool {
    ranges.iter().any(|(low, high)| (*low..=*high).contains(&port))
}

/// `25,587,9000-9010` as ranges. None if it is not like that.
pub fn parse_ports(text: &str) -> Option<Vec<(u16, u16)>> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let specs = text.split(',').filter(|spec| !spec.trim().is_empty());
    specs
        .map(|spec| match spec.split_once('-') {
            None => port(spec).map(|port| (port, port)),
            Some((low, high)) => Some((port(low)?, port(high)?)).filter(|(low, high)| low <= high),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_linkerd_reads_them() {
        assert_eq!(parse_ports(""), Some(vec![]));
        assert_eq!(parse_ports("4,1-2"), Some(vec![(4, 4), (1, 2)]));
        for wrong in ["0", "2-1", "2-", "x", "65536"] {
            assert_eq!(parse_ports(wrong), None, "{wrong}");
        }
    }
}
