//! `stat` and `edges`: services and the edges between them, as many calls as were made.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::process::Stdio;

use serde_json::Value;
use support::{Checkout, get, text};

#[test]
fn services_and_edges_are_counted_and_named() {
    const SENT: u64 = 20;
    let checkout = Checkout::new("stat");
    // Nobody else asks: what is counted is what is asked here.
    checkout.edit("manifests/base/synthetic.yaml", "replicas: 1", "replicas: 0");
    let up = checkout.up(&["--grpc", "--linkerd", "--no-watch"]);
    let ingress = up.ready();
    // Both count while requests are sent; each tells that it began by what it counts, so they go on until both have.
    let count = |args: &[&str]| {
        let args = [args, &["--for", "4s", "-o", "json"]].concat();
        checkout.xtask(&args).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
    };
    let (stat, edges) = (count(&["stat"]), count(&["edges"]));
    let mut watch =
        checkout.xtask(&["top", "-o", "json", "--for", "4s"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut sent = 0;
    while watch.try_wait().unwrap().is_none() {
        (0..SENT).for_each(|_| assert_eq!(get(ingress, "foo.localhost", "/").unwrap().0, 200));
        sent += SENT;
    }
    let told = |child: std::process::Child| -> Value {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (stat, edges) = (told(stat), told(edges));

    let ends = |row: &Value| format!("{} -> {}", row["src"].as_str().unwrap(), row["dst"].as_str().unwrap());
    let all = |rows: &Value| rows.as_array().unwrap().iter().map(ends).collect::<Vec<_>>();
    let wanted = ["bar -> baz", "foo -> bar", "foo -> baz", "ingress-nginx -> foo"];
    assert_eq!(all(&stat["edges"]), wanted, "{stat:#}");
    assert_eq!(all(&edges), wanted, "{edges:#}");
    for edge in stat["edges"].as_array().unwrap() {
        let (count, rps) = (edge["count"].as_u64().unwrap(), edge["rps"].as_f64().unwrap());
        assert!(count > 0 && count <= sent, "{edge:#}");
        assert_eq!((edge["success_rate"].as_f64(), edge["tls_rate"].as_f64()), (Some(1.0), Some(1.0)));
        let seconds = stat["seconds"].as_f64().unwrap();
        assert!((rps * seconds - edge["count"].as_f64().unwrap()).abs() < 0.01, "{edge:#}");
        let latencies = ["latency_ms_p50", "latency_ms_p95", "latency_ms_p99"];
        assert!(latencies.map(|field| edge[field].as_f64().unwrap()).is_sorted(), "{edge:#}");
    }
    // Each request is one call on every edge, but for those under way as counting began and ended.
    let of = |name: &str| {
        let service = stat["services"].as_array().unwrap().iter().find(|own| own["name"] == name).unwrap();
        (service["count"].as_u64().unwrap(), service["meshed"].as_str().unwrap().to_owned())
    };
    assert!(of("baz").0.abs_diff(2 * of("bar").0) <= 2, "{stat:#}");
    assert_eq!((of("baz").1.as_str(), of("synthetic")), ("3/3", (0, "0/0".to_owned())));
    let foo_to_baz = edges.as_array().unwrap().iter().find(|edge| ends(edge) == "foo -> baz").unwrap();
    assert_eq!(foo_to_baz["client_id"], "foo.default");
    assert_eq!((&foo_to_baz["server_id"], &foo_to_baz["no_tls_reason"]), (&"baz.default".into(), &"".into()));

    let unknown = checkout.run(&["stat", "qux"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown));
    assert!(text(&unknown).contains("no service `qux` is up"), "{}", text(&unknown));
}
