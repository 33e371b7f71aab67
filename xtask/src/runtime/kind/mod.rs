//! The real thing: pods in a Kubernetes cluster, by kind on this machine, or a cluster that was named on purpose.
//!
//! Where to start reading: [`cluster`] finds or makes the cluster, [`load`] brings images into it, [`api`] applies
//! objects, [`progress`] says how far they are and what keeps them.
//!
//! Longer than most: it is the order in which all of these are used, for each thing that a runtime is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use self::api::{Applied, Key};
use self::cluster::{Cluster, Kept, Which};
use self::config::ClusterConfig;
pub use self::held::Held;
use self::images::ClusterImages;
use self::inventory::Inventory;
use super::policy::{Given, PolicyRequest, PolicyState};
use super::top::{Top, TopRequest};
use super::{CallAnswer, CallRequest, Evidence, Images, Program, Running, Runtime, Status};
use crate::build::StaticTarget;
use crate::command::Checkout;
use crate::error::Fault;
use crate::plan::Plan;
use crate::plan::lookup::name;
use crate::report::event::Exited;
use crate::report::{Event, Events, counted, millis};
use crate::tools::pins::Versions;

mod api;
mod call;
mod clock;
mod cluster;
mod config;
mod drift;
mod engine;
mod evidence;
mod held;
mod images;
mod ingress;
mod inventory;
mod linkerd;
mod live;
mod load;
pub mod logs;
mod missing;
mod namespaces;
mod objects;
mod policy;
mod progress;
mod ready;
mod route;
mod status;
mod trust;

/// What may be said of the kind runtime.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The ingress's port, when it is to be another than `manifests/kind.yaml` says.
    pub port: Option<u16>,
    /// A context of the user's kubeconfig, in place of the kind cluster.
    pub context: Option<String>,
    /// Fields that somebody else set are taken over.
    pub force_conflicts: bool,
    /// New programs are put into running containers before the rollout.
    pub live: bool,
    /// Where images are pushed, in place of into kind's nodes: `ghcr.io/me/demo`.
    pub registry: Option<String>,
}

/// A cluster that runs, or is to run, a plan.
pub struct Kind {
    root: PathBuf,
    namespace: RwLock<String>,
    config: ClusterConfig,
    kept: Kept,
    options: Options,
    events: Events,
    cluster: OnceCell<Cluster>,
    target: OnceCell<StaticTarget>,
    /// What was applied last.
    applied: RwLock<Option<(Arc<Plan>, Images)>>,
    /// The Deployments that were applied.
    wanted: RwLock<ready::Wanted>,
    /// What the ingress controller's image is called in the nodes.
    controller: OnceCell<String>,
    /// The services' images, and those of programs beside them.
    images: ClusterImages,
    /// Tells how a rollout goes on that nobody waits for.
    rollout: Mutex<Option<AbortOnDropHandle<()>>>,
    /// It was ready once: later rollouts are told of as they come.
    was_ready: AtomicBool,
    /// The files and directories of policies whose edits are applied.
    followed: RwLock<BTreeSet<PathBuf>>,
    /// Follows the pods' logs, once there are any.
    logs: Mutex<Option<AbortOnDropHandle<()>>>,
    /// Looks whether what was applied stays so.
    drift: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Kind {
    /// Reads the cluster's configuration. Nothing is touched yet.
    pub fn open(checkout: &Checkout, options: Options, events: &Events) -> Result<Self, Fault> {
        let file = checkout.root.join(config::FILE);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            Fault::usage(format!("{}: {error}", config::FILE))
                .hint("it says which cluster the kind runtime makes")
        })?;
        let images = ClusterImages::new(options.registry.clone());
        Ok(Self {
            root: checkout.root.clone(),
            namespace: RwLock::new("default".to_owned()),
            config: ClusterConfig::read(&text, options.port)?,
            kept: Kept::of(checkout),
            options,
            events: events.clone(),
            cluster: OnceCell::new(),
            target: OnceCell::new(),
            applied: RwLock::default(),
            wanted: RwLock::default(),
            controller: OnceCell::new(),
            images,
            rollout: Mutex::default(),
            was_ready: AtomicBool::new(false),
            followed: RwLock::default(),
            logs: Mutex::default(),
            drift: Mutex::default(),
        })
    }

    /// The cluster that a former `up` of this checkout left running; none if there is none.
    pub async fn attach(checkout: &Checkout) -> Result<Option<Self>, Fault> {
        let events = Events::default();
        let kept = Kept::of(checkout);
        if kept.which().is_none() {
            return Ok(None);
        }
        let Some(cluster) = Cluster::find(&kept, &events).await? else { return Ok(None) };
        let kind = Self::open(checkout, Options::default(), &events)?;
        let manifests = crate::workspace::manifests::Manifests::read(&checkout.root).ok();
        let namespace = manifests.and_then(|manifests| {
            manifests.deployments.first().and_then(|own| own.object.metadata.namespace.clone())
        });
        if let Some(namespace) = namespace {
            *kind.namespace.write().unwrap_or_else(PoisonError::into_inner) = namespace;
        }
        let applied = Inventory::read(&cluster.server, &kind.namespace()).await?.is_some();
        let _ = kind.cluster.set(cluster);
        Ok(applied.then_some(kind))
    }

    /// Deletes the kind cluster that a former `up` made; false when there is none. One of a context stays.
    pub async fn delete_cluster(checkout: &Checkout, events: &Events) -> Result<bool, Fault> {
        let kept = Kept::of(checkout);
        let Some(Which::Kind(name)) = kept.which() else { return Ok(false) };
        let there = !engine::nodes(&name).await?.is_empty();
        if there {
            cluster::delete(&name, &kept, events).await?;
        }
        kept.forget();
        Ok(there)
    }

    /// What the pods wrote since then, and with `on` what they write from now on, until the receiver is dropped.
    pub async fn logs(
        &self,
        since: Option<Timestamp>,
        on: bool,
    ) -> Result<tokio::sync::mpsc::Receiver<logs::Line>, Fault> {
        let (server, namespace) = (self.cluster().await?.server.clone(), self.namespace());
        let (lines, read) = tokio::sync::mpsc::channel(1024);
        tokio::spawn(async move { logs::follow(&server, &namespace, since, on, lines).await });
        Ok(read)
    }

    /// This workspace's images in the nodes.
    pub async fn images(&self) -> Result<Vec<Held>, Fault> {
        let cluster = self.cluster().await?;
        let pods = cluster.server.list(None, "").await?;
        let mut of_nodes = Vec::new();
        for node in &cluster.nodes {
            of_nodes.push((node.clone(), load::listed(node).await?));
        }
        Ok(held::held(&of_nodes, &pods))
    }

    async fn cluster(&self) -> Result<&Cluster, Fault> {
        self.cluster
            .get_or_try_init(async || {
                let cluster = match &self.options.context {
                    Some(context) => Cluster::of_context(context, &self.kept, &self.events).await?,
                    None => Cluster::up(&self.config, &self.kept, &self.events).await?,
                };
                clock::check(&cluster.server).await?;
                Ok(cluster)
            })
            .await
    }

    fn namespace(&self) -> String {
        self.namespace.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wanted(&self) -> ready::Wanted {
        self.wanted.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn plan(&self) -> Option<Arc<Plan>> {
        let applied = self.applied.read().unwrap_or_else(PoisonError::into_inner);
        applied.as_ref().map(|(plan, _)| Arc::clone(plan))
    }

    /// The services of which nothing but the program changed since the last apply.
    fn programs_changed(&self, plan: &Plan, images: &Images) -> Vec<live::Change> {
        let applied = self.applied.read().unwrap_or_else(PoisonError::into_inner);
        let Some((before, built)) = applied.as_ref().filter(|(before, _)| **before == *plan) else {
            return Vec::new();
        };
        let references = self.images.references();
        let changed = before.images.iter().filter_map(|service| {
            let (old, new) = (built.get(service)?, images.get(service)?);
            let before = references.get(service).filter(|_| old.id != new.id)?.clone();
            Some(live::Change { service: service.clone(), program: new.binary.clone(), before })
        });
        changed.collect()
    }

    /// Puts changed programs into the containers that run. The rollout comes all the same, so where this cannot be done
    /// it is only said.
    async fn replace_programs(&self, plan: &Plan, images: &Images) -> Result<(), Fault> {
        let changes = self.programs_changed(plan, images);
        let cluster = self.cluster().await?;
        if !self.options.live || changes.is_empty() || cluster.nodes.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        let replacing = changes
            .iter()
            .map(|change| live::replace(&cluster.server, &plan.namespace, &cluster.nodes, change));
        let mut told = Vec::new();
        for (change, outcome) in changes.iter().zip(futures_util::future::join_all(replacing).await) {
            match outcome {
                Ok(0) => {}
                Ok(pods) => told.push(format!("{} of {}", counted(pods, "pod"), change.service)),
                Err(fault) => {
                    let message = format!("{} is not replaced in its containers: {fault}", change.service);
                    self.events.warn(message, Some("the rollout brings it all the same".to_owned()));
                }
            }
        }
        if !told.is_empty() {
            let (step, ms) = ("live".to_owned(), millis(start.elapsed()));
            self.events.emit(Event::StepFinished { step, ms, detail: told.join(", ") });
        }
        Ok(())
    }

    async fn static_target(&self) -> Result<&StaticTarget, Fault> {
        self.target
            .get_or_try_init(async || {
                let architecture = match &self.options.context {
                    Some(_) => self.cluster().await?.architecture().await?,
                    // Known before there is a cluster.
                    None => engine::architecture().await?,
                };
                StaticTarget::find(&architecture, &self.root).await
            })
            .await
    }

    /// What every pod is annotated with, beside what its manifest says.
    async fn pod_annotations(&self, plan: &Plan) -> Result<Vec<(&'static str, String)>, Fault> {
        if !plan.mode.linkerd {
            return Ok(Vec::new());
        }
        let anchor = linkerd::anchor(&self.cluster().await?.server).await?;
        Ok(anchor.into_iter().map(|anchor| (linkerd::ANCHOR, anchor)).collect())
    }

    /// The ingress's objects.
    async fn ingress_objects(&self, plan: &Plan, pods: &[(&str, String)]) -> Result<Vec<Value>, Fault> {
        let text = std::fs::read_to_string(self.root.join(ingress::FILE)).map_err(|error| {
            Fault::usage(format!("{}: {error}", ingress::FILE))
                .hint("--no-ingress, where the cluster has an ingress of its own")
        })?;
        let pin = Versions::read(&self.root)?.ingress_nginx;
        let cluster = self.cluster().await?;
        let reference = self.controller.get_or_try_init(async || {
            cluster::load(cluster, &pin.image, &self.kept, &self.events).await?;
            load::reference(cluster, &pin).await
        });
        ingress::objects(&text, &pin, reference.await?, plan.mode.linkerd, pods)
    }

    /// Applies objects in their order, and deletes what was applied before and is not among them.
    async fn apply_all(&self, plan: &Plan, wanted: &[Value]) -> anyhow::Result<()> {
        let start = Instant::now();
        let server = &self.cluster().await?.server;
        let namespace = &plan.namespace;
        let wanted = &namespaces::own(server, wanted, &self.events).await?;
        let before = Inventory::read(server, namespace).await?.unwrap_or_default();
        let during = before.with(wanted);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        // Namespaces come first: the inventory is kept in one of them. Pods get their proxies as they are made, from a
        // control plane that runs.
        let (namespaces, others): (Vec<&Value>, Vec<&Value>) =
            wanted.iter().partition(|object| object["kind"] == "Namespace");
        let (then, first): (Vec<&Value>, Vec<&Value>) =
            others.into_iter().partition(|object| plan.mode.linkerd && object["kind"] == "Deployment");
        self.apply_some(&namespaces, &mut counts).await?;
        if during != before {
            during.write(server, namespace).await?;
        }
        self.apply_some(&first, &mut counts).await?;
        if plan.mode.linkerd {
            linkerd::wait(self.cluster().await?, &self.root, &missing::named(&then), &self.events).await?;
            self.apply_some(&then, &mut counts).await?;
        }
        for key in objects::pruned(&before.objects, wanted) {
            if server.delete_own(&key).await? {
                *counts.entry("removed").or_default() += 1;
            }
        }
        let after = Inventory {
            objects: wanted.iter().filter_map(Key::of).collect(),
            grpc: plan.mode.grpc,
            linkerd: plan.mode.linkerd,
            ingress: plan.ingress,
            hosts: plan.hosts(),
            checkout: self.root.display().to_string(),
            client: self.images.references().remove(call::PROGRAM),
        };
        if after != during {
            after.write(server, namespace).await?;
        }
        let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        let detail = counts.join(", ");
        self.events.emit(Event::StepFinished {
            step: "apply".to_owned(),
            ms: millis(start.elapsed()),
            detail,
        });
        Ok(())
    }

    async fn apply_some(
        &self,
        objects: &[&Value],
        counts: &mut BTreeMap<&'static str, usize>,
    ) -> Result<(), Fault> {
        let server = &self.cluster().await?.server;
        let applying = objects.iter().map(|object| server.apply(object, self.options.force_conflicts));
        for applied in futures_util::future::join_all(applying).await {
            let word = match applied? {
                Applied::Created => "created",
                Applied::Configured => "changed",
                Applied::Unchanged => "unchanged",
            };
            *counts.entry(word).or_default() += 1;
        }
        Ok(())
    }

    /// Errors when a pod that should have a sidecar has none, with the injector's reason.
    async fn all_meshed(&self) -> Result<(), Fault> {
        let inventory = self.inventory().await?;
        for namespace in self.wanted().keys() {
            let seen = self.seen(namespace).await?;
            let status = status::status(&inventory, &seen, None, Timestamp::now());
            let without: Vec<_> = status.pods.iter().filter(|pod| !pod.meshed).collect();
            let Some(first) = without.first() else { continue };
            let events: Vec<k8s_openapi::api::core::v1::Event> =
                self.cluster().await?.server.list(Some(namespace), "").await?;
            let of = |event: &&k8s_openapi::api::core::v1::Event| {
                event.reason.as_deref() == Some("InjectionSkipped")
                    && event.involved_object.name.as_deref() == Some(&first.deployment)
            };
            let said = events.iter().rev().find(of).and_then(|event| event.message.clone());
            let why =
                said.unwrap_or_else(|| "the injector was not asked: does its webhook answer?".to_owned());
            let names: Vec<&str> = without.iter().map(|pod| pod.name.as_str()).collect();
            return Err(Fault::failed(format!("without a sidecar: {}: {why}", names.join(", ")))
                .hint("once that is mended, `kubectl rollout restart deployment` gives them one"));
        }
        Ok(())
    }

    /// Once it was ready, what comes of an apply is told beside whatever else happens; of the last one only.
    async fn tell_rollout(&self) -> Result<(), Fault> {
        if !self.was_ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (cluster, wanted, events) = (self.cluster().await?.clone(), self.wanted(), self.events.clone());
        let telling = tokio::spawn(async move {
            if let Err(error) = ready::wait(&cluster, &wanted, &[], &events).await {
                let (message, hint) = (crate::report::message(&error), crate::report::hint(&error));
                events.emit(Event::Error { message, hint });
            }
        });
        *self.rollout.lock().unwrap_or_else(PoisonError::into_inner) = Some(AbortOnDropHandle::new(telling));
        Ok(())
    }

    /// Looks from now on whether these objects stay as they are; none: at nothing.
    fn watch_drift(&self, objects: Option<Vec<Value>>) {
        let watching = self.cluster.get().zip(objects).map(|(cluster, objects)| {
            let watch = drift::watch(cluster.server.clone(), objects, self.events.clone());
            AbortOnDropHandle::new(tokio::spawn(watch))
        });
        *self.drift.lock().unwrap_or_else(PoisonError::into_inner) = watching;
    }

    fn tell_policies(&self, state: &PolicyState) {
        let changes = super::policy::changed(&state.changes);
        if !changes.is_empty() {
            self.events.emit(Event::Policies { changes });
        }
    }

    async fn inventory(&self) -> Result<Inventory, Fault> {
        let server = &self.cluster().await?.server;
        Ok(Inventory::read(server, &self.namespace()).await?.unwrap_or_default())
    }

    async fn seen(&self, namespace: &str) -> Result<status::Seen, Fault> {
        let (server, namespace) = (&self.cluster().await?.server, Some(namespace));
        let (deployments, services, slices, pods) = tokio::try_join!(
            server.list(namespace, ""),
            server.list(namespace, ""),
            server.list(namespace, ""),
            server.list(namespace, ""),
        )?;
        Ok(status::Seen { deployments, services, slices, pods })
    }
}

#[async_trait]
impl Runtime for Kind {
    async fn prepare(&self, plan: Arc<Plan>) -> anyhow::Result<()> {
        self.namespace.write().unwrap_or_else(PoisonError::into_inner).clone_from(&plan.namespace);
        let cluster = self.cluster().await?;
        if plan.mode.linkerd {
            linkerd::install(cluster, &self.root, &self.events).await?;
        }
        Ok(())
    }

    async fn target(&self) -> Result<Option<StaticTarget>, Fault> {
        self.static_target().await.cloned().map(Some)
    }

    fn programs(&self) -> Vec<Program> {
        vec![Program { package: "client".to_owned(), name: call::PROGRAM.to_owned() }]
    }

    async fn apply(&self, plan: Arc<Plan>, images: Images) -> anyhow::Result<()> {
        // What we change is no drift.
        self.watch_drift(None);
        self.replace_programs(&plan, &images).await?;
        let (cluster, platform) = (self.cluster().await?, self.static_target().await?.platform);
        let references = self.images.load(cluster, &plan, &images, platform, &self.events).await?;
        let pods = self.pod_annotations(&plan).await?;
        let mut wanted = if plan.ingress { self.ingress_objects(&plan, &pods).await? } else { Vec::new() };
        wanted.extend(objects::of(&plan, &references, &pods));
        self.apply_all(&plan, &wanted).await?;
        self.watch_drift(Some(wanted.clone()));
        *self.wanted.write().unwrap_or_else(PoisonError::into_inner) = ready::wanted(&wanted);
        *self.applied.write().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(&plan), images));
        self.tell_rollout().await?;
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if logs.is_none()
            && let Some(cluster) = self.cluster.get()
        {
            let (server, events) = (cluster.server.clone(), self.events.clone());
            let following = tokio::spawn(logs::into_events(server, plan.namespace.clone(), events));
            *logs = Some(AbortOnDropHandle::new(following));
        }
        Ok(())
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let Some(plan) = self.plan() else { return Ok(()) };
        let (cluster, wanted) = (self.cluster().await?, self.wanted());
        ready::wait(cluster, &wanted, &[], &self.events).await?;
        self.was_ready.store(true, Ordering::Relaxed);
        if plan.mode.linkerd {
            self.all_meshed().await?;
        } else {
            linkerd::remove(&cluster.server, &self.events).await?;
        }
        ready::dns(&cluster.server, &self.events).await?;
        if let Some(ingress) = self.ingress() {
            route::wait(ingress, route::routes(&plan), &self.events).await?;
        }
        Ok(())
    }

    fn ingress(&self) -> Option<SocketAddr> {
        let ingress = self.plan().is_some_and(|plan| plan.ingress);
        let port = self.config.ports.first().filter(|_| ingress && self.options.context.is_none())?;
        Some((Ipv4Addr::LOCALHOST, *port).into())
    }

    fn followed_policies(&self) -> BTreeSet<PathBuf> {
        self.followed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn follow_policies(&self, objects: Vec<Given>) -> anyhow::Result<()> {
        if self.followed_policies().is_empty() {
            return Ok(());
        }
        let (server, namespace) = (&self.cluster().await?.server, self.namespace());
        let before = policy::show(server, &namespace).await?;
        let gone: Vec<_> = before
            .objects
            .iter()
            .map(super::policy::PolicyObject::key)
            .filter(|key| objects.iter().all(|given| given.object.key() != *key))
            .collect();
        let applied = policy::apply(server, &namespace, &objects, self.options.force_conflicts).await?;
        self.tell_policies(&applied);
        self.tell_policies(&policy::delete(server, &namespace, &gone).await?);
        Ok(())
    }

    fn outlives(&self) -> bool {
        true
    }

    fn is_there(&self) -> bool {
        self.cluster.initialized()
    }
}

#[async_trait]
impl Running for Kind {
    async fn status(&self) -> anyhow::Result<Status> {
        let seen = self.seen(&self.namespace()).await?;
        let inventory = self.inventory().await?;
        let port = self.config.ports.first();
        let ingress = port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port)).to_string());
        Ok(status::status(&inventory, &seen, ingress, Timestamp::now()))
    }

    async fn call(&self, request: CallRequest) -> anyhow::Result<CallAnswer> {
        let cluster = self.cluster().await?;
        let program = self.images.references().remove(call::PROGRAM);
        call::call(&cluster.server, &self.namespace(), program, &request).await
    }

    async fn policy(&self, request: PolicyRequest) -> anyhow::Result<PolicyState> {
        let (server, namespace) = (&self.cluster().await?.server, self.namespace());
        let followed = || self.followed.write().unwrap_or_else(PoisonError::into_inner);
        let state = match request {
            PolicyRequest::Show => policy::show(server, &namespace).await?,
            PolicyRequest::Apply { objects, paths } => {
                let state = policy::apply(server, &namespace, &objects, self.options.force_conflicts).await?;
                followed().extend(paths);
                state
            }
            PolicyRequest::Delete { objects, paths } => {
                followed().retain(|path| !paths.contains(path));
                policy::delete(server, &namespace, &objects).await?
            }
            PolicyRequest::Access { .. } | PolicyRequest::Observe(_) => {
                return Err(Fault::usage("what a cluster's proxies decide is not read yet")
                    .hint("ramp on the local runtime: --runtime local")
                    .into());
            }
        };
        self.tell_policies(&state);
        Ok(state)
    }

    async fn top(&self, _request: TopRequest) -> anyhow::Result<BoxStream<'static, anyhow::Result<Top>>> {
        Err(Fault::usage("top does not read a cluster's proxies yet").hint("--runtime local").into())
    }

    async fn evidence(&self) -> anyhow::Result<Vec<Evidence>> {
        let mut namespaces: BTreeSet<String> = self.wanted().into_keys().collect();
        namespaces.extend([self.namespace(), "kube-system".to_owned(), linkerd::NAMESPACE.to_owned()]);
        Ok(evidence::of(&self.cluster().await?.server, &namespaces).await)
    }

    async fn stop(&self) -> anyhow::Result<Vec<Exited>> {
        self.watch_drift(None);
        let (cluster, namespace) = (self.cluster().await?, self.namespace());
        let server = &cluster.server;
        let Some(inventory) = Inventory::read(server, &namespace).await? else { return Ok(Vec::new()) };
        let seen = self.seen(&self.namespace()).await?;
        let deployments: Vec<&Deployment> = seen.deployments.iter().collect();
        let ours = |deployment: &&&Deployment| {
            inventory.objects.iter().any(|key| key.kind == "Deployment" && key.name == name(**deployment))
        };
        let pods: BTreeSet<String> = deployments
            .iter()
            .filter(ours)
            .flat_map(|deployment| progress::pods_of(deployment, &seen.pods))
            .map(|pod| name(pod).to_owned())
            .collect();
        let version = ready::version(server, &namespace).await?;
        call::remove(server).await?;
        policy::remove(server, &namespace).await?;
        for key in inventory.objects.iter().rev() {
            server.delete_own(key).await?;
        }
        let ended = ready::gone(server, &namespace, pods, version).await?;
        linkerd::remove(server, &self.events).await?;
        Inventory::remove(server, &namespace).await?;
        Ok(ended)
    }
}
