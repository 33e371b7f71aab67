//! One file a subcommand; this one says which.

use std::path::{Path, PathBuf};

use crate::args::{Args, Command};
use crate::error::{Exit, Fault};
use crate::process::cargo;
use crate::report;
use crate::runtime::choose::Where;
use crate::runtime::kind::Kind;
use crate::runtime::{Running, Status};
use crate::session;
use crate::state::StateDir;
use crate::workspace::Workspace;
use anyhow::Context as _;

mod bench;
mod call;
mod ci;
mod dashboard;
mod doctor;
mod down;
mod edges;
mod fault;
mod image;
mod logs;
mod new;
mod policy;
mod smoke;
mod stat;
mod status;
mod tools;
mod top;
mod up;

/// Runs what was asked for.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let colour = report::colour(args.global.color);
    match args.command {
        Command::Up(args) => up::run(args, colour).await,
        Command::Down(args) => down::run(args, colour).await,
        Command::Status(args) => status::run(args).await,
        Command::Logs(args) => logs::run(args, colour).await,
        Command::Call(args) => {
            let running = running(&Checkout::open().await?).await?;
            call::run(args, &*running).await
        }
        Command::Policy(args) => policy::run(args, colour).await,
        Command::Image(args) => image::run(args, colour).await,
        Command::Top(args) => top::run(args, colour).await,
        Command::Fault(args) => fault::run(args).await,
        Command::Stat(args) => stat::run(args).await,
        Command::Edges(args) => edges::run(args).await,
        Command::Dashboard(args) => dashboard::run(args).await,
        Command::Smoke(args) => smoke::run(args, colour).await,
        Command::Doctor(args) => doctor::run(args, colour).await,
        Command::Tools(args) => tools::run(args, colour).await,
        Command::New(args) => new::run(&args, &Checkout::open().await?.root),
        Command::Bench(args) => bench::run(args, colour).await,
        Command::Ci(args) => ci::run(args, colour).await,
    }
}

/// What runs in a checkout: by its `up`, or in the cluster where a former one left it. An error when nothing does.
async fn running(checkout: &Checkout) -> anyhow::Result<Box<dyn Running>> {
    if let Some(session) = session::find(&checkout.state) {
        return Ok(Box::new(session));
    }
    match Kind::attach(checkout).await? {
        Some(kind) => Ok(Box::new(kind)),
        None => Err(session::nothing_is_up().into()),
    }
}

/// Which runtime a status is of.
fn on(status: &Status) -> Where {
    if status.runtime == Where::Kind.to_string() { Where::Kind } else { Where::Local }
}

/// The workspace that a command was typed in, as cargo sees it.
#[derive(Clone, Debug)]
pub struct Checkout {
    pub root: PathBuf,
    pub workspace: Workspace,
    pub state: StateDir,
}

impl Checkout {
    /// Asks cargo for the workspace around the current directory.
    pub async fn open() -> anyhow::Result<Self> {
        Self::open_at(&std::env::current_dir().context("the current directory is gone")?).await
    }

    /// Asks cargo for the workspace around a directory.
    pub async fn open_at(directory: &Path) -> anyhow::Result<Self> {
        let workspace = Workspace::load(&cargo::metadata(directory).await?)?;
        let root = workspace.root.clone();
        if !root.join("manifests").is_dir() {
            return Err(Fault::usage(format!("{} has no manifests/", root.display()))
                .hint("run it inside the workspace")
                .into());
        }
        let state = StateDir::of(&root, &workspace.target_directory);
        Ok(Self { root, workspace, state })
    }
}
