use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use policy::inbound::Inbound;
use tokio::sync::watch;

use crate::{Workload, drain::Drain, fault::Faults, metrics::Metrics, record::Records, tls::Credentials};

/// What all parts of one sidecar share.
pub(crate) struct Context {
    pub workload: Arc<Workload>,
    pub pod_ip: Ipv4Addr,
    pub app_ip: Ipv4Addr,
    pub credentials: Arc<Credentials>,
    pub policy: watch::Receiver<Arc<Inbound>>,
    pub faults: Faults,
    pub client_address: fn(IpAddr) -> IpAddr,
    pub metrics: Arc<Metrics>,
    pub records: Records,
    /// The listeners and connections on the pod's address.
    pub inbound: Drain,
    /// Those for the application.
    pub outbound: Drain,
}
