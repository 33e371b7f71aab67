use std::{
    cmp::Ordering as Order,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use policy::outbound::ServicePort;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Endpoint, FailureAccrual,
    context::Context,
    outbound::{
        endpoint::{EndpointState, Lease, Wire},
        random,
    },
};

/// How long requests wait for an endpoint before they are answered without one (Linkerd's).
const FAILFAST: Duration = Duration::from_secs(3);

/// Power of two choices on peak-EWMA latency, over the endpoints that are ready.
pub(crate) struct Balancer {
    endpoints: RwLock<Arc<[Arc<EndpointState>]>>,
    changed: Arc<Changed>,
    /// Requests have waited in vain: others do not wait until an endpoint is ready.
    failfast: AtomicBool,
    /// Meshed endpoints are connected to as they come, so that the first requests measure them alike: the one
    /// connected first would get them all, and be slow for it.
    eager: bool,
    ready: Gauge,
    pending: Gauge,
}

#[derive(Default)]
struct Changed(Notify);

/// Why there is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unready {
    /// None became ready in time.
    FailFast,
    /// None had become ready for others in time, and still none is.
    Shed,
}

impl Balancer {
    pub(crate) fn new(
        sidecar: &Context,
        parent: &ServicePort,
        service: &ServicePort,
        eager: bool,
    ) -> Arc<Self> {
        let [ready, pending] = sidecar.metrics.balancer(parent, service);
        Arc::new(Self {
            endpoints: RwLock::new(Arc::from([])),
            changed: Arc::default(),
            failfast: AtomicBool::new(false),
            eager,
            ready,
            pending,
        })
    }

    /// Follows the set of endpoints until it is stopped. Keeps to the set's last value when its sender is dropped.
    pub(crate) async fn follow(
        self: Arc<Self>,
        mut updates: watch::Receiver<Arc<[Endpoint]>>,
        sidecar: Arc<Context>,
        service: ServicePort,
        accrual: Option<FailureAccrual>,
        stop: CancellationToken,
    ) {
        let make = |endpoint| {
            let changed = self.changed.clone();
            let changed: Arc<dyn Fn() + Send + Sync> = Arc::new(move || changed.0.notify_waiters());
            EndpointState::new(endpoint, sidecar.clone(), &service, accrual, changed)
        };
        loop {
            let wanted = updates.borrow_and_update().clone();
            self.update(&wanted, make);
            // The gauges follow the endpoints' own changes too.
            loop {
                let changed = self.changed.0.notified();
                self.count();
                tokio::select! {
                    () = changed => {}
                    () = stop.cancelled() => return self.update(&[], make),
                    update = updates.changed() => match update {
                        Ok(()) => break,
                        Err(_closed) => {
                            stop.cancelled().await;
                            return self.update(&[], make);
                        }
                    },
                }
            }
        }
    }

    /// Takes the new set: endpoints that stay keep their connections and load.
    pub(crate) fn update(&self, wanted: &[Endpoint], make: impl Fn(Endpoint) -> Arc<EndpointState>) {
        let old = self.snapshot();
        let new: Arc<[Arc<EndpointState>]> = wanted
            .iter()
            .map(|endpoint| {
                let known = old.iter().find(|state| state.info == *endpoint);
                known.cloned().unwrap_or_else(|| make(endpoint.clone()))
            })
            .collect();
        self.endpoints.write().unwrap_or_else(PoisonError::into_inner).clone_from(&new);
        for gone in old.iter().filter(|old| !new.iter().any(|new| Arc::ptr_eq(old, new))) {
            gone.remove();
        }
        if self.eager {
            new.iter().filter(|endpoint| endpoint.info.identity.is_some()).for_each(EndpointState::drive);
        }
        self.changed.0.notify_waiters();
    }

    fn snapshot(&self) -> Arc<[Arc<EndpointState>]> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the pods' port carries bytes that are not to be looked at.
    pub(crate) fn is_opaque(&self) -> bool {
        self.snapshot().iter().any(|endpoint| endpoint.info.opaque)
    }

    fn count(&self) {
        let endpoints = self.snapshot();
        let ready =
            endpoints.iter().filter(|endpoint| endpoint.is_ready(wire_of(endpoint, Wire::H1))).count();
        self.ready.set(i64::try_from(ready).unwrap_or(i64::MAX));
        self.pending.set(i64::try_from(endpoints.len() - ready).unwrap_or(i64::MAX));
    }

    /// An endpoint for a request that goes as `unmeshed` to pods without a sidecar, and over HTTP/2 to others
    /// (unless it needs a connection of its own). Endpoints in `tried` are passed over. None: none is ready.
    pub(crate) fn try_pick(&self, unmeshed: Wire, tried: &[Arc<EndpointState>]) -> Option<Lease> {
        let endpoints = self.snapshot();
        let is_candidate = |endpoint: &&Arc<EndpointState>| {
            endpoint.is_ready(wire_of(endpoint, unmeshed)) && !tried.iter().any(|t| Arc::ptr_eq(t, endpoint))
        };
        let count = endpoints.iter().filter(is_candidate).count();
        let nth = |n| endpoints.iter().filter(is_candidate).nth(n);
        let chosen = match count {
            0 => return None,
            1 => nth(0)?,
            _ => {
                let first = random::below(count);
                let second = (first + 1 + random::below(count - 1)) % count;
                // Readiness may have changed since the count.
                match (nth(first), nth(second)) {
                    (Some(a), Some(b)) => cheaper(a, b),
                    (Some(a), None) | (None, Some(a)) => a,
                    (None, None) => nth(0)?,
                }
            }
        };
        chosen.lease()
    }

    /// As [`Balancer::try_pick`], waiting for an endpoint to become ready for 3 s, or until `deadline`.
    pub(crate) async fn pick(
        &self,
        unmeshed: Wire,
        tried: &[Arc<EndpointState>],
        deadline: Option<Instant>,
    ) -> Result<Lease, Unready> {
        if let Some(lease) = self.try_pick(unmeshed, tried) {
            if self.failfast.load(Ordering::Relaxed) {
                self.failfast.store(false, Ordering::Relaxed);
            }
            return Ok(lease);
        }
        Box::pin(self.wait(unmeshed, tried, deadline)).await
    }

    #[cold]
    async fn wait(
        &self,
        unmeshed: Wire,
        tried: &[Arc<EndpointState>],
        deadline: Option<Instant>,
    ) -> Result<Lease, Unready> {
        let limit = Instant::now() + FAILFAST;
        let shed = self.failfast.load(Ordering::Relaxed);
        loop {
            let mut changed = std::pin::pin!(self.changed.0.notified());
            changed.as_mut().enable();
            self.drive(unmeshed);
            if let Some(lease) = self.try_pick(unmeshed, tried) {
                self.failfast.store(false, Ordering::Relaxed);
                return Ok(lease);
            }
            if self.failfast.load(Ordering::Relaxed) {
                return Err(if shed { Unready::Shed } else { Unready::FailFast });
            }
            if tokio::time::timeout_at(deadline.unwrap_or(limit).min(limit), changed).await.is_err() {
                // Somebody else's shorter patience is no state of the Service.
                if deadline.is_none_or(|deadline| deadline >= limit) {
                    self.failfast.store(true, Ordering::Relaxed);
                    // Who waits as well waits no longer.
                    self.changed.0.notify_waiters();
                }
                return Err(Unready::FailFast);
            }
        }
    }

    /// Whether a request may come: none has waited in vain, or an endpoint has become ready since.
    pub(crate) fn is_open(&self, unmeshed: Wire) -> bool {
        if !self.failfast.load(Ordering::Relaxed) {
            return true;
        }
        self.drive(unmeshed);
        let ready = self.snapshot().iter().any(|endpoint| endpoint.is_ready(wire_of(endpoint, unmeshed)));
        if ready {
            self.failfast.store(false, Ordering::Relaxed);
        }
        ready
    }

    /// Whether there are endpoints besides these, ready or not.
    pub(crate) fn has_others(&self, tried: &[Arc<EndpointState>]) -> bool {
        self.snapshot().iter().any(|endpoint| !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint)))
    }

    fn drive(&self, unmeshed: Wire) {
        for endpoint in self.snapshot().iter() {
            if wire_of(endpoint, unmeshed) == Wire::H2 {
                endpoint.drive();
            }
        }
    }
}

/// How a request goes to this endpoint.
pub(crate) fn wire_of(endpoint: &EndpointState, unmeshed: Wire) -> Wire {
    if endpoint.info.identity.is_some() && unmeshed != Wire::Own { Wire::H2 } else { unmeshed }
}

fn cheaper<'a>(a: &'a Arc<EndpointState>, b: &'a Arc<EndpointState>) -> &'a Arc<EndpointState> {
    if a.cost().partial_cmp(&b.cost()) == Some(Order::Greater) { b } else { a }
}
