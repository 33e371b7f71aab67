//! `top`: the calls between pods, exactly as many as the services themselves counted.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;
use support::{Checkout, get, text};

/// How many requests each pod answered, by pod, as it counted itself.
fn counted(status: &Value) -> BTreeMap<String, u64> {
    let count = |pod: &Value| {
        let address = format!("{}:8090", pod["ip"].as_str().unwrap()).parse().unwrap();
        let (code, metrics) = get(address, "pod", "/metrics").unwrap();
        assert_eq!(code, 200);
        let lines = metrics.lines().filter(|line| line.starts_with("server_requests_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    let pods = status["pods"].as_array().unwrap().iter();
    pods.map(|pod| (pod["name"].as_str().unwrap().to_owned(), count(pod))).collect()
}

/// Tells what was counted so far, each second.
struct Watch {
    top: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    /// Counts from now on.
    fn start(checkout: &Checkout, args: &[&str]) -> Self {
        let args = [&["top", "-o", "json"], args].concat();
        let mut top = checkout.xtask(&args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(top.stdout.take().unwrap()).lines();
        let mut watch = Self { top, lines };
        assert_eq!(watch.next()["rows"], Value::Array(Vec::new()), "it counts from now on");
        watch
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    /// What was counted as soon as it is `enough`.
    fn until(&mut self, enough: impl Fn(&Value) -> bool) -> Value {
        std::iter::repeat_with(|| self.next()).find(enough).unwrap()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.top.kill();
        let _ = self.top.wait();
    }
}

/// Each row: the source's Deployment (`-`: no pod of this workspace), the destination's, its pod, what, how many.
fn rows(told: &Value) -> Vec<(String, String, String, String, u64)> {
    let word = |row: &Value, field: &str| row[field].as_str().unwrap_or("-").to_owned();
    let row = |row: &Value| {
        assert_eq!(row["successes"], row["count"], "{row:#}");
        (
            word(row, "source_deployment"),
            word(row, "destination_deployment"),
            word(row, "destination"),
            format!("{} {}", word(row, "method"), word(row, "path")),
            row["count"].as_u64().unwrap(),
        )
    };
    told["rows"].as_array().unwrap().iter().map(row).collect()
}

/// The sum of a field over all rows.
fn sum(told: &Value, field: &str) -> u64 {
    told["rows"].as_array().unwrap().iter().map(|row| row[field].as_u64().unwrap()).sum()
}

#[test]
fn rows_add_up_to_what_the_services_counted() {
    /// So many ask at once, so that a client's balancer uses all pods and not only its quickest.
    const CLIENTS: u64 = 16;
    const EACH: u64 = 10;
    /// What one request to foo becomes: foo, bar, baz for foo and baz for bar.
    const CALLS: u64 = 4;
    let checkout = Checkout::new("top");
    // Nobody else asks: what is counted is what is asked here.
    checkout.edit("manifests/base/synthetic.yaml", "replicas: 1", "replicas: 0");
    let up = checkout.up(&["--grpc", "--linkerd", "--no-watch"]);
    let ingress = up.ready();
    let status = checkout.json(&["status"]);
    let before = counted(&status);
    let mut top = Watch::start(&checkout, &[]);
    let (mut sent, mut told) = (0, Value::Null);
    for _round in 0..20 {
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        assert_eq!(get(ingress, "foo.localhost", "/").unwrap().0, 200);
                    }
                });
            }
        });
        sent += CLIENTS * EACH;
        told = top.until(|told| sum(told, "count") >= CALLS * sent);
        if rows(&told).len() == 8 {
            break;
        }
    }

    let rows = rows(&told);
    let mut told_of: Vec<_> =
        rows.iter().map(|(from, to, _, what, _)| format!("{from} -> {to} {what}")).collect();
    told_of.sort();
    let mut wanted = vec!["- -> foo GET /", "foo -> bar POST /demo.Bar/GetInfo"];
    wanted.extend(["bar -> baz POST /demo.Baz/GetInfo"; 3]);
    wanted.extend(["foo -> baz POST /demo.Baz/GetInfo"; 3]);
    wanted.sort_unstable();
    assert_eq!(told_of, wanted, "no more, no less, no probe: {told:#}");
    for (from, to) in [("-", "foo"), ("foo", "bar"), ("foo", "baz"), ("bar", "baz")] {
        let calls: u64 = rows.iter().filter(|row| row.0 == from && row.1 == to).map(|row| row.4).sum();
        assert_eq!(calls, sent, "{from} -> {to}: {told:#}");
    }
    let after = counted(&status);
    assert_eq!(after.len(), 5, "one foo, one bar, three baz");
    for (pod, after) in after {
        let seen: u64 = rows.iter().filter(|row| row.2 == pod).map(|row| row.4).sum();
        assert_eq!(seen, after - before[&pod], "{pod} counted itself: {told:#}");
    }
    assert_eq!((told["missed"].as_u64(), sum(&told, "denied")), (Some(0), 0));
}

#[test]
fn refused_calls_are_told_and_what_is_not_there_is_named() {
    let checkout = Checkout::new("top-denied");
    checkout.edit("manifests/base/synthetic.yaml", "replicas: 1", "replicas: 0");
    let up = checkout.up(&["--grpc", "--linkerd", "--policy", "--no-watch"]);
    up.ready();
    let mut top = Watch::start(&checkout, &["baz"]);
    let refused = checkout.json(&["call", "--as", "synthetic", "--count", "5", "baz:grpc/demo.Baz/GetInfo"]);
    assert_eq!(refused["grpc_status"], 7, "{refused:#}");
    let told = top.until(|told| sum(told, "denied") == 5);
    for row in told["rows"].as_array().unwrap() {
        assert_eq!(row["denied"], row["count"], "{told:#}");
        assert!(row["source"].as_str().unwrap().starts_with("synthetic."), "{told:#}");
    }

    let output = checkout.run(&["top", "qux", "--once"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("no service or pod `qux` is up"), "{}", text(&output));
}
