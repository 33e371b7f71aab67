//! What a change of policies does to the calls that the services make.

use policy::cluster::ClusterInfo;
use policy::explain::{Explanation, Outcome, explain};
use policy::model::Objects;
use policy::sample::{Sample, samples};
use serde::Serialize;

use super::client::caller;
use super::edges::{Edge, edges};
use crate::plan::Plan;
use crate::report::columns;

/// A call, before and after a change of policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// Who calls.
    pub client: String,
    /// The Service and its port: `baz:grpc`.
    pub to: String,
    /// `/foo/bar`, `demo.Baz/GetInfo`, `any path`.
    pub request: String,
    /// What became of it.
    pub before: Decision,
    /// What becomes of it.
    pub after: Decision,
}

/// What becomes of a call, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The verdict.
    pub verdict: Outcome,
    /// The object that decided: an authorization, or the Server or route that lets nobody else in.
    pub why: String,
    /// Policies have to do with it: its port has a Server.
    #[serde(skip)]
    pub is_governed: bool,
}

/// What a change does to every edge of a plan, for each kind of request that the policies tell apart before or
/// after it. Edges that no Server is in the way of are left out.
pub fn effects(plan: &Plan, cluster: &ClusterInfo, before: &Objects, after: &Objects) -> Vec<Effect> {
    let mut all = Vec::new();
    for edge in edges(plan) {
        for sample in told_apart(plan, cluster, &edge, [before, after]) {
            let decide = |objects: &Objects| {
                let caller = caller(objects, &edge.client, &plan.namespace).ok()?;
                explain(objects, cluster, &caller, &sample.call).ok().as_ref().map(Decision::of)
            };
            let (Some(before), Some(after)) = (decide(before), decide(after)) else { continue };
            if before.is_governed || after.is_governed {
                let to = format!("{}:{}", edge.service, edge.port);
                let (client, request) = (edge.client.clone(), sample.name);
                all.push(Effect { client, to, request, before, after });
            }
        }
    }
    all
}

/// The requests that the policies before or after tell apart. One for all is left out where others are named.
fn told_apart(plan: &Plan, cluster: &ClusterInfo, edge: &Edge, objects: [&Objects; 2]) -> Vec<Sample> {
    let of = |objects| samples(objects, cluster, &edge.service, &plan.namespace, &edge.port);
    let mut all: Vec<Sample> = Vec::new();
    for sample in objects.map(of).into_iter().flatten().flatten() {
        if !all.iter().any(|own| own.name == sample.name) {
            all.push(sample);
        }
    }
    let is_any = |sample: &Sample| sample.name.starts_with("any ");
    if all.iter().any(|sample| !is_any(sample)) {
        all.retain(|sample| !is_any(sample));
    }
    all
}

impl Decision {
    /// An explanation in short.
    pub fn of(explanation: &Explanation) -> Self {
        let object = |step: &str| {
            let links = explanation.chain.iter().filter(|link| link.step == step);
            links.filter_map(|link| link.object.clone()).next_back()
        };
        let server = object("server");
        let is_governed = server.is_some();
        let server = server
            .unwrap_or_else(|| format!("default policy {}", explanation.server.as_deref().unwrap_or("none")));
        let why = match explanation.verdict {
            Outcome::Allow | Outcome::Audit if explanation.server.is_none() => {
                "no sidecar to refuse it".into()
            }
            Outcome::Allow => match (&explanation.authorization, object("authorization")) {
                (Some(_), Some(authorization)) => authorization,
                _ => server,
            },
            Outcome::Audit => format!("{server} only notes it: no authorization lets it in"),
            Outcome::Deny => match object("route") {
                Some(route) => format!("{server}: no authorization on {route}"),
                None => format!("{server}: no authorization"),
            },
            Outcome::NoRoute => format!("{server}: no route takes it"),
            Outcome::RateLimited => format!("{server}: rate limit"),
        };
        Self { verdict: explanation.verdict, why, is_governed }
    }
}

/// Effects as people read them, those that change first.
pub fn text(effects: &[Effect]) -> String {
    let (changed, same): (Vec<_>, Vec<_>) =
        effects.iter().partition(|effect| effect.before.verdict != effect.after.verdict);
    let row = |effect: &&Effect| {
        let Effect { client, to, request, before, after } = *effect;
        let verdict = if before.verdict == after.verdict {
            format!("{}", after.verdict)
        } else {
            format!("{} -> {}", before.verdict, after.verdict)
        };
        vec![format!("{client} -> {to}"), request.clone(), verdict, format!("({})", after.why)]
    };
    columns(&changed.iter().chain(&same).map(row).collect::<Vec<_>>())
}
