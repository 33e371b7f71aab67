//! How many calls, how they ended, how long they took.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies are told apart to two digits: 1 % of each.
const DIGITS: u8 = 2;

/// Finished calls, counted. Of one kind, or of several put together by [`Tally::add`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// How many ended.
    pub count: u64,
    /// Of them, those that ended well; see [`crate::Calls`].
    pub successes: u64,
    /// Of them, those that a policy refused.
    pub denied: u64,
    /// Of them, those that came over mutual TLS.
    pub secured: u64,
    /// In microseconds. One cannot be made for a number of digits that is not allowed; two are.
    latencies: Option<Histogram<u32>>,
}

impl Default for Tally {
    fn default() -> Self {
        // Grows with the longest.
        let latencies = Histogram::new(DIGITS).ok();
        Self { count: 0, successes: 0, denied: 0, secured: 0, latencies }
    }
}

/// How one call ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub success: bool,
    pub denied: bool,
    pub secured: bool,
    pub latency: Duration,
}

impl Tally {
    pub(crate) fn count(&mut self, ended: Ended) {
        self.count += 1;
        self.successes += u64::from(ended.success);
        self.denied += u64::from(ended.denied);
        self.secured += u64::from(ended.secured);
        let micros = u64::try_from(ended.latency.as_micros()).unwrap_or(u64::MAX);
        // One that grows cannot be given too much.
        let _ = self.latencies.as_mut().map(|latencies| latencies.record(micros));
    }

    /// Counts those of another with its own.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.successes += other.successes;
        self.denied += other.denied;
        self.secured += other.secured;
        if let (Some(own), Some(other)) = (&mut self.latencies, &other.latencies) {
            let _ = own.add(other);
        }
    }

    /// Those that came since `earlier`, which this has grown from.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut latencies = self.latencies.clone();
        if let (Some(own), Some(earlier)) = (&mut latencies, &earlier.latencies) {
            // Of one that it has grown from, nothing is missing.
            let _ = own.subtract(earlier);
        }
        Self {
            count: self.count.saturating_sub(earlier.count),
            successes: self.successes.saturating_sub(earlier.successes),
            denied: self.denied.saturating_sub(earlier.denied),
            secured: self.secured.saturating_sub(earlier.secured),
            latencies,
        }
    }

    /// So long at most took this part of them (0 to 1), within 1 %; none where there are none.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let latencies = self.latencies.as_ref().filter(|_| self.count > 0)?;
        Some(Duration::from_micros(latencies.value_at_quantile(part)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(micros: &[u64]) -> Tally {
        let mut tally = Tally::default();
        for micros in micros {
            let latency = Duration::from_micros(*micros);
            tally.count(Ended { success: micros % 2 == 0, denied: false, secured: true, latency });
        }
        tally
    }

    #[test]
    fn quantiles_are_those_of_all() {
        let thousand: Vec<u64> = (1..=1000).map(|at| at * 100).collect();
        let (one, other) = thousand.split_at(300);
        let mut all = tally(one);
        all.add(&tally(other));
        for (part, wanted) in [(0.5, 50_000), (0.95, 95_000), (0.99, 99_000), (1.0, 100_000)] {
            let micros = all.quantile(part).unwrap().as_micros();
            assert!(micros.abs_diff(wanted) * 100 <= wanted, "{part}: {micros} is not {wanted}");
        }
        assert_eq!((all.count, all.secured, Tally::default().quantile(0.5)), (1000, 1000, None));
    }

    proptest! {
        /// What came since is what it would have been alone.
        #[test]
        fn since_takes_away_what_was_added(
            before in proptest::collection::vec(0_u64..10_000_000, 0..40),
            after in proptest::collection::vec(0_u64..10_000_000, 0..40),
        ) {
            let earlier = tally(&before);
            let mut later = earlier.clone();
            later.add(&tally(&after));
            let (since, alone) = (later.since(&earlier), tally(&after));
            prop_assert_eq!((since.count, since.successes), (alone.count, alone.successes));
            for part in [0.0, 0.5, 0.99, 1.0] {
                prop_assert_eq!(since.quantile(part), alone.quantile(part));
            }
        }
    }
}
