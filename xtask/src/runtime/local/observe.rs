//! What policies decided, as the sidecars see it while somebody asks: for `policy ramp`.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use mesh::{Decision, Protocol, Record, RecordSource, Sidecar};
use policy::inbound::Verdict;
use policy::label::ResourceLabel;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::AbortOnDropHandle;

use super::address::cluster_address;
use crate::runtime::policy::{Noted, Observed};

/// How often sidecars that are new are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// So many different things are noted at most: a bound on what paths with numbers in them come to.
const MOST: usize = 2000;

/// The sidecars of a run, and what is observed of them. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    sidecars: Vec<RecordSource>,
    /// While somebody asks.
    watch: Option<(AbortOnDropHandle<()>, Arc<Mutex<Observed>>)>,
}

impl Observer {
    /// One more sidecar, for as long as it lives.
    pub fn add(&self, sidecar: &Sidecar) {
        let mut state = self.lock();
        state.sidecars.retain(RecordSource::is_alive);
        state.sidecars.push(sidecar.record_source());
    }

    /// Counts from now on what all sidecars decide, from nothing.
    pub fn start(&self) {
        let seen: Arc<Mutex<Observed>> = Arc::default();
        let task = tokio::spawn(look(Arc::downgrade(&self.0), Arc::clone(&seen)));
        self.lock().watch = Some((AbortOnDropHandle::new(task), seen));
    }

    /// What was counted so far; nothing when nobody asked.
    pub fn seen(&self) -> Observed {
        let watch = self.lock().watch.as_ref().map(|(_, seen)| Arc::clone(seen));
        watch.map(|seen| seen.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }

    /// Counts no more.
    pub fn stop(&self) {
        self.lock().watch = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens to every sidecar, those that come later too.
async fn look(observer: Weak<Mutex<State>>, seen: Arc<Mutex<Observed>>) {
    let mut listeners = tokio::task::JoinSet::new();
    let mut known: Vec<RecordSource> = Vec::new();
    loop {
        let Some(state) = observer.upgrade() else { return };
        let sidecars = state.lock().unwrap_or_else(PoisonError::into_inner).sidecars.clone();
        drop(state);
        known.retain(RecordSource::is_alive);
        for sidecar in sidecars {
            if !known.iter().any(|own| own.is_same(&sidecar))
                && let Some(mut records) = sidecar.subscribe()
            {
                let seen = Arc::clone(&seen);
                known.push(sidecar);
                listeners.spawn(async move {
                    loop {
                        let next = records.recv().await;
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        match next {
                            Ok(record) => count(&mut seen, &record),
                            Err(RecvError::Lagged(missed)) => seen.missed += missed,
                            Err(RecvError::Closed) => return,
                        }
                    }
                });
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn count(seen: &mut Observed, record: &Record) {
    let Some(Decision { verdict, labels, .. }) = &record.decision else { return };
    seen.requests += 1;
    if *verdict != Verdict::Audit {
        return;
    }
    let named = |label: &ResourceLabel| (label.group.clone(), label.kind.clone(), label.name.clone());
    let noted = Noted {
        identity: record.peer_identity.as_ref().map(|identity| identity.as_str().to_owned()),
        // Of a client with an identity the address says nothing more.
        address: record
            .peer
            .filter(|_| record.peer_identity.is_none())
            .map(|peer| IpAddr::to_string(&cluster_address(peer.ip()))),
        namespace: record.workload.namespace.clone(),
        deployment: record.workload.deployment.clone(),
        server: labels.server.name.clone(),
        route: labels.route.as_ref().filter(|route| !route.is_default()).map(named),
        grpc: record.protocol == Protocol::Grpc,
        method: record.method.to_string(),
        path: record.path.clone(),
    };
    let full = seen.noted.len() >= MOST;
    match seen.noted.iter_mut().find(|(own, _)| *own == noted) {
        Some((_, times)) => *times += 1,
        None if full => seen.missed += 1,
        None => seen.noted.push((noted, 1)),
    }
}
