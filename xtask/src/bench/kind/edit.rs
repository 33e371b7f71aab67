//! A saved change on a cluster: to the first answer by new code, by replaced programs and by rollouts alone; and many of
//! them in a row under load.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::super::edit::Source;
use super::super::figures::{Figure, Target};
use super::super::scratch::Scratch;
use crate::error::Fault;
use crate::process::cargo;
use crate::report::Event;
use crate::runtime::{CallRequest, Running as _};
use crate::session::Session;
use crate::smoke::answer::Answer;
use crate::workspace::Service;

/// Longer than any build and rollout of one service.
const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks for an answer by new code: a person's patience, and the cores are the cluster's as well.
const ASK: Duration = Duration::from_millis(30);

/// The load of [`redeploys`]: so many requests every [`TICK`], 200 a second.
const BATCH: u32 = 50;
const TICK: Duration = Duration::from_millis(250);

/// Measures edits of a service, in turn: a bare build with nothing to do for `up`, then edits under an `up` that replaces
/// programs, and under one that does not.
pub async fn measure(
    scratch: &Scratch,
    service: &Service,
    main: &Path,
    runs: u32,
) -> anyhow::Result<Vec<Figure>> {
    let (package, service) = (&service.package, service.name.as_str());
    let source = Source::open(main.to_owned(), service)?;
    scratch.xtask(&["down"]).await?;
    // The first may have more to build than the change.
    build(scratch, package).await?;
    let mut bare = Vec::new();
    for edition in 0..runs {
        source.rename(edition)?;
        bare.push(build(scratch, package).await?);
    }
    let (live, _, memory) = edits(scratch, service, &source, (runs, runs), &[]).await?;
    let (rollout, done, _) = edits(scratch, service, &source, (runs * 2, runs), &["--no-live"]).await?;
    source.restore()?;
    let bare =
        Figure::of("kind.edit.build", format!("bare static build of a change in {service}"), "s", &bare);
    let added = |samples: &[f64]| -> Vec<f64> { samples.iter().map(|took| took - bare.median).collect() };
    let (live_added, rollout_added) = (added(&live), added(&rollout));
    let what = |how: &str| format!("kind: save in {service} to the first answer by new code, {how}");
    let on_top = |how: &str| format!("kind: on top of the bare build (its median), {how}");
    Ok(vec![
        Figure::of("kind.live", what("replaced in place"), "s", &live),
        Figure::of("kind.live.added", on_top("replaced in place"), "s", &live_added)
            .target(Target::Below(0.7)),
        Figure::of("kind.rollout", what("by rollout"), "s", &rollout),
        Figure::of("kind.rollout.added", on_top("by rollout"), "s", &rollout_added)
            .target(Target::Below(3.0)),
        Figure::of("kind.rollout.done", format!("kind: save in {service} to the rollout's end"), "s", &done),
        Figure::of("kind.memory", "kind: peak resident memory of `up`", "MiB", &[memory]),
        bare,
    ])
}

/// Redeploys under load from inside the cluster, one after the other's end: how many requests failed.
pub async fn redeploys(
    scratch: &Scratch,
    service: &str,
    main: &Path,
    runs: u32,
) -> anyhow::Result<Vec<Figure>> {
    let source = Source::open(main.to_owned(), service)?;
    super::up(scratch, &[]).await?;
    let session = scratch.session()?;
    let stop = tokio_util::sync::CancellationToken::new();
    let (until, to, asking) = (stop.clone(), service.to_owned(), scratch.session()?);
    asking.call(request(&to, BATCH)).await?;
    let load = tokio::spawn(async move { load(&asking, &to, &until).await });
    for edition in 0..runs {
        let mut events = session.events().await?;
        source.rename(edition)?;
        rolled_out(&mut events, service).await?;
    }
    stop.cancel();
    let (sent, failed) = load.await??;
    scratch.xtask(&["down"]).await?;
    source.restore()?;
    let what = |of: &str| format!("kind: {runs} redeploys of {service} at 200 requests/s: {of}");
    Ok(vec![
        Figure::of("kind.redeploys.sent", what("requests"), "", &[f64::from(sent)]),
        Figure::of("kind.redeploys.failed", what("failed"), "", &[f64::from(failed)])
            .target(Target::Below(1.0)),
    ])
}

/// Sends requests at a steady rate until told to stop: how many, and how many failed.
async fn load(
    session: &Session,
    service: &str,
    stop: &tokio_util::sync::CancellationToken,
) -> anyhow::Result<(u32, u32)> {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let (mut sent, mut failed) = (0, 0);
    while !stop.is_cancelled() {
        tick.tick().await;
        let answer = session.call(request(service, BATCH)).await?;
        let good = answer.outcomes.get("200").copied().unwrap_or(0);
        sent += BATCH;
        failed += BATCH - good;
    }
    Ok((sent, failed))
}

/// Edits under a running `up`: the seconds to the first answer by new code, those to the end of the rollout, and the most
/// memory that `up` had, in MiB. `editions`: the number of the first, and how many.
async fn edits(
    scratch: &Scratch,
    service: &str,
    source: &Source,
    (first, runs): (u32, u32),
    args: &[&str],
) -> anyhow::Result<(Vec<f64>, Vec<f64>, f64)> {
    super::up(scratch, args).await?;
    let session = scratch.session()?;
    // The client's pod is made by the first call.
    session.call(request(service, 1)).await?;
    let (mut answered, mut done) = (Vec::new(), Vec::new());
    for edition in first..first + runs {
        let mut events = session.events().await?;
        let start = Instant::now();
        let name = source.rename(edition)?;
        // The compiler needs the cores that asking would take.
        wait(&mut events, |event| matches!(event, Event::StepFinished { step, .. } if step == "build"))
            .await?;
        while !answers(&session, service, &name).await? {
            tokio::time::sleep(ASK).await;
            if start.elapsed() > PATIENCE {
                let why = format!("no new code of {service} answered within {PATIENCE:?}");
                return Err(Fault::failed(why).into());
            }
        }
        answered.push(start.elapsed().as_secs_f64());
        rolled_out(&mut events, service).await?;
        done.push(start.elapsed().as_secs_f64());
    }
    let memory = super::super::idle::peak_mib(scratch.up_pid().context("`up` has ended")?)?;
    scratch.xtask(&["down"]).await?;
    Ok((answered, done, memory))
}

/// Whether one of some answers is by a service of this name.
async fn answers(session: &Session, service: &str, name: &str) -> anyhow::Result<bool> {
    let answer = session.call(CallRequest { keep: true, ..request(service, 4) }).await?;
    let by_new = |body: &str| serde_json::from_str::<Answer>(body).is_ok_and(|answer| answer.service == name);
    Ok(answer.kept.iter().any(|(_, body)| by_new(body)))
}

/// Each on a connection of its own, so that all pods are asked.
fn request(service: &str, count: u32) -> CallRequest {
    CallRequest {
        service: service.to_owned(),
        port: "http".to_owned(),
        path: "/".to_owned(),
        timeout_ms: 15_000,
        count,
        concurrency: count.min(10),
        ..CallRequest::default()
    }
}

async fn rolled_out(
    events: &mut BoxStream<'static, anyhow::Result<Event>>,
    service: &str,
) -> anyhow::Result<()> {
    let of = |event: &Event, ended: bool| matches!(event, Event::Rollout { deployment, done, .. } if deployment == service && *done == ended);
    wait(events, |event| of(event, false)).await?;
    wait(events, |event| of(event, true)).await
}

/// Reads events up to one. Those that were told before it are among them, so it has to be one that is new.
async fn wait(
    events: &mut BoxStream<'static, anyhow::Result<Event>>,
    is: impl Fn(&Event) -> bool,
) -> anyhow::Result<()> {
    let found = async {
        while let Some(event) = events.next().await {
            match event? {
                Event::Error { message, .. } => return Err(Fault::failed(message).into()),
                event if is(&event) => return Ok(()),
                _ => {}
            }
        }
        Err(Fault::failed("`up` ended").into())
    };
    let late = || Err(Fault::failed(format!("nothing came of an edit within {PATIENCE:?}")).into());
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| late())
}

/// The seconds of a bare build of a service, as it is in its image.
async fn build(scratch: &Scratch, package: &str) -> anyhow::Result<f64> {
    let (arguments, variable) = super::target(scratch).await?.arguments();
    let plain: Vec<&str> = ["build", "--quiet", "--package", package]
        .into_iter()
        .chain(arguments.iter().map(String::as_str))
        .collect();
    let start = Instant::now();
    let output = cargo::build_into(&scratch.root, scratch.target(), &plain, variable).await?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(Fault::failed(format!("the build of {package} failed: {told}")).into());
    }
    Ok(start.elapsed().as_secs_f64())
}
