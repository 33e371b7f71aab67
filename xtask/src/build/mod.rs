//! Cargo builds, and the revisions that pods run.
//!
//! One cargo invocation a build. It always selects the packages of all services and says by `--bin` which
//! programs to make of them: cargo unifies features over what is selected, so one service and all of them are
//! built from the same dependencies. That these are those of xtask and of a plain `cargo build` too is the
//! manifests' doing (`tests/features.rs`); selecting the whole workspace would see to it as well, but costs
//! each build tens of milliseconds for reading what only xtask depends on.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use tokio_util::sync::CancellationToken;

use crate::process::cargo;
use crate::report::{Event, Events};
use crate::runtime::Images;
use crate::state::StateDir;

mod content;
mod failure;
mod images;
mod messages;
mod running;
mod target;
#[cfg(test)]
mod tests;

pub use failure::BuildFailure;
use messages::Messages;
use running::{Line, Running};
pub use target::{HERE, StaticTarget};

/// How this session builds.
#[derive(Clone, Debug)]
pub struct Builder {
    /// The workspace's root.
    pub root: PathBuf,
    /// Where the revisions go.
    pub state: StateDir,
    /// With optimisations.
    pub release: bool,
    /// Whether the compiler's messages are to be coloured.
    pub colour: bool,
}

impl Builder {
    /// Builds services and keeps each as a revision; `packages` are the ids of the packages of all services, `target`
    /// how they are built to run in an image (none: to run here).
    /// Emits progress and what the compiler says; on failure every error is emitted before this returns. Nothing
    /// of it remains running when it is cancelled, or dropped; after a success cargo may still be putting its
    /// caches away.
    pub async fn build(
        &self,
        packages: &BTreeSet<String>,
        services: &[String],
        target: Option<&StaticTarget>,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Images, BuildFailure> {
        if services.is_empty() {
            return Ok(Images::new());
        }
        // Checkouts that share a build directory build into the same file names: until ours are kept, nobody
        // else may. Cargo's own lock ends with cargo. Without a lock (a file system that has none) it is as if
        // the directory were ours alone.
        let turn = self.state.build_lock();
        let turn = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::create(turn).ok()?;
            file.lock().ok().map(|()| file)
        });
        let turn = tokio::select! {
            turn = turn => turn.ok().flatten(),
            () = cancel.cancelled() => return Err(BuildFailure::Cancelled),
        };
        let (arguments, variable) = self.arguments(packages, services, target);
        let tool = cargo::cargo(&self.root, arguments, variable)
            .map_err(|error| BuildFailure::NoCargo(cargo::program(), error))?;
        let mut running = Running::new(tool);
        let mut messages = Messages::default();
        while !messages.succeeded() {
            let line = tokio::select! {
                line = running.next() => line,
                () = cancel.cancelled() => {
                    running.stop().await;
                    return Err(BuildFailure::Cancelled);
                }
            };
            let told = match line {
                Some(Line::Out(line)) => messages.stdout(&line),
                Some(Line::Err(line)) => messages.stderr(&line),
                None => break,
            };
            for event in told {
                events.emit(event);
            }
        }
        if messages.succeeded() {
            let kept = self.keep(services, &messages).await;
            // Cargo puts its caches away, which takes it tens of milliseconds: the next build waits for that.
            tokio::spawn(async move {
                let _ = running.end().await;
                drop(turn);
            });
            return kept;
        }
        let status = running.end().await.map_err(|error| BuildFailure::NoCargo(cargo::program(), error))?;
        if status.success() {
            return self.keep(services, &messages).await;
        }
        Err(failure(&messages, status, events))
    }

    /// Removes the revisions that are neither recent nor `used`.
    pub fn prune(&self, services: &[String], used: impl Fn(&Path) -> bool) -> std::io::Result<()> {
        images::Store::new(self.state.images()).prune(services, used)
    }

    fn arguments(
        &self,
        packages: &BTreeSet<String>,
        services: &[String],
        target: Option<&StaticTarget>,
    ) -> (Vec<OsString>, Option<(&'static str, String)>) {
        let format = if self.colour { "json-diagnostic-rendered-ansi" } else { "json" };
        let zig = target.is_some_and(|target| target.zig);
        let mut arguments: Vec<OsString> = vec![if zig { "zigbuild" } else { "build" }.into()];
        arguments.extend(packages.iter().map(|package| format!("--package={package}").into()));
        arguments.extend(services.iter().map(|service| format!("--bin={service}").into()));
        arguments.push(format!("--message-format={format}").into());
        // All errors of all services at once; and words on standard error that `messages` can read.
        arguments.extend(["--keep-going", "--color=never"].map(OsString::from));
        if self.release {
            arguments.push("--release".into());
        }
        let (for_target, variable) = target.map(StaticTarget::arguments).unwrap_or_default();
        arguments.extend(for_target.into_iter().map(OsString::from));
        (arguments, variable)
    }

    async fn keep(&self, services: &[String], messages: &Messages) -> Result<Images, BuildFailure> {
        let store = images::Store::new(self.state.images());
        let made: Vec<(String, PathBuf)> = services
            .iter()
            .map(|service| match messages.programs().get(service) {
                Some(program) => Ok((service.clone(), program.clone())),
                None => Err(BuildFailure::NoProgram(service.clone())),
            })
            .collect::<Result<_, _>>()?;
        let kept = tokio::task::spawn_blocking(move || {
            made.into_iter()
                .map(|(service, program)| match store.keep(&service, &program) {
                    Ok(image) => Ok((service, image)),
                    Err(error) => Err(BuildFailure::Keep(service, error)),
                })
                .collect()
        });
        // It is not aborted and does not panic, so this error can only come as we end.
        kept.await.unwrap_or(Err(BuildFailure::Cancelled))
    }
}

/// What the failure was. Cargo's own errors are emitted: a build script's, for one, are nowhere else.
fn failure(messages: &Messages, status: ExitStatus, events: &Events) -> BuildFailure {
    let said = messages.said();
    for rendered in &said {
        events.emit(Event::Compiler { rendered: format!("{rendered}\n"), error: true });
    }
    if let Some(signal) = status.signal() {
        return BuildFailure::Killed(signal);
    }
    if let Some(broken) = messages.broken() {
        return BuildFailure::Compile(broken);
    }
    let first = said.first().map_or_else(|| status.to_string(), |text| text.replace("error: ", ""));
    BuildFailure::Cargo(first)
}
