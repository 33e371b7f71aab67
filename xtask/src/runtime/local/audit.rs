//! What only the access policy `audit` lets in, while somebody asks: for `policy ramp`.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh::{Decision, Observer, Protocol, Record, Seen};
use policy::inbound::Verdict;
use policy::label::ResourceLabel;
use tokio_util::task::AbortOnDropHandle;

use super::address::cluster_address;
use crate::runtime::policy::{Noted, Observed};

/// So many different things are noted at most: a bound on what paths with numbers in them come to.
const MOST: usize = 2000;

/// What was audited since somebody asked. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Audit(Arc<Mutex<Option<Watch>>>);

#[derive(Debug)]
struct Watch {
    seen: Arc<Mutex<Observed>>,
    _listening: AbortOnDropHandle<()>,
}

impl Audit {
    /// Counts from now on what all sidecars decide, from nothing.
    pub fn start(&self, observer: &Observer) {
        let seen: Arc<Mutex<Observed>> = Arc::default();
        let counted = Arc::clone(&seen);
        let listening = observer.listen(move |what| match what {
            Seen::Pod(_) => {}
            Seen::Record(record) => count(&mut locked(&counted), record),
            Seen::Missed(missed) => locked(&counted).missed += missed,
        });
        *locked(&self.0) = Some(Watch { seen, _listening: listening });
    }

    /// What was counted so far; nothing when nobody asked.
    pub fn seen(&self) -> Observed {
        locked(&self.0).as_ref().map(|watch| locked(&watch.seen).clone()).unwrap_or_default()
    }

    /// Counts no more.
    pub fn stop(&self) {
        *locked(&self.0) = None;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
