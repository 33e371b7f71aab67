//! How requests are spread over endpoints. A test binary of its own, and one test at a time: a stall of the
//! machine counts as latency, which is what is balanced by.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::Duration;

use common::{
    App, Http, Pod, grpc,
    load::{Load, NAMES, endpoints, three},
    timely,
};
use http_body_util::BodyExt;
use mesh::{Issuer, OutboundSettings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_spread_by_latency() {
    each_pod_gets_its_share_of_one_clients_requests().await;
    a_slow_pod_gets_less().await;
}

async fn each_pod_gets_its_share_of_one_clients_requests() {
    timely(async {
        let (caller, servers) = three().await;
        let (addr, _set) = caller.target(endpoints(&servers), OutboundSettings::default()).await;
        let load = Load::start(addr, 10).await;
        load.more(600).await;
        let counts = load.stop().await;
        let all: usize = counts.values().sum();
        for name in NAMES {
            assert!(counts.get(name).is_some_and(|count| count * 10 >= all), "{counts:?}");
        }
    })
    .await;
}

async fn a_slow_pod_gets_less() {
    timely(async {
        let issuer = Issuer::generate().unwrap();
        let caller = Pod::start("foo", &issuer).await;
        let (fast, slow) = (Pod::start("baz", &issuer).await, Pod::start("baz", &issuer).await);
        let _fast = App::grpc(fast.app_addr(), "fast").await;
        let _slow = App::start(slow.app_addr(), Http::Two, |request| async move {
            let _ = request.into_body().collect().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            grpc("slow", 0)
        })
        .await;
        let set = [fast.endpoint(), slow.endpoint()];
        let (addr, _set) = caller.target(set, OutboundSettings::default()).await;
        let load = Load::start(addr, 10).await;
        load.more(500).await;
        let counts = load.stop().await;
        assert!(counts["fast"] > 4 * counts["slow"], "{counts:?}");
    })
    .await;
}
