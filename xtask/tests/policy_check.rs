//! `policy check` as a user runs it, on the shipped policies and on those that a tutorial published.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};

use insta::assert_snapshot;
use serde_json::Value;

fn check(args: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.current_dir(root).args(["policy", "check"]).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}exit code {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status.code().unwrap()
    )
}

#[test]
fn nothing_is_found_in_the_shipped_policies() {
    let output = check(&[]);
    let text = text(&output);
    assert!(text.starts_with("policy check: nothing found in ") && text.ends_with("exit code 0"), "{text}");
}

#[test]
fn each_trap_of_the_tutorial_is_named_with_how_to_write_it_today() {
    assert_snapshot!(text(&check(&["xtask/tests/fixtures/tutorial-policy"])), @r#"
    xtask/tests/fixtures/tutorial-policy/bar.yaml:2:13: error: GRPCRoute gateway.networking.k8s.io/v1alpha2 is deprecated, and gone from Gateway API 1.2 on
        write gateway.networking.k8s.io/v1
    xtask/tests/fixtures/tutorial-policy/outbound.yaml:2:13: error: GRPCRoute gateway.networking.k8s.io/v1alpha2 is deprecated, and gone from Gateway API 1.2 on
        write gateway.networking.k8s.io/v1
    xtask/tests/fixtures/tutorial-policy/outbound.yaml:13:7: error: GRPCRoute baz-outbound is meant for outbound requests (it has backendRefs), and its parent is Server baz-grpc: it is one more inbound route, for everything: authorizations of the Server's other routes may never apply, since of equal matches the older one wins
        write the Service as parent: group: "", kind: Service, name: baz, port: 9090; an inbound route needs none of this
    xtask/tests/fixtures/tutorial-policy/route.yaml:2:13: error: GRPCRoute gateway.networking.k8s.io/v1alpha2 is deprecated, and gone from Gateway API 1.2 on
        write gateway.networking.k8s.io/v1
    xtask/tests/fixtures/tutorial-policy/route.yaml:13:7: error: GRPCRoute baz-route matches every request to Server baz-grpc, also ones that another route of it should decide, since it says no matches
        write the matches, with a method's service, method or both; to let a client use the whole Server, no route is needed: target the Server
    xtask/tests/fixtures/tutorial-policy/route.yaml:13:7: error: GRPCRoute baz-route takes no request: GRPCRoute baz-outbound, rule 1, takes them; of equal matches the older route wins, and here the first by name
        remove one of both, or make this more specific than GRPCRoute baz-outbound
    xtask/tests/fixtures/tutorial-policy/server.yaml:2:13: error: Server policy.linkerd.io/v1beta1 is deprecated and has no accessPolicy: with it, the API server refuses the object
        write policy.linkerd.io/v1beta3
    policy check: 7 errors, 0 warnings in 8 objects of 5 files
    exit code 2
    "#);
}

#[test]
fn findings_are_for_scripts_too() {
    let output = check(&["xtask/tests/fixtures/tutorial-policy/outbound.yaml", "-o", "json"]);
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["warnings"], 0);
    assert_eq!(report["objects"], 1);
    let found =
        report["findings"].as_array().unwrap().iter().find(|found| found["rule"] != "invalid").unwrap();
    assert_snapshot!(serde_json::to_string_pretty(found).unwrap(), @r#"
    {
      "cause": "does nothing: there is no Server baz-grpc in namespace default",
      "column": 13,
      "field": "spec.parentRefs[0].name",
      "file": "xtask/tests/fixtures/tutorial-policy/outbound.yaml",
      "line": 11,
      "object": {
        "group": "gateway.networking.k8s.io",
        "kind": "GRPCRoute",
        "name": "baz-outbound",
        "namespace": "default"
      },
      "remedy": "there is none",
      "rule": "unknown-parent",
      "severity": "error"
    }
    "#);
}

#[test]
fn files_that_are_not_there_or_too_large_are_told() {
    assert_snapshot!(text(&check(&["nowhere.yaml"])), @"
    nowhere.yaml: error: cannot read it: No such file or directory (os error 2)
    policy check: 1 error, 0 warnings in 0 objects of 0 files
    what the objects mean together was not looked at: correct these first
    exit code 2
    ");
    let directory = tempfile::tempdir().unwrap();
    let big = directory.path().join("big.yaml");
    std::fs::write(&big, vec![b'#'; 10 << 20]).unwrap();
    let told = text(&check(&[big.to_str().unwrap()]));
    assert!(told.contains("big.yaml: error: 10240 KiB is more than a manifest may have"), "{told}");
    assert!(told.ends_with("exit code 2"), "{told}");
}
