//! What goes wrong ends in one clear message, the right exit code, and nothing left behind.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::net::TcpListener;

use serde_json::Value;
use support::{Checkout, alive, eventually, get, kill, text};

fn pids(status: &Value) -> Vec<u64> {
    status["pods"].as_array().unwrap().iter().filter_map(|pod| pod["pid"].as_u64()).collect()
}

#[test]
fn ctrl_c_leaves_no_process_and_no_socket() {
    let checkout = Checkout::new("ctrl-c");
    let mut up = checkout.up(&["--grpc", "--linkerd", "--no-watch"]);
    let ingress = up.ready();
    let pids = pids(&checkout.json(&["status"]));
    assert!(pids.len() >= 6, "{pids:?}");
    up.signal("INT");
    assert_eq!(up.exit_code(), Some(0));
    assert!(pids.iter().all(|pid| !alive(*pid)), "{pids:?}");
    TcpListener::bind(ingress).unwrap();
    let stopped = up.wait(0, "stopped", |e| e["event"] == "stopped");
    for pod in stopped["pods"].as_array().unwrap() {
        assert_eq!((&pod["code"], &pod["killed"]), (&0.into(), &false.into()), "{stopped:#}");
    }
}

#[test]
fn kill_9_leaves_no_process_and_the_next_up_works() {
    let checkout = Checkout::new("kill-9");
    let mut up = checkout.up(&["--linkerd", "--no-watch"]);
    let ingress = up.ready();
    let pids = pids(&checkout.json(&["status"]));
    up.signal("KILL");
    assert_eq!(up.exit_code(), None);
    eventually("end of the pods", || pids.iter().all(|pid| !alive(*pid)).then_some(()));
    eventually("free port", || TcpListener::bind(ingress).ok());
    let output = checkout.run(&["status"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let again = checkout.up(&["--linkerd", "--no-watch"]);
    assert_eq!(get(again.ready(), "foo.localhost", "/").unwrap().0, 200);
}

#[test]
fn a_second_up_is_refused_and_down_works_twice() {
    let checkout = Checkout::new("twice");
    let detached = checkout.run(&["up", "--runtime", "local", "--detach", "--no-watch", "--port", "0"]);
    assert!(detached.status.success(), "{}", text(&detached));
    let second = checkout.run(&["up", "--runtime", "local", "--port", "0"]);
    assert_eq!(second.status.code(), Some(3), "{}", text(&second));
    assert!(text(&second).contains("cargo xtask down"), "{}", text(&second));
    assert!(checkout.ok(&["status"]).contains("baz"));
    assert!(checkout.ok(&["logs", "baz"]).contains("baz-"));
    checkout.ok(&["down"]);
    assert!(checkout.ok(&["down"]).contains("nothing is up"));
    assert!(checkout.ok(&["logs", "baz"]).contains("baz-"), "logs outlive the environment");
}

#[test]
fn a_taken_port_is_named_with_who_has_it() {
    let checkout = Checkout::new("port");
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    let output = checkout.run(&["up", "--runtime", "local", "--port", &port]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let told = text(&output);
    assert!(told.contains(&format!("127.0.0.1:{port}")), "{told}");
    assert!(told.contains(&format!("pid {}", std::process::id())), "{told}");
}

#[test]
fn kind_without_an_engine_says_what_is_needed_and_what_works_without() {
    let mut up = Checkout::new("port").xtask(&["up", "--runtime", "kind", "--no-watch"]);
    let output = up.env("DOCKER_HOST", "unix:///nowhere/docker.sock").output().unwrap();
    let told = text(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("Docker") && told.contains("--runtime local"), "{told}");
    // Nothing was made: there is nothing that goes on.
    assert!(!told.contains("runs on"), "{told}");
}

/// An edit of a manifest, and what `up` must say of it.
struct Wrong {
    from: &'static str,
    to: &'static str,
    said: &'static [&'static str],
}

#[test]
fn every_wrong_manifest_is_refused_with_its_place_and_cause() {
    let checkout = Checkout::new("manifests");
    let file = "manifests/base/baz.yaml";
    let whole = checkout.read(file);
    for Wrong { from, to, said } in [
        Wrong { from: "replicas: 3", to: "replica: 3", said: &["baz.yaml:", "replica", "replicas"] },
        Wrong { from: "replicas: 3", to: "replicas: three", said: &["baz.yaml:", "replicas", "three"] },
        Wrong { from: "  name: baz\n", to: "  name: foo\n", said: &["baz.yaml:", "foo.yaml:", "foo"] },
        Wrong { from: "selector:\n    app: baz", to: "selector:\n    app: bax", said: &["baz.yaml:", "bax"] },
        Wrong { from: "image: baz", to: "image: nginx", said: &["baz.yaml:", "nginx"] },
        Wrong {
            from: "      containers:",
            to: "      volumes:\n        - name: cache\n          emptyDir: {}\n      containers:",
            said: &["volume", "baz"],
        },
        Wrong { from: "replicas: 3", to: "replicas: [3", said: &["baz.yaml:"] },
    ] {
        assert!(whole.contains(from), "{file} has no `{from}`");
        checkout.save(file, &whole.replacen(from, to, 1));
        let output = checkout.run(&["up", "--runtime", "local", "--port", "0"]);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(2), "{to}: {told}");
        assert!(said.iter().all(|words| told.contains(words)), "{to}: {told}");
        assert!(!told.contains("panicked"), "{told}");
    }
    checkout.save(file, &whole);
    checkout.edit("manifests/base/foo.yaml", "http://bar", "http://bax");
    let output = checkout.run(&["up", "--runtime", "local", "--port", "0"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("bax") && text(&output).contains("foo.yaml:"), "{}", text(&output));
}

#[test]
fn a_service_that_does_not_stay_up_ends_up_with_its_last_words() {
    let checkout = Checkout::to_edit("broken");
    let main = "services/baz/src/main.rs";
    checkout.save(
        main,
        "//! Broken.\nfn main() {\n    eprintln!(\"no database\");\n    std::process::exit(4);\n}\n",
    );
    let output = checkout.run(&["up", "--runtime", "local", "--port", "0", "--no-watch", "--timeout", "60s"]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("baz") && told.contains("exit code 4") && told.contains("no database"), "{told}");

    checkout.save(main, "//! Never ready.\nfn main() {\n    std::thread::park();\n}\n");
    let output = checkout.run(&["up", "--runtime", "local", "--port", "0", "--no-watch", "--timeout", "3s"]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("baz") && told.contains("readiness probe: grpc health check"), "{told}");
}

#[test]
fn a_service_that_ignores_sigterm_is_killed_after_its_grace_period() {
    let checkout = Checkout::new("stubborn");
    checkout.edit(
        "manifests/base/synthetic.yaml",
        "terminationGracePeriodSeconds: 10",
        "terminationGracePeriodSeconds: 1",
    );
    let mut up = checkout.up(&["--no-watch"]);
    up.ready();
    let status = checkout.json(&["status"]);
    let pods = status["pods"].as_array().unwrap();
    let pod = pods.iter().find(|pod| pod["deployment"] == "synthetic").unwrap();
    // A stopped process receives SIGTERM only when it goes on: it ignores it for as long as we like.
    kill("STOP", u32::try_from(pod["pid"].as_u64().unwrap()).unwrap());
    up.signal("TERM");
    assert_eq!(up.exit_code(), Some(0));
    let stopped = up.wait(0, "stopped", |e| e["event"] == "stopped");
    let killed = stopped["pods"].as_array().unwrap().iter().find(|p| p["killed"] == true);
    assert_eq!(killed.map(|p| &p["pod"]), Some(&pod["name"]), "{stopped:#}");
    assert!(!alive(pod["pid"].as_u64().unwrap()));
}
