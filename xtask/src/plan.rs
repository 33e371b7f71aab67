//! Pure: arguments and workspace in, what is to exist out.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::workspace::Workspace;
use crate::workspace::manifests::Manifests;
pub use crate::workspace::manifests::Sourced;
use crate::workspace::problem::Problems;

mod checks;
pub mod edges;
pub mod lookup;
mod mode;
#[allow(dead_code, reason = "the policy commands decide on it")]
mod objects;
pub mod reference;
mod workloads;

#[allow(unused_imports, reason = "the policy commands decide on it")]
pub use objects::{INGRESS_ACCOUNT, objects};
pub use reference::Reference;

/// The namespace of objects that name none.
const NAMESPACE: &str = "default";

/// How the services talk: two independent switches, four modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// gRPC between the services, in place of HTTP.
    pub grpc: bool,
    /// Every pod with a sidecar.
    pub linkerd: bool,
}

/// What is to exist: the manifests' objects with the mode's changes made.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub mode: Mode,
    /// Whether there is an ingress.
    pub ingress: bool,
    /// The namespace of every object.
    pub namespace: String,
    pub service_accounts: Vec<Sourced<ServiceAccount>>,
    pub services: Vec<Sourced<Service>>,
    pub deployments: Vec<Sourced<Deployment>>,
    pub ingresses: Vec<Sourced<Ingress>>,
    /// The workspace services whose images the Deployments name, sorted: what to build.
    pub images: Vec<String>,
    /// What their images say of themselves, by OCI's annotation keys.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
    /// Workloads left out, and why: told to people.
    pub left_out: Vec<LeftOut>,
}

/// A workload that this plan leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub deployment: String,
    pub reason: String,
}

/// What the arguments say of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub mode: Mode,
    /// Without it, the Ingresses are dropped, and the workloads that call through it are left out.
    pub ingress: bool,
}

/// Why there is no plan: every mistake in the manifests' objects.
pub type PlanErrors = Problems;

impl Plan {
    /// The objects of the manifests, sorted by name, as the options want them. Errors with every
    /// mistake across objects, each with its place, cause and remedy.
    pub fn new(workspace: &Workspace, manifests: &Manifests, options: Options) -> Result<Self, PlanErrors> {
        let mut plan = Self {
            mode: options.mode,
            ingress: options.ingress,
            namespace: NAMESPACE.to_owned(),
            service_accounts: sorted(&manifests.service_accounts),
            services: sorted(&manifests.services),
            deployments: sorted(&manifests.deployments),
            ingresses: sorted(&manifests.ingresses),
            images: Vec::new(),
            labels: workspace.services.iter().map(|own| (own.name.clone(), own.labels.clone())).collect(),
            left_out: Vec::new(),
        };
        plan.namespace = plan.the_namespace();
        let mut problems = Vec::new();
        mode::apply(options.mode, &mut plan.deployments, manifests, &mut problems);
        // Before anything is left out: what is wrong is wrong in every mode.
        problems.extend(checks::check(&plan, workspace, manifests));
        Problems::check(problems)?;
        if !options.ingress {
            plan.leave_ingress_out();
        }
        let images = plan.deployments.iter().flat_map(|deployment| lookup::containers(&deployment.object));
        let images: BTreeSet<_> = images.filter_map(|(_, container)| container.image.clone()).collect();
        plan.images = images.into_iter().collect();
        Ok(plan)
    }

    /// What is odd but no mistake: services that the workspace has and no Deployment runs.
    pub fn warnings(&self, workspace: &Workspace) -> Vec<String> {
        let left_out = |name: &str| self.left_out.iter().any(|left| left.deployment == name);
        let idle = workspace.services.iter().map(|service| service.name.as_str());
        idle.filter(|&name| !self.images.iter().any(|image| image == name) && !left_out(name))
            .map(|name| format!("the service {name} is in no manifest: no Deployment has the image {name}"))
            .collect()
    }

    /// The one that the objects agree on. If they do not, any that does not depend on their order:
    /// the disagreement is told.
    fn the_namespace(&self) -> String {
        fn of<T: Metadata<Ty = ObjectMeta>>(objects: &[Sourced<T>]) -> impl Iterator<Item = &str> {
            objects.iter().map(|object| object.object.metadata().namespace.as_deref().unwrap_or(NAMESPACE))
        }
        let namespaces: BTreeSet<_> = of(&self.service_accounts)
            .chain(of(&self.services))
            .chain(of(&self.deployments))
            .chain(of(&self.ingresses))
            .collect();
        let first = namespaces.first().copied().unwrap_or(NAMESPACE);
        if namespaces.contains(NAMESPACE) { NAMESPACE } else { first }.to_owned()
    }

    fn leave_ingress_out(&mut self) {
        self.ingresses.clear();
        let through = |deployment: &Deployment| {
            lookup::variables(deployment).map(|(_, variable)| variable).find_map(|variable| {
                let reference = self.reference(variable.value.as_deref()?)?;
                reference.is_ingress().then(|| variable.name.clone())
            })
        };
        let left_out: Vec<_> = self
            .deployments
            .iter()
            .filter_map(|deployment| {
                let variable = through(&deployment.object)?;
                Some(LeftOut {
                    deployment: lookup::name(&deployment.object).to_owned(),
                    reason: format!("its variable {variable} names the ingress, which is left out"),
                })
            })
            .collect();
        self.deployments.retain(|deployment| {
            !left_out.iter().any(|left| left.deployment == lookup::name(&deployment.object))
        });
        self.left_out = left_out;
    }
}

fn sorted<T: Metadata<Ty = ObjectMeta> + Clone>(objects: &[Sourced<T>]) -> Vec<Sourced<T>> {
    let mut objects = objects.to_vec();
    objects.sort_by(|a, b| (lookup::name(&a.object), &a.source).cmp(&(lookup::name(&b.object), &b.source)));
    objects
}

#[cfg(test)]
mod tests;
