//! Which calls the services make: who calls which port of which Service, by their variables and the Ingresses.

use k8s_openapi::api::networking::v1::IngressBackend;

use super::client::own_name;
use crate::plan::edges::edges as of_variables;
use crate::plan::lookup::name;
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

/// A call that something of a plan says is made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownCall {
    /// The client's `ServiceAccount` and its namespace.
    pub account: (String, String),
    /// The Service.
    pub service: String,
    /// Its port, by name where it has one.
    pub port: String,
}

/// Every edge of a plan, sorted.
pub fn edges(plan: &Plan) -> Vec<Edge> {
    let edge = |(own, _): (KnownCall, String)| Edge {
        client: own_name(&own.account.0, &own.account.1, &plan.namespace),
        service: own.service,
        port: own.port,
    };
    let mut all: Vec<_> = known_calls(plan).into_iter().map(edge).collect();
    all.sort();
    all.dedup();
    all
}

/// Every call that a variable or an Ingress of a plan says is made, with the words for which it is.
pub fn known_calls(plan: &Plan) -> Vec<(KnownCall, String)> {
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
        let because = format!("{} of Deployment {}", edge.variable, edge.client);
        let account = (account, plan.namespace.clone());
        all.push((KnownCall { account, service: edge.service, port }, because));
    }
    for ingress in plan.ingresses.iter().filter(|_| plan.ingress) {
        let because = format!("Ingress {}", name(&ingress.object));
        for backend in backends(&ingress.object) {
            let Some(service) = &backend.service else { continue };
            let named = service.port.as_ref().and_then(|port| port.name.clone());
            let numbered = service.port.as_ref().and_then(|port| port.number).map(|port| port.to_string());
            let Some(port) = named.or(numbered).and_then(|port| port_name(&service.name, &port)) else {
                continue;
            };
            let (account, namespace) = INGRESS_ACCOUNT;
            let account = (account.to_owned(), namespace.to_owned());
            all.push((KnownCall { account, service: service.name.clone(), port }, because.clone()));
        }
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
