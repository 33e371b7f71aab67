//! The dashboard's door: only its own page reads from it and acts through it, and only from this machine.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};
use support::{Checkout, Up, eventually, text};

/// Where the dashboard of an `up` is.
fn dashboard(checkout: &Checkout) -> SocketAddr {
    let url = checkout.json(&["dashboard"])["url"].as_str().unwrap().to_owned();
    url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap()
}

/// One request: status, head, body.
fn ask(at: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let headers = headers.concat();
    let length = body.len();
    write!(stream, "{line} HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
}

/// What a page is told under this name, time after time.
fn told(at: SocketAddr, host: &str, name: &str) -> impl Iterator<Item = Value> + use<> {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET /live HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
    let (mut lines, name) = (BufReader::new(stream).lines().map(Result::unwrap), format!("event: {name}"));
    std::iter::from_fn(move || {
        lines.find(|line| *line == name)?;
        Some(serde_json::from_str(lines.next()?.strip_prefix("data: ").unwrap()).unwrap())
    })
}

/// The first thing that a page is told: the run's token is in it.
fn hello(at: SocketAddr, host: &str) -> Value {
    told(at, host, "hello").next().unwrap()
}

/// The addresses that a process listens on, as the kernel knows them.
fn listens(up: &Up) -> BTreeSet<String> {
    let pid = up.child.id();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let sockets: BTreeSet<String> = links
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let mut addresses = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let rows = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap();
        for row in rows.lines().skip(1) {
            let fields: Vec<&str> = row.split_whitespace().collect();
            // 0A: it listens.
            if fields[3] == "0A" && sockets.contains(fields[9]) {
                addresses.insert(fields[1].split(':').next().unwrap().to_owned());
            }
        }
    }
    addresses
}

#[test]
fn nobody_else_reads_or_acts() {
    let checkout = Checkout::new("dashboard-guard");
    let up = checkout.up(&["--grpc", "--linkerd", "--no-watch", "--dashboard-port", "0"]);
    let ingress = up.ready();
    let at = dashboard(&checkout);
    assert!(at.ip().is_loopback());
    let link = up.wait(0, "link", |event| event["event"] == "link" && event["name"] == "dashboard");
    assert_eq!(link["url"], format!("http://{at}/"));
    let host = at.to_string();
    let own = ("host", host.as_str());

    // It reads, at its own address and through the ingress, and lets nobody share that.
    let through = format!("dashboard.localhost:{}", ingress.port());
    for (place, host) in [(at, host.as_str()), (ingress, through.as_str())] {
        let (status, head, page) = ask(place, "GET /", &[("host", host)], "");
        assert_eq!((status, page.contains("<title>Dashboard</title>")), (200, true), "{head}");
        assert!(!head.contains("access-control-"), "{head}");
        for header in ["content-security-policy: default-src 'none'", "x-frame-options: deny", "nosniff"] {
            assert!(head.contains(header), "{header}: {head}");
        }
    }
    // Foreign names, origins and pages.
    for path in ["/", "/main.js", "/live", "/policies/explain?client=foo&to=baz:grpc", "/nothing"] {
        let asked = format!("GET {path}");
        let foreign = [
            vec![("host", "evil.example")],
            vec![("host", "foo.localhost")],
            vec![own, ("origin", "http://evil.example")],
            vec![own, ("origin", "null")],
            vec![own, ("origin", "http://localhost:3000")],
            vec![own, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
        ];
        for headers in foreign {
            let (status, head, _) = ask(at, &asked, &headers, "");
            assert_eq!(
                (status, head.contains("access-control-")),
                (403, false),
                "{asked} {headers:?}: {head}"
            );
        }
    }

    // What acts needs the token, from its own origin.
    let token = hello(at, &host)["token"].as_str().unwrap().to_owned();
    assert_eq!(hello(ingress, &through)["token"], token.as_str(), "the ingress leads to the same");
    let origin = format!("http://{at}");
    let json = ("content-type", "application/json");
    let token = ("x-dashboard-token", token.as_str());
    let scale = |replicas: u32| json!({ "service": "bar", "replicas": replicas }).to_string();
    let preflight = [own, ("origin", "http://evil.example"), ("access-control-request-method", "POST")];
    let (status, head, _) = ask(at, "OPTIONS /actions/scale", &preflight, "");
    assert_eq!((status, head.contains("access-control-")), (403, false), "{head}");
    let refused = [
        vec![own, json],
        vec![own, json, ("origin", &origin)],
        vec![own, json, ("x-dashboard-token", "0123456789abcdef0123456789abcdef")],
        vec![own, json, token, ("origin", "http://evil.example")],
        vec![("host", "evil.example"), json, token],
    ];
    for headers in refused {
        for action in ["restart", "scale", "policies"] {
            let (status, ..) = ask(at, &format!("POST /actions/{action}"), &headers, &scale(4));
            assert_eq!(status, 403, "{action} {headers:?}");
        }
    }
    let status = || checkout.json(&["status"]);
    let pods = |status: &Value, of: &str| -> BTreeSet<String> {
        let pods = status["pods"].as_array().unwrap().iter();
        let own = pods.filter(|pod| pod["deployment"] == of && pod["state"] == "Ready");
        own.map(|pod| pod["name"].as_str().unwrap().to_owned()).collect()
    };
    let before = status();
    assert_eq!(pods(&before, "bar").len(), 1, "nothing of that was done");

    // With both it acts.
    let act = |action: &str, body: &str| {
        ask(at, &format!("POST /actions/{action}"), &[own, json, token, ("origin", &origin)], body)
    };
    assert_eq!(act("scale", &scale(2)).0, 200);
    eventually("another bar", || (pods(&status(), "bar").len() == 2).then_some(()));
    assert_eq!(act("restart", r#"{"service":"baz"}"#).0, 200);
    let old = pods(&before, "baz");
    eventually("new pods of baz", || {
        let now = pods(&status(), "baz");
        (now.len() == 3 && now.is_disjoint(&old)).then_some(())
    });
    assert_eq!(act("policies", r#"{"on":true}"#).0, 200);
    let call = ["call", "--as", "synthetic", "baz:grpc/demo.Baz/GetInfo"];
    assert_eq!(checkout.json(&call)["grpc_status"], 7, "refused by the shipped policies");
    assert_eq!(act("policies", r#"{"on":false}"#).0, 200);
    assert_eq!(checkout.json(&call)["grpc_status"], 0, "no more");
    for (action, body) in [("scale", scale(10_000)), ("restart", r#"{"service":"qux"}"#.to_owned())] {
        let (code, _, why) = act(action, &body);
        assert_eq!(code, 400, "{why}");
    }

    // 127.0.0.0/8 as the kernel writes it, and ::1.
    for address in listens(&up) {
        let is_loopback =
            (address.len() == 8 && address.ends_with("7F")) || address == "00000000000000000000000001000000";
        assert!(is_loopback, "it listens at {address}");
    }

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let other = Checkout::new("dashboard-port");
    let args = ["up", "--runtime", "local", "--port", "0", "--detach", "--dashboard-port", &port];
    let output = other.run(&args);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", text(&output));
}

#[test]
fn without_sidecars_connections_show_who_is_pinned() {
    let checkout = Checkout::new("dashboard-pinned");
    let up = checkout.up(&["--grpc", "--no-watch", "--dashboard-port", "0"]);
    up.ready();
    let at = dashboard(&checkout);
    let mut traffic = told(at, &at.to_string(), "traffic");
    let pairs = |traffic: &Value| -> Vec<(String, u64)> {
        let word = |own: &Value, field: &str| own[field].as_str().unwrap().to_owned();
        let pair = |own: &Value| {
            let ends = [word(own, "source_deployment"), word(own, "destination_deployment")];
            (ends.join(" -> "), own["open"].as_u64().unwrap())
        };
        traffic["connections"].as_array().unwrap().iter().map(pair).collect()
    };
    // Each client has one connection, and so one pod of three.
    let wanted = ["bar -> baz", "foo -> bar", "foo -> baz"].map(|pair| (pair.to_owned(), 1));
    let pinned = |traffic: &Value| {
        let mut pairs = pairs(traffic);
        pairs.sort();
        pairs == wanted
    };
    let found = traffic.by_ref().take(600).find(pinned);
    let found = found.unwrap_or_else(|| panic!("{:#}", traffic.next().unwrap()));
    assert_eq!(found["blind"], "nothing sees calls without sidecars");
}
