use std::{net::Ipv4Addr, sync::Arc};

use crate::{InboundPolicy, Workload, drain::Drain, metrics::Metrics, record::Records, tls::Credentials};

/// What all parts of one sidecar share.
pub(crate) struct Context {
    pub workload: Arc<Workload>,
    pub pod_ip: Ipv4Addr,
    pub app_ip: Ipv4Addr,
    pub credentials: Arc<Credentials>,
    pub policy: Arc<dyn InboundPolicy>,
    pub metrics: Arc<Metrics>,
    pub records: Records,
    /// The listeners and connections on the pod's address.
    pub inbound: Drain,
    /// Those for the application.
    pub outbound: Drain,
}
