//! How long a container that ended waits to be started again: a kubelet's rule.

use std::time::Duration;

use tokio::time::Instant;

/// The first wait.
const FIRST: Duration = Duration::from_secs(10);
/// The longest: `MaxContainerBackOff`.
const LONGEST: Duration = Duration::from_secs(300);

/// Doubling waits of 10 s to 5 min. The first restart is immediate, the waits begin with the second: a kubelet
/// only looks at the entry that an earlier restart made (`doBackOff` in `kuberuntime_manager.go`, `Backoff` in
/// client-go's `util/flowcontrol/backoff.go`). An entry is forgotten when the container ended more than twice
/// the longest wait, 10 min, after its last restart.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    last: Option<(Duration, Instant)>,
}

impl Backoff {
    /// How long to wait, from `ended` on, until the next start; zero for at once.
    pub fn after(&mut self, ended: Instant) -> Duration {
        let wait = match self.last {
            Some((wait, restarted)) if ended.duration_since(restarted) <= LONGEST * 2 => wait,
            _ => Duration::ZERO,
        };
        let next = if wait.is_zero() { FIRST } else { (wait * 2).min(LONGEST) };
        self.last = Some((next, ended + wait));
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_then_waits_double_to_five_minutes() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..9 {
            let wait = backoff.after(now);
            waits.push(wait.as_secs());
            now += wait + Duration::from_secs(1);
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn ten_minutes_of_running_make_it_start_over() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        backoff.after(start);
        assert_eq!(backoff.after(start + Duration::from_secs(600)).as_secs(), 10);
        let restarted = start + Duration::from_secs(610);
        assert_eq!(backoff.after(restarted + Duration::from_secs(601)), Duration::ZERO);
    }
}
