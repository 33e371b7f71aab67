//! The four modes, as `smoke` proves them, and what it says when something is wrong.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use serde_json::Value;
use support::{Checkout, text};

#[test]
fn every_check_of_the_four_modes_passes() {
    let checkout = Checkout::new("modes");
    let report = checkout.json(&["smoke", "--matrix", "--runtime", "local"]);
    assert_eq!(report["passed"], true, "{report:#}");
    let modes = report["modes"].as_array().unwrap();
    assert_eq!(modes.len(), 4);
    for mode in modes {
        let skipped = mode["checks"].as_array().unwrap().iter().filter(|check| check["outcome"] != "passed");
        assert_eq!(skipped.count(), 0, "{mode:#}");
        for spread in mode["spread"].as_array().unwrap().iter().filter(|spread| spread["service"] == "baz") {
            let pods: Vec<u64> =
                spread["pods"].as_object().unwrap().values().filter_map(Value::as_u64).collect();
            assert_eq!(pods.iter().sum::<u64>(), 600, "{spread}");
            match (mode["grpc"] == true, mode["linkerd"] == true) {
                (true, false) => assert_eq!(pods.len(), 1, "pinned: {spread}"),
                (_, true) => assert!(pods.len() == 3 && pods.iter().all(|n| *n >= 60), "spread: {spread}"),
                (false, false) => {}
            }
        }
    }
}

#[test]
fn a_command_that_fails_fails_smoke_with_its_output() {
    let checkout = Checkout::new("exec");
    let args =
        ["smoke", "--runtime", "local", "-o", "junit", "--exec", "curl -s $XTASK_URL; echo seen; exit 7"];
    let output = checkout.run(&args);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let xml = String::from_utf8(output.stdout).unwrap();
    assert!(xml.contains("<failure") && xml.contains("exit code 7") && xml.contains("seen"), "{xml}");
}
