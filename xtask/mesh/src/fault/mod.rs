//! Faults on purpose: which requests a pod's sidecar delays, answers in the application's place, or breaks off.
//!
//! They hit in the sidecar of the pod that is asked, after its policy has let a request in: so a client's retries,
//! timeouts and failure accrual see them as they would see the application's own.

mod decide;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

pub(crate) use decide::{Asked, Decided, decide};

use crate::Identity;

/// A share of requests, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// All of them.
    pub const ALL: Self = Self(1.0);

    /// Of 100; none for what is not from 0 to 100.
    pub fn percent(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then_some(Self(percent / 100.0))
    }
}

/// A delay of some requests, before anything else becomes of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delay {
    /// In the middle.
    pub mean: Duration,
    /// So much more or less at most, all in between as likely; what would be below nothing is nothing.
    pub jitter: Duration,
    /// Of which requests.
    pub share: Share,
}

/// How a request ends without the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this HTTP status; a gRPC call too, as by a proxy that knows nothing of gRPC.
    Status(u16),
    /// With this gRPC status; calls that are not gRPC are let be.
    Grpc(u8),
    /// Without an answer: the stream is reset, or the HTTP/1 connection closed.
    Abort,
}

/// Which requests by their path or route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Those of exactly this path.
    Path(String),
    /// Those whose path begins so.
    Prefix(String),
    /// Those that the policy's route of this name takes.
    Named(String),
}

/// One fault: which requests, what becomes of them, and of how many it has.
#[derive(Debug)]
pub struct Rule {
    /// What it is called, also in [`FAULT_HEADER`](crate::FAULT_HEADER).
    pub id: u32,
    /// The container ports.
    pub ports: Vec<u16>,
    /// Only these; all if None.
    pub route: Option<Route>,
    /// Only this client's; all if None.
    pub client: Option<Identity>,
    /// The delay.
    pub delay: Option<Delay>,
    /// Of one request at most one comes to pass, so the shares add up to 1 at most.
    pub ends: Vec<(End, Share)>,
    /// What it did so far.
    pub hits: Hits,
}

/// What a fault did.
#[derive(Debug, Default)]
pub struct Hits {
    requests: AtomicU64,
    hit: AtomicU64,
    delayed: AtomicU64,
    answered: AtomicU64,
    aborted: AtomicU64,
}

/// What a fault did up to a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that it was for.
    pub requests: u64,
    /// Of them, those that it did anything to.
    pub hit: u64,
    /// Of those, the delayed ones.
    pub delayed: u64,
    /// Those that it answered.
    pub answered: u64,
    /// Those that it broke off.
    pub aborted: u64,
}

impl Hits {
    /// As counted now.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            requests: read(&self.requests),
            hit: read(&self.hit),
            delayed: read(&self.delayed),
            answered: read(&self.answered),
            aborted: read(&self.aborted),
        }
    }

    fn count(&self, delayed: bool, end: Option<End>) {
        let add = |counter: &AtomicU64, is: bool| counter.fetch_add(u64::from(is), Ordering::Relaxed);
        add(&self.requests, true);
        add(&self.hit, delayed || end.is_some());
        add(&self.delayed, delayed);
        add(&self.answered, matches!(end, Some(End::Status(_) | End::Grpc(_))));
        add(&self.aborted, end == Some(End::Abort));
    }
}

/// The faults of some pods' sidecars, as they change. Clones share them.
#[derive(Clone, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// There are any: without, a request costs one load.
    armed: AtomicBool,
    rules: RwLock<Arc<[Arc<Rule>]>>,
    spared: Option<IpAddr>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.rules()).finish()
    }
}

impl Faults {
    /// None yet. What comes from the address `spared`, the kubelet's, is never hit.
    pub fn sparing(spared: IpAddr) -> Self {
        Self(Arc::new(Shared { spared: Some(spared), ..Shared::default() }))
    }

    /// These from now on, in this order: each sees what the ones before it have not ended.
    pub fn set(&self, rules: Vec<Arc<Rule>>) {
        let armed = !rules.is_empty();
        *self.0.rules.write().unwrap_or_else(PoisonError::into_inner) = rules.into();
        self.0.armed.store(armed, Ordering::Release);
    }

    fn rules(&self) -> Arc<[Arc<Rule>]> {
        Arc::clone(&self.0.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Those for requests from there; None if there are none.
    pub(crate) fn of(&self, client: IpAddr) -> Option<Arc<[Arc<Rule>]>> {
        let armed = self.0.armed.load(Ordering::Acquire) && self.0.spared != Some(client);
        armed.then(|| self.rules())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spared_address_meets_none_and_nobody_does_when_there_are_none() {
        let [kubelet, other] = [[127, 0, 0, 2], [127, 0, 0, 3]].map(IpAddr::from);
        let faults = Faults::sparing(kubelet);
        assert!(faults.of(other).is_none());
        let (ports, ends) = (vec![80], vec![(End::Abort, Share::ALL)]);
        let rule = Rule { id: 1, ports, route: None, client: None, delay: None, ends, hits: Hits::default() };
        faults.set(vec![Arc::new(rule)]);
        assert!(faults.of(kubelet).is_none());
        assert_eq!(faults.of(other).map(|rules| rules.len()), Some(1));
        faults.set(Vec::new());
        assert!(faults.of(other).is_none());
    }

    #[test]
    fn a_share_is_from_none_to_all() {
        assert_eq!(Share::percent(100.0), Some(Share::ALL));
        assert!([-0.1, 100.1, f64::NAN].iter().all(|percent| Share::percent(*percent).is_none()));
    }
}
