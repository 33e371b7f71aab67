//! Which rule takes a request, and which of its backends an attempt goes to.

use std::sync::{Arc, PoisonError, RwLock};

use http::request::Parts;
use policy::{
    outbound::{Broken, Matched, RuleTraffic, ServicePolicy, ServicePort, Target, Verdict, redirection},
    route::{Filter, Redirection, Request},
};
use tokio::sync::watch;

use crate::{
    Endpoint, Protocol, Timeouts,
    outbound::{
        backend::{Backend, Backends},
        endpoint::Wire,
        random,
        rescue::{Failed, Failure},
    },
    respond::{Shape, Synthetic},
};

/// A Service's policy as it changes, and the backends of its rules.
pub(crate) struct Routing {
    policy: watch::Receiver<Arc<ServicePolicy>>,
    endpoints: watch::Receiver<Arc<[Endpoint]>>,
    backends: Backends,
    current: RwLock<Arc<Current>>,
}

/// A policy with the backends of its rules.
pub(crate) struct Current {
    pub policy: Arc<ServicePolicy>,
    /// The Service itself.
    pub own: Arc<Backend>,
    others: Vec<Arc<Backend>>,
    /// The Services of all rules were found, and are there.
    complete: bool,
}

/// The rule that takes a request.
pub(crate) struct Routed<'c> {
    current: &'c Current,
    pub matched: Matched<'c>,
}

impl Routing {
    pub(crate) fn new(
        policy: watch::Receiver<Arc<ServicePolicy>>,
        endpoints: watch::Receiver<Arc<[Endpoint]>>,
        backends: Backends,
    ) -> Self {
        let now = policy.borrow().clone();
        let own = backends.own(&endpoints, now.failure_accrual);
        let current = Current { policy: now, own, others: Vec::new(), complete: false };
        Self { policy, endpoints, backends, current: RwLock::new(Arc::new(current)) }
    }

    /// The policy in force. A change is seen by the next request.
    pub(crate) fn current(&self) -> Arc<Current> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let is_new = !Arc::ptr_eq(&current.policy, &self.policy.borrow());
        if is_new || !current.complete { self.prepare() } else { current }
    }

    #[cold]
    fn prepare(&self) -> Arc<Current> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let policy = self.policy.borrow().clone();
        let accrual = policy.failure_accrual;
        let own = self.backends.own(&self.endpoints, accrual);
        let others: Vec<_> = policy.backends().into_iter().filter(|other| **other != own.service).collect();
        let found: Vec<_> = others.iter().filter_map(|other| self.backends.get(other, accrual)).collect();
        let complete = found.len() == others.len() && !own.is_gone();
        *current = Arc::new(Current { policy, own, others: found, complete });
        current.clone()
    }
}

impl Current {
    /// Whether every request goes to the Service itself, at once and once: what most Services ask for.
    pub(crate) fn is_plain(&self) -> bool {
        self.policy.only_rule().is_some_and(|RuleTraffic { timeouts, retry, .. }| {
            retry.is_none() && *timeouts == Timeouts::default()
        })
    }

    fn backend(&self, service: &ServicePort) -> Option<&Arc<Backend>> {
        std::iter::once(&self.own).chain(&self.others).find(|backend| backend.service == *service)
    }

    /// The rule that takes a request whose authority is restored.
    pub(crate) fn route(&self, head: &Parts, shape: Shape) -> Result<Routed<'_>, Failed> {
        let at = |matched: &Matched<'_>, failure| Failed::on(matched.route, failure);
        match self.policy.decide(&request(head, shape)) {
            Verdict::Forward(matched) | Verdict::BackendMissing(matched, _) => {
                Ok(Routed { current: self, matched })
            }
            Verdict::Redirect(matched, redirection) => Err(at(&matched, redirected(&redirection))),
            Verdict::InvalidRedirect(matched, error) => {
                tracing::info!(route = %matched.route, %error, "a redirect cannot be made");
                Err(at(&matched, Failure::answered(Synthetic::unexpected_error())))
            }
            Verdict::NoRoute => Err(Failed { route: None, failure: Failure::NoRoute }),
            Verdict::Broken(broken) => Err(Failed { route: None, failure: broken_answer(broken) }),
        }
    }
}

impl<'c> Routed<'c> {
    /// Whether an attempt would find a backend.
    pub(crate) fn is_open(&self, wire: Wire) -> bool {
        let backends = &self.matched.traffic.backends;
        let shares = backends.shares();
        (0..shares.len()).any(|index| shares[index] > 0.0 && self.is_available(index, wire))
    }

    /// A backend that is in fail-fast is not. One that does not exist always is: it fails at once.
    fn is_available(&self, index: usize, wire: Wire) -> bool {
        match &self.matched.traffic.backends[index].target {
            Target::Missing(_) => true,
            Target::Service(service) => {
                self.current.backend(service).is_some_and(|backend| backend.balancer.is_open(wire))
            }
        }
    }

    /// The backend of one attempt, by weight; the rule's and the backend's filters are applied to the request. The
    /// second part changes the answer.
    pub(crate) fn choose(
        &self,
        head: &mut Parts,
        shape: Shape,
        wire: Wire,
    ) -> Result<(&'c Arc<Backend>, Edits<'c>), Failure> {
        let backends = &self.matched.traffic.backends;
        let chosen = backends.choose(random::below_u64, |index| self.is_available(index, wire));
        let chosen = &backends[chosen.ok_or(Failure::Shed)?];
        edit_request(self.matched.filters, head);
        let service = match &chosen.target {
            Target::Missing(failure) => return Err(Failure::answered(Synthetic::failure(failure))),
            Target::Service(service) => service,
        };
        match redirection(&chosen.filters, &request(head, shape), self.matched.path) {
            Err(_) => return Err(Failure::answered(Synthetic::unexpected_error())),
            Ok(Some(redirection)) => return Err(redirected(&redirection)),
            Ok(None) => edit_request(&chosen.filters, head),
        }
        let backend = self.current.backend(service).ok_or(Failure::Shed)?;
        Ok((backend, Edits { of_backend: &chosen.filters, of_rule: self.matched.filters }))
    }
}

/// What filters do to an answer: the backend's first.
#[derive(Clone, Copy)]
pub(crate) struct Edits<'c> {
    of_backend: &'c [Filter],
    of_rule: &'c [Filter],
}

impl Edits<'_> {
    pub(crate) fn apply(self, headers: &mut http::HeaderMap) {
        for filter in self.of_backend.iter().chain(self.of_rule) {
            if let Filter::ResponseHeaders(edit) = filter {
                edit.apply(headers);
            }
        }
    }
}

fn edit_request(filters: &[Filter], head: &mut Parts) {
    for filter in filters {
        if let Filter::RequestHeaders(edit) = filter {
            edit.apply(&mut head.headers);
        }
    }
}

fn request(head: &Parts, shape: Shape) -> Request<'_> {
    Request {
        protocol: match shape.protocol() {
            Protocol::Grpc => policy::route::Protocol::Grpc,
            Protocol::Http2 => policy::route::Protocol::Http2,
            Protocol::Http1 | Protocol::Opaque => policy::route::Protocol::Http1,
        },
        method: &head.method,
        authority: head.uri.authority().map(http::uri::Authority::as_str),
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
    }
}

fn redirected(redirection: &Redirection) -> Failure {
    Failure::answered(Synthetic::redirect(redirection.status, &redirection.location))
}

fn broken_answer(broken: &Broken) -> Failure {
    match broken {
        Broken::Unreadable(_) => Failure::answered(Synthetic::unexpected_error()),
        Broken::Fatal(reason) => Failure::Closed(reason.clone()),
    }
}
