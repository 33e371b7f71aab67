//! The commands of `policy`: those that need nothing running, and those that change what runs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use support::{Checkout, text};

/// What became of each object of an `apply` or `delete`, each outcome once.
fn outcomes(told: &Value) -> BTreeSet<String> {
    let changes = told["changes"].as_array().unwrap();
    assert!(!changes.is_empty(), "{told:#}");
    changes.iter().map(|change| change["change"].as_str().unwrap().to_owned()).collect()
}

fn only(outcome: &str) -> BTreeSet<String> {
    [outcome.to_owned()].into()
}

/// `deny -> allow` of the effects on one edge.
fn effect(told: &Value, client: &str, to: &str, request: &str) -> String {
    let effects = told["effects"].as_array().unwrap();
    let mut found = effects
        .iter()
        .filter(|effect| effect["client"] == client && effect["to"] == to && effect["request"] == request);
    let effect = found.next().unwrap_or_else(|| panic!("no effect on {client} -> {to} {request}: {told:#}"));
    let verdict = |when: &str| effect[when]["verdict"].as_str().unwrap().to_owned();
    format!("{} -> {}", verdict("before"), verdict("after"))
}

/// Runs `xtask ARGS`, which must end with this exit code, and gives all that it printed.
fn ends_with(checkout: &Checkout, code: i32, args: &[&str]) -> String {
    let output = checkout.run(args);
    assert_eq!(output.status.code(), Some(code), "xtask {args:?}: {}", text(&output));
    text(&output)
}

#[test]
fn policies_are_explained_tested_and_drawn_with_nothing_running() {
    let checkout = Checkout::new("policy-offline");

    let allowed = checkout.json(&["policy", "explain", "bar", "baz:grpc", "demo.Baz/GetInfo"]);
    for (field, wanted) in [
        ("verdict", "allow".into()),
        ("http_status", 200.into()),
        ("grpc_status", 0.into()),
        ("server", "baz-grpc".into()),
        ("route", "baz-get-info".into()),
        ("authorization", Value::from("bar-to-baz-grpc")),
    ] {
        assert_eq!(allowed[field], wanted, "{field}: {allowed:#}");
    }
    assert!(!allowed["chain"].as_array().unwrap().is_empty());
    let verdict = |words: &[&str]| {
        let told = checkout.json(&[&["policy", "explain"], words].concat());
        format!("{} {} {}", told["verdict"].as_str().unwrap(), told["http_status"], told["grpc_status"])
    };
    assert_eq!(verdict(&["synthetic", "baz:http", "/foo/bar"]), "deny 403 null");
    assert_eq!(verdict(&["bar", "baz:grpc", "demo.Baz/Other"]), "deny 200 7");
    assert_eq!(verdict(&["foo", "baz:grpc", "demo.Baz/Other"]), "allow 200 0");
    assert_eq!(verdict(&["ingress", "foo:http", "/", "-X", "POST", "-H", "x-who: me"]), "allow 200 null");
    assert_eq!(verdict(&["--unmeshed", "baz:http", "/foo/bar"]), "deny 403 null");
    // In place of the shipped ones: foo is authorized nowhere yet.
    let deny = ["--policy", "manifests/walkthrough/grpc/1-deny.yaml"];
    assert_eq!(verdict(&[&["foo", "baz:grpc", "demo.Baz/GetInfo"], &deny[..]].concat()), "deny 200 7");
    let told = ends_with(&checkout, 2, &["policy", "explain", "bax", "baz:http"]);
    assert!(told.contains("did you mean \"baz\"") || told.contains("did you mean \"bar\""), "{told}");

    ends_with(&checkout, 0, &["policy", "test"]);
    let wrong = "[[grpc]]\ncall = \"baz:grpc/demo.Baz/GetInfo\"\nallow = [\"foo\", \"synthetic\"]\n";
    checkout.save("wrong.toml", wrong);
    let told = ends_with(&checkout, 1, &["policy", "test", "--expect", "wrong.toml"]);
    assert!(told.contains("wrong.toml:2: synthetic -> baz:grpc demo.Baz/GetInfo"), "{told}");
    assert!(told.contains("expected allow, got deny") && told.contains("no authorization"), "{told}");
    std::fs::remove_file(checkout.root.join("wrong.toml")).unwrap();

    let graph = |format: &str| checkout.ok(&["policy", "graph", "--grpc", "--format", format]);
    assert!(graph("text").contains("demo.Baz/GetInfo"));
    assert!(graph("dot").starts_with("digraph"));
    let picture = graph("svg");
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"), "{picture}");

    let told = ends_with(&checkout, 3, &["policy", "apply"]);
    assert!(told.contains("nothing is up"), "{told}");
}

#[test]
fn policies_are_applied_and_deleted_whole_or_not_at_all() {
    let checkout = Checkout::new("policy-apply");
    let up = checkout.up(&["--grpc", "--linkerd", "--no-watch"]);
    up.ready();
    let status = |who: &str, target: &str| {
        let answer = checkout.json(&["call", "--as", who, target]);
        answer["grpc_status"].as_i64().or(answer["status"].as_i64()).unwrap()
    };
    let info = "baz:grpc/demo.Baz/GetInfo";

    let told = checkout.json(&["policy", "apply"]);
    assert_eq!(outcomes(&told), only("created"));
    assert_eq!(effect(&told, "bar", "baz:grpc", "demo.Baz/GetInfo"), "allow -> allow");
    assert_eq!(effect(&told, "bar", "baz:grpc", "demo.Baz/Other"), "allow -> deny");
    assert_eq!(outcomes(&checkout.json(&["policy", "apply"])), only("unchanged"), "the same again");
    assert_eq!([status("bar", info), status("synthetic", info)], [0, 7]);
    let allowed = checkout.json(&["call", "--as", "bar", info]);
    assert!(allowed["pod"].as_str().is_some_and(|pod| pod.starts_with("baz-")), "decoded: {allowed:#}");
    ends_with(&checkout, 0, &["policy", "test", "--live"]);

    // A good file beside a bad one is not applied either.
    let before = checkout.json(&["policy", "apply"]);
    let good = checkout.read("manifests/policy/http/baz.yaml");
    for (name, bad) in bad_files(&good) {
        let directory = checkout.root.join("bad");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("a-good.yaml"), &good).unwrap();
        std::fs::write(directory.join("z-bad.yaml"), bad).unwrap();
        let told = ends_with(&checkout, 2, &["policy", "apply", "bad"]);
        assert!(told.contains("z-bad.yaml"), "{name}: {told}");
        assert_eq!(status("bar", "baz:http/"), 200, "{name}: a part was applied");
        std::fs::remove_dir_all(directory).unwrap();
    }
    assert_eq!(checkout.json(&["policy", "apply"]), before, "as it was");
    let told = ends_with(&checkout, 2, &["policy", "apply", "manifests/policy/nothing"]);
    assert!(told.contains("nothing"), "{told}");

    // One file, typed from where one stands.
    let told = checkout.xtask(&["policy", "delete", "baz.yaml", "-o", "json"]);
    let told = in_directory(told, checkout.root.join("manifests/policy/grpc"));
    assert_eq!(outcomes(&told), only("deleted"));
    assert_eq!(effect(&told, "bar", "baz:grpc", "demo.Baz/GetInfo"), "allow -> allow");
    assert_eq!([status("synthetic", info), status("synthetic", "bar:grpc/demo.Bar/GetInfo")], [0, 7]);

    let told = checkout.json(&["policy", "delete"]);
    assert_eq!(outcomes(&told), ["deleted".to_owned(), "not-found".to_owned()].into());
    assert_eq!(outcomes(&checkout.json(&["policy", "delete"])), only("not-found"), "the same again");
    assert_eq!(status("synthetic", "bar:grpc/demo.Bar/GetInfo"), 0);
    let told = ends_with(&checkout, 1, &["policy", "test", "--live"]);
    assert!(told.contains("expected deny, got allow"), "{told}");
}

/// Files that nothing may be applied of, by what is wrong with them.
fn bad_files(good: &str) -> Vec<(&'static str, Vec<u8>)> {
    let aliases = (1..40).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        let last = n - 1;
        format!("{text}a{n}: &a{n} [*a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}]\n")
    });
    vec![
        ("empty", Vec::new()),
        ("an unknown field", good.replace("accessPolicy", "acessPolicy").into_bytes()),
        ("an unknown kind", good.replace("kind: Server\n", "kind: Servant\n").into_bytes()),
        ("an old version", good.replace("v1beta3", "v1beta1").into_bytes()),
        ("a key twice", good.replacen("  port: http\n", "  port: http\n  port: http\n", 1).into_bytes()),
        ("no text", b"\xff\xfe\x00k\x00i".to_vec()),
        ("anchors that explode", aliases.into_bytes()),
        ("deep", [b"a: ".to_vec(), vec![b'['; 100_000]].concat()),
        ("huge", format!("{good}---\n# {}\n", "x".repeat(10 << 20)).into_bytes()),
    ]
}

fn in_directory(mut command: std::process::Command, directory: PathBuf) -> Value {
    let output = command.current_dir(directory).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
}
