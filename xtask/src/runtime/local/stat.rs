//! The calls of services and between them, as their sidecars count them while somebody asks.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use mesh::{Calls, Counted, Identity, Observer, Party, Tally};

use super::top::{account, counted};
use crate::runtime::stat::{EdgeStat, Figures, ServiceStat, Side, Stat};
use crate::runtime::top::TopRequest;

/// What is called from now on.
pub fn watch(observer: &Observer, request: TopRequest) -> BoxStream<'static, Stat> {
    counted(observer, request)
        .map(|(counting, time, last)| {
            let (edges, missed) = counting.read(|calls| (Edges::of(calls), calls.missed()));
            Stat {
                seconds: time.as_secs_f64(),
                services: edges.services(),
                edges: edges.0.iter().map(|(ends, edge)| edge.told(ends)).collect(),
                missed,
                last,
            }
        })
        .boxed()
}

/// All calls of one Deployment to another together.
#[derive(Clone, Debug, Default)]
pub struct Edges(pub BTreeMap<Ends, Edge>);

/// From whom to whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// The client.
    pub source: Side,
    /// Who is asked.
    pub destination: Side,
    /// Pods are asked, not a Service of which none was reached.
    pub reached: bool,
}

/// The calls of an edge.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    /// How many, and how they ended.
    pub tally: Tally,
    client: Option<Identity>,
    server: Option<Identity>,
    /// The endpoint has no sidecar: the client's counted it.
    plain_server: bool,
}

impl Edges {
    /// Puts together what was counted.
    pub fn of(calls: &Calls) -> Self {
        let mut edges = Self::default();
        for (call, counted) in calls.rows() {
            let ends = Ends {
                source: side(&call.source),
                destination: side(&call.destination),
                reached: matches!(call.destination, Party::Pod(_)),
            };
            edges.0.entry(ends).or_default().add(&call.destination, counted);
        }
        edges
    }

    fn services(&self) -> Vec<ServiceStat> {
        let mut asked: BTreeMap<&str, Tally> = BTreeMap::new();
        for (ends, edge) in self.0.iter().filter(|(ends, _)| ends.reached) {
            asked.entry(&ends.destination.name).or_default().add(&edge.tally);
        }
        let told =
            |(name, tally): (&str, Tally)| ServiceStat { name: name.to_owned(), figures: figures(&tally) };
        asked.into_iter().map(told).collect()
    }
}

impl Edge {
    fn add(&mut self, destination: &Party, counted: &Counted) {
        self.tally.add(&counted.tally);
        if let (Some(client), Party::Pod(workload)) = (&counted.client, destination) {
            self.client = Some(client.clone());
            self.server = Some(workload.identity());
        }
        self.plain_server |= matches!(destination, Party::Address(_));
    }

    /// Its calls since it was as `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self { tally: self.tally.since(&earlier.tally), ..self.clone() }
    }

    /// As people and scripts are told.
    pub fn told(&self, ends: &Ends) -> EdgeStat {
        let secured = self.tally.secured == self.tally.count;
        let reason = if ends.reached && !self.plain_server {
            "no_tls_from_remote"
        } else {
            "not_provided_by_service_discovery"
        };
        let short = |identity: &Option<Identity>| identity.as_ref().map(account);
        EdgeStat {
            source: ends.source.clone(),
            destination: ends.destination.clone(),
            client_id: short(&self.client),
            server_id: short(&self.server),
            no_tls_reason: (!secured).then(|| reason.to_owned()),
            figures: figures(&self.tally),
        }
    }
}

/// What people read of a tally.
pub fn figures(tally: &Tally) -> Figures {
    let ms = |part: f64| tally.quantile(part).map(|latency: Duration| latency.as_secs_f64() * 1000.0);
    Figures {
        count: tally.count,
        successes: tally.successes,
        denied: tally.denied,
        secured: tally.secured,
        p50_ms: ms(0.5),
        p95_ms: ms(0.95),
        p99_ms: ms(0.99),
    }
}

/// The Deployment, or whatever else is known.
pub fn side(party: &Party) -> Side {
    let side = |name: &str, namespace: &str| Side { name: name.to_owned(), namespace: namespace.to_owned() };
    let first_two = |dotted: &str| {
        let mut labels = dotted.split('.');
        side(labels.next().unwrap_or_default(), labels.next().unwrap_or_default())
    };
    match party {
        Party::Pod(workload) => side(&workload.deployment, &workload.namespace),
        Party::Identity(identity) => first_two(identity.as_str()),
        Party::Service(authority) => first_two(authority.split(':').next().unwrap_or_default()),
        Party::Address(address) => side(&address.to_string(), ""),
        Party::Unknown => side("unknown", ""),
    }
}
