//! The policy edges, live: every client asks every port, through its own sidecar, and must get what the engine says.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use policy::cluster::ClusterInfo;

use crate::error::Fault;
use crate::plan::{INGRESS_ACCOUNT, Plan, objects};
use crate::policies::{given, shipped};
use crate::runtime::Running;
use crate::runtime::policy::PolicyRequest;
use crate::smoke::answer::Answer;
use crate::smoke::edges::{Client, count, differs, probes};
use crate::smoke::{Check, checks, load};
use crate::workspace::policies::Policies;

/// Requests through the ingress while the policies are in force.
const THROUGH: u32 = 50;

/// Applies the shipped policies of the mode, and checks that what comes through the ingress is answered as before.
pub async fn under_policy(
    runtime: &dyn Running,
    plan: &Plan,
    ingress: Option<SocketAddr>,
    root: &Path,
) -> anyhow::Result<Vec<Check>> {
    let paths = vec![shipped(plan.mode.grpc)];
    if !root.join(&paths[0]).is_dir() {
        return Ok(vec![Check::skipped("policy", format!("there is no {}", paths[0].display()))]);
    }
    let policies = Policies::read(root, &paths).map_err(Fault::from)?;
    runtime.policy(PolicyRequest::Apply { objects: given(&policies), paths }).await?;
    let mut found = Vec::new();
    for host in ingress.map(|_| plan.hosts()).unwrap_or_default() {
        let Some(ingress) = ingress else { continue };
        let start = Instant::now();
        let got = load::send(ingress, &host, THROUGH, super::CONCURRENCY).await;
        found.push(Check { name: "policy", ..checks::answered(&host, &got) }.timed(start));
    }
    Ok(found)
}

/// Sends every request as every client, under the policies that are in force.
pub async fn edges(runtime: &dyn Running, plan: &Plan, answers: &[Answer]) -> anyhow::Result<Check> {
    let start = Instant::now();
    let cluster = ClusterInfo::default();
    let mut all = objects(plan);
    let state = runtime.policy(PolicyRequest::Show).await?;
    state.objects.iter().for_each(|object| object.add_to(&mut all));
    let hops = answers.iter().flat_map(Answer::hops);
    let seen: BTreeSet<_> = hops.map(|hop| (hop.answer.service.clone(), hop.answer.path.clone())).collect();
    let probes = probes(&all, &cluster, &seen);
    let accounts = plan.service_account_names().into_iter().map(|name| (name, plan.namespace.as_str()));
    let accounts = accounts.chain(plan.ingress.then_some(INGRESS_ACCOUNT));
    let meshed = accounts.map(|(name, namespace)| Client::Meshed(name.to_owned(), namespace.to_owned()));
    let (mut verdicts, mut evidence) = (Vec::new(), Vec::new());
    for client in meshed.chain([Client::Unmeshed]) {
        for probe in &probes {
            let expected = probe.expected(&client, &all, &cluster)?;
            let got = runtime.call(probe.request(&client)).await?;
            verdicts.push(expected.verdict);
            if let Some(why) = differs(&expected, &got, &client, probe.is_grpc()) {
                evidence.push(format!("{client} -> {probe}: {why}"));
                let chain = expected.chain.iter().map(|link| format!("    {link}"));
                evidence.extend(chain.take(if evidence.len() > 20 { 0 } else { usize::MAX }));
            }
        }
    }
    let policies = match state.objects.len() {
        0 => "without policies".to_owned(),
        objects => format!("under {objects} policy objects"),
    };
    let detail =
        format!("{} requests {policies} as the engine decides: {}", verdicts.len(), count(&verdicts));
    Ok(Check::of("edges", detail, evidence).timed(start))
}
