//! Waiting: until all is ready, or certain not to get ready; until pods are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use serde_json::Value;

use super::api::{ApiServer, Key};
use super::cluster::Cluster;
use super::missing;
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

/// Names of Deployments, by namespace.
pub type Wanted = BTreeMap<String, BTreeSet<String>>;

/// The Deployments among objects that were applied.
pub fn wanted(objects: &[Value]) -> Wanted {
    let mut wanted = Wanted::new();
    for key in objects.iter().filter_map(Key::of).filter(|key| key.kind == "Deployment") {
        wanted.entry(key.namespace.unwrap_or_default()).or_default().insert(key.name);
    }
    wanted
}

/// Waits until every wanted Deployment is rolled out. Errors with the cause as soon as one is certain not to be: images
/// that cannot be had are a fault of the environment (exit code 3), and all that are missing are named at once. `then`:
/// the images of what comes after these.
pub async fn wait(
    cluster: &Cluster,
    wanted: &Wanted,
    then: &[String],
    events: &Events,
) -> anyhow::Result<()> {
    let (server, start) = (&cluster.server, Instant::now());
    let mut told: BTreeMap<(String, String), Progress> = BTreeMap::new();
    let mut pods_told: BTreeMap<String, PodState> = BTreeMap::new();
    let mut stuck_since: Option<Instant> = None;
    loop {
        let mut stuck = Vec::new();
        let (mut done, mut ending) = (0, false);
        for (namespace, names) in wanted {
            let (deployments, pods): (Vec<Deployment>, Vec<Pod>) =
                tokio::try_join!(server.list(Some(namespace), ""), server.list(Some(namespace), ""))?;
            for deployment in deployments.iter().filter(|deployment| names.contains(name(*deployment))) {
                for pod in pods_of(deployment, &pods) {
                    tell_pod((deployment, pod), &mut pods_told, events);
                    // Pods that were told to stop can still be reached for a moment: what answers then is old.
                    ending |= pod.metadata.deletion_timestamp.is_some();
                }
                let one = progress(deployment, &pods);
                done += usize::from(one.done);
                let before = told.insert((namespace.clone(), one.deployment.clone()), one.clone());
                // One that was done before anybody looked is no news.
                if before.map_or(!one.done, |before| before != one) {
                    events.emit(Event::Rollout {
                        deployment: one.deployment.clone(),
                        updated: one.updated,
                        ready: one.ready,
                        desired: one.desired,
                        done: one.done,
                        ms: millis(start.elapsed()),
                    });
                }
                stuck.extend(one.stuck.map(|why| Hopeless { namespace, deployment: one.deployment, why }));
            }
        }
        let all: usize = wanted.values().map(BTreeSet::len).sum();
        if done == all && !ending {
            return Ok(());
        }
        if stuck.is_empty() {
            stuck_since = None;
        } else if stuck_since.get_or_insert_with(Instant::now).elapsed() >= SURE {
            return Err(hopeless(cluster, &stuck, wanted, then).await);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A Deployment that will not get ready.
struct Hopeless<'a> {
    namespace: &'a str,
    deployment: String,
    why: Stuck,
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
async fn hopeless(
    cluster: &Cluster,
    stuck: &[Hopeless<'_>],
    wanted: &Wanted,
    then: &[String],
) -> anyhow::Error {
    let server = &cluster.server;
    let mut lines = Vec::new();
    for Hopeless { namespace, deployment, why } in stuck {
        let mut line = format!("{deployment}: {why}");
        if let Stuck::Crashes { pod, container, .. } = why {
            for said in super::logs::last(server, namespace, pod, container).await {
                line = format!("{line}\n    {said}");
            }
        }
        lines.push(line);
    }
    let text = lines.join("\n");
    if !stuck.iter().any(|one| matches!(one.why, Stuck::Image { .. })) {
        return Fault::failed(text).hint("cargo xtask logs SERVICE shows all that it wrote").into();
    }
    let mut pods: Vec<Pod> = Vec::new();
    for namespace in wanted.keys() {
        pods.extend(server.list(Some(namespace), "").await.unwrap_or_default());
    }
    let images = missing::of(cluster, &pods, then).await;
    let all: Vec<&str> = images.iter().map(String::as_str).collect();
    Fault::environment(format!("{text}\nnot there yet, of all that is to run: {}", all.join(" ")))
        .hint(missing::remedy(&images, &cluster.which))
        .into()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_wanted_are_the_deployments_of_every_namespace() {
        let object = |kind: &str, namespace: &str, name: &str| json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": name, "namespace": namespace } });
        let objects = [
            object("Deployment", "a", "one"),
            object("Service", "a", "two"),
            object("Deployment", "b", "three"),
        ];
        let wanted = format!("{:?}", wanted(&objects));
        insta::assert_snapshot!(wanted, @r#"{"a": {"one"}, "b": {"three"}}"#);
    }
}
