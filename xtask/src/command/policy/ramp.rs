//! `policy ramp`: audit first, list what would have been denied, then enforce.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::Live;
use crate::args::Output;
use crate::args::policy::PolicyRamp;
use crate::command::Checkout;
use crate::error::{Exit, Fault};
use crate::policies::remedy::remedy;
use crate::process;
use crate::report::line_out;
use crate::runtime::policy::{Noted, ObjectKey, Observed, PolicyObject, PolicyRequest};

/// Between two looks at what was seen.
const LOOK: Duration = Duration::from_millis(100);
/// At most this long for a number of requests.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a ramp came to, as scripts read it.
#[derive(Serialize)]
struct Ramped {
    /// Policies decided on so many requests.
    requests: u64,
    /// So many were not looked at.
    missed: u64,
    /// What would have been refused.
    found: Vec<Found>,
    /// The Servers deny again.
    enforced: bool,
}

#[derive(Serialize)]
struct Found {
    #[serde(flatten)]
    noted: Noted,
    times: u64,
    /// The object that lets it in, as YAML.
    add: String,
}

/// Audits, tells, and enforces or not. Exit code 1 when something was found and nothing was forced.
pub async fn run(args: &PolicyRamp, checkout: &Checkout) -> anyhow::Result<Exit> {
    let live = Live::attach(checkout).await?;
    let servers: Vec<ObjectKey> =
        live.state.objects.iter().filter(|own| is_strict(own)).map(PolicyObject::key).collect();
    if servers.is_empty() {
        return Err(Fault::usage("no Server that is applied denies anybody: there is nothing to ramp")
            .hint("cargo xtask policy apply")
            .into());
    }
    let access = |access: Option<&str>| {
        let (servers, access) = (servers.clone(), access.map(str::to_owned));
        live.session.policy(PolicyRequest::Access { servers, access })
    };
    access(Some("audit")).await?;
    let seen = tokio::select! {
        seen = watch(&live, args) => seen,
        () = process::told_to_stop() => Err(Fault::failed("interrupted; the Servers deny again").into()),
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => {
            access(Some("deny")).await.context("the Servers could not be put back to deny")?;
            return Err(error);
        }
    };
    let enforced = !args.stay && (args.force || seen.noted.is_empty());
    if enforced {
        access(Some("deny")).await?;
    }
    let mut found: Vec<_> =
        seen.noted.into_iter().map(|(noted, times)| Found { add: remedy(&noted), noted, times }).collect();
    found.sort_by(|a, b| a.noted.cmp(&b.noted));
    let ramped = Ramped { requests: seen.requests, missed: seen.missed, found, enforced };
    match args.output {
        Output::Json => line_out(&serde_json::to_string(&ramped)?),
        Output::Text => line_out(&text(&ramped, args)),
    }
    Ok(if ramped.found.is_empty() || args.force { Exit::Ok } else { Exit::Failed })
}

/// A Server that denies, or one that an earlier ramp left in audit.
fn is_strict(object: &PolicyObject) -> bool {
    let PolicyObject::Server(server) = object else { return false };
    matches!(server.spec.access_policy.as_deref(), None | Some("deny" | "audit"))
}

async fn watch(live: &Live, args: &PolicyRamp) -> anyhow::Result<Observed> {
    let observe = |wanted| live.session.policy(PolicyRequest::Observe(wanted));
    observe(Some(true)).await?;
    let start = Instant::now();
    let shows_progress = args.output == Output::Text && std::io::stderr().is_terminal();
    let seen = loop {
        tokio::time::sleep(LOOK).await;
        let seen = observe(None).await?.observed;
        if shows_progress {
            let (requests, noted) = (seen.requests, seen.noted.len());
            eprint!(
                "\rauditing for {}s: {requests} requests, {noted} that would be refused ",
                start.elapsed().as_secs()
            );
        }
        let enough = match args.requests {
            Some(requests) => seen.requests >= requests || start.elapsed() > PATIENCE,
            None => start.elapsed() >= args.span,
        };
        if enough {
            break seen;
        }
    };
    if shows_progress {
        eprintln!();
    }
    observe(Some(false)).await?;
    Ok(seen)
}

fn text(ramped: &Ramped, args: &PolicyRamp) -> String {
    let Ramped { requests, missed, found, enforced } = ramped;
    let mut lines = Vec::new();
    for Found { noted, times, .. } in found {
        let Noted { identity, address, deployment, server, route, method, path, grpc, .. } = noted;
        let client = identity.clone().unwrap_or_else(|| {
            format!("a client without a sidecar, from {}", address.as_deref().unwrap_or("somewhere"))
        });
        let on = route.as_ref().map(|(_, kind, name)| format!("{kind} {name} of ")).unwrap_or_default();
        let asked = if *grpc { path.trim_start_matches('/').to_owned() } else { format!("{method} {path}") };
        lines.push(format!(
            "would be refused: {client}\n    -> {deployment} {asked}, {times} times, on {on}Server {server}"
        ));
    }
    // One object lets in all that a client asks of a route.
    let add: BTreeSet<&str> = found.iter().map(|found| found.add.as_str()).collect();
    if !add.is_empty() {
        lines.push("\nto let them in, add:\n".to_owned());
        lines.extend(add.into_iter().map(str::to_owned));
    }
    let missed =
        if *missed > 0 { format!(", {missed} more came too fast to be looked at") } else { String::new() };
    let refused = if found.is_empty() {
        "none of them would be refused".to_owned()
    } else {
        format!("{} kinds would be refused", found.len())
    };
    lines.push(format!("{requests} requests were decided on{missed}; {refused}"));
    lines.push(match (enforced, args.stay) {
        (true, _) => "the Servers deny again".to_owned(),
        (false, true) => "the Servers stay in audit".to_owned(),
        (false, false) => {
            "the Servers stay in audit: add what is missing and ramp again, or enforce with --force"
                .to_owned()
        }
    });
    lines.join("\n")
}
