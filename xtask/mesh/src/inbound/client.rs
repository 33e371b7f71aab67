use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
};

use http::HeaderValue;
use policy::{label::PolicyLabels, rate_limit::RateLimited};
use prometheus_client::metrics::counter::Counter;

use crate::{
    Identity,
    inbound::{Inbound, policy::InForce},
    metrics::{AppendList, ClientTls, HttpMetrics, authz_labels, inbound_labels, rate_limit_labels},
};

/// One connection's client.
pub(crate) struct Client {
    pub inbound: Arc<Inbound>,
    /// Whence it connects.
    pub addr: SocketAddr,
    /// Its address as policies see it.
    policy_address: IpAddr,
    /// What its certificate says.
    pub identity: Option<Identity>,
    /// The same, for the application.
    pub id_header: Option<HeaderValue>,
    /// Its port was opaque when it connected: nobody looked for TLS.
    opaque: bool,
    met: RwLock<Arc<Met>>,
}

/// The policy in force as this client meets it: with the counters of what was decided, by the address of the
/// labels, which the policy keeps alive.
pub(crate) struct Met {
    pub in_force: Arc<InForce>,
    allowed: AppendList<usize, Arc<HttpMetrics>>,
    refused: AppendList<(usize, Refused), Counter>,
}

/// Why a request is not let through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Denied,
    NoRoute,
    Limited(RateLimited),
}

impl Client {
    pub(crate) fn new(
        inbound: Arc<Inbound>,
        addr: SocketAddr,
        identity: Option<Identity>,
        opaque: bool,
    ) -> Self {
        let met = RwLock::new(Met::new(inbound.policy.current()));
        Self {
            policy_address: (inbound.sidecar.client_address)(addr.ip()),
            id_header: identity.as_ref().and_then(|id| HeaderValue::from_str(id.as_str()).ok()),
            opaque,
            inbound,
            addr,
            identity,
            met,
        }
    }

    pub(crate) fn as_policies_see(&self) -> policy::authz::Client<'_> {
        policy::authz::Client { address: self.policy_address, identity: self.id() }
    }

    pub(crate) fn id(&self) -> Option<&str> {
        self.identity.as_ref().map(Identity::as_str)
    }

    pub(crate) fn tls(&self) -> ClientTls<'_> {
        match &self.identity {
            Some(identity) => ClientTls::Identity(identity),
            None if self.opaque => ClientTls::PortSkipped,
            None => ClientTls::None,
        }
    }

    /// The policy in force now.
    pub(crate) fn met(&self) -> Arc<Met> {
        let current = self.inbound.policy.current();
        {
            let met = self.met.read().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&met.in_force, &current) {
                return met.clone();
            }
        }
        let new = Met::new(current);
        self.met.write().unwrap_or_else(PoisonError::into_inner).clone_from(&new);
        new
    }

    /// The counters of requests that these labels let in.
    pub(crate) fn allowed<'m>(&self, met: &'m Met, labels: &Arc<PolicyLabels>) -> &'m Arc<HttpMetrics> {
        met.allowed.get_or_insert(&Arc::as_ptr(labels).addr(), || {
            let (target, metrics) = (self.inbound.addr, &self.inbound.sidecar.metrics);
            let allow = authz_labels(target, self.tls(), labels);
            metrics.http(inbound_labels(target, self.tls(), labels), Some(allow))
        })
    }

    /// Counts a request that is not let through.
    pub(crate) fn refuse(&self, met: &Met, labels: &Arc<PolicyLabels>, refused: Refused) {
        let key = (Arc::as_ptr(labels).addr(), refused);
        let counter = met.refused.get_or_insert(&key, || {
            let (target, metrics) = (self.inbound.addr, &self.inbound.sidecar.metrics);
            let authz = || authz_labels(target, self.tls(), labels);
            match refused {
                Refused::Denied => metrics.authz.http_deny.get_or_create_owned(&authz()),
                Refused::NoRoute => metrics.authz.route_not_found.get_or_create_owned(&authz()),
                Refused::Limited(limited) => {
                    let limit = met.in_force.policy.rate_limit.as_ref();
                    let name = limit.map_or("", |limit| limit.name.as_str());
                    let labels = rate_limit_labels(target, self.tls(), &labels.server, name, limited);
                    metrics.authz.rate_limited.get_or_create_owned(&labels)
                }
            }
        });
        counter.inc();
    }
}

impl Met {
    fn new(in_force: Arc<InForce>) -> Arc<Self> {
        Arc::new(Self { in_force, allowed: AppendList::default(), refused: AppendList::default() })
    }
}
