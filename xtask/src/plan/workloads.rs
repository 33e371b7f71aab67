//! What a plan says of its workloads and of how they are reached.

use std::path::PathBuf;

use super::lookup::{self, name, pod, variables};
use super::{Mode, Plan};

impl Plan {
    /// How many pods a Deployment wants; 1 for a name that is not there.
    pub fn replicas(&self, deployment: &str) -> u32 {
        self.deployment(deployment).map_or(1, |deployment| lookup::replicas(&deployment.object))
    }

    /// The `ServiceAccount` of a Deployment's pods: `default` when they do not say, as in Kubernetes.
    pub fn service_account(&self, deployment: &str) -> Option<String> {
        let pod = pod(&self.deployment(deployment)?.object)?;
        Some(pod.service_account_name.clone().unwrap_or_else(|| "default".to_owned()))
    }

    /// Whether a Service leads to a Deployment's pods.
    pub fn is_called(&self, deployment: &str) -> bool {
        self.services.iter().any(|service| self.selected(name(&service.object)).contains(&deployment))
    }

    /// The Services that no Deployment calls: the ones that requests from outside come to first. Sorted.
    pub fn first_called(&self) -> Vec<String> {
        let edges = super::edges::edges(self);
        let called = |name: &str| edges.iter().any(|edge| edge.service == name);
        let services = self.services.iter().map(|service| name(&service.object));
        services.filter(|name| !called(name) && !self.selected(name).is_empty()).map(str::to_owned).collect()
    }

    /// The identity that a Deployment's pods have in the mesh.
    pub fn identity(&self, deployment: &str) -> Option<String> {
        let service_account = self.service_account(deployment)?;
        Some(mesh::Identity::of_service_account(&service_account, &self.namespace).as_str().to_owned())
    }

    /// The hosts that the Ingresses name, without wildcards; each once, sorted.
    pub fn hosts(&self) -> Vec<String> {
        let specs = self.ingresses.iter().filter_map(|ingress| ingress.object.spec.as_ref());
        let rules = specs.flat_map(|spec| spec.rules.iter().flatten());
        let mut hosts: Vec<String> =
            rules.filter_map(|rule| rule.host.clone()).filter(|host| !host.starts_with('*')).collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }

    /// The files of the Deployments that call through the ingress.
    pub fn ingress_callers(&self) -> Vec<PathBuf> {
        let calls = |value: &str| self.reference(value).is_some_and(|reference| reference.is_ingress());
        let callers = self.deployments.iter().filter(|deployment| {
            variables(&deployment.object).any(|(_, variable)| variable.value.as_deref().is_some_and(calls))
        });
        callers.map(|deployment| deployment.source.file.clone()).collect()
    }

    /// The names of all `ServiceAccounts`.
    pub fn service_account_names(&self) -> Vec<&str> {
        self.service_accounts.iter().map(|account| name(&account.object)).collect()
    }
}

impl std::fmt::Display for Mode {
    /// The switches as they are typed: `--grpc --linkerd`; nothing for neither.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match (self.grpc, self.linkerd) {
            (false, false) => "",
            (true, false) => "--grpc",
            (false, true) => "--linkerd",
            (true, true) => "--grpc --linkerd",
        })
    }
}
