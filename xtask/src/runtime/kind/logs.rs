//! What pods write, from the API server: over restarts and lost connections, nothing twice.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{AsyncBufReadExt as _, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::api::ApiServer;
use crate::plan::lookup::name;
use crate::report::{Event, Events};

/// How often new pods are looked for.
const LOOK: Duration = Duration::from_millis(500);

/// Lines shown of a container that ended.
const LAST: i64 = 5;

/// A line that a container wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub at: Timestamp,
    pub pod: String,
    pub deployment: String,
    pub text: String,
}

/// Everything that pods write from now on, as events. Ends with the task.
pub async fn into_events(server: ApiServer, namespace: String, events: Events) {
    let (lines, mut read) = mpsc::channel(1024);
    let since = Timestamp::now();
    let following = follow(&server, &namespace, Some(since), true, lines);
    let telling = async {
        while let Some(Line { pod, deployment, text, .. }) = read.recv().await {
            events.emit(Event::Log { pod, deployment, line: text });
        }
    };
    tokio::join!(following, telling);
}

/// Sends what the pods of our Deployments wrote since then, and with `on` what they write from now on; a line of one
/// container in its order. Proxies' lines are left out.
pub async fn follow(
    server: &ApiServer,
    namespace: &str,
    since: Option<Timestamp>,
    on: bool,
    lines: mpsc::Sender<Line>,
) {
    let mut tasks = JoinSet::new();
    // How often a container had been started when its log was read last.
    let mut read: BTreeMap<(String, String), i32> = BTreeMap::new();
    loop {
        let pods: Vec<Pod> = server.list(Some(namespace), "app").await.unwrap_or_default();
        for pod in pods {
            for (container, restarts) in containers(&pod) {
                let key = (pod.metadata.uid.clone().unwrap_or_default(), container.clone());
                if read.insert(key, restarts) == Some(restarts) {
                    continue;
                }
                let source = Source {
                    server: server.clone(),
                    namespace: namespace.to_owned(),
                    pod: name(&pod).to_owned(),
                    deployment: deployment(&pod),
                    container,
                };
                tasks.spawn(source.read(since, on, lines.clone()));
            }
        }
        if !on {
            while tasks.join_next().await.is_some() {}
            return;
        }
        while tasks.try_join_next().is_some() {}
        if lines.is_closed() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The containers that have started, and how often each had been before.
fn containers(pod: &Pod) -> Vec<(String, i32)> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .filter(|status| !status.name.starts_with("linkerd-"))
        .filter(|status| {
            let state = status.state.as_ref();
            state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        })
        .map(|status| (status.name.clone(), status.restart_count))
        .collect()
}

fn deployment(pod: &Pod) -> String {
    let label = |key: &str| pod.metadata.labels.as_ref()?.get(key).cloned();
    label("app").unwrap_or_else(|| name(pod).to_owned())
}

struct Source {
    server: ApiServer,
    namespace: String,
    pod: String,
    deployment: String,
    container: String,
}

impl Source {
    /// Reads one container's log to its end; where the connection is lost, from the last line on.
    async fn read(self, since: Option<Timestamp>, on: bool, lines: mpsc::Sender<Line>) {
        // The time of the last line, and how many lines had that time: a time can be asked for, a line cannot.
        let (mut last, mut at_last) = (since, 0_usize);
        loop {
            let api: Api<Pod> = Api::namespaced(self.server.client.clone(), &self.namespace);
            let params = LogParams {
                container: Some(self.container.clone()),
                follow: on,
                timestamps: true,
                since_time: last,
                ..LogParams::default()
            };
            let Ok(stream) = api.log_stream(&self.pod, &params).await else { return };
            let mut read = stream.lines();
            let mut skip = at_last;
            let mut broken = false;
            while let Some(line) = read.next().await {
                let Ok(line) = line else {
                    broken = true;
                    break;
                };
                let Some((at, text)) = line.split_once(' ') else { continue };
                let Ok(at) = at.parse::<Timestamp>() else { continue };
                if last.is_some_and(|last| at < last) {
                    continue;
                }
                if last == Some(at) {
                    if skip > 0 {
                        skip -= 1;
                        continue;
                    }
                    at_last += 1;
                } else {
                    (last, at_last) = (Some(at), 1);
                }
                let (pod, deployment) = (self.pod.clone(), self.deployment.clone());
                if lines.send(Line { at, pod, deployment, text: text.to_owned() }).await.is_err() {
                    return;
                }
            }
            if !broken || !on {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The last lines that a container wrote before it ended; none that cannot be had.
pub async fn last(server: &ApiServer, namespace: &str, pod: &str, container: &str) -> Vec<String> {
    let api: Api<Pod> = Api::namespaced(server.client.clone(), namespace);
    let params = LogParams {
        container: Some(container.to_owned()),
        previous: true,
        tail_lines: Some(LAST),
        ..LogParams::default()
    };
    let text = api.logs(pod, &params).await.unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
