//! Who calls whom, by what the environment variables name.

use super::Plan;
use super::lookup::{name, variables};

/// A workload that is told of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The Deployment that calls.
    pub client: String,
    /// The Service that is called.
    pub service: String,
    /// The Service's port.
    pub port: u16,
    /// The environment variable that says so.
    pub variable: String,
}

/// Every edge of the plan, sorted; one for each variable that names a Service. Calls through the
/// ingress are none: which Service they reach is the Ingress's to say.
pub fn edges(plan: &Plan) -> Vec<Edge> {
    let mut edges = Vec::new();
    for deployment in &plan.deployments {
        for (_, variable) in variables(&deployment.object) {
            let reference = variable.value.as_deref().and_then(|value| plan.reference(value));
            let Some(reference) = reference.filter(|reference| !reference.is_ingress()) else { continue };
            let Some(port) = reference.port_or_default() else { continue };
            edges.push(Edge {
                client: name(&deployment.object).to_owned(),
                service: reference.service,
                port,
                variable: variable.name.clone(),
            });
        }
    }
    edges.sort();
    edges.dedup();
    edges
}
