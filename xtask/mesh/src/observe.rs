//! What the sidecars see, while somebody asks: every record of all of them, those that come later too.

use std::{net::IpAddr, sync::Arc};

use tokio::sync::{broadcast::error::RecvError, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::{Record, RecordSource, Sidecar, Workload};

/// The sidecars of a run. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<watch::Sender<Vec<Observed>>>);

/// A sidecar that can be listened to.
#[derive(Clone, Debug)]
struct Observed {
    records: RecordSource,
    pod: Pod,
}

/// The pod of a sidecar, and where its own connections come from.
#[derive(Clone, Debug)]
pub struct Pod {
    /// The pod's address.
    pub address: IpAddr,
    /// The pod.
    pub workload: Arc<Workload>,
}

/// What comes from the sidecars.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A pod with a sidecar, before any record that names it.
    Pod(&'a Pod),
    /// A finished request.
    Record(&'a Record),
    /// So many came too fast to be looked at.
    Missed(u64),
}

impl Observer {
    /// One more sidecar, for as long as it lives.
    pub fn add(&self, sidecar: &Sidecar, workload: &Arc<Workload>, address: IpAddr) {
        let pod = Pod { address, workload: Arc::clone(workload) };
        let new = Observed { records: sidecar.record_source(), pod };
        self.0.send_modify(|sidecars| {
            sidecars.retain(|own| own.records.is_alive());
            sidecars.push(new);
        });
    }

    /// Tells `sink` what every sidecar sees from now on, until the handle is dropped.
    pub fn listen(&self, sink: impl Fn(Seen<'_>) + Send + Sync + 'static) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(listen(self.0.subscribe(), Arc::new(sink))))
    }
}

type Sink = Arc<dyn Fn(Seen<'_>) + Send + Sync>;

async fn listen(mut sidecars: watch::Receiver<Vec<Observed>>, sink: Sink) {
    let mut listeners = tokio::task::JoinSet::new();
    let mut known: Vec<RecordSource> = Vec::new();
    loop {
        let all = sidecars.borrow_and_update().clone();
        known.retain(RecordSource::is_alive);
        let mut streams = Vec::new();
        for Observed { records, pod } in all {
            if !known.iter().any(|own| own.is_same(&records))
                && let Some(stream) = records.subscribe()
            {
                known.push(records);
                streams.push(stream);
                sink(Seen::Pod(&pod));
            }
        }
        for mut stream in streams {
            let sink = Arc::clone(&sink);
            listeners.spawn(async move {
                loop {
                    match stream.recv().await {
                        Ok(record) => sink(Seen::Record(&record)),
                        Err(RecvError::Lagged(missed)) => sink(Seen::Missed(missed)),
                        Err(RecvError::Closed) => return,
                    }
                }
            });
        }
        // Those that have ended are not kept.
        while listeners.try_join_next().is_some() {}
        if sidecars.changed().await.is_err() {
            return;
        }
    }
}
