//! What happens to requests when endpoints come and go.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{
    App, Client, Http, Pod,
    load::{Load, NAMES, endpoints, three},
    text, timely, until,
};
use http::StatusCode;
use mesh::{Issuer, OutboundSettings};
use tokio::sync::Semaphore;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_every_pod_under_load_loses_nothing() {
    timely(async {
        let (foo, mut servers) = three().await;
        let (addr, set) = foo.target(endpoints(&servers), OutboundSettings::default()).await;
        let load = Load::start(addr, 16).await;
        load.more(200).await;
        while servers.len() > 1 {
            let (pod, app) = servers.remove(0);
            set.send_replace(endpoints(&servers).into());
            pod.sidecar.drain(Duration::from_secs(5)).await;
            drop(app);
            load.more(200).await;
        }
        let counts = load.stop().await;
        assert!(counts.keys().all(|answer| NAMES.contains(&answer.as_str())), "{counts:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_drains_before_its_endpoint_is_removed_loses_nothing() {
    timely(async {
        let (foo, mut servers) = three().await;
        let (addr, _set) = foo.target(endpoints(&servers), OutboundSettings::default()).await;
        let load = Load::start(addr, 16).await;
        load.more(200).await;
        let (pod, app) = servers.remove(0);
        pod.sidecar.drain(Duration::from_secs(5)).await;
        drop(app);
        load.more(200).await;
        let counts = load.stop().await;
        assert!(counts.keys().all(|answer| NAMES.contains(&answer.as_str())), "{counts:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_costs_only_what_was_in_flight_on_it() {
    timely(async {
        const WORKERS: usize = 8;
        let (foo, mut servers) = three().await;
        let (addr, set) = foo.target(endpoints(&servers), OutboundSettings::default()).await;
        let load = Load::start(addr, WORKERS).await;
        load.more(200).await;
        let (pod, app) = servers.remove(0);
        drop(app);
        // Its endpoint is still there: the kubelet has not noticed yet.
        load.more(300).await;
        set.send_replace(endpoints(&servers).into());
        drop(pod);
        load.more(100).await;
        let counts = load.stop().await;
        let failed: usize =
            counts.iter().filter(|(answer, _)| answer.starts_with("failed")).map(|(_, count)| count).sum();
        assert!(failed <= WORKERS, "{counts:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_requests_to_a_killed_process_go_elsewhere() {
    timely(async {
        let issuer = Issuer::generate().unwrap();
        let foo = Pod::start("foo", &issuer).await;
        let (one, two) = (Pod::start("baz", &issuer).await, Pod::start("baz", &issuer).await);
        let dead = App::echo(one.app_addr(), Http::One).await;
        let _alive = App::echo(two.app_addr(), Http::One).await;
        let (addr, _set) = foo.target([one.endpoint(), two.endpoint()], OutboundSettings::default()).await;
        let client = Client::connect(addr, Http::One).await;
        drop(dead);
        for _ in 0..50 {
            assert_eq!(client.get("/").await.status, 200);
        }
    })
    .await;
}

#[tokio::test]
async fn without_endpoints_requests_fail_after_three_seconds_and_then_are_shed() {
    timely(async {
        let issuer = Issuer::generate().unwrap();
        let foo = Pod::start("foo", &issuer).await;
        let (addr, set) = foo.target([], OutboundSettings::default()).await;
        let client = Client::connect(addr, Http::One).await;
        let answer = client.get("/").await;
        assert_eq!((answer.status, answer.header("content-length")), (504, Some("0")));
        assert_eq!(
            answer.header("l5d-proxy-error").unwrap(),
            format!(
                "logical service {addr}: route default.http: backend Service.default.server:80: \
                 Service.default.server:80: service in fail-fast"
            )
        );
        assert_eq!(answer.header("l5d-proxy-connection"), Some("close"));
        let client = Client::connect(addr, Http::Two).await;
        let answer = client.call("/a/b").await.unwrap();
        assert_eq!((answer.status, answer.grpc_status()), (200, Some("14")));
        assert_eq!(
            answer.header("grpc-message").unwrap(),
            format!("logical service {addr}: route default.http: service unavailable")
        );
        let baz = Pod::start("baz", &issuer).await;
        let _app = App::grpc(baz.app_addr(), "baz").await;
        set.send_replace([baz.endpoint()].into());
        until("the Service works again", || async {
            client.call("/a/b").await.is_ok_and(|answer| answer.grpc_status() == Some("0"))
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn an_application_that_does_not_listen_is_502_and_grpc_4() {
    timely(async {
        let issuer = Issuer::generate().unwrap();
        let (foo, baz) = (Pod::start("foo", &issuer).await, Pod::start("baz", &issuer).await);
        let (addr, _set) = foo.target([baz.endpoint()], OutboundSettings::default()).await;
        assert_eq!(Client::connect(addr, Http::One).await.get("/").await.status, 502);
        let answer = Client::connect(addr, Http::Two).await.call("/a/b").await.unwrap();
        assert_eq!((answer.status, answer.grpc_status()), (200, Some("4")));
        assert!(answer.header("grpc-message").unwrap().ends_with("service in fail-fast"));
        assert_eq!(Client::connect(baz.addr(), Http::One).await.get("/").await.status, 502);
        let answer = Client::connect(baz.addr(), Http::Two).await.call("/a/b").await.unwrap();
        assert_eq!((answer.status, answer.grpc_status()), (200, Some("4")));
        assert!(!answer.headers.contains_key("grpc-message"), "an unmeshed client is not told why");
    })
    .await;
}

#[tokio::test]
async fn a_draining_sidecar_finishes_what_is_under_way() {
    timely(async {
        let issuer = Issuer::generate().unwrap();
        let (foo, baz) = (Pod::start("foo", &issuer).await, Pod::start("baz", &issuer).await);
        let (gate, reached) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (open, arrived) = (gate.clone(), reached.clone());
        let _app = App::start(baz.app_addr(), Http::One, move |_| {
            let (gate, reached) = (gate.clone(), reached.clone());
            async move {
                reached.add_permits(1);
                gate.acquire().await.unwrap().forget();
                text(StatusCode::OK, "late")
            }
        })
        .await;
        let (addr, _set) = foo.target([baz.endpoint()], OutboundSettings::default()).await;
        let client = Client::connect(addr, Http::One).await;
        let answer = tokio::spawn(async move { client.get("/").await });
        arrived.acquire().await.unwrap().forget();
        let baz_addr = baz.addr();
        let drained = tokio::spawn(baz.sidecar.drain(Duration::from_secs(20)));
        until("the listener is closed", || async { tokio::net::TcpStream::connect(baz_addr).await.is_err() })
            .await;
        assert!(!drained.is_finished());
        open.add_permits(1);
        assert_eq!(answer.await.unwrap().body, "late");
        drained.await.unwrap();
    })
    .await;
}
