//! The calls between pods, as their sidecars count them while somebody asks.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use mesh::{Calls, Counted, Counting, Observer, Party, Protocol};

use super::address::KUBELET;
use crate::runtime::top::{Call, Row, Top, TopRequest};

/// What is called from now on.
pub fn watch(observer: &Observer, request: TopRequest) -> BoxStream<'static, Top> {
    let counting = Counting::start(observer, KUBELET.into());
    let start = Instant::now();
    let told = futures_util::stream::unfold(Some(counting), move |counting| async move {
        let counting = counting?;
        let left = request.span.map(|span| span.saturating_sub(start.elapsed()));
        let last = left.is_some_and(|left| left <= request.every);
        tokio::time::sleep(left.filter(|_| last).unwrap_or(request.every)).await;
        let top = counting.read(|calls| tell(calls, start.elapsed(), last));
        Some((top, (!last).then_some(counting)))
    });
    told.boxed()
}

/// What was counted in that time, the most frequent first.
fn tell(calls: &Calls, time: Duration, last: bool) -> Top {
    let mut rows: Vec<Row> = calls.rows().map(|(call, counted)| row(call, counted)).collect();
    rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.call.cmp(&b.call)));
    Top { seconds: time.as_secs_f64(), rows, missed: calls.missed(), last }
}

fn row(call: &mesh::Call, counted: &Counted) -> Row {
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
        count: counted.count,
        successes: counted.successes,
        denied: counted.denied,
        best_ms: ms(counted.best),
        worst_ms: ms(counted.worst),
        last_ms: ms(counted.last),
    }
}

/// A name, and of a pod its Deployment.
fn name(party: &Party) -> (String, Option<String>) {
    match party {
        Party::Pod(workload) => (workload.pod.clone(), Some(workload.deployment.clone())),
        // `name.namespace.serviceaccount.identity...`: whose it is says enough.
        Party::Identity(identity) => {
            (identity.as_str().split('.').take(2).collect::<Vec<_>>().join("."), None)
        }
        Party::Address(address) => (address.to_string(), None),
        Party::Service(authority) => (authority.to_string(), None),
        Party::Unknown => ("unknown".to_owned(), None),
    }
}
