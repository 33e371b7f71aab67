//! Which pods and requests a fault means: pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh::Identity;
use mesh::fault::Route;
use policy::cluster::ClusterInfo;
use policy::inbound::{Inbound, PortPolicy, Routes};
use policy::model::{Objects, Workload};

use crate::error::Fault;
use crate::plan::Plan;
use crate::plan::lookup::{name, ports};
use crate::runtime::fault::FaultSpec;
use crate::workspace::problem::suggest;

/// The pods and requests.
#[derive(Debug)]
pub struct Target {
    /// The Deployments whose pods the Service selects.
    pub deployments: BTreeSet<String>,
    /// The container ports behind the Service's.
    pub ports: Vec<u16>,
    /// The path or route.
    pub route: Option<Route>,
    /// The client.
    pub client: Option<Identity>,
}

/// Finds them, without the client. Errors with what is known, or with what was perhaps meant.
pub fn find(spec: &FaultSpec, plan: &Plan, objects: &Objects) -> Result<Target, Fault> {
    let wanted = &spec.service;
    let service = plan.service(wanted).ok_or_else(|| {
        let known = plan.services.iter().map(|service| name(&service.object));
        Fault::usage(format!("no Service `{wanted}`{}", suggest(wanted, known)))
    })?;
    let of_service: Vec<&ServicePort> = match &spec.port {
        None => ports(&service.object).iter().collect(),
        Some(port) => vec![plan.service_port(wanted, port).ok_or_else(|| {
            let named = ports(&service.object).iter();
            let known: Vec<String> =
                named.flat_map(|port| port.name.clone().into_iter().chain([port.port.to_string()])).collect();
            let near = suggest(port, known.iter().map(String::as_str));
            Fault::usage(format!("Service {wanted} has no port `{port}`{near}"))
        })?],
    };
    let selected = plan.selected(wanted);
    let workloads: Vec<&Workload> =
        objects.workloads.iter().filter(|own| selected.contains(&own.name.as_str())).collect();
    let containers: BTreeSet<u16> = workloads
        .iter()
        .flat_map(|workload| of_service.iter().filter_map(|port| behind(port, workload)))
        .collect();
    if containers.is_empty() {
        return Err(Fault::usage(format!("no pod is behind {}", spec.of())).hint("cargo xtask status"));
    }
    let route = spec.route.as_deref().map(|route| find_route(route, spec, &workloads, &containers, objects));
    Ok(Target {
        deployments: selected.into_iter().map(str::to_owned).collect(),
        ports: containers.into_iter().collect(),
        route: route.transpose()?,
        client: None,
    })
}

/// The container port that a Service's port leads to.
fn behind(port: &ServicePort, workload: &Workload) -> Option<u16> {
    match &port.target_port {
        None => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::String(wanted)) => {
            let named = workload.ports.iter().find(|own| own.name.as_deref() == Some(wanted));
            named.map(|port| port.number)
        }
    }
}

/// What has a slash is a path; all else is the name of a route.
fn find_route(
    route: &str,
    spec: &FaultSpec,
    workloads: &[&Workload],
    ports: &BTreeSet<u16>,
    objects: &Objects,
) -> Result<Route, Fault> {
    if route.contains('/') {
        let path = if route.starts_with('/') { route.to_owned() } else { format!("/{route}") };
        return Ok(match path.strip_suffix('*') {
            Some(prefix) => Route::Prefix(prefix.to_owned()),
            None => Route::Path(path),
        });
    }
    let inbound = workloads.iter().map(|workload| Inbound::new(workload, objects, &ClusterInfo::default()));
    let known: BTreeSet<String> =
        inbound.flat_map(|inbound| ports.iter().flat_map(move |port| names(inbound.port(*port)))).collect();
    if known.contains(route) {
        return Ok(Route::Named(route.to_owned()));
    }
    let near = suggest(route, known.iter().map(String::as_str));
    let of = FaultSpec { route: None, from: None, ..spec.clone() }.of();
    Err(Fault::usage(format!("no route `{route}` is in force on {of}{near}"))
        .hint("cargo xtask policy apply applies routes; a path begins with `/`"))
}

/// The names of a port's routes.
fn names(port: &PortPolicy) -> Vec<String> {
    let labels: Vec<_> = match &port.routes {
        Routes::Http(routes) => routes.iter().filter_map(|route| route.policy.route.clone()).collect(),
        Routes::Grpc(routes) => routes.iter().filter_map(|route| route.policy.route.clone()).collect(),
    };
    labels.into_iter().filter(|label| !label.is_default()).map(|label| label.name).collect()
}
