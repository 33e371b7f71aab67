use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{FailureAccrual, metrics::Outcome, outbound::random};

/// Consecutive failure accrual, as Linkerd's `ConsecutiveFailures`: so many failures in a row shut an endpoint
/// out; after a penalty one request is let through, and its answer decides.
pub(crate) struct Breaker {
    config: FailureAccrual,
    /// Everything is admitted: all that a healthy endpoint's requests look at.
    open: AtomicBool,
    state: Mutex<State>,
    changed: Box<dyn Fn() + Send + Sync>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open { failures: u32 },
    Shut { penalties: u32 },
    Probation { penalties: u32, taken: bool },
}

impl Breaker {
    /// `changed` is called when an endpoint becomes available or unavailable.
    pub(crate) fn new(config: FailureAccrual, changed: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            config,
            open: AtomicBool::new(true),
            state: Mutex::new(State::Open { failures: 0 }),
            changed: Box::new(changed),
        })
    }

    /// Whether a request may go to the endpoint now.
    pub(crate) fn admits(&self) -> bool {
        self.open.load(Ordering::Relaxed)
            || matches!(self.state(), State::Open { .. } | State::Probation { taken: false, .. })
    }

    /// Takes the one place of a probation. False when another was faster.
    pub(crate) fn enter(&self) -> bool {
        if self.open.load(Ordering::Relaxed) {
            return true;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Open { .. } => true,
            State::Probation { taken: taken @ false, .. } => {
                *taken = true;
                true
            }
            _ => false,
        }
    }

    /// Notes how a response ended; None if it is not known (the request was not sent, or given up).
    pub(crate) fn note(self: &Arc<Self>, outcome: Option<Outcome>) {
        let failed = outcome.map(Outcome::is_failure);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match (*state, failed) {
            (State::Open { failures }, Some(true)) if failures + 1 == self.config.max_failures => {
                State::Shut { penalties: 0 }
            }
            (State::Open { failures }, Some(true)) => State::Open { failures: failures.saturating_add(1) },
            (State::Open { .. } | State::Probation { .. }, Some(false)) => State::Open { failures: 0 },
            (State::Probation { penalties, .. }, Some(true)) => State::Shut { penalties: penalties + 1 },
            (State::Probation { penalties, .. }, None) => State::Probation { penalties, taken: false },
            // What was sent before the endpoint was shut out says nothing new.
            (same @ State::Shut { .. }, _) | (same, None) => same,
        };
        let turned = std::mem::discriminant(&*state) != std::mem::discriminant(&next);
        *state = next;
        self.open.store(matches!(next, State::Open { .. }), Ordering::Relaxed);
        drop(state);
        if turned && let State::Shut { penalties } = next {
            let breaker = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(breaker.penalty(penalties)).await;
                *breaker.state.lock().unwrap_or_else(PoisonError::into_inner) =
                    State::Probation { penalties, taken: false };
                (breaker.changed)();
            });
        }
        if turned || matches!(next, State::Probation { taken: false, .. }) {
            (self.changed)();
        }
    }

    /// The penalty after so many others: doubled each time, with jitter, at most the maximum.
    fn penalty(&self, penalties: u32) -> Duration {
        let base = self.config.min_penalty.saturating_mul(2_u32.saturating_pow(penalties));
        let base = base.min(self.config.max_penalty);
        base.saturating_add(base.mul_f64(self.config.jitter * random::fraction()))
            .min(self.config.max_penalty)
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16) -> Outcome {
        Outcome { status: Some(status), grpc_status: None, error: "" }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_is_shut_out_after_consecutive_failures_and_probed_by_one() {
        let config = FailureAccrual { max_failures: 2, jitter: 0.0, ..FailureAccrual::default() };
        let breaker = Breaker::new(config, || {});
        breaker.note(Some(outcome(500)));
        breaker.note(Some(outcome(200)));
        breaker.note(Some(outcome(500)));
        assert!(breaker.admits());
        breaker.note(Some(outcome(500)));
        assert!(!breaker.admits());
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert!(breaker.admits() && breaker.enter());
        assert!(!breaker.admits() && !breaker.enter());
        breaker.note(Some(outcome(503)));
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert!(!breaker.admits(), "the penalty has doubled");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(breaker.enter());
        breaker.note(None);
        assert!(breaker.enter(), "a probe that was given up frees its place");
        breaker.note(Some(outcome(200)));
        assert!(breaker.admits() && breaker.enter() && breaker.enter());
    }
}
