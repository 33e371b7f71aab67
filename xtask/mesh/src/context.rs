use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use policy::inbound::Inbound;
use tokio::sync::watch;

use crate::{
    Workload,
    drain::Drain,
    fault::Faults,
    metrics::Metrics,
    record::Records,
    tls::Credentials,
    trace::{Joined, Tracer},
};

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
    /// Where the spans of requests go, if anywhere.
    pub tracer: Option<Tracer>,
    /// The listeners and connections on the pod's address.
    pub inbound: Drain,
    /// Those for the application.
    pub outbound: Drain,
}

impl Context {
    /// The request's span, if it belongs to a trace that is to be exported.
    pub(crate) fn span(&self, headers: &mut http::HeaderMap) -> Option<Box<Joined>> {
        self.tracer.as_ref()?.join(headers)
    }
}
