//! Pure: what the API server has -> the status that commands show.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::inventory::Inventory;
use super::linkerd::is_meshed;
use super::progress::{pods_of, progress, state};
use crate::plan::lookup::{name, ports};
use crate::runtime::{DeploymentStatus, PodStatus, ServiceStatus, Status};

/// The label that names an `EndpointSlice`'s Service.
const SERVICE: &str = "kubernetes.io/service-name";

/// What was read of a namespace.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub deployments: Vec<Deployment>,
    pub services: Vec<Service>,
    pub slices: Vec<EndpointSlice>,
    pub pods: Vec<Pod>,
}

/// The status of what an inventory names.
pub fn status(inventory: &Inventory, seen: &Seen, ingress: Option<String>, now: Timestamp) -> Status {
    let ours =
        |kind: &str, name: &str| inventory.objects.iter().any(|key| key.kind == kind && key.name == name);
    let mut status = Status {
        runtime: "kind".to_owned(),
        grpc: inventory.grpc,
        linkerd: inventory.linkerd,
        ingress: ingress.filter(|_| inventory.ingress),
        hosts: inventory.hosts.clone(),
        ..Status::default()
    };
    for deployment in seen.deployments.iter().filter(|deployment| ours("Deployment", name(*deployment))) {
        let progress = progress(deployment, &seen.pods);
        let age = deployment.metadata.creation_timestamp.as_ref().map(|time| seconds(time.0, now));
        status.uptime_seconds = status.uptime_seconds.max(age.unwrap_or(0));
        status.deployments.push(DeploymentStatus {
            name: progress.deployment,
            desired: progress.desired,
            updated: progress.updated,
            ready: progress.ready,
        });
        status.pods.extend(pods_of(deployment, &seen.pods).map(|pod| one(pod, name(deployment), now)));
    }
    for service in seen.services.iter().filter(|service| ours("Service", name(*service))) {
        status.services.push(of_service(service, &seen.slices));
    }
    status.pods.sort_by(|a, b| a.name.cmp(&b.name));
    status
}

fn one(pod: &Pod, deployment: &str, now: Timestamp) -> PodStatus {
    let (state, reason) = state(pod);
    let (spec, status) = (pod.spec.clone().unwrap_or_default(), pod.status.clone().unwrap_or_default());
    let restarts = status.container_statuses.iter().flatten().map(|status| status.restart_count).sum::<i32>();
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let image = containers
        .filter(|container| !container.name.starts_with("linkerd-"))
        .find_map(|container| Some(container.image.as_ref()?.rsplit('/').next()?.to_owned()));
    PodStatus {
        name: name(pod).to_owned(),
        deployment: deployment.to_owned(),
        state,
        reason,
        restarts: u32::try_from(restarts).unwrap_or(0),
        ip: status.pod_ip.unwrap_or_default(),
        pid: None,
        image: image.unwrap_or_default(),
        meshed: is_meshed(pod),
        age_seconds: pod.metadata.creation_timestamp.as_ref().map_or(0, |time| seconds(time.0, now)),
    }
}

fn of_service(service: &Service, slices: &[EndpointSlice]) -> ServiceStatus {
    let own = name(service);
    let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).unwrap_or_default();
    let ports = ports(service)
        .iter()
        .map(|port| {
            let shown = port.name.clone().unwrap_or_else(|| port.port.to_string());
            (shown, format!("{address}:{}", port.port))
        })
        .collect();
    let of = |slice: &&EndpointSlice| {
        slice
            .metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.get(SERVICE).is_some_and(|name| name == own))
    };
    let endpoints = slices.iter().filter(of).flat_map(|slice| slice.endpoints.iter());
    let ready = endpoints.filter(|endpoint| {
        endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready.unwrap_or(true))
    });
    let endpoints = u32::try_from(ready.count()).unwrap_or(u32::MAX);
    ServiceStatus { name: own.to_owned(), ports, endpoints }
}

fn seconds(since: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.as_second() - since.as_second()).unwrap_or(0)
}
