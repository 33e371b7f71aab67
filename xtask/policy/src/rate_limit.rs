//! `HTTPLocalRateLimitPolicy`: how many requests a pod takes. The clock is the caller's.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The limits of a Server. Each pod counts for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The policy's name.
    pub name: String,
    /// Requests per second of all clients together.
    pub total: Option<u32>,
    /// Requests per second of each client; those without an identity are one.
    pub identity: Option<u32>,
    /// In place of `identity`, by identity; the number of its override and the requests per second, which all
    /// identities of one override share.
    pub overrides: BTreeMap<String, (usize, u32)>,
}

/// Which limit is exceeded, with its requests per second. The texts are the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateLimited {
    /// That of all clients.
    #[error("total rate limit exceeded: {0}rps")]
    Total(u32),
    /// That of this client.
    #[error("per-identity rate limit exceeded: {0}rps")]
    Identity(u32),
    /// That of this client's override.
    #[error("override rate limit exceeded: {0}rps")]
    Override(u32),
}

/// The state of a pod's limits.
#[derive(Debug, Default)]
pub struct Limiter(Mutex<Cells>);

#[derive(Debug, Default)]
struct Cells {
    total: Cell,
    identities: HashMap<Option<String>, Cell>,
    overrides: HashMap<usize, Cell>,
}

/// When the next request may come at the earliest, as the generic cell rate algorithm counts it: a quota of n a
/// second takes a burst of n, then one each n-th of a second (the crate `governor`, which the proxy uses).
#[derive(Clone, Copy, Debug, Default)]
struct Cell(Duration);

impl Cell {
    fn take(&mut self, per_second: u32, now: Duration) -> bool {
        let Some(each) = Duration::from_secs(1).checked_div(per_second) else { return false };
        let tolerance = each * (per_second - 1);
        if now + tolerance < self.0 {
            return false;
        }
        self.0 = self.0.max(now) + each;
        true
    }
}

impl Limiter {
    /// Counts a request at a time since any fixed moment, in the proxy's order: the total first, and a request
    /// that a later limit refuses counts there all the same.
    pub fn check(&self, limit: &RateLimit, identity: Option<&str>, now: Duration) -> Result<(), RateLimited> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rate) = limit.total
            && !cells.total.take(rate, now)
        {
            return Err(RateLimited::Total(rate));
        }
        if let Some((group, rate)) = identity.and_then(|identity| limit.overrides.get(identity)) {
            let cell = cells.overrides.entry(*group).or_default();
            return if cell.take(*rate, now) { Ok(()) } else { Err(RateLimited::Override(*rate)) };
        }
        if let Some(rate) = limit.identity {
            let cell = cells.identities.entry(identity.map(str::to_owned)).or_default();
            if !cell.take(rate, now) {
                return Err(RateLimited::Identity(rate));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(total: Option<u32>, identity: Option<u32>) -> RateLimit {
        RateLimit { name: "limit".into(), total, identity, overrides: BTreeMap::new() }
    }

    #[test]
    fn a_burst_of_a_second_passes_and_then_one_each_share_of_it() {
        let (limiter, limit) = (Limiter::default(), limit(Some(10), None));
        let at = Duration::from_millis;
        for _ in 0..10 {
            assert_eq!(limiter.check(&limit, None, at(5000)), Ok(()));
        }
        assert_eq!(limiter.check(&limit, None, at(5000)), Err(RateLimited::Total(10)));
        assert_eq!(limiter.check(&limit, None, at(5099)), Err(RateLimited::Total(10)));
        assert_eq!(limiter.check(&limit, None, at(5100)), Ok(()));
        assert_eq!(limiter.check(&limit, None, at(5100)), Err(RateLimited::Total(10)));
    }

    #[test]
    fn clients_are_counted_apart_but_those_without_identity_together() {
        let (limiter, limit) = (Limiter::default(), limit(None, Some(1)));
        let now = Duration::from_secs(1);
        assert_eq!(limiter.check(&limit, Some("foo"), now), Ok(()));
        assert_eq!(limiter.check(&limit, Some("bar"), now), Ok(()));
        assert_eq!(limiter.check(&limit, Some("foo"), now), Err(RateLimited::Identity(1)));
        assert_eq!(limiter.check(&limit, None, now), Ok(()));
        assert_eq!(limiter.check(&limit, None, now), Err(RateLimited::Identity(1)));
    }

    #[test]
    fn an_override_takes_the_place_of_the_identity_limit_and_is_shared() {
        let overrides = [("foo".to_owned(), (0, 2)), ("bar".to_owned(), (0, 2))].into();
        let (limiter, limit) = (Limiter::default(), RateLimit { overrides, ..limit(None, Some(1)) });
        let now = Duration::ZERO;
        assert_eq!(limiter.check(&limit, Some("foo"), now), Ok(()));
        assert_eq!(limiter.check(&limit, Some("bar"), now), Ok(()));
        assert_eq!(limiter.check(&limit, Some("foo"), now), Err(RateLimited::Override(2)));
    }
}
