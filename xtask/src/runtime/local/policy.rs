//! The policies in force, as Linkerd's policy controller keeps them: what is applied, compiled for each workload
//! anew on every change, and watched by the sidecars.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use policy::cluster::ClusterInfo;
use policy::inbound::Inbound;
use policy::model::{Objects, Workload};
use policy::outbound::{OutboundSettings, ServicePolicy, ServicePort};
use tokio::sync::watch;

use crate::runtime::policy::{Change, Changed, Given, ObjectKey, PolicyObject};

/// The policies of a run. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct PolicyController(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    cluster: ClusterInfo,
    /// What runs and how it is called: the plan's.
    plan: Objects,
    applied: BTreeMap<ObjectKey, Applied>,
    inbound: Vec<(Workload, watch::Sender<Arc<Inbound>>)>,
    /// By the namespace of the clients.
    outbound: BTreeMap<(String, ServicePort), watch::Sender<Arc<ServicePolicy>>>,
    followed: Followed,
}

#[derive(Debug)]
struct Applied {
    /// As it was read.
    given: PolicyObject,
    /// As it is in force: with the time of its creation.
    live: PolicyObject,
    file: PathBuf,
}

/// The files whose edits are applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Files and directories that were applied.
    pub paths: BTreeSet<PathBuf>,
    /// Files in them whose objects were deleted since.
    pub left: BTreeSet<PathBuf>,
}

impl PolicyController {
    /// The policies of a workload's pods, as they change. Equal workloads are compiled once.
    pub fn inbound(&self, workload: Workload) -> watch::Receiver<Arc<Inbound>> {
        let mut state = self.lock();
        if let Some((_, sender)) = state.inbound.iter().find(|(own, _)| *own == workload) {
            return sender.subscribe();
        }
        let compiled = Inbound::new(&workload, &state.objects(), &state.cluster);
        let (sender, receiver) = watch::channel(Arc::new(compiled));
        state.inbound.push((workload, sender));
        receiver
    }

    /// What becomes of the requests that clients of a namespace send to a Service's port, as it changes. A Service
    /// or port that there is not yet is as one without routes.
    pub fn outbound(
        &self,
        client_namespace: &str,
        service: ServicePort,
    ) -> watch::Receiver<Arc<ServicePolicy>> {
        let mut state = self.lock();
        let key = (client_namespace.to_owned(), service);
        if let Some(sender) = state.outbound.get(&key) {
            return sender.subscribe();
        }
        let compiled = service_policy(&state.objects(), &state.cluster, &key);
        let (sender, receiver) = watch::channel(Arc::new(compiled));
        state.outbound.insert(key, sender);
        receiver
    }

    /// What runs and how it is called is this from now on.
    pub fn set_plan(&self, objects: Objects) {
        let mut state = self.lock();
        state.plan = objects;
        state.compile();
    }

    /// What is applied, in the order of the keys.
    pub fn applied(&self) -> Vec<PolicyObject> {
        self.lock().applied.values().map(|applied| applied.live.clone()).collect()
    }

    /// What runs and how it is called, with what is applied.
    pub fn objects(&self) -> Objects {
        self.lock().objects()
    }

    /// The files whose edits are applied.
    pub fn followed(&self) -> Followed {
        self.lock().followed.clone()
    }

    /// Makes these objects be as given, and follows the paths. Objects that are new get `now`, in whole seconds as
    /// the API server counts them, as the time of their creation; those that were there keep theirs.
    pub fn apply(&self, objects: Vec<Given>, paths: Vec<PathBuf>, now: Timestamp) -> Vec<Change> {
        let mut state = self.lock();
        for path in &paths {
            state.followed.left.retain(|file| !file.starts_with(path));
        }
        state.followed.paths.extend(paths);
        let changes = state.put(objects, now);
        state.compile_after(&changes);
        changes
    }

    /// Gives Servers this access policy, or with none the one that was written.
    pub fn set_access(&self, servers: &[ObjectKey], access: Option<&str>) -> Vec<Change> {
        let mut state = self.lock();
        let mut changes = Vec::new();
        for object in servers {
            let change = match state.applied.get_mut(object) {
                Some(Applied {
                    given: PolicyObject::Server(given),
                    live: PolicyObject::Server(live),
                    ..
                }) => {
                    let wanted = access.map(str::to_owned).or_else(|| given.spec.access_policy.clone());
                    let is_same = live.spec.access_policy == wanted;
                    live.spec.access_policy = wanted;
                    if is_same { Changed::Unchanged } else { Changed::Configured }
                }
                _ => Changed::NotFound,
            };
            changes.push(Change { object: object.clone(), change });
        }
        state.compile_after(&changes);
        changes
    }

    /// Takes these objects away, and follows neither the paths nor their files any more.
    pub fn delete(&self, objects: Vec<ObjectKey>, paths: &[PathBuf]) -> Vec<Change> {
        let mut state = self.lock();
        state.followed.paths.retain(|path| !paths.contains(path));
        let changes: Vec<_> = objects.into_iter().map(|object| state.take(object)).collect();
        if state.applied.is_empty() {
            state.followed = Followed::default();
        }
        state.compile_after(&changes);
        changes
    }

    /// Makes what is applied equal to what the followed files have now: `objects` are all of theirs.
    pub fn follow(&self, objects: Vec<Given>, now: Timestamp) -> Vec<Change> {
        let mut state = self.lock();
        let Followed { paths, left } = state.followed.clone();
        let objects: Vec<_> = objects.into_iter().filter(|given| !left.contains(&given.file)).collect();
        let kept: BTreeSet<_> = objects.iter().map(|given| given.object.key()).collect();
        let is_followed = |file: &PathBuf| paths.iter().any(|path| file.starts_with(path));
        let gone = state.applied.iter().filter(|(key, own)| is_followed(&own.file) && !kept.contains(*key));
        let gone: Vec<_> = gone.map(|(key, _)| key.clone()).collect();
        let mut changes = Vec::new();
        for object in gone {
            state.applied.remove(&object);
            changes.push(Change { object, change: Changed::Deleted });
        }
        changes.extend(state.put(objects, now));
        state.compile_after(&changes);
        changes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn objects(&self) -> Objects {
        let mut objects = self.plan.clone();
        for applied in self.applied.values() {
            applied.live.add_to(&mut objects);
        }
        objects
    }

    fn put(&mut self, objects: Vec<Given>, now: Timestamp) -> Vec<Change> {
        let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let mut changes = Vec::new();
        for Given { object, file } in objects {
            let key = object.key();
            let change = match self.applied.entry(key.clone()) {
                Entry::Vacant(place) => {
                    let live = created(object.clone(), Some(Time(second)));
                    place.insert(Applied { given: object, live, file });
                    Changed::Created
                }
                Entry::Occupied(mut place) => {
                    let own = place.get_mut();
                    own.file = file;
                    let live = created(object.clone(), own.live.metadata().creation_timestamp.clone());
                    let is_same = own.live == live;
                    (own.given, own.live) = (object, live);
                    if is_same { Changed::Unchanged } else { Changed::Configured }
                }
            };
            changes.push(Change { object: key, change });
        }
        changes
    }

    fn take(&mut self, object: ObjectKey) -> Change {
        let Some(gone) = self.applied.remove(&object) else {
            return Change { object, change: Changed::NotFound };
        };
        if !self.applied.values().any(|applied| applied.file == gone.file) {
            self.followed.left.insert(gone.file);
        }
        Change { object, change: Changed::Deleted }
    }

    fn compile_after(&mut self, changes: &[Change]) {
        let no_effect = |change: &Change| matches!(change.change, Changed::Unchanged | Changed::NotFound);
        if !changes.iter().all(no_effect) {
            self.compile();
        }
    }

    /// Tells everyone who watches. Who reads a request's policy meanwhile has the old or the new, whole.
    fn compile(&mut self) {
        self.inbound.retain(|(_, sender)| !sender.is_closed());
        self.outbound.retain(|_, sender| !sender.is_closed());
        let objects = self.objects();
        for (workload, sender) in &self.inbound {
            sender.send_replace(Arc::new(Inbound::new(workload, &objects, &self.cluster)));
        }
        for (key, sender) in &self.outbound {
            sender.send_replace(Arc::new(service_policy(&objects, &self.cluster, key)));
        }
    }
}

fn service_policy(
    objects: &Objects,
    cluster: &ClusterInfo,
    (client_namespace, service): &(String, ServicePort),
) -> ServicePolicy {
    ServicePolicy::new(objects, cluster, client_namespace, service)
        .unwrap_or_else(|| ServicePolicy::without_routes(service.clone(), &OutboundSettings::default()))
}

fn created(mut object: PolicyObject, at: Option<Time>) -> PolicyObject {
    object.metadata_mut().creation_timestamp = at;
    object
}

#[cfg(test)]
mod tests;
