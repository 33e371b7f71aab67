//! The ingress between real sockets: hyper and tonic clients before it, hyper and tonic servers behind it.
//! One file, because all tests share these clients and servers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::*;
use crate::plan::Sourced;
use crate::workspace::manifests::Source;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Endpoints of Services, as the runtime would know them.
#[derive(Default)]
struct Endpoints(Mutex<BTreeMap<String, Vec<SocketAddr>>>);

impl Endpoints {
    fn set(&self, service: &str, addresses: &[SocketAddr]) {
        self.0.lock().unwrap().insert(service.to_owned(), addresses.to_vec());
    }
}

impl Upstreams for Endpoints {
    fn addresses(&self, backend: &Backend) -> Arc<[SocketAddr]> {
        self.0.lock().unwrap().get(&backend.service).cloned().unwrap_or_default().into()
    }
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

fn ok(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(full(text))
}

/// A backend on a port of its own, stopped gracefully when told to.
struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let connections = Arc::new(AtomicUsize::new(0));
        let (stopped, count) = (stop.clone(), Arc::clone(&connections));
        tokio::spawn(async move {
            let graceful = GracefulShutdown::new();
            while let Some(Ok((stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                count.fetch_add(1, Ordering::Relaxed);
                let (answer, watcher) = (answer.clone(), graceful.watcher());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = answer(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
                    let _ = watcher.watch(connection).await;
                });
            }
            drop(listener);
            graceful.shutdown().await;
        });
        Self { address, stop, connections }
    }
}

/// An Ingress that sends everything for `foo.localhost` to `foo`, with annotations of ingress-nginx.
fn routes(annotations: &[(&str, &str)]) -> Routes {
    let annotations: BTreeMap<_, _> =
        annotations.iter().map(|(k, v)| (format!("nginx.ingress.kubernetes.io/{k}"), *v)).collect();
    let object = serde_json::from_value(serde_json::json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": "foo", "annotations": annotations },
        "spec": { "rules": [{ "host": "foo.localhost", "http": { "paths": [{
            "path": "/", "pathType": "Prefix",
            "backend": { "service": { "name": "foo", "port": { "name": "http" } } },
        }] } }] },
    }))
    .unwrap();
    let source = Source { file: "foo.yaml".into(), line: 1 };
    Routes::of(&[Sourced { object, source }]).unwrap()
}

struct Setup {
    ingress: Ingress,
    endpoints: Arc<Endpoints>,
    client: legacy::Client<legacy::connect::HttpConnector, Body>,
}

fn setup(annotations: &[(&str, &str)], addresses: &[SocketAddr]) -> Setup {
    let endpoints = Arc::new(Endpoints::default());
    endpoints.set("foo", addresses);
    let upstreams: Arc<dyn Upstreams> = Arc::clone(&endpoints) as _;
    let ingress = Ingress::start(bind(0).unwrap(), routes(annotations), upstreams, None);
    let client = legacy::Client::builder(TokioExecutor::new()).build_http();
    Setup { ingress, endpoints, client }
}

impl Setup {
    fn request(&self, method: Method, path: &str, body: Body) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{}{path}", self.ingress.port()))
            .header("host", format!("foo.localhost:{}", self.ingress.port()))
            .body(body)
            .unwrap()
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        read(self.client.request(request).await.unwrap()).await
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let (status, _, body) = self.send(self.request(Method::GET, path, Empty::new().boxed_unsync())).await;
        (status, body)
    }
}

async fn read(response: Response<Incoming>) -> (StatusCode, HeaderMap, String) {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

/// An address that nobody listens on.
fn closed() -> SocketAddr {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

async fn named(name: &'static str) -> Server {
    Server::start(move |_| async move { ok(name) }).await
}

#[tokio::test]
async fn a_backend_gets_the_request_with_nginxs_headers() {
    let server = Server::start(|request: Request<Incoming>| async move {
        let header =
            |name: &str| request.headers().get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
        let asked = format!("{} {} {:?}", request.method(), request.uri(), request.version());
        let names = ["host", "x-real-ip", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"];
        let mut response = ok(format!("{asked} {}", names.map(header).join(" ")));
        response.headers_mut().insert("server", "secret".parse().unwrap());
        response
    })
    .await;
    let setup = setup(&[], &[server.address]);
    let port = setup.ingress.port();
    let (status, headers, body) =
        setup.send(setup.request(Method::GET, "/a%20b?c=d", Empty::new().boxed_unsync())).await;
    assert_eq!(status, 200);
    assert_eq!(headers.get("server"), None);
    let host = format!("foo.localhost:{port}");
    assert_eq!(body, format!("GET /a%20b?c=d HTTP/1.1 {host} 127.0.0.1 {host} {port} http"));
}

#[tokio::test]
async fn both_loopbacks_answer() {
    let server = named("foo").await;
    let setup = setup(&[], &[server.address]);
    let url = format!("http://[::1]:{}/", setup.ingress.port());
    if TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, setup.ingress.port())).await.is_ok() {
        let mut request = setup.request(Method::GET, "/", full(""));
        *request.uri_mut() = url.parse().unwrap();
        assert_eq!(setup.send(request).await.2, "foo");
    }
}

#[tokio::test]
async fn a_request_that_no_rule_takes_is_told_which_hosts_there_are() {
    let setup = setup(&[], &[]);
    let mut request = setup.request(Method::GET, "/x", full(""));
    request.headers_mut().insert("host", "other.localhost".parse().unwrap());
    let (status, _, body) = setup.send(request).await;
    assert_eq!(status, 404);
    insta::assert_snapshot!(body, @r"
    404 Not Found: no Ingress rule takes other.localhost/x
    hosts with rules: foo.localhost
    ");
}

#[tokio::test]
async fn no_ready_endpoint_is_503_and_one_that_gets_ready_is_used() {
    let setup = setup(&[], &[]);
    let (status, body) = setup.get("/").await;
    assert_eq!(
        (status.as_u16(), &*body),
        (503, "503 Service Unavailable: Service foo:http has no ready endpoint\n")
    );
    let server = named("foo").await;
    setup.endpoints.set("foo", &[server.address]);
    assert_eq!(setup.get("/").await, (StatusCode::OK, "foo".to_owned()));
}

#[tokio::test]
async fn requests_take_turns_over_endpoints_on_kept_connections() {
    let (a, b) = (named("a").await, named("b").await);
    let setup = setup(&[], &[a.address, b.address]);
    let mut answers = String::new();
    for _ in 0..6 {
        answers += &setup.get("/").await.1;
    }
    assert_eq!(answers, "ababab");
    let connections = [a, b].map(|server| server.connections.load(Ordering::Relaxed));
    // The second request may come before the first connection is free again.
    assert!(connections.iter().all(|n| (1..=2).contains(n)), "{connections:?}");
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over_for_any_method() {
    let server = named("alive").await;
    let setup = setup(&[], &[closed(), server.address]);
    for _ in 0..4 {
        let request = setup.request(Method::POST, "/", full("body"));
        assert_eq!(setup.send(request).await.2, "alive");
    }
}

#[tokio::test]
async fn endpoints_that_all_refuse_are_502() {
    let setup = setup(&[], &[closed(), closed()]);
    let (status, body) = setup.get("/").await;
    assert_eq!(status, 502);
    assert!(body.contains("Service foo: cannot connect to 127.0.0.1:"), "{body}");
}

/// Reads a request's head and closes; counts how often.
async fn closes_after_reading() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    (address, count)
}

#[tokio::test]
async fn what_a_backend_may_have_done_is_repeated_only_if_that_does_no_harm() {
    let (bad, count) = closes_after_reading().await;
    let server = Server::start(|request: Request<Incoming>| async move {
        ok(request.into_body().collect().await.unwrap().to_bytes())
    })
    .await;
    let setup = setup(&[], &[bad, server.address]);
    let (status, _, body) = setup.send(setup.request(Method::PUT, "/", full("again"))).await;
    assert_eq!((status.as_u16(), &*body), (200, "again"), "PUT goes to the next, body and all");
    assert_eq!(count.load(Ordering::Relaxed), 1);
    setup.get("/").await;
    let (status, _, body) = setup.send(setup.request(Method::POST, "/", full("once"))).await;
    assert_eq!(status, 502, "{body}");
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_backend_that_does_not_answer_is_504() {
    let server = Server::start(|_| std::future::pending()).await;
    let setup = setup(&[("proxy-read-timeout", "1")], &[server.address]);
    let (status, body) = setup.get("/").await;
    assert_eq!(
        (status.as_u16(), &*body),
        (504, "504 Gateway Timeout: Service foo did not answer within 1s\n")
    );
}

#[tokio::test]
async fn an_answer_that_stops_is_cut() {
    let server = Server::start(|_| async {
        let begun = stream::iter([Ok(Frame::data(Bytes::from_static(b"begun")))]);
        Response::new(StreamBody::new(begun.chain(stream::pending())).boxed_unsync())
    })
    .await;
    let setup = setup(&[("proxy-read-timeout", "1")], &[server.address]);
    let response = setup.client.request(setup.request(Method::GET, "/", full(""))).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
}

/// Sends one request with HTTP/2, without TLS and without negotiation.
async fn send_http2(port: u16, mut request: Request<Body>) -> Response<Incoming> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    request.headers_mut().remove("host");
    let uri = format!("http://foo.localhost:{port}{}", request.uri().path());
    *request.uri_mut() = uri.parse().unwrap();
    sender.send_request(request).await.unwrap()
}

#[tokio::test]
async fn bodies_stream_both_ways_in_http1_and_http2() {
    let server = Server::start(|request: Request<Incoming>| async move {
        Response::new(request.into_body().map_err(|_| unreachable!()).boxed_unsync())
    })
    .await;
    let setup = setup(&[], &[server.address]);
    for http2 in [false, true] {
        let (send, receive) = mpsc::channel::<Bytes>(1);
        let frames = tokio_stream::wrappers::ReceiverStream::new(receive).map(|data| Ok(Frame::data(data)));
        let request = setup.request(Method::POST, "/", StreamBody::new(frames).boxed_unsync());
        send.send("one".into()).await.unwrap();
        let response = if http2 {
            send_http2(setup.ingress.port(), request).await
        } else {
            setup.client.request(request).await.unwrap()
        };
        // The second part is sent only once the first came back.
        let mut body = response.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        send.send("two".into()).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
        drop(send);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "");
    }
}

#[tokio::test]
async fn trailers_of_http1_arrive() {
    let server = Server::start(|_| async {
        let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "42".parse().unwrap())]);
        let frames = stream::iter([Ok(Frame::data("data".into())), Ok(Frame::trailers(trailers))]);
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
        response
    })
    .await;
    let setup = setup(&[], &[server.address]);
    let mut request = setup.request(Method::GET, "/", full(""));
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let body = setup.client.request(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "42");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_whether_or_not_it_says_so() {
    let server = Server::start(|request: Request<Incoming>| async move {
        match request.into_body().collect().await {
            Ok(body) => ok(body.to_bytes().len().to_string()),
            Err(_) => ok("broken"),
        }
    })
    .await;
    let setup = setup(&[("proxy-body-size", "1k")], &[server.address]);
    assert_eq!(setup.send(setup.request(Method::POST, "/", full(vec![0; 1024]))).await.2, "1024");
    let (status, _, body) = setup.send(setup.request(Method::POST, "/", full(vec![0; 1025]))).await;
    assert_eq!(status, 413);
    assert!(body.contains("at most 1024 bytes"), "{body}");
    let frames = stream::iter((0..3).map(|_| Ok(Frame::data(Bytes::from_static(&[0; 512])))));
    let request = setup.request(Method::POST, "/", StreamBody::new(frames).boxed_unsync());
    assert_eq!(setup.send(request).await.0, 413);
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways() {
    let server = Server::start(|mut request: Request<Incoming>| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let mut ping = [0; 4];
            io.read_exact(&mut ping).await.unwrap();
            io.write_all(if &ping == b"ping" { b"pong" } else { b"what" }).await.unwrap();
        });
        let response = Response::builder().status(101).header("connection", "upgrade");
        response.header("upgrade", request.headers()["upgrade"].clone()).body(full("")).unwrap()
    })
    .await;
    let setup = setup(&[], &[server.address]);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, setup.ingress.port())).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nhost: foo.localhost\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: websocket"), "{head}");
    stream.write_all(b"ping").await.unwrap();
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"pong");
}

#[tokio::test]
async fn grpc_calls_pass_with_messages_streams_and_trailers() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    let setup = setup(&[], &[grpc_until(CancellationToken::new()).await]);
    let port = setup.ingress.port();
    let origin: http::Uri = format!("http://foo.localhost:{port}").parse().unwrap();
    let channel = tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{port}"))
        .unwrap()
        .origin(origin)
        .connect()
        .await
        .unwrap();
    let mut client = HealthClient::new(channel);
    let request = |service: &str| HealthCheckRequest { service: service.to_owned() };
    assert_eq!(client.check(request("foo")).await.unwrap().into_inner().status, 1);
    let mut watch = client.watch(request("foo")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    let refused = client.check(request("nobody")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound, "a status in trailers only: {refused}");
}

#[tokio::test]
async fn no_request_fails_while_backends_are_replaced() {
    let first = named("0").await;
    let setup = Arc::new(setup(&[], &[first.address]));
    let done = CancellationToken::new();
    let clients: Vec<_> = (0..8)
        .map(|i| {
            let (setup, done) = (Arc::clone(&setup), done.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while !done.is_cancelled() {
                    // Any method: what was never sent may always be sent again.
                    let method = if i % 2 == 0 { Method::GET } else { Method::PUT };
                    let (status, _, body) = setup.send(setup.request(method, "/", full("x"))).await;
                    assert_eq!(status, 200, "{body}");
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut old = first;
    for _ in 0..20 {
        let new = named("n").await;
        setup.endpoints.set("foo", &[new.address]);
        setup.ingress.set_routes(routes(&[]));
        old.stop.cancel();
        while new.connections.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        old = new;
    }
    done.cancel();
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn what_a_backend_refused_to_begin_with_goes_to_the_next_whatever_it_does() {
    let refusing = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = refusing.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = refusing.accept().await {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut answer))) = connection.accept().await {
                answer.send_reset(h2::Reason::REFUSED_STREAM);
            }
        }
    });
    let server = Server::start(|request: Request<Incoming>| async move {
        ok(request.into_body().collect().await.unwrap().to_bytes())
    })
    .await;
    let setup = setup(&[("backend-protocol", "GRPC")], &[address, server.address]);
    for _ in 0..4 {
        let (status, _, body) = setup.send(setup.request(Method::POST, "/", full("once"))).await;
        assert_eq!((status.as_u16(), &*body), (200, "once"));
    }
}

/// A gRPC server with `grpc.health.v1`, in which `foo` serves; tells its clients to go when `stop` is cancelled.
async fn grpc_until(stop: CancellationToken) -> SocketAddr {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("foo", tonic_health::ServingStatus::Serving).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(health);
    tokio::spawn(server.serve_with_incoming_shutdown(incoming, async move { stop.cancelled().await }));
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_grpc_call_fails_while_the_pods_behind_a_services_address_are_replaced() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    // As a Service's address does it: a pod for each connection.
    let vip = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let setup = setup(&[], &[vip.local_addr().unwrap()]);
    let mut stop = CancellationToken::new();
    let (turn, pod) = tokio::sync::watch::channel(grpc_until(stop.clone()).await);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = vip.accept().await {
            let pod = *pod.borrow();
            tokio::spawn(async move {
                let mut pod = TcpStream::connect(pod).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut pod).await;
            });
        }
    });
    let port = setup.ingress.port();
    let origin: http::Uri = format!("http://foo.localhost:{port}").parse().unwrap();
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().origin(origin);
    let channel = channel.connect().await.unwrap();
    let done = CancellationToken::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (channel, done, calls) = (channel.clone(), done.clone(), Arc::clone(&calls));
            tokio::spawn(async move {
                let mut client = HealthClient::new(channel);
                while !done.is_cancelled() {
                    client.check(HealthCheckRequest { service: "foo".to_owned() }).await.unwrap();
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..20 {
        let next = CancellationToken::new();
        turn.send_replace(grpc_until(next.clone()).await);
        let before = calls.load(Ordering::Relaxed);
        while calls.load(Ordering::Relaxed) < before + 50 && clients.iter().all(|c| !c.is_finished()) {
            tokio::task::yield_now().await;
        }
        std::mem::replace(&mut stop, next).cancel();
    }
    done.cancel();
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_under_way_ends_before_the_ingress_stops() {
    let (begun, mut has_begun) = mpsc::channel(1);
    let (release, released) = tokio::sync::watch::channel(false);
    let server = Server::start(move |_| {
        let (begun, mut released) = (begun.clone(), released.clone());
        async move {
            begun.send(()).await.unwrap();
            released.wait_for(|released| *released).await.unwrap();
            ok("late")
        }
    })
    .await;
    let Setup { ingress, client, .. } = setup(&[], &[server.address]);
    let port = ingress.port();
    let request = Request::get(format!("http://127.0.0.1:{port}/"))
        .header("host", "foo.localhost")
        .body(full(""))
        .unwrap();
    let answer = tokio::spawn(client.request(request));
    has_begun.recv().await.unwrap();
    let stop = tokio::spawn(ingress.stop(Duration::from_secs(60)));
    // Once it does not listen any more it is stopping.
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.send(true).unwrap();
    assert_eq!(read(answer.await.unwrap().unwrap()).await.2, "late");
    stop.await.unwrap();
}

#[tokio::test]
async fn what_does_not_end_is_cut_when_the_grace_is_over() {
    let (begun, mut has_begun) = mpsc::channel(1);
    let server = Server::start(move |_| {
        let begun = begun.clone();
        async move {
            begun.send(()).await.unwrap();
            std::future::pending().await
        }
    })
    .await;
    let Setup { ingress, client, .. } = setup(&[], &[server.address]);
    let request = Request::get(format!("http://127.0.0.1:{}/", ingress.port()))
        .header("host", "foo.localhost")
        .body(full(""))
        .unwrap();
    let answer = tokio::spawn(client.request(request));
    has_begun.recv().await.unwrap();
    ingress.stop(Duration::ZERO).await;
    assert!(answer.await.unwrap().is_err());
}
