use std::sync::{Arc, PoisonError, RwLock};

use policy::inbound::{Inbound, PortPolicy};
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
    in_force: Arc<PortPolicy>,
}

impl Watched {
    pub(crate) fn new(port: u16, inbound: watch::Receiver<Arc<Inbound>>) -> Self {
        let read = Arc::clone(inbound.borrow().port(port));
        let last = RwLock::new(Last { in_force: read.clone(), read });
        Self { port, inbound, last }
    }

    /// The policy in force now. As long as its content stays the same it is the same `Arc`, whatever else changes:
    /// counters are kept by its labels.
    pub(crate) fn current(&self) -> Arc<PortPolicy> {
        {
            let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
            let inbound = self.inbound.borrow();
            if Arc::ptr_eq(&last.read, inbound.port(self.port)) {
                return last.in_force.clone();
            }
        }
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        // Read again, so that two requests that see different changes leave the newer one in force.
        let inbound = self.inbound.borrow();
        let newest = inbound.port(self.port);
        if *last.in_force != **newest {
            last.in_force = Arc::clone(newest);
        }
        last.read = Arc::clone(newest);
        last.in_force.clone()
    }
}
