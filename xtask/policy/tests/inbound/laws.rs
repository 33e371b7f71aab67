//! What holds for all objects and all requests. Each law is tried 256 times, or `PROPTEST_CASES` times.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use policy::authz::Client;
use policy::cluster::ClusterInfo;
use policy::inbound::{Inbound, Step, Trace, Verdict};
use policy::model::Workload;
use policy::route::{Filter, Protocol, Request};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::objects;

/// The ports of the pods, of which the last has no name and no probe.
const PORTS: [u16; 3] = [8080, 9090, 7070];

static PODS: LazyLock<Value> = LazyLock::new(|| {
    json!({"kind": "Deployment", "metadata": {"name": "web", "namespace": "a"}, "spec": {"selector": {}, "template": {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web",
            "ports": [{"name": "http", "containerPort": 8080}, {"name": "grpc", "containerPort": 9090}],
            "livenessProbe": {"httpGet": {"path": "/livez", "port": "http"}},
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9090}}}]}}}})
});

/// A request with whatever in it.
#[derive(Clone, Debug)]
struct Sent {
    identity: Option<String>,
    address: std::net::IpAddr,
    port: u16,
    method: Method,
    authority: Option<String>,
    path: String,
    query: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

fn metadata(names: &'static [&'static str], namespace: &'static str) -> impl Strategy<Value = Value> {
    (select(names), option::of(1u8..3)).prop_map(move |(name, day)| {
        let created = day.map(|day| format!("2024-01-0{day}T00:00:00Z"));
        json!({"name": name, "namespace": namespace, "creationTimestamp": created})
    })
}

fn server(namespace: &'static str) -> impl Strategy<Value = Value> {
    let ports = select(vec![json!(8080), json!("http"), json!("grpc"), json!(7070)]);
    let protocols = select(vec!["unknown", "HTTP/1", "HTTP/2", "gRPC", "gRPC", "opaque", "TLS"]);
    let access = option::of(select(policy::access::ACCESS_POLICIES.to_vec()));
    let selector =
        select(vec![json!({}), json!({"matchLabels": {"app": "web"}}), json!({"matchLabels": {"app": "x"}})]);
    (metadata(&["s0", "s1", "s2"], namespace), ports, protocols, access, selector).prop_map(
        |(metadata, port, protocol, access, selector)| {
            json!({"apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server", "metadata": metadata,
                "spec": {"podSelector": selector, "port": port, "proxyProtocol": protocol, "accessPolicy": access}})
        },
    )
}

fn policy(namespace: &'static str, names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let targets = select(vec![
        json!({"group": "policy.linkerd.io", "kind": "Server", "name": "s0"}),
        json!({"group": "policy.linkerd.io", "kind": "Server", "name": "s1"}),
        json!({"kind": "Namespace", "name": "a"}),
        json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r0"}),
        json!({"group": "policy.linkerd.io", "kind": "HTTPRoute", "name": "r1"}),
        json!({"group": "gateway.networking.k8s.io", "kind": "GRPCRoute", "name": "r0"}),
    ]);
    let references = select(vec![
        json!({"kind": "ServiceAccount", "name": "foo"}),
        json!({"kind": "ServiceAccount", "name": "bar", "namespace": "b"}),
        json!({"group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": "who"}),
        json!({"group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": "who", "namespace": "b"}),
        json!({"group": "policy.linkerd.io", "kind": "NetworkAuthentication", "name": "where"}),
        json!({"group": "policy.linkerd.io", "kind": "NetworkAuthentication", "name": "missing"}),
    ]);
    (metadata(names, namespace), targets, vec(references, 0..3)).prop_map(|(metadata, target, references)| {
        json!({"apiVersion": "policy.linkerd.io/v1alpha1", "kind": "AuthorizationPolicy", "metadata": metadata,
            "spec": {"targetRef": target, "requiredAuthenticationRefs": references}})
    })
}

fn authentication(namespace: &'static str) -> impl Strategy<Value = Value> {
    let identities = select(vec!["*", "*.a.serviceaccount.identity.linkerd.cluster.local", "foo"]);
    let networks = select(vec!["10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "10.1.2.3"]);
    let who = vec(identities, 1..3).prop_map(move |identities| {
        json!({"apiVersion": "policy.linkerd.io/v1alpha1", "kind": "MeshTLSAuthentication",
            "metadata": {"name": "who", "namespace": namespace}, "spec": {"identities": identities}})
    });
    let whence = (networks.clone(), option::of(vec(networks, 1..2))).prop_map(move |(cidr, except)| {
        json!({"apiVersion": "policy.linkerd.io/v1alpha1", "kind": "NetworkAuthentication",
            "metadata": {"name": "where", "namespace": namespace},
            "spec": {"networks": [{"cidr": cidr, "except": except}]}})
    });
    prop_oneof![who, whence]
}

fn parents() -> impl Strategy<Value = Value> {
    let parents = vec(select(vec!["s0", "s1", "s2", "missing"]), 1..3);
    parents.prop_map(|names| {
        let all =
            names.iter().map(|name| json!({"group": "policy.linkerd.io", "kind": "Server", "name": name}));
        all.collect()
    })
}

fn filters() -> impl Strategy<Value = Value> {
    let all = select(vec![
        json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": [{"name": "x", "value": "1"}]}}),
        json!({"type": "RequestRedirect", "requestRedirect": {"port": 81}}),
        json!({"type": "RequestRedirect", "requestRedirect":
            {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}}),
        json!({"type": "RequestMirror", "requestMirror": {}}),
    ]);
    option::weighted(0.3, vec(all, 1..3)).prop_map(Value::from)
}

fn http_route(namespace: &'static str) -> impl Strategy<Value = Value> {
    let paths = select(vec![
        json!({"value": "/"}),
        json!({"value": "/foo/"}),
        json!({"type": "Exact", "value": "/foo/bar"}),
        json!({"type": "RegularExpression", "value": "/foo/.*|/é"}),
        json!({"type": "RegularExpression", "value": "("}),
    ]);
    let headers = option::weighted(0.2, Just(json!([{"name": "x-one", "value": "1"}])));
    let query =
        option::weighted(0.2, Just(json!([{"name": "q", "type": "RegularExpression", "value": ".*"}])));
    let one = (option::of(paths), headers, query, option::weighted(0.2, Just("GET"))).prop_map(
        |(path, headers, query, method)| json!({"path": path, "headers": headers, "queryParams": query, "method": method}),
    );
    let rule = (option::of(vec(one, 1..3)), filters())
        .prop_map(|(matches, filters)| json!({"matches": matches, "filters": filters}));
    let groups = select(vec!["gateway.networking.k8s.io/v1", "policy.linkerd.io/v1beta3"]);
    let hosts = option::weighted(0.2, Just(json!(["foo.example", "*.example"])));
    (metadata(&["r0", "r1"], namespace), groups, parents(), hosts, option::of(vec(rule, 0..3))).prop_map(
        |(metadata, group, parents, hosts, rules)| {
            json!({"apiVersion": group, "kind": "HTTPRoute", "metadata": metadata,
                "spec": {"parentRefs": parents, "hostnames": hosts, "rules": rules}})
        },
    )
}

fn grpc_route(namespace: &'static str) -> impl Strategy<Value = Value> {
    let methods = prop_oneof![
        9 => select(vec![json!({"service": "a.B"}), json!({"service": "a.B", "method": "C"}), json!({"method": "C"})]).prop_map(Some),
        1 => Just(None),
    ];
    let one = methods.prop_map(|method| json!({"method": method}));
    let rule = option::of(vec(one, 1..3)).prop_map(|matches| json!({"matches": matches}));
    (metadata(&["r0", "r1"], namespace), parents(), vec(rule, 0..3)).prop_map(|(metadata, parents, rules)| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": metadata,
            "spec": {"parentRefs": parents, "rules": rules}})
    })
}

fn rate_limit(namespace: &'static str) -> impl Strategy<Value = Value> {
    (metadata(&["l0", "l1"], namespace), select(vec!["s0", "s1"]), 0u8..3).prop_map(|(metadata, server, rate)| {
        json!({"apiVersion": "policy.linkerd.io/v1alpha1", "kind": "HTTPLocalRateLimitPolicy", "metadata": metadata,
            "spec": {"targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": server},
                "total": {"requestsPerSecond": rate}}})
    })
}

/// Objects of the pods' namespace and authentications of another, each but once.
fn world() -> impl Strategy<Value = Vec<Value>> {
    let object = prop_oneof![
        3 => server("a"),
        3 => policy("a", &["p0", "p1", "p2"]),
        2 => prop_oneof![authentication("a"), authentication("b")],
        2 => http_route("a"),
        1 => grpc_route("a"),
        1 => rate_limit("a"),
    ];
    vec(object, 0..14).prop_map(once)
}

fn once(objects: Vec<Value>) -> Vec<Value> {
    let mut known = BTreeSet::new();
    let key = |own: &Value| {
        let metadata = &own["metadata"];
        let group = own["apiVersion"].as_str().and_then(|api| api.split('/').next()).map(str::to_owned);
        (group, own["kind"].to_string(), metadata["namespace"].to_string(), metadata["name"].to_string())
    };
    objects.into_iter().filter(|own| known.insert(key(own))).collect()
}

fn sent() -> impl Strategy<Value = Sent> {
    let paths = prop_oneof![
        select(vec!["/", "/foo", "/foo/bar", "/livez", "/a.B/C", "/a.B/D"]).prop_map(str::to_owned),
        "(/|[a-zé%]|\\PC){0,12}",
    ];
    let authorities = prop_oneof![
        select(vec!["foo.example", "a.example:80", "[::1]:1", "x@y:z", ".example", ":", "@"])
            .prop_map(str::to_owned),
        "\\PC{0,12}",
    ];
    let methods = prop_oneof![Just("GET".to_owned()), Just("POST".to_owned()), "[A-Z!#a-z]{1,8}"];
    let headers = (select(vec!["x-one", "x-two", "host"]), vec(32u8..255, 0..6))
        .prop_filter_map("a value", |(name, value)| {
            Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(&value).ok()?))
        });
    let account = ClusterInfo::default().identity("foo", "a");
    let identities = option::of(prop_oneof![Just(account), Just("foo".to_owned()), "\\PC{0,12}"]);
    let addresses = prop_oneof![
        select(vec!["10.1.2.3", "8.8.8.8", "127.0.0.1", "fd00::1"]).prop_map(|text| text.parse().unwrap()),
        any::<std::net::IpAddr>(),
    ];
    let query = option::of("(q=|&|%|[0-9a-f+]|\\PC){0,12}");
    (
        identities,
        addresses,
        select(PORTS.to_vec()),
        methods,
        option::of(authorities),
        paths,
        query,
        vec(headers, 0..3),
    )
        .prop_map(|(identity, address, port, method, authority, path, query, headers)| {
            let method = method.parse().unwrap();
            Sent { identity, address, port, method, authority, path, query, headers }
        })
}

fn inbound(world: &[Value]) -> Inbound {
    let all: Vec<_> = world.iter().chain([&*PODS]).cloned().collect();
    let objects = objects(&all);
    let pods: &Workload = &objects.workloads[0];
    Inbound::new(pods, &objects, &ClusterInfo::default())
}

/// What is asked of a port: a request or, if `bytes`, a connection.
fn with<T>(sent: &Sent, run: impl FnOnce(&Client<'_>, &Request<'_>) -> T) -> T {
    let headers: HeaderMap = sent.headers.iter().cloned().collect();
    let client = Client { address: sent.address, identity: sent.identity.as_deref() };
    let request = Request {
        protocol: Protocol::Http2,
        method: &sent.method,
        authority: sent.authority.as_deref(),
        path: &sent.path,
        query: sent.query.as_deref(),
        headers: &headers,
    };
    run(&client, &request)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_more_authorization_never_refuses_more(
        world in world(), added in policy("a", &["added"]), sent in sent(), bytes in any::<bool>(),
    ) {
        let before = inbound(&world);
        let after = inbound(&[world, vec![added]].concat());
        let verdict = |of: &Inbound| with(&sent, |client, request| {
            let port = of.port(sent.port);
            let verdict = if bytes { port.decide_connection(client) } else { port.decide(client, request) };
            (verdict.verdict, verdict.labels.server.clone(), verdict.labels.route.clone())
        });
        let ((was, server, route), (is, same_server, same_route)) = (verdict(&before), verdict(&after));
        prop_assert_eq!((server, route), (same_server, same_route));
        match was {
            Verdict::Allow | Verdict::NoRoute => prop_assert_eq!(is, was),
            Verdict::Audit => prop_assert!(matches!(is, Verdict::Audit | Verdict::Allow)),
            Verdict::Deny => prop_assert_ne!(is, Verdict::NoRoute),
        }
    }

    #[test]
    fn the_order_of_objects_never_matters((world, other) in world().prop_flat_map(|world| {
        (Just(world.clone()), Just(world).prop_shuffle())
    })) {
        let (one, two) = (inbound(&world), inbound(&other));
        prop_assert!(one.ports().eq(two.ports()));
        prop_assert!(PORTS.iter().chain([&1234]).all(|port| one.port(*port) == two.port(*port)));
        prop_assert_eq!(one.ignored, two.ignored);
        prop_assert_eq!(one.conflicts, two.conflicts);
    }

    #[test]
    fn the_last_step_of_a_trace_is_the_verdict(world in world(), sent in sent(), bytes in any::<bool>()) {
        let inbound = inbound(&world);
        let port = inbound.port(sent.port);
        with(&sent, |client, request| {
            let (decided, (traced, trace)) = if bytes {
                (port.decide_connection(client), Trace::of_connection(port, client))
            } else {
                (port.decide(client, request), Trace::of_request(port, client, request))
            };
            prop_assert_eq!(decided.verdict, traced.verdict);
            prop_assert_eq!(decided.labels, traced.labels);
            prop_assert_eq!(decided.filters, traced.filters);
            let steps = trace.steps.as_slice();
            let permits = steps.iter().filter(|step| matches!(step, Step::Permits { .. })).count();
            match (decided.verdict, steps.last()) {
                (Verdict::NoRoute, Some(Step::NoRoute)) | (Verdict::Deny, Some(Step::Denied)) => prop_assert_eq!(permits, 0),
                (Verdict::Allow | Verdict::Audit, Some(Step::Permits { authorization })) => {
                    prop_assert_eq!(Some(authorization), decided.labels.authz.as_ref());
                    prop_assert_eq!(authorization.is_audit(), decided.verdict == Verdict::Audit);
                    prop_assert_eq!(permits, 1);
                }
                (verdict, last) => prop_assert!(false, "{verdict:?} and {last:?}"),
            }
            let route = steps.iter().find_map(|step| match step {
                Step::Route { route, .. } => Some(route),
                _ => None,
            });
            prop_assert_eq!(route, decided.labels.route.as_ref());
            Ok(())
        })?;
    }

    #[test]
    fn what_is_elsewhere_does_not_matter(
        world in world(),
        elsewhere in vec(prop_oneof![
            server("b"), policy("b", &["p0", "p3"]), http_route("b"), grpc_route("b"), rate_limit("b"),
        ], 0..6),
        other_port in select(vec![json!(1234), json!("none")]),
        sent in sent(),
    ) {
        let mut more = [world.clone(), once(elsewhere)].concat();
        more.push(json!({"apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server",
            "metadata": {"name": "another", "namespace": "a"}, "spec": {"podSelector": {}, "port": other_port}}));
        let (one, two) = (inbound(&world), inbound(&more));
        prop_assert_eq!(one.port(sent.port), two.port(sent.port));
    }

    #[test]
    fn no_request_makes_it_panic(world in world(), sent in sent()) {
        let inbound = inbound(&world);
        with(&sent, |client, request| {
            let verdict = inbound.port(sent.port).decide(client, request);
            let mut headers = request.headers.clone();
            for filter in verdict.filters {
                match filter {
                    Filter::RequestHeaders(edit) | Filter::ResponseHeaders(edit) => edit.apply(&mut headers),
                    Filter::Redirect(redirect) => drop(redirect.apply(request, verdict.path)),
                }
            }
        });
    }
}
