//! The calls between pods, as their sidecars count them while somebody asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use mesh::{Calls, Counted, Counting, Identity, Observer, Party, Protocol};

use super::address::KUBELET;
use crate::runtime::top::{Call, Row, Top, TopRequest};

/// What is called from now on.
pub fn watch(observer: &Observer, request: TopRequest) -> BoxStream<'static, Top> {
    counted(observer, request)
        .map(|(counting, time, last)| counting.read(|calls| tell(calls, time, last)))
        .boxed()
}

/// What was counted, how long, and whether it ends there: time after time, until the stream is dropped.
pub fn counted(
    observer: &Observer,
    request: TopRequest,
) -> impl Stream<Item = (Arc<Counting>, Duration, bool)> + Send + use<> {
    let counting = Arc::new(Counting::start(observer, KUBELET.into()));
    let start = Instant::now();
    futures_util::stream::unfold(Some(counting), move |counting| async move {
        let counting = counting?;
        let left = request.span.map(|span| span.saturating_sub(start.elapsed()));
        let last = left.is_some_and(|left| left <= request.every);
        tokio::time::sleep(left.filter(|_| last).unwrap_or(request.every)).await;
        let next = (!last).then(|| Arc::clone(&counting));
        Some(((counting, start.elapsed(), last), next))
    })
}

/// What was counted in that time, the most frequent first.
fn tell(calls: &Calls, time: Duration, last: bool) -> Top {
    let mut rows: Vec<Row> = calls.rows().map(|(call, counted)| row(call, counted)).collect();
    rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.call.cmp(&b.call)));
    Top { seconds: time.as_secs_f64(), rows, missed: calls.missed(), last }
}

/// A row as people read it.
pub fn row(call: &mesh::Call, counted: &Counted) -> Row {
    let ms = |latency: Duration| latency.as_secs_f64() * 1000.0;
    let (source, source_deployment) = name(&call.source);
    let (destination, destination_deployment) = name(&call.destination);
    let protocol = match call.protocol {
        Protocol::Http1 | Protocol::Http2 => "http",
        Protocol::Grpc => "grpc",
        Protocol::Opaque => "opaque",
    };
    Row {
        call: Call {
            source,
            source_deployment,
            destination,
            destination_deployment,
            protocol: protocol.to_owned(),
            method: call.method.to_string(),
            path: call.path.clone(),
        },
        count: counted.tally.count,
        successes: counted.tally.successes,
        denied: counted.tally.denied,
        best_ms: ms(counted.best),
        worst_ms: ms(counted.worst),
        last_ms: ms(counted.last),
    }
}

/// `name.namespace` of `name.namespace.serviceaccount.identity...`: whose it is says enough.
pub fn account(identity: &Identity) -> String {
    identity.as_str().split('.').take(2).collect::<Vec<_>>().join(".")
}

/// A name, and of a pod its Deployment.
fn name(party: &Party) -> (String, Option<String>) {
    match party {
        Party::Pod(workload) => (workload.pod.clone(), Some(workload.deployment.clone())),
        Party::Identity(identity) => (account(identity), None),
        Party::Address(address) => (address.to_string(), None),
        Party::Service(authority) => (authority.to_string(), None),
        Party::Unknown => ("unknown".to_owned(), None),
    }
}
