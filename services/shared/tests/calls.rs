//! foo, bar and baz calling each other, over both protocols.

#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(clippy::disallowed_names, reason = "foo, bar and baz are the services' names")]

mod world;

use std::{collections::HashMap, time::Duration};

use http::StatusCode;
use proto::demo::{
    InfoRequest, InfoResponse,
    baz_server::{Baz, BazServer},
    foo_client::FooClient,
};
use shared::{Service, answer::Document};
use tokio::net::TcpListener;
use tonic::{Code, Request, Response, Status};
use world::{World, ask, bar, foo, get, start};

fn request() -> Request<InfoRequest> {
    Request::new(InfoRequest { client: "test".to_owned(), headers: HashMap::new() })
}

#[tokio::test]
async fn foo_over_http_reports_what_bar_and_baz_were_asked() {
    let world = World::start(false).await;
    let (status, foo) = ask(world.foo.http, "/any/path?x=1", &[]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((foo.service.as_str(), foo.hostname.as_str()), ("foo", "foo-0"));
    assert_eq!((foo.protocol.as_str(), foo.path.as_str()), ("HTTP/1.1", "/any/path?x=1"));
    let [bar, baz] = &foo.callees[..] else { panic!("{foo:?}") };
    assert_eq!((bar.callee.as_str(), bar.protocol.as_str(), bar.status), ("bar", "http", 200));
    assert_eq!((baz.callee.as_str(), baz.protocol.as_str(), baz.status), ("baz", "http", 200));
    let (bar, baz) = (bar.answer.as_deref().unwrap(), baz.answer.as_deref().unwrap());
    assert_eq!((bar.path.as_str(), baz.path.as_str()), ("/", "/"));
    assert_eq!((bar.headers["user-agent"].as_str(), baz.hostname.as_str()), ("foo/0.1.0", "baz-0"));
    let baz_of_bar = bar.callees[0].answer.as_deref().unwrap();
    assert_eq!((baz_of_bar.method.as_str(), baz_of_bar.path.as_str()), ("GET", "/foo/bar"));
}

#[tokio::test]
async fn foo_over_grpc_reports_what_bar_and_baz_were_asked() {
    let world = World::start(true).await;
    let (status, foo) = ask(world.foo.http, "/", &[]).await;
    assert_eq!(status, StatusCode::OK);
    let [bar, baz] = &foo.callees[..] else { panic!("{foo:?}") };
    assert_eq!((bar.protocol.as_str(), bar.grpc_status, baz.status), ("grpc", None, 200));
    let (bar, baz) = (bar.answer.as_deref().unwrap(), baz.answer.as_deref().unwrap());
    assert_eq!((bar.protocol.as_str(), bar.path.as_str()), ("gRPC", "/demo.Bar/GetInfo"));
    assert_eq!((baz.method.as_str(), baz.path.as_str()), ("POST", "/demo.Baz/GetInfo"));
    assert_eq!(bar.callees[0].answer.as_deref().unwrap().path, "/demo.Baz/GetInfo");
}

#[tokio::test]
async fn a_grpc_client_gets_the_same_document() {
    let world = World::start(true).await;
    let mut client = FooClient::new(world.foo.channel());
    let response = client.get_info(request()).await.unwrap().into_inner();
    assert_eq!((response.hostname.as_str(), response.status), ("foo-0", 200));
    let document: Document = serde_json::from_str(&response.message).unwrap();
    assert_eq!((document.protocol.as_str(), document.callees.len()), ("gRPC", 2));
    assert_eq!(response.headers, document.headers.into_iter().collect());
}

#[tokio::test]
async fn plain_http2_is_not_taken_for_grpc() {
    let world = World::start(false).await;
    let client: hyper_util::client::legacy::Client<_, http_body_util::Empty<bytes::Bytes>> =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .http2_only(true)
            .build_http();
    let response = client.get(format!("http://{}/", world.baz.http).parse().unwrap()).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Document>(&body).unwrap().protocol, "HTTP/2");
}

#[tokio::test]
async fn a_failed_callee_is_named_in_a_502() {
    for use_grpc in [false, true] {
        let World { foo, bar, baz } = World::start(use_grpc).await;
        bar.shut_down();
        bar.ended().await;
        let (status, document) = ask(foo.http, "/", &[]).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        let [failed, answered] = &document.callees[..] else { panic!("{document:?}") };
        assert_eq!((failed.status, answered.status), (503, 200));
        assert_eq!(failed.grpc_status, use_grpc.then_some(14));
        let error = document.error.unwrap();
        assert!(error.starts_with("bar: ") && error.contains("Connection refused"), "{error}");
        drop(baz);
    }
}

#[tokio::test]
async fn a_failed_callee_is_named_in_the_grpc_status() {
    let World { foo, bar: _bar, baz } = World::start(true).await;
    baz.shut_down();
    baz.ended().await;
    let status = FooClient::new(foo.channel()).get_info(request()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("bar: grpc 14 UNAVAILABLE: baz: "), "{status}");
}

/// A baz as policy makes one.
struct Denied;

#[tonic::async_trait]
impl Baz for Denied {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Err(Status::permission_denied("unauthorized request on route"))
    }
}

#[tokio::test]
async fn a_denial_two_calls_away_stays_visible() {
    let baz = start(Service::new("baz").grpc(|_| BazServer::new(Denied)), &[]).await;
    let bar = start(bar::service(), &world::bar_vars(true, &baz)).await;
    let foo = start(foo::service(), &world::foo_vars(true, &bar, &baz)).await;
    let (status, document) = ask(foo.http, "/", &[]).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    let [bar, baz] = &document.callees[..] else { panic!("{document:?}") };
    assert_eq!((bar.status, bar.grpc_status), (503, Some(14)));
    assert_eq!((baz.status, baz.grpc_status), (403, Some(7)));
    let denied = "baz: grpc 7 PERMISSION_DENIED: unauthorized request on route";
    assert_eq!(document.error.unwrap(), format!("bar: grpc 14 UNAVAILABLE: {denied}; {denied}"));
}

#[tokio::test]
async fn the_trace_goes_through_to_every_callee() {
    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let given = format!("00-{ID}-00f067aa0ba902b7-01");
    for use_grpc in [false, true] {
        let world = World::start(use_grpc).await;
        let (_, foo) = ask(world.foo.http, "/", &[("traceparent", &given), ("tracestate", "a=1")]).await;
        let bar = foo.callees[0].answer.as_deref().unwrap();
        let asked =
            [bar, bar.callees[0].answer.as_deref().unwrap(), foo.callees[1].answer.as_deref().unwrap()];
        for document in asked {
            let passed = &document.headers["traceparent"];
            assert!(passed.starts_with(&format!("00-{ID}-")) && *passed != given, "{passed}");
            assert_eq!(document.headers["tracestate"], "a=1");
        }
    }
}

#[tokio::test]
async fn a_clients_deadline_is_the_callees_too() {
    // It accepts, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = silent.local_addr().unwrap().to_string();
    let vars = [("USE_GRPC", "true".to_owned()), ("BAR_GRPC_URL", at.clone()), ("BAZ_GRPC_URL", at)];
    let foo = start(foo::service(), &vars).await;
    let mut request = request();
    // Far below the 3 s that a call may take by itself.
    request.set_timeout(Duration::from_millis(50));
    let status = FooClient::new(foo.channel()).get_info(request).await.unwrap_err();
    // Who notices first, this client or foo, is a matter of luck.
    assert!(
        matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled)
            || status.message().contains("DEADLINE_EXCEEDED"),
        "{status}"
    );
}

#[tokio::test]
async fn text_is_the_same_for_people() {
    let world = World::start(false).await;
    let (status, text) = get(world.foo.http, "/", &[("accept", "text/plain")]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.starts_with("foo on foo-0 was asked GET / over HTTP/1.1\n"), "{text}");
    assert!(text.contains("      baz answered 200 over http:\n"), "{text}");
}
