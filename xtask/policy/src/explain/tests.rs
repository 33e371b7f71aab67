use serde_json::{Value, json};

use super::*;
use crate::model::Workload;

/// baz behind a Server for gRPC that denies, with foo let in on the whole and bar on one method.
fn objects() -> Objects {
    let metadata = |name: &str| json!({ "name": name });
    let deployment: k8s_openapi::api::apps::v1::Deployment = read(json!({
        "metadata": metadata("baz"),
        "spec": { "selector": {}, "template": {
            "metadata": { "labels": { "app": "baz" }, "annotations": { "linkerd.io/inject": "enabled" } },
            "spec": { "serviceAccountName": "baz", "containers": [{ "name": "baz", "ports": [
                { "name": "http", "containerPort": 8080 }, { "name": "grpc", "containerPort": 9090 },
            ] }] },
        } },
    }));
    let authentication = |name: &str, account: &str| {
        read(json!({
            "apiVersion": "policy.linkerd.io/v1alpha1", "kind": "MeshTLSAuthentication", "metadata": metadata(name),
            "spec": { "identityRefs": [{ "kind": "ServiceAccount", "name": account }] },
        }))
    };
    let authorization = |name: &str, group: &str, kind: &str, target: &str, by: &str| {
        read(json!({
            "apiVersion": "policy.linkerd.io/v1alpha1", "kind": "AuthorizationPolicy", "metadata": metadata(name),
            "spec": {
                "targetRef": { "group": group, "kind": kind, "name": target },
                "requiredAuthenticationRefs": [{ "group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": by }],
            },
        }))
    };
    Objects {
        workloads: vec![Workload::of(&deployment)],
        services: vec![read(json!({
            "metadata": metadata("baz"),
            "spec": { "selector": { "app": "baz" }, "ports": [
                { "name": "http", "port": 80, "targetPort": "http" }, { "name": "grpc", "port": 9090, "targetPort": "grpc" },
            ] },
        }))],
        servers: vec![read(json!({
            "apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server", "metadata": metadata("baz-grpc"),
            "spec": { "podSelector": { "matchLabels": { "app": "baz" } }, "port": "grpc", "proxyProtocol": "gRPC" },
        }))],
        grpc_routes: vec![read(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": metadata("baz-getinfo"),
            "spec": {
                "parentRefs": [{ "group": "policy.linkerd.io", "kind": "Server", "name": "baz-grpc" }],
                "rules": [{ "matches": [{ "method": { "service": "demo.Baz", "method": "GetInfo" } }] }],
            },
        }))],
        mesh_tls_authentications: vec![authentication("foo", "foo"), authentication("bar", "bar")],
        authorization_policies: vec![
            authorization("baz-grpc-foo", "policy.linkerd.io", "Server", "baz-grpc", "foo"),
            authorization("baz-getinfo-bar", "gateway.networking.k8s.io", "GRPCRoute", "baz-getinfo", "bar"),
        ],
        ..Objects::default()
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn told(caller: &Caller, call: &Call) -> String {
    let explanation = explain(&objects(), &ClusterInfo::default(), caller, call).unwrap();
    let chain: Vec<_> = explanation.chain.iter().map(ToString::to_string).collect();
    chain.join("\n")
}

#[test]
fn an_allowed_call_is_followed_from_the_service_to_the_authorization() {
    let call = Call::grpc("baz", "default", Some("grpc"), "demo.Baz/GetInfo");
    insta::assert_snapshot!(told(&Caller::meshed("bar", "default"), &call), @"
    client         bar of namespace default, meshed, from 10.244.0.10
    request        gRPC POST /demo.Baz/GetInfo
    service        Service baz port grpc (9090) leads to Deployment baz, port 9090
    server         Server baz-grpc selects it (gRPC)
    route          GRPCRoute baz-getinfo takes it (rule 1)
    authorization  AuthorizationPolicy baz-getinfo-bar lets the client in
    answer         allow: grpc-status 0
    ");
}

#[test]
fn a_refused_call_says_what_each_authorization_lacked() {
    let call = Call::grpc("baz", "default", None, "demo.Baz/GetInfo");
    insta::assert_snapshot!(told(&Caller::meshed("synthetic", "default"), &call), @"
    client         synthetic of namespace default, meshed, from 10.244.0.10
    request        gRPC POST /demo.Baz/GetInfo
    service        Service baz port grpc (9090) leads to Deployment baz, port 9090
    server         Server baz-grpc selects it (gRPC)
    route          GRPCRoute baz-getinfo takes it (rule 1)
    authorization  AuthorizationPolicy baz-getinfo-bar does not: synthetic.default.serviceaccount.identity.linkerd.cluster.local is not bar.default.serviceaccount.identity.linkerd.cluster.local
    authorization  AuthorizationPolicy baz-grpc-foo does not: synthetic.default.serviceaccount.identity.linkerd.cluster.local is not foo.default.serviceaccount.identity.linkerd.cluster.local
    authorization  no authorization lets the client in
    answer         deny: grpc-status 7
    ");
}

#[test]
fn what_no_route_takes_is_refused_to_all() {
    let call = Call::grpc("baz", "default", Some("9090"), "demo.Baz/Other");
    insta::assert_snapshot!(told(&Caller::meshed("foo", "default"), &call), @"
    client         foo of namespace default, meshed, from 10.244.0.10
    request        gRPC POST /demo.Baz/Other
    service        Service baz port grpc (9090) leads to Deployment baz, port 9090
    server         Server baz-grpc selects it (gRPC)
    route          GRPCRoute baz-getinfo does not match
    route          no route takes it, and then nobody is let in, authorized or not
    answer         no-route: grpc-status 5
    ");
}

#[test]
fn a_port_without_a_server_has_the_default_policy() {
    let call = Call::http("baz", "default", Some("http"), "/foo/bar?who=bar");
    insta::assert_snapshot!(told(&Caller::unmeshed(), &call), @"
    client         a client without a sidecar, from 10.244.0.10
    request        HTTP/1 GET /foo/bar?who=bar
    service        Service baz port http (80) leads to Deployment baz, port 8080
    server         no Server selects it: the default policy all-unauthenticated applies
    route          the default route takes every request
    authorization  the access policy all-unauthenticated lets the client in
    answer         allow: HTTP 200
    ");
}

#[test]
fn http_without_a_sidecar_gets_no_answer_from_a_grpc_port() {
    let call = Call::http("baz", "default", Some("grpc"), "/");
    insta::assert_snapshot!(told(&Caller::unmeshed(), &call), @"
    client         a client without a sidecar, from 10.244.0.10
    request        HTTP/1 GET /
    service        Service baz port grpc (9090) leads to Deployment baz, port 9090
    server         Server baz-grpc selects it (gRPC)
    server         no answer: the port is served as HTTP/2 only, and the client speaks HTTP/1 without a sidecar
    answer         deny: the connection is closed
    ");
}

#[test]
fn a_route_of_the_service_is_followed_to_its_backend_and_decided_there() {
    let mut objects = objects();
    let route = |method: &str, backend: Value| -> crate::model::GRPCRoute {
        read(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute",
            "metadata": { "name": format!("out-{}", method.to_lowercase()), "namespace": "default" },
            "spec": {
                "parentRefs": [{ "group": "", "kind": "Service", "name": "baz", "port": 9090 }],
                "rules": [{
                    "matches": [{ "method": { "service": "demo.Baz", "method": method } }], "backendRefs": [backend],
                }],
            },
        }))
    };
    objects.grpc_routes.push(route("GetInfo", json!({ "name": "baz", "port": 9090 })));
    objects.grpc_routes.push(route("Gone", json!({ "name": "nowhere", "port": 9090 })));
    let told = |method: &str| {
        let call = Call::grpc("baz", "default", Some("grpc"), method);
        let explanation =
            explain(&objects, &ClusterInfo::default(), &Caller::meshed("bar", "default"), &call).unwrap();
        explanation.chain.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(told("demo.Baz/GetInfo"), @"
    client         bar of namespace default, meshed, from 10.244.0.10
    request        gRPC POST /demo.Baz/GetInfo
    outbound       GRPCRoute.default.out-gone does not match
    outbound       GRPCRoute.default.out-getinfo takes it (rule 1)
    outbound       100 % go to Service.default.baz:9090
    service        Service baz port grpc (9090) leads to Deployment baz, port 9090
    server         Server baz-grpc selects it (gRPC)
    route          GRPCRoute baz-getinfo takes it (rule 1)
    authorization  AuthorizationPolicy baz-getinfo-bar lets the client in
    answer         allow: grpc-status 0
    ");
    insta::assert_snapshot!(told("demo.Baz/Gone"), @"
    client         bar of namespace default, meshed, from 10.244.0.10
    request        gRPC POST /demo.Baz/Gone
    outbound       GRPCRoute.default.out-getinfo does not match
    outbound       GRPCRoute.default.out-gone takes it (rule 1)
    outbound       100 % go nowhere: Service not found nowhere
    answer         no-route: grpc-status 2
    ");
    insta::assert_snapshot!(told("demo.Baz/Other"), @"
    client         bar of namespace default, meshed, from 10.244.0.10
    request        gRPC POST /demo.Baz/Other
    outbound       GRPCRoute.default.out-getinfo does not match
    outbound       GRPCRoute.default.out-gone does not match
    outbound       no route of the Service takes it, so it does not leave the client's sidecar
    answer         no-route: grpc-status 5
    ");
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let unanswered = |service: &str, port: Option<&str>| {
        let call = Call::http(service, "default", port, "/");
        explain(&objects(), &ClusterInfo::default(), &Caller::unmeshed(), &call).unwrap_err().to_string()
    };
    insta::assert_snapshot!(unanswered("bax", None), @"there is no Service bax in namespace default (known: baz)");
    insta::assert_snapshot!(unanswered("baz", Some("8080")), @"Service baz has no port 8080 (known: http (80), grpc (9090))");
}
