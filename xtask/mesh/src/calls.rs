//! Finished requests, those of one client, server, method and path together: what `top` shows.
//!
//! A request is counted where it arrives, by the sidecar of the pod that was asked: that one knows what the policy
//! said, and sees clients without a sidecar too. Only what reached no sidecar is counted where it was sent.
//!
//! Done for each request while somebody looks, so it is part of the data path and optimised as that is.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Method;
use policy::inbound::Verdict;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Direction, Identity, Protocol, Record, Workload,
    observe::{Observer, Pod, Seen},
    tally::{Ended, Tally},
};

/// So many different calls are told apart at most: a bound on what paths with numbers in them come to.
const MOST: usize = 2000;

/// Who calls or is called, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// A pod with a sidecar, or one whose endpoint was known.
    Pod(Arc<Workload>),
    /// A client with an identity that is none of the pods.
    Identity(Identity),
    /// A client or an endpoint that nothing else is known of.
    Address(IpAddr),
    /// The authority of a Service of which no pod was reached.
    Service(Arc<str>),
    /// Nothing at all.
    Unknown,
}

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The client.
    pub source: Party,
    /// Who was asked.
    pub destination: Party,
    /// How they spoke: HTTP of either version is [`Protocol::Http1`] here, as clients and sidecars may differ in it.
    pub protocol: Protocol,
    /// The method; CONNECT for a connection that is no HTTP.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
}

/// What was counted of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// How many ended, and how.
    pub tally: Tally,
    /// The client's identity in the latest that came over mutual TLS.
    pub client: Option<Identity>,
    /// The shortest.
    pub best: Duration,
    /// The longest.
    pub worst: Duration,
    /// That of the latest.
    pub last: Duration,
}

/// What was counted. A success is what `linkerd viz top` counts as one: no broken stream, no HTTP 5xx, and none of gRPC's
/// UNKNOWN, `DEADLINE_EXCEEDED`, INTERNAL, UNAVAILABLE and `DATA_LOSS`. A refused call is therefore one. Source:
/// `viz/cmd/top.go` of linkerd2 2.20.
#[derive(Debug)]
pub struct Calls {
    /// The kubelet probes from here; probes are no calls.
    kubelet: IpAddr,
    /// The pods by the address that they connect from; those that are gone too.
    pods: HashMap<IpAddr, Arc<Workload>>,
    rows: HashMap<Call, Counted>,
    missed: u64,
}

/// Counts what all sidecars see until it is dropped.
#[derive(Debug)]
pub struct Counting {
    calls: Arc<Mutex<Calls>>,
    _listening: AbortOnDropHandle<()>,
}

impl Counting {
    /// Counts from now on. What comes from the kubelet's address is not counted.
    pub fn start(observer: &Observer, kubelet: IpAddr) -> Self {
        let calls = Arc::new(Mutex::new(Calls::new(kubelet)));
        let counted = Arc::clone(&calls);
        let listening = observer.listen(move |seen| {
            let mut calls = locked(&counted);
            match seen {
                Seen::Pod(pod) => calls.know(pod),
                Seen::Missed(missed) => calls.missed += missed,
                Seen::Record(record) => calls.count(record),
            }
        });
        Self { calls, _listening: listening }
    }

    /// Looks at what was counted so far. Counting waits for it.
    pub fn read<T>(&self, read: impl FnOnce(&Calls) -> T) -> T {
        read(&locked(&self.calls))
    }
}

fn locked(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Calls {
    fn new(kubelet: IpAddr) -> Self {
        Self { kubelet, pods: HashMap::new(), rows: HashMap::new(), missed: 0 }
    }

    /// A pod that may be named from now on.
    fn know(&mut self, pod: &Pod) {
        self.pods.insert(pod.address, Arc::clone(&pod.workload));
    }

    /// One more request that ended; nothing of a probe, nor of what the other side counts.
    fn count(&mut self, record: &Record) {
        let Some((source, destination)) = self.parties(record) else { return };
        let protocol = match record.protocol {
            Protocol::Http2 => Protocol::Http1,
            protocol => protocol,
        };
        let (method, path) = (record.method.clone(), record.path.clone());
        let call = Call { source, destination, protocol, method, path };
        if self.rows.len() >= MOST && !self.rows.contains_key(&call) {
            self.missed += 1;
            return;
        }
        let latency = record.latency;
        let new = || Counted {
            tally: Tally::default(),
            client: None,
            best: latency,
            worst: latency,
            last: latency,
        };
        let counted = self.rows.entry(call).or_insert_with(new);
        counted.tally.count(Ended {
            success: record.is_success(),
            denied: record.decision.as_ref().is_some_and(|decision| decision.verdict == Verdict::Deny),
            // What was sent to an endpoint with an identity is not counted here; see `parties`.
            secured: record.peer_identity.is_some(),
            latency,
        });
        if counted.client != record.peer_identity && record.peer_identity.is_some() {
            counted.client.clone_from(&record.peer_identity);
        }
        counted.best = counted.best.min(latency);
        counted.worst = counted.worst.max(latency);
        counted.last = latency;
    }

    fn parties(&self, record: &Record) -> Option<(Party, Party)> {
        let own = Party::Pod(Arc::clone(&record.workload));
        Some(match (record.direction, record.peer.map(|peer| peer.ip())) {
            (Direction::Inbound, Some(peer)) if peer == self.kubelet => return None,
            (Direction::Inbound, peer) => (self.client(record, peer), own),
            (Direction::Outbound, None) => (own, Party::Service(Arc::clone(&record.authority))),
            // The sidecar there counts it.
            (Direction::Outbound, Some(_)) if record.peer_identity.is_some() => return None,
            (Direction::Outbound, Some(peer)) => {
                (own, record.peer_workload.clone().map_or(Party::Address(peer), Party::Pod))
            }
        })
    }

    fn client(&self, record: &Record, address: Option<IpAddr>) -> Party {
        let pod = address.and_then(|address| self.pods.get(&address)).cloned().map(Party::Pod);
        pod.or_else(|| record.peer_identity.clone().map(Party::Identity))
            .or_else(|| address.map(Party::Address))
            .unwrap_or(Party::Unknown)
    }

    /// What was counted, in no order.
    pub fn rows(&self) -> impl Iterator<Item = (&Call, &Counted)> {
        self.rows.iter()
    }

    /// Calls that came too fast, or were of too many kinds, to be told apart.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

impl Record {
    /// Whether it ended well; see [`Calls`].
    pub(crate) fn is_success(&self) -> bool {
        !self.broken
            && self.status.is_none_or(|status| status < 500)
            && !matches!(self.grpc_status, Some(2 | 4 | 13 | 14 | 15))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use policy::label::{PolicyLabels, ResourceLabel};

    use super::*;
    use crate::Decision;

    const FOO: Ipv4Addr = Ipv4Addr::new(127, 20, 1, 1);
    const KUBELET: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    fn workload(name: &str) -> Arc<Workload> {
        Arc::new(Workload {
            pod: format!("{name}-1"),
            namespace: "default".to_owned(),
            service_account: name.to_owned(),
            deployment: name.to_owned(),
            pod_template_hash: String::new(),
        })
    }

    fn record(direction: Direction, peer: Option<Ipv4Addr>) -> Record {
        Record {
            direction,
            workload: workload("baz"),
            peer: peer.map(|ip| SocketAddr::from((ip, 9090))),
            peer_identity: None,
            peer_workload: None,
            authority: "qux.default.svc.cluster.local:80".into(),
            protocol: Protocol::Grpc,
            method: Method::POST,
            path: "/a".to_owned(),
            decision: None,
            status: Some(200),
            grpc_status: Some(0),
            broken: false,
            latency: Duration::from_millis(1),
        }
    }

    fn counted(records: impl IntoIterator<Item = Record>) -> Calls {
        let mut calls = Calls::new(KUBELET.into());
        calls.know(&Pod { address: FOO.into(), workload: workload("foo") });
        records.into_iter().for_each(|record| calls.count(&record));
        calls
    }

    /// Who called whom.
    fn told(record: Record) -> Option<String> {
        let name = |party: &Party| match party {
            Party::Pod(workload) => workload.pod.clone(),
            Party::Identity(identity) => identity.as_str().split('.').next().unwrap().to_owned(),
            Party::Address(address) => address.to_string(),
            Party::Service(authority) => authority.to_string(),
            Party::Unknown => "?".to_owned(),
        };
        let calls = counted([record]);
        let row = calls.rows().next();
        row.map(|(call, _)| format!("{} -> {}", name(&call.source), name(&call.destination)))
    }

    #[test]
    fn a_call_is_counted_once_and_names_pods() {
        let inbound = |peer| record(Direction::Inbound, Some(peer));
        assert_eq!(told(inbound(FOO)).unwrap(), "foo-1 -> baz-1");
        assert_eq!(told(inbound(Ipv4Addr::LOCALHOST)).unwrap(), "127.0.0.1 -> baz-1");
        let identity = Identity::of_service_account("ingress", "nginx");
        let meshed = |record| Record { peer_identity: Some(identity.clone()), ..record };
        assert_eq!(told(meshed(inbound(Ipv4Addr::LOCALHOST))).unwrap(), "ingress -> baz-1");
        let outbound = |peer| record(Direction::Outbound, peer);
        assert_eq!(told(meshed(outbound(Some(FOO)))), None, "counted where it arrives");
        let plain = Record { peer_workload: Some(workload("foo")), ..outbound(Some(FOO)) };
        assert_eq!(told(plain).unwrap(), "baz-1 -> foo-1", "no sidecar is there to count it");
        assert_eq!(told(outbound(None)).unwrap(), "baz-1 -> qux.default.svc.cluster.local:80");
    }

    #[test]
    fn probes_are_no_calls() {
        assert_eq!(told(record(Direction::Inbound, Some(KUBELET))), None);
    }

    #[test]
    fn equal_calls_are_counted_together() {
        let server = ResourceLabel::default_of("deny");
        let labels = Arc::new(PolicyLabels { server, route: None, authz: None });
        let denied = Decision { verdict: Verdict::Deny, exceeded: None, labels };
        let ended = |grpc_status, ms| Record {
            grpc_status: Some(grpc_status),
            decision: (grpc_status == 7).then(|| denied.clone()),
            latency: Duration::from_millis(ms),
            ..record(Direction::Inbound, Some(FOO))
        };
        let calls = counted([ended(0, 5), ended(14, 9), ended(7, 6)]);
        let all: Vec<_> = calls.rows().map(|(_, counted)| counted).collect();
        let [counted] = all[..] else { panic!("{all:?}") };
        assert_eq!([counted.best, counted.worst, counted.last], [5, 9, 6].map(Duration::from_millis));
        let tally = &counted.tally;
        assert_eq!((tally.count, tally.successes, tally.denied, tally.secured), (3, 2, 1, 0));
    }

    #[test]
    fn calls_over_mutual_tls_are_told_apart() {
        let identity = Identity::of_service_account("foo", "default");
        let plain = record(Direction::Inbound, Some(FOO));
        let secured = Record { peer_identity: Some(identity.clone()), ..plain.clone() };
        let calls = counted([plain.clone(), secured, plain]);
        let told: Vec<_> = calls.rows().map(|(_, own)| (own.tally.secured, own.client.clone())).collect();
        assert_eq!(told, [(1, Some(identity))]);
    }

    #[test]
    fn success_is_what_viz_counts_as_one() {
        let ended =
            |status, grpc_status| Record { status, grpc_status, ..record(Direction::Inbound, Some(FOO)) };
        let connection = ended(None, None);
        let broken = Record { broken: true, ..ended(Some(200), None) };
        let successes = [(200, None), (404, None), (200, Some(5)), (200, Some(7))];
        let failures = [(500, None), (200, Some(2)), (200, Some(14))];
        assert!(successes.into_iter().all(|(status, grpc)| ended(Some(status), grpc).is_success()));
        assert!(!failures.into_iter().any(|(status, grpc)| ended(Some(status), grpc).is_success()));
        assert!(connection.is_success() && !broken.is_success());
    }

    #[test]
    fn the_number_of_rows_is_bounded_and_what_is_over_is_told() {
        let at = |n: usize| Record { path: format!("/{n}"), ..record(Direction::Inbound, Some(FOO)) };
        let mut calls = counted((0..MOST + 3).map(at).chain([at(0)]));
        calls.missed += 4;
        let most = calls.rows().map(|(_, counted)| counted.tally.count).max();
        assert_eq!((calls.rows().count(), calls.missed(), most), (MOST, 7, Some(2)));
    }
}
