//! `bench`: this project's own figures, measured on this machine.

use clap::ValueEnum as _;

use crate::args::{self, BenchRuntime, Figure as Asked, Output};
use crate::bench::figures::{Figure, Figures};
use crate::bench::machine::Machine;
use crate::bench::scratch::Scratch;
use crate::bench::{cold, edit, idle, kind, mesh, policy, start};
use crate::command::Checkout;
use crate::environment;
use crate::error::{Exit, Fault};
use crate::plan::{Mode, Plan};
use crate::report::event::Event;
use crate::report::{Printer, line_out};
use crate::runtime::choose::Where;

/// Measures what was asked for. A missed target is shown, and is no failure: machines differ.
pub async fn run(args: args::Bench, colour: bool) -> anyhow::Result<Exit> {
    let checkout = Checkout::open().await?;
    checkout.state.create()?;
    let mut progress =
        Progress { printer: (args.output == Output::Text).then(|| Printer::new(args.output, colour)) };
    let mode = Mode { grpc: true, linkerd: true };
    let plan = environment::read(&checkout.workspace, mode, true, Where::Local)?;
    let mut figures = Vec::new();
    let outcome = measure(&args, &checkout, &plan, &mut progress, &mut figures).await;
    // What was measured before something failed took its time, and is shown.
    if outcome.is_ok() || !figures.is_empty() {
        let figures = Figures { machine: Machine::describe().await, figures };
        match args.output {
            Output::Json => line_out(&serde_json::to_string(&figures)?),
            Output::Text => line_out(&format!("\n{}", figures.text().trim_end())),
        }
    }
    outcome.map(|()| Exit::Ok)
}

async fn measure(
    args: &args::Bench,
    checkout: &Checkout,
    plan: &Plan,
    progress: &mut Progress,
    figures: &mut Vec<Figure>,
) -> anyhow::Result<()> {
    let of_runtime = Asked::of(args.runtime);
    let elsewhere = |figure: &&Asked| !of_runtime.contains(figure);
    if let Some(figure) = args.figures.iter().find(elsewhere) {
        let name = |figure: &Asked| figure.to_possible_value().map(|value| value.get_name().to_owned());
        let known: Vec<String> = of_runtime.iter().filter_map(name).collect();
        let figure = name(figure).unwrap_or_default();
        let why = format!("`{figure}` is not measured on this runtime (measured: {})", known.join(", "));
        return Err(Fault::usage(why).into());
    }
    let all = if args.figures.is_empty() { of_runtime } else { &args.figures };
    let asked = |figure| all.contains(&figure);
    if args.runtime == BenchRuntime::Kind {
        let mut tell = |what: &str| progress.tell(what);
        return kind::measure(checkout, plan, all, args.runs, &mut tell, figures).await;
    }
    if [Asked::Start, Asked::Edit, Asked::Idle].into_iter().any(asked) {
        progress.tell("preparing a copy of the workspace to measure on");
        let scratch = Scratch::new(checkout).await?;
        if asked(Asked::Start) {
            progress.tell("warm start");
            figures.extend(start::measure(&scratch, args.runs).await?);
        }
        if asked(Asked::Edit) {
            progress.tell("edit-to-live");
            figures.extend(edit::measure(&scratch, plan, &checkout.workspace, args.runs).await?);
        }
        if asked(Asked::Idle) {
            progress.tell("idle cost");
            figures.extend(idle::measure(&scratch, plan, args.runs).await?);
        }
    }
    if asked(Asked::Mesh) {
        progress.tell("mesh cost");
        figures.extend(mesh::measure(checkout, args.runs).await?);
    }
    if asked(Asked::Policy) {
        progress.tell("policy decisions");
        figures.extend(policy::measure(args.runs));
    }
    if asked(Asked::Cold) {
        progress.tell("cold build");
        figures.extend(cold::measure(&Scratch::copied(checkout)?, args.runs).await?);
    }
    Ok(())
}

struct Progress {
    printer: Option<Printer>,
}

impl Progress {
    fn tell(&mut self, what: &str) {
        if let Some(printer) = &mut self.printer {
            printer.print(&Event::StepStarted { step: what.to_owned() });
        }
    }
}
