use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use policy::outbound::ServicePort;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Endpoint, FailureAccrual, Resolve, context::Context, outbound::balance::Balancer};

/// A Service that requests go to. Dropped, it takes no more of them and lets those under way finish.
pub(crate) struct Backend {
    pub service: ServicePort,
    pub balancer: Arc<Balancer>,
    accrual: Option<FailureAccrual>,
    endpoints: watch::Receiver<Arc<[Endpoint]>>,
    _stop: DropGuard,
}

/// The Services that one Service's requests go to, kept once made: routes that come and go do not cost connections.
pub(crate) struct Backends {
    sidecar: Arc<Context>,
    /// The Service itself.
    parent: ServicePort,
    resolve: Arc<dyn Resolve>,
    /// HTTP/2 connections are made as endpoints come.
    eager: bool,
    made: Mutex<Vec<Arc<Backend>>>,
}

impl Backends {
    pub(crate) fn new(
        sidecar: Arc<Context>,
        parent: ServicePort,
        resolve: Arc<dyn Resolve>,
        eager: bool,
    ) -> Self {
        Self { sidecar, parent, resolve, eager, made: Mutex::default() }
    }

    /// The Service itself. `endpoints`: where it is not resolved.
    pub(crate) fn own(
        &self,
        endpoints: &watch::Receiver<Arc<[Endpoint]>>,
        accrual: Option<FailureAccrual>,
    ) -> Arc<Backend> {
        self.known(&self.parent, accrual).unwrap_or_else(|| {
            let resolved = self.resolve.endpoints(&self.parent);
            self.make(&self.parent, resolved.unwrap_or_else(|| endpoints.clone()), accrual)
        })
    }

    /// Another one. None if there is no such Service.
    pub(crate) fn get(&self, service: &ServicePort, accrual: Option<FailureAccrual>) -> Option<Arc<Backend>> {
        if let Some(known) = self.known(service, accrual) {
            return Some(known);
        }
        Some(self.make(service, self.resolve.endpoints(service)?, accrual))
    }

    /// One that was made before, unless its Service was removed since or its failures are to be counted in
    /// another way.
    fn known(&self, service: &ServicePort, accrual: Option<FailureAccrual>) -> Option<Arc<Backend>> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let known = made.iter().find(|known| known.service == *service && known.accrual == accrual)?;
        (!known.is_gone() || self.resolve.endpoints(service).is_none()).then(|| known.clone())
    }

    fn make(
        &self,
        service: &ServicePort,
        endpoints: watch::Receiver<Arc<[Endpoint]>>,
        accrual: Option<FailureAccrual>,
    ) -> Arc<Backend> {
        let balancer = Balancer::new(&self.sidecar, &self.parent, service, self.eager);
        let stop = CancellationToken::new();
        let follow = balancer.clone().follow(
            endpoints.clone(),
            self.sidecar.clone(),
            service.clone(),
            accrual,
            stop.clone(),
        );
        self.sidecar.outbound.listen(follow);
        let backend = Arc::new(Backend {
            service: service.clone(),
            balancer,
            accrual,
            endpoints,
            _stop: stop.drop_guard(),
        });
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|known| known.service != *service);
        made.push(backend.clone());
        backend
    }
}

impl Backend {
    /// Whether its Service was removed.
    pub(crate) fn is_gone(&self) -> bool {
        self.endpoints.has_changed().is_err()
    }
}

impl fmt::Display for Backend {
    /// As Linkerd's errors name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service.fmt(f)
    }
}
