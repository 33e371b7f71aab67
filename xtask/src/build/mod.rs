//! Cargo builds, and the revisions that pods run.
//!
//! One cargo invocation a build. It always selects the whole workspace and says by `--bin` which programs
//! to make of it: cargo unifies features over what is selected, so one service and all of them are built
//! from the same dependencies, which are also those of a plain `cargo build`.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio_util::sync::CancellationToken;

use crate::process::cargo::{self, Tool};
use crate::report::{Event, Events};
use crate::runtime::Images;
use crate::state::StateDir;

mod failure;
mod images;
mod messages;
#[cfg(test)]
mod tests;

pub use failure::BuildFailure;
use messages::Messages;

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
    /// Builds the services and keeps each as a revision. Emits progress and what the compiler says; on
    /// failure every error is emitted before this returns. Nothing of it remains running when it is
    /// cancelled, or dropped.
    pub async fn build(
        &self,
        services: &[String],
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
        let _turn = tokio::select! {
            turn = turn => turn.ok().flatten(),
            () = cancel.cancelled() => return Err(BuildFailure::Cancelled),
        };
        let mut tool = cargo::cargo(&self.root, self.arguments(services))
            .map_err(|error| BuildFailure::NoCargo(cargo::program(), error))?;
        let mut messages = Messages::default();
        let status = tokio::select! {
            status = listen(&mut tool, &mut messages, events) => Some(status),
            () = cancel.cancelled() => None,
        };
        let Some(status) = status else {
            tool.stop().await;
            return Err(BuildFailure::Cancelled);
        };
        let status = status.map_err(|error| BuildFailure::NoCargo(cargo::program(), error))?;
        if !status.success() {
            return Err(failure(&messages, status, events));
        }
        self.keep(services, &messages).await
    }

    /// Removes the revisions that are neither recent nor `used`.
    pub fn prune(&self, services: &[String], used: impl Fn(&Path) -> bool) -> std::io::Result<()> {
        images::Store::new(self.state.images()).prune(services, used)
    }

    fn arguments(&self, services: &[String]) -> Vec<OsString> {
        let format = if self.colour { "json-diagnostic-rendered-ansi" } else { "json" };
        let mut arguments: Vec<OsString> = vec!["build".into(), "--workspace".into()];
        arguments.extend(services.iter().map(|service| format!("--bin={service}").into()));
        arguments.push(format!("--message-format={format}").into());
        // All errors of all services at once; and words on standard error that `messages` can read.
        arguments.extend(["--keep-going", "--color=never"].map(OsString::from));
        if self.release {
            arguments.push("--release".into());
        }
        arguments
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

/// Reads what cargo says until it ends.
async fn listen(tool: &mut Tool, messages: &mut Messages, events: &Events) -> std::io::Result<ExitStatus> {
    let mut stdout = lines(tool.stdout());
    let mut stderr = lines(tool.stderr());
    while stdout.is_some() || stderr.is_some() {
        let told = tokio::select! {
            line = next(&mut stdout) => line.map(|line| messages.stdout(&line)),
            line = next(&mut stderr) => line.map(|line| messages.stderr(&line)),
        };
        told.into_iter().flatten().for_each(|event| events.emit(event));
    }
    tool.wait().await
}

fn lines<R: AsyncRead>(pipe: Option<R>) -> Option<Lines<BufReader<R>>> {
    pipe.map(|pipe| BufReader::new(pipe).lines())
}

/// The next line; none at the end, which then stays. Pends for ever on a pipe that has ended.
async fn next<R: AsyncRead + Unpin>(pipe: &mut Option<Lines<BufReader<R>>>) -> Option<String> {
    let Some(lines) = pipe else { return std::future::pending().await };
    // Not UTF-8, or broken: no more from here.
    let line = lines.next_line().await.ok().flatten();
    if line.is_none() {
        *pipe = None;
    }
    line
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
