//! Waiting: until all is ready, or certain not to get ready; until pods are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};

use super::api::ApiServer;
use super::progress::{Progress, Stuck, pods_of, progress, state};
use crate::error::Fault;
use crate::plan::lookup::name;
use crate::report::event::{Exited, PodState};
use crate::report::step::Step;
use crate::report::{Event, Events, millis};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// What looks hopeless for this long is: an image that was just loaded can be seen a moment late, and so can a node.
const SURE: Duration = Duration::from_secs(4);

/// A cluster's DNS is ready within this.
const DNS: Duration = Duration::from_secs(120);

/// Pods of a namespace get their grace period and a little more.
const GONE: Duration = Duration::from_secs(60);

/// Waits until every wanted Deployment is rolled out. Errors with the cause as soon as one is certain not to be: images
/// that cannot be had are a fault of the environment (exit code 3).
pub async fn wait(
    server: &ApiServer,
    namespace: &str,
    wanted: &BTreeSet<String>,
    events: &Events,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut told: BTreeMap<String, Progress> = BTreeMap::new();
    let mut pods_told: BTreeMap<String, PodState> = BTreeMap::new();
    let mut stuck_since: Option<Instant> = None;
    loop {
        let (deployments, pods): (Vec<Deployment>, Vec<Pod>) =
            tokio::try_join!(server.list(Some(namespace), ""), server.list(Some(namespace), ""))?;
        let ours = deployments.iter().filter(|deployment| wanted.contains(name(*deployment)));
        for pod in
            ours.clone().flat_map(|deployment| pods_of(deployment, &pods).map(move |pod| (deployment, pod)))
        {
            tell_pod(pod, &mut pods_told, events);
        }
        let old: Vec<&Pod> = ours.clone().flat_map(|deployment| pods_of(deployment, &pods)).collect();
        let all: Vec<Progress> = ours.map(|deployment| progress(deployment, &pods)).collect();
        for one in &all {
            // One that was done before anybody looked is no news.
            let news = told.get(&one.deployment).map_or(!one.done, |before| before != one);
            if news {
                events.emit(Event::Rollout {
                    deployment: one.deployment.clone(),
                    updated: one.updated,
                    ready: one.ready,
                    desired: one.desired,
                    done: one.done,
                    ms: millis(start.elapsed()),
                });
            }
            told.insert(one.deployment.clone(), one.clone());
        }
        // Pods that were told to stop can still be reached for a moment: what answers then is old.
        let ending = old.iter().any(|pod| pod.metadata.deletion_timestamp.is_some());
        if all.len() == wanted.len() && all.iter().all(|one| one.done) && !ending {
            return Ok(());
        }
        let stuck: Vec<(&str, &Stuck)> =
            all.iter().filter_map(|one| Some((one.deployment.as_str(), one.stuck.as_ref()?))).collect();
        match (stuck.is_empty(), stuck_since) {
            (true, _) => stuck_since = None,
            (false, None) => stuck_since = Some(Instant::now()),
            (false, Some(since)) if since.elapsed() >= SURE => {
                return Err(hopeless(server, namespace, &stuck).await);
            }
            _ => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until the cluster's own DNS answers: without it no Service has a name. A new cluster's starts last. One that is
/// made in another way is taken to be there.
pub async fn dns(server: &ApiServer, events: &Events) -> Result<(), Fault> {
    let start = Instant::now();
    let mut step = None;
    loop {
        let servers: Vec<Deployment> = server.list(Some("kube-system"), "k8s-app=kube-dns").await?;
        let answers = |server: &Deployment| {
            server.status.as_ref().is_some_and(|status| status.available_replicas.unwrap_or(0) > 0)
        };
        if servers.is_empty() || servers.iter().any(answers) {
            if let Some(step) = step {
                Step::finish(step, String::new());
            }
            return Ok(());
        }
        if start.elapsed() > DNS {
            return Err(Fault::failed(format!("the cluster's DNS is not ready after {DNS:?}"))
                .hint("kubectl -n kube-system describe pods -l k8s-app=kube-dns"));
        }
        step.get_or_insert_with(|| Step::start(events, "dns"));
        tokio::time::sleep(LOOK).await;
    }
}

fn tell_pod((deployment, pod): (&Deployment, &Pod), told: &mut BTreeMap<String, PodState>, events: &Events) {
    let (state, reason) = state(pod);
    if told.insert(name(pod).to_owned(), state) != Some(state) {
        events.emit(Event::Pod {
            pod: name(pod).to_owned(),
            deployment: name(deployment).to_owned(),
            state,
            reason,
        });
    }
}

/// Why it will not get ready, all reasons at once.
async fn hopeless(server: &ApiServer, namespace: &str, stuck: &[(&str, &Stuck)]) -> anyhow::Error {
    let mut lines = Vec::new();
    for (deployment, stuck) in stuck {
        let mut line = format!("{deployment}: {stuck}");
        if let Stuck::Crashes { pod, container, .. } = stuck {
            for said in super::logs::last(server, namespace, pod, container).await {
                line = format!("{line}\n    {said}");
            }
        }
        lines.push(line);
    }
    let text = lines.join("\n");
    if !stuck.iter().any(|(_, stuck)| matches!(stuck, Stuck::Image { .. })) {
        return Fault::failed(text).hint("cargo xtask logs SERVICE shows all that it wrote").into();
    }
    let images = missing(&server.list(Some(namespace), "").await.unwrap_or_default());
    let images = images.into_iter().collect::<Vec<_>>().join(" ");
    Fault::environment(format!("{text}\nnot there yet, of all that was applied: {images}"))
        .hint(format!(
            "is the registry reachable from the nodes? else load them: kind load docker-image {images}"
        ))
        .into()
}

/// The images of pods' containers that were never started: those that are in no node, as far as it shows.
fn missing(pods: &[Pod]) -> BTreeSet<String> {
    let mut images = BTreeSet::new();
    for pod in pods {
        let Some(spec) = &pod.spec else { continue };
        let started: BTreeSet<&str> = super::progress::statuses(pod)
            .filter(|status| !status.image_id.is_empty())
            .map(|status| status.name.as_str())
            .collect();
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let left = containers.filter(|container| !started.contains(container.name.as_str()));
        images.extend(left.filter_map(|container| container.image.clone()));
    }
    // One that another container runs is there.
    for status in pods.iter().flat_map(super::progress::statuses).filter(|status| !status.image_id.is_empty())
    {
        images.remove(&status.image);
    }
    images
}

/// The version of a namespace's pods, from which they can be watched.
pub async fn version(server: &ApiServer, namespace: &str) -> Result<String, Fault> {
    let api: Api<Pod> = Api::namespaced(server.client.clone(), namespace);
    let params = ListParams::default().limit(1);
    let list = server.patiently(|| api.list_metadata(&params)).await;
    let list = list.map_err(|error| super::api::fault("cannot list pods", &error))?;
    Ok(list.metadata.resource_version.unwrap_or_default())
}

/// Waits until pods are gone; says how each ended. `version`: the namespace's, before they were told to, so that no end
/// is missed. One whose end the API server did not tell is not among the answers.
pub async fn gone(
    server: &ApiServer,
    namespace: &str,
    mut pods: BTreeSet<String>,
    mut version: String,
) -> Result<Vec<Exited>, Fault> {
    let start = Instant::now();
    let ours = pods.clone();
    let mut ended: BTreeMap<String, Exited> = BTreeMap::new();
    while !pods.is_empty() {
        let api: Api<Pod> = Api::namespaced(server.client.clone(), namespace);
        let params = WatchParams::default().timeout(30);
        let watching = server.patiently(|| api.watch(&params, &version)).await;
        let mut events = watching.map_err(|error| super::api::fault("cannot watch pods", &error))?.boxed();
        while let Ok(Some(Ok(event))) = tokio::time::timeout(LOOK * 20, events.next()).await {
            match event {
                WatchEvent::Modified(pod) | WatchEvent::Added(pod) => {
                    version = pod.metadata.resource_version.clone().unwrap_or(version);
                    ended.extend(exit(&pod).map(|exited| (exited.pod.clone(), exited)));
                }
                WatchEvent::Deleted(pod) => {
                    version = pod.metadata.resource_version.clone().unwrap_or(version);
                    ended.extend(exit(&pod).map(|exited| (exited.pod.clone(), exited)));
                    pods.remove(name(&pod));
                }
                WatchEvent::Bookmark(_) | WatchEvent::Error(_) => {}
            }
            if pods.is_empty() {
                break;
            }
        }
        // What a broken watch did not tell.
        let there: Vec<Pod> = server.list(Some(namespace), "").await?;
        pods.retain(|pod| there.iter().any(|there| name(there) == pod));
        if start.elapsed() > GONE && !pods.is_empty() {
            let names: Vec<&str> = pods.iter().map(String::as_str).collect();
            return Err(Fault::failed(format!("not gone after {GONE:?}: {}", names.join(", "))));
        }
    }
    Ok(ended.into_values().filter(|exited| ours.contains(&exited.pod)).collect())
}

fn exit(pod: &Pod) -> Option<Exited> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let own = statuses.iter().find(|status| !status.name.starts_with("linkerd-"))?;
    let terminated = own.state.as_ref()?.terminated.as_ref()?;
    let killed = terminated.exit_code == 137;
    Some(Exited { pod: name(pod).to_owned(), code: Some(terminated.exit_code).filter(|_| !killed), killed })
}
