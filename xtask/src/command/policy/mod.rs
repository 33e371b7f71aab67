//! `policy`: who may call what. One file a subcommand; this one says which.

use std::path::{Component, Path, PathBuf};

use policy::model::Objects;

use crate::args::policy::{Policy, PolicyCommand};
use crate::command::Checkout;
use crate::environment;
use crate::error::Exit;
use crate::plan::{Mode, Plan, objects};
use crate::runtime::policy::{PolicyRequest, PolicyState};
use crate::runtime::{Running, Status};

mod apply;
mod check;
mod delete;
mod explain;
mod graph;
mod ramp;
mod test;

/// Runs what was asked for.
pub async fn run(args: Policy, colour: bool) -> anyhow::Result<Exit> {
    if let PolicyCommand::Check(args) = &args.command {
        // Without cargo, which would take longer than the rest.
        return check::run(args, colour);
    }
    let checkout = Checkout::open().await?;
    match args.command {
        PolicyCommand::Apply(args) => apply::run(&args, &checkout).await,
        PolicyCommand::Delete(args) => delete::run(&args, &checkout).await,
        PolicyCommand::Check(args) => check::run(&args, colour),
        PolicyCommand::Explain(args) => explain::run(&args, &checkout),
        PolicyCommand::Test(args) => test::run(&args, &checkout).await,
        PolicyCommand::Ramp(args) => ramp::run(&args, &checkout).await,
        PolicyCommand::Graph(args) => graph::run(&args, &checkout),
    }
}

/// A running environment, what is to run in it, and the policies in force.
struct Live {
    session: Box<dyn Running>,
    status: Status,
    plan: Plan,
    state: PolicyState,
}

impl Live {
    /// Errors when nothing is up, or when what is up has no sidecars to enforce policies.
    async fn attach(checkout: &Checkout) -> anyhow::Result<Self> {
        let session = super::running(checkout).await?;
        let status = session.status().await?;
        let state = session.policy(PolicyRequest::Show).await?;
        let mode = Mode { grpc: status.grpc, linkerd: status.linkerd };
        let plan =
            environment::read(&checkout.workspace, mode, status.ingress.is_some(), super::on(&status))?;
        Ok(Self { session, status, plan, state })
    }

    /// What decisions depend on, with the policies of a state.
    fn objects(&self, state: &PolicyState) -> Objects {
        let mut all = objects(&self.plan);
        state.objects.iter().for_each(|object| object.add_to(&mut all));
        all
    }
}

/// Paths as they were typed, relative to the workspace's root where they are in it: as problems name them.
fn from_root(paths: &[PathBuf], root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let here = std::env::current_dir()?;
    let place = |path: &PathBuf| {
        let path = here.join(path).components().fold(PathBuf::new(), |mut whole, part| {
            match part {
                Component::CurDir => {}
                Component::ParentDir => drop(whole.pop()),
                part => whole.push(part),
            }
            whole
        });
        path.strip_prefix(root).map_or_else(|_| path.clone(), Path::to_owned)
    };
    Ok(paths.iter().map(place).collect())
}
