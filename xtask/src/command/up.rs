//! `up`: build, run, wait until ready, then watch and redeploy until told to stop.

use std::time::Instant;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::args;
use crate::command::Checkout;
use crate::dashboard;
use crate::environment::{Environment, Options};
use crate::error::{Exit, Fault};
use crate::plan::Mode;
use crate::process;
use crate::report::event::Exited;
use crate::report::{self, Event, Events, Printer, Reporter};
use crate::runtime::choose::choose;
use crate::runtime::kind;
use crate::session::StopRequests;
use crate::watch::redeploy;
use crate::watch::{Watch, watch};
use crate::workspace::Workspace;

/// Where the local runtime's ingress answers when nothing else is said.
const PORT: u16 = 8080;

/// Brings it up and stays until told to stop; with `--detach` leaves it to a background process.
pub async fn run(args: args::Up, colour: bool) -> anyhow::Result<Exit> {
    let start = Instant::now();
    let checkout = Checkout::open().await?;
    if args.detach {
        return detach(&checkout, &args, colour).await;
    }
    let events = Events::default();
    let reporter = Reporter::start(&events, args.output, colour);
    let outcome = stay(checkout, &args, colour, &events, start).await;
    if let Err(error) = &outcome
        && args.background
    {
        // The foreground half prints what it is told here.
        events.emit(Event::Error { message: report::message(error), hint: report::hint(error) });
    }
    reporter.finish().await;
    outcome
}

async fn stay(
    checkout: Checkout,
    args: &args::Up,
    colour: bool,
    events: &Events,
    start: Instant,
) -> anyhow::Result<Exit> {
    let options = Options {
        mode: Mode { grpc: args.mode.grpc, linkerd: args.mode.linkerd },
        ingress: (!args.no_ingress).then_some(args.port.unwrap_or(PORT)),
        policy: args.policy,
        release: args.release,
        timeout: args.timeout,
        colour,
        bundle: args.bundle,
        kind: kind::Options {
            port: args.port,
            context: args.context.clone(),
            force_conflicts: args.force_conflicts,
            live: !args.no_live,
            registry: args.registry.clone(),
        },
        dashboard: Some(args.dashboard_port.map_or(dashboard::Port::Usual, dashboard::Port::Named)),
    };
    let chosen = choose(args.runtime, args.context.as_deref())?;
    let (environment, mut stop_requests) = Environment::open(checkout, options, &chosen, events)?;
    let (why, reply, outcome) = tokio::select! {
        outcome = live(&environment, args, events, start) => ("it failed".to_owned(), None, outcome),
        () = process::told_to_stop() => ("told to stop; once more kills".to_owned(), None, Ok(())),
        reply = asked(&mut stop_requests) => ("`cargo xtask down`".to_owned(), Some(reply), Ok(())),
    };
    if environment.outlives() && reply.is_none() {
        environment.leave();
        return outcome.map(|()| Exit::Ok);
    }
    let pods = tokio::select! {
        pods = environment.take_down(&why) => pods?,
        // Nothing outlives this process: that is what its guardian is for.
        () = process::told_to_stop() => return Err(Fault::failed("killed while stopping").into()),
    };
    if let Some(reply) = reply {
        let _ = reply.send(pods);
        // The answer is on its way through a task of its own: let it pass before this process ends.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    outcome.map(|()| Exit::Ok)
}

/// Runs until something ends it. In the foreground with a watch, what fails is shown and waits for a
/// change that mends it, unless no change can; otherwise it is the end.
async fn live(
    environment: &Environment,
    args: &args::Up,
    events: &Events,
    start: Instant,
) -> anyhow::Result<()> {
    // Before the first build, so that no save is lost.
    let changes: Option<Watch> = (!args.no_watch).then(|| {
        let Workspace { root, target_directory, .. } = &environment.checkout.workspace;
        watch(root, target_directory, events)
    });
    if args.background || args.no_watch {
        environment.bring_up(start).await?;
    }
    let Some(changes) = changes else {
        // With nobody to watch for, and pods that run without us, there is nothing to stay for.
        if args.background && environment.outlives() {
            return Ok(());
        }
        return std::future::pending().await;
    };
    let follow = async {
        redeploy::run(changes, &environment.checkout.root, environment, events).await;
        Ok(())
    };
    tokio::try_join!(follow, environment.tell_when_ready(start)).map(drop)
}

async fn asked(requests: &mut StopRequests) -> tokio::sync::oneshot::Sender<Vec<Exited>> {
    match requests.recv().await {
        Some(reply) => reply,
        None => std::future::pending().await,
    }
}

/// Starts the background half and prints what it tells until everything is ready.
async fn detach(checkout: &Checkout, args: &args::Up, colour: bool) -> anyhow::Result<Exit> {
    checkout.state.create()?;
    let log = checkout.state.up_log();
    let mut child = process::background(&background_args(args), &checkout.root, &log)
        .map_err(|error| Fault::environment(format!("cannot start the background process: {error}")))?;
    let mut printer = Printer::new(args.output, colour);
    let Some(stdout) = child.stdout.take() else { return Err(Fault::failed("no output to read").into()) };
    let mut lines = BufReader::new(stdout).lines();
    let told = async {
        let (mut failed, mut ready, mut ends_itself) = (false, false, false);
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(event) = serde_json::from_str::<Event>(&line) else { continue };
            // What services write is for `logs`; this command ends when they are ready.
            if !matches!(event, Event::Log { .. }) {
                printer.print(&event);
            }
            failed |= matches!(event, Event::Error { .. });
            let ends = matches!(&event, Event::Left { .. });
            ready |= matches!(event, Event::Ready { .. });
            // Where it ends by itself, the next `up` shall find it gone.
            if ready && (ends || !ends_itself) {
                return (true, failed);
            }
            ends_itself |=
                args.no_watch && matches!(&event, Event::Runtime { runtime, .. } if runtime == "kind");
        }
        (ready, failed)
    };
    let interrupted = tokio::select! {
        told = told => Ok(told),
        () = process::told_to_stop() => Err(()),
    };
    printer.end();
    match interrupted {
        Ok((true, _)) => Ok(Exit::Ok),
        Ok((false, explained)) => {
            let status = child.wait().await?;
            let exit = Exit::from_code(status.code());
            if explained {
                return Ok(exit);
            }
            let words = std::fs::read_to_string(&log).unwrap_or_default();
            Err(Fault::failed(format!("the background process ended with {status}: {}", words.trim())).into())
        }
        Err(()) => {
            if let Some(pid) = child.id() {
                process::terminate(pid);
            }
            child.wait().await?;
            Err(Fault::failed("interrupted; nothing is left running").into())
        }
    }
}

/// The same command line for the background half.
fn background_args(args: &args::Up) -> Vec<String> {
    let mut line = vec!["up".to_owned(), "--background".to_owned()];
    for (given, flag) in [
        (args.mode.grpc, "--grpc"),
        (args.mode.linkerd, "--linkerd"),
        (args.policy, "--policy"),
        (args.no_ingress, "--no-ingress"),
        (args.force_conflicts, "--force-conflicts"),
        (args.no_live, "--no-live"),
        (args.bundle, "--bundle"),
        (args.no_watch, "--no-watch"),
        (args.release, "--release"),
    ] {
        if given {
            line.push(flag.to_owned());
        }
    }
    let runtime = clap::ValueEnum::to_possible_value(&args.runtime);
    line.push(format!("--runtime={}", runtime.as_ref().map_or("auto", |value| value.get_name())));
    line.extend(args.port.map(|port| format!("--port={port}")));
    line.extend(args.dashboard_port.map(|port| format!("--dashboard-port={port}")));
    line.extend(args.context.as_ref().map(|context| format!("--context={context}")));
    line.extend(args.registry.as_ref().map(|registry| format!("--registry={registry}")));
    line.push(format!("--timeout={}ms", args.timeout.as_millis()));
    line.push("--output=json".to_owned());
    line
}
