//! What is counted and recorded of the policies' decisions.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::objects::{Policies, allow, limit, path, server};
use common::{App, Client, Http, Pod, timely, until};
use mesh::{Issuer, OutboundSettings, Protocol, Record};
use policy::inbound::{ProxyProtocol, Verdict};
use policy::rate_limit::RateLimited;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

async fn pair(policies: &Policies) -> (Pod, Pod) {
    let issuer = Issuer::generate().unwrap();
    let bar = Pod::start_with("bar", &issuer, policies.watch()).await;
    (Pod::start("foo", &issuer).await, bar)
}

/// The series of a family, addresses made equal, in order.
fn series(pod: &Pod, family: &str) -> String {
    let metrics = pod.sidecar.metrics().replace(&pod.pod_ip.to_string(), "POD");
    let mut lines: Vec<_> = metrics.lines().filter(|line| line.starts_with(family)).collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[tokio::test]
async fn http_decisions_are_counted_with_linkerds_names_and_labels() {
    timely(async {
        let objects = [server("unknown", "deny"), path("root", "/"), allow("foo", ["HTTPRoute", "root"])];
        let policies = Policies::of("bar", &objects);
        let (foo, bar) = pair(&policies).await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let meshed = Client::connect(addr, Http::One).await;
        let unmeshed = Client::connect(bar.addr(), Http::One).await;
        for _ in 0..3 {
            meshed.get("/").await;
        }
        meshed.get("/other").await;
        unmeshed.get("/").await;
        unmeshed.get("/").await;
        insta::assert_snapshot!(series(&bar, "inbound_http_authz_allow_total"), @r#"inbound_http_authz_allow_total{target_addr="POD:8080",target_ip="POD",target_port="8080",srv_group="policy.linkerd.io",srv_kind="server",srv_name="bar",srv_port="8080",route_group="gateway.networking.k8s.io",route_kind="HTTPRoute",route_name="root",authz_group="policy.linkerd.io",authz_kind="authorizationpolicy",authz_name="foo-to-root",tls="true",client_id="foo.default.serviceaccount.identity.linkerd.cluster.local"} 3"#);
        insta::assert_snapshot!(series(&bar, "inbound_http_authz_deny_total"), @r#"inbound_http_authz_deny_total{target_addr="POD:8080",target_ip="POD",target_port="8080",srv_group="policy.linkerd.io",srv_kind="server",srv_name="bar",srv_port="8080",route_group="gateway.networking.k8s.io",route_kind="HTTPRoute",route_name="root",tls="no_identity",no_tls_reason="no_tls_from_remote"} 2"#);
        insta::assert_snapshot!(series(&bar, "inbound_http_route_not_found_total"), @r#"inbound_http_route_not_found_total{target_addr="POD:8080",target_ip="POD",target_port="8080",srv_group="policy.linkerd.io",srv_kind="server",srv_name="bar",srv_port="8080",tls="true",client_id="foo.default.serviceaccount.identity.linkerd.cluster.local"} 1"#);
        // What is refused is not among the requests, as in Linkerd.
        insta::assert_snapshot!(series(&bar, "request_total"), @r#"request_total{direction="inbound",target_addr="POD:8080",target_ip="POD",target_port="8080",tls="true",client_id="foo.default.serviceaccount.identity.linkerd.cluster.local",srv_group="policy.linkerd.io",srv_kind="server",srv_name="bar",srv_port="8080",route_group="gateway.networking.k8s.io",route_kind="HTTPRoute",route_name="root",authz_group="policy.linkerd.io",authz_kind="authorizationpolicy",authz_name="foo-to-root"} 3"#);
        until("the answers are counted", || async { series(&bar, "response_total").ends_with(" 3") }).await;
        assert_eq!(series(&bar, "response_total").lines().count(), 1);

        policies.set(&[server("unknown", "all-unauthenticated"), limit(Some(1), None)]);
        until("one is too many", || async { meshed.get("/").await.status == 429 }).await;
        let limited = series(&bar, "inbound_http_local_ratelimit_total");
        insta::assert_snapshot!(limited.rsplit_once(' ').unwrap().0, @r#"inbound_http_local_ratelimit_total{target_addr="POD:8080",target_ip="POD",target_port="8080",srv_group="policy.linkerd.io",srv_kind="server",srv_name="bar",srv_port="8080",ratelimit_group="policy.linkerd.io",ratelimit_kind="HTTPLocalRateLimitPolicy",ratelimit_name="limit",ratelimit_scope="total",tls="true",client_id="foo.default.serviceaccount.identity.linkerd.cluster.local"}"#);
    })
    .await;
}

#[tokio::test]
async fn connections_are_counted_with_linkerds_names_and_labels() {
    timely(async {
        let policies = Policies::of("bar", &[server("opaque", "deny"), allow("foo", ["Server", "bar"])]);
        let (foo, bar) = pair(&policies).await;
        let _app = App::tcp(bar.app_addr(), |mut io| async move { drop(io.read_u8().await) }).await;
        let (addr, _set) = foo.target_as([bar.endpoint()], OutboundSettings::default(), ProxyProtocol::Opaque).await;
        let mut meshed = TcpStream::connect(addr).await.unwrap();
        let mut unmeshed = TcpStream::connect(bar.addr()).await.unwrap();
        assert!(unmeshed.read_u8().await.is_err());
        until("it is let in", || async { !series(&bar, "inbound_tcp_authz_allow_total").is_empty() }).await;
        policies.set(&[server("opaque", "deny")]);
        assert!(meshed.read_u8().await.is_err());
        insta::assert_snapshot!(series(&bar, "inbound_tcp_authz"), @r#"
        inbound_tcp_authz_allow_total{target_addr="POD:8080",target_ip="POD",target_port="8080",srv_group="policy.linkerd.io",srv_kind="server",srv_name="bar",srv_port="8080",authz_group="policy.linkerd.io",authz_kind="authorizationpolicy",authz_name="foo-to-bar",tls="true",client_id="foo.default.serviceaccount.identity.linkerd.cluster.local"} 1
        inbound_tcp_authz_deny_total{target_addr="POD:8080",target_ip="POD",target_port="8080",srv_group="policy.linkerd.io",srv_kind="server",srv_name="bar",srv_port="8080",tls="no_identity",no_tls_reason="port_skipped"} 1
        inbound_tcp_authz_terminate_total{target_addr="POD:8080",target_ip="POD",target_port="8080",srv_group="policy.linkerd.io",srv_kind="server",srv_name="bar",srv_port="8080",tls="true",client_id="foo.default.serviceaccount.identity.linkerd.cluster.local"} 1
        "#);
    })
    .await;
}

fn told(record: &Record) -> String {
    let Record { method, path, status, peer_identity, decision, .. } = record;
    let id = peer_identity.as_ref().map_or("unmeshed", |id| id.as_str().split('.').next().unwrap());
    let decision = decision.as_ref().expect("an inbound record has a decision");
    let labels = &decision.labels;
    let name = |label: &Option<policy::label::ResourceLabel>| label.as_ref().map(ToString::to_string);
    format!(
        "{id} {method} {path} {status:?}: {:?} {} {:?} {:?}",
        decision.verdict,
        labels.server,
        name(&labels.route),
        name(&labels.authz)
    )
}

#[tokio::test]
async fn records_say_what_was_decided_and_why() {
    timely(async {
        let policies = Policies::of("bar", &[]);
        let (foo, bar) = pair(&policies).await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let meshed = Client::connect(addr, Http::One).await;
        let unmeshed = Client::connect(bar.addr(), Http::One).await;
        let mut records = bar.sidecar.records();
        let mut out = foo.sidecar.records();
        let on_root = [path("root", "/"), allow("foo", ["HTTPRoute", "root"])];

        policies.set(&[&[server("unknown", "audit")], &on_root[..]].concat());
        meshed.get("/").await;
        unmeshed.get("/").await;
        unmeshed.get("/other").await;
        policies.set(&[&[server("unknown", "deny")], &on_root[..]].concat());
        unmeshed.get("/").await;
        let mut lines = Vec::new();
        let mut last = None;
        for _ in 0..4 {
            let record = records.recv().await.unwrap();
            lines.push(told(&record));
            last = Some(record);
        }
        insta::assert_snapshot!(lines.join("\n"), @r#"
        foo GET / Some(200): Allow Server bar Some("HTTPRoute root") Some("AuthorizationPolicy foo-to-root")
        unmeshed GET / Some(200): Audit Server bar Some("HTTPRoute root") Some("default audit")
        unmeshed GET /other Some(404): NoRoute Server bar None None
        unmeshed GET / Some(403): Deny Server bar Some("HTTPRoute root") None
        "#);
        assert_eq!(out.recv().await.unwrap().decision, None, "the client's sidecar decides nothing");
        let last = last.unwrap();
        assert_eq!((last.peer_identity.clone(), last.protocol), (None, Protocol::Http1));
        assert!(last.peer.is_some());

        policies.set(&[server("unknown", "all-unauthenticated"), limit(Some(1), None)]);
        until("one is too many", || async { unmeshed.get("/").await.status == 429 }).await;
        loop {
            let record = records.recv().await.unwrap();
            let decision = record.decision.as_ref().unwrap();
            assert_eq!(decision.verdict, Verdict::Allow);
            if record.status == Some(429) {
                assert_eq!(decision.exceeded, Some(RateLimited::Total(1)));
                break;
            }
            assert_eq!(decision.exceeded, None);
        }

        policies.set(&[server("opaque", "audit")]);
        let _io = TcpStream::connect(bar.addr()).await.unwrap();
        let connection = records.recv().await.unwrap();
        assert_eq!((connection.protocol, connection.path.as_str()), (Protocol::Opaque, ""));
        assert_eq!(
            told(&connection),
            "unmeshed CONNECT  None: Audit Server bar None Some(\"default audit\")"
        );
    })
    .await;
}
