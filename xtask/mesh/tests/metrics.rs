//! `/metrics` and the record stream.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use common::{App, Client, Http, Pod, timely, until};
use mesh::{Direction, Issuer, OutboundSettings, Protocol};
use tokio::sync::Notify;

/// The series of these families, addresses and counts of bytes made equal, in order.
async fn series(pod: &Pod, families: &[&str]) -> String {
    let admin = SocketAddr::from((pod.pod_ip, 4191));
    let answer = Client::connect(admin, Http::One).await.get("/metrics").await;
    let mut lines: Vec<String> = answer
        .body
        .lines()
        .filter(|line| families.iter().any(|family| line.starts_with(&format!("{family}{{"))))
        .map(|line| line.replace(&pod.pod_ip.to_string(), "POD").replace(&pod.app_ip.to_string(), "APP"))
        .collect();
    lines.sort();
    lines.join("\n")
}

#[tokio::test]
async fn both_sides_count_with_linkerds_names_and_labels() {
    timely(async {
        let issuer = Issuer::generate().unwrap();
        let (foo, bar) = (Pod::start("foo", &issuer).await, Pod::start("bar", &issuer).await);
        let _app = App::grpc(bar.app_addr(), "bar").await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let client = Client::connect(addr, Http::Two).await;
        client.call("/a/b").await.unwrap();
        client.call("/a/b").await.unwrap();
        Client::connect(bar.addr(), Http::Two).await.call("/a/b").await.unwrap();

        let inbound = ["request_total", "response_total", "inbound_http_authz_allow_total"];
        until("both are counted", || async { series(&bar, &["response_total"]).await.lines().count() == 2 })
            .await;
        insta::assert_snapshot!(series(&bar, &inbound).await, @r#"
        inbound_http_authz_allow_total{target_addr="POD:8080",target_ip="POD",target_port="8080",srv_group="",srv_kind="default",srv_name="all-unauthenticated",srv_port="8080",route_group="",route_kind="default",route_name="default",authz_group="",authz_kind="default",authz_name="all-unauthenticated",tls="no_identity",no_tls_reason="no_tls_from_remote"} 1
        inbound_http_authz_allow_total{target_addr="POD:8080",target_ip="POD",target_port="8080",srv_group="",srv_kind="default",srv_name="all-unauthenticated",srv_port="8080",route_group="",route_kind="default",route_name="default",authz_group="",authz_kind="default",authz_name="all-unauthenticated",tls="true",client_id="foo.default.serviceaccount.identity.linkerd.cluster.local"} 2
        request_total{direction="inbound",target_addr="POD:8080",target_ip="POD",target_port="8080",tls="no_identity",no_tls_reason="no_tls_from_remote",srv_group="",srv_kind="default",srv_name="all-unauthenticated",srv_port="8080",route_group="",route_kind="default",route_name="default",authz_group="",authz_kind="default",authz_name="all-unauthenticated"} 1
        request_total{direction="inbound",target_addr="POD:8080",target_ip="POD",target_port="8080",tls="true",client_id="foo.default.serviceaccount.identity.linkerd.cluster.local",srv_group="",srv_kind="default",srv_name="all-unauthenticated",srv_port="8080",route_group="",route_kind="default",route_name="default",authz_group="",authz_kind="default",authz_name="all-unauthenticated"} 2
        response_total{direction="inbound",target_addr="POD:8080",target_ip="POD",target_port="8080",tls="no_identity",no_tls_reason="no_tls_from_remote",srv_group="",srv_kind="default",srv_name="all-unauthenticated",srv_port="8080",route_group="",route_kind="default",route_name="default",authz_group="",authz_kind="default",authz_name="all-unauthenticated",status_code="200",classification="success",grpc_status="0",error=""} 1
        response_total{direction="inbound",target_addr="POD:8080",target_ip="POD",target_port="8080",tls="true",client_id="foo.default.serviceaccount.identity.linkerd.cluster.local",srv_group="",srv_kind="default",srv_name="all-unauthenticated",srv_port="8080",route_group="",route_kind="default",route_name="default",authz_group="",authz_kind="default",authz_name="all-unauthenticated",status_code="200",classification="success",grpc_status="0",error=""} 2
        "#);
        let outbound = ["request_total", "response_total", "outbound_http_balancer_endpoints"];
        let text = series(&foo, &outbound).await.replace(&bar.pod_ip.to_string(), "BAR");
        insta::assert_snapshot!(text, @r#"
        outbound_http_balancer_endpoints{parent_group="core",parent_kind="Service",parent_namespace="default",parent_name="server",parent_port="80",backend_group="core",backend_kind="Service",backend_namespace="default",backend_name="server",backend_port="80",endpoint_state="pending"} 0
        outbound_http_balancer_endpoints{parent_group="core",parent_kind="Service",parent_namespace="default",parent_name="server",parent_port="80",backend_group="core",backend_kind="Service",backend_namespace="default",backend_name="server",backend_port="80",endpoint_state="ready"} 1
        request_total{direction="outbound",authority="server.default.svc.cluster.local:80",target_addr="BAR:8080",target_ip="BAR",target_port="8080",tls="true",server_id="bar.default.serviceaccount.identity.linkerd.cluster.local",dst_control_plane_ns="linkerd",dst_deployment="bar",dst_namespace="default",dst_pod="bar-0",dst_pod_template_hash="abc",dst_service="server",dst_serviceaccount="bar"} 2
        response_total{direction="outbound",authority="server.default.svc.cluster.local:80",target_addr="BAR:8080",target_ip="BAR",target_port="8080",tls="true",server_id="bar.default.serviceaccount.identity.linkerd.cluster.local",dst_control_plane_ns="linkerd",dst_deployment="bar",dst_namespace="default",dst_pod="bar-0",dst_pod_template_hash="abc",dst_service="server",dst_serviceaccount="bar",status_code="200",classification="success",grpc_status="0",error=""} 2
        "#);

        let all = foo.sidecar.metrics();
        for name in [
            "response_latency_ms_bucket{le=\"1.0\",direction=\"outbound\"",
            "tcp_open_connections{direction=\"outbound\",peer=\"dst\"",
            "tcp_open_total{direction=\"outbound\",peer=\"src\"",
            "tcp_read_bytes_total{",
            "tcp_write_bytes_total{",
            "identity_cert_expiration_timestamp_seconds ",
            "process_start_time_seconds ",
        ] {
            assert!(all.contains(name), "{name} is missing in {all}");
        }
    })
    .await;
}

#[tokio::test]
async fn requests_are_recorded_for_who_listens() {
    timely(async {
        let issuer = Issuer::generate().unwrap();
        let (foo, bar) = (Pod::start("foo", &issuer).await, Pod::start("bar", &issuer).await);
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let (mut out, mut into) = (foo.sidecar.records(), bar.sidecar.records());
        Client::connect(addr, Http::One).await.get("/x?y=z").await;
        let (out, into) = (out.recv().await.unwrap(), into.recv().await.unwrap());
        assert_eq!((out.direction, into.direction), (Direction::Outbound, Direction::Inbound));
        assert_eq!((out.peer, out.peer_identity.clone()), (Some(bar.addr()), Some(bar.identity())));
        assert_eq!(into.peer_identity, Some(foo.identity()));
        assert_eq!(&*out.authority, "server.default.svc.cluster.local:80");
        for record in [out, into] {
            assert_eq!((record.path.as_str(), record.status), ("/x", Some(200)));
            assert_eq!((record.protocol, record.method.as_str()), (Protocol::Http1, "GET"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_broken_answer_is_recorded_on_both_sides_with_the_endpoint_that_took_the_request() {
    timely(async {
        let issuer = Issuer::generate().unwrap();
        let (foo, bar) = (Pod::start("foo", &issuer).await, Pod::start("bar", &issuer).await);
        let asked = Arc::new(Notify::new());
        let told = asked.clone();
        let app = App::start(bar.app_addr(), Http::Two, move |_| {
            told.notify_one();
            std::future::pending()
        })
        .await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let (mut out, mut into) = (foo.sidecar.records(), bar.sidecar.records());
        let client = Client::connect(addr, Http::Two).await;
        let dies = async move {
            asked.notified().await;
            drop(app);
        };
        let (answer, ()) = tokio::join!(client.call("/a/b"), dies);
        assert!(answer.is_err());
        for record in [out.recv().await.unwrap(), into.recv().await.unwrap()] {
            assert_eq!((record.status, record.broken), (None, true), "{:?}", record.direction);
            if record.direction == Direction::Outbound {
                assert_eq!((record.peer, &record.peer_identity), (Some(bar.addr()), &Some(bar.identity())));
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_certificate_breaks_nothing() {
    timely(async {
        let issuer = Issuer::generate().unwrap().with_lifetime(Duration::from_secs(2));
        let (foo, bar) = (Pod::start("foo", &issuer).await, Pod::start("bar", &issuer).await);
        let _app = App::grpc(bar.app_addr(), "bar").await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let client = Client::connect(addr, Http::Two).await;
        let expires = || -> f64 {
            let text = foo.sidecar.metrics();
            let line = text.lines().find(|line| line.starts_with("identity_cert_expiration")).unwrap();
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        // Past the end of two certificates.
        let first = expires();
        until("the certificate is a third", || async {
            assert_eq!(client.call("/a/b").await.unwrap().grpc_status(), Some("0"));
            expires() >= first + 2.5
        })
        .await;
        // A new client's connection is made with what is valid now.
        let late = Pod::start("late", &issuer).await;
        let (addr, _set) = late.target([bar.endpoint()], OutboundSettings::default()).await;
        let answer = Client::connect(addr, Http::Two).await.call("/a/b").await.unwrap();
        assert_eq!(answer.grpc_status(), Some("0"));
    })
    .await;
}
