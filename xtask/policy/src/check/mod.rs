//! What is wrong or odd in policies, found before anything runs: references to nothing, rules that no request meets,
//! objects without effect, calls of the services that nothing authorizes.
//!
//! Looks at objects that were read strictly: what the API server or Linkerd's webhook would refuse is not looked for
//! here. Decides with the same code as the mesh.

mod authentications;
mod authorizations;
mod backends;
mod finding;
mod identities;
mod ingress;
mod matches;
mod nearest;
mod parents;
mod probes;
mod rate_limits;
mod routes;
mod servers;
mod settings;
mod uses;

pub use finding::{Field, Finding, ObjectRef, Severity, Step};
pub use uses::{SeenCall, Use};

use crate::cluster::ClusterInfo;
use crate::inbound::Inbound;
use crate::model::{GATEWAY, LINKERD, Named, Objects, Server, Workload};

/// Everything that is wrong or odd, in no order that matters. `uses` are the calls that the services are known to
/// make.
pub fn check(objects: &Objects, cluster: &ClusterInfo, uses: &[Use]) -> Vec<Finding> {
    let compiled = |workload| (workload, Inbound::new(workload, objects, cluster));
    let inbound = objects.workloads.iter().map(compiled).collect();
    let mut check = Check { objects, cluster, inbound, findings: Vec::new() };
    check.servers();
    check.parents();
    check.routes();
    check.matches();
    check.backends();
    check.authorizations();
    check.authentications();
    check.identities();
    check.rate_limits();
    check.settings();
    check.probes();
    check.ingresses();
    check.uses(uses);
    check.ignored();
    check.findings.sort();
    check.findings.dedup();
    check.findings
}

/// What is known while checking.
struct Check<'a> {
    objects: &'a Objects,
    cluster: &'a ClusterInfo,
    /// The policies of each workload's ports.
    inbound: Vec<(&'a Workload, Inbound)>,
    findings: Vec<Finding>,
}

impl<'a> Check<'a> {
    fn tell(
        &mut self,
        rule: &'static str,
        severity: Severity,
        (object, field): (ObjectRef, Field),
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (cause, remedy) = (cause.into(), remedy.into());
        self.findings.push(Finding { object, field, severity, rule, cause, remedy });
    }

    /// The workloads whose pods a Server selects, meshed or not.
    fn selected(&self, server: &Server) -> Vec<&'a Workload> {
        let workloads = self.objects.workloads.iter();
        let selects = |workload: &&Workload| {
            server.namespace() == workload.namespace
                && server.spec.pod_selector.as_ref().is_some_and(|selector| {
                    crate::inbound::selects(
                        selector,
                        &workload.pod_labels(&self.cluster.control_plane_namespace),
                    )
                })
        };
        workloads.filter(selects).collect()
    }

    /// A Server by its name.
    fn server(&self, namespace: &str, name: &str) -> Option<&'a Server> {
        self.objects.servers.iter().find(|own| own.namespace() == namespace && own.name() == name)
    }

    /// What the engine passes over, where nothing else was said of it.
    fn ignored(&mut self) {
        let mut all = Vec::new();
        for (_, inbound) in &self.inbound {
            all.extend(inbound.ignored.iter().cloned());
        }
        all.extend(self.outbound_ignored());
        all.sort();
        all.dedup();
        for ignored in all {
            let is_it = |own: &ObjectRef| {
                own.kind == ignored.kind && own.namespace == ignored.namespace && own.name == ignored.name
            };
            if self.findings.iter().any(|found| found.severity == Severity::Error && is_it(&found.object)) {
                continue;
            }
            let group = match ignored.kind {
                "HTTPRoute" => self.group_of_http_route(&ignored.namespace, &ignored.name),
                "GRPCRoute" => GATEWAY,
                "Service" => "",
                _ => LINKERD,
            };
            let object = ObjectRef::new(group, ignored.kind, &ignored.namespace, &ignored.name);
            let cause = format!("has no effect: {}", ignored.reason);
            self.tell("ignored", Severity::Error, (object, Field::root()), cause, "correct it, or remove it");
        }
    }

    fn group_of_http_route(&self, namespace: &str, name: &str) -> &'static str {
        let mut routes = self.objects.http_routes.iter();
        let route = routes.find(|own| own.namespace() == namespace && own.name() == name);
        if route.is_some_and(|route| route.group() == LINKERD) { LINKERD } else { GATEWAY }
    }
}

#[cfg(test)]
mod tests;
