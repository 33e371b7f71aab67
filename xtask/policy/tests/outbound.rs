//! The cases of `outbound/cases.yaml`, and laws of outbound policies.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::{HeaderMap, Method};
use k8s_openapi::api::core::v1::Service;
use policy::cluster::ClusterInfo;
use policy::inbound::Ignored;
use policy::model::{GRPCRoute, HTTPRoute, Named as _, Objects};
use policy::outbound::{Broken, RetryOn, ServicePolicy, ServicePort, Target, Timeouts, Trace, Verdict};
use policy::route::{Protocol, Request};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Table {
    services: Vec<ServiceOf>,
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceOf {
    name: String,
    ports: Vec<Value>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "group")]
    name: String,
    why: String,
    objects: Vec<Value>,
    calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(rename = "call")]
    text: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    from: Option<String>,
    is: String,
    serves: Option<String>,
    why: Option<String>,
}

static TABLE: LazyLock<Table> =
    LazyLock::new(|| serde_saphyr::from_str(include_str!("outbound/cases.yaml")).unwrap());

/// The objects of each group, in order.
static OBJECTS: LazyLock<Vec<Objects>> =
    LazyLock::new(|| TABLE.groups.iter().map(|group| objects(&TABLE, group)).collect());

fn policy(objects: &Objects, from: &str, service: &ServicePort) -> Option<ServicePolicy> {
    ServicePolicy::new(objects, &ClusterInfo::default(), from, service)
}

fn objects(table: &Table, group: &Group) -> Objects {
    let services = table.services.iter().map(|own| {
        let (name, namespace) = own.name.split_once('.').unwrap();
        let spec = json!({"ports": own.ports, "clusterIP": own.cluster_ip, "type": own.kind});
        let metadata = json!({"name": name, "namespace": namespace, "annotations": own.annotations});
        serde_json::from_value::<Service>(json!({"metadata": metadata, "spec": spec})).unwrap()
    });
    let mut objects = Objects { services: services.collect(), ..Objects::default() };
    for object in &group.objects {
        match object["kind"].as_str() {
            Some("HTTPRoute") => {
                objects.http_routes.push(serde_json::from_value::<HTTPRoute>(object.clone()).unwrap());
            }
            Some("GRPCRoute") => {
                objects.grpc_routes.push(serde_json::from_value::<GRPCRoute>(object.clone()).unwrap());
            }
            other => panic!("{other:?} in {}", group.name),
        }
    }
    objects
}

/// A request, taken apart.
struct Asked {
    service: ServicePort,
    protocol: Protocol,
    method: Method,
    path: String,
    query: Option<String>,
    authority: String,
    headers: HeaderMap,
}

impl Asked {
    fn of(call: &Call) -> Self {
        let mut words = call.text.split(' ');
        let method = words.next().unwrap().parse().unwrap();
        let (protocol, target) = match (words.next().unwrap(), words.next()) {
            ("h2", Some(target)) => (Protocol::Http2, target),
            ("grpc", Some(target)) => (Protocol::Grpc, target),
            (target, None) => (Protocol::Http1, target),
            other => panic!("{other:?}"),
        };
        let (host, rest) = target.split_once(':').unwrap();
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
        let (port, path) = rest.split_at(digits);
        let (name, namespace) = host.split_once('.').unwrap();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut headers = HeaderMap::new();
        for (name, value) in &call.headers {
            headers.insert(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
        }
        let host = headers.remove("host").map(|host| host.to_str().unwrap().to_owned());
        Self {
            service: ServicePort::new(namespace, name, port.parse().unwrap()),
            protocol,
            method,
            path: path.to_owned(),
            query: query.map(str::to_owned),
            authority: host.unwrap_or_else(|| name.to_owned()),
            headers,
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            protocol: self.protocol,
            method: &self.method,
            authority: Some(&self.authority),
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        }
    }
}

fn shown(verdict: &Verdict<'_>) -> String {
    let rule = |matched: &policy::outbound::Matched<'_>| {
        let route = if matched.route.is_default() { "default.http" } else { &matched.route.name };
        format!("{route}/{}", matched.rule + 1)
    };
    match verdict {
        Verdict::Forward(matched) => {
            let backends = &matched.traffic.backends;
            let shares = backends.iter().zip(backends.shares()).map(|(own, share)| {
                let share = format!("{}%", (share * 100.0).round());
                match &own.target {
                    Target::Service(ServicePort { namespace, name, port }) => {
                        format!("{name}.{namespace}:{port} {share}")
                    }
                    Target::Missing(failure) => {
                        format!("({}: {}/{}) {share}", failure.message, failure.http, failure.grpc)
                    }
                }
            });
            let shares: Vec<_> = shares.collect();
            format!("{} -> {}{}", rule(matched), shares.join(", "), settings(matched.traffic))
        }
        Verdict::Redirect(matched, redirection) => {
            format!("{} => {} {}", rule(matched), redirection.status.as_u16(), redirection.location)
        }
        Verdict::InvalidRedirect(matched, error) => format!("{} invalid redirect: {error}", rule(matched)),
        Verdict::BackendMissing(matched, failure) => {
            format!("{} missing: {} ({}/{})", rule(matched), failure.message, failure.http, failure.grpc)
        }
        Verdict::NoRoute => "no route".to_owned(),
        Verdict::Broken(Broken::Unreadable(_)) => "unreadable".to_owned(),
        Verdict::Broken(Broken::Fatal(_)) => "fatal".to_owned(),
    }
}

fn settings(traffic: &policy::outbound::RuleTraffic) -> String {
    let Timeouts { request, response, idle } = traffic.timeouts;
    let named = [("request", request), ("response", response), ("idle", idle)];
    let timeouts = named.into_iter().filter_map(|(name, limit)| Some(format!("{name} {:?}", limit?)));
    let retries = traffic.retry.iter().map(|retry| {
        let kind = if matches!(retry.on, RetryOn::Http(_)) { "http" } else { "grpc" };
        format!("{kind} retries {}", retry.limit)
    });
    let all: Vec<_> = timeouts.chain(retries).collect();
    if all.is_empty() { String::new() } else { format!(" [{}]", all.join(", ")) }
}

#[test]
fn every_case_is_decided_as_linkerd_does() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for (group, objects) in TABLE.groups.iter().zip(OBJECTS.iter()) {
        for call in &group.calls {
            count += 1;
            let asked = Asked::of(call);
            let policy = policy(objects, call.from.as_deref().unwrap_or("default"), &asked.service).unwrap();
            let (verdict, trace) = Trace::of_request(&policy, &asked.request());
            let (is, serves) = (shown(&verdict), format!("{:?}", policy.protocol));
            let what = format!("{} | {}", group.name, call.text);
            let why = call.why.as_ref().unwrap_or(&group.why);
            if is != call.is {
                wrong.push(format!("{what}\n  is     {is}\n  wanted {}\n  {why}", call.is));
            }
            if call.serves.as_ref().is_some_and(|wanted| *wanted != serves) {
                wrong.push(format!("{what}\n  served as {serves}\n  {why}"));
            }
            assert_eq!(shown(&policy.decide(&asked.request())), is, "the chain ends in the verdict");
            assert!(!trace.steps.is_empty(), "{what}");
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 60, "{count}");
}

#[test]
fn a_service_or_port_that_there_is_not_has_no_policy() {
    for service in [ServicePort::new("default", "nobody", 80), ServicePort::new("default", "baz", 81)] {
        assert!(policy(&OBJECTS[0], "default", &service).is_none());
    }
}

#[test]
fn what_has_no_effect_is_named_with_its_reason() {
    let mut reasons = Vec::new();
    for objects in OBJECTS.iter() {
        for own in &objects.services {
            for port in own.spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
                let port = u16::try_from(port.port).unwrap();
                let service = ServicePort::new(own.namespace(), own.name(), port);
                let ignored = policy(objects, "default", &service).unwrap().ignored;
                let named = |own: Ignored| format!("{} {} for {service}: {}", own.kind, own.name, own.reason);
                reasons.extend(ignored.into_iter().map(named));
            }
        }
    }
    reasons.sort();
    reasons.dedup();
    insta::assert_snapshot!(reasons.join("\n"), @r#"
GRPCRoute calls for Service.default.protocols:3306: by the port's appProtocol or the Service's opaque ports it is not HTTP/2
GRPCRoute calls for Service.default.protocols:80: by the port's appProtocol or the Service's opaque ports it is not HTTP/2
GRPCRoute calls for Service.default.protocols:82: by the port's appProtocol or the Service's opaque ports it is not HTTP/2
GRPCRoute calls for Service.default.protocols:83: by the port's appProtocol or the Service's opaque ports it is not HTTP/2
GRPCRoute pattern for Service.default.baz:9090: Linkerd takes no regular expression for a gRPC method
HTTPRoute a for Service.default.elsewhere:80: Service elsewhere has no cluster IP: it takes no routes
HTTPRoute a for Service.default.headless:80: Service headless has no cluster IP: it takes no routes
HTTPRoute mirror for Service.default.baz:80: Linkerd has no RequestMirror filter
HTTPRoute pages for Service.default.baz-v1:80: GRPCRoute far has the same parent, Service baz-v1: HTTPRoutes are in conflict with it
HTTPRoute pages for Service.default.baz:9090: the port has GRPCRoutes
HTTPRoute pages for Service.default.protocols:82: by the port's appProtocol or the Service's opaque ports it is not HTTP
HTTPRoute soon for Service.default.baz:80: annotation timeout.linkerd.io/request: "soon" is not a duration: a whole number and a unit (ms, s, m, h, d), e.g. 500ms
Service mistaken for Service.default.mistaken:80: annotation timeout.linkerd.io/request: "soon" is not a duration: a whole number and a unit (ms, s, m, h, d), e.g. 500ms
"#);
}

proptest! {
    /// The order of objects never matters.
    #[test]
    fn the_order_of_objects_never_matters(index in 0..TABLE.groups.len(), seed in any::<u64>()) {
        let sorted = &OBJECTS[index];
        let mut shuffled = sorted.clone();
        shuffle(&mut shuffled.http_routes, seed);
        shuffle(&mut shuffled.grpc_routes, seed >> 7);
        shuffle(&mut shuffled.services, seed >> 13);
        for call in &TABLE.groups[index].calls {
            let asked = Asked::of(call);
            for from in ["default", "other", "far"] {
                let of = |objects| policy(objects, from, &asked.service);
                prop_assert_eq!(of(sorted), of(&shuffled));
            }
        }
    }

    /// Every request gets a verdict, and no request makes the engine panic.
    #[test]
    fn every_request_is_decided(
        index in 0..TABLE.groups.len(),
        path in "[/a-z?%.*]{0,20}",
        host in ".{0,20}",
        method in "[A-Z]{1,7}",
    ) {
        let (path, query) = path.split_once('?').map_or((path.as_str(), None), |(p, q)| (p, Some(q)));
        let request = Request {
            protocol: Protocol::Http1,
            method: &method.parse().unwrap(),
            authority: Some(&host),
            path,
            query,
            headers: &HeaderMap::new(),
        };
        for port in [80, 9090] {
            let policy = policy(&OBJECTS[index], "default", &ServicePort::new("default", "baz", port));
            let policy = policy.unwrap();
            prop_assert_eq!(shown(&policy.decide(&request)), shown(&Trace::of_request(&policy, &request).0));
        }
    }
}

/// Another order, the same for the same seed.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for index in (1..items.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        items.swap(index, usize::try_from(state >> 33).unwrap_or_default() % (index + 1));
    }
}
