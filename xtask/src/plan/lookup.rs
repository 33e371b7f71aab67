//! Finding things in a plan.

use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Plan, Reference, Sourced};
use crate::workspace::Spot;
use crate::workspace::selector::{Labels, contains};

/// An object's name; every object of a plan has one.
pub fn name(object: &impl Metadata<Ty = ObjectMeta>) -> &str {
    object.metadata().name.as_deref().unwrap_or_default()
}

/// A Deployment's pods' spec.
pub fn pod(deployment: &Deployment) -> Option<&PodSpec> {
    deployment.spec.as_ref()?.template.spec.as_ref()
}

/// The labels of a Deployment's pods.
pub fn pod_labels(deployment: &Deployment) -> Option<&Labels> {
    deployment.spec.as_ref()?.template.metadata.as_ref()?.labels.as_ref()
}

/// How many pods a Deployment wants: 1 when it does not say.
pub fn replicas(deployment: &Deployment) -> u32 {
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    replicas.map_or(1, |replicas| u32::try_from(replicas).unwrap_or(0))
}

/// A Deployment's containers, those that run first included, each with its field.
pub fn containers(deployment: &Deployment) -> impl Iterator<Item = (Spot, &Container)> {
    pod(deployment).into_iter().flat_map(|pod| {
        let init = pod.init_containers.iter().flatten().enumerate().map(|item| ("initContainers", item));
        let main = pod.containers.iter().enumerate().map(|item| ("containers", item));
        init.chain(main).map(|(field, (index, container))| {
            (Spot::root().keys(&["spec", "template", "spec", field]).index(index), container)
        })
    })
}

/// The variables of a Deployment's containers, each with its field.
pub fn variables(deployment: &Deployment) -> impl Iterator<Item = (Spot, &EnvVar)> {
    containers(deployment).flat_map(|(spot, container)| {
        let env = spot.key("env");
        container.env.iter().flatten().enumerate().map(move |(index, variable)| (env.index(index), variable))
    })
}

/// The ports of a Service.
pub fn ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

/// Whether a Service selects the pods of a Deployment. Without a selector it selects none.
pub fn selects(service: &Service, deployment: &Deployment) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector
        .filter(|selector| !selector.is_empty())
        .zip(pod_labels(deployment))
        .is_some_and(|(selector, labels)| contains(labels, selector))
}

impl Plan {
    /// The Deployment of this name.
    pub fn deployment(&self, wanted: &str) -> Option<&Sourced<Deployment>> {
        self.deployments.iter().find(|deployment| name(&deployment.object) == wanted)
    }

    /// The Service of this name.
    pub fn service(&self, wanted: &str) -> Option<&Sourced<Service>> {
        self.services.iter().find(|service| name(&service.object) == wanted)
    }

    /// A Service's port, by its number or its name.
    pub fn service_port(&self, service: &str, port: &str) -> Option<&ServicePort> {
        let number = port.parse::<i32>().ok();
        let is = |given: &&ServicePort| Some(given.port) == number || given.name.as_deref() == Some(port);
        ports(&self.service(service)?.object).iter().find(is)
    }

    /// The Deployments whose pods a Service selects, by name; none for a Service that is not there.
    pub fn selected(&self, service: &str) -> Vec<&str> {
        let Some(service) = self.service(service) else { return Vec::new() };
        let selected = self.deployments.iter().map(|deployment| &deployment.object);
        selected.filter(|deployment| selects(&service.object, deployment)).map(name).collect()
    }

    /// What the value of an environment variable names: a Service of this plan, or the ingress.
    pub fn reference(&self, value: &str) -> Option<Reference> {
        let reference = Reference::parse(value).ok().flatten()?;
        let here = reference.namespace.as_ref().is_none_or(|namespace| *namespace == self.namespace);
        let known = (here && self.service(&reference.service).is_some()) || reference.is_ingress();
        known.then_some(reference)
    }
}
