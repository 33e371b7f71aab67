//! Pure: the next step of a Deployment's rollout, by the rules of Kubernetes' deployment controller
//! (`pkg/controller/deployment/rolling.go` and `recreate.go`).

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desired {
    /// How many pods.
    pub replicas: u32,
    /// How old ones are replaced.
    pub strategy: Strategy,
}

/// How a new revision replaces an old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// All old pods end before a new one starts.
    Recreate,
    /// A few at a time.
    Rolling {
        /// So many pods more than wanted may be there.
        max_surge: u32,
        /// So many fewer than wanted may be available.
        max_unavailable: u32,
    },
}

/// A pod as a step sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four facts that vary independently")]
pub struct Observed {
    /// It is of the wanted revision.
    pub current: bool,
    /// Its readiness probe passes.
    pub ready: bool,
    /// It has been ready for `minReadySeconds`.
    pub available: bool,
    /// It was told to stop, and has not ended yet.
    pub terminating: bool,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// So many pods of the wanted revision.
    pub start: u32,
    /// Indices of the pods to stop.
    pub stop: Vec<usize>,
    /// Nothing is left to do: all wanted pods are there and available, no others.
    pub done: bool,
}

/// Decides the next step. `pods` are in the order they were started.
pub fn step(desired: Desired, pods: &[Observed]) -> Step {
    let live = || pods.iter().enumerate().filter(|(_, pod)| !pod.terminating);
    let count = |wanted: &dyn Fn(&Observed) -> bool| {
        u32::try_from(live().filter(|(_, pod)| wanted(pod)).count()).unwrap_or(u32::MAX)
    };
    let new = count(&|pod| pod.current);
    let old = count(&|pod| !pod.current);
    let available = count(&|pod| pod.available);
    let new_available = count(&|pod| pod.current && pod.available);
    let mut stop = Vec::new();

    // Too many of the wanted revision: those not ready go first, then the youngest.
    let excess = new.saturating_sub(desired.replicas);
    let mut candidates: Vec<_> = live().filter(|(_, pod)| pod.current).collect();
    candidates.sort_by_key(|(index, pod)| (pod.ready, std::cmp::Reverse(*index)));
    stop.extend(candidates.into_iter().take(excess as usize).map(|(index, _)| index));

    let start = match desired.strategy {
        Strategy::Recreate => {
            stop.extend(live().filter(|(_, pod)| !pod.current).map(|(index, _)| index));
            let old_ending = pods.iter().any(|pod| !pod.current);
            if old_ending { 0 } else { desired.replicas.saturating_sub(new) }
        }
        Strategy::Rolling { max_surge, max_unavailable } => {
            let least = desired.replicas.saturating_sub(max_unavailable);
            let new_unavailable = new - new_available;
            // Old pods that do not serve go first, but count as if new ones on their way had failed too.
            let mut may_stop = (new + old).saturating_sub(least).saturating_sub(new_unavailable);
            let mut old_pods: Vec<_> = live().filter(|(_, pod)| !pod.current).collect();
            old_pods.sort_by_key(|(index, pod)| (pod.available, pod.ready, *index));
            let mut may_stop_available = available.saturating_sub(least);
            for (index, pod) in old_pods {
                if may_stop == 0 || (pod.available && may_stop_available == 0) {
                    break;
                }
                may_stop -= 1;
                may_stop_available -= u32::from(pod.available);
                stop.push(index);
            }
            let room = (desired.replicas + max_surge).saturating_sub(new + old);
            room.min(desired.replicas.saturating_sub(new))
        }
    };
    let done =
        stop.is_empty() && start == 0 && new_available == desired.replicas && pods.len() == new as usize;
    Step { start, stop, done }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Strategy;
    use super::*;

    const OLD: Observed = Observed { current: false, ready: true, available: true, terminating: false };
    const NEW: Observed = Observed { current: true, ..OLD };
    const STARTING: Observed = Observed { ready: false, available: false, ..NEW };

    fn rolling(replicas: u32, max_surge: u32, max_unavailable: u32) -> Desired {
        Desired { replicas, strategy: Strategy::Rolling { max_surge, max_unavailable } }
    }

    #[test]
    fn with_no_pod_to_spare_a_new_one_comes_before_an_old_one_goes() {
        let desired = rolling(3, 1, 0);
        assert_eq!(step(desired, &[OLD; 3]), Step { start: 1, ..Step::default() });
        assert_eq!(step(desired, &[OLD, OLD, OLD, STARTING]), Step::default());
        assert_eq!(step(desired, &[OLD, OLD, OLD, NEW]), Step { stop: vec![0], ..Step::default() });
        assert!(step(desired, &[NEW; 3]).done);
    }

    #[test]
    fn scaling_touches_no_other_pod() {
        assert_eq!(step(rolling(5, 1, 0), &[NEW; 3]), Step { start: 2, ..Step::default() });
        assert_eq!(step(rolling(2, 1, 0), &[NEW, STARTING, NEW]).stop, [1]);
        assert_eq!(step(rolling(2, 1, 0), &[NEW; 3]).stop, [2]);
    }

    #[test]
    fn a_failing_revision_in_between_is_replaced_first() {
        let failing = Observed { ready: false, available: false, ..OLD };
        assert_eq!(step(rolling(3, 1, 0), &[OLD, OLD, OLD, failing]).stop, [3]);
    }

    #[test]
    fn recreate_waits_until_the_old_ones_are_gone() {
        let desired = Desired { replicas: 2, strategy: Strategy::Recreate };
        assert_eq!(step(desired, &[OLD, OLD]), Step { stop: vec![0, 1], ..Step::default() });
        let ending = Observed { terminating: true, available: false, ..OLD };
        assert_eq!(step(desired, &[ending]), Step::default());
        assert_eq!(step(desired, &[]).start, 2);
    }

    proptest! {
        /// Whatever becomes ready or fails in whatever order: the bounds hold, and when new pods do become
        /// available the rollout ends.
        #[test]
        fn a_rollout_keeps_its_bounds_and_ends(
            replicas in 0_u32..8, surge in 0_u32..4, unavailable in 0_u32..4, old in 0_usize..8,
            broken in proptest::collection::vec(any::<bool>(), 8), seed in proptest::collection::vec(any::<u8>(), 1..64),
        ) {
            let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable }.min(replicas);
            let desired = rolling(replicas, surge, unavailable);
            let mut pods: Vec<_> = broken.iter().take(old)
                .map(|broken| if *broken { Observed { ready: false, available: false, ..OLD } } else { OLD })
                .collect();
            let live = |pods: &[Observed]| pods.iter().filter(|pod| !pod.terminating).count();
            let serving = |pods: &[Observed]| pods.iter().filter(|pod| pod.available && !pod.terminating).count();
            let most = (replicas + surge) as usize;
            let least = (replicas - unavailable) as usize;
            let mut dice = seed.iter().cycle();
            for _ in 0..400 {
                let (before, served) = (live(&pods), serving(&pods));
                let now = step(desired, &pods);
                if now.done {
                    prop_assert_eq!(pods.len(), replicas as usize);
                    return Ok(());
                }
                for index in &now.stop {
                    prop_assert!(!pods[*index].terminating);
                    pods[*index].terminating = true;
                    pods[*index].available = false;
                }
                // What stops nothing below the bound; a start goes over it only if scaling left more before.
                prop_assert!(serving(&pods) >= least.min(served));
                pods.extend((0..now.start).map(|_| STARTING));
                prop_assert!(live(&pods) <= most.max(before));
                prop_assert!(now.start == 0 || before + now.start as usize <= most);
                // The world moves on: a pod that starts becomes available, or one that was told to is gone.
                let dice = usize::from(*dice.next().unwrap());
                let moving: Vec<_> =
                    (0..pods.len()).filter(|at| pods[*at].terminating || pods[*at] == STARTING).collect();
                if let Some(at) = moving.get(dice % moving.len().max(1)) {
                    if pods[*at].terminating { pods.remove(*at); } else { pods[*at] = NEW; }
                }
            }
            prop_assert!(false, "no end: {:?} {:?}", desired, pods);
        }
    }
}
