//! Pure: who is there and who calls whom, by the plan.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::plan::edges::edges;
use crate::plan::lookup::{name, variables};
use crate::plan::{INGRESS_ACCOUNT, Plan};
use crate::policies::client::INGRESS;
use crate::policies::edges::known_calls;

/// What is drawn before anybody has called anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// Deployments, and the ingress.
    pub nodes: Vec<String>,
    /// Who calls whom.
    pub edges: BTreeSet<(String, String)>,
    /// The namespace whose pods are the ingress.
    pub ingress_namespace: &'static str,
}

impl Topology {
    /// That of a plan.
    pub fn of(plan: &Plan) -> Self {
        let (ingress_account, ingress_namespace) = INGRESS_ACCOUNT;
        let mut nodes: Vec<String> =
            plan.deployments.iter().map(|own| name(&own.object).to_owned()).collect();
        let mut calls = BTreeSet::new();
        let mut add = |client: &str, service: &str| {
            for deployment in plan.selected(service) {
                calls.insert((client.to_owned(), deployment.to_owned()));
            }
        };
        for edge in edges(plan) {
            add(&edge.client, &edge.service);
        }
        if plan.ingress {
            for (call, _) in known_calls(plan) {
                if call.account.0 == ingress_account && call.account.1 == ingress_namespace {
                    add(INGRESS, &call.service);
                }
            }
            for deployment in &plan.deployments {
                let mut values = variables(&deployment.object).filter_map(|(_, own)| own.value.as_deref());
                if values.any(|value| plan.reference(value).is_some_and(|own| own.is_ingress())) {
                    calls.insert((name(&deployment.object).to_owned(), INGRESS.to_owned()));
                }
            }
            nodes.push(INGRESS.to_owned());
        }
        Self { nodes, edges: calls, ingress_namespace }
    }
}
