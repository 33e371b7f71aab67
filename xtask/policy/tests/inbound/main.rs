//! What a pod's proxy lets in: the cases of the tables beside this file, and the laws that hold for all of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod laws;
mod table;

use std::path::Path;

use policy::authz::Client;
use policy::cluster::ClusterInfo;
use policy::inbound::{Inbound, PortPolicy, ProxyProtocol, RequestVerdict, Verdict};
use policy::label::ResourceLabel;
use policy::model::{GATEWAY, Objects, Workload};
use policy::route::{Filter, Protocol, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;
use table::{Case, Sent};

/// Every row says what comes out, and all of it does.
#[test]
fn the_tables_are_decided_as_they_say() {
    let cases = table::cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inbound"));
    let wrong: Vec<_> = cases.iter().filter_map(check).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= 250, "only {} cases were read", cases.len());
}

/// What differs from what the row says.
fn check(case: &Case) -> Option<String> {
    let objects = objects(&case.objects);
    let (namespace, name, port) = case.to();
    let is_it = |own: &&Workload| own.name == name && own.namespace == namespace;
    let workload =
        objects.workloads.iter().find(is_it).unwrap_or_else(|| panic!("{}: no {name}", case.place));
    let inbound = Inbound::new(workload, &objects, &ClusterInfo::default());
    let policy = inbound.port(port);
    let mut is = vec![("protocol", protocol(policy).to_owned()), ("limit", limit(policy))];
    let ignored = inbound.ignored.iter().map(|own| format!("{} {}", own.kind, own.name));
    is.push(("ignored", ignored.collect::<Vec<_>>().join(", ")));
    is.extend(case.cell("from").map_or_else(Vec::new, |_| decided(case, policy)));
    if case.cell("from").is_none() {
        is.push(("server", shown(Some(&policy.server))));
    }
    let differs = is.iter().filter(|(column, is)| case.cell(column).is_some_and(|says| says != is));
    let differs: Vec<_> = differs.map(|(column, is)| format!("{column} is `{is}`")).collect();
    let why = case.cell("because").filter(|why| !why.is_empty());
    let because = why.unwrap_or_else(|| panic!("{}: a case needs its reason", case.place));
    (!differs.is_empty()).then(|| format!("{}: {} ({because})", case.place, differs.join(", ")))
}

fn decided(case: &Case, policy: &PortPolicy) -> Vec<(&'static str, String)> {
    let caller = case.from();
    let client = Client { address: caller.address, identity: caller.identity.as_deref() };
    let sent = case.request();
    let verdict = match &sent {
        Some(sent) => policy.decide(&client, &request(sent)),
        None => policy.decide_connection(&client),
    };
    let word = match verdict.verdict {
        Verdict::Allow => "allow",
        Verdict::Audit => "audit",
        Verdict::Deny => "deny",
        Verdict::NoRoute => "no-route",
    };
    vec![
        ("verdict", word.to_owned()),
        ("server", shown(Some(&verdict.labels.server))),
        ("route", shown(verdict.labels.route.as_ref())),
        ("by", shown(verdict.labels.authz.as_ref())),
        ("then", sent.map(|sent| filtered(&sent, &verdict)).unwrap_or_default()),
    ]
}

fn request(sent: &Sent) -> Request<'_> {
    Request {
        protocol: Protocol::Http2,
        method: &sent.method,
        authority: Some(&sent.authority),
        path: &sent.path,
        query: sent.query.as_deref(),
        headers: &sent.headers,
    }
}

/// A redirect's status and location, or the request's headers as the application sees them.
fn filtered(sent: &Sent, verdict: &RequestVerdict<'_>) -> String {
    let mut headers = sent.headers.clone();
    for filter in verdict.filters {
        match filter {
            Filter::RequestHeaders(edit) => edit.apply(&mut headers),
            Filter::ResponseHeaders(_) => {}
            Filter::Redirect(redirect) => match redirect.apply(&request(sent), verdict.path) {
                Ok(None) => {}
                Ok(Some(to)) => return format!("{} {}", to.status.as_u16(), to.location),
                Err(error) => return format!("500 {error}"),
            },
        }
    }
    let mut all: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    all.sort();
    all.join("; ")
}

fn shown(label: Option<&ResourceLabel>) -> String {
    match label {
        None => "-".to_owned(),
        Some(own) if own.is_default() => own.name.clone(),
        Some(own) if own.kind == "HTTPRoute" && own.group != GATEWAY => format!("{own} of {}", own.group),
        Some(own) => own.to_string(),
    }
}

fn protocol(policy: &PortPolicy) -> &'static str {
    match policy.protocol {
        ProxyProtocol::Detect => "unknown",
        ProxyProtocol::Http1 => "HTTP/1",
        ProxyProtocol::Http2 => "HTTP/2",
        ProxyProtocol::Grpc => "gRPC",
        ProxyProtocol::Opaque => "opaque",
        ProxyProtocol::Tls => "TLS",
    }
}

fn limit(policy: &PortPolicy) -> String {
    let Some(limit) = &policy.rate_limit else { return "-".to_owned() };
    let mut all = vec![limit.name.clone()];
    all.extend(limit.total.map(|rate| format!("total {rate}")));
    all.extend(limit.identity.map(|rate| format!("each {rate}")));
    let short = |identity: &str| identity.split(".serviceaccount").next().unwrap_or_default().to_owned();
    let overrides = limit.overrides.iter();
    all.extend(overrides.map(|(identity, (group, rate))| format!("{} {rate} of {group}", short(identity))));
    all.join(", ")
}

/// The objects as the engine's types; a Deployment as its workload.
fn objects(values: &[Value]) -> Objects {
    fn of<T: DeserializeOwned>(value: &Value) -> T {
        serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
    }
    let mut all = Objects::default();
    for value in values {
        match value["kind"].as_str().unwrap() {
            "Namespace" => all.namespaces.push(of(value)),
            "Deployment" => all.workloads.push(Workload::of(&of(value))),
            "Server" => all.servers.push(of(value)),
            "AuthorizationPolicy" => all.authorization_policies.push(of(value)),
            "MeshTLSAuthentication" => all.mesh_tls_authentications.push(of(value)),
            "NetworkAuthentication" => all.network_authentications.push(of(value)),
            "HTTPLocalRateLimitPolicy" => all.rate_limits.push(of(value)),
            "HTTPRoute" => all.http_routes.push(of(value)),
            "GRPCRoute" => all.grpc_routes.push(of(value)),
            "Service" | "ServiceAccount" | "Ingress" => {}
            kind => panic!("what is a {kind}?"),
        }
    }
    all
}
