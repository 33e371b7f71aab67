//! The policy edges: what every client may ask of every port, as the engine decides it, and what it got.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use policy::cluster::ClusterInfo;
use policy::explain::{self, Call, Caller, Explanation, Outcome as Verdict};
use policy::model::{Named as _, Objects};
use policy::route::Protocol;
use policy::sample::samples;

use crate::runtime::{CallAnswer, CallRequest};

/// One request, to be sent as every client.
#[derive(Clone, Debug)]
pub struct Probe(Call);

/// Who sends them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// `ServiceAccount` and namespace.
    Meshed(String, String),
    /// Without a sidecar, from the node.
    Unmeshed,
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Meshed(account, _) => f.write_str(account),
            Self::Unmeshed => f.write_str("an unmeshed client"),
        }
    }
}

/// For every port of every Service: a request for each route that tells one from another, each that the services
/// were seen to make (`seen`: service and path), and one that nothing names.
pub fn probes(objects: &Objects, cluster: &ClusterInfo, seen: &BTreeSet<(String, String)>) -> Vec<Probe> {
    let mut all = Vec::new();
    for service in &objects.services {
        for port in service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
            let (name, namespace) = (service.name(), service.namespace());
            let shown = port.name.clone().unwrap_or_else(|| port.port.to_string());
            let Ok(samples) = samples(objects, cluster, name, namespace, &shown) else { continue };
            let grpc = explain::speaks_grpc(port);
            let of = |what: &str| {
                let port = Some(shown.as_str());
                if grpc {
                    Call::grpc(name, namespace, port, what)
                } else {
                    Call::http(name, namespace, port, what)
                }
            };
            let seen_here = seen.iter().filter(|(own, path)| own == name && is_method(path) == grpc);
            let other = if grpc { "smoke.None/Call" } else { "/smoke/other" };
            let calls = samples.into_iter().map(|sample| sample.call);
            let calls = calls.chain(seen_here.map(|(_, path)| of(path))).chain([of(other)]);
            let mut told = BTreeSet::new();
            for call in calls {
                // What `call` can send: a method and headers, but no other host.
                let is_new =
                    told.insert(format!("{} {} {:?} {:?}", call.method, call.path, call.query, call.headers));
                if is_new && call.authority.is_none() {
                    all.push(Probe(call));
                }
            }
        }
    }
    all
}

/// Whether a path is a gRPC method's: `/PACKAGE.SERVICE/METHOD`.
fn is_method(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    parts.next().is_some_and(|service| service.contains('.'))
        && parts.next().is_some()
        && parts.next().is_none()
}

/// Whence a client without a sidecar calls: from the node, as the local runtime shows the host to policies.
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 18, 0, 1));

impl Probe {
    /// A request that an environment can send.
    pub fn new(call: Call) -> Self {
        Self(call)
    }

    /// Whether it is a gRPC call.
    pub fn is_grpc(&self) -> bool {
        self.0.protocol == Protocol::Grpc
    }

    /// What the engine says of it.
    pub fn expected(
        &self,
        client: &Client,
        objects: &Objects,
        cluster: &ClusterInfo,
    ) -> Result<Explanation, explain::Unanswerable> {
        let caller = match client {
            Client::Meshed(account, namespace) => Caller::meshed(account, namespace),
            Client::Unmeshed => Caller { address: NODE, ..Caller::unmeshed() },
        };
        explain::explain(objects, cluster, &caller, &self.0)
    }

    /// The request, as an environment sends it.
    pub fn request(&self, client: &Client) -> CallRequest {
        let Call { service, port, path, query, method, headers, .. } = &self.0;
        let query = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        CallRequest {
            service_account: match client {
                Client::Meshed(account, namespace) => Some(format!("{account}.{namespace}")),
                Client::Unmeshed => None,
            },
            service: service.clone(),
            port: port.clone().unwrap_or_default(),
            path: format!("{path}{query}"),
            method: (!self.is_grpc()).then(|| method.to_string()),
            headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            timeout_ms: 10_000,
            count: 1,
            concurrency: 1,
            ..CallRequest::default()
        }
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Call { service, port, method, path, .. } = &self.0;
        let port = port.as_deref().unwrap_or_default();
        if self.is_grpc() {
            write!(f, "{service}:{port}{path}")
        } else {
            write!(f, "{method} {service}:{port}{path}")
        }
    }
}

/// Why an answer is not what the engine said; none if it is. A refusal must have Linkerd's shape: without a body,
/// with the reason for meshed gRPC clients only.
pub fn differs(expected: &Explanation, got: &CallAnswer, client: &Client, grpc: bool) -> Option<String> {
    let is = |text: String| Some(format!("expected {}, but {text}", expected.verdict));
    let Some(http_status) = expected.http_status else {
        return if got.error.is_some() { None } else { is(format!("it was answered: {}", brief(got))) };
    };
    let allowed = matches!(expected.verdict, Verdict::Allow | Verdict::Audit);
    if allowed {
        return if seen(got, grpc) == Some(Verdict::Allow) { None } else { is(brief(got)) };
    }
    let wrong = |what: &str, wanted: &str| is(format!("{what} is not {wanted}: {}", brief(got)));
    if got.status != Some(http_status) {
        return wrong("the HTTP status", &http_status.to_string());
    }
    if got.grpc_status != expected.grpc_status.map(i32::from) {
        return wrong("the gRPC status", &format!("{:?}", expected.grpc_status));
    }
    if !got.body.is_empty() || header(got, "content-length") != Some("0") {
        return wrong("the body", "empty with content-length 0");
    }
    if let Some(told) = header(got, "l5d-proxy-error") {
        return is(format!("the application was told l5d-proxy-error: {told}"));
    }
    if grpc && header(got, "content-type") != Some("application/grpc") {
        return wrong("the content type", "application/grpc");
    }
    let message = got.grpc_message.as_deref();
    match client {
        Client::Meshed(..) if grpc && !message.is_some_and(|text| is_reason(text, expected.verdict)) => {
            wrong("the message", "client IP:PORT: server: IP:PORT: the reason")
        }
        Client::Unmeshed if message.is_some() => wrong("the message", "kept from an unmeshed client"),
        _ => None,
    }
}

/// `client IP:PORT: server: IP:PORT: REASON`
fn is_reason(text: &str, verdict: Verdict) -> bool {
    let reason = match verdict {
        Verdict::Deny => "unauthorized request on route",
        Verdict::NoRoute => "no route found for request",
        _ => return true,
    };
    let address = |text: &str| text.parse::<std::net::SocketAddr>().is_ok();
    let parts = text.strip_prefix("client ").and_then(|rest| rest.split_once(": server: "));
    parts.is_some_and(|(client, rest)| {
        let server = rest.strip_suffix(reason).and_then(|server| server.strip_suffix(": "));
        address(client) && server.is_some_and(address)
    })
}

/// What an answer shows of a policy's verdict: allow where the application answered; none where neither did.
pub fn seen(got: &CallAnswer, grpc: bool) -> Option<Verdict> {
    if got.error.is_some() {
        // A refused connection is closed.
        return Some(Verdict::Deny);
    }
    let refusal = match (grpc, got.grpc_status, got.status) {
        (true, Some(7), _) | (false, _, Some(403)) => Verdict::Deny,
        (true, Some(5), _) | (false, _, Some(404)) => Verdict::NoRoute,
        (true, Some(8), _) | (false, _, Some(429)) => Verdict::RateLimited,
        (true, Some(14), _) | (false, _, Some(502 | 504)) if is_empty(got) => return None,
        _ => return Some(Verdict::Allow),
    };
    // A proxy has no body, and names both ends to whom it tells anything.
    let is_own = match got.grpc_message.as_deref().filter(|_| grpc) {
        Some(text) => is_reason(text, refusal),
        None => is_empty(got),
    };
    Some(if is_own { refusal } else { Verdict::Allow })
}

fn is_empty(got: &CallAnswer) -> bool {
    got.body.is_empty()
}

fn header<'a>(got: &'a CallAnswer, name: &str) -> Option<&'a str> {
    got.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
}

/// An answer in a line.
pub fn brief(got: &CallAnswer) -> String {
    if let Some(error) = &got.error {
        return format!("there was no answer: {error}");
    }
    let status = got.status.map(|status| format!("HTTP {status}")).unwrap_or_default();
    let grpc = got.grpc_status.map(|status| format!(", grpc-status {status}")).unwrap_or_default();
    let message = got.grpc_message.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
    let body: String = got.body.chars().take(120).collect();
    let body = if body.is_empty() { String::new() } else { format!(", {body}") };
    format!("it got {status}{grpc}{message}{body}")
}

/// How many of the requests the engine lets through and refuses, for the report.
pub fn count(verdicts: &[Verdict]) -> String {
    let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
    for verdict in verdicts {
        *counts.entry(*verdict).or_default() += 1;
    }
    let shown: Vec<_> = counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(grpc: bool) -> Explanation {
        Explanation {
            verdict: Verdict::Deny,
            http_status: Some(if grpc { 200 } else { 403 }),
            grpc_status: grpc.then_some(7),
            server: None,
            route: None,
            authorization: None,
            chain: Vec::new(),
        }
    }

    fn refused(grpc: bool, message: Option<&str>) -> CallAnswer {
        let mut headers = vec![("content-length".to_owned(), "0".to_owned())];
        if grpc {
            headers.push(("content-type".to_owned(), "application/grpc".to_owned()));
        }
        CallAnswer {
            status: Some(if grpc { 200 } else { 403 }),
            grpc_status: grpc.then_some(7),
            grpc_message: message.map(str::to_owned),
            headers,
            ..CallAnswer::default()
        }
    }

    const REASON: &str = "client 127.1.1.5:4000: server: 127.1.1.0:4143: unauthorized request on route";

    fn meshed() -> Client {
        Client::Meshed("bar".into(), "default".into())
    }

    #[test]
    fn a_refusal_of_linkerds_shape_is_as_expected() {
        assert_eq!(differs(&denied(true), &refused(true, Some(REASON)), &meshed(), true), None);
        assert_eq!(differs(&denied(true), &refused(true, None), &Client::Unmeshed, true), None);
        assert_eq!(differs(&denied(false), &refused(false, None), &meshed(), false), None);
    }

    #[test]
    fn a_reason_goes_to_meshed_clients_only_and_names_both_ends() {
        assert!(differs(&denied(true), &refused(true, None), &meshed(), true).is_some());
        assert!(differs(&denied(true), &refused(true, Some("no")), &meshed(), true).is_some());
        assert!(differs(&denied(true), &refused(true, Some(REASON)), &Client::Unmeshed, true).is_some());
    }

    #[test]
    fn an_applications_own_answer_is_no_refusal() {
        let allowed = Explanation { verdict: Verdict::Allow, http_status: Some(200), ..denied(false) };
        let own =
            CallAnswer { status: Some(502), body: "{\"error\":\"baz\"}".into(), ..CallAnswer::default() };
        assert_eq!(differs(&allowed, &own, &meshed(), false), None);
        insta::assert_snapshot!(
            differs(&allowed, &refused(false, None), &meshed(), false).unwrap(),
            @"expected allow, but it got HTTP 403"
        );
        insta::assert_snapshot!(
            differs(&denied(false), &own, &meshed(), false).unwrap(),
            @r#"expected deny, but the HTTP status is not 403: it got HTTP 502, {"error":"baz"}"#
        );
    }

    #[test]
    fn a_method_is_told_from_a_path() {
        assert!(is_method("/demo.Baz/GetInfo"));
        assert!(!is_method("/foo/bar"));
        assert!(!is_method("/demo.Baz"));
    }
}
