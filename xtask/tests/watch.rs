//! Save, rebuild, replace: under load, without a failed request.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::{Checkout, Load, Tally, Up, eventually, get, kill};

const HOST: &str = "foo.localhost";

/// Pod names by Deployment.
fn pods(checkout: &Checkout) -> BTreeMap<String, Vec<String>> {
    let status = checkout.json(&["status"]);
    let mut pods: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in status["pods"].as_array().unwrap() {
        let name = |key: &str| pod[key].as_str().unwrap().to_owned();
        pods.entry(name("deployment")).or_default().push(name("name"));
    }
    pods
}

fn rolled_out(up: &Up, mark: usize, deployment: &str) {
    up.wait(mark, &format!("rollout of {deployment}"), |e| {
        e["event"] == "rollout" && e["deployment"] == deployment && e["done"] == true
    });
}

fn none_failed(tally: &Tally) {
    assert!(tally.sent > 100, "too little was sent to prove anything: {tally:?}");
    assert!(tally.failed.is_empty(), "{} of {} failed: {:#?}", tally.failed.len(), tally.sent, tally.failed);
}

#[test]
fn saves_under_load_replace_what_they_concern_and_fail_no_request() {
    let checkout = Checkout::to_edit("watch");
    let up = checkout.up(&["--grpc", "--linkerd"]);
    let ingress = up.ready();
    let before = pods(&checkout);

    // A change in one service replaces its pods only.
    let load = Load::start(ingress, HOST);
    let mark = up.mark();
    let main = checkout.read("services/baz/src/main.rs");
    let changed = format!("{main}\n#[used]\nstatic EDITION: u64 = 1;\n");
    checkout.save("services/baz/src/main.rs", &changed);
    rolled_out(&up, mark, "baz");
    none_failed(&load.stop());
    let after = pods(&checkout);
    assert_eq!((&after["foo"], &after["bar"]), (&before["foo"], &before["bar"]));
    assert_eq!(after["baz"].len(), 3);
    assert!(after["baz"].iter().all(|pod| !before["baz"].contains(pod)), "{after:?}");

    // A syntax error is shown with its place, and nothing goes down.
    let (mark, load) = (up.mark(), Load::start(ingress, HOST));
    checkout.save("services/baz/src/main.rs", &format!("{changed}\nfn broken( {{\n"));
    let error = up.wait(mark, "compiler error", |e| e["event"] == "compiler" && e["error"] == true);
    assert!(error["rendered"].as_str().unwrap().contains("services/baz/src/main.rs:"), "{error}");
    up.wait(mark, "error", |e| e["event"] == "error" || e["event"] == "step_failed");
    none_failed(&load.stop());
    assert_eq!(pods(&checkout), after);
    checkout.save("services/baz/src/main.rs", &changed);

    // More replicas start, and no other pod is touched.
    let mark = up.mark();
    checkout.edit("manifests/base/baz.yaml", "replicas: 3", "replicas: 5");
    rolled_out(&up, mark, "baz");
    let scaled = pods(&checkout);
    assert_eq!(scaled["baz"].len(), 5);
    assert!(after["baz"].iter().all(|pod| scaled["baz"].contains(pod)), "{scaled:?}");
    assert_eq!((&scaled["foo"], &scaled["bar"]), (&after["foo"], &after["bar"]));

    // A broken manifest is shown with its place, and nothing goes down.
    let mark = up.mark();
    checkout.edit("manifests/base/baz.yaml", "replicas: 5", "replica: 5");
    let error = up.wait(mark, "error", |e| e["event"] == "error");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("manifests/base/baz.yaml:") && message.contains("replicas"), "{message}");
    assert_eq!(get(ingress, HOST, "/").unwrap().0, 200);
    assert_eq!(pods(&checkout), scaled);
    checkout.edit("manifests/base/baz.yaml", "replica: 5", "replicas: 5");

    // A change in what all share rebuilds all.
    let (mark, load) = (up.mark(), Load::start(ingress, HOST));
    let proto = checkout.read("proto/src/lib.rs");
    checkout.save("proto/src/lib.rs", &format!("{proto}\n#[used]\nstatic EDITION: u64 = 1;\n"));
    let change =
        up.wait(mark, "change", |e| e["event"] == "changed" && e["services"].as_array().unwrap().len() >= 3);
    let services: Vec<&str> =
        change["services"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(["foo", "bar", "baz"].iter().all(|s| services.contains(s)), "{services:?}");
    up.wait(mark, "build", |e| e["event"] == "step_finished" && e["step"] == "build");
    none_failed(&load.stop());
}

#[test]
fn a_pod_that_is_killed_is_started_again_and_costs_only_what_was_in_flight_on_it() {
    let checkout = Checkout::new("killed");
    let up = checkout.up(&["--grpc", "--linkerd", "--no-watch"]);
    let ingress = up.ready();
    let status = checkout.json(&["status"]);
    let pods = status["pods"].as_array().unwrap();
    let victim = pods.iter().find(|pod| pod["deployment"] == "baz").unwrap();
    let load = Load::start(ingress, HOST);
    kill("KILL", u32::try_from(victim["pid"].as_u64().unwrap()).unwrap());
    eventually("restart", || {
        let status = checkout.json(&["status"]);
        let again = status["pods"].as_array()?.iter().find(|pod| pod["name"] == victim["name"])?;
        (again["restarts"] == 1 && again["state"] == "Ready").then_some(())
    });
    let tally = load.stop();
    // Eight requests at a time are under way in all: no more can have been in flight on the pod.
    assert!(tally.failed.len() <= 8, "{} of {} failed: {:#?}", tally.failed.len(), tally.sent, tally.failed);
}

#[test]
fn a_new_service_is_built_started_and_routed_to() {
    let checkout = Checkout::new("new");
    let up = checkout.up(&[]);
    let ingress = up.ready();
    checkout.ok(&["new", "qux"]);
    rolled_out(&up, 0, "qux");
    let body = eventually("answer of qux", || match get(ingress, "qux.localhost", "/hello") {
        Ok((200, body)) => Some(body),
        _ => None,
    });
    assert!(body.contains("qux-") && body.contains("/hello"), "{body}");
    let output = checkout.run(&["new", "qux"]);
    assert_eq!(output.status.code(), Some(2), "it is there already");
}
