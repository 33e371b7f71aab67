//! `stat`: how services, and the calls between them, do.

use std::fmt::Write as _;

use serde::Serialize;

use super::top::column::{latency, percent, rate, share};
use super::top::{missed, to_its_end};
use crate::args::{self, Output};
use crate::command::Checkout;
use crate::error::{Exit, Fault};
use crate::report::{columns, line_out};
use crate::runtime::stat::{EdgeStat, Figures, Side, Stat};
use crate::runtime::top::TopRequest;
use crate::runtime::{Running, Status};

/// Counts for a while and shows it.
pub async fn run(args: args::Stat) -> anyhow::Result<Exit> {
    let checkout = Checkout::open().await?;
    let running = super::running(&checkout).await?;
    let status = running.status().await?;
    let known = |name: &String| status.deployments.iter().any(|deployment| deployment.name == *name);
    if let Some(unknown) = args.services.iter().find(|name| !known(name)) {
        return Err(Fault::usage(format!("no service `{unknown}` is up")).hint("cargo xtask status").into());
    }
    let Some(stat) = count(&*running, args.span).await? else { return Ok(Exit::Ok) };
    let shown = Shown::of(&stat, &status, &args.services);
    line_out(&match args.output {
        Output::Json => serde_json::to_string(&shown)?,
        Output::Text => table(&shown, &stat).trim_end().to_owned(),
    });
    Ok(Exit::Ok)
}

/// What is called from now on, for so long; none when it was told to stop before.
pub async fn count(running: &dyn Running, span: std::time::Duration) -> anyhow::Result<Option<Stat>> {
    to_its_end(running.stat(TopRequest { every: span, span: Some(span) }).await?).await
}

/// What is shown, as scripts read it.
#[derive(Serialize)]
struct Shown {
    seconds: f64,
    missed: u64,
    services: Vec<Service>,
    edges: Vec<Edge>,
}

#[derive(Serialize)]
struct Service {
    name: String,
    /// Pods with a sidecar, of all that run: `3/3`.
    meshed: String,
    #[serde(flatten)]
    rated: Rated,
}

#[derive(Serialize)]
struct Edge {
    src: String,
    src_namespace: String,
    dst: String,
    dst_namespace: String,
    #[serde(flatten)]
    rated: Rated,
}

/// Figures and what follows from them.
#[derive(Serialize)]
struct Rated {
    count: u64,
    successes: u64,
    denied: u64,
    /// Of all that ended, 0 to 1; none without calls. So are the latencies.
    success_rate: Option<f64>,
    rps: f64,
    latency_ms_p50: Option<f64>,
    latency_ms_p95: Option<f64>,
    latency_ms_p99: Option<f64>,
    /// What came over mutual TLS, 0 to 1.
    tls_rate: Option<f64>,
}

impl Rated {
    fn of(figures: &Figures, seconds: f64) -> Self {
        let of_all = |part: u64| (figures.count > 0).then(|| share(part, figures.count));
        Self {
            count: figures.count,
            successes: figures.successes,
            denied: figures.denied,
            success_rate: of_all(figures.successes),
            rps: rate(figures.count, seconds),
            latency_ms_p50: figures.p50_ms,
            latency_ms_p95: figures.p95_ms,
            latency_ms_p99: figures.p99_ms,
            tls_rate: of_all(figures.secured),
        }
    }
}

impl Shown {
    fn of(stat: &Stat, status: &Status, only: &[String]) -> Self {
        let wanted = |name: &String| only.is_empty() || only.contains(name);
        let service = |name: &String| {
            let pods = || status.pods.iter().filter(|pod| pod.deployment == *name);
            let figures = stat.services.iter().find(|own| own.name == *name).map(|own| own.figures.clone());
            Service {
                name: name.clone(),
                meshed: format!("{}/{}", pods().filter(|pod| pod.meshed).count(), pods().count()),
                rated: Rated::of(&figures.unwrap_or_default(), stat.seconds),
            }
        };
        let edge = |own: &EdgeStat| {
            let EdgeStat { source, destination, figures, .. } = own;
            let ((src, src_namespace), (dst, dst_namespace)) = (owned(source), owned(destination));
            Edge { src, src_namespace, dst, dst_namespace, rated: Rated::of(figures, stat.seconds) }
        };
        let touches = |own: &&EdgeStat| wanted(&own.source.name) || wanted(&own.destination.name);
        let names = status.deployments.iter().map(|deployment| &deployment.name);
        Self {
            seconds: stat.seconds,
            missed: stat.missed,
            services: names.filter(|name| wanted(name)).map(service).collect(),
            edges: stat.edges.iter().filter(touches).map(edge).collect(),
        }
    }
}

fn owned(side: &Side) -> (String, String) {
    (side.name.clone(), side.namespace.clone())
}

const FIGURES: [&str; 7] = ["SUCCESS", "RPS", "LATENCY_P50", "LATENCY_P95", "LATENCY_P99", "TLS", "DENIED"];

fn table(shown: &Shown, stat: &Stat) -> String {
    let cells = |rated: &Rated| {
        let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), latency);
        let of_all = |part: Option<f64>| match part {
            Some(part) => format!("{:.2}%", part * 100.0),
            None => "-".to_owned(),
        };
        [
            if rated.count == 0 { "-".to_owned() } else { percent(rated.successes, rated.count) },
            if rated.count == 0 { "-".to_owned() } else { format!("{:.1}rps", rated.rps) },
            ms(rated.latency_ms_p50),
            ms(rated.latency_ms_p95),
            ms(rated.latency_ms_p99),
            of_all(rated.tls_rate),
            if rated.denied == 0 { "-".to_owned() } else { rated.denied.to_string() },
        ]
    };
    let line = |first: &str, second: &str, rated: &Rated| {
        [first.to_owned(), second.to_owned()].into_iter().chain(cells(rated)).collect::<Vec<_>>()
    };
    let headed = |names: [&str; 2]| {
        vec![names.iter().chain(&FIGURES).map(|title| (*title).to_owned()).collect::<Vec<_>>()]
    };
    let mut rows = headed(["NAME", "MESHED"]);
    rows.extend(shown.services.iter().map(|own| line(&own.name, &own.meshed, &own.rated)));
    let mut text = columns(&rows);
    let mut rows = headed(["SRC", "DST"]);
    rows.extend(shown.edges.iter().map(|own| line(&own.src, &own.dst, &own.rated)));
    if shown.edges.is_empty() {
        let _ = write!(text, "\nno calls in {:.0} s\n", shown.seconds);
    } else {
        let _ = write!(text, "\n{}", columns(&rows));
    }
    text + &missed(stat.missed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::event::PodState;
    use crate::runtime::stat::ServiceStat;
    use crate::runtime::{DeploymentStatus, PodStatus};

    fn figures(count: u64) -> Figures {
        let (p50_ms, p95_ms, p99_ms) = (Some(0.42), Some(2.5), Some(31.4));
        Figures { count, successes: count - 1, denied: 2, secured: count, p50_ms, p95_ms, p99_ms }
    }

    fn status() -> Status {
        let deployment = |name: &str| DeploymentStatus { name: name.into(), ..DeploymentStatus::default() };
        let pod = |name: &str| PodStatus {
            name: format!("{name}-1-a"),
            deployment: name.into(),
            state: PodState::Ready,
            reason: String::new(),
            restarts: 0,
            ip: "127.20.1.1".into(),
            pid: None,
            image: String::new(),
            meshed: true,
            age_seconds: 1,
        };
        let deployments = ["bar", "baz", "foo"].map(deployment).into();
        Status { deployments, pods: ["bar", "baz", "foo"].map(pod).into(), ..Status::default() }
    }

    fn stat() -> Stat {
        let side = |name: &str| Side { name: name.into(), namespace: "default".into() };
        let edge = |source: &str, destination: &str| EdgeStat {
            source: side(source),
            destination: side(destination),
            client_id: None,
            server_id: None,
            no_tls_reason: None,
            figures: figures(50),
        };
        Stat {
            seconds: 5.0,
            services: vec![ServiceStat { name: "baz".into(), figures: figures(100) }],
            edges: vec![edge("bar", "baz"), edge("foo", "baz")],
            missed: 0,
            last: true,
        }
    }

    #[test]
    fn services_without_calls_are_there_too() {
        let shown = Shown::of(&stat(), &status(), &[]);
        insta::assert_snapshot!(table(&shown, &stat()), @"
        NAME  MESHED  SUCCESS  RPS      LATENCY_P50  LATENCY_P95  LATENCY_P99  TLS      DENIED
        bar   1/1     -        -        -            -            -            -        -
        baz   1/1     99.00%   20.0rps  420us        2.50ms       31.4ms       100.00%  2
        foo   1/1     -        -        -            -            -            -        -

        SRC  DST  SUCCESS  RPS      LATENCY_P50  LATENCY_P95  LATENCY_P99  TLS      DENIED
        bar  baz  98.00%   10.0rps  420us        2.50ms       31.4ms       100.00%  2
        foo  baz  98.00%   10.0rps  420us        2.50ms       31.4ms       100.00%  2
        ");
        let nothing = Stat { seconds: 5.0, ..Stat::default() };
        insta::assert_snapshot!(table(&Shown::of(&nothing, &status(), &["bar".into()]), &nothing), @"
        NAME  MESHED  SUCCESS  RPS  LATENCY_P50  LATENCY_P95  LATENCY_P99  TLS  DENIED
        bar   1/1     -        -    -            -            -            -    -

        no calls in 5 s
        ");
    }

    #[test]
    fn only_what_is_named_and_its_edges_are_shown() {
        let shown = Shown::of(&stat(), &status(), &["foo".into()]);
        let edges: Vec<_> = shown.edges.iter().map(|edge| (edge.src.as_str(), edge.dst.as_str())).collect();
        assert_eq!((shown.services.len(), edges), (1, vec![("foo", "baz")]));
    }
}
