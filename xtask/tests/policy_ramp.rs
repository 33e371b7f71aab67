//! `policy ramp`: the callers that nothing authorizes are found before they are refused.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use serde_json::Value;
use support::{Checkout, text};

/// What a ramp told, and its exit code.
fn ramp(checkout: &Checkout, args: &[&str]) -> (Option<i32>, Value) {
    let output = checkout.run(&[&["policy", "ramp", "-o", "json"], args].concat());
    let told = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", text(&output)));
    (output.status.code(), told)
}

fn bars_status(checkout: &Checkout) -> Value {
    checkout.json(&["call", "--as", "bar", "baz:grpc/demo.Baz/GetInfo"])["grpc_status"].clone()
}

#[test]
fn exactly_the_unauthorized_caller_is_found_and_what_to_add() {
    let checkout = Checkout::new("policy-ramp");
    let up = checkout.up(&["--grpc", "--linkerd", "--no-watch"]);
    up.ready();
    let output = checkout.run(&["policy", "ramp", "--requests", "1"]);
    assert_eq!(output.status.code(), Some(2), "nothing to ramp: {}", text(&output));

    // foo may use baz, and nobody else: bar, which calls it as well, is the unauthorized caller.
    for step in ["1-deny", "2-foo"] {
        checkout.ok(&["policy", "apply", &format!("manifests/walkthrough/grpc/{step}.yaml")]);
    }
    assert_eq!(bars_status(&checkout), 7);

    let (code, told) = ramp(&checkout, &["--requests", "40"]);
    assert_eq!(code, Some(1), "{told:#}");
    assert_eq!(told["enforced"], false, "{told:#}");
    let found = told["found"].as_array().unwrap();
    assert_eq!(found.len(), 1, "{told:#}");
    assert!(found[0]["identity"].as_str().unwrap().starts_with("bar."), "{told:#}");
    assert_eq!(found[0]["path"], "/demo.Baz/GetInfo");
    assert!(found[0]["times"].as_u64().unwrap() > 0);
    assert_eq!(bars_status(&checkout), 0, "the Servers stay in audit");

    // Without what it says to add, only --force enforces.
    let (code, told) = ramp(&checkout, &["--requests", "20", "--force"]);
    assert_eq!((code, &told["enforced"]), (Some(0), &Value::Bool(true)), "{told:#}");
    assert_eq!(bars_status(&checkout), 7);

    // With it, the next ramp finds nothing and enforces by itself.
    checkout.save("added.yaml", told["found"][0]["add"].as_str().unwrap());
    checkout.ok(&["policy", "apply", "added.yaml"]);
    std::fs::remove_file(checkout.root.join("added.yaml")).unwrap();
    let (code, told) = ramp(&checkout, &["--requests", "40"]);
    assert_eq!((code, &told["enforced"]), (Some(0), &Value::Bool(true)), "{told:#}");
    assert_eq!(told["found"], Value::Array(Vec::new()));
    assert_eq!(bars_status(&checkout), 0);
    let refused = checkout.json(&["call", "--as", "synthetic", "baz:grpc/demo.Baz/GetInfo"]);
    assert_eq!(refused["grpc_status"], 7, "it enforces: {refused:#}");
}
