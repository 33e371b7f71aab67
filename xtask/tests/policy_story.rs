//! The tutorial's story of policies, live: nobody, then foo on a whole Server, then bar on one route; and policies
//! that come and go under load.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use support::{Checkout, get};

/// What a call came to: `200`, `403`, `grpc 0`, `grpc 7`.
fn outcome(answer: &Value) -> String {
    match answer["grpc_status"].as_i64() {
        Some(status) => format!("grpc {status}"),
        None => answer["status"].to_string(),
    }
}

fn call(checkout: &Checkout, who: &[&str], target: &str) -> Value {
    checkout.json(&[&["call"], who, &[target]].concat())
}

/// `client IP:PORT: server: IP:PORT: unauthorized request on route`
fn is_unauthorized(message: &str) -> bool {
    let ends = message
        .strip_prefix("client ")
        .and_then(|rest| rest.strip_suffix(": unauthorized request on route"))
        .and_then(|rest| rest.split_once(": server: "));
    let is_address = |text: &str| text.parse::<SocketAddr>().is_ok();
    ends.is_some_and(|(client, server)| is_address(client) && is_address(server))
}

/// Whether an answer of foo's through the ingress is one that foo gives itself: all is well, or it names the callee
/// that refused it.
fn is_foos_own(status: u16, body: &str) -> bool {
    status == 200 || (status == 502 && body.contains("baz"))
}

struct Story<'a> {
    checkout: &'a Checkout,
    steps: [&'a str; 3],
    /// What foo and bar ask baz.
    asked: &'a str,
    /// What only foo may ask.
    other: &'a str,
    well: &'a str,
    refused: &'a str,
}

impl Story<'_> {
    fn expect(&self, when: &str, who: &[&str], target: &str, wanted: &str) -> Value {
        let answer = call(self.checkout, who, target);
        assert_eq!(outcome(&answer), wanted, "{when}: {who:?} {target}: {answer:#}");
        answer
    }

    fn tell(&self) {
        let [deny, let_foo, let_bar] = self.steps;
        let (as_foo, as_bar): (&[&str], &[&str]) = (&["--as", "foo"], &["--as", "bar"]);
        self.expect("before", as_foo, self.asked, self.well);
        self.expect("before", as_bar, self.asked, self.well);

        self.checkout.ok(&["policy", "apply", deny]);
        for who in [as_foo, as_bar] {
            let answer = self.expect("nobody is let in", who, self.asked, self.refused);
            if let Some(message) = answer["grpc_message"].as_str() {
                assert!(is_unauthorized(message), "{answer:#}");
            } else {
                assert_eq!(answer["body"], "", "{answer:#}");
            }
        }

        self.checkout.ok(&["policy", "apply", let_foo]);
        self.expect("foo is let in", as_foo, self.asked, self.well);
        self.expect("foo is let in", as_bar, self.asked, self.refused);

        self.checkout.ok(&["policy", "apply", let_bar]);
        self.expect("bar is let in on a route", as_foo, self.asked, self.well);
        self.expect("bar is let in on a route", as_bar, self.asked, self.well);
        self.expect("bar on another", as_bar, self.other, self.refused);
        self.expect("another identity", &["--as", "synthetic"], self.asked, self.refused);
        let unmeshed = self.expect("no identity", &["--unmeshed"], self.asked, self.refused);
        assert_eq!(unmeshed["grpc_message"], Value::Null, "why is for meshed clients: {unmeshed:#}");

        self.checkout.ok(&["policy", "delete", deny, let_foo, let_bar]);
        self.expect("after", &["--unmeshed"], self.asked, self.well);
    }
}

/// Asks foo through the ingress, again and again, while `during` runs; every answer must be an expected one.
fn under_load(ingress: SocketAddr, expected: fn(u16, &str) -> bool, during: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut sent, mut strange) = (0_u32, Vec::new());
                    // Bounded, in case the story never ends.
                    while !stop.load(Ordering::Relaxed) && sent < 200_000 {
                        match get(ingress, "foo.localhost", "/") {
                            Ok((status, body)) if expected(status, &body) => {}
                            other => strange.push(other),
                        }
                        sent += 1;
                    }
                    (sent, strange)
                })
            })
            .collect();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(during));
        stop.store(true, Ordering::Relaxed);
        let seen: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        let strange: Vec<_> = seen.iter().flat_map(|(_, strange)| strange).take(5).collect();
        assert!(strange.is_empty(), "{strange:?}");
        assert!(seen.iter().all(|(sent, _)| *sent > 0), "no load");
    });
}

#[test]
fn the_story_in_grpc() {
    let checkout = Checkout::new("story-grpc");
    let up = checkout.up(&["--grpc", "--linkerd", "--no-watch"]);
    let ingress = up.ready();
    let dir = "manifests/walkthrough/grpc";
    let steps = ["1-deny", "2-foo", "3-bar"].map(|step| format!("{dir}/{step}.yaml"));
    under_load(ingress, is_foos_own, || {
        Story {
            checkout: &checkout,
            steps: steps.each_ref().map(String::as_str),
            asked: "baz:grpc/demo.Baz/GetInfo",
            other: "baz:grpc/demo.Baz/Other",
            well: "grpc 0",
            refused: "grpc 7",
        }
        .tell();
    });
}

#[test]
fn the_story_in_http() {
    let checkout = Checkout::new("story-http");
    let up = checkout.up(&["--linkerd", "--no-watch"]);
    let ingress = up.ready();
    let dir = "manifests/walkthrough/http";
    let steps = ["1-deny", "2-foo", "3-bar"].map(|step| format!("{dir}/{step}.yaml"));
    under_load(ingress, is_foos_own, || {
        Story {
            checkout: &checkout,
            steps: steps.each_ref().map(String::as_str),
            asked: "baz:http/foo/bar",
            other: "baz:http/other",
            well: "200",
            refused: "403",
        }
        .tell();
    });
}

#[test]
fn policies_come_and_go_under_load_and_nothing_else_is_seen() {
    const TIMES: u32 = 100;
    let checkout = Checkout::new("alternate");
    let up = checkout.up(&["--grpc", "--linkerd", "--no-watch"]);
    let ingress = up.ready();
    let stop = AtomicBool::new(false);
    let count = ["--count", "2000", "--concurrency", "10"];
    // What each client may see in one of the two states.
    let clients: [(&[&str], &[&str]); 3] = [
        (&["--as", "bar"], &["grpc 0"]),
        (&["--as", "synthetic"], &["grpc 0", "grpc 7"]),
        (&["--unmeshed"], &["grpc 0", "grpc 7"]),
    ];
    std::thread::scope(|scope| {
        let asked: Vec<_> = clients
            .into_iter()
            .map(|(who, allowed)| {
                let (checkout, stop) = (&checkout, &stop);
                scope.spawn(move || {
                    let mut seen = BTreeSet::new();
                    let mut requests = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        let args = [&["call"], who, &count, &["baz:grpc/demo.Baz/GetInfo"]].concat();
                        let answer = checkout.json(&args);
                        let outcomes = answer["outcomes"].as_object().unwrap();
                        requests += outcomes.values().filter_map(Value::as_u64).sum::<u64>();
                        let strange: Vec<_> =
                            outcomes.keys().filter(|outcome| !allowed.contains(&outcome.as_str())).collect();
                        assert!(strange.is_empty(), "{who:?} saw {strange:?}: {answer:#}");
                        seen.extend(outcomes.keys().cloned());
                    }
                    (seen, requests)
                })
            })
            .collect();
        let start = std::time::Instant::now();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            under_load(
                ingress,
                |status, _| status == 200,
                || {
                    for _ in 0..TIMES {
                        checkout.ok(&["policy", "apply"]);
                        checkout.ok(&["policy", "delete"]);
                    }
                },
            );
        }));
        stop.store(true, Ordering::Relaxed);
        let seen: Vec<_> = asked.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        let seen: Vec<_> = seen.into_iter().map(Result::unwrap).collect();
        let requests: u64 = seen.iter().map(|(_, requests)| requests).sum();
        println!("{TIMES} alternations, {requests} calls in {:?}", start.elapsed());
        assert_eq!(seen[1].0.len(), 2, "both states were seen: {seen:?}");
    });
}
