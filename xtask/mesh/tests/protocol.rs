//! What a port speaks because its policy says so, and connections that are not HTTP.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::net::SocketAddr;

use common::objects::{Policies, allow, server};
use common::{App, Client, Http, PORT, Pod, opaque_pod, timely};
use mesh::{Issuer, OutboundSettings};
use policy::inbound::ProxyProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What comes back for these bytes, until the other side closes.
async fn answer(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut io = TcpStream::connect(addr).await.unwrap();
    // A server that has closed already may refuse them.
    let _ = io.write_all(bytes).await;
    let mut all = Vec::new();
    let _ = io.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

/// An application that greets, and echoes one line.
async fn echo_line(bar: &Pod) -> App {
    App::tcp(bar.app_addr(), |mut io| async move {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            match io.read_u8().await {
                Ok(byte) => line.push(byte),
                Err(_) => return,
            }
        }
        let _ = io.write_all(&[b"heard ", line.as_slice()].concat()).await;
    })
    .await
}

/// A pod with this Server, and two clients of it: a sidecar has one listener for a Service.
async fn start(protocol: &str, access: &str) -> ([Pod; 2], Pod) {
    let policies = Policies::of("bar", &[server(protocol, access)]);
    let issuer = Issuer::generate().unwrap();
    let bar = Pod::start_with("bar", &issuer, policies.watch()).await;
    ([Pod::start("foo", &issuer).await, Pod::start("baz", &issuer).await], bar)
}

#[tokio::test]
async fn a_port_of_http_1_speaks_nothing_else_to_the_unmeshed() {
    timely(async {
        let ([foo, baz], bar) = start("HTTP/1", "all-unauthenticated").await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        assert_eq!(Client::connect(bar.addr(), Http::One).await.get("/").await.status, 200);
        // Not detected, thus not passed on as bytes.
        assert!(answer(bar.addr(), b"EHLO mail\r\n\r\n").await.starts_with("HTTP/1.1 400"));
        let h2 = answer(bar.addr(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        assert!(h2.is_empty() || h2.starts_with("HTTP/1.1 4"), "{h2}");
        // A meshed client's HTTP/1 comes over HTTP/2.
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        assert_eq!(Client::connect(addr, Http::One).await.get("/").await.status, 200);
        // Bytes of a client that takes the port to be opaque are not let in.
        let (addr, _set) =
            baz.target_as([bar.endpoint()], OutboundSettings::default(), ProxyProtocol::Opaque).await;
        assert_eq!(answer(addr, b"GET / HTTP/1.1\r\nhost: bar\r\n\r\n").await, "");
    })
    .await;
}

#[tokio::test]
async fn a_port_of_http_2_or_grpc_gives_an_unmeshed_http_1_client_no_http_answer() {
    timely(async {
        for protocol in ["HTTP/2", "gRPC"] {
            let ([foo, _], bar) = start(protocol, "all-unauthenticated").await;
            let _app = App::grpc(bar.app_addr(), "bar").await;
            let unmeshed = Client::connect(bar.addr(), Http::Two).await;
            assert_eq!(unmeshed.call("/demo.Bar/GetInfo").await.unwrap().grpc_status(), Some("0"));
            let text = answer(bar.addr(), b"GET / HTTP/1.1\r\nhost: bar\r\n\r\n").await;
            assert!(!text.contains("HTTP/1"), "{text}");
            let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
            let meshed = Client::connect(addr, Http::Two).await;
            assert_eq!(meshed.call("/demo.Bar/GetInfo").await.unwrap().grpc_status(), Some("0"));
            if protocol == "gRPC" {
                // What is no gRPC method has no route there.
                let answer = Client::connect(addr, Http::One).await.get("/").await;
                assert_eq!((answer.status, answer.header("content-length")), (404, Some("0")));
                let answer = meshed.call("/short").await.unwrap();
                assert_eq!(answer.grpc_status(), Some("5"));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_port_of_tls_passes_bytes_on_and_has_no_route_for_http() {
    timely(async {
        let ([foo, baz], bar) = start("TLS", "all-unauthenticated").await;
        let _app = echo_line(&bar).await;
        assert_eq!(answer(bar.addr(), b"GET / HTTP/1.1\n").await, "heard GET / HTTP/1.1\n");
        let (addr, _set) =
            baz.target_as([bar.endpoint()], OutboundSettings::default(), ProxyProtocol::Opaque).await;
        assert_eq!(answer(addr, b"bytes\n").await, "heard bytes\n");
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        assert_eq!(Client::connect(addr, Http::One).await.get("/").await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn other_bytes_pass_where_they_are_detected_and_are_decided_on_by_connection() {
    timely(async {
        for (access, heard) in [("all-unauthenticated", "heard EHLO mail\n"), ("all-authenticated", "")] {
            let (_, bar) = start("unknown", access).await;
            let _app = echo_line(&bar).await;
            assert_eq!(answer(bar.addr(), b"EHLO mail\n").await, heard, "{access}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_connection_is_closed() {
    timely(async {
        let policies =
            Policies::of_pod(opaque_pod("bar"), &[server("opaque", "deny"), allow("foo", ["Server", "bar"])]);
        let issuer = Issuer::generate().unwrap();
        let bar = Pod::start_with("bar", &issuer, policies.watch()).await;
        let _app = echo_line(&bar).await;
        for (name, heard) in [("foo", "heard hello\n"), ("baz", "")] {
            let pod = Pod::start(name, &issuer).await;
            let (addr, _set) =
                pod.target_as([bar.endpoint()], OutboundSettings::default(), ProxyProtocol::Opaque).await;
            assert_eq!(answer(addr, b"hello\n").await, heard);
        }
        assert_eq!(answer(bar.addr(), b"hello\n").await, "");
    })
    .await;
}

#[tokio::test]
async fn a_connection_ends_when_its_client_is_no_longer_let_in_and_others_stay() {
    timely(async {
        let open =
            [server("opaque", "deny"), allow("foo", ["Server", "bar"]), allow("baz", ["Server", "bar"])];
        let policies = Policies::of("bar", &open);
        let issuer = Issuer::generate().unwrap();
        let bar = Pod::start_with("bar", &issuer, policies.watch()).await;
        let _app = App::tcp(bar.app_addr(), |mut io| async move {
            let (mut read, mut write) = io.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
        .await;
        let (mut pods, mut open) = (Vec::new(), Vec::new());
        for name in ["foo", "baz"] {
            let pod = Pod::start(name, &issuer).await;
            let (addr, set) =
                pod.target_as([bar.endpoint()], OutboundSettings::default(), ProxyProtocol::Opaque).await;
            open.push(TcpStream::connect(addr).await.unwrap());
            pods.push((pod, set));
        }
        let [foo, baz] = &mut open[..] else { unreachable!() };
        for io in [&mut *foo, &mut *baz] {
            io.write_all(b"1").await.unwrap();
            assert_eq!(io.read_u8().await.unwrap(), b'1');
        }
        policies.set(&[server("opaque", "deny"), allow("foo", ["Server", "bar"])]);
        assert!(baz.read_u8().await.is_err(), "its connection is closed");
        foo.write_all(b"2").await.unwrap();
        assert_eq!(foo.read_u8().await.unwrap(), b'2');
        // HTTP alone is a protocol that this connection does not speak.
        policies.set(&[server("HTTP/1", "all-unauthenticated")]);
        assert!(foo.read_u8().await.is_err());
        let metrics = bar.sidecar.metrics();
        let line = |name: &str| {
            let ours = metrics.lines().filter(|line| line.starts_with(name));
            ours.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u32>().unwrap()).sum::<u32>()
        };
        assert_eq!(line("inbound_tcp_authz_allow_total"), 2);
        assert_eq!(line("inbound_tcp_authz_terminate_total"), 2, "{metrics}");
        assert_eq!(bar.addr().port(), PORT);
    })
    .await;
}
