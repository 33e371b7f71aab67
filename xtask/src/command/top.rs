//! `top`: live calls between pods: a screen on a terminal, lines elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde::Serialize;

use self::column::{Column, rate, rated, share};
use self::view::View;
use crate::args::{self, Output};
use crate::command::Checkout;
use crate::error::{Exit, Fault};
use crate::process;
use crate::report::{columns, line_out};
use crate::runtime::top::{Row, Top, TopRequest};

pub(super) mod column;
mod draw;
mod layout;
mod screen;
mod view;

/// How often what was counted is told: in lines, and on a screen.
const EVERY: Duration = Duration::from_secs(1);
const REDRAWN: Duration = Duration::from_millis(500);
/// So long, where a time is needed and none is named.
const SPAN: Duration = Duration::from_secs(5);

/// Counts and shows, until the time is over or it is told to stop.
pub async fn run(args: args::Top, colour: bool) -> anyhow::Result<Exit> {
    let checkout = Checkout::open().await?;
    let running = super::running(&checkout).await?;
    if let Some(resource) = &args.resource {
        let status = running.status().await?;
        let names = status.deployments.iter().map(|deployment| &deployment.name);
        if !names.chain(status.pods.iter().map(|pod| &pod.name)).any(|name| name == resource) {
            return Err(Fault::usage(format!("no service or pod `{resource}` is up"))
                .hint("cargo xtask status")
                .into());
        }
    }
    let on_screen = args.output == Output::Text && !args.once && is_screen();
    let span = args.span.or(args.once.then_some(SPAN));
    let every = match (args.once, on_screen) {
        (true, _) => span.unwrap_or(SPAN),
        (_, true) => REDRAWN,
        (_, false) => EVERY,
    };
    let resource = args.resource.clone();
    let told = running.top(TopRequest { every, span }).await?;
    let told = told.map(move |top| Ok(of_resource(top?, resource.as_deref()))).boxed();
    if on_screen {
        if let Some(top) = screen::show(told, View::new(args.resource), colour).await? {
            line_out(table(&top).trim_end());
        }
        return Ok(Exit::Ok);
    }
    lines(told, args.output).await
}

/// Whether there is somebody to look and to type.
fn is_screen() -> bool {
    std::io::stdout().is_terminal()
        && std::io::stdin().is_terminal()
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Prints each telling.
async fn lines(mut told: BoxStream<'static, anyhow::Result<Top>>, output: Output) -> anyhow::Result<Exit> {
    let mut stop = std::pin::pin!(process::told_to_stop());
    loop {
        let top = tokio::select! {
            top = told.next() => top.transpose()?.ok_or_else(lost)?,
            () = &mut stop => return Ok(Exit::Ok),
        };
        line_out(&match output {
            Output::Json => serde_json::to_string(&Shown::of(&top))?,
            Output::Text => table(&top).trim_end().to_owned(),
        });
        if top.last {
            return Ok(Exit::Ok);
        }
    }
}

/// Nobody counts any more.
fn lost() -> Fault {
    Fault::failed("`up` has ended, and with it what counts the calls").hint("cargo xtask status")
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

/// All columns, a line for each row.
fn table(top: &Top) -> String {
    let mut lines = vec![Column::ALL.map(|column| column.title().to_owned()).to_vec()];
    lines.extend(rated(top).iter().map(|rated| Column::ALL.map(|column| column.text(rated)).to_vec()));
    let mut text = if top.rows.is_empty() { "no calls\n".to_owned() } else { columns(&lines) };
    text.push_str(&missed(top.missed));
    text
}

/// A line that says how many calls are not among those shown; none where all are.
pub(super) fn missed(missed: u64) -> String {
    match missed {
        0 => String::new(),
        _ => format!("{missed} more calls came too fast, or were of too many kinds, to be told apart\n"),
    }
}

/// The last that is told of what is counted; none when this command was told to stop before.
pub(super) async fn to_its_end<T>(
    mut told: BoxStream<'static, anyhow::Result<T>>,
) -> anyhow::Result<Option<T>> {
    let mut stop = std::pin::pin!(process::told_to_stop());
    let mut latest = None;
    loop {
        tokio::select! {
            next = told.next() => match next {
                Some(next) => latest = Some(next?),
                None => return latest.map(Some).ok_or_else(|| lost().into()),
            },
            () = &mut stop => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::top::view::tests::row;

    fn counted() -> Top {
        let path = "/demo.Baz/GetInfo";
        let from_foo = Row {
            successes: 2,
            best_ms: 0.87,
            worst_ms: 31.4,
            last_ms: 2.72,
            ..row("foo-5d9-abcde", "baz-7f4-fghij", path, 3)
        };
        let from_bar = Row { denied: 1, ..row("bar-5d9-abcde", "baz-7f4-fghij", path, 1) };
        Top { seconds: 2.0, rows: vec![from_foo, from_bar], missed: 2, last: true }
    }

    #[test]
    fn the_columns_are_those_of_viz_and_refused_calls_are_told() {
        insta::assert_snapshot!(table(&counted()), @"
        SOURCE         DESTINATION    PROTOCOL  METHOD  PATH               COUNT  BEST   WORST   LAST    SUCCESS RATE  RPS  DENIED
        foo-5d9-abcde  baz-7f4-fghij  grpc      POST    /demo.Baz/GetInfo  3      870us  31.4ms  2.72ms  66.67%        1.5  -
        bar-5d9-abcde  baz-7f4-fghij  grpc      POST    /demo.Baz/GetInfo  1      420us  2.50ms  960us   100.00%       0.5  1
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
