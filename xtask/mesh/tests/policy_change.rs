//! A policy that changes while traffic flows.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::objects::{Policies, allow, limit, path, server};
use common::{App, Client, Http, Pod, timely, until};
use mesh::{Issuer, OutboundSettings};
use tokio::sync::Semaphore;

const CONNECTIONS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_full_load_a_change_gives_only_answers_of_the_two_states_and_is_in_force_at_once() {
    timely(async {
        let open = [];
        let closed = [server("unknown", "deny"), path("root", "/"), allow("foo", ["HTTPRoute", "root"])];
        let policies = Policies::of("bar", &open);
        let issuer = Issuer::generate().unwrap();
        let bar = Pod::start_with("bar", &issuer, policies.watch()).await;
        let foo = Pod::start("foo", &issuer).await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;

        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut workers = Vec::new();
        for worker in 0..CONNECTIONS {
            // Meshed and not, on the route and not: what each gets in the two states.
            let (addr, path, states) = match worker % 4 {
                0 => (addr, "/", [200, 200]),
                1 => (addr, "/other", [200, 404]),
                2 => (bar.addr(), "/", [200, 403]),
                _ => (bar.addr(), "/other", [200, 404]),
            };
            let (client, stop, sent) = (Client::connect(addr, Http::One).await, stop.clone(), sent.clone());
            let work = tokio::spawn(async move {
                let mut seen = BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    // A reset would be an error here.
                    seen.insert(client.get(path).await.status);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                seen
            });
            workers.push((work, states));
        }
        // A connection of its own that is open all the while.
        let watcher = Client::connect(bar.addr(), Http::One).await;
        for _ in 0..100 {
            let goal = sent.load(Ordering::Relaxed) + CONNECTIONS;
            policies.set(&closed);
            assert_eq!(watcher.get("/").await.status, 403, "the first request after the change");
            until("some requests", || async { sent.load(Ordering::Relaxed) >= goal }).await;
            policies.set(&open);
            assert_eq!(watcher.get("/").await.status, 200, "the first request after the change");
        }
        stop.store(true, Ordering::Relaxed);
        for (work, states) in workers {
            let seen = work.await.unwrap();
            assert!(seen.is_subset(&states.into()), "{seen:?} of {states:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_under_way_is_finished_when_its_client_is_no_longer_let_in() {
    timely(async {
        let policies = Policies::of("bar", &[]);
        let issuer = Issuer::generate().unwrap();
        let bar = Pod::start_with("bar", &issuer, policies.watch()).await;
        let foo = Pod::start("foo", &issuer).await;
        let (reached, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (arrived, gate) = (reached.clone(), go_on.clone());
        let _app = App::start(bar.app_addr(), Http::Two, move |_| {
            let (arrived, gate) = (arrived.clone(), gate.clone());
            async move {
                arrived.add_permits(1);
                gate.acquire().await.unwrap().forget();
                common::grpc("done", 0)
            }
        })
        .await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let client = Client::connect(addr, Http::Two).await;
        let slow = tokio::spawn({
            let client = client.clone();
            async move { client.call("/demo.Bar/GetInfo").await }
        });
        reached.acquire().await.unwrap().forget();
        policies.set(&[server("gRPC", "deny")]);
        assert_eq!(client.call("/demo.Bar/GetInfo").await.unwrap().grpc_status(), Some("7"));
        go_on.add_permits(1);
        let answer = slow.await.unwrap().unwrap();
        assert_eq!((answer.grpc_status(), answer.body.as_str()), (Some("0"), "done"));
    })
    .await;
}

#[tokio::test]
async fn a_limit_goes_on_counting_while_other_things_change() {
    timely(async {
        let limited = [server("unknown", "all-unauthenticated"), limit(Some(2), None)];
        let policies = Policies::of("bar", &limited);
        let issuer = Issuer::generate().unwrap();
        let bar = Pod::start_with("bar", &issuer, policies.watch()).await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let client = Client::connect(bar.addr(), Http::One).await;
        let mut statuses = Vec::new();
        for _ in 0..100 {
            // Compiled anew, with the same content for this port.
            policies.set(&limited);
            statuses.push(client.get("/").await.status);
        }
        assert!(statuses.contains(&429), "a limit that begins anew lets each of them in");
        assert!(statuses.iter().all(|status| [200, 429].contains(status)));
    })
    .await;
}
