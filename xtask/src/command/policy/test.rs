//! `policy test`: the declared expectations, against the policies or against what runs.

use policy::cluster::ClusterInfo;
use policy::explain::{Outcome, destination, explain};
use policy::model::Objects;
use serde::Serialize;

use super::Live;
use crate::args::Output;
use crate::args::policy::PolicyTest;
use crate::command::Checkout;
use crate::error::{Exit, Fault};
use crate::plan::{Plan, objects};
use crate::policies::expect::{self, Expectation};
use crate::policies::{World, client, shipped, with_mesh};
use crate::report::line_out;
use crate::smoke::edges::{Client, Probe, seen};

/// One expectation and what came of it.
#[derive(Serialize)]
struct Tested {
    /// Where it is declared.
    line: usize,
    /// `bar -> baz:grpc demo.Baz/GetInfo`
    call: String,
    /// Why it is to be so.
    why: String,
    expected: Outcome,
    /// None: the answer is none that policies give.
    got: Option<Outcome>,
    passed: bool,
    /// The chain to the verdict, or the answer, where it is another than expected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<String>,
}

/// Tests all of them. Exit code 1 when one is not met.
pub async fn run(args: &PolicyTest, checkout: &Checkout) -> anyhow::Result<Exit> {
    let file = args.expect.clone().unwrap_or_else(|| checkout.root.join(expect::FILE));
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Fault::usage(format!("cannot read {}: {error}", file.display())))?;
    let plan = with_mesh(&checkout.workspace, true).map_err(Fault::from)?;
    let all = read(&file, &text, &plan, &objects(&plan))?;
    let tested = if args.live { live(checkout, all).await? } else { by_policies(checkout, &all)? };
    let failed = tested.iter().filter(|one| !one.passed).count();
    match args.output {
        Output::Json => line_out(&serde_json::to_string(&tested)?),
        Output::Text => {
            for one in tested.iter().filter(|one| !one.passed) {
                let got = one.got.map_or_else(|| "no answer of a policy".to_owned(), |got| got.to_string());
                let at = file.strip_prefix(&checkout.root).unwrap_or(&file);
                line_out(&format!(
                    "{}:{}: {}: expected {}, got {got}",
                    at.display(),
                    one.line,
                    one.call,
                    one.expected
                ));
                if !one.why.is_empty() {
                    line_out(&format!("    {}", one.why));
                }
                one.evidence.iter().for_each(|line| line_out(&format!("    {line}")));
            }
            let how = if args.live { "by real requests" } else { "by the policies" };
            line_out(&format!("{} of {} expectations hold, {how}", tested.len() - failed, tested.len()));
        }
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failed })
}

fn read(
    file: &std::path::Path,
    text: &str,
    plan: &Plan,
    objects: &Objects,
) -> Result<Vec<Expectation>, Fault> {
    let speaks_grpc = |service: &str, port: &str| {
        let probe = policy::explain::Call::http(service, &plan.namespace, Some(port), "/");
        destination(objects, &probe).is_ok_and(|to| to.speaks_grpc())
    };
    expect::parse(file, text, &plan.namespace, speaks_grpc)
}

/// Decides each on the shipped policies of its protocol.
fn by_policies(checkout: &Checkout, all: &[Expectation]) -> anyhow::Result<Vec<Tested>> {
    let world = |grpc| World::read(&checkout.workspace, grpc, &[shipped(grpc)]).map_err(Fault::from);
    let (http, grpc) = (world(false)?, world(true)?);
    let decide = |one: &Expectation| {
        let world = if one.grpc { &grpc } else { &http };
        let at = |why: String| Fault::usage(format!("line {}: {why}", one.line));
        let caller = client::caller(&world.objects, &one.client, &world.plan.namespace).map_err(at)?;
        let explained = explain(&world.objects, &world.cluster, &caller, &one.call)
            .map_err(|error| at(error.to_string()))?;
        let passed = explained.verdict == one.verdict;
        let evidence = explained.chain.iter().filter(|_| !passed).map(ToString::to_string).collect();
        Ok(Tested {
            line: one.line,
            call: one.to_string(),
            why: one.why.clone(),
            expected: one.verdict,
            got: Some(explained.verdict),
            passed,
            evidence,
        })
    };
    all.iter().map(decide).collect()
}

/// Sends each of the running protocol through the running environment.
async fn live(checkout: &Checkout, all: Vec<Expectation>) -> anyhow::Result<Vec<Tested>> {
    let live = Live::attach(checkout).await?;
    let objects = live.objects(&live.state);
    let mut tested = Vec::new();
    for one in all.into_iter().filter(|one| one.grpc == live.status.grpc) {
        let at = |why: String| Fault::usage(format!("line {}: {why}", one.line));
        let caller = client::caller(&objects, &one.client, &live.plan.namespace).map_err(at)?;
        let client = caller.account.map_or(Client::Unmeshed, |(name, of)| Client::Meshed(name, of));
        let probe = Probe::new(one.call.clone());
        let answer = live.session.call(probe.request(&client)).await?;
        let got = seen(&answer, probe.is_grpc());
        // What is only noted looks like what is allowed.
        let expected = if one.verdict == Outcome::Audit { Outcome::Allow } else { one.verdict };
        let passed = got == Some(expected);
        let mut evidence = Vec::new();
        if !passed {
            evidence.push(crate::smoke::edges::brief(&answer));
            if let Ok(explained) = probe.expected(&client, &objects, &ClusterInfo::default()) {
                evidence.push("by the policies that are applied:".to_owned());
                evidence.extend(explained.chain.iter().map(ToString::to_string));
            }
        }
        let (call, why) = (one.to_string(), one.why);
        tested.push(Tested { line: one.line, call, why, expected: one.verdict, got, passed, evidence });
    }
    Ok(tested)
}
