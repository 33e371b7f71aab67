//! The faults of a run: which are there, and in which pods' sidecars.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh::fault::{Delay, End, Faults, Hits, Route, Rule, Share};

use super::address::KUBELET;
use super::{Local, client};
use crate::error::Fault;
use crate::plan::Plan;
use crate::report::Event;
use crate::runtime::fault::{FaultRequest, FaultSpec, FaultState, FaultStatus, without_sidecars};

mod target;

/// The faults of a run. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct FaultController(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    added: Vec<Added>,
    last: u32,
    /// By the Deployment: its pods' sidecars share one, also those that are still to come.
    sidecars: BTreeMap<String, Faults>,
}

#[derive(Debug)]
struct Added {
    spec: FaultSpec,
    deployments: BTreeSet<String>,
    rule: Arc<Rule>,
}

impl FaultController {
    /// What the sidecars of a Deployment's pods are to watch.
    pub fn of(&self, deployment: &str) -> Faults {
        self.lock().of(deployment)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&mut self, deployment: &str) -> Faults {
        let new = || Faults::sparing(KUBELET.into());
        self.sidecars.entry(deployment.to_owned()).or_insert_with(new).clone()
    }

    fn add(&mut self, spec: FaultSpec, target: target::Target) -> u32 {
        self.last += 1;
        let id = self.last;
        let rule = rule(id, &spec, target.ports, target.route, target.client);
        self.added.push(Added { spec, deployments: target.deployments, rule: Arc::new(rule) });
        self.tell();
        id
    }

    /// Removes these, or all. An error, with none removed, when one is not there.
    fn remove(&mut self, ids: Option<Vec<u32>>) -> Result<Vec<u32>, Fault> {
        let known: Vec<u32> = self.added.iter().map(|added| added.rule.id).collect();
        let ids = ids.unwrap_or_else(|| known.clone());
        if let Some(id) = ids.iter().find(|id| !known.contains(id)) {
            let known = known.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            let known =
                if known.is_empty() { "there is none".to_owned() } else { format!("there is {known}") };
            return Err(Fault::usage(format!("no fault {id} ({known})")).hint("cargo xtask fault list"));
        }
        self.added.retain(|added| !ids.contains(&added.rule.id));
        self.tell();
        Ok(ids)
    }

    /// Each request has all of them that it is for, or those from before.
    fn tell(&mut self) {
        let targets = self.added.iter().flat_map(|added| &added.deployments);
        let targets: BTreeSet<String> = targets.chain(self.sidecars.keys()).cloned().collect();
        for deployment in targets {
            let own = self.added.iter().filter(|added| added.deployments.contains(&deployment));
            let rules = own.map(|added| Arc::clone(&added.rule)).collect();
            self.of(&deployment).set(rules);
        }
    }

    fn all(&self) -> Vec<FaultStatus> {
        let status = |added: &Added| {
            let counts = added.rule.hits.counts();
            FaultStatus {
                id: added.rule.id,
                spec: added.spec.clone(),
                requests: counts.requests,
                hit: counts.hit,
                delayed: counts.delayed,
                answered: counts.answered,
                aborted: counts.aborted,
            }
        };
        self.added.iter().map(status).collect()
    }
}

impl Local {
    /// Lists, adds or removes. Errors, with nothing changed, for what is not there, and without sidecars.
    pub(super) fn change_faults(&self, request: FaultRequest) -> Result<FaultState, Fault> {
        let Some(plan) = self.plan() else {
            return Err(Fault::environment("it is still starting").hint("cargo xtask status"));
        };
        if !plan.mode.linkerd {
            return Err(without_sidecars());
        }
        let target = match &request {
            FaultRequest::Add(spec) => Some(self.target(spec, &plan)?),
            _ => None,
        };
        let mut state = self.node.faults.lock();
        let (mut added, mut removed, mut changes) = (None, Vec::new(), Vec::new());
        match (request, target) {
            (FaultRequest::Add(spec), Some(target)) => {
                let told = format!("on {}: {}", spec.of(), spec.effects());
                let id = state.add(spec, target);
                changes.push(format!("fault {id} {told}"));
                added = Some(id);
            }
            (FaultRequest::Remove(ids), _) => {
                removed = state.remove(ids)?;
                changes.extend(removed.iter().map(|id| format!("fault {id} removed")));
            }
            (FaultRequest::List | FaultRequest::Add(_), _) => {}
        }
        if !changes.is_empty() {
            self.node.events.emit(Event::Faults { changes });
        }
        Ok(FaultState { faults: state.all(), added, removed })
    }

    fn target(&self, spec: &FaultSpec, plan: &Plan) -> Result<target::Target, Fault> {
        spec.check()?;
        let client = spec.from.as_deref().map(|from| client::known(plan, from)).transpose()?;
        let target = target::find(spec, plan, &self.node.policies.objects())?;
        let identity = |(account, of): (String, String)| mesh::Identity::of_service_account(&account, &of);
        Ok(target::Target { client: client.map(identity), ..target })
    }
}

/// What the sidecars go by.
fn rule(
    id: u32,
    spec: &FaultSpec,
    ports: Vec<u16>,
    route: Option<Route>,
    client: Option<mesh::Identity>,
) -> Rule {
    let share = |percent: f64| Share::percent(percent).unwrap_or(Share::ALL);
    let span = |ms: f64| Duration::from_secs_f64(ms / 1000.0);
    let statuses = spec.statuses.iter().map(|own| (End::Status(own.status), share(own.percent)));
    let grpc = spec.grpc_statuses.iter().map(|own| (End::Grpc(own.grpc_status), share(own.percent)));
    let abort = spec.abort_percent.map(|percent| (End::Abort, share(percent)));
    let delay = spec.delay.map(|delay| Delay {
        mean: span(delay.mean_ms),
        jitter: span(delay.jitter_ms),
        share: share(delay.percent),
    });
    let ends = abort.into_iter().chain(statuses).chain(grpc).collect();
    Rule { id, ports, route, client, delay, ends, hits: Hits::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(deployment: &str) -> target::Target {
        let deployments = [deployment.to_owned()].into();
        target::Target { deployments, ports: vec![8080], route: None, client: None }
    }

    fn spec() -> FaultSpec {
        let abort_percent = Some(1.0);
        FaultSpec { service: "baz".into(), abort_percent, ..FaultSpec::default() }
    }

    /// How many faults the sidecars of these have.
    fn armed(state: &mut State) -> [usize; 2] {
        ["bar", "baz"].map(|name| format!("{:?}", state.of(name)).matches("Rule {").count())
    }

    #[test]
    fn faults_reach_their_pods_also_those_that_come_later_and_only_they() {
        let mut state = State::default();
        let before = state.of("baz");
        assert_eq!((state.add(spec(), target("baz")), state.add(spec(), target("bar"))), (1, 2));
        assert_eq!(state.add(spec(), target("baz")), 3);
        assert_eq!(armed(&mut state), [1, 2]);
        assert_eq!(format!("{before:?}"), format!("{:?}", state.of("baz")));
        assert_eq!(state.remove(Some(vec![1])).unwrap(), [1]);
        assert_eq!(armed(&mut state), [1, 1]);
        let refused = state.remove(Some(vec![3, 1])).unwrap_err();
        insta::assert_snapshot!(refused, @"no fault 1 (there is 2, 3)");
        assert_eq!(armed(&mut state), [1, 1], "all or nothing");
        assert_eq!(state.remove(None).unwrap(), [2, 3]);
        assert_eq!((armed(&mut state), state.all().len()), ([0, 0], 0));
        assert_eq!(state.add(spec(), target("baz")), 4, "an id means one fault for as long as it runs");
        assert!(state.remove(Some(Vec::new())).unwrap().is_empty());
    }
}
