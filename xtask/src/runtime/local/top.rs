//! The calls between pods, from what their sidecars see.
//!
//! A call is counted where it arrives, by the sidecar of the pod that was asked: that one knows what the policy said,
//! and sees clients without a sidecar too. Only what reached no sidecar is counted where it was sent. The kubelet's
//! probes are no calls.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use mesh::{Direction, Protocol, Record, Workload};
use policy::inbound::Verdict;

use super::address::KUBELET;
use super::observe::{Observer, Seen};
use crate::runtime::top::{Call, Ended, Tally, Top, TopRequest};

#[derive(Default)]
struct State {
    tally: Tally,
    /// The pods by the address that they connect from; those that are gone too.
    pods: HashMap<IpAddr, Arc<Workload>>,
}

/// What is called from now on.
pub fn watch(observer: &Observer, request: TopRequest) -> BoxStream<'static, Top> {
    let state: Arc<Mutex<State>> = Arc::default();
    let counted = Arc::clone(&state);
    let listening = observer.listen(move |seen| {
        let mut state = locked(&counted);
        match seen {
            Seen::Pod(pod) => drop(state.pods.insert(pod.address, Arc::clone(&pod.workload))),
            Seen::Missed(calls) => state.tally.miss(calls),
            Seen::Record(record) => {
                if let Some((call, ended)) = read(record, &state.pods) {
                    state.tally.count(call, &ended);
                }
            }
        }
    });
    let start = Instant::now();
    let told = futures_util::stream::unfold(Some(listening), move |listening| {
        let state = Arc::clone(&state);
        async move {
            let listening = listening?;
            let left = request.span.map(|span| span.saturating_sub(start.elapsed()));
            let last = left.is_some_and(|left| left <= request.every);
            tokio::time::sleep(left.filter(|_| last).unwrap_or(request.every)).await;
            let top = locked(&state).tally.top(start.elapsed(), last);
            Some((top, (!last).then_some(listening)))
        }
    });
    told.boxed()
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is counted of a record; nothing of a probe, nor of what the other side counts.
fn read(record: &Record, pods: &HashMap<IpAddr, Arc<Workload>>) -> Option<(Call, Ended)> {
    let own = named(&record.workload);
    let (source, destination) = match (record.direction, record.peer.map(|peer| peer.ip())) {
        (Direction::Inbound, Some(IpAddr::V4(KUBELET))) => return None,
        (Direction::Inbound, peer) => (client(record, peer, pods), own),
        (Direction::Outbound, None) => (own, (record.authority.to_string(), None)),
        // The sidecar there counts it.
        (Direction::Outbound, Some(_)) if record.peer_identity.is_some() => return None,
        (Direction::Outbound, Some(peer)) => {
            (own, record.peer_workload.as_deref().map_or_else(|| (peer.to_string(), None), named))
        }
    };
    let call = Call {
        source: source.0,
        source_deployment: source.1,
        destination: destination.0,
        destination_deployment: destination.1,
        protocol: match record.protocol {
            Protocol::Http1 | Protocol::Http2 => "http",
            Protocol::Grpc => "grpc",
            Protocol::Opaque => "opaque",
        }
        .to_owned(),
        method: record.method.to_string(),
        path: record.path.clone(),
    };
    let ended = Ended {
        status: record.status,
        grpc_status: record.grpc_status,
        broken: record.broken,
        denied: record.decision.as_ref().is_some_and(|decision| decision.verdict == Verdict::Deny),
        latency: record.latency,
    };
    Some((call, ended))
}

/// A pod and its Deployment.
fn named(workload: &Workload) -> (String, Option<String>) {
    (workload.pod.clone(), Some(workload.deployment.clone()))
}

/// Who asked, by name, and its Deployment.
fn client(
    record: &Record,
    address: Option<IpAddr>,
    pods: &HashMap<IpAddr, Arc<Workload>>,
) -> (String, Option<String>) {
    if let Some(pod) = address.and_then(|address| pods.get(&address)) {
        return named(pod);
    }
    let identity = record.peer_identity.as_ref().map(|identity| {
        // `name.namespace.serviceaccount.identity...`: whose it is says enough.
        identity.as_str().split('.').take(2).collect::<Vec<_>>().join(".")
    });
    let address = address.map(|address| address.to_string());
    (identity.or(address).unwrap_or_else(|| "unknown".to_owned()), None)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn workload(name: &str) -> Arc<Workload> {
        Arc::new(Workload {
            pod: format!("{name}-1"),
            namespace: "default".to_owned(),
            service_account: name.to_owned(),
            deployment: name.to_owned(),
            pod_template_hash: String::new(),
        })
    }

    const FOO: Ipv4Addr = Ipv4Addr::new(127, 20, 1, 1);

    fn record(direction: Direction, peer: Option<Ipv4Addr>) -> Record {
        Record {
            direction,
            workload: workload("baz"),
            peer: peer.map(|ip| (ip, 9090).into()),
            peer_identity: None,
            peer_workload: None,
            authority: "qux.default.svc.cluster.local:80".into(),
            protocol: Protocol::Grpc,
            method: http::Method::POST,
            path: "/a".to_owned(),
            decision: None,
            status: Some(200),
            grpc_status: Some(0),
            broken: false,
            latency: Duration::ZERO,
        }
    }

    /// Who called whom, as rows say it.
    fn told(record: &Record) -> Option<String> {
        let pods = [(IpAddr::from(FOO), workload("foo"))].into();
        read(record, &pods).map(|(call, _)| format!("{} -> {}", call.source, call.destination))
    }

    #[test]
    fn a_call_is_counted_once_and_names_pods() {
        let inbound = |peer| record(Direction::Inbound, Some(peer));
        assert_eq!(told(&inbound(FOO)).unwrap(), "foo-1 -> baz-1");
        assert_eq!(told(&inbound(Ipv4Addr::LOCALHOST)).unwrap(), "127.0.0.1 -> baz-1");
        let identity = mesh::Identity::of_service_account("ingress", "nginx");
        let meshed = |record| Record { peer_identity: Some(identity.clone()), ..record };
        assert_eq!(told(&meshed(inbound(Ipv4Addr::LOCALHOST))).unwrap(), "ingress.nginx -> baz-1");
        let outbound = |peer| record(Direction::Outbound, peer);
        assert_eq!(told(&meshed(outbound(Some(FOO)))), None, "counted where it arrives");
        let plain = Record { peer_workload: Some(workload("foo")), ..outbound(Some(FOO)) };
        assert_eq!(told(&plain).unwrap(), "baz-1 -> foo-1", "no sidecar is there to count it");
        assert_eq!(told(&outbound(None)).unwrap(), "baz-1 -> qux.default.svc.cluster.local:80");
    }

    #[test]
    fn probes_are_no_calls() {
        assert_eq!(told(&record(Direction::Inbound, Some(KUBELET))), None);
    }
}
