//! Mesh cost: the same gRPC call direct, through a Service's address, through two sidecars with mutual TLS, and the
//! same with a policy that lets the client in on one route, and while `top` and the dashboard are open. Client, sidecars
//! and server share this process and its two worker threads.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use futures_util::StreamExt as _;
use mesh::measure::{self, Sample};
use mesh::{Endpoint, Issuer, Observer, OutboundSettings, Sidecar, SidecarSpec, Target, Workload};
use policy::cluster::ClusterInfo;
use policy::inbound::Inbound;
use policy::model;
use policy::outbound::{ServicePolicy, ServicePort};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::figures::{Figure, Target as Bound};
use crate::command::Checkout;
use crate::error::Fault;
use crate::runtime::local::{Block, ServiceTable, Vip, cluster_address, watch_calls, watch_traffic};
use crate::runtime::top::TopRequest;

const PORT: u16 = 9090;

/// How often `top` redraws its screen.
const REDRAWN: Duration = Duration::from_millis(500);

/// How long latency, and then throughput, is measured for one sample.
const SPAN: Duration = Duration::from_secs(1);

/// Measures all ways in turn, `runs` times, so that a machine that drifts drifts for all.
pub async fn measure(checkout: &Checkout, runs: u32) -> anyhow::Result<Vec<Figure>> {
    let none_left = || Fault::environment("no loopback address is left");
    let block = Block::claim(&checkout.root)?;
    let lease = |lease: Option<_>| lease.ok_or_else(none_left);
    let (pod, app) = (lease(block.pod())?, lease(block.hidden())?);
    let (client, client_app) = (lease(block.pod())?, lease(block.hidden())?);
    let service = lease(block.service())?;

    let direct = SocketAddr::from((app.ip(), PORT));
    let server = tokio::spawn(measure::serve(TcpListener::bind(direct).await?));
    let issuer = Issuer::generate()?;
    let serving = spec("server", pod.ip(), app.ip());
    let endpoint = |addr, meshed: bool| Endpoint {
        addr,
        workload: Arc::clone(&serving.workload),
        identity: meshed.then(|| serving.workload.identity()),
        opaque: false,
    };
    let (_plain, plain) = watch::channel(Arc::from([endpoint(direct, false)]));
    let vip = Vip::start(SocketAddr::from((service.ip(), PORT)), plain)?;
    let (_meshed, meshed) = watch::channel(Arc::from([endpoint(SocketAddr::from((pod.ip(), PORT)), true)]));
    let port = ServicePort::new("default", "server", PORT);
    let routes = ServicePolicy::without_routes(port, &OutboundSettings::default());
    let target = Target {
        service: "server".to_owned(),
        namespace: "default".to_owned(),
        port: PORT,
        authority: format!("server:{PORT}"),
        endpoints: meshed,
        routes: watch::channel(Arc::new(routes)).1,
        resolve: Arc::new(ServiceTable::default()),
    };
    let mut calling = spec("client", client.ip(), client_app.ip());
    calling.inbound.clear();
    let anyone = Arc::new(Inbound::new(
        &model::Workload::default(),
        &model::Objects::default(),
        &ClusterInfo::default(),
    ));
    let guarded = Arc::new(policy::measure::guarded("server", "client"));
    let (policies, in_force) = watch::channel(Arc::clone(&anyone));
    let observer = Observer::default();
    let (server_pod, client_pod) = (Arc::clone(&serving.workload), Arc::clone(&calling.workload));
    let server_side = Sidecar::start(serving, &issuer, in_force.clone()).await?;
    observer.add(&server_side, &server_pod, pod.ip().into());
    let client_side = Sidecar::start(calling, &issuer, in_force).await?;
    observer.add(&client_side, &client_pod, client.ip().into());
    let sidecars = client_side.add_target(target).await?;

    let ways = [
        (direct, &anyone, false),
        (vip.addr(), &anyone, false),
        (sidecars, &anyone, false),
        (sidecars, &guarded, false),
        (sidecars, &anyone, true),
    ];
    let mut samples: [Vec<Sample>; 5] = Default::default();
    for _ in 0..runs {
        for ((way, policy, watched), samples) in ways.into_iter().zip(&mut samples) {
            policies.send_replace(Arc::clone(policy));
            let _watching = watched.then(|| {
                let top = watch_calls(&observer, TopRequest { every: REDRAWN, span: None });
                // What a page is told of it, written as that is.
                let dashboard = watch_traffic(&observer).map(|told| drop(serde_json::to_string(&told)));
                let both = [top.map(drop).boxed(), dashboard.boxed()];
                both.map(|told| {
                    AbortOnDropHandle::new(tokio::spawn(told.for_each(|()| std::future::ready(()))))
                })
            });
            samples
                .push(measure::measure(way, SPAN).await.map_err(|error| anyhow!("a call failed: {error}"))?);
        }
    }
    server.abort();
    Ok(figures(&samples))
}

fn spec(name: &str, pod_ip: Ipv4Addr, app_ip: Ipv4Addr) -> SidecarSpec {
    SidecarSpec {
        workload: Arc::new(Workload {
            pod: format!("{name}-0"),
            namespace: "default".to_owned(),
            service_account: name.to_owned(),
            deployment: name.to_owned(),
            pod_template_hash: "0".to_owned(),
        }),
        pod_ip,
        app_ip,
        inbound: vec![PORT],
        targets: Vec::new(),
        metrics_port: None,
        faults: mesh::fault::Faults::default(),
        traces: None,
        client_address: cluster_address,
    }
}

fn figures([direct, service, sidecars, guarded, watched]: &[Vec<Sample>; 5]) -> Vec<Figure> {
    let of = |samples: &[Sample], what: fn(&Sample) -> f64| samples.iter().map(what).collect::<Vec<_>>();
    let p50 = |samples: &[Sample]| of(samples, |s| s.p50);
    let p99 = |samples: &[Sample]| of(samples, |s| s.p99);
    let rate = |samples: &[Sample]| of(samples, |s| s.throughput);
    // Each sample against the direct one of its own round.
    let added: Vec<f64> =
        sidecars.iter().zip(direct).map(|(meshed, direct)| meshed.p50 - direct.p50).collect();
    // In microseconds.
    let enforced: Vec<f64> =
        guarded.iter().zip(sidecars).map(|(guarded, open)| (guarded.p50 - open.p50) * 1000.0).collect();
    // In percent.
    let watching: Vec<f64> = watched
        .iter()
        .zip(sidecars)
        .map(|(watched, alone)| (1.0 - watched.throughput / alone.throughput) * 100.0)
        .collect();
    vec![
        Figure::of("mesh.direct.p50", "gRPC call, direct: p50 at 100/s", "ms", &p50(direct)),
        Figure::of("mesh.direct.p99", "gRPC call, direct: p99 at 100/s", "ms", &p99(direct)),
        Figure::of("mesh.direct.rate", "gRPC call, direct: 32 in flight", "/s", &rate(direct)),
        Figure::of("mesh.service.p50", "through a Service: p50 at 100/s", "ms", &p50(service)),
        Figure::of("mesh.service.p99", "through a Service: p99 at 100/s", "ms", &p99(service)),
        Figure::of("mesh.service.rate", "through a Service: 32 in flight", "/s", &rate(service)),
        Figure::of("mesh.sidecars.p50", "through two sidecars: p50 at 100/s", "ms", &p50(sidecars)),
        Figure::of("mesh.sidecars.p99", "through two sidecars: p99 at 100/s", "ms", &p99(sidecars)),
        Figure::of("mesh.added.p50", "two sidecars add at p50", "ms", &added).target(Bound::Below(0.4)),
        Figure::of("mesh.sidecars.rate", "through two sidecars: 32 in flight", "/s", &rate(sidecars))
            .target(Bound::Above(20_000.0)),
        Figure::of("mesh.policy.p50", "and with a policy: p50 at 100/s", "ms", &p50(guarded)),
        Figure::of("mesh.policy.added.p50", "a policy adds at p50", "us", &enforced)
            .target(Bound::Below(20.0)),
        Figure::of("mesh.policy.rate", "and with a policy: 32 in flight", "/s", &rate(guarded)),
        Figure::of("mesh.watched.rate", "with top and dashboard open: 32 in flight", "/s", &rate(watched)),
        Figure::of("mesh.watched.cost", "top and dashboard take of the calls a second", "%", &watching)
            .target(Bound::Below(5.0)),
    ]
}
