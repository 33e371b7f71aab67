//! Gathers what pages are told, while any is open.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::topology::Topology;
use super::{Served, policies};
use crate::plan::Plan;
use crate::runtime::Status;
use crate::runtime::fault::FaultRequest;
use crate::runtime::stat::OpenConnections;

/// How often it is looked at what runs.
const LOOK: Duration = Duration::from_millis(500);
/// A page that is loaded again goes on with the calls that were counted.
const LINGER: Duration = Duration::from_secs(5);

/// Starts all that gathers.
pub fn start(served: &Arc<Served>) -> Vec<JoinHandle<()>> {
    vec![
        tokio::spawn(status(Arc::clone(served))),
        tokio::spawn(traffic(Arc::clone(served))),
        tokio::spawn(policies(Arc::clone(served))),
    ]
}

/// What the plan says.
#[derive(Serialize)]
struct Planned<'a> {
    /// As on the command line.
    mode: String,
    grpc: bool,
    linkerd: bool,
    /// The checkout.
    workspace: String,
    /// Where the services answer, by host.
    links: Vec<String>,
    topology: &'a Topology,
}

async fn status(served: Arc<Served>) {
    let mut pages = served.pages.subscribe();
    let mut before = None;
    let mut planned: Option<Arc<Plan>> = None;
    while pages.wait_for(|open| *open > 0).await.is_ok() {
        let (workspace, plan) = (served.current)();
        if !planned.as_ref().is_some_and(|own| Arc::ptr_eq(own, &plan)) {
            let port = served.runtime.ingress().map(|address| address.port());
            let link = |host: String| port.map(|port| format!("http://{host}:{port}/"));
            let told = Planned {
                mode: plan.mode.to_string(),
                grpc: plan.mode.grpc,
                linkerd: plan.mode.linkerd,
                workspace: workspace.root.display().to_string(),
                links: plan.hosts().into_iter().filter_map(link).collect(),
                topology: &Topology::of(&plan),
            };
            tell(&served.plan, &told);
            planned = Some(plan);
        }
        if let Ok(status) = served.runtime.status().await {
            let mut same = status.clone();
            // Time passes without being told.
            same.uptime_seconds = 0;
            same.pods.iter_mut().for_each(|pod| pod.age_seconds = 0);
            let faults = served.runtime.fault(FaultRequest::List).await.unwrap_or_default().faults;
            let faults = faults.iter().map(|own| format!("{}: {}", own.spec.of(), own.spec.effects()));
            let now = (same, faults.collect::<Vec<_>>());
            if before.as_ref() != Some(&now) {
                let at = Timestamp::now().as_millisecond();
                tell(&served.status, &Now { at, faults: &now.1, status: &status });
                before = Some(now);
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What runs, and when that was so.
#[derive(Serialize)]
struct Now<'a> {
    /// Milliseconds since 1970.
    at: i64,
    /// The faults on purpose, in words.
    faults: &'a [String],
    #[serde(flatten)]
    status: &'a Status,
}

/// Why there are no calls to show, and what is known in their place.
#[derive(Serialize)]
struct Blind {
    blind: String,
    connections: Vec<OpenConnections>,
}

async fn traffic(served: Arc<Served>) {
    let mut pages = served.pages.subscribe();
    while pages.wait_for(|open| *open > 0).await.is_ok() {
        match served.runtime.traffic() {
            Err(error) => {
                let connections = served.runtime.connections();
                tell(&served.traffic, &Blind { blind: error.to_string(), connections });
                tokio::time::sleep(LOOK).await;
            }
            Ok(mut told) => loop {
                let next = tokio::select! {
                    next = told.next() => next,
                    () = nobody(pages.clone()) => None,
                };
                let Some(next) = next else { break };
                tell(&served.traffic, &next);
            },
        }
    }
}

/// Waits until no page was open for a while.
async fn nobody(mut pages: watch::Receiver<usize>) {
    loop {
        if pages.wait_for(|open| *open == 0).await.is_err() {
            return;
        }
        if tokio::time::timeout(LINGER, pages.wait_for(|open| *open > 0)).await.is_err() {
            return;
        }
    }
}

/// Who may call whom: anew when what it depends on has changed.
async fn policies(served: Arc<Served>) {
    let mut pages = served.pages.subscribe();
    let mut before = None;
    while pages.wait_for(|open| *open > 0).await.is_ok() {
        let (_, plan) = (served.current)();
        if let Ok(objects) = policies::in_force(&*served.runtime).await {
            let now = (Arc::as_ptr(&plan) as usize, objects);
            if before.as_ref() != Some(&now) {
                let (served, objects) = (Arc::clone(&served), now.1.clone());
                let told = tokio::task::spawn_blocking(move || {
                    tell(&served.policies, &policies::told(&served.current, &objects));
                });
                // It does not fail; if it did, it is told the next time.
                let _ = told.await;
                before = Some(now);
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(to: &watch::Sender<Arc<str>>, what: &impl Serialize) {
    // Nothing here is a map whose keys are no text.
    to.send_replace(serde_json::to_string(what).unwrap_or_default().into());
}
