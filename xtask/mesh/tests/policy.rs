//! What a policy's verdicts look like to clients.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::objects::{Policies, allow, method, path, server};
use common::{App, Client, Http, Pod, opaque_pod, timely};
use mesh::{Issuer, OutboundSettings};
use policy::inbound::ProxyProtocol;
use tokio::{io::AsyncReadExt, net::TcpStream};

async fn pair(policies: &Policies) -> (Pod, Pod) {
    let issuer = Issuer::generate().unwrap();
    let bar = Pod::start_with("bar", &issuer, policies.watch()).await;
    (Pod::start("foo", &issuer).await, bar)
}

#[tokio::test]
async fn refused_http_is_403_or_404_without_a_body() {
    timely(async {
        let objects = [
            server("unknown", "deny"),
            path("ok", "/ok"),
            path("no", "/deny"),
            allow("foo", ["HTTPRoute", "ok"]),
        ];
        let (foo, bar) = pair(&Policies::of("bar", &objects)).await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        for (addr, ok) in [(addr, 200), (bar.addr(), 403)] {
            let client = Client::connect(addr, Http::One).await;
            // On one connection: each request is decided.
            for (path, status) in [("/ok", ok), ("/deny", 403), ("/none", 404), ("/ok?a=b", ok)] {
                let answer = client.get(path).await;
                assert_eq!(answer.status, status, "{path}");
                if status != 200 {
                    assert_eq!((answer.header("content-length"), answer.body.as_str()), (Some("0"), ""));
                    assert!(!answer.headers.contains_key("l5d-proxy-error"), "not for the application");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn refused_grpc_is_status_7_or_5_and_a_meshed_client_is_told_why() {
    timely(async {
        let (foo, bar) =
            pair(&Policies::of("bar", &[server("gRPC", "deny"), method("get", "demo.Bar", "GetInfo")])).await;
        let _app = App::grpc(bar.app_addr(), "bar").await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let meshed = Client::connect(addr, Http::Two).await;
        let unmeshed = Client::connect(bar.addr(), Http::Two).await;
        for (path, status, reason) in [
            ("/demo.Bar/GetInfo", "7", "unauthorized request on route"),
            ("/demo.Bar/Other", "5", "no route found for request"),
        ] {
            let answer = meshed.call(path).await.unwrap();
            assert_eq!((answer.status, answer.grpc_status()), (200, Some(status)));
            assert_eq!(answer.header("content-type"), Some("application/grpc"));
            assert_eq!(answer.header("content-length"), Some("0"));
            let message = answer.header("grpc-message").unwrap();
            let (client, rest) = message.split_once(": ").unwrap();
            assert!(client.starts_with(&format!("client {}:", foo.pod_ip)), "{message}");
            assert_eq!(rest, format!("server: {}:4143: {reason}", bar.pod_ip));
            assert!(!answer.headers.contains_key("l5d-proxy-error"));

            let answer = unmeshed.call(path).await.unwrap();
            assert_eq!((answer.status, answer.grpc_status()), (200, Some(status)));
            assert!(!answer.headers.contains_key("grpc-message"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_connection_is_closed() {
    timely(async {
        let (foo, bar) = pair(&Policies::of_pod(opaque_pod("bar"), &[server("opaque", "deny")])).await;
        let (addr, _set) =
            foo.target_as([bar.endpoint()], OutboundSettings::default(), ProxyProtocol::Opaque).await;
        for addr in [addr, bar.addr()] {
            let mut io = TcpStream::connect(addr).await.unwrap();
            let mut bytes = Vec::new();
            let _ = io.read_to_end(&mut bytes).await;
            assert!(bytes.is_empty());
        }
    })
    .await;
}
