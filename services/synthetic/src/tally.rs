//! How the requests ended: since the start in `/metrics`, and since the last report in the log.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use shared::metrics::latency;
use tracing::{info, warn};

/// Shared by all requests.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    requests: Family<Ended, Counter>,
    skipped: Counter,
    durations: Histogram,
    recent: Arc<Mutex<Recent>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    status: String,
}

/// Since the last report.
#[derive(Debug, Default)]
struct Recent {
    by_status: BTreeMap<String, u64>,
    failed: u64,
    skipped: u64,
    worst: Duration,
}

impl Tally {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let tally = Self {
            requests: Family::default(),
            skipped: Counter::default(),
            durations: latency(),
            recent: Arc::default(),
        };
        let help = "Requests sent; status is the HTTP status, or connect, broken or timeout";
        registry.register("load_requests", help, tally.requests.clone());
        let help = "Requests not sent because as many as allowed were in flight";
        registry.register("load_skipped", help, tally.skipped.clone());
        let help = "Time from a request to the end of its answer";
        registry.register("load_request_duration_seconds", help, tally.durations.clone());
        tally
    }

    /// Counts a request that was answered `Ok(status)`, or failed before an answer.
    pub(crate) fn ended(&self, outcome: Result<u16, &'static str>, took: Duration) {
        let status = outcome.map_or_else(str::to_owned, |status| status.to_string());
        self.requests.get_or_create(&Ended { status: status.clone() }).inc();
        self.durations.observe(took.as_secs_f64());
        self.recently(|recent| {
            *recent.by_status.entry(status).or_default() += 1;
            recent.failed += u64::from(!matches!(outcome, Ok(200..400)));
            recent.worst = recent.worst.max(took);
        });
    }

    /// Counts a request that was due and not sent.
    pub(crate) fn skipped(&self) {
        self.skipped.inc();
        self.recently(|recent| recent.skipped += 1);
    }

    /// Logs what happened since the last report: a warning if anything failed.
    pub(crate) fn report(&self) {
        let Recent { by_status, failed, skipped, worst } = self.recently(mem::take);
        let by_status: Vec<_> =
            by_status.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        let (by_status, worst_ms) = (by_status.join(", "), worst.as_millis());
        if failed > 0 {
            warn!(by_status, failed, skipped, worst_ms, "load");
        } else {
            info!(by_status, failed, skipped, worst_ms, "load");
        }
    }

    fn recently<T>(&self, change: impl FnOnce(&mut Recent) -> T) -> T {
        change(&mut self.recent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
