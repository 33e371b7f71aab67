//! `up --policy`: the shipped policies from the start, and their edits as they are saved.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use support::{Checkout, text};

const BAZ: &str = "manifests/policy/grpc/baz.yaml";
const ASKED: [&str; 4] = ["call", "--as", "synthetic", "baz:grpc/demo.Baz/GetInfo"];

#[test]
fn policies_are_in_force_from_the_start_and_follow_their_files() {
    let checkout = Checkout::new("policy-watch");
    let up = checkout.up(&["--grpc", "--linkerd", "--policy"]);
    up.ready();
    assert_eq!(checkout.json(&ASKED)["grpc_status"], 7, "nobody let synthetic in");

    let mark = up.mark();
    checkout.edit(BAZ, "accessPolicy: deny", "accessPolicy: all-authenticated");
    let told = up.wait(mark, "change of policies", |event| event["event"] == "policies");
    assert_eq!(told["changes"], serde_json::json!(["Server baz-grpc configured"]));
    assert_eq!(checkout.json(&ASKED)["grpc_status"], 0, "an edit is in force once it is told");

    let mark = up.mark();
    checkout.edit(BAZ, "accessPolicy: all-authenticated", "accessPolicies: deny");
    let told = up.wait(mark, "error", |event| event["event"] == "error");
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("baz.yaml:") && message.contains("accessPolicy"), "{message}");
    assert_eq!(checkout.json(&ASKED)["grpc_status"], 0, "what was in force stays");

    let mark = up.mark();
    checkout.edit(BAZ, "accessPolicies: deny", "accessPolicy: deny");
    up.wait(mark, "change of policies", |event| event["event"] == "policies");
    assert_eq!(checkout.json(&ASKED)["grpc_status"], 7, "mended");
}

#[test]
fn policies_without_a_mesh_are_refused() {
    let checkout = Checkout::new("policy-unmeshed");
    let output = checkout.run(&["up", "--grpc", "--policy"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("--linkerd"), "{}", text(&output));

    let up = checkout.up(&["--grpc", "--no-watch"]);
    up.ready();
    let output = checkout.run(&["policy", "apply"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("--linkerd"), "{}", text(&output));
}
