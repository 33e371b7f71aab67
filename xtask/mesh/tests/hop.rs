//! What passes through two sidecars, and how it looks at the other end.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{Answer, App, Client, Http, Pod, anyone, echo, opaque_pod, timely};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::TokioIo;
use mesh::{Endpoint, Issuer, OutboundSettings};
use policy::inbound::ProxyProtocol;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

const FOO: &str = "foo.default.serviceaccount.identity.linkerd.cluster.local";

fn forged(path: &str) -> Request<Full<Bytes>> {
    Request::get(path)
        .header("l5d-client-id", "ingress.evil")
        .header("x-own", "1")
        .body(Full::default())
        .unwrap()
}

async fn pair() -> (Pod, Pod) {
    let issuer = Issuer::generate().unwrap();
    (Pod::start("foo", &issuer).await, Pod::start("bar", &issuer).await)
}

#[tokio::test]
async fn http1_arrives_as_it_was_sent_with_the_clients_identity() {
    timely(async {
        let (foo, bar) = pair().await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let client = Client::connect(addr, Http::One).await;
        let answer = client.send(forged("/foo/bar?who=bar")).await.unwrap();
        insta::assert_snapshot!(answer.body.trim_end(), @r"
        GET /foo/bar?who=bar HTTP/1.1
        host: server
        l5d-client-id: foo.default.serviceaccount.identity.linkerd.cluster.local
        x-own: 1
        body:
        ");
        assert_eq!(answer.status, 200);
        assert!(!answer.headers.contains_key("l5d-orig-proto"));
        let post = Request::post("/").body(Full::from("content")).unwrap();
        assert!(client.send(post).await.unwrap().body.ends_with("body: content"));
    })
    .await;
}

#[tokio::test]
async fn http2_keeps_its_trailers_and_its_authority() {
    timely(async {
        let (foo, bar) = pair().await;
        let _app = App::start(bar.app_addr(), Http::Two, |request| async move {
            let seen = echo(request).await.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8(seen.to_vec()).unwrap();
            common::grpc(Box::leak(text.into_boxed_str()), 0)
        })
        .await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let answer = Client::connect(addr, Http::Two).await.call("/demo.Baz/GetInfo").await.unwrap();
        insta::assert_snapshot!(answer.body, @r"
        POST http://server/demo.Baz/GetInfo HTTP/2.0
        content-length: 5
        content-type: application/grpc
        l5d-client-id: foo.default.serviceaccount.identity.linkerd.cluster.local
        te: trailers
        body: hello
        ");
        assert_eq!((answer.status, answer.grpc_status()), (200, Some("0")));
        assert!(answer.trailers.contains_key("grpc-status"));
    })
    .await;
}

#[tokio::test]
async fn a_forged_client_id_does_not_arrive() {
    timely(async {
        let (foo, bar) = pair().await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let ids = |answer: &Answer| -> Vec<String> {
            answer.body.lines().filter(|line| line.starts_with("l5d-client-id")).map(str::to_owned).collect()
        };
        let meshed = Client::connect(addr, Http::One).await.send(forged("/")).await.unwrap();
        assert_eq!(ids(&meshed), [format!("l5d-client-id: {FOO}")]);
        let unmeshed = Client::connect(bar.addr(), Http::One).await.send(forged("/")).await.unwrap();
        assert_eq!((unmeshed.status, ids(&unmeshed)), (200, vec![]));
        assert!(unmeshed.body.contains("x-own: 1"));
    })
    .await;
}

#[tokio::test]
async fn an_unmeshed_server_is_called_in_plain_http() {
    timely(async {
        let (foo, bar) = pair().await;
        let _one = App::echo(bar.app_addr(), Http::One).await;
        let plain = Endpoint { addr: bar.app_addr(), identity: None, ..bar.endpoint() };
        let (addr, _set) = foo.target([plain], OutboundSettings::default()).await;
        let answer = Client::connect(addr, Http::One).await.get("/x").await;
        insta::assert_snapshot!(answer.body.trim_end(), @r"
        GET /x HTTP/1.1
        host: server
        body:
        ");
    })
    .await;
    timely(async {
        let (foo, bar) = pair().await;
        let _two = App::grpc(bar.app_addr(), "bar").await;
        let plain = Endpoint { addr: bar.app_addr(), identity: None, ..bar.endpoint() };
        let (addr, _set) = foo.target([plain], OutboundSettings::default()).await;
        let answer = Client::connect(addr, Http::Two).await.call("/a/b").await.unwrap();
        assert_eq!((answer.body.as_str(), answer.grpc_status()), ("bar", Some("0")));
    })
    .await;
}

#[tokio::test]
async fn an_upgraded_connection_passes_bytes_both_ways() {
    timely(async {
        let (foo, bar) = pair().await;
        let _app = App::start(bar.app_addr(), Http::One, |mut request| async move {
            assert_eq!(request.headers()["host"], "server");
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgraded.await.unwrap());
                let mut line = [0; 4];
                io.read_exact(&mut line).await.unwrap();
                line.reverse();
                io.write_all(&line).await.unwrap();
            });
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .body(Empty::new().boxed())
                .unwrap()
        })
        .await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let mut io = TcpStream::connect(addr).await.unwrap();
        let ask =
            format!("GET /ws HTTP/1.1\r\nhost: {addr}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
        io.write_all(ask.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        io.write_all(b"abcd").await.unwrap();
        let mut back = Vec::new();
        io.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, b"dcba");
    })
    .await;
}

#[tokio::test]
async fn opaque_bytes_pass_in_both_directions_whoever_speaks_first() {
    timely(async {
        let issuer = Issuer::generate().unwrap();
        let foo = Pod::start("foo", &issuer).await;
        let bar = Pod::start_with("bar", &issuer, anyone(&opaque_pod("bar"))).await;
        let _app = App::tcp(bar.app_addr(), |mut io| async move {
            io.write_all(b"220 ready\n").await.unwrap();
            let mut line = [0; 5];
            io.read_exact(&mut line).await.unwrap();
            io.write_all(&line).await.unwrap();
        })
        .await;
        let (addr, _set) =
            foo.target_as([bar.endpoint()], OutboundSettings::default(), ProxyProtocol::Opaque).await;
        for addr in [addr, bar.addr()] {
            let mut io = TcpStream::connect(addr).await.unwrap();
            let mut greeting = [0; 10];
            io.read_exact(&mut greeting).await.unwrap();
            assert_eq!(&greeting, b"220 ready\n");
            io.write_all(b"quit\n").await.unwrap();
            let mut rest = Vec::new();
            io.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"quit\n");
        }
    })
    .await;
}

#[tokio::test]
async fn between_two_sidecars_there_is_only_tls_1_3() {
    timely(async {
        let (foo, bar) = pair().await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let relay = TcpListener::bind((common::ip(), 0)).await.unwrap();
        let relay_addr = relay.local_addr().unwrap();
        let recorded = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
        let (upstream, tape, source) = (bar.addr(), recorded.clone(), foo.pod_ip);
        tokio::spawn(async move {
            let (down, peer) = relay.accept().await.unwrap();
            assert_eq!(peer.ip(), source, "connections come from the pod's address");
            let up = TcpStream::connect(upstream).await.unwrap();
            let mut down = Recorder { io: down, tape: tape.clone(), side: 0 };
            let mut up = Recorder { io: up, tape, side: 1 };
            let _ = copy_bidirectional(&mut down, &mut up).await;
        });
        let through = Endpoint { addr: relay_addr, ..bar.endpoint() };
        let (addr, _set) = foo.target([through], OutboundSettings::default()).await;
        let answer = Client::connect(addr, Http::One).await.get("/a-path-to-look-for").await;
        assert!(answer.body.contains("/a-path-to-look-for") && answer.body.contains(FOO));

        let [client, server] = recorded.lock().unwrap().clone();
        assert_eq!(supported_versions(&client), [0x03, 0x04], "the client offers TLS 1.3 only");
        assert_eq!(supported_versions(&server), [0x03, 0x04], "the server takes TLS 1.3");
        for bytes in [&client, &server] {
            assert!(only_tls_records(bytes));
            assert!(!bytes.windows(18).any(|part| part == b"a-path-to-look-for"));
            // TLS 1.3 encrypts the certificates: the client's name is not to be seen. (The server's is, as SNI.)
            assert!(!bytes.windows(FOO.len()).any(|part| part == FOO.as_bytes()));
        }
    })
    .await;
}

/// The versions in the hello that begins these bytes.
fn supported_versions(bytes: &[u8]) -> Vec<u8> {
    use tls_hello::{is_client, skip};
    let mut at = 5 + 4 + 2 + 32;
    at = skip::<1>(bytes, at);
    at = if is_client(bytes) { skip::<1>(bytes, skip::<2>(bytes, at)) } else { at + 3 };
    at += 2;
    loop {
        let (kind, len) = (u16::from_be_bytes([bytes[at], bytes[at + 1]]), skip::<2>(bytes, at + 2));
        if kind == 43 {
            let list = if is_client(bytes) { at + 5 } else { at + 4 };
            return bytes[list..len].to_vec();
        }
        at = len;
    }
}

mod tls_hello {
    pub fn is_client(bytes: &[u8]) -> bool {
        bytes[5] == 1
    }

    /// The end of a vector with a length of N bytes.
    pub fn skip<const N: usize>(bytes: &[u8], at: usize) -> usize {
        at + N + bytes[at..at + N].iter().fold(0, |len, byte| len << 8 | usize::from(*byte))
    }
}

/// Whether the bytes are whole TLS records: handshake, change of cipher, then application data only.
fn only_tls_records(mut bytes: &[u8]) -> bool {
    let mut handshakes = 0;
    while bytes.len() >= 5 {
        handshakes += usize::from(bytes[0] == 22);
        if !matches!(bytes[0], 20 | 22 | 23) || bytes[1] != 3 || handshakes > 1 {
            return false;
        }
        let end = 5 + usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
        bytes = bytes.get(end..).unwrap_or_default();
    }
    handshakes == 1
}

/// Keeps what is read.
struct Recorder {
    io: TcpStream,
    tape: Arc<Mutex<[Vec<u8>; 2]>>,
    side: usize,
}

mod recorder {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    impl AsyncRead for super::Recorder {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let before = buf.filled().len();
            let poll = Pin::new(&mut self.io).poll_read(cx, buf);
            let side = self.side;
            self.tape.lock().unwrap()[side].extend_from_slice(&buf.filled()[before..]);
            poll
        }
    }

    impl AsyncWrite for super::Recorder {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.io).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_shutdown(cx)
        }
    }
}
