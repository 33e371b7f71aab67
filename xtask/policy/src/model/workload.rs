use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::DEFAULT_NAMESPACE;

/// Pods of one template: what of them a policy can depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The Deployment's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The pods' labels.
    pub labels: BTreeMap<String, String>,
    /// The pods' annotations.
    pub annotations: BTreeMap<String, String>,
    /// Who the pods are: `default` when they do not say.
    pub service_account: String,
    /// The TCP ports that the containers declare.
    pub ports: Vec<Port>,
    /// The numbers of all ports that the containers declare, of any transport: the injector does not tell them
    /// apart.
    pub numbers: BTreeSet<u16>,
    /// The paths of the kubelet's HTTP probes, by port.
    pub probes: BTreeMap<u16, BTreeSet<String>>,
    /// The ports of the kubelet's gRPC probes.
    pub grpc_probes: BTreeSet<u16>,
}

/// A declared container port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The number.
    pub number: u16,
    /// The name, if any. Several ports can have the same.
    pub name: Option<String>,
}

impl Workload {
    /// The pods of a Deployment. What is not valid in it (a port out of range) is left out.
    pub fn of(deployment: &Deployment) -> Self {
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        let metadata = template.and_then(|template| template.metadata.as_ref());
        let pod = template.and_then(|template| template.spec.as_ref());
        Self {
            name: deployment.metadata.name.clone().unwrap_or_default(),
            namespace: deployment.metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            labels: metadata.and_then(|metadata| metadata.labels.clone()).unwrap_or_default(),
            annotations: metadata.and_then(|metadata| metadata.annotations.clone()).unwrap_or_default(),
            service_account: pod
                .and_then(|pod| pod.service_account_name.clone())
                .unwrap_or_else(|| "default".to_owned()),
            ports: pod.map(declared).unwrap_or_default(),
            numbers: pod.map(numbers).unwrap_or_default(),
            probes: pod.map(probes).unwrap_or_default(),
            grpc_probes: pod.map(grpc_probes).unwrap_or_default(),
        }
    }

    /// The numbers of the ports that a Server's `port` selects: a number selects itself, declared or not.
    pub fn select(&self, port: &IntOrString) -> Vec<u16> {
        match port {
            IntOrString::Int(number) => u16::try_from(*number).ok().filter(|n| *n > 0).into_iter().collect(),
            IntOrString::String(name) => {
                // The proxy's controller reads a number in quotes as a name, which no port can have.
                let named = self.ports.iter().filter(|port| port.name.as_deref() == Some(name));
                let numbers: BTreeSet<u16> = named.map(|port| port.number).collect();
                numbers.into_iter().collect()
            }
        }
    }

    /// The labels of its pods: those of the template, and those that the injector adds with the sidecar.
    pub fn pod_labels(&self, control_plane_namespace: &str) -> BTreeMap<String, String> {
        let added = [
            ("linkerd.io/control-plane-ns", control_plane_namespace),
            ("linkerd.io/proxy-deployment", self.name.as_str()),
            ("linkerd.io/workload-ns", self.namespace.as_str()),
        ];
        let added = added.map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.labels.clone().into_iter().chain(added).collect()
    }

    /// Whether a sidecar is asked for, by `linkerd.io/inject`.
    pub fn is_meshed(&self) -> bool {
        self.annotations.get("linkerd.io/inject").is_some_and(|inject| inject == "enabled")
    }
}

fn containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    pod.containers.iter().chain(pod.init_containers.iter().flatten())
}

fn tcp(port: &ContainerPort) -> Option<u16> {
    let is_tcp = port.protocol.as_deref().is_none_or(|protocol| protocol.eq_ignore_ascii_case("TCP"));
    u16::try_from(port.container_port).ok().filter(|number| is_tcp && *number > 0)
}

fn declared(pod: &PodSpec) -> Vec<Port> {
    let ports = containers(pod).flat_map(|container| container.ports.iter().flatten());
    let mut ports: Vec<_> =
        ports.filter_map(|port| Some(Port { number: tcp(port)?, name: port.name.clone() })).collect();
    ports.sort();
    ports.dedup();
    ports
}

fn grpc_probes(pod: &PodSpec) -> BTreeSet<u16> {
    let all = containers(pod).flat_map(|own| [&own.liveness_probe, &own.readiness_probe, &own.startup_probe]);
    let grpc = all.flatten().filter_map(|probe| probe.grpc.as_ref());
    grpc.filter_map(|own| u16::try_from(own.port).ok()).filter(|port| *port > 0).collect()
}

fn numbers(pod: &PodSpec) -> BTreeSet<u16> {
    let ports = containers(pod).flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(|port| u16::try_from(port.container_port).ok()).collect()
}

/// As `pod_http_probes` of Linkerd's policy controller: a named port is looked up in its own container only, and
/// the query of a path does not count.
fn probes(pod: &PodSpec) -> BTreeMap<u16, BTreeSet<String>> {
    let mut probes: BTreeMap<u16, BTreeSet<String>> = BTreeMap::new();
    for container in containers(pod) {
        let named = |name: &str| {
            let is_named = |port: &&ContainerPort| {
                port.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name))
            };
            container.ports.iter().flatten().filter(is_named).find_map(tcp)
        };
        let all = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
        for get in all.into_iter().flatten().filter_map(|probe| probe.http_get.as_ref()) {
            let port = match &get.port {
                IntOrString::Int(number) => u16::try_from(*number).ok().filter(|number| *number > 0),
                IntOrString::String(name) => named(name),
            };
            let path = get.path.as_deref().unwrap_or("/").parse::<http::Uri>();
            if let (Some(port), Ok(path)) = (port, path) {
                probes.entry(port).or_default().insert(path.path().to_owned());
            }
        }
    }
    probes
}
