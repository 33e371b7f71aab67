//! From a Service's port to the pods' port behind it.

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Call;
use crate::model::{Named, Objects, Workload};
use crate::route::Protocol;

/// Where a call arrives.
#[derive(Clone, Debug)]
pub struct Destination<'a> {
    /// The Service's port.
    pub port: &'a ServicePort,
    /// The pods behind it; the first by name where there are several workloads.
    pub workload: &'a Workload,
    /// The others.
    pub others: Vec<&'a Workload>,
    /// The port in the pods.
    pub container_port: u16,
}

/// A call that names what is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// No such Service.
    #[error("there is no Service {name} in namespace {namespace} (known: {known})")]
    NoService {
        /// Its name.
        name: String,
        /// The namespace.
        namespace: String,
        /// The Services that are there.
        known: String,
    },
    /// No such port.
    #[error("Service {service} has no port {port} (known: {known})")]
    NoPort {
        /// The Service.
        service: String,
        /// The port.
        port: String,
        /// The ports that it has.
        known: String,
    },
    /// Several ports fit.
    #[error("Service {service} has several ports; name one of them (known: {known})")]
    WhichPort {
        /// The Service.
        service: String,
        /// The ports that it has.
        known: String,
    },
    /// Nobody is behind the Service's port.
    #[error("Service {service} port {port} leads to no pods of these manifests")]
    NoWorkload {
        /// The Service.
        service: String,
        /// The port.
        port: String,
    },
}

impl Destination<'_> {
    /// Whether the port says that it speaks gRPC.
    pub fn speaks_grpc(&self) -> bool {
        speaks_grpc(self.port)
    }
}

/// Where a call arrives. Errors when it names what is not there.
pub fn destination<'a>(objects: &'a Objects, call: &Call) -> Result<Destination<'a>, Unanswerable> {
    let mut services = objects.services.iter().filter(|service| service.namespace() == call.namespace);
    let service = services.find(|service| service.name() == call.service).ok_or_else(|| {
        let known = objects.services.iter().filter(|service| service.namespace() == call.namespace);
        let mut known: Vec<_> = known.map(Named::name).collect();
        known.sort_unstable();
        Unanswerable::NoService {
            name: call.service.clone(),
            namespace: call.namespace.clone(),
            known: known.join(", "),
        }
    })?;
    let port = service_port(service, call)?;
    let mut behind: Vec<_> = objects
        .workloads
        .iter()
        .filter(|workload| is_behind(service, workload))
        .filter_map(|workload| Some((workload, container_port(port, workload)?)))
        .collect();
    behind.sort_by_key(|(workload, _)| &workload.name);
    let Some(((workload, container_port), others)) = behind.split_first() else {
        let port = port.name.clone().unwrap_or_else(|| port.port.to_string());
        return Err(Unanswerable::NoWorkload { service: call.service.clone(), port });
    };
    let others = others.iter().map(|(workload, _)| *workload).collect();
    Ok(Destination { port, workload, others, container_port: *container_port })
}

fn service_port<'a>(service: &'a Service, call: &Call) -> Result<&'a ServicePort, Unanswerable> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let known = || {
        let shown = ports.iter().map(|port| match &port.name {
            Some(name) => format!("{name} ({})", port.port),
            None => port.port.to_string(),
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    if let Some(wanted) = &call.port {
        let number = wanted.parse::<i32>().ok();
        let is = |port: &&ServicePort| port.name.as_ref() == Some(wanted) || Some(port.port) == number;
        return ports.iter().find(is).ok_or_else(|| Unanswerable::NoPort {
            service: call.service.clone(),
            port: wanted.clone(),
            known: known(),
        });
    }
    let mut fitting = ports.iter().filter(|port| speaks_grpc(port) == (call.protocol == Protocol::Grpc));
    match (ports, fitting.next(), fitting.next()) {
        ([only], _, _) | (_, Some(only), None) => Ok(only),
        _ => Err(Unanswerable::WhichPort { service: call.service.clone(), known: known() }),
    }
}

/// Whether a Service port is for gRPC, by its `appProtocol` or by the name that Kubernetes' convention gives such
/// ports.
pub fn speaks_grpc(port: &ServicePort) -> bool {
    let named = |text: &Option<String>| text.as_deref().is_some_and(|text| text.starts_with("grpc"));
    named(&port.name)
        || named(&port.app_protocol)
        || port.app_protocol.as_deref() == Some("kubernetes.io/h2c")
}

fn is_behind(service: &Service, workload: &Workload) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    service.namespace() == workload.namespace
        && selector.is_some_and(|selector| {
            !selector.is_empty()
                && selector.iter().all(|(key, value)| workload.labels.get(key) == Some(value))
        })
}

fn container_port(port: &ServicePort, workload: &Workload) -> Option<u16> {
    match &port.target_port {
        None => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(name) => workload.select(name).first().copied(),
    }
}
