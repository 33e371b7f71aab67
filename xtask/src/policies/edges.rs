//! Which calls the services make: who calls which port of which Service, by their variables and the Ingresses.

use k8s_openapi::api::networking::v1::IngressBackend;

use super::client::{INGRESS, own_name};
use crate::plan::edges::edges as of_variables;
use crate::plan::{INGRESS_ACCOUNT, Plan};

/// A client that calls a Service's port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The client's name, as [`super::client::caller`] takes it.
    pub client: String,
    /// The Service.
    pub service: String,
    /// Its port, by name where it has one.
    pub port: String,
}

/// Every edge of a plan, sorted.
pub fn edges(plan: &Plan) -> Vec<Edge> {
    let port_name = |service: &str, port: &str| {
        let port = plan.service_port(service, port)?;
        Some(port.name.clone().unwrap_or_else(|| port.port.to_string()))
    };
    let mut all = Vec::new();
    for edge in of_variables(plan) {
        let (Some(account), Some(port)) =
            (plan.service_account(&edge.client), port_name(&edge.service, &edge.port.to_string()))
        else {
            continue;
        };
        let client = own_name(&account, &plan.namespace, &plan.namespace);
        all.push(Edge { client, service: edge.service, port });
    }
    for backend in plan.ingresses.iter().filter(|_| plan.ingress).flat_map(|own| backends(&own.object)) {
        let Some(service) = &backend.service else { continue };
        let named = service.port.as_ref().and_then(|port| port.name.clone());
        let numbered = service.port.as_ref().and_then(|port| port.number).map(|port| port.to_string());
        let Some(port) = named.or(numbered).and_then(|port| port_name(&service.name, &port)) else {
            continue;
        };
        let (account, namespace) = INGRESS_ACCOUNT;
        debug_assert_eq!(own_name(account, namespace, &plan.namespace), INGRESS);
        all.push(Edge { client: INGRESS.to_owned(), service: service.name.clone(), port });
    }
    all.sort();
    all.dedup();
    all
}

fn backends(ingress: &k8s_openapi::api::networking::v1::Ingress) -> impl Iterator<Item = &IngressBackend> {
    let spec = ingress.spec.as_ref();
    let rules = spec.and_then(|spec| spec.rules.as_ref()).into_iter().flatten();
    let of_rules =
        rules.filter_map(|rule| rule.http.as_ref()).flat_map(|http| &http.paths).map(|path| &path.backend);
    of_rules.chain(spec.and_then(|spec| spec.default_backend.as_ref()))
}
