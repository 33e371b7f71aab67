//! `call` against real servers.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use super::*;

fn get(path: &str) -> CallRequest {
    CallRequest {
        service: "baz".to_owned(),
        port: "80".to_owned(),
        path: path.to_owned(),
        timeout_ms: 60_000,
        count: 1,
        concurrency: 1,
        ..CallRequest::default()
    }
}

fn http(address: SocketAddr) -> Reach {
    Reach { address, authority: "baz.default.svc.cluster.local:80".to_owned(), grpc: false, reflection: None }
}

fn grpc(address: SocketAddr) -> Reach {
    Reach {
        address,
        authority: "baz.default.svc.cluster.local:9090".to_owned(),
        grpc: true,
        reflection: None,
    }
}

/// A server whose pod is called `pod`, and says what it was asked. Counts its connections.
async fn server(pod: &'static str) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let service = service_fn(move |request: http::Request<Incoming>| async move {
                    let (head, body) = request.into_parts();
                    let text = |name: &str| head.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
                    let answer = serde_json::json!({
                        "hostname": pod,
                        "method": head.method.as_str(),
                        "path": head.uri.to_string(),
                        "host": text("host"),
                        "type": text("content-type"),
                        "who": text("x-who"),
                        "body": String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
                    });
                    let status = if head.uri.path() == "/missing" { 404 } else { 200 };
                    let response = http::Response::builder().status(status);
                    Ok::<_, Infallible>(response.body(Full::new(Bytes::from(answer.to_string()))).unwrap())
                });
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, connections)
}

/// A gRPC server with `grpc.health.v1`, with or without reflection.
async fn health(reflection: bool) -> SocketAddr {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("foo", tonic_health::ServingStatus::Serving).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let reflection = reflection.then(|| {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .unwrap()
    });
    let server = tonic::transport::Server::builder().add_service(health).add_optional_service(reflection);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// An address that nobody listens on.
fn closed() -> SocketAddr {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn an_http_call_carries_what_was_asked_for() {
    let (address, _) = server("baz-1").await;
    let asked = CallRequest {
        headers: vec![("X-Who".to_owned(), "me".to_owned())],
        data: Some("{\"a\":1}".to_owned()),
        ..get("/foo/bar?x=y")
    };
    let answer = call(&asked, &http(address), None).await.unwrap();
    assert_eq!((answer.status, answer.pod.as_deref()), (Some(200), Some("baz-1")));
    assert_eq!((answer.grpc_status, &answer.error), (None, &None));
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "hostname": "baz-1", "method": "POST", "path": "/foo/bar?x=y", "who": "me", "body": "{\"a\":1}",
            "host": "baz.default.svc.cluster.local", "type": "application/json",
        })
    );
    let put = CallRequest { method: Some("PUT".to_owned()), ..get("/") };
    assert!(call(&put, &http(address), None).await.unwrap().body.contains("\"PUT\""));
}

#[tokio::test]
async fn many_http_calls_go_over_few_connections_and_are_counted() {
    let (address, connections) = server("baz-1").await;
    let asked = CallRequest { count: 40, concurrency: 4, ..get("/missing") };
    let answer = call(&asked, &http(address), None).await.unwrap();
    assert_eq!(answer.pods, BTreeMap::from([("baz-1".to_owned(), 40)]));
    assert_eq!(answer.outcomes, BTreeMap::from([("404".to_owned(), 40)]));
    // A connection may not be free again by the time its worker goes on.
    assert!(connections.load(Ordering::Relaxed) < 40);
}

#[tokio::test]
async fn an_empty_grpc_message_is_answered_by_one_shown_as_json() {
    let address = health(true).await;
    let answer = call(&get("/grpc.health.v1.Health/Check"), &grpc(address), None).await.unwrap();
    assert_eq!((answer.status, answer.grpc_status), (Some(200), Some(0)));
    assert_eq!(answer.body, r#"{"status":"SERVING"}"#);
    assert!(answer.trailers.iter().any(|(name, value)| (&**name, &**value) == ("grpc-status", "0")));
}

#[tokio::test]
async fn grpc_data_is_a_message_as_json_and_a_refusal_has_its_status() {
    let address = health(true).await;
    let asked = |data: &str| CallRequest {
        data: Some(data.to_owned()),
        count: 3,
        concurrency: 2,
        ..get("/grpc.health.v1.Health/Check")
    };
    let answer = call(&asked(r#"{"service":"foo"}"#), &grpc(address), None).await.unwrap();
    assert_eq!(answer.outcomes, BTreeMap::from([("grpc 0".to_owned(), 3)]));
    let answer = call(&asked(r#"{"service":"nobody"}"#), &grpc(address), None).await.unwrap();
    assert_eq!(answer.grpc_status, Some(5));
    assert_eq!(answer.grpc_message.as_deref(), Some("service not registered"));
    assert_eq!((answer.trailers, &*answer.body), (Vec::new(), ""), "the status is in the headers");
    let wrong = call(&asked(r#"{"name":1}"#), &grpc(address), None).await.unwrap_err();
    insta::assert_snapshot!(
        wrong,
        @"the data is no grpc.health.v1.HealthCheckRequest: unrecognized field name 'name' at line 1 column 7"
    );
}

#[tokio::test]
async fn without_reflection_a_message_is_shown_as_bytes_and_data_is_refused() {
    let address = health(false).await;
    let answer = call(&get("/grpc.health.v1.Health/Check"), &grpc(address), None).await.unwrap();
    assert_eq!(answer.grpc_status, Some(0));
    insta::assert_snapshot!(answer.body, @"(2 bytes, not decoded: the server has no reflection) 0801");
    let asked =
        CallRequest { data: Some(r#"{"service":"foo"}"#.to_owned()), ..get("/grpc.health.v1.Health/Check") };
    let error = call(&asked, &grpc(address), None).await.unwrap_err();
    insta::assert_snapshot!(error, @"cannot make a message of the data: the server has no reflection");
    let empty = CallRequest { data: Some("{}".to_owned()), ..get("/grpc.health.v1.Health/Check") };
    assert_eq!(call(&empty, &grpc(address), None).await.unwrap().grpc_status, Some(0));
}

#[tokio::test]
async fn grpc_calls_share_one_connection_with_reflection() {
    let backend = health(true).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            *counter.lock().unwrap() += 1;
            let mut backend = tokio::net::TcpStream::connect(backend).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut backend).await });
        }
    });
    let asked = CallRequest { count: 50, concurrency: 10, ..get("/grpc.health.v1.Health/Check") };
    let answer = call(&asked, &grpc(address), None).await.unwrap();
    assert_eq!(answer.outcomes, BTreeMap::from([("grpc 0".to_owned(), 50)]));
    assert_eq!(*accepted.lock().unwrap(), 1);
}

#[tokio::test]
async fn what_gets_no_answer_says_why() {
    let asked = CallRequest { count: 2, concurrency: 2, ..get("/") };
    for reach in [http(closed()), grpc(closed())] {
        let answer = call(&asked, &reach, None).await.unwrap();
        assert_eq!((answer.status, answer.outcomes.get("error")), (None, Some(&2)));
        let error = answer.error.unwrap();
        assert!(error.contains("Connection refused"), "{error}");
    }
    // Accepts and says nothing.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let asked = CallRequest { timeout_ms: 20, ..get("/") };
    let answer = call(&asked, &http(silent.local_addr().unwrap()), None).await.unwrap();
    assert_eq!(answer.error.as_deref(), Some("no answer within 20ms"));
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused() {
    let mut asked = get("/");
    asked.headers = vec![("a b".to_owned(), "c".to_owned())];
    let error = call(&asked, &http(closed()), None).await.unwrap_err();
    insta::assert_snapshot!(error, @"`a b: c` is no header");
    let asked = CallRequest { method: Some("G T".to_owned()), ..get("/") };
    assert!(call(&asked, &http(closed()), None).await.is_err());
}

#[tokio::test]
async fn a_witness_names_the_pod_that_the_answer_does_not() {
    let address = health(false).await;
    let witness = || BTreeMap::from([("baz-2".to_owned(), 1)]);
    let answer = call(&get("/grpc.health.v1.Health/Check"), &grpc(address), Some(&witness)).await.unwrap();
    assert_eq!(answer.pod.as_deref(), Some("baz-2"));
}

#[test]
fn a_grpc_call_is_told_by_port_and_path() {
    assert!(is_grpc(Some("grpc"), None, "/demo.Baz/GetInfo"));
    assert!(is_grpc(Some("grpc-internal"), None, "/demo.Baz/GetInfo"));
    assert!(is_grpc(Some("x"), Some("kubernetes.io/h2c"), "/demo.Baz/GetInfo"));
    assert!(!is_grpc(Some("grpc"), None, "/"));
    assert!(!is_grpc(Some("grpc"), None, "/a/b/c"));
    assert!(!is_grpc(Some("http"), None, "/demo.Baz/GetInfo"));
}

#[test]
fn grpc_messages_and_codes_are_readable() {
    let decode = |text| grpc::decode_message(&HeaderValue::from_static(text));
    assert_eq!(decode("no%20such %C3%A9 100% %zz"), "no such \u{e9} 100% %zz");
    assert_eq!((code_name(7), code_name(0)), ("PERMISSION_DENIED".to_owned(), "OK".to_owned()));
}
