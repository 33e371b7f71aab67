use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use policy::outbound::{ServicePolicy, ServicePort};
use tokio::sync::watch;

use crate::{Identity, fault::Faults};

/// What a pod is, for identities, labels and policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    /// The pod's name.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// Its `ServiceAccount`.
    pub service_account: String,
    /// The Deployment it belongs to.
    pub deployment: String,
    /// The label `pod-template-hash`.
    pub pod_template_hash: String,
}

impl Workload {
    /// The mesh identity of this workload.
    pub fn identity(&self) -> Identity {
        Identity::of_service_account(&self.service_account, &self.namespace)
    }
}

/// One pod behind a Service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's address and its (target) port.
    pub addr: SocketAddr,
    /// The pod.
    pub workload: Arc<Workload>,
    /// What its certificate must say. None: the pod has no sidecar and is sent plain TCP.
    pub identity: Option<Identity>,
    /// The port carries bytes that are not to be looked at.
    pub opaque: bool,
}

/// A Service port that a pod calls.
#[derive(Clone, Debug)]
pub struct Target {
    /// The Service's name.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// The Service's port.
    pub port: u16,
    /// `HOST[:PORT]` as the application's configuration wrote it: what `Host` and `:authority` are restored to.
    pub authority: String,
    /// The ready endpoints, as they change. The last value stays in force when the sender is dropped.
    pub endpoints: watch::Receiver<Arc<[Endpoint]>>,
    /// What becomes of its requests, as it changes: protocol, routes, timeouts, retries, failure accrual. A change
    /// is in force for the next request, also on connections that are open; the protocol for the next connection.
    pub routes: watch::Receiver<Arc<ServicePolicy>>,
    /// Finds the other Services that its routes lead to.
    pub resolve: Arc<dyn Resolve>,
}

/// Finds the endpoints of Services.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The ready endpoints of a Service's port, as they change; none if there is no such Service. A port that the
    /// Service does not declare is its pods' own port of that number, as in Linkerd's destination controller.
    fn endpoints(&self, service: &ServicePort) -> Option<watch::Receiver<Arc<[Endpoint]>>>;
}

/// Everything a sidecar is started with.
#[derive(Clone, Debug)]
pub struct SidecarSpec {
    /// The pod.
    pub workload: Arc<Workload>,
    /// Where the sidecar listens for others, and what its own connections come from.
    pub pod_ip: Ipv4Addr,
    /// Where the application listens, and where the sidecar listens for it.
    pub app_ip: Ipv4Addr,
    /// The declared container ports: on the pod's address and on the application's.
    pub inbound: Vec<u16>,
    /// What the pod calls. More can be added with [`crate::Sidecar::add_target`].
    pub targets: Vec<Target>,
    /// The port of `/metrics`, `/live` and `/ready` on `pod_ip` (Linkerd's is 4191). None: none.
    pub metrics_port: Option<u16>,
    /// What is to go wrong on purpose with the requests that are let in, as it changes.
    pub faults: Faults,
    /// Where the spans of requests go. None: nowhere.
    pub traces: Option<otlp::Exporter>,
    /// The address of a client as policies see it, from the one that it connects from: the address that it would
    /// have in a cluster. Messages and records name the one that it connects from.
    pub client_address: fn(IpAddr) -> IpAddr,
}
