//! `call`: one real request from a client with an identity.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use support::{Checkout, text};

#[test]
fn a_call_goes_out_as_the_identity_that_was_named() {
    let checkout = Checkout::new("call");
    let up = checkout.up(&["--grpc", "--linkerd", "--no-watch"]);
    up.ready();
    let identity = "bar.default.serviceaccount.identity.linkerd.cluster.local";

    let grpc = checkout.json(&["call", "--as", "bar", "baz:9090/demo.Baz/GetInfo"]);
    assert_eq!((&grpc["status"], &grpc["grpc_status"]), (&200.into(), &0.into()), "{grpc:#}");
    assert!(grpc["body"].as_str().unwrap().contains(identity), "{grpc:#}");
    assert!(grpc["pod"].as_str().unwrap().starts_with("baz-"), "{grpc:#}");
    for field in ["grpc_message", "headers", "trailers"] {
        assert!(grpc.get(field).is_some(), "no {field}: {grpc:#}");
    }

    let http = checkout.json(&["call", "--as", "bar", "baz:80/foo/bar"]);
    assert_eq!(http["status"], 200, "{http:#}");
    assert!(http["body"].as_str().unwrap().contains(identity), "{http:#}");

    let unmeshed = checkout.json(&["call", "--unmeshed", "-H", "l5d-client-id: forged", "baz:80/foo/bar"]);
    assert_eq!(unmeshed["status"], 200, "{unmeshed:#}");
    let body = unmeshed["body"].as_str().unwrap();
    assert!(!body.contains("l5d-client-id") && !body.contains("forged"), "{unmeshed:#}");

    let many = checkout.json(&["call", "--as", "foo", "--count", "300", "baz:9090/demo.Baz/GetInfo"]);
    let pods = many["pods"].as_object().unwrap();
    assert_eq!(pods.len(), 3, "{many:#}");
    assert_eq!(pods.values().filter_map(serde_json::Value::as_u64).sum::<u64>(), 300, "{many:#}");
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    let checkout = Checkout::new("call-wrong");
    let output = checkout.run(&["call", "--as", "bar", "baz:9090/demo.Baz/GetInfo"]);
    assert_eq!(output.status.code(), Some(3), "nothing is up: {}", text(&output));

    let up = checkout.up(&["--no-watch"]);
    up.ready();
    for (args, known) in [
        (["call", "--as", "nobody", "baz:80/"].as_slice(), "synthetic"),
        (&["call", "--as", "foo", "bax:80/"], "baz"),
        (&["call", "--as", "foo", "baz:81/"], "grpc"),
        (&["call", "--as", "foo", "baz"], "SERVICE:PORT/PATH"),
    ] {
        let output = checkout.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
        assert!(text(&output).contains(known), "{args:?}: {}", text(&output));
    }
}
