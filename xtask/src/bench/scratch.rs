//! A copy of the workspace that measurements may edit: a person's own files are never touched.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use ignore::WalkBuilder;

use crate::command::Checkout;
use crate::error::Fault;
use crate::process;
use crate::report::event::Event;
use crate::session::{self, Session};
use crate::state::StateDir;

/// The copy, kept under the state directory so that its build is warm the next time.
#[derive(Clone, Debug)]
pub struct Scratch {
    pub root: PathBuf,
    target: PathBuf,
}

impl Scratch {
    /// Copies what is not ignored, touching only what differs, and builds it once.
    pub async fn new(checkout: &Checkout) -> anyhow::Result<Self> {
        let scratch = Self::of(checkout);
        if scratch.root.exists() {
            scratch.xtask(&["down"]).await?;
        }
        copy(&checkout.root, &scratch.root)?;
        scratch.up().await.context("cannot bring up the copy to measure on")?;
        scratch.xtask(&["down"]).await?;
        Ok(scratch)
    }

    /// Copies, and builds nothing.
    pub fn copied(checkout: &Checkout) -> anyhow::Result<Self> {
        let scratch = Self::of(checkout);
        copy(&checkout.root, &scratch.root)?;
        Ok(scratch)
    }

    /// Another copy than the usual one, with a build of its own; builds nothing.
    pub fn copied_to(checkout: &Checkout, name: &str) -> anyhow::Result<Self> {
        let home = checkout.state.path().join("bench").join(name);
        let scratch = Self { root: home.join("workspace"), target: home.join("target") };
        copy(&checkout.root, &scratch.root)?;
        Ok(scratch)
    }

    /// Where it is built.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The process of the `up` that runs in the copy.
    pub fn up_pid(&self) -> Option<u32> {
        Some(session::Lock::holder(&StateDir::of(&self.root, &self.target))?.pid)
    }

    fn of(checkout: &Checkout) -> Self {
        let home = checkout.state.path().join("bench");
        Self { root: home.join("workspace"), target: home.join("target") }
    }

    /// Runs this very program in the copy, to its end, which must be good.
    pub async fn xtask(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = process::own(args, &self.root, &self.target).await?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            let events = String::from_utf8_lossy(&output.stdout);
            return Err(Fault::failed(format!("xtask {} failed: {told}{events}", args.join(" "))).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// `up --grpc --linkerd --detach` without a watch; gives the ingress's address.
    pub async fn up(&self) -> anyhow::Result<String> {
        self.up_with(&["--grpc", "--linkerd", "--no-watch"]).await
    }

    /// `up --detach` on a free port; gives the ingress's address.
    pub async fn up_with(&self, args: &[&str]) -> anyhow::Result<String> {
        let fixed = ["up", "--runtime", "local", "--detach", "--port", "0", "-o", "json"];
        let told = self.xtask(&[&fixed, args].concat()).await?;
        let url = told
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .find_map(|event| match event {
                Event::Link { url, .. } => Some(url),
                _ => None,
            })
            .context("`up` told no link")?;
        let port = url.trim_end_matches('/').rsplit(':').next().unwrap_or_default();
        Ok(format!("127.0.0.1:{port}"))
    }

    /// The environment that runs in the copy.
    pub fn session(&self) -> anyhow::Result<Session> {
        Ok(session::attach(&StateDir::of(&self.root, &self.target))?)
    }

    /// The seconds of a bare `cargo build` of one service.
    pub async fn build(&self, package: &str) -> anyhow::Result<f64> {
        let start = Instant::now();
        let args = ["build", "--quiet", "--package", package];
        let output = process::cargo::build_into(&self.root, &self.target, &args, None).await?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(Fault::failed(format!("the build of {package} failed: {told}")).into());
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut kept = BTreeSet::new();
    for entry in WalkBuilder::new(from).hidden(false).filter_entry(|e| e.file_name() != ".git").build() {
        let entry = entry?;
        let relative = entry.path().strip_prefix(from)?.to_owned();
        let copy = to.join(&relative);
        if entry.file_type().is_some_and(|kind| kind.is_dir()) {
            std::fs::create_dir_all(&copy).with_context(|| format!("cannot create {}", copy.display()))?;
        } else {
            let bytes = std::fs::read(entry.path())?;
            if std::fs::read(&copy).ok().as_deref() != Some(&bytes) {
                std::fs::write(&copy, bytes).with_context(|| format!("cannot write {}", copy.display()))?;
            }
        }
        kept.insert(copy);
    }
    for entry in WalkBuilder::new(to).hidden(false).build() {
        let entry = entry?;
        if entry.file_type().is_some_and(|kind| kind.is_file()) && !kept.contains(entry.path()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
