//! A Deployment's controller: one task that owns its pods and takes [rollout](super::rollout) steps until what
//! runs is what is wanted.

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::node::Node;
use super::pod::{Pod, View};
use super::rollout::{self, Observed};
use super::template::{PodTemplate, Rules};
use crate::report::event::{Exited, PodState};
use crate::report::{Event, millis};
use crate::runtime::{DeploymentStatus, PodStatus};

/// What a Deployment is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What its pods are made from.
    pub template: Arc<PodTemplate>,
    /// How many, and how they are replaced.
    pub rules: Rules,
    /// Stop all pods and end.
    pub deleted: bool,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Counts.
    pub status: DeploymentStatus,
    /// Its pods, oldest first, and since when each is there.
    pub pods: Vec<(PodStatus, Instant)>,
    /// All is as wanted by this [`Wanted`].
    pub done: bool,
    /// Why it is certain not to become so: shown to people, the last log lines included.
    pub failed: Option<String>,
    /// How the pods that are gone have ended, since [`Wanted::deleted`].
    pub exited: Vec<Exited>,
}

/// A Deployment under control. Dropped, its pods are killed.
#[derive(Debug)]
pub struct Controller {
    wanted: watch::Sender<Wanted>,
    progress: watch::Receiver<(Wanted, Progress)>,
    task: JoinHandle<()>,
}

impl Controller {
    /// Starts what is wanted.
    pub fn start(node: Arc<Node>, wanted: Wanted) -> Self {
        let (progress, watch) = watch::channel((wanted.clone(), Progress::default()));
        let (sender, receiver) = watch::channel(wanted.clone());
        let control = Control {
            node,
            rollout: Rollout::begin(),
            wanted,
            pods: Vec::new(),
            exited: Vec::new(),
            changed: Arc::new(Notify::new()),
            progress,
        };
        Self { wanted: sender, progress: watch, task: tokio::spawn(control.run(receiver)) }
    }

    /// Wants something else from now on; a rollout that goes on is superseded. The same changes nothing.
    pub fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|now| {
            let changed = *now != wanted;
            *now = wanted;
            changed
        });
    }

    /// What is wanted.
    pub fn wanted(&self) -> Wanted {
        self.wanted.borrow().clone()
    }

    /// The Deployment's name.
    pub fn name(&self) -> String {
        self.wanted.borrow().template.deployment.clone()
    }

    /// Stops all pods, gracefully, all at once.
    pub fn delete(&self) {
        self.want(Wanted { deleted: true, ..self.wanted() });
    }

    /// How far it is now.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().1.clone()
    }

    /// Waits until all is as wanted. Errors with the cause when that is certain not to come.
    pub async fn ready(&self) -> Result<(), String> {
        let mut progress = self.progress.clone();
        loop {
            {
                let now = progress.borrow_and_update();
                let (wanted, progress) = &*now;
                if *wanted == *self.wanted.borrow() {
                    if let Some(why) = &progress.failed {
                        return Err(why.clone());
                    }
                    if progress.done {
                        return Ok(());
                    }
                }
            }
            if progress.changed().await.is_err() {
                return Err("its controller has ended".into());
            }
        }
    }

    /// Waits until a deleted Deployment's pods are gone; says how they ended.
    pub async fn gone(&self) -> Vec<Exited> {
        let mut progress = self.progress.clone();
        while progress.changed().await.is_ok() {}
        self.progress().exited
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task's side.
struct Control {
    node: Arc<Node>,
    wanted: Wanted,
    rollout: Rollout,
    /// In the order they were started.
    pods: Vec<Pod>,
    exited: Vec<Exited>,
    changed: Arc<Notify>,
    progress: watch::Sender<(Wanted, Progress)>,
}

/// The change that goes on.
struct Rollout {
    began: Instant,
    /// When it last came nearer to its end, and how near it then was.
    progressed: (Instant, (u32, u32, usize)),
    done: bool,
    reported: Option<String>,
}

impl Rollout {
    fn begin() -> Self {
        let now = Instant::now();
        Self { began: now, progressed: (now, (0, 0, 0)), done: false, reported: None }
    }
}

impl Control {
    async fn run(mut self, mut wanted: watch::Receiver<Wanted>) {
        loop {
            self.forget_gone();
            if self.wanted.deleted {
                self.pods.iter().for_each(Pod::stop);
                if self.pods.is_empty() {
                    self.publish(true, None);
                    return;
                }
            }
            let wake = if self.wanted.deleted {
                self.publish(false, None);
                None
            } else {
                self.advance()
            };
            tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.wanted = wanted.borrow_and_update().clone();
                    self.rollout = Rollout::begin();
                }
                () = self.changed.notified() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Takes the next step; says when to look again if nothing happens before.
    fn advance(&mut self) -> Option<Instant> {
        let step = rollout::step(self.wanted.rules.desired, &self.observed());
        for index in &step.stop {
            self.pods[*index].stop();
        }
        let mut no_address = false;
        for _ in 0..step.start {
            match Pod::start(&self.node, &self.wanted.template, &self.changed) {
                Some(pod) => self.pods.push(pod),
                None => no_address = true,
            }
        }
        let failed = if no_address { Some("no loopback address is left".to_owned()) } else { self.failed() };
        self.publish(step.done, failed);
        self.wake(step.done)
    }

    fn observed(&self) -> Vec<Observed> {
        let observe = |pod: &Pod| {
            let view = pod.view();
            let terminating = pod.stopping();
            let since = view.ready_since.filter(|_| !terminating);
            Observed {
                current: pod.template == self.wanted.template,
                ready: since.is_some(),
                available: since.is_some_and(|since| since.elapsed() >= self.wanted.rules.min_ready),
                terminating,
            }
        };
        self.pods.iter().map(observe).collect()
    }

    /// The next moment at which time alone changes something.
    fn wake(&self, done: bool) -> Option<Instant> {
        let now = Instant::now();
        let min_ready = self.wanted.rules.min_ready;
        let available = self.pods.iter().filter_map(|pod| Some(pod.view().ready_since? + min_ready));
        let deadline = self.rollout.progressed.0 + self.wanted.rules.progress_deadline;
        let deadline = Some(deadline).filter(|_| !done);
        available.chain(deadline).filter(|at| *at > now).min()
    }

    /// The cause when a pod of the wanted revision will not become ready, or nothing moves for too long.
    fn failed(&self) -> Option<String> {
        let current =
            || self.pods.iter().filter(|pod| pod.template == self.wanted.template && !pod.stopping());
        if let Some((pod, why)) = current().find_map(|pod| Some((pod, pod.view().hopeless?))) {
            return Some(explain(pod, &why));
        }
        let deadline = self.wanted.rules.progress_deadline;
        if self.rollout.done || self.rollout.progressed.0.elapsed() < deadline {
            return None;
        }
        let stuck = current().find(|pod| pod.view().state != PodState::Ready)?;
        let reason = stuck.view().reason;
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        Some(explain(stuck, &format!("not ready after {} s{reason}", deadline.as_secs())))
    }

    fn forget_gone(&mut self) {
        let exited = &mut self.exited;
        let deleted = self.wanted.deleted;
        self.pods.retain(|pod| {
            let gone = pod.gone();
            if gone && deleted {
                exited.extend(pod.view().exited);
            }
            !gone
        });
    }

    fn publish(&mut self, done: bool, failed: Option<String>) {
        let observed = self.observed();
        let count = |wanted: &dyn Fn(&Observed) -> bool| {
            u32::try_from(observed.iter().filter(|pod| wanted(pod)).count()).unwrap_or(u32::MAX)
        };
        let status = DeploymentStatus {
            name: self.wanted.template.deployment.clone(),
            desired: if self.wanted.deleted { 0 } else { self.wanted.rules.desired.replicas },
            updated: count(&|pod| pod.current && !pod.terminating),
            ready: count(&|pod| pod.ready),
        };
        self.tell(&status, count(&|pod| pod.current && pod.available), done, failed.as_ref());
        let pods = self.pods.iter().map(|pod| (status_of(pod), pod.created)).collect();
        let progress = Progress { status, pods, done, failed, exited: self.exited.clone() };
        self.progress.send_replace((self.wanted.clone(), progress));
    }

    /// Emits what is new in the rollout.
    fn tell(&mut self, status: &DeploymentStatus, available: u32, done: bool, failed: Option<&String>) {
        let rollout = &mut self.rollout;
        let near = (status.updated, available, usize::MAX - self.pods.len());
        let moved = near != rollout.progressed.1;
        if moved || (done && !rollout.done) {
            rollout.progressed = (Instant::now(), near);
            // A pod that flips later is no rollout.
            if !rollout.done || !done {
                self.node.events.emit(Event::Rollout {
                    deployment: status.name.clone(),
                    updated: status.updated,
                    ready: status.ready,
                    desired: status.desired,
                    done,
                    ms: millis(rollout.began.elapsed()),
                });
            }
        }
        rollout.done |= done;
        if failed != rollout.reported.as_ref() {
            if let Some(why) = failed {
                let message = format!("deployment {}: {why}", status.name);
                let hint = format!("cargo xtask logs {}", status.name);
                self.node.events.emit(Event::Error { message, hint: Some(hint) });
            }
            rollout.reported = failed.cloned();
        }
    }
}

fn explain(pod: &Pod, why: &str) -> String {
    let lines = pod.last_lines();
    let mut text = format!("pod {}: {why}", pod.name);
    for line in &lines {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    text
}

fn status_of(pod: &Pod) -> PodStatus {
    let View { state, reason, restarts, pid, .. } = pod.view();
    PodStatus {
        name: pod.name.to_string(),
        deployment: pod.template.deployment.clone(),
        state,
        reason,
        restarts,
        ip: pod.ip.to_string(),
        pid,
        image: pod.template.image_id.clone(),
        meshed: pod.template.meshed,
        age_seconds: pod.created.elapsed().as_secs(),
    }
}
