//! What Linkerd is installed with.

use ipnet::IpNet;

use crate::access::AccessPolicy;

/// What Linkerd is installed with: the values of its policy controller that decisions depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterInfo {
    /// The networks of pods (`clusterNetworks`), for the access policies `cluster-*`.
    pub networks: Vec<IpNet>,
    /// Whence the kubelet's probes may come (`policyController.probeNetworks`).
    pub probe_networks: Vec<IpNet>,
    /// For ports without a Server (`proxy.defaultInboundPolicy`).
    pub default_policy: AccessPolicy,
    /// Ports that are not looked into where a pod declares them and does not say otherwise (`proxy.opaquePorts`).
    pub opaque_ports: Vec<u16>,
    /// The control plane's namespace, which identities name.
    pub control_plane_namespace: String,
    /// The trust domain, which identities end with.
    pub identity_domain: String,
    /// What the names of Services end with.
    pub dns_domain: String,
}

impl Default for ClusterInfo {
    /// Linkerd 2.20 as `linkerd install` sets it up (`charts/linkerd-control-plane/values.yaml`).
    fn default() -> Self {
        let nets = |nets: &[&str]| nets.iter().filter_map(|net| net.parse().ok()).collect();
        Self {
            networks: nets(&["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"]),
            probe_networks: nets(&["0.0.0.0/0", "::/0"]),
            default_policy: AccessPolicy::ALL_UNAUTHENTICATED,
            opaque_ports: vec![25, 587, 3306, 4444, 5432, 6379, 9300, 11211],
            control_plane_namespace: "linkerd".to_owned(),
            identity_domain: "cluster.local".to_owned(),
            dns_domain: "cluster.local".to_owned(),
        }
    }
}

impl ClusterInfo {
    /// `SERVICEACCOUNT.NAMESPACE.serviceaccount.identity.linkerd.cluster.local`
    pub fn identity(&self, service_account: &str, namespace: &str) -> String {
        let Self { control_plane_namespace: control_plane, identity_domain: domain, .. } = self;
        format!("{service_account}.{namespace}.serviceaccount.identity.{control_plane}.{domain}")
    }

    /// All identities of a namespace.
    pub fn namespace_identities(&self, namespace: &str) -> String {
        self.identity("*", namespace)
    }
}
