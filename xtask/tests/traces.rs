//! Traces: every hop of one request is a span with the right parent, as a collector receives them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use support::{Checkout, eventually, text};

/// A receiver of OTLP/HTTP with JSON.
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

/// A span, as far as its place in the trace goes.
#[derive(Clone, Debug)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    /// `foo in`, `foo proxy out`: whose, and which side of a request.
    label: String,
    failed: bool,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let kept = Arc::clone(&spans);
        std::thread::spawn(move || {
            for io in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(io, &kept));
            }
        });
        Self { url, spans }
    }

    /// The spans of a trace, as soon as there are so many.
    fn trace(&self, id: &str, count: usize) -> Vec<Span> {
        eventually("spans of the trace", || {
            let all = self.spans.lock().unwrap();
            let of: Vec<Span> = all.iter().filter(|span| span.trace == id).cloned().collect();
            (of.len() >= count).then_some(of)
        })
    }
}

/// Takes down the spans of each request on a connection.
fn serve(io: TcpStream, spans: &Mutex<Vec<Span>>) -> Option<()> {
    let mut reader = BufReader::new(io.try_clone().ok()?);
    let mut io = io;
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head).ok()? == 0 {
                return None;
            }
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("post /v1/traces "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).ok()?;
        spans.lock().unwrap().extend(read(&serde_json::from_slice(&body).unwrap()));
        io.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
            .ok()?;
    }
}

fn read(sent: &Value) -> Vec<Span> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let mut spans = Vec::new();
    for group in sent["resourceSpans"].as_array().unwrap() {
        let attribute = |key: &str| {
            let all = group["resource"]["attributes"].as_array().unwrap();
            all.iter().find(|own| own["key"] == key).map(|own| word(&own["value"]["stringValue"]))
        };
        let whose = match attribute("k8s.deployment.name") {
            Some(deployment) => format!("{deployment} proxy"),
            None => attribute("service.name").unwrap(),
        };
        for span in group["scopeSpans"][0]["spans"].as_array().unwrap() {
            let nanos = |field: &str| span[field].as_str().unwrap().parse::<u128>().unwrap();
            assert!(nanos("startTimeUnixNano") <= nanos("endTimeUnixNano"), "{span:#}");
            let side = if span["kind"] == 2 { "in" } else { "out" };
            spans.push(Span {
                trace: word(&span["traceId"]),
                id: word(&span["spanId"]),
                parent: word(&span["parentSpanId"]),
                label: format!("{whose} {side}"),
                failed: span["status"]["code"] == 2,
            });
        }
    }
    spans
}

/// The ways from the first span to each that is nobody's parent.
fn ways(spans: &[Span], parent: &str, so_far: &str) -> Vec<String> {
    let children = spans.iter().filter(|span| span.parent == parent);
    let ways: Vec<String> = children
        .flat_map(|span| {
            let way =
                if so_far.is_empty() { span.label.clone() } else { format!("{so_far} > {}", span.label) };
            let on = ways(spans, &span.id, &way);
            if on.is_empty() { vec![way] } else { on }
        })
        .collect();
    ways
}

const CLIENT: &str = "00f067aa0ba902b7";

/// One GET that belongs to a trace; its status.
fn get(address: SocketAddr, trace: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let parent = format!("traceparent: 00-{trace}-{CLIENT}-01");
    write!(stream, "GET / HTTP/1.1\r\nhost: foo.localhost\r\n{parent}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

/// The ways that a request to foo takes.
fn wanted() -> Vec<String> {
    let to_foo = "ingress-nginx in > ingress-nginx-controller proxy out > foo proxy in > foo in";
    let to_bar = "foo out > foo proxy out > bar proxy in > bar in";
    let on_to_baz = |from: &str| format!("{from} out > {from} proxy out > baz proxy in > baz in");
    let mut wanted = vec![
        format!("{to_foo} > {to_bar} > {}", on_to_baz("bar")),
        format!("{to_foo} > {}", on_to_baz("foo")),
    ];
    wanted.sort();
    wanted
}

#[test]
fn every_hop_of_a_request_is_a_span_with_the_right_parent() {
    for mode in [["--linkerd", "--grpc"].as_slice(), &["--linkerd"]] {
        let checkout = Checkout::new("traces");
        checkout.edit("manifests/base/synthetic.yaml", "replicas: 1", "replicas: 0");
        let collector = Collector::start();
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())];
        let up = checkout.up_with(&[mode, &["--no-watch"]].concat(), &variables);
        let ingress = up.ready();
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(get(ingress, trace), "200");
        // Two ways of 12 and 8 spans that have the first four in common.
        let spans = collector.trace(trace, 16);
        let mut found = ways(&spans, CLIENT, "");
        found.sort();
        assert_eq!((found, spans.len()), (wanted(), 16), "{mode:?} {spans:#?}");
        assert!(spans.iter().all(|span| !span.failed), "{spans:#?}");

        // What fails on purpose is a failed span, and so is all that fails because of it.
        let (port, fault) = if mode.contains(&"--grpc") {
            ("grpc", ["--grpc-status", "unavailable"])
        } else {
            ("http", ["--status", "500"])
        };
        checkout.ok(&[["fault", "add", "baz", "--from", "foo", "--port", port].as_slice(), &fault].concat());
        let trace = "4bf92f3577b34da6a3ce929d0e0e4737";
        assert_eq!(get(ingress, trace), "502");
        let failed: Vec<String> = collector
            .trace(trace, 15)
            .into_iter()
            .filter(|span| span.failed)
            .map(|span| span.label)
            .collect();
        for label in ["baz proxy in", "foo proxy out", "foo in", "ingress-nginx in"] {
            assert!(failed.iter().any(|own| own == label), "{label}: {failed:?}");
        }
        assert!(!failed.iter().any(|own| own.starts_with("bar")), "{failed:?}");
    }
}

#[test]
fn a_collector_that_is_away_is_told_and_costs_no_request() {
    let checkout = Checkout::new("traces-away");
    checkout.edit("manifests/base/synthetic.yaml", "replicas: 1", "replicas: 0");
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{away}");
    let up = checkout.up_with(&["--linkerd", "--no-watch"], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]);
    let ingress = up.ready();
    for n in 0..20 {
        assert_eq!(get(ingress, &format!("4bf92f3577b34da6a3ce929d0e0e47{n:02}")), "200");
    }
    let told = up.wait(0, "warning", |e| e["event"] == "warning");
    assert!(told["message"].as_str().unwrap().contains(&format!("spans are lost: {url}")), "{told:#}");

    let mut wrong = checkout.xtask(&["up", "--runtime", "local", "--linkerd", "--port", "0"]);
    drop(up);
    let output = wrong.env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("is no http:// URL"), "{}", text(&output));
}
