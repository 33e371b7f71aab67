//! An environment from nothing to ready, through changes, and back: what `up` and `smoke` share.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::{Either, select};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::build::{BuildFailure, Builder};
use crate::command::Checkout;
use crate::dashboard::{self, Dashboard};
use crate::error::{Exit, Fault};
use crate::plan::{Mode, Plan};
use crate::report::event::{Exited, PodState};
use crate::report::step::Step;
use crate::report::{self, Event, Events, counted, millis};
use crate::runtime::choose::{Chosen, Where};
use crate::runtime::kind::{self, Kind};
use crate::runtime::local::Local;
use crate::runtime::{Images, Runtime};
use crate::session::{Holder, Host, Lock, StopRequests};
use crate::watch::redeploy::{Deploy, Outcome, Round};
use crate::workspace::manifests::Manifests;
use crate::workspace::{Affected, Workspace};

mod policy;

/// What is to be brought up.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Options {
    pub mode: Mode,
    /// The ingress's port on 127.0.0.1, 0 for a free one; none for no ingress.
    pub ingress: Option<u16>,
    /// Start with the shipped policies of the mode in force.
    pub policy: bool,
    /// Build with optimisations.
    pub release: bool,
    /// How long everything may take to get ready.
    pub timeout: Duration,
    /// Whether compilers may colour their messages.
    pub colour: bool,
    /// Keep the evidence when it does not get ready.
    pub bundle: bool,
    /// Of the kind runtime alone.
    pub kind: kind::Options,
    /// Where the dashboard is; none for none. Of the local runtime alone.
    pub dashboard: Option<dashboard::Port>,
}

/// An environment that this process runs.
pub struct Environment {
    pub checkout: Checkout,
    pub runtime: Arc<dyn Runtime>,
    on: Where,
    options: Options,
    builder: Builder,
    events: Events,
    /// What was read and built last. One round at a time changes it.
    current: Arc<RwLock<Current>>,
    /// It follows changes: the first round is past.
    follows: AtomicBool,
    /// Everything was applied once.
    applied: watch::Sender<bool>,
    _dashboard: Option<Dashboard>,
    _host: Host,
    _lock: Lock,
}

/// The workspace, the plan that was read from it, and what was built for it.
#[derive(Clone)]
struct Current {
    workspace: Arc<Workspace>,
    plan: Arc<Plan>,
    images: Images,
}

/// What of a workspace is to exist in a mode. Errors with every mistake in every manifest, and with what the runtime
/// does not model.
pub fn read(workspace: &Workspace, mode: Mode, ingress: bool, on: Where) -> Result<Plan, Fault> {
    let options = crate::plan::Options { mode, ingress };
    let plan =
        Manifests::read(&workspace.root).and_then(|manifests| Plan::new(workspace, &manifests, options));
    let plan = plan.map_err(|problems| Fault::usage(problems.to_string()))?;
    if on == Where::Local {
        Local::can_run(&plan)?;
    }
    Ok(plan)
}

impl Environment {
    /// Reads the workspace, plans, takes the checkout's lock and every address, and listens for other
    /// commands. Nothing runs yet. Errors for a wrong manifest, a second `up`, a port that is taken.
    pub fn open(
        checkout: Checkout,
        options: Options,
        chosen: &Chosen,
        events: &Events,
    ) -> anyhow::Result<(Self, StopRequests)> {
        let plan = read(&checkout.workspace, options.mode, options.ingress.is_some(), chosen.runtime)?;
        if options.policy {
            policy::can_start_with(&checkout.workspace, options.mode.grpc)?;
        }
        events.emit(Event::Runtime { runtime: chosen.runtime.to_string(), reason: chosen.reason.clone() });
        for warning in plan.warnings(&checkout.workspace) {
            events.warn(warning, None);
        }
        for left_out in &plan.left_out {
            events.warn(format!("{} is left out: {}", left_out.deployment, left_out.reason), None);
        }
        checkout.state.create()?;
        let lock = Lock::take(&checkout.state, &Holder::of_this_process(options.mode))?;
        let port = options.dashboard.filter(|_| chosen.runtime == Where::Local);
        let listener = port.map(dashboard::bind).transpose()?;
        let address = listener.as_ref().and_then(|own| own.local_addr().ok());
        let runtime: Arc<dyn Runtime> = match chosen.runtime {
            Where::Local => Arc::new(Local::start(&checkout, options.ingress, address, events)?),
            Where::Kind => Arc::new(Kind::open(&checkout, options.kind.clone(), events)?),
        };
        let (host, requests) = Host::start(&checkout.state, Arc::clone(&runtime), events.clone())?;
        let builder = Builder {
            root: checkout.root.clone(),
            state: checkout.state.clone(),
            release: options.release,
            colour: options.colour,
        };
        let current = Arc::new(RwLock::new(Current {
            workspace: Arc::new(checkout.workspace.clone()),
            plan: Arc::new(plan),
            images: Images::new(),
        }));
        let read = Arc::clone(&current);
        let now = move || {
            let now = read.read().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&now.workspace), Arc::clone(&now.plan))
        };
        let served = listener
            .map(|own| Dashboard::start(own, Arc::clone(&runtime), Arc::new(now), events))
            .transpose()?;
        let environment = Self {
            checkout,
            runtime,
            on: chosen.runtime,
            options,
            builder,
            events: events.clone(),
            current,
            follows: AtomicBool::new(false),
            applied: watch::Sender::new(false),
            _dashboard: served,
            _host: host,
            _lock: lock,
        };
        Ok((environment, requests))
    }

    /// What is to exist at present.
    pub fn plan(&self) -> Arc<Plan> {
        self.current().plan
    }

    /// Builds everything, starts it and waits until it is ready.
    pub async fn bring_up(&self, start: Instant) -> anyhow::Result<()> {
        let brought = async {
            self.make(self.plan().images.clone(), &CancellationToken::new()).await?;
            self.apply().await?;
            self.ready(start).await
        };
        let outcome = brought.await;
        if let Err(error) = &outcome {
            self.keep_evidence(&report::message(error)).await;
        }
        outcome
    }

    /// Writes a failure bundle, where that was asked for, and says where it is.
    pub async fn keep_evidence(&self, why: &str) {
        if !self.options.bundle {
            return;
        }
        let state = &self.checkout.state;
        match crate::bundle::write(state, &*self.runtime, &self.events, why).await {
            Ok(path) => self.events.emit(Event::Bundle { path: path.display().to_string() }),
            Err(fault) => self.events.warn(format!("no failure bundle: {fault}"), None),
        }
    }

    /// Once everything was applied for the first time: tells when it is ready, or what keeps it from that. Errors with
    /// what no change of a file mends: something that the machine lacks.
    pub async fn tell_when_ready(&self, start: Instant) -> anyhow::Result<()> {
        // The sender lives as long as this does.
        let _ = self.applied.subscribe().wait_for(|applied| *applied).await;
        let outcome = self.ready(start).await;
        if let Err(error) = &outcome {
            self.keep_evidence(&report::message(error)).await;
        }
        match outcome {
            Err(error) if Exit::of(&error) == Exit::Environment => Err(error),
            Err(error) => {
                self.tell(&error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Where the ingress answers; none without one.
    pub fn ingress(&self) -> Option<SocketAddr> {
        self.runtime.ingress()
    }

    /// What runs goes on when this ends.
    pub fn outlives(&self) -> bool {
        self.runtime.outlives()
    }

    /// Ends without touching what runs, and says so.
    pub fn leave(self) {
        if self.runtime.is_there() {
            let how = "cargo xtask down removes it".to_owned();
            self.events.emit(Event::Left { runtime: self.on.to_string(), how });
        }
    }

    /// Stops everything that it started.
    pub async fn take_down(self, reason: &str) -> anyhow::Result<Vec<Exited>> {
        self.events.emit(Event::Stopping { reason: reason.to_owned() });
        let pods = self.runtime.stop().await?;
        self.events.emit(Event::Stopped { pods: pods.clone() });
        Ok(pods)
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, change: impl FnOnce(&mut Current)) {
        change(&mut self.current.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Builds services while the runtime makes what their pods will need.
    async fn make(&self, services: Vec<String>, cancel: &CancellationToken) -> anyhow::Result<()> {
        let (building, preparing) =
            (pin!(self.build(services, cancel)), pin!(self.runtime.prepare(self.plan())));
        let built = match select(building, preparing).await {
            // What cannot be had for the pods ends the build as well.
            Either::Right((prepared, building)) => {
                prepared?;
                building.await
            }
            // Half a cluster is worth nothing: it is made to its end.
            Either::Left((built, preparing)) => {
                preparing.await?;
                built
            }
        };
        built.map_err(|failure| match failure {
            BuildFailure::Cancelled => failure.into(),
            failure => Fault::from(failure).into(),
        })
    }

    /// Builds services; those whose content changed are new images, which the next apply rolls out.
    async fn build(&self, services: Vec<String>, cancel: &CancellationToken) -> Result<(), BuildFailure> {
        let target = self.runtime.target().await.map_err(BuildFailure::Target)?;
        let Current { workspace, images, .. } = self.current();
        let mut packages = workspace.packages();
        let (count, mut programs) = (services.len(), services);
        for program in self.runtime.programs() {
            packages.insert(program.package);
            // With the first build: services change, they do not.
            programs.extend(Some(program.name).filter(|name| !images.contains_key(name)));
        }
        let step = Step::start(&self.events, "build");
        match self.builder.build(&packages, &programs, target.as_ref(), &self.events, cancel).await {
            Ok(images) => {
                step.finish(counted(count, "service"));
                self.set(|current| current.images.extend(images));
                Ok(())
            }
            Err(failure) => {
                step.fail();
                Err(failure)
            }
        }
    }

    async fn apply(&self) -> anyhow::Result<()> {
        if self.options.policy && !*self.applied.borrow() {
            // Before the pods, so that nothing is asked that they would refuse.
            self.start_with_policies().await?;
        }
        let Current { plan, images, .. } = self.current();
        self.runtime.apply(plan, images.clone()).await?;
        let used = |program: &Path| images.values().any(|image| image.binary == program);
        let services: Vec<String> = images.keys().cloned().collect();
        if let Err(error) = self.builder.prune(&services, used) {
            self.events.warn(format!("cannot remove old revisions: {error}"), None);
        }
        self.applied.send_replace(true);
        Ok(())
    }

    /// Waits until all is ready, and tells where it can be reached.
    async fn ready(&self, start: Instant) -> anyhow::Result<()> {
        let step = Step::start(&self.events, "pods");
        let ready = tokio::time::timeout(self.options.timeout, self.runtime.ready()).await;
        let outcome = match ready {
            Ok(outcome) => outcome,
            Err(_) => Err(self.not_ready().await),
        };
        if let Err(error) = outcome {
            step.fail();
            return Err(error);
        }
        step.finish(counted(self.runtime.status().await?.pods.len(), "pod"));
        for (name, url) in self.links().await {
            self.events.emit(Event::Link { name, url });
        }
        self.events.emit(Event::Ready { ms: millis(start.elapsed()) });
        Ok(())
    }

    /// Reads the workspace anew. Errors with every mistake; everything then stays as it is.
    async fn reread(&self, members: bool) -> anyhow::Result<()> {
        let workspace = if members {
            Arc::new(Checkout::open_at(&self.checkout.root).await?.workspace)
        } else {
            self.current().workspace
        };
        let plan = read(&workspace, self.options.mode, self.options.ingress.is_some(), self.on)?;
        self.set(|current| {
            current.workspace = workspace;
            current.plan = Arc::new(plan);
        });
        Ok(())
    }

    /// The services behind the ingress, then the dashboard.
    async fn links(&self) -> Vec<(String, String)> {
        let port = self.ingress().map(|ingress| ingress.port());
        let link = |host: String| {
            let name = host.split('.').next().unwrap_or(&host).to_owned();
            port.map(|port| (name, format!("http://{host}:{port}/")))
        };
        let mut links: Vec<_> = self.plan().hosts().into_iter().filter_map(link).collect();
        let status = self.runtime.status().await.unwrap_or_default();
        links.extend(status.dashboard.map(|url| ("dashboard".to_owned(), url)));
        links
    }

    /// What keeps it from being ready, as an error.
    async fn not_ready(&self) -> anyhow::Error {
        let mut why = Vec::new();
        if let Ok(status) = self.runtime.status().await {
            for pod in status.pods.iter().filter(|pod| pod.state != PodState::Ready) {
                why.push(format!("{}: {:?}: {}", pod.name, pod.state, pod.reason));
            }
        }
        let timeout = self.options.timeout;
        Fault::failed(format!("not everything is ready after {timeout:?}: {}", why.join("; ")))
            .hint("cargo xtask logs SERVICE shows what it wrote; --timeout waits longer")
            .into()
    }

    fn tell(&self, error: &anyhow::Error) {
        self.events.emit(Event::Error { message: report::message(error), hint: report::hint(error) });
    }
}

#[async_trait]
impl Deploy for Environment {
    fn affected(&self, file: &Path) -> Affected {
        self.current().workspace.affected(file)
    }

    async fn round(&self, round: Round, cancel: CancellationToken) -> Outcome {
        let first = !self.follows.swap(true, Ordering::Relaxed);
        if first && *self.applied.borrow() {
            // `up` brought everything up before it began to follow changes.
            return Outcome::Done;
        }
        if (round.members || round.manifests)
            && let Err(error) = self.reread(round.members).await
        {
            self.tell(&error);
            return Outcome::BuildFailed;
        }
        if round.manifests
            && let Err(error) = self.follow_policies().await
        {
            self.tell(&error);
            return Outcome::BuildFailed;
        }
        let Current { plan, images, .. } = self.current();
        let named = |service: &&String| !images.contains_key(*service) || round.services.contains(*service);
        let services: Vec<String> = plan.images.iter().filter(named).cloned().collect();
        if let Err(error) = self.make(services, &cancel).await {
            if matches!(error.downcast_ref(), Some(BuildFailure::Cancelled)) {
                return Outcome::Cancelled;
            }
            self.tell(&error);
            return Outcome::BuildFailed;
        }
        match self.apply().await {
            Ok(()) => Outcome::Done,
            Err(error) => {
                self.tell(&error);
                Outcome::Refused
            }
        }
    }
}
