//! What a running environment tells of itself. Steps emit these; only `report` prints.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// One thing that happened. In JSON one object a line, told apart by `event`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Which runtime was chosen, and why.
    Runtime { runtime: String, reason: String },
    /// A step of bringing up, changing or taking down began. Steps with the same name do not overlap.
    StepStarted { step: String },
    /// It ended well; `detail` is a short remark (`"4 services"`), maybe empty.
    StepFinished { step: String, ms: u64, detail: String },
    /// It failed; why follows as an [`Event::Error`] or as the command's error.
    StepFailed { step: String, ms: u64 },
    /// A build goes on: crates compiled so far.
    BuildProgress { done: u64, current: String },
    /// A step moves bytes: how many are there, how many there will be where that is known, since when.
    Transfer { step: String, bytes: u64, total: Option<u64>, ms: u64 },
    /// A pinned program is there.
    Tool { name: String, version: Option<String>, path: String },
    /// What the compiler said, rendered as rustc does.
    Compiler { rendered: String, error: bool },
    /// A pod's state changed.
    Pod { pod: String, deployment: String, state: PodState, reason: String },
    /// The rollout of a Deployment began, moved on or ended.
    Rollout { deployment: String, updated: u32, ready: u32, desired: u32, done: bool, ms: u64 },
    /// A line that a pod wrote.
    Log { pod: String, deployment: String, line: String },
    /// Where something can be reached.
    Link { name: String, url: String },
    /// Everything is ready, this long after the start.
    Ready { ms: u64 },
    /// Files changed; what follows from it.
    Changed { files: Vec<String>, services: Vec<String>, manifests: bool },
    /// Policies came into force or went: `Server baz-grpc created`.
    Policies { changes: Vec<String> },
    /// Faults on purpose came or went: `fault 1 on baz: status 500@10%`.
    Faults { changes: Vec<String> },
    /// The evidence of a failure is in this archive.
    Bundle { path: String },
    /// Something that needs no stop but should be known.
    Warning { message: String, hint: Option<String> },
    /// Something failed while the environment goes on as it was.
    Error { message: String, hint: Option<String> },
    /// The environment is being taken down.
    Stopping { reason: String },
    /// This command ends, what runs goes on; `how` says what removes it.
    Left { runtime: String, how: String },
    /// It is down; what each pod left with.
    Stopped { pods: Vec<Exited> },
}

/// Where a pod is in its life, in a kubelet's words.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub enum PodState {
    /// Not started yet.
    Pending,
    /// Its process runs, its probes have not passed yet.
    Starting,
    /// Its process runs and its readiness probe passes.
    Ready,
    /// Its process runs, its readiness probe fails.
    NotReady,
    /// Its process ended; it waits to be started again.
    CrashLoopBackOff,
    /// It was told to stop.
    Terminating,
    /// It is gone.
    Gone,
}

/// How a pod's process ended when the environment was taken down.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Exited {
    /// The pod.
    pub pod: String,
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// It outlived its grace period and was killed.
    pub killed: bool,
}

/// Where steps emit events; clones share one stream.
#[derive(Clone, Debug)]
pub struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    live: broadcast::Sender<Arc<Event>>,
    /// The last events, so that who attaches late sees how it came to this.
    recent: Mutex<VecDeque<Arc<Event>>>,
}

/// How many events an attaching reader is given from before.
const RECENT: usize = 512;

impl Default for Events {
    fn default() -> Self {
        Self(Arc::new(Shared { live: broadcast::channel(8192).0, recent: Mutex::default() }))
    }
}

impl Events {
    /// Tells everyone who listens. Never blocks; a reader that lags loses the oldest.
    pub fn emit(&self, event: Event) {
        let event = Arc::new(event);
        let mut recent = self.0.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Log lines have their own files; here they would push out what matters.
        if !matches!(*event, Event::Log { .. } | Event::BuildProgress { .. } | Event::Transfer { .. }) {
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back(Arc::clone(&event));
        }
        // Sent under the lock, so that `subscribe` neither misses nor repeats one. No receiver is fine.
        let _ = self.0.live.send(event);
    }

    /// What happened lately, and everything from now on.
    pub fn subscribe(&self) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let recent = self.0.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (recent.iter().cloned().collect(), self.0.live.subscribe())
    }

    /// A warning, with what to do about it.
    pub fn warn(&self, message: impl Into<String>, hint: Option<String>) {
        self.emit(Event::Warning { message: message.into(), hint });
    }
}
