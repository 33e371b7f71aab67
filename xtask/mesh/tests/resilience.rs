//! Retries, timeouts and failure accrual, as Linkerd's annotations ask for them.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{
    Answer, App, Client, Http, Pod, grpc,
    services::{Services, policy, port, route},
    text, timely,
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use mesh::{Issuer, OutboundSettings};
use policy::outbound::ServicePolicy;
use serde_json::json;
use tokio::sync::watch;

struct World {
    client: Client,
    seen: Arc<AtomicUsize>,
    _pods: Box<dyn std::any::Any>,
}

impl World {
    fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }

    async fn post(&self, body: &'static str) -> Answer {
        self.client.send(Request::post("/").body(Full::from(body)).unwrap()).await.expect("an answer")
    }
}

fn settings(annotations: &[(&str, &str)]) -> OutboundSettings {
    let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    OutboundSettings::from_annotations(&annotations).unwrap()
}

/// A Service of one pod, which answers the nth request (from 0) as told: a status, after a pause.
async fn world(
    version: Http,
    annotations: &[(&str, &str)],
    answer: impl Fn(usize) -> (u16, Duration) + Send + Sync + 'static,
) -> World {
    world_of(version, Arc::new(ServicePolicy::without_routes(port("server"), &settings(annotations))), answer)
        .await
}

async fn world_of(
    version: Http,
    policy: Arc<ServicePolicy>,
    answer: impl Fn(usize) -> (u16, Duration) + Send + Sync + 'static,
) -> World {
    let issuer = Issuer::generate().unwrap();
    let (caller, server) = (Pod::start("foo", &issuer).await, Pod::start("baz", &issuer).await);
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let app = App::start(server.app_addr(), version, move |request| {
        let (status, pause) = answer(count.fetch_add(1, Ordering::Relaxed));
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            tokio::time::sleep(pause).await;
            if version == Http::Two {
                grpc("answer", status)
            } else {
                text(StatusCode::from_u16(status).unwrap(), body)
            }
        }
    })
    .await;
    let (set, endpoints) = watch::channel(Arc::from([server.endpoint()]));
    let addr = caller.target_with(endpoints, watch::channel(policy).1, Services::default()).await;
    let client = Client::connect(addr, version).await;
    World { client, seen, _pods: Box::new((caller, server, app, set)) }
}

#[tokio::test]
async fn a_failed_request_is_sent_again_with_its_body() {
    timely(async {
        let annotations = [("retry.linkerd.io/http", "5xx"), ("retry.linkerd.io/limit", "2")];
        let world = world(Http::One, &annotations, |n| (if n < 2 { 503 } else { 200 }, Duration::ZERO)).await;
        let answer = world.post("content").await;
        assert_eq!((answer.status, answer.body.as_str(), world.seen()), (200, "content", 3));
    })
    .await;
}

#[tokio::test]
async fn the_last_failure_is_passed_on() {
    timely(async {
        let annotations = [("retry.linkerd.io/http", "5xx"), ("retry.linkerd.io/limit", "2")];
        let world = world(Http::One, &annotations, |_| (500, Duration::ZERO)).await;
        let answer = world.post("content").await;
        assert_eq!((answer.status, answer.body.as_str(), world.seen()), (500, "content", 3));
    })
    .await;
}

#[tokio::test]
async fn without_annotations_nothing_is_retried() {
    timely(async {
        let world = world(Http::One, &[], |_| (500, Duration::ZERO)).await;
        assert_eq!((world.post("content").await.status, world.seen()), (500, 1));
    })
    .await;
}

#[tokio::test]
async fn grpc_is_retried_by_the_status_in_its_trailers() {
    timely(async {
        let annotations = [("retry.linkerd.io/grpc", "unavailable")];
        let route = route("GRPCRoute", &json!({}), &json!([{}]));
        let policy = policy(&[], &annotations, &[route]);
        let world = world_of(Http::Two, policy, |n| (if n == 0 { 14 } else { 0 }, Duration::ZERO)).await;
        let answer = world.client.call("/a/b").await.unwrap();
        assert_eq!((answer.grpc_status(), world.seen()), (Some("0"), 2));
        assert_eq!(answer.body, "answer");
    })
    .await;
}

/// Only `GRPCRoute`s look at gRPC conditions: the default route is an HTTP route.
#[tokio::test]
async fn without_a_grpc_route_grpc_is_not_retried() {
    timely(async {
        let annotations = [("retry.linkerd.io/grpc", "unavailable")];
        let world = world(Http::Two, &annotations, |_| (14, Duration::ZERO)).await;
        let answer = world.client.call("/a/b").await.unwrap();
        assert_eq!((answer.grpc_status(), world.seen()), (Some("14"), 1));
    })
    .await;
}

#[tokio::test]
async fn attempts_but_the_last_are_cut_by_the_retry_timeout() {
    timely(async {
        let annotations = [("retry.linkerd.io/timeout", "100ms"), ("retry.linkerd.io/limit", "2")];
        let world = world(Http::One, &annotations, |_| (200, Duration::from_millis(400))).await;
        assert_eq!((world.post("x").await.status, world.seen()), (200, 3));
    })
    .await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_504_and_says_which_limit() {
    timely(async {
        for (annotation, reason) in [
            ("timeout.linkerd.io/request", "request timeout: 100ms"),
            ("timeout.linkerd.io/response", "response stream timeout: 100ms"),
        ] {
            let world = world(Http::One, &[(annotation, "100ms")], |_| (200, Duration::from_secs(20))).await;
            let answer = world.post("x").await;
            assert_eq!(answer.status, 504);
            let error = answer.header("l5d-proxy-error").unwrap();
            assert!(error.ends_with(&format!("timed out waiting for response headers: {reason}")), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_fails_in_a_row_is_probed_by_single_requests() {
    timely(async {
        let annotations = [
            ("balancer.linkerd.io/failure-accrual", "consecutive"),
            ("balancer.linkerd.io/failure-accrual-consecutive-max-failures", "3"),
            ("balancer.linkerd.io/failure-accrual-consecutive-min-penalty", "200ms"),
        ];
        let world = world(Http::One, &annotations, |n| (if n < 4 { 500 } else { 200 }, Duration::ZERO)).await;
        for _ in 0..3 {
            assert_eq!(world.post("x").await.status, 500);
        }
        // The fourth waits for the penalty's end, and is a probe that fails; the fifth finds it well.
        assert_eq!((world.post("x").await.status, world.seen()), (500, 4));
        assert_eq!((world.post("x").await.status, world.seen()), (200, 5));
    })
    .await;
}
