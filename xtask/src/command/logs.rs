//! `logs`: what the services wrote, while they run and afterwards.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::args::{self, Output};
use crate::command::Checkout;
use crate::error::{Exit, Fault};
use crate::process;
use crate::report::{Printer, event::Event, line_out};
use crate::runtime::Running as _;
use crate::runtime::choose::Where;
use crate::runtime::kind::Kind;
use crate::runtime::kind::logs::Line;
use crate::runtime::local::log_file::{LogLine, LogReader, deployment_of};
use crate::session;

/// How often the files are looked at when following.
const LOOK: Duration = Duration::from_millis(100);

/// Prints the lines of all pods by time; with `--follow` until told to stop.
pub async fn run(args: args::Logs, colour: bool) -> anyhow::Result<Exit> {
    let checkout = Checkout::open().await?;
    let since = match args.since {
        Some(since) => Some(Timestamp::now().checked_sub(jiff::SignedDuration::try_from(since)?)?),
        None => None,
    };
    let session = session::find(&checkout.state);
    let local = match &session {
        Some(session) => super::on(&session.status().await?) == Where::Local,
        None => false,
    };
    if !local && let Some(kind) = Kind::attach(&checkout).await? {
        return of_cluster(&kind, &args, since, colour).await;
    }
    let known = known(&checkout);
    if let Some(unknown) = args.services.iter().find(|name| !known.contains(name)) {
        let deployments: Vec<&str> = {
            let mut names: Vec<&str> = known.iter().map(|pod| deployment_of(pod)).collect();
            names.dedup();
            names
        };
        let known = if deployments.is_empty() { "none wrote yet".to_owned() } else { deployments.join(", ") };
        return Err(
            Fault::usage(format!("no service or pod `{unknown}` wrote anything (known: {known})")).into()
        );
    }
    let mut reader = LogReader::new(checkout.state.logs(), args.services.clone(), since);
    let mut printer = Printer::new(Output::Text, colour);
    let print = |reader: &mut LogReader, printer: &mut Printer| -> anyhow::Result<()> {
        for line in reader.read()? {
            show(&line, deployment_of(&line.pod), args.output, printer)?;
        }
        Ok(())
    };
    print(&mut reader, &mut printer)?;
    if !args.follow {
        return Ok(Exit::Ok);
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => print(&mut reader, &mut printer)?,
            () = process::told_to_stop() => return Ok(Exit::Ok),
        }
    }
}

/// The same from a cluster: by time, or with `--follow` as they come.
async fn of_cluster(
    kind: &Kind,
    args: &args::Logs,
    since: Option<Timestamp>,
    colour: bool,
) -> anyhow::Result<Exit> {
    let status = kind.status().await?;
    let deployments = status.deployments.iter().map(|deployment| &deployment.name);
    let known: Vec<&String> = deployments.chain(status.pods.iter().map(|pod| &pod.name)).collect();
    if let Some(unknown) = args.services.iter().find(|name| !known.contains(name)) {
        let known: Vec<&str> = status.deployments.iter().map(|deployment| deployment.name.as_str()).collect();
        let known = known.join(", ");
        return Err(Fault::usage(format!("no service or pod `{unknown}` is up (known: {known})")).into());
    }
    let wanted = |line: &Line| {
        args.services.is_empty()
            || args.services.iter().any(|name| *name == line.pod || *name == line.deployment)
    };
    let mut printer = Printer::new(Output::Text, colour);
    let mut lines = kind.logs(since, args.follow).await?;
    let mut show = |line: Line| {
        let Line { at, pod, deployment, text } = line;
        show(&LogLine { at, pod: pod.into(), line: text }, &deployment, args.output, &mut printer)
    };
    if !args.follow {
        let mut all = Vec::new();
        while let Some(line) = lines.recv().await {
            all.extend(Some(line).filter(wanted));
        }
        all.sort_by_key(|line| line.at);
        all.into_iter().try_for_each(show)?;
        return Ok(Exit::Ok);
    }
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) if wanted(&line) => show(line)?,
                Some(_) => {}
                None => return Ok(Exit::Ok),
            },
            () = process::told_to_stop() => return Ok(Exit::Ok),
        }
    }
}

/// A line for scripts.
#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    pod: &'a str,
    deployment: &'a str,
    line: &'a str,
}

fn show(line: &LogLine, deployment: &str, output: Output, printer: &mut Printer) -> anyhow::Result<()> {
    let LogLine { at, pod, line } = line;
    match output {
        Output::Text => printer.print(&Event::Log {
            pod: pod.to_string(),
            deployment: deployment.to_owned(),
            line: line.clone(),
        }),
        Output::Json => {
            line_out(&serde_json::to_string(&JsonLine { time: at.to_string(), pod, deployment, line })?);
        }
    }
    Ok(())
}

/// The names that `logs` takes: pods and their Deployments.
fn known(checkout: &Checkout) -> Vec<String> {
    let mut names = Vec::new();
    for pod in crate::runtime::local::log_file::pods(&checkout.state.logs()).unwrap_or_default() {
        names.push(deployment_of(&pod).to_owned());
        names.push(pod);
    }
    names
}
