//! A pod: one task owns its process, its probes and its place in the Services, from its start to its end.
//!
//! Longer than most, because the order of what happens at a pod's end is the point and is best read in one
//! place: out of the Services first, then SIGTERM, then the grace period, then SIGKILL.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mesh::Sidecar;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::address::Lease;
use super::backoff::Backoff;
use super::endpoints::ReadyPod;
use super::node::Node;
use super::output::Output;
use super::probe::{self, Finding};
use super::template::{PodTemplate, expand};
use crate::process::{Ended, Process, Program};
use crate::report::Event;
use crate::report::event::{Exited, PodState};

/// Between a pod's leaving its Services and SIGTERM: who has just picked it gets its connection through.
const SETTLE: Duration = Duration::from_millis(50);

/// How long a sidecar may take to let requests end before its application is told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// How long the last lines of a container that ended may take to arrive.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A pod, as who owns it sees it. Dropped, its process is killed.
#[derive(Debug)]
pub struct Pod {
    /// Its name.
    pub name: Arc<str>,
    /// What it was made from.
    pub template: Arc<PodTemplate>,
    /// Its address.
    pub ip: IpAddr,
    /// When it was made.
    pub created: Instant,
    stop: CancellationToken,
    view: watch::Receiver<View>,
    output: Output,
    task: AbortOnDropHandle<()>,
}

/// What a pod is like at this moment.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Where it is in its life.
    pub state: PodState,
    /// Why it is not ready.
    pub reason: String,
    /// How often its container was started again.
    pub restarts: u32,
    /// Its process.
    pub pid: Option<u32>,
    /// Since when it is ready.
    pub ready_since: Option<Instant>,
    /// Why it is certain not to become ready by itself: it crash-loops, its program cannot be started.
    pub hopeless: Option<String>,
    /// How it ended, once it was stopped.
    pub exited: Option<Exited>,
}

impl Pod {
    /// Starts a pod; `changed` is told whenever its view changes. None when no address is left.
    pub fn start(node: &Arc<Node>, template: &Arc<PodTemplate>, changed: &Arc<Notify>) -> Option<Self> {
        let name: Arc<str> = template.pod_name().into();
        let lease = node.block.pod()?;
        let hidden = if template.meshed { Some(node.block.hidden()?) } else { None };
        let (sender, view) = watch::channel(View {
            state: PodState::Pending,
            reason: String::new(),
            restarts: 0,
            pid: None,
            ready_since: None,
            hopeless: None,
            exited: None,
        });
        let output = Output {
            pod: Arc::clone(&name),
            deployment: template.deployment.clone(),
            logs: node.logs.clone(),
            events: node.events.clone(),
            last: Arc::new(Mutex::new(VecDeque::new())),
        };
        let stop = CancellationToken::new();
        let ip = IpAddr::V4(lease.ip());
        let owner = Owner {
            workload: Arc::new(mesh::Workload {
                pod: name.to_string(),
                namespace: template.namespace.clone(),
                service_account: template.service_account.clone(),
                deployment: template.deployment.clone(),
                pod_template_hash: template.hash.clone(),
            }),
            name: Arc::clone(&name),
            node: Arc::clone(node),
            template: Arc::clone(template),
            lease,
            hidden,
            sidecar: Mutex::new(None),
            output: output.clone(),
            view: sender,
            changed: Arc::clone(changed),
            stop: stop.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(owner.run()));
        let template = Arc::clone(template);
        Some(Self { name, template, ip, created: Instant::now(), stop, view, output, task })
    }

    /// What it is like now.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Tells it to stop; it is gone when its view says so.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// It was told to stop.
    pub fn stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Its task has ended: it is gone.
    pub fn gone(&self) -> bool {
        self.task.is_finished() || self.view.borrow().state == PodState::Gone
    }

    /// The last lines that it wrote.
    pub fn last_lines(&self) -> Vec<String> {
        self.output.last_lines()
    }
}

/// The task's side.
struct Owner {
    name: Arc<str>,
    workload: Arc<mesh::Workload>,
    node: Arc<Node>,
    template: Arc<PodTemplate>,
    lease: Lease,
    /// Where the application listens; behind a sidecar not where the pod does, and nothing else is told.
    hidden: Option<Lease>,
    sidecar: Mutex<Option<Sidecar>>,
    output: Output,
    view: watch::Sender<View>,
    changed: Arc<Notify>,
    stop: CancellationToken,
}

/// How one run of the container ended.
enum End {
    /// The pod was told to stop.
    Stopped(Exited),
    /// By itself, or a probe wanted it ended: why.
    Ended(String),
    /// It could not be started: why.
    NotStarted(String),
}

impl Owner {
    async fn run(self) {
        let mut backoff = Backoff::default();
        if let Err(error) = self.inject().await {
            let why = format!("cannot start its sidecar: {error}");
            self.set(PodState::NotReady, why.clone(), |view| view.hopeless = Some(why));
            self.stop.cancelled().await;
            return self.gone(self.exited(None, false)).await;
        }
        let exited = loop {
            let (why, hopeless) = match self.container().await {
                End::Stopped(exited) => break exited,
                End::Ended(why) => (why, false),
                End::NotStarted(why) => (why, true),
            };
            let ended = Instant::now();
            let wait = backoff.after(ended);
            if !wait.is_zero() || hopeless {
                let again =
                    if wait.is_zero() { "at once".into() } else { format!("in {} s", wait.as_secs()) };
                let reason = format!("{why}; started again {again}");
                self.set(PodState::CrashLoopBackOff, reason, |view| view.hopeless = Some(why));
                tokio::select! {
                    () = self.stop.cancelled() => break self.exited(None, false),
                    () = sleep_until(ended + wait) => {}
                }
            }
            self.view.send_modify(|view| view.restarts += 1);
        };
        let sidecar = self.sidecar.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(sidecar);
        self.gone(exited).await;
    }

    async fn gone(&self, exited: Exited) {
        self.node.logs.close(&self.name).await;
        self.set(PodState::Gone, String::new(), |view| view.exited = Some(exited));
    }

    /// Starts the sidecar of a meshed pod: before its container, which is told its addresses.
    async fn inject(&self) -> Result<(), mesh::MeshError> {
        let Some(hidden) = &self.hidden else { return Ok(()) };
        let own = self.template.env_of(&self.name, &self.lease.ip().to_string());
        let starting = self.node.sidecar(&self.workload, &self.template, self.lease.ip(), hidden.ip(), &own);
        let sidecar = starting.await?;
        *self.sidecar.lock().unwrap_or_else(PoisonError::into_inner) = Some(sidecar);
        Ok(())
    }

    /// One run of the container.
    async fn container(&self) -> End {
        let mut process = match self.node.spawner.spawn(self.program()).await {
            Ok(process) => process,
            Err(error) => {
                return End::NotStarted(format!("cannot start {}: {error}", self.template.binary.display()));
            }
        };
        let pid = process.id();
        self.set(PodState::Starting, String::new(), |view| view.pid = Some(pid));
        let mut readers = JoinSet::new();
        let (stdout, stderr) = process.take_output();
        if let Some(stdout) = stdout {
            readers.spawn(self.output.clone().copy(stdout));
        }
        if let Some(stderr) = stderr {
            readers.spawn(self.output.clone().copy(stderr));
        }
        let end = self.watch(&mut process).await;
        // Its children are killed with it, so its pipes are closed: what is in them arrives soon.
        let _ = timeout(LAST_LINES, async { while readers.join_next().await.is_some() {} }).await;
        end
    }

    /// Follows a running container until its end.
    async fn watch(&self, process: &mut Process) -> End {
        let (findings, mut found) = mpsc::channel(8);
        let (template, ip) = (Arc::clone(&self.template), self.lease.ip());
        let probes = AbortOnDropHandle::new(tokio::spawn(async move {
            probe::watch(&template.probes, ip, findings).await;
        }));
        loop {
            tokio::select! {
                () = self.stop.cancelled() => {
                    drop(probes);
                    self.set(PodState::Terminating, String::new(), |_| ());
                    let deadline = Instant::now() + self.template.grace;
                    let sidecar = self.sidecar.lock().unwrap_or_else(PoisonError::into_inner).take();
                    let (ended, killed) = self.end(process, deadline, sidecar).await;
                    return End::Stopped(self.exited(Some(ended), killed));
                }
                ended = process.wait() => {
                    // Before its last lines are waited for: nobody may pick it meanwhile.
                    self.set(PodState::NotReady, ended.to_string(), |_| ());
                    return End::Ended(ended.to_string());
                }
                Some(finding) = found.recv() => match finding {
                    Finding::Ready => self.set(PodState::Ready, String::new(), |view| {
                        view.ready_since.get_or_insert_with(Instant::now);
                        view.hopeless = None;
                    }),
                    Finding::NotReady(why) if self.was_ready() => self.set(PodState::NotReady, why, |_| ()),
                    // While it starts, that a probe fails is no change.
                    Finding::NotReady(why) | Finding::Failing(why) => self.note(why),
                    Finding::Restart(why, grace) => {
                        drop(probes);
                        self.set(PodState::NotReady, why.clone(), |_| ());
                        let deadline = Instant::now() + grace.unwrap_or(self.template.grace);
                        self.end(process, deadline, None).await;
                        return End::Ended(why);
                    }
                },
            }
        }
    }

    /// Ends the container, which is no endpoint any more: SIGTERM, and SIGKILL at the deadline. Says whether it
    /// came to that.
    async fn end(&self, process: &mut Process, deadline: Instant, sidecar: Option<Sidecar>) -> (Ended, bool) {
        let before = async {
            sleep(SETTLE).await;
            if let Some(sidecar) = sidecar {
                // The application answers what the sidecar took in; then it is told to stop itself.
                sidecar.drain(DRAIN.min(deadline - Instant::now())).await;
            }
            process.terminate();
            process.wait().await
        };
        if let Ok(ended) = tokio::time::timeout_at(deadline, before).await {
            return (ended, false);
        }
        process.kill();
        (process.wait().await, true)
    }

    fn was_ready(&self) -> bool {
        matches!(self.view.borrow().state, PodState::Ready | PodState::NotReady)
    }

    fn exited(&self, ended: Option<Ended>, killed: bool) -> Exited {
        Exited { pod: self.name.to_string(), code: ended.and_then(|ended| ended.code), killed }
    }

    /// Enters a state: first the Services know it, then everyone else.
    fn set(&self, state: PodState, reason: String, more: impl FnOnce(&mut View)) {
        if state == PodState::Ready {
            self.node.services.set_pod(self.ready_pod());
        } else {
            self.node.services.remove_pod(&self.workload);
        }
        let event = Event::Pod {
            pod: self.name.to_string(),
            deployment: self.template.deployment.clone(),
            state,
            reason: reason.clone(),
        };
        let changed = self.view.send_if_modified(|view| {
            let before = view.clone();
            if state != PodState::Ready {
                view.ready_since = None;
            }
            if matches!(state, PodState::Gone | PodState::CrashLoopBackOff) {
                view.pid = None;
            }
            (view.state, view.reason) = (state, reason);
            more(view);
            *view != before
        });
        if changed {
            self.node.events.emit(event);
            self.changed.notify_one();
        }
    }

    /// Keeps the reason of a state that does not change.
    fn note(&self, reason: String) {
        let changed = self.view.send_if_modified(|view| {
            let changed = view.reason != reason;
            view.reason = reason;
            changed
        });
        if changed {
            self.changed.notify_one();
        }
    }

    fn ready_pod(&self) -> ReadyPod {
        let template = &self.template;
        let named = |port: &super::template::Port| Some((port.name.clone()?, port.number));
        ReadyPod {
            workload: Arc::clone(&self.workload),
            labels: template.labels.clone(),
            ip: self.lease.ip(),
            app_ip: self.hidden.as_ref().map_or(self.lease.ip(), Lease::ip),
            named_ports: template.ports.iter().filter_map(named).collect(),
            identity: template.meshed.then(|| self.workload.identity()),
            opaque_ports: template.opaque_ports.clone(),
        }
    }

    fn program(&self) -> Program {
        let template = &self.template;
        let ip = self.lease.ip().to_string();
        let own: Vec<_> = {
            let sidecar = self.sidecar.lock().unwrap_or_else(PoisonError::into_inner);
            let local = |value: &str| self.node.rewrite(value, &template.namespace, sidecar.as_ref());
            let own = template.env_of(&self.name, &ip).into_iter();
            own.map(|(name, value)| (name, local(&value))).collect()
        };
        // After the variables: `$(BAR_URL)` in an argument has to name a local address too.
        let args = template.args.iter().map(|arg| expand(arg, &own).into()).collect();
        let mut env = self.node.environment.clone();
        // Later ones win. A container's hostname is its pod's name; the bind address is this runtime's own.
        env.push(("HOSTNAME".into(), self.name.to_string()));
        env.extend(own);
        let bind = self.hidden.as_ref().map_or(ip, |hidden| hidden.ip().to_string());
        env.push(("BIND_ADDRESS".into(), bind));
        Program { path: template.binary.clone(), args, env, directory: "/".into() }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("name", &self.name).finish_non_exhaustive()
    }
}
