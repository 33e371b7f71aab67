//! Where the requests of a rule go, and how one of several is chosen.

use super::ServicePort;
use crate::route::Filter;

/// The backends of a rule. Never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Backends(Vec<Backend>);

/// One backend of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// What it is.
    pub target: Target,
    /// Its share, of the sum of all.
    pub weight: u32,
    /// What is done to the requests that go there, in this order.
    pub filters: Vec<Filter>,
}

/// What a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A Service that exists, whether or not it declares the port.
    Service(ServicePort),
    /// Nothing that can be reached: its requests are answered with a failure.
    Missing(Failure),
}

/// The answer of a backend that there is not. The connection stays open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status for HTTP clients.
    pub http: u16,
    /// The status for gRPC clients.
    pub grpc: u8,
    /// `l5d-proxy-error` and `grpc-message`.
    pub message: String,
}

impl Backends {
    /// All requests to one Service.
    pub fn only(service: ServicePort) -> Self {
        Self(vec![Backend { target: Target::Service(service), weight: 1, filters: Vec::new() }])
    }

    /// None without any.
    pub(super) fn new(backends: Vec<Backend>) -> Option<Self> {
        (!backends.is_empty()).then_some(Self(backends))
    }

    /// In the order of the rule's `backendRefs`.
    pub fn iter(&self) -> std::slice::Iter<'_, Backend> {
        self.0.iter()
    }

    /// Whether there are several and none has any weight: Linkerd's proxy cannot choose then, and fails.
    pub fn is_weightless(&self) -> bool {
        self.0.len() > 1 && self.0.iter().all(|backend| backend.weight == 0)
    }

    /// The share of requests that each gets while all are available, from 0 to 1. A single one gets all, also
    /// with weight 0.
    pub fn shares(&self) -> Vec<f64> {
        if self.0.len() == 1 {
            return vec![1.0];
        }
        let total: u64 = self.0.iter().map(|backend| u64::from(backend.weight)).sum();
        #[expect(clippy::cast_precision_loss, reason = "weights are at most 1,000,000 each")]
        let share = |weight: u32| if total == 0 { 0.0 } else { f64::from(weight) / total as f64 };
        self.0.iter().map(|backend| share(backend.weight)).collect()
    }

    /// The failure that all requests get, where no backend that gets any can be reached.
    pub fn failure(&self) -> Option<&Failure> {
        let shares = self.shares();
        let mut chosen = self.0.iter().zip(shares).filter(|(_, share)| *share > 0.0).map(|(own, _)| own);
        let first = chosen.next()?.failure()?;
        chosen.all(|own| own.failure().is_some()).then_some(first)
    }

    /// The backend for one request or one attempt, by weight among those that are available; none when none is.
    /// `draw` gives a number below the one that it is given. One without weight is never chosen, but for a single
    /// one.
    pub fn choose(
        &self,
        mut draw: impl FnMut(u64) -> u64,
        mut is_available: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        if self.0.len() == 1 {
            return is_available(0).then_some(0);
        }
        let mut passed = Vec::new();
        loop {
            let weights = || {
                let all = self.0.iter().map(|own| u64::from(own.weight)).enumerate();
                all.filter(|(index, _)| !passed.contains(index))
            };
            let total: u64 = weights().map(|(_, weight)| weight).sum();
            if total == 0 {
                return None;
            }
            let mut rest = draw(total);
            let chosen = weights().find(|(_, weight)| {
                let is_here = rest < *weight;
                rest = rest.saturating_sub(*weight);
                is_here
            });
            let (index, _) = chosen?;
            if is_available(index) {
                return Some(index);
            }
            passed.push(index);
        }
    }
}

impl std::ops::Index<usize> for Backends {
    type Output = Backend;

    fn index(&self, index: usize) -> &Backend {
        &self.0[index]
    }
}

impl<'a> IntoIterator for &'a Backends {
    type Item = &'a Backend;
    type IntoIter = std::slice::Iter<'a, Backend>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Backend {
    /// The answer to its requests, where it cannot be reached.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.target {
            Target::Service(_) => None,
            Target::Missing(failure) => Some(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backends(weights: &[u32]) -> Backends {
        let backend = |(port, weight): (u16, &u32)| Backend {
            target: Target::Service(ServicePort::new("default", "baz", port)),
            weight: *weight,
            filters: Vec::new(),
        };
        Backends::new((1..).zip(weights).map(backend).collect()).unwrap()
    }

    #[test]
    fn a_single_backend_gets_everything_even_without_weight() {
        let single = backends(&[0]);
        assert_eq!(single.choose(|_| unreachable!(), |_| true), Some(0));
        assert_eq!(single.choose(|_| unreachable!(), |_| false), None);
        assert_eq!(single.shares(), [1.0]);
        assert!(!single.is_weightless());
    }

    #[test]
    fn several_backends_without_weight_cannot_be_chosen_from() {
        let none = backends(&[0, 0]);
        assert!(none.is_weightless());
        assert_eq!(none.choose(|_| 0, |_| true), None);
        assert_eq!(none.shares(), [0.0, 0.0]);
    }

    #[test]
    fn one_that_is_not_available_is_passed_over_but_never_for_one_without_weight() {
        let some = backends(&[90, 10, 0]);
        assert_eq!(some.choose(|_| 0, |index| index != 0), Some(1));
        assert_eq!(some.choose(|_| 0, |index| index == 2), None);
    }

    proptest! {
        /// Of all numbers that can be drawn, each backend has exactly as many as its weight.
        #[test]
        fn shares_are_in_proportion_to_weights(weights in prop::collection::vec(0_u32..50, 2..6)) {
            let all = backends(&weights);
            let total: u32 = weights.iter().sum();
            let mut counts = vec![0_u32; weights.len()];
            for number in 0..u64::from(total) {
                let chosen = all.choose(|bound| { assert!(number < bound); number }, |_| true);
                counts[chosen.expect("all are available")] += 1;
            }
            prop_assert_eq!(&counts, &weights);
            for (share, weight) in all.shares().iter().zip(&weights) {
                prop_assert!((share * f64::from(total) - f64::from(*weight)).abs() < 1e-6);
            }
        }

        /// Whatever is available, those that are share all requests in proportion to their weights.
        #[test]
        fn what_is_available_takes_all(
            weights in prop::collection::vec(1_u32..20, 2..6),
            mask in any::<u8>(),
            draws in prop::collection::vec(any::<u64>(), 8),
        ) {
            let all = backends(&weights);
            let up = |index: usize| mask >> index & 1 == 1;
            let mut draws = draws.into_iter();
            let chosen = all.choose(|bound| draws.next().unwrap_or_default() % bound, up);
            match chosen {
                Some(index) => prop_assert!(up(index)),
                None => prop_assert!((0..weights.len()).all(|index| !up(index))),
            }
        }
    }
}
