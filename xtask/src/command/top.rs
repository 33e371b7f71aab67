//! `top`: live calls between pods.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use serde::Serialize;

use crate::args::{self, Output};
use crate::command::Checkout;
use crate::error::{Exit, Fault};
use crate::process;
use crate::report::{columns, line_out};
use crate::runtime::Running as _;
use crate::runtime::top::{Row, Top, TopRequest};
use crate::session;

/// How often what was counted is shown.
const EVERY: Duration = Duration::from_secs(1);
/// So long, where a time is needed and none is named.
const SPAN: Duration = Duration::from_secs(5);

/// Counts and shows, until the time is over or it is told to stop.
pub async fn run(args: args::Top) -> anyhow::Result<Exit> {
    let checkout = Checkout::open().await?;
    let session = session::attach(&checkout.state)?;
    if let Some(resource) = &args.resource {
        let status = session.status().await?;
        let names = status.deployments.iter().map(|deployment| &deployment.name);
        if !names.chain(status.pods.iter().map(|pod| &pod.name)).any(|name| name == resource) {
            return Err(Fault::usage(format!("no service or pod `{resource}` is up"))
                .hint("cargo xtask status")
                .into());
        }
    }
    let span = args.span.or(args.once.then_some(SPAN));
    let every = if args.once { span.unwrap_or(SPAN) } else { EVERY };
    let mut told = session.top(TopRequest { every, span }).await?;
    let redraws = args.output == Output::Text && !args.once && std::io::stdout().is_terminal();
    loop {
        let top = tokio::select! {
            top = told.next() => top.context("`up` ended")??,
            () = process::told_to_stop() => return Ok(Exit::Ok),
        };
        let top = of_resource(top, args.resource.as_deref());
        match args.output {
            Output::Json => line_out(&serde_json::to_string(&Shown::of(&top))?),
            // To the upper left, and what follows is no more.
            Output::Text if redraws => line_out(&format!("\x1b[H\x1b[J{}", table(&top).trim_end())),
            Output::Text => line_out(table(&top).trim_end()),
        }
        if top.last {
            return Ok(Exit::Ok);
        }
    }
}

/// Only the calls from or to it.
fn of_resource(mut top: Top, resource: Option<&str>) -> Top {
    if let Some(resource) = resource {
        top.rows.retain(|Row { call, .. }| {
            let deployments = [&call.source_deployment, &call.destination_deployment];
            call.source == resource
                || call.destination == resource
                || deployments.iter().any(|deployment| deployment.as_deref() == Some(resource))
        });
    }
    top
}

/// What was counted, as scripts read it.
#[derive(Serialize)]
struct Shown<'a> {
    seconds: f64,
    missed: u64,
    rows: Vec<ShownRow<'a>>,
}

#[derive(Serialize)]
struct ShownRow<'a> {
    #[serde(flatten)]
    row: &'a Row,
    /// Of all that ended; 0 to 1.
    success_rate: f64,
    /// Calls a second.
    rps: f64,
}

impl<'a> Shown<'a> {
    fn of(top: &'a Top) -> Self {
        let rows = top.rows.iter().map(|row| ShownRow {
            row,
            success_rate: share(row.successes, row.count),
            rps: rate(row.count, top.seconds),
        });
        Self { seconds: top.seconds, missed: top.missed, rows: rows.collect() }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^52")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^52")]
fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// The columns of `linkerd viz top`, the calls a second, and the refused ones.
fn table(top: &Top) -> String {
    let header = [
        "SOURCE",
        "DESTINATION",
        "METHOD",
        "PATH",
        "COUNT",
        "BEST",
        "WORST",
        "LAST",
        "SUCCESS RATE",
        "RPS",
        "DENIED",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for row in &top.rows {
        let call = &row.call;
        rows.push(vec![
            call.source.clone(),
            call.destination.clone(),
            call.method.clone(),
            call.path.clone(),
            row.count.to_string(),
            latency(row.best_ms),
            latency(row.worst_ms),
            latency(row.last_ms),
            format!("{:.2}%", share(row.successes, row.count) * 100.0),
            format!("{:.1}", rate(row.count, top.seconds)),
            if row.denied > 0 { row.denied.to_string() } else { "-".to_owned() },
        ]);
    }
    let mut text = if top.rows.is_empty() { "no calls\n".to_owned() } else { columns(&rows) };
    if top.missed > 0 {
        let _ = writeln!(
            text,
            "{} more calls came too fast, or were of too many kinds, to be told apart",
            top.missed
        );
    }
    text
}

/// Milliseconds with three digits that mean something, or microseconds.
fn latency(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{:.0}us", ms * 1000.0),
        ms if ms < 10.0 => format!("{ms:.2}ms"),
        ms if ms < 100.0 => format!("{ms:.1}ms"),
        ms => format!("{ms:.0}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::top::{Call, Ended, Tally};

    fn counted() -> Top {
        let mut tally = Tally::default();
        let call = |from: &str, to: &str| Call {
            source: format!("{from}-5d9-abcde"),
            source_deployment: Some(from.to_owned()),
            destination: format!("{to}-7f4-fghij"),
            destination_deployment: Some(to.to_owned()),
            protocol: "grpc".to_owned(),
            method: "POST".to_owned(),
            path: "/demo.Baz/GetInfo".to_owned(),
        };
        let ended = |grpc_status, micros| Ended {
            status: Some(200),
            grpc_status: Some(grpc_status),
            broken: false,
            denied: grpc_status == 7,
            latency: Duration::from_micros(micros),
        };
        for (status, micros) in [(0, 870), (14, 31_415), (0, 2_718)] {
            tally.count(call("foo", "baz"), &ended(status, micros));
        }
        tally.count(call("bar", "baz"), &ended(7, 141_421));
        tally.miss(2);
        tally.top(Duration::from_secs(2), true)
    }

    #[test]
    fn the_columns_are_those_of_viz_and_refused_calls_are_told() {
        insta::assert_snapshot!(table(&counted()), @"
        SOURCE         DESTINATION    METHOD  PATH               COUNT  BEST   WORST   LAST    SUCCESS RATE  RPS  DENIED
        foo-5d9-abcde  baz-7f4-fghij  POST    /demo.Baz/GetInfo  3      870us  31.4ms  2.72ms  66.67%        1.5  -
        bar-5d9-abcde  baz-7f4-fghij  POST    /demo.Baz/GetInfo  1      141ms  141ms   141ms   100.00%       0.5  1
        2 more calls came too fast, or were of too many kinds, to be told apart
        ");
        insta::assert_snapshot!(table(&Top::default()), @"no calls");
    }

    #[test]
    fn only_calls_from_or_to_what_is_named_are_shown() {
        let left = |resource| of_resource(counted(), Some(resource)).rows.len();
        assert_eq!(["baz", "foo", "bar-5d9-abcde", "qux"].map(left), [2, 1, 1, 0]);
    }
}
