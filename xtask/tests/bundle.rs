//! The failure bundle.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::io::Read as _;

use support::{Checkout, text};

#[test]
fn what_does_not_get_ready_leaves_its_evidence() {
    let checkout = Checkout::new("bundle");
    checkout.edit(
        "manifests/base/baz.yaml",
        "          ports:\n",
        "          env:\n            - name: HTTP_PORT\n              value: nope\n          ports:\n",
    );
    let output =
        checkout.run(&["up", "--runtime", "local", "--no-ingress", "--no-watch", "--detach", "--bundle"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let told = text(&output);
    let path = told.lines().find_map(|line| line.trim().strip_prefix("evidence ")).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()));
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().iter().skip(1).collect::<std::path::PathBuf>();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        files.insert(name.to_string_lossy().into_owned(), content);
    }
    assert!(files["error.txt"].contains("baz"), "{files:?}");
    assert!(files["events.jsonl"].lines().any(|line| line.contains(r#""step":"build""#)), "{files:?}");
    assert!(files["versions.json"].contains("kernel") && files.contains_key("status.json"), "{files:?}");
    let logs: Vec<&String> = files.keys().filter(|name| name.starts_with("logs/baz-")).collect();
    assert!(!logs.is_empty() && logs.iter().all(|log| files[*log].contains("HTTP_PORT")), "{files:?}");
}
