//! What all pods of a run share: what a node is to a cluster's pods.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mesh::{Issuer, MeshError, Observer, Sidecar, SidecarSpec, Target};
use policy::outbound::ServicePort;

use super::address::{Block, cluster_address};
use super::endpoints::ServiceTable;
use super::fault::FaultController;
use super::log_file::LogBook;
use super::policy::PolicyController;
use super::services::ServiceAddresses;
use super::template::PodTemplate;
use crate::plan::reference::{self, Reference};
use crate::process::Spawner;
use crate::report::Events;

/// Variables of this process that reach services, as a few do reach a container from its image or its runtime.
/// Nothing else does: `HTTP_PROXY` and the like would send their calls elsewhere, and a cluster has none of it.
/// A pod's own variables win over these.
const INHERITED: [&str; 7] = [
    "PATH",
    "TZ",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "NO_COLOR",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];

/// The port of a sidecar's own metrics: Linkerd's.
pub const METRICS: u16 = 4191;

/// Where pods run.
#[derive(Clone)]
pub struct Node {
    /// Starts their processes.
    pub spawner: Spawner,
    /// Gives them addresses.
    pub block: Block,
    /// Knows who is behind which Service.
    pub services: ServiceTable,
    /// Where the Services are served.
    pub addresses: ServiceAddresses,
    /// Says what their sidecars let in.
    pub policies: PolicyController,
    /// Says what goes wrong in them on purpose.
    pub faults: FaultController,
    /// Where spans go, their sidecars' and the ingress's; their own go there by their environment.
    pub traces: Option<otlp::Exporter>,
    /// Tells what they see, while somebody asks.
    pub observer: Observer,
    /// Signs the sidecars' certificates.
    pub issuer: Issuer,
    /// Keeps what they write.
    pub logs: LogBook,
    /// Is told what happens to them.
    pub events: Events,
    /// What every pod's environment begins with.
    pub environment: Vec<(String, String)>,
}

/// The inherited part of every pod's environment.
pub fn inherited() -> Vec<(String, String)> {
    INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect()
}

impl Node {
    /// A value with the local address of the Service that it names in the name's place: the sidecar's
    /// listener for that Service, or without a sidecar the Service's own address.
    pub fn rewrite(&self, value: &str, namespace: &str, sidecar: Option<&Sidecar>) -> String {
        let Ok(Some(named)) = Reference::parse(value) else { return value.to_owned() };
        let namespace = named.namespace.clone().unwrap_or_else(|| namespace.to_owned());
        let Some(port) = named.port_or_default() else { return value.to_owned() };
        let address = match sidecar {
            Some(sidecar) => sidecar.outbound_addr(&named.service, &namespace, port, &named.authority),
            None => self.addresses.address(&named.service, &namespace, port),
        };
        address.map_or_else(|| value.to_owned(), |address| reference::rewrite(value, &named, address))
    }

    /// Starts the sidecar of a pod: inbound for its container ports, outbound for the Services that its
    /// variables name.
    pub async fn sidecar(
        &self,
        workload: &Arc<mesh::Workload>,
        template: &PodTemplate,
        pod_ip: Ipv4Addr,
        app_ip: Ipv4Addr,
        env: &[(String, String)],
    ) -> Result<Sidecar, MeshError> {
        let spec = SidecarSpec {
            workload: Arc::clone(workload),
            pod_ip,
            app_ip,
            inbound: template.ports.iter().map(|port| port.number).collect(),
            targets: env.iter().filter_map(|(_, value)| self.target_of(value, &template.namespace)).collect(),
            metrics_port: Some(METRICS),
            faults: self.faults.of(&workload.deployment),
            traces: self.traces.clone(),
            client_address: cluster_address,
        };
        let sidecar = Sidecar::start(spec, &self.issuer, self.policies.inbound(template.workload())).await?;
        self.observer.add(&sidecar, workload, pod_ip.into());
        Ok(sidecar)
    }

    fn target_of(&self, value: &str, client_namespace: &str) -> Option<Target> {
        let named = Reference::parse(value).ok()??;
        let port = named.port_or_default()?;
        let namespace = named.namespace.as_deref().unwrap_or(client_namespace);
        let service = ServicePort::new(namespace, named.service, port);
        self.target(client_namespace, service, named.authority)
    }

    /// A Service's port as the sidecars of a namespace's pods call it; none when there is no such port.
    pub fn target(&self, client_namespace: &str, service: ServicePort, authority: String) -> Option<Target> {
        let endpoints = self.services.subscribe(&service.name, &service.namespace, service.port)?;
        Some(Target {
            service: service.name.clone(),
            namespace: service.namespace.clone(),
            port: service.port,
            authority,
            endpoints,
            routes: self.policies.outbound(client_namespace, service),
            resolve: Arc::new(self.services.clone()),
        })
    }

    /// Where a Service is called without a sidecar.
    pub fn service_address(&self, service: &str, namespace: &str, port: u16) -> Option<SocketAddr> {
        self.addresses.address(service, namespace, port)
    }
}
