//! `fault`: requests that fail on purpose, as often as was asked, where it was asked, and what retries make of them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Checkout, Up, get, text};

/// Nobody else asks: what is counted is what is asked here.
fn quiet(name: &str) -> Checkout {
    let checkout = Checkout::new(name);
    checkout.edit("manifests/base/synthetic.yaml", "replicas: 1", "replicas: 0");
    checkout
}

/// So many calls; how many ended with each outcome.
fn outcomes(checkout: &Checkout, client: &str, target: &str, count: u64) -> Value {
    let count = count.to_string();
    let args = ["call", "--as", client, "--count", &count, "--concurrency", "20", target];
    checkout.json(&args)["outcomes"].take()
}

/// How many of them did not end so.
fn failed(outcomes: &Value, well: &str, count: u64) -> u64 {
    let sum: u64 = outcomes.as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(sum, count, "{outcomes:#}");
    count - outcomes[well].as_u64().unwrap_or_default()
}

/// The only fault there is.
fn the_fault(checkout: &Checkout) -> Value {
    let mut list = checkout.json(&["fault", "list"]);
    assert_eq!(list["faults"].as_array().unwrap().len(), 1, "{list:#}");
    list["faults"][0].take()
}

/// Adds the fault, and holds what fails at baz and at foo against its share, without and with the retrying route.
fn rates(
    checkout: &Checkout,
    fault: [&str; 4],
    [at_server, at_caller]: [&str; 2],
    well: &str,
    failure: &str,
    route: &str,
) {
    const COUNT: u64 = 5000;
    let before = outcomes(checkout, "foo", at_server, COUNT);
    assert_eq!(failed(&before, well, COUNT), 0, "{before:#}");

    checkout.ok(&[["fault", "add", "baz"].as_slice(), &fault].concat());
    let at_baz = outcomes(checkout, "foo", at_server, COUNT);
    let failed_at_baz = failed(&at_baz, well, COUNT);
    assert!((400..=600).contains(&failed_at_baz), "10 % +- 2: {at_baz:#}");
    assert_eq!(at_baz[failure], failed_at_baz, "{at_baz:#}");
    let told = the_fault(checkout);
    assert_eq!((&told["requests"], &told["hit"]), (&COUNT.into(), &failed_at_baz.into()), "{told:#}");

    // foo asks baz, and bar, which asks baz as well.
    let plain = failed(&outcomes(checkout, "ingress", at_caller, COUNT), well, COUNT);
    assert!((700..=1200).contains(&plain), "19 % at foo: {plain}");
    checkout.ok(&["policy", "apply", route]);
    let retried = failed(&outcomes(checkout, "ingress", at_caller, COUNT), well, COUNT);
    println!("of {COUNT}: {failed_at_baz} failed at baz, {plain} at foo, {retried} at foo with {route}");
    assert!(retried * 10 <= plain, "{plain} at foo, and {retried} with retries");
    assert!(the_fault(checkout)["hit"].as_u64().unwrap() > failed_at_baz + plain, "they still hit");

    checkout.ok(&["fault", "rm", "--all"]);
    let after = outcomes(checkout, "foo", at_server, COUNT);
    assert_eq!(failed(&after, well, COUNT), 0, "{after:#}");
}

#[test]
fn http_fails_as_often_as_asked_and_ten_times_less_with_retries() {
    let checkout = quiet("fault-http");
    let up = checkout.up(&["--linkerd", "--no-watch"]);
    up.ready();
    let fault = ["--port", "http", "--status", "500@10%"];
    rates(
        &checkout,
        fault,
        ["baz:http/", "foo:http/"],
        "200",
        "500",
        "manifests/policy/http/baz-outbound.yaml",
    );
}

#[test]
fn grpc_fails_as_often_as_asked_and_ten_times_less_with_retries() {
    let checkout = quiet("fault-grpc");
    let up = checkout.up(&["--grpc", "--linkerd", "--no-watch"]);
    up.ready();
    let fault = ["--port", "grpc", "--grpc-status", "unavailable@10%"];
    let targets = ["baz:grpc/demo.Baz/GetInfo", "foo:grpc/demo.Foo/GetInfo"];
    rates(&checkout, fault, targets, "grpc 0", "grpc 14", "manifests/policy/grpc/baz-outbound.yaml");
}

/// Waits for the rollout of baz that follows from what is done.
fn redeployed(up: &Up, what: impl FnOnce()) {
    let mark = up.mark();
    what();
    up.wait(mark, "rollout of baz", |e| {
        e["event"] == "rollout" && e["deployment"] == "baz" && e["done"] == true
    });
}

#[test]
fn a_fault_is_for_its_route_and_client_counts_in_top_and_outlives_pods() {
    let checkout = quiet("fault-scope");
    let up = checkout.up(&["--linkerd", "--policy"]);
    let ingress = up.ready();
    let call = |client: &str, path: &str| {
        let answer = checkout.json(&["call", "--as", client, &format!("baz:http{path}")]);
        let header = answer["headers"].as_array().unwrap().iter().find(|h| h[0] == "x-injected-fault");
        (answer["status"].as_u64().unwrap(), header.map(|header| header[1].as_str().unwrap().to_owned()))
    };
    let hit = |id: u64| (418, Some(format!("{id}; status=418")));
    let add = ["fault", "add", "baz", "--status", "418", "--route"];
    let mark = up.mark();
    let added = checkout.json(&[add.as_slice(), &["/foo/*", "--from", "bar"]].concat());
    assert_eq!((&added["added"], &added["faults"][0]["from"]), (&json!(1), &json!("bar")), "{added:#}");
    let told = up.wait(mark, "fault", |e| e["event"] == "faults");
    assert_eq!(told["changes"], json!(["fault 1 on baz /foo/* from bar: status 418"]));
    assert_eq!(call("bar", "/foo/bar"), hit(1));
    assert_eq!(call("foo", "/foo/bar"), (200, None), "another client");
    assert_eq!(call("bar", "/").0, 403, "the policy speaks first");
    assert_eq!(get(ingress, "foo.localhost", "/").unwrap().0, 502, "bar's callers see what bar got");

    let new = checkout.json(&[add.as_slice(), &["baz-foo-bar"]].concat());
    assert_eq!(new["added"], 2, "{new:#}");
    assert_eq!(call("foo", "/foo/bar"), hit(2), "by the name of the policy's route");
    assert_eq!(call("foo", "/foo/baz"), (200, None));
    checkout.ok(&["fault", "rm", "1"]);
    assert_eq!(call("bar", "/foo/bar"), hit(2));

    // New pods of the same service have it too.
    let env = "            - name: NEW\n              value: \"1\"\n";
    redeployed(&up, || {
        checkout.edit(
            "manifests/base/baz.yaml",
            "          ports:\n",
            &format!("          env:\n{env}          ports:\n"),
        );
    });
    assert_eq!(call("foo", "/foo/bar"), hit(2));
    assert_eq!(the_fault(&checkout)["hit"], 3);
    checkout.ok(&["fault", "rm", "2"]);

    // Each is a failure in top, and nothing else is.
    checkout.ok(&["fault", "add", "baz", "--status", "500@20%", "--abort", "20%"]);
    let mut top = checkout.xtask(&["top", "baz", "-o", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(top.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    next();
    outcomes(&checkout, "foo", "baz:http/", 300);
    let sum = |told: &Value, field: &str| -> u64 {
        told["rows"].as_array().unwrap().iter().map(|row| row[field].as_u64().unwrap()).sum()
    };
    let fault = the_fault(&checkout);
    // More than were sent: the policies have a route that retries.
    let requests = fault["requests"].as_u64().unwrap();
    assert!(requests > 300, "{fault:#}");
    let told = std::iter::repeat_with(&mut next).find(|told| sum(told, "count") >= requests).unwrap();
    let _ = (top.kill(), top.wait());
    assert_eq!(sum(&told, "count"), requests, "{told:#} {fault:#}");
    assert_eq!(requests - sum(&told, "successes"), fault["hit"].as_u64().unwrap(), "{told:#} {fault:#}");
    assert!(fault["aborted"].as_u64() > Some(0) && fault["answered"].as_u64() > Some(0), "{fault:#}");
}

/// Runs and must be refused with this exit code and these words.
fn refused(checkout: &Checkout, args: &[&str], code: i32, words: &[&str]) {
    let output = checkout.run(&[&["fault"], args].concat());
    let told = text(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
    assert!(words.iter().all(|words| told.contains(words)), "{args:?}: {told}");
}

#[test]
fn what_cannot_be_is_refused_with_the_remedy() {
    let checkout = quiet("fault-wrong");
    refused(&checkout, &["list"], 3, &["nothing is up", "cargo xtask up"]);
    refused(&checkout, &["add", "baz"], 2, &["--status"]);
    refused(&checkout, &["rm"], 2, &["--all"]);
    for (option, value, words) in [
        ("--status", "500@120%", "0% to 100%"),
        ("--status", "42", "200 to 599"),
        ("--delay", "10", "10ms±5ms"),
        ("--abort", "1", "10%"),
        ("--grpc-status", "unavailible", "unavailable"),
    ] {
        refused(&checkout, &["add", "baz", option, value], 2, &[words]);
    }
    refused(&checkout, &["add", "baz", "--status", "500@60%", "--abort", "50%"], 2, &["110 %", "100 %"]);

    let mut up = checkout.up(&["--no-watch"]);
    up.ready();
    refused(&checkout, &["add", "baz", "--status", "500"], 2, &["without sidecars", "up --linkerd"]);
    up.signal("INT");
    assert_eq!(up.exit_code(), Some(0));

    let up = checkout.up(&["--linkerd", "--policy", "--no-watch"]);
    up.ready();
    let add = |more: &[&'static str]| [&["add"], more, &["--status", "500"]].concat();
    refused(&checkout, &add(&["baaz"]), 2, &["no Service `baaz`", "did you mean \"baz\"?"]);
    refused(&checkout, &add(&["baz", "--port", "htp"]), 2, &["no port `htp`", "did you mean \"http\"?"]);
    refused(&checkout, &add(&["baz", "--route", "baz-foo-baz"]), 2, &["no route", "\"baz-foo-bar\"?"]);
    refused(&checkout, &add(&["baz", "--from", "nobody"]), 2, &["nobody", "synthetic"]);
    refused(&checkout, &["rm", "7"], 2, &["no fault 7", "there is none"]);
    assert!(checkout.ok(&["fault", "list"]).contains("no faults"), "nothing was added");
    assert!(checkout.ok(&["fault", "rm", "--all"]).contains("no faults"));
}
