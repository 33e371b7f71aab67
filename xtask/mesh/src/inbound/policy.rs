use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use policy::{
    inbound::{Inbound, PortPolicy},
    rate_limit::{Limiter, RateLimited},
};
use tokio::sync::watch;

/// The policy of a port, as it changes.
pub(crate) struct Watched {
    port: u16,
    inbound: watch::Receiver<Arc<Inbound>>,
    last: RwLock<Last>,
}

/// The policy that was read last, and what is in force because of it.
struct Last {
    read: Arc<PortPolicy>,
    in_force: Arc<InForce>,
}

/// A policy, and how many requests it has let through.
pub(crate) struct InForce {
    pub policy: Arc<PortPolicy>,
    limiter: Limiter,
    since: Instant,
}

impl InForce {
    fn new(policy: &Arc<PortPolicy>) -> Arc<Self> {
        Arc::new(Self { policy: Arc::clone(policy), limiter: Limiter::default(), since: Instant::now() })
    }

    /// Counts a request that is let in; an error if that is one too many.
    pub(crate) fn count(&self, identity: Option<&str>) -> Result<(), RateLimited> {
        match &self.policy.rate_limit {
            None => Ok(()),
            Some(limit) => self.limiter.check(limit, identity, self.since.elapsed()),
        }
    }
}

impl Watched {
    pub(crate) fn new(port: u16, inbound: watch::Receiver<Arc<Inbound>>) -> Self {
        let read = Arc::clone(inbound.borrow().port(port));
        let last = RwLock::new(Last { in_force: InForce::new(&read), read });
        Self { port, inbound, last }
    }

    /// The policy in force now. As long as its content is the same it stays the same `Arc`, with its limits and its
    /// counters, whatever else changes: Linkerd's controller tells a proxy nothing then, and what it does tell
    /// begins a limit anew.
    pub(crate) fn current(&self) -> Arc<InForce> {
        {
            let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
            let inbound = self.inbound.borrow();
            if Arc::ptr_eq(&last.read, inbound.port(self.port)) {
                return last.in_force.clone();
            }
        }
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        // Read again, so that of two requests that see different changes the newer one's stays in force.
        let inbound = self.inbound.borrow();
        let newest = inbound.port(self.port);
        if *last.in_force.policy != **newest {
            last.in_force = InForce::new(newest);
        }
        last.read = Arc::clone(newest);
        last.in_force.clone()
    }

    /// Wakes at each change, and perhaps once without one. Does not keep the sender waited for when it is dropped.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Inbound>> {
        self.inbound.clone()
    }
}
