//! `smoke`: prove that the environment does what it should, in one mode or all four.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::args::{self, SmokeOutput};
use crate::bundle;
use crate::command::Checkout;
use crate::environment::{self, Environment, Options};
use crate::error::{Exit, Fault};
use crate::plan::edges::edges as calls_of;
use crate::plan::{Mode, Plan};
use crate::process;
use crate::report::{self, Event, Events, line_out, millis};
use crate::runtime::choose::{Chosen, Where, choose};
use crate::runtime::kind;
use crate::runtime::{CallAnswer, CallRequest, Running, Status};
use crate::session::Lock;
use crate::smoke::answer::Answer;
use crate::smoke::outcome::mode_name;
use crate::smoke::{Check, ModeReport, Outcome, Report, checks, junit, load};

mod edges;

/// Requests at once, as in the figures that were measured on a real Linkerd.
const CONCURRENCY: u32 = 10;

/// Checks, and reports. Exit code 1 when a check failed.
pub async fn run(args: args::Smoke, colour: bool) -> anyhow::Result<Exit> {
    let chosen = choose(args.runtime, None)?;
    let checkout = Checkout::open().await?;
    let all = [(false, false), (true, false), (false, true), (true, true)];
    let asked = [(args.mode.grpc, args.mode.linkerd)];
    let modes: &[(bool, bool)] = if args.matrix { &all } else { &asked };
    let mut failure = None;
    let mut report = Report { passed: true, runtime: chosen.runtime.to_string(), modes: Vec::new() };
    for &(grpc, linkerd) in modes {
        let mode = Mode { grpc, linkerd };
        let start = Instant::now();
        let found = match super::running(&checkout).await {
            Ok(up) => running(&checkout, &*up, mode, &args).await,
            Err(_) => from_nothing(&checkout, mode, &args, &chosen, colour).await,
        };
        let (checks, spread) = match found {
            Ok(found) => found,
            // A script reads a report, whatever happened.
            Err(error) if args.output != SmokeOutput::Text => {
                failure.get_or_insert(error);
                let why = failure.as_ref().map(report::message).into_iter().collect();
                (vec![Check::of("start", "it did not get ready", why)], Vec::new())
            }
            Err(error) => return Err(error),
        };
        let passed = checks.iter().all(|check| check.outcome != Outcome::Failed);
        let ms = millis(start.elapsed());
        let one = ModeReport { mode: mode_name(mode), grpc, linkerd, passed, ms, checks, spread };
        report.passed &= passed;
        if args.output == SmokeOutput::Text {
            line_out(one.text().trim_end());
        } else {
            // Progress for whoever watches; the report itself goes to standard output, whole.
            eprintln!(
                "{}: {} in {}",
                one.mode,
                if passed { "passed" } else { "FAILED" },
                crate::report::span(ms)
            );
        }
        report.modes.push(one);
        if failure.is_some() {
            break;
        }
    }
    match args.output {
        SmokeOutput::Text => {
            let failed = report.modes.iter().filter(|mode| !mode.passed).count();
            line_out(&format!(
                "smoke: {} of {} modes passed",
                report.modes.len() - failed,
                report.modes.len()
            ));
        }
        SmokeOutput::Json => line_out(&serde_json::to_string_pretty(&report)?),
        SmokeOutput::Junit => line_out(junit::xml(&report)?.trim_end()),
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(if report.passed { Exit::Ok } else { Exit::Failed }),
    }
}

type Found = (Vec<Check>, Vec<crate::smoke::Spread>);

/// Checks an environment that is up already; it stays up.
async fn running(
    checkout: &Checkout,
    session: &dyn Running,
    mode: Mode,
    args: &args::Smoke,
) -> anyhow::Result<Found> {
    let status = session.status().await?;
    if (status.grpc, status.linkerd) != (mode.grpc, mode.linkerd) {
        let up = mode_name(Mode { grpc: status.grpc, linkerd: status.linkerd });
        return Err(Fault::usage(format!("what is up is `{up}`, not `{}`", mode_name(mode)))
            .hint("give smoke the same mode, or `cargo xtask down` first")
            .into());
    }
    let plan = environment::read(&checkout.workspace, mode, status.ingress.is_some(), super::on(&status))?;
    let ingress = status.ingress.as_ref().and_then(|address| address.parse().ok());
    let (mut checks, spread) = traffic(session, &plan, ingress, None, args).await?;
    if let Some(why) = failed(&checks) {
        match bundle::write(&checkout.state, session, &Events::default(), &why).await {
            Ok(path) => eprintln!("evidence: {}", path.display()),
            Err(fault) => eprintln!("no failure bundle: {fault}"),
        }
    }
    checks.push(Check::skipped("shutdown", "it was up before, and stays up"));
    Ok((checks, spread))
}

/// Brings an environment up, checks it, and takes it down, which is the last check.
async fn from_nothing(
    checkout: &Checkout,
    mode: Mode,
    args: &args::Smoke,
    chosen: &Chosen,
    colour: bool,
) -> anyhow::Result<Found> {
    let events = Events::default();
    let options = Options {
        mode,
        ingress: (!args.no_ingress).then_some(args.port.unwrap_or(0)),
        policy: false,
        release: args.release,
        timeout: Duration::from_secs(120),
        bundle: true,
        colour,
        kind: kind::Options { port: args.port, ..kind::Options::default() },
        dashboard: None,
    };
    let (environment, mut stop_requests) = Environment::open(checkout.clone(), options, chosen, &events)?;
    let outcome = tokio::select! {
        outcome = check(&environment, args) => outcome,
        () = process::told_to_stop() => Err(Fault::failed("interrupted").into()),
        reply = stop_requests.recv() => {
            if let Some(reply) = reply {
                let _ = reply.send(Vec::new());
            }
            Err(Fault::failed("`cargo xtask down` ended it").into())
        }
    };
    if let Ok((checks, _)) = &outcome
        && let Some(why) = failed(checks)
    {
        environment.keep_evidence(&why).await;
    }
    let status = environment.runtime.status().await.unwrap_or_default();
    let ingress = environment.ingress();
    let start = Instant::now();
    let pods = environment.take_down("smoke is done").await?;
    // A cluster's ingress is its own.
    let left = left_over(&status, ingress.filter(|_| chosen.runtime == Where::Local), checkout);
    let bundle = events.subscribe().0.iter().find_map(|event| match &**event {
        Event::Bundle { path } => Some(path.clone()),
        _ => None,
    });
    if let Some(path) = bundle {
        eprintln!("evidence: {path}");
    }
    let (mut checks, spread) = match outcome {
        Ok(found) => found,
        Err(error) => {
            // What it told on the way is the evidence: rustc's errors, pods that crashed.
            let (told, _) = events.subscribe();
            told.iter().filter_map(|event| trouble(event)).for_each(|line| eprintln!("{line}"));
            return Err(error);
        }
    };
    checks.push(checks::shutdown(&pods, &left).timed(start));
    Ok((checks, spread))
}

async fn check(environment: &Environment, args: &args::Smoke) -> anyhow::Result<Found> {
    let start = Instant::now();
    environment.bring_up(start).await?;
    let ingress = environment.ingress();
    let root = Some(environment.checkout.root.as_path());
    let (mut checks, spread) =
        traffic(&*environment.runtime, &environment.plan(), ingress, root, args).await?;
    let ready = Check::of("start", "everything got ready", Vec::new()).timed(start);
    checks.insert(0, ready);
    Ok((checks, spread))
}

/// Every check that is made from traffic. `root`: the workspace whose shipped policies are to be applied; none leaves
/// the policies as they are.
async fn traffic(
    runtime: &dyn Running,
    plan: &Plan,
    ingress: Option<SocketAddr>,
    root: Option<&Path>,
    args: &args::Smoke,
) -> anyhow::Result<Found> {
    let mut found = Vec::new();
    let mut answers = Vec::new();
    let asked = if ingress.is_some() { plan.hosts() } else { plan.first_called() };
    for host in &asked {
        let start = Instant::now();
        let got = match ingress {
            Some(ingress) => load::send(ingress, host, args.requests, CONCURRENCY).await,
            None => load::call(runtime, host, args.requests, CONCURRENCY).await?,
        };
        found.push(checks::answered(host, &got).timed(start));
        answers.extend(checks::documents(&got));
    }
    let mut callees: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for edge in calls_of(plan) {
        callees.entry(edge.client).or_default().insert(edge.service);
    }
    let replicas = plan.images.iter().map(|name| (name.clone(), plan.replicas(name))).collect();
    let identities =
        plan.images.iter().filter_map(|name| Some((name.clone(), plan.identity(name)?))).collect();
    let spread = checks::spread(&answers);
    found.push(checks::callees(&answers, &callees));
    found.push(checks::protocol(&answers, plan.mode));
    found.push(checks::balance(&spread, &replicas, plan.mode));
    found.push(checks::identity(&answers, &identities, plan.mode));
    found.push(calls(runtime, plan, &answers).await?);
    found.push(checks::readiness(&runtime.status().await?));
    if plan.mode.linkerd {
        if let Some(root) = root {
            found.extend(edges::under_policy(runtime, plan, ingress, root).await?);
        }
        found.push(edges::edges(runtime, plan, &answers).await?);
    }
    if let Some(command) = &args.exec
        && let Some(ingress) = ingress
    {
        found.push(exec(command, plan, ingress).await?);
    }
    Ok((found, spread))
}

/// Every call that the services were seen to make, once more from a client of its own with the caller's
/// identity.
async fn calls(runtime: &dyn Running, plan: &Plan, answers: &[Answer]) -> anyhow::Result<Check> {
    let start = Instant::now();
    let hops = answers.iter().flat_map(Answer::hops);
    let seen: BTreeSet<_> =
        hops.map(|hop| (hop.client, hop.answer.service.as_str(), hop.answer.path.as_str())).collect();
    let mut evidence = Vec::new();
    for &(client, service, path) in &seen {
        let port = calls_of(plan).into_iter().find(|edge| {
            let named = plan.service_port(service, &edge.port.to_string()).and_then(|port| port.name.clone());
            let grpc = named.is_some_and(|name| name.starts_with("grpc"));
            (edge.client.as_str(), edge.service.as_str(), grpc) == (client, service, plan.mode.grpc)
        });
        let Some(port) = port else { continue };
        let request = CallRequest {
            service_account: plan.service_account(client).filter(|_| plan.mode.linkerd),
            service: service.to_owned(),
            port: port.port.to_string(),
            path: path.to_owned(),
            timeout_ms: 10_000,
            count: 1,
            concurrency: 1,
            ..CallRequest::default()
        };
        let answer = runtime.call(request).await?;
        let well = answer.status == Some(200) && answer.grpc_status.unwrap_or(0) == 0;
        let identity = plan.identity(client).filter(|_| plan.mode.linkerd);
        let known = identity.is_none_or(|identity| answer.body.contains(&identity));
        if !well || !known {
            let CallAnswer { status, grpc_status, grpc_message, error, body, .. } = answer;
            let told = error.or(grpc_message).unwrap_or(body);
            evidence.push(format!("{client} -> {service}{path}: {status:?} {grpc_status:?} {told}"));
        }
    }
    Ok(Check::of("calls", format!("{} calls repeated by clients of their own", seen.len()), evidence)
        .timed(start))
}

/// A command of the user's, against the environment.
async fn exec(command: &str, plan: &Plan, ingress: SocketAddr) -> anyhow::Result<Check> {
    let start = Instant::now();
    let host = plan.hosts().into_iter().next().unwrap_or_else(|| "localhost".to_owned());
    let url = format!("http://{host}:{}/", ingress.port());
    let output = process::shell(command, Path::new("."), &[("XTASK_URL", &url)]).await?;
    let told =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let detail = match output.status.code() {
        Some(code) => format!("`{command}` ended with exit code {code}"),
        None => format!("`{command}` was ended by a signal"),
    };
    let evidence = if output.status.success() { Vec::new() } else { vec![told] };
    Ok(Check::of("exec", detail, evidence).timed(start))
}

/// What of an environment is still there after it was taken down.
fn left_over(status: &Status, ingress: Option<SocketAddr>, checkout: &Checkout) -> Vec<String> {
    let mut left: Vec<String> = status
        .pods
        .iter()
        .filter_map(|pod| {
            pod.pid.filter(|pid| process::is_alive(*pid)).map(|pid| format!("{}: pid {pid} lives", pod.name))
        })
        .collect();
    if let Some(address) = ingress.filter(|address| TcpListener::bind(address).is_err()) {
        left.push(format!("{address} is still taken"));
    }
    if let Some(holder) = Lock::holder(&checkout.state) {
        left.push(format!("pid {} still holds the checkout's lock", holder.pid));
    }
    left
}

/// The checks that failed, in words; none when none did.
fn failed(checks: &[Check]) -> Option<String> {
    let failed = checks.iter().filter(|check| check.outcome == Outcome::Failed);
    let lines: Vec<String> = failed
        .map(|check| format!("{}: {}\n{}", check.name, check.detail, check.evidence.join("\n")))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn trouble(event: &Event) -> Option<String> {
    match event {
        Event::Compiler { rendered, error: true } => Some(rendered.clone()),
        Event::Error { message, .. } => Some(message.clone()),
        _ => None,
    }
}
