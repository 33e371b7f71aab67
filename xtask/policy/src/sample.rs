//! Requests that tell a port's routes apart: what to ask to see everything that its policies distinguish.

use http::{HeaderMap, Method};

use crate::cluster::ClusterInfo;
use crate::explain::{Call, Unanswerable, destination};
use crate::inbound::{Inbound, Routes};
use crate::model::Objects;
use crate::route::{GrpcMatch, HeaderMatch, HostMatch, HttpMatch, PathMatch, Protocol, QueryMatch, Route};

/// A request of a Service's port.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What it stands for: `/foo/bar`, `POST /foo`, `demo.Baz/GetInfo`, `any path`.
    pub name: String,
    /// The request.
    pub call: Call,
}

/// Where nothing names a method: no route tells it from another.
const ANY_METHOD: &str = "/package.Service/Method";

/// One request for each match of each route of a Service's port, and one that only a route for everything takes.
/// Where no route is attached, one stands for all. What a match wants by an expression that is more than a plain
/// text is left out: which text it takes cannot be told from it. Errors when the call would name what is not there.
pub fn samples(
    objects: &Objects,
    cluster: &ClusterInfo,
    service: &str,
    namespace: &str,
    port: &str,
) -> Result<Vec<Sample>, Unanswerable> {
    let plain = Call::http(service, namespace, Some(port), "/");
    let to = destination(objects, &plain)?;
    let speaks_grpc = to.speaks_grpc();
    let inbound = Inbound::new(to.workload, objects, cluster);
    let policy = inbound.port(to.container_port);
    let grpc = || Call { protocol: Protocol::Grpc, method: Method::POST, ..plain.clone() };
    let mut samples = match &policy.routes {
        Routes::Http(routes) if !speaks_grpc => http(&own(routes), &plain),
        Routes::Grpc(routes) => self::grpc(&own(routes), &grpc()),
        // HTTP routes, or none, on a port that speaks gRPC: its calls have paths too.
        Routes::Http(routes) => http(&own(routes), &Call { path: ANY_METHOD.to_owned(), ..grpc() }),
    };
    let mut seen = std::collections::BTreeSet::new();
    samples.retain(|sample| seen.insert(sample.name.clone()));
    Ok(samples)
}

/// The routes that are objects.
fn own<M, P: HasLabel>(routes: &[Route<M, P>]) -> Vec<&Route<M, P>> {
    routes.iter().filter(|route| route.policy.is_object()).collect()
}

/// Whether a route's policy is that of an object, or a default's.
trait HasLabel {
    fn is_object(&self) -> bool;
}

impl HasLabel for crate::inbound::Permits {
    fn is_object(&self) -> bool {
        self.route.as_ref().is_some_and(|route| !route.is_default())
    }
}

fn http<P>(routes: &[&Route<HttpMatch, P>], plain: &Call) -> Vec<Sample> {
    let grpc = plain.protocol == Protocol::Grpc;
    if routes.is_empty() {
        let name = if grpc { "any method" } else { "any path" };
        return vec![Sample { name: name.to_owned(), call: plain.clone() }];
    }
    let mut samples = Vec::new();
    for route in routes {
        for own in route.rules.iter().flat_map(|rule| &rule.matches) {
            samples.extend(http_sample(own, &route.hosts, plain));
        }
    }
    let taken = |path: &str| samples.iter().any(|sample| sample.call.path == path);
    let other = ["/", "/other", "/another"].into_iter().find(|path| !taken(path));
    let is_caught = samples.iter().any(|sample| sample.name == "/");
    let other = other.filter(|_| !is_caught).map(|path| Call { path: path.to_owned(), ..plain.clone() });
    samples.extend(other.map(|call| Sample { name: call.path.clone(), call }));
    samples
}

/// A request that a match takes; none where an expression does not tell which.
pub(crate) fn http_sample(own: &HttpMatch, hosts: &[HostMatch], plain: &Call) -> Option<Sample> {
    let path = match &own.path {
        None => "/".to_owned(),
        Some(PathMatch::Exact(path) | PathMatch::Prefix(path)) => path.clone(),
        Some(PathMatch::Regex(regex)) => literal(regex)?,
    };
    let mut pairs = Vec::new();
    for parameter in &own.query {
        let (name, value) = match parameter {
            QueryMatch::Exact(name, value) => (name, value.clone()),
            QueryMatch::Regex(name, regex) => (name, literal(regex)?),
        };
        pairs.push((name.as_str(), value));
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
    let method = own.method.clone().unwrap_or_else(|| plain.method.clone());
    let call = Call {
        headers: headers(&own.headers)?,
        authority: authority(hosts),
        query: Some(query).filter(|query| !query.is_empty()),
        method,
        path,
        ..plain.clone()
    };
    Some(Sample { name: name(&call), call })
}

fn grpc<P>(routes: &[&Route<GrpcMatch, P>], plain: &Call) -> Vec<Sample> {
    if routes.is_empty() {
        let call = Call { path: ANY_METHOD.to_owned(), ..plain.clone() };
        return vec![Sample { name: "any method".to_owned(), call }];
    }
    let mut samples = Vec::new();
    let mut first_service = None;
    for route in routes {
        for own in route.rules.iter().flat_map(|rule| &rule.matches) {
            let Some(sample) = grpc_sample(own, &route.hosts, plain) else { continue };
            first_service = first_service.or(own.service.as_deref());
            samples.push(sample);
        }
    }
    let path = first_service.map_or(ANY_METHOD.to_owned(), |service| format!("/{service}/Other"));
    let call = Call { path, ..plain.clone() };
    samples.push(Sample { name: name(&call), call });
    samples
}

/// A call that a match takes; none where an expression does not tell which.
pub(crate) fn grpc_sample(own: &GrpcMatch, hosts: &[HostMatch], plain: &Call) -> Option<Sample> {
    let headers = headers(&own.headers)?;
    let service = own.service.as_deref().unwrap_or("package.Service");
    let method = own.method.as_deref().unwrap_or("Other");
    let path = format!("/{service}/{method}");
    let call = Call { headers, authority: authority(hosts), path, ..plain.clone() };
    Some(Sample { name: name(&call), call })
}

fn headers(own: &[HeaderMatch]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for header in own {
        match header {
            HeaderMatch::Exact(name, value) => drop(headers.append(name, value.clone())),
            HeaderMatch::Regex(name, regex) => {
                headers.append(name, literal(regex)?.parse().ok()?);
            }
        }
    }
    Some(headers)
}

fn authority(hosts: &[HostMatch]) -> Option<String> {
    hosts.first().map(|host| match host {
        HostMatch::Exact(name) => name.clone(),
        HostMatch::Suffix(labels) => {
            let labels: Vec<_> = labels.iter().rev().map(String::as_str).collect();
            format!("any.{}", labels.join("."))
        }
    })
}

/// The one text that an expression without operators takes.
fn literal(regex: &regex::Regex) -> Option<String> {
    let text = regex.as_str();
    (regex::escape(text) == text).then(|| text.to_owned())
}

/// What tells a call from others of the same port.
fn name(call: &Call) -> String {
    let mut name = match call.protocol {
        Protocol::Grpc => call.path.trim_start_matches('/').to_owned(),
        _ if call.method == Method::GET => call.path.clone(),
        _ => format!("{} {}", call.method, call.path),
    };
    if let Some(query) = &call.query {
        name = format!("{name}?{query}");
    }
    if let Some(host) = &call.authority {
        name = format!("{name} at {host}");
    }
    for (header, value) in &call.headers {
        name = format!("{name} with {header}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{GRPCRoute, HTTPRoute, Server, Workload};

    fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn objects() -> Objects {
        let server = |name: &str, protocol: &str| -> Server {
            read(json!({
                "apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server", "metadata": { "name": name },
                "spec": { "podSelector": {}, "port": name, "proxyProtocol": protocol },
            }))
        };
        let port = |name: &str, number: u16| json!({ "name": name, "port": number, "targetPort": name });
        Objects {
            workloads: vec![Workload {
                name: "baz".to_owned(),
                namespace: "default".to_owned(),
                labels: [("app".to_owned(), "baz".to_owned())].into(),
                ports: vec![
                    crate::model::Port { number: 8080, name: Some("http".to_owned()) },
                    crate::model::Port { number: 9090, name: Some("grpc".to_owned()) },
                ],
                ..Workload::default()
            }],
            services: vec![read(json!({
                "metadata": { "name": "baz" },
                "spec": { "selector": { "app": "baz" }, "ports": [port("http", 80), port("grpc", 9090)] },
            }))],
            servers: vec![server("http", "HTTP/1"), server("grpc", "gRPC")],
            ..Objects::default()
        }
    }

    fn names(objects: &Objects, port: &str) -> String {
        let samples = samples(objects, &ClusterInfo::default(), "baz", "default", port).unwrap();
        samples.into_iter().map(|sample| sample.name).collect::<Vec<_>>().join("\n")
    }

    #[expect(clippy::needless_pass_by_value, reason = "calls read better")]
    fn http_route(rules: serde_json::Value) -> HTTPRoute {
        read(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "route" },
            "spec": { "parentRefs": [{ "group": "policy.linkerd.io", "kind": "Server", "name": "http" }], "rules": rules },
        }))
    }

    #[expect(clippy::needless_pass_by_value, reason = "calls read better")]
    fn grpc_route(rules: serde_json::Value) -> GRPCRoute {
        read(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": { "name": "route" },
            "spec": { "parentRefs": [{ "group": "policy.linkerd.io", "kind": "Server", "name": "grpc" }], "rules": rules },
        }))
    }

    #[test]
    fn without_routes_one_request_stands_for_all() {
        assert_eq!(names(&objects(), "http"), "any path");
        assert_eq!(names(&objects(), "grpc"), "any method");
    }

    #[test]
    fn every_match_of_an_http_route_has_a_request_and_so_has_the_rest() {
        let route = http_route(json!([
            { "matches": [
                { "path": { "type": "Exact", "value": "/foo/bar" } },
                { "method": "POST", "path": { "value": "/foo" }, "headers": [{ "name": "x-who", "value": "me" }] },
                { "path": { "type": "RegularExpression", "value": "/any/[0-9]+" } },
                { "path": { "value": "/q" }, "queryParams": [{ "name": "a b", "value": "c" }] },
            ] },
        ]));
        insta::assert_snapshot!(names(&Objects { http_routes: vec![route], ..objects() }, "http"), @r"
        /foo/bar
        POST /foo with x-who: me
        /q?a+b=c
        /
        ");
    }

    #[test]
    fn a_route_for_everything_is_the_rest() {
        let route = http_route(json!([{ "matches": [{ "path": { "value": "/" } }] }]));
        assert_eq!(names(&Objects { http_routes: vec![route], ..objects() }, "http"), "/");
        let route = http_route(json!([{ "matches": [{ "path": { "type": "Exact", "value": "/foo" } }] }]));
        assert_eq!(names(&Objects { http_routes: vec![route], ..objects() }, "http"), "/foo\n/");
    }

    #[test]
    fn every_match_of_a_grpc_route_has_a_method_and_so_has_the_rest() {
        let route = grpc_route(json!([{ "matches": [
            { "method": { "service": "demo.Baz", "method": "GetInfo" } },
            { "method": { "service": "demo.Baz" } },
            { "method": { "service": "grpc.health.v1.Health" } },
        ] }]));
        insta::assert_snapshot!(names(&Objects { grpc_routes: vec![route], ..objects() }, "grpc"), @r"
        demo.Baz/GetInfo
        demo.Baz/Other
        grpc.health.v1.Health/Other
        ");
    }
}
