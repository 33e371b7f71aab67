//! What follows from changes: which services to build when, one round at a time. The state machine is
//! pure; [`run`] drives it.
//!
//! A round that is overtaken - what it builds has changed again - is cancelled and begun anew with
//! everything that changed: its programs would be replaced as soon as they started, and cargo keeps the
//! crates that it had finished. Not for ever, though: after [`OVERTAKEN`] times in a row it may finish, so
//! that a file that changes each second cannot keep all changes from arriving. What does not concern the
//! running round waits for its end. A failed build changes nothing that runs, and what it was to build is
//! built again with the next change of any of it: half of a change across services is never deployed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{Change, Watch};
use crate::report::{Event, Events};
use crate::workspace::Affected;

#[cfg(test)]
mod tests;

/// How often in a row a round is cancelled by newer changes.
const OVERTAKEN: u8 = 2;

/// What to do in one go: build, then apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Services to build, beside those that the plan names and that have no image yet.
    pub services: BTreeSet<String>,
    /// Ask cargo again which services there are.
    pub members: bool,
    /// Read the manifests again, and apply even when no image is new.
    pub manifests: bool,
}

impl Round {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn builds(&self) -> bool {
        self.members || !self.services.is_empty()
    }

    fn add(&mut self, other: &Self) {
        self.services.extend(other.services.iter().cloned());
        self.members |= other.members;
        self.manifests |= other.manifests;
    }

    /// Whether both build one service. What the members are concerns every one.
    fn overlaps(&self, other: &Self) -> bool {
        let shared = || self.members || other.members || !self.services.is_disjoint(&other.services);
        self.builds() && other.builds() && shared()
    }
}

impl From<&Affected> for Round {
    fn from(affected: &Affected) -> Self {
        Self {
            services: affected.services.clone(),
            members: affected.members,
            manifests: affected.manifests || affected.members,
        }
    }
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Built and applied.
    Done,
    /// Nothing was applied: it does not compile, or the workspace cannot be read.
    BuildFailed,
    /// Built; what was to be applied is refused.
    Refused,
    /// Stopped while it built, as it was told to.
    Cancelled,
}

/// What to do about a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It concerns nothing that runs.
    Nothing,
    /// Begin this round.
    Begin(Round),
    /// Cancel the running round; its end brings the next.
    Cancel,
    /// It is begun when the running round has ended.
    Wait,
}

/// The state machine: changes and ends of rounds in, what next out. Never two rounds at once.
#[derive(Debug, Default)]
pub struct Redeploy {
    running: Option<Round>,
    waiting: Round,
    /// What does not compile at present.
    failed: Round,
    cancelling: bool,
    overtaken: u8,
    /// Something was applied once: there are images for a change of manifests alone.
    deployed: bool,
}

impl Redeploy {
    /// The first round: everything, since nothing has an image yet.
    pub fn first(&mut self) -> Round {
        self.begin(Round { services: BTreeSet::new(), members: true, manifests: true })
    }

    /// Files changed: what `changed` concerns, all together, and what files that were saved `again`
    /// without a change would.
    pub fn changed(&mut self, changed: &Affected, again: &Affected) -> Next {
        let mut wanted = Round::from(changed);
        let again = Round::from(again);
        if again.overlaps(&self.failed) || wanted.overlaps(&self.failed) {
            wanted.add(&self.failed);
        }
        if wanted.is_empty() {
            return Next::Nothing;
        }
        let Some(running) = &self.running else { return Next::Begin(self.begin(wanted)) };
        let overtaken = running.overlaps(&wanted);
        self.waiting.add(&wanted);
        if overtaken && !self.cancelling && self.overtaken < OVERTAKEN {
            self.cancelling = true;
            return Next::Cancel;
        }
        Next::Wait
    }

    /// The running round ended. Returns the next to begin.
    pub fn ended(&mut self, outcome: Outcome) -> Option<Round> {
        let ended = self.running.take().unwrap_or_default();
        self.cancelling = false;
        self.overtaken = if outcome == Outcome::Cancelled { self.overtaken + 1 } else { 0 };
        match outcome {
            Outcome::Done => {
                self.deployed = true;
                self.built(&ended);
            }
            Outcome::Refused => self.built(&ended),
            Outcome::Cancelled => self.waiting.add(&ended),
            Outcome::BuildFailed => {
                self.failed.add(&ended);
                // The manifests are not to blame: they are applied to the images that there are.
                self.waiting.manifests |= ended.manifests && ended.builds() && self.deployed;
            }
        }
        if self.waiting.is_empty() {
            return None;
        }
        let mut next = std::mem::take(&mut self.waiting);
        if next.overlaps(&self.failed) {
            next.add(&self.failed);
        }
        Some(self.begin(next))
    }

    fn begin(&mut self, round: Round) -> Round {
        self.running = Some(round.clone());
        round
    }

    /// What compiles now is not failed any more.
    fn built(&mut self, round: &Round) {
        self.failed.services.retain(|service| !round.services.contains(service));
        self.failed.members &= !round.members;
        self.failed.manifests &= !round.manifests;
    }
}

/// What carries out rounds: builds and applies.
#[async_trait]
pub trait Deploy: Send + Sync {
    /// What a changed file (absolute path) concerns.
    fn affected(&self, file: &Path) -> Affected;

    /// Carries out a round and tells of it by events. Heeds `cancel` while it builds; once it applies, it
    /// goes on to the end.
    async fn round(&self, round: Round, cancel: CancellationToken) -> Outcome;
}

/// Brings everything up, then follows changes. Never returns: drop it, which stops a running build.
pub async fn run(mut watch: Watch, root: &Path, deploy: &dyn Deploy, events: &Events) {
    let mut machine = Redeploy::default();
    let mut cancel = CancellationToken::new();
    let mut running = Some(deploy.round(machine.first(), cancel.clone()));
    let mut told_of_xtask = false;
    loop {
        let next = tokio::select! {
            change = watch.next() => {
                let affected = concerned(&change.files, deploy);
                if affected.xtask && !told_of_xtask {
                    told_of_xtask = true;
                    let hint = "stop it (Ctrl-C or `cargo xtask down`) and start it again".to_owned();
                    events.warn("xtask itself changed; what runs is the old one", Some(hint));
                }
                let next = machine.changed(&affected, &concerned(&change.same, deploy));
                if next != Next::Nothing {
                    events.emit(told(&change, &affected, root));
                }
                next
            }
            outcome = async {
                match &mut running {
                    Some(round) => round.await,
                    None => std::future::pending().await,
                }
            } => {
                running = None;
                machine.ended(outcome).map_or(Next::Nothing, Next::Begin)
            }
        };
        match next {
            Next::Begin(round) => {
                cancel = CancellationToken::new();
                running = Some(deploy.round(round, cancel.clone()));
            }
            Next::Cancel => cancel.cancel(),
            Next::Nothing | Next::Wait => {}
        }
    }
}

/// What the files concern, all together.
fn concerned(files: &[PathBuf], deploy: &dyn Deploy) -> Affected {
    let mut all = Affected::default();
    for file in files {
        all.add(deploy.affected(file));
    }
    all
}

fn told(change: &Change, affected: &Affected, root: &Path) -> Event {
    let files = change.files.iter().chain(&change.same);
    Event::Changed {
        files: files.map(|file| file.strip_prefix(root).unwrap_or(file).display().to_string()).collect(),
        services: affected.services.iter().cloned().collect(),
        manifests: affected.manifests,
    }
}
