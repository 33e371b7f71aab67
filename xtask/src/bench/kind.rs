//! What the kind runtime costs, on a cluster of its own that is made and deleted: from no cluster to ready, an `up` with
//! nothing changed, an edit by replaced programs and by rollouts, an image, redeploys under load.

use std::time::Instant;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::figures::{Figure, Target};
use super::scratch::Scratch;
use crate::args::Figure as Asked;
use crate::build::{HERE, StaticTarget};
use crate::command::Checkout;
use crate::error::Fault;
use crate::plan::Plan;
use crate::report::Event;
use crate::workspace::Workspace;

pub mod edit;
mod image;

/// The cluster's name: another than the workspace's own, which may run.
const CLUSTER: &str = "xtask-bench";

/// What a cluster is made from is fetched once and made anew often enough by so many.
const CLUSTERS: u32 = 3;

/// Without an ingress: its controller's image may not be at hand, and what is measured here is not its work.
const UP: [&str; 4] = ["up", "--runtime=kind", "--no-ingress", "--detach"];

/// Measures what was asked for; `tell` is told what comes next. The cluster is deleted in the end, also when a
/// measurement failed.
pub async fn measure(
    checkout: &Checkout,
    plan: &Plan,
    asked: &[Asked],
    runs: u32,
    tell: &mut dyn FnMut(&str),
    figures: &mut Vec<Figure>,
) -> anyhow::Result<()> {
    tell("preparing a copy of the workspace to measure on");
    let scratch = Scratch::copied_to(checkout, "kind")?;
    // One that was killed may have left something up.
    scratch.xtask(&["down"]).await?;
    own_cluster(&scratch)?;
    let outcome = all(&scratch, (plan, &checkout.workspace), asked, runs, tell, figures).await;
    let deleted = scratch.xtask(&["down", "--all"]).await;
    outcome.and(deleted.map(drop))
}

async fn all(
    scratch: &Scratch,
    (plan, workspace): (&Plan, &Workspace),
    asked: &[Asked],
    runs: u32,
    tell: &mut dyn FnMut(&str),
    figures: &mut Vec<Figure>,
) -> anyhow::Result<()> {
    let service =
        super::edit::most_replicated(plan).context("no Deployment of a service of this workspace")?;
    let service = workspace.service(&service).context("no such service")?;
    // In the copy: a service's directory is absolute.
    let main = scratch.root.join(service.dir.strip_prefix(&workspace.root)?).join("src/main.rs");
    tell("building");
    scratch.xtask(&["image", "build", "-o", "json"]).await?;
    if asked.contains(&Asked::Image) {
        tell("image of one service");
        figures.extend(image::measure(scratch, &service.name, runs).await?);
    }
    if asked.contains(&Asked::Start) {
        tell("cluster");
        figures.extend(create(scratch, runs.min(CLUSTERS)).await?);
        tell("up with nothing changed");
        figures.extend(unchanged(scratch, runs).await?);
    }
    if asked.contains(&Asked::Edit) {
        tell("edits, by replaced programs and by rollouts");
        figures.extend(edit::measure(scratch, service, &main, runs).await?);
    }
    if asked.contains(&Asked::Redeploys) {
        tell("redeploys under load");
        figures.extend(edit::redeploys(scratch, &service.name, &main, runs).await?);
    }
    Ok(())
}

/// How programs of an image are built for a cluster on this machine.
async fn target(scratch: &Scratch) -> anyhow::Result<StaticTarget> {
    Ok(StaticTarget::find(HERE, &scratch.root).await?)
}

/// Makes the copy's cluster one of its own, on no port of this machine.
fn own_cluster(scratch: &Scratch) -> anyhow::Result<()> {
    let file = scratch.root.join("manifests/kind.yaml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut config: Value = serde_saphyr::from_str(&text)?;
    config["name"] = json!(CLUSTER);
    for node in config["nodes"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        node.remove("extraPortMappings");
    }
    std::fs::write(&file, serde_json::to_string_pretty(&config)?)?;
    Ok(())
}

async fn create(scratch: &Scratch, runs: u32) -> anyhow::Result<Vec<Figure>> {
    let (mut cluster, mut ready) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        scratch.xtask(&["down", "--all"]).await?;
        let start = Instant::now();
        let events = up(scratch, &["--no-watch"]).await?;
        ready.push(start.elapsed().as_secs_f64());
        let made = events.iter().find_map(|event| match event {
            Event::StepFinished { step, ms, .. } if step == "cluster" => Some(*ms),
            _ => None,
        });
        cluster.push(seconds(made.context("`up` made no cluster")?));
    }
    Ok(vec![
        Figure::of("kind.cluster", "kind: creating the cluster", "s", &cluster),
        Figure::of("kind.cold", "kind: from no cluster to all ready, programs built", "s", &ready),
    ])
}

async fn unchanged(scratch: &Scratch, runs: u32) -> anyhow::Result<Vec<Figure>> {
    up(scratch, &["--no-watch"]).await?;
    let (mut took, mut touched) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let start = Instant::now();
        let events = up(scratch, &["--no-watch"]).await?;
        took.push(start.elapsed().as_secs_f64());
        touched.push(f64::from(applied(&events)?));
    }
    let what = "kind: `up` with nothing changed: objects that it touched";
    Ok(vec![
        Figure::of("kind.warm", "kind: `up` with nothing changed", "s", &took).target(Target::Below(3.0)),
        Figure::of("kind.warm.touched", what, "", &touched).target(Target::Below(1.0)),
    ])
}

/// How many objects an apply created, changed or removed: `10 unchanged, 1 changed`.
fn applied(events: &[Event]) -> anyhow::Result<u32> {
    let detail = events.iter().find_map(|event| match event {
        Event::StepFinished { step, detail, .. } if step == "apply" => Some(detail),
        _ => None,
    });
    let parts = detail.context("`up` applied nothing")?.split(", ");
    let counts = parts.filter(|part| !part.ends_with(" unchanged"));
    counts.map(|part| Ok(part.split(' ').next().unwrap_or_default().parse::<u32>()?)).sum()
}

/// `up` in the copy; what it told.
pub(super) async fn up(scratch: &Scratch, args: &[&str]) -> anyhow::Result<Vec<Event>> {
    let told = scratch.xtask(&[&UP, args, &["-o", "json"]].concat()).await?;
    let events: Vec<Event> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    // What it waited for may have failed while it goes on.
    match events.iter().find_map(|event| match event {
        Event::Error { message, .. } => Some(message.clone()),
        _ => None,
    }) {
        Some(message) => Err(Fault::failed(message).into()),
        None => Ok(events),
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of minutes")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
