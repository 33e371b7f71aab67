//! Edit-to-live: a saved change to the first answer by new code, beside the bare build of such a change.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::figures::{Figure, Target};
use super::scratch::Scratch;
use crate::error::Fault;
use crate::plan::Plan;
use crate::report::event::PodState;
use crate::runtime::Running as _;
use crate::session::Session;
use crate::smoke::answer::Answer;
use crate::smoke::load::{self, Got};
use crate::workspace::Workspace;

/// Longer than any build of one service.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks for a new pod.
const LOOK: Duration = Duration::from_millis(2);

/// Measures both, a change each, in turn: the bare build with nothing running first, then the change
/// under a running `up`, of the service with the most replicas.
pub async fn measure(
    scratch: &Scratch,
    plan: &Plan,
    workspace: &Workspace,
    runs: u32,
) -> anyhow::Result<Vec<Figure>> {
    let service = most_replicated(plan).context("no Deployment of a service of this workspace")?;
    let host = plan.hosts().into_iter().next().context("no Ingress to ask through")?;
    let crate_dir = workspace.services.iter().find(|s| s.name == service).context("no such service")?;
    // In the copy: a service's directory is absolute.
    let main = scratch.root.join(crate_dir.dir.strip_prefix(&workspace.root)?).join("src/main.rs");
    let source = Source::open(main, &service)?;

    let mut bare = Vec::new();
    for edition in 0..runs {
        source.change(edition)?;
        bare.push(scratch.build(&crate_dir.package).await? * 1000.0);
    }
    let ingress = scratch.up_with(&["--grpc", "--linkerd"]).await?.parse()?;
    let session = scratch.session()?;
    let mut live = Vec::new();
    for edition in 0..runs {
        let old = pods(&session, &service).await?;
        let start = Instant::now();
        source.change(runs + edition)?;
        first_new_answer(&session, ingress, &host, &service, &old).await?;
        live.push(start.elapsed().as_secs_f64() * 1000.0);
        settled(&session, &service, &old).await?;
    }
    scratch.xtask(&["down"]).await?;
    source.restore()?;

    let bare = Figure::of("edit.build", format!("bare `cargo build` of a change in {service}"), "ms", &bare);
    let what = format!("edit-to-live: save in {service} to the first answer by new code");
    let live_figure = Figure::of("edit.live", what, "ms", &live);
    let added: Vec<f64> = live.iter().map(|live| live - bare.median).collect();
    let what = "edit-to-live on top of the bare build (its median)";
    let added = Figure::of("edit.added", what, "ms", &added).target(Target::Below(150.0));
    Ok(vec![bare, live_figure, added])
}

/// The service of which most pods run.
pub fn most_replicated(plan: &Plan) -> Option<String> {
    let replicas = |name: &str| plan.replicas(name);
    plan.images.iter().max_by_key(|name| replicas(name)).cloned()
}

/// A source file that is changed so that its program differs, and put back.
pub struct Source {
    path: PathBuf,
    text: String,
    /// What the service calls itself in it.
    name: String,
}

impl Source {
    /// A service's `main.rs`.
    pub fn open(path: PathBuf, service: &str) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { path, text, name: service.to_owned() })
    }

    /// Changes the name that the service answers with, one line; what it is now.
    pub fn rename(&self, edition: u32) -> anyhow::Result<String> {
        let (old, new) = (format!("\"{}\"", self.name), format!("{}-{edition}", self.name));
        let text = self.text.replacen(&old, &format!("\"{new}\""), 1);
        anyhow::ensure!(text != self.text, "{}: it does not say {old}", self.path.display());
        self.save(&text)?;
        Ok(new)
    }

    fn change(&self, edition: u32) -> anyhow::Result<()> {
        self.save(&format!("{}\n#[used]\nstatic EDITION: u32 = {edition};\n", self.text))
    }

    /// Puts back what was there.
    pub fn restore(&self) -> anyhow::Result<()> {
        self.save(&self.text)
    }

    /// As editors save: a new file put in the old one's place.
    fn save(&self, text: &str) -> anyhow::Result<()> {
        let new: &Path = &self.path.with_extension("rs~");
        std::fs::write(new, text).and_then(|()| std::fs::rename(new, &self.path))?;
        Ok(())
    }
}

/// The names of a Deployment's pods that are not on their way out.
async fn pods(session: &Session, service: &str) -> anyhow::Result<Vec<String>> {
    let pods = session.status().await?.pods.into_iter();
    let of_service = pods.filter(|pod| pod.deployment == service && pod.state != PodState::Terminating);
    Ok(of_service.map(|pod| pod.name).collect())
}

/// Waits for an answer by a new pod. Nothing is asked before there is one: the compiler needs the cores that
/// asking would take, and a person who saved a file asks nothing either.
async fn first_new_answer(
    session: &Session,
    ingress: SocketAddr,
    host: &str,
    service: &str,
    old: &[String],
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut is_there = false;
    while start.elapsed() < PATIENCE {
        if !is_there {
            tokio::time::sleep(LOOK).await;
            is_there = pods(session, service).await?.iter().any(|pod| !old.contains(pod));
            continue;
        }
        for got in load::send(ingress, host, 1, 1).await {
            let Got::Answer(200, body) = got else { continue };
            let Ok(answer) = serde_json::from_str::<Answer>(&body) else { continue };
            if answer.all().iter().any(|a| a.service == service && !old.contains(&a.hostname)) {
                return Ok(());
            }
        }
    }
    Err(Fault::failed(format!("no new pod of {service} answered within {PATIENCE:?}")).into())
}

/// Waits until all the old pods are gone, so that the next change starts from a settled state.
async fn settled(session: &Session, service: &str, old: &[String]) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let now = pods(session, service).await?;
        if now.len() == old.len() && now.iter().all(|pod| !old.contains(pod)) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Fault::failed(format!("the rollout of {service} did not end within {PATIENCE:?}")).into())
}
