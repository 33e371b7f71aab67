//! The findings one by one are shown where people read them, in the command's tests. Here: what holds of all.

use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;
use crate::model::{GRPCRoute, Port};

fn read<T: DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn server(name: &str, port: &str) -> Server {
    read(json!({
        "apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server", "metadata": { "name": name },
        "spec": { "podSelector": { "matchLabels": { "app": "web" } }, "port": port, "proxyProtocol": "gRPC" },
    }))
}

fn route(name: &str, method: Option<&str>) -> GRPCRoute {
    let rule = match method {
        Some(method) => json!({ "matches": [{ "method": { "service": "shop.Items", "method": method } }] }),
        None => json!({}),
    };
    read(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": { "name": name },
        "spec": {
            "parentRefs": [{ "group": "policy.linkerd.io", "kind": "Server", "name": "grpc" }],
            "rules": [rule],
        },
    }))
}

/// Two Servers on one port, two routes that are the same, one without matches, an authorization of nobody.
fn objects() -> Objects {
    let workload = Workload {
        name: "web".to_owned(),
        namespace: "default".to_owned(),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        annotations: [("linkerd.io/inject".to_owned(), "enabled".to_owned())].into(),
        service_account: "web".to_owned(),
        ports: vec![Port { number: 9090, name: Some("grpc".to_owned()) }],
        numbers: [9090].into(),
        grpc_probes: [9090].into(),
        ..Workload::default()
    };
    Objects {
        workloads: vec![workload],
        services: vec![read(json!({
            "metadata": { "name": "web" },
            "spec": { "selector": { "app": "web" }, "ports": [{ "name": "grpc", "port": 9090 }] },
        }))],
        service_accounts: vec![read(json!({ "metadata": { "name": "web" } }))],
        servers: vec![server("grpc", "grpc"), server("grpc-too", "grpc"), server("nothing", "http")],
        grpc_routes: vec![route("a", Some("List")), route("b", Some("List")), route("c", None)],
        authorization_policies: vec![read(json!({
            "apiVersion": "policy.linkerd.io/v1alpha1", "kind": "AuthorizationPolicy",
            "metadata": { "name": "web" },
            "spec": {
                "targetRef": { "group": "policy.linkerd.io", "kind": "Server", "name": "gprc" },
                "requiredAuthenticationRefs": [{ "kind": "ServiceAccount", "name": "wbe" }],
            },
        }))],
        ..Objects::default()
    }
}

fn uses() -> Vec<Use> {
    vec![Use {
        account: Some(("web".to_owned(), "default".to_owned())),
        service: "web".to_owned(),
        namespace: "default".to_owned(),
        port: "grpc".to_owned(),
        because: "a test".to_owned(),
        call: None,
    }]
}

fn found(objects: &Objects) -> Vec<Finding> {
    check(objects, &ClusterInfo::default(), &uses())
}

#[test]
fn each_trap_is_found_once() {
    let rules: Vec<_> = found(&objects())
        .iter()
        .map(|found| format!("{} {} {}", found.object, found.field, found.rule))
        .collect();
    insta::assert_snapshot!(rules.join("\n"), @"
    GRPCRoute b spec.rules[0].matches[0] shadowed
    GRPCRoute c spec.rules[0] no-matches
    AuthorizationPolicy web spec.requiredAuthenticationRefs[0].name unknown-identity
    AuthorizationPolicy web spec.targetRef.name unknown-target
    Server grpc metadata.name unauthorized-use
    Server grpc spec.port probe-blocked
    Server grpc-too spec.port two-servers
    Server nothing spec.port unknown-port
    ");
}

#[test]
fn the_order_of_objects_does_not_matter() {
    let forward = objects();
    let mut backward = objects();
    backward.servers.reverse();
    backward.grpc_routes.reverse();
    assert_eq!(found(&forward), found(&backward));
}

#[test]
fn what_was_observed_is_held_against_the_policies_as_it_was() {
    let call = |path: &str| {
        let seen = SeenCall { grpc: true, method: "POST".to_owned(), path: path.to_owned() };
        let uses = [Use { call: Some(Box::new(seen)), ..uses().remove(0) }];
        let mut objects = objects();
        objects.authorization_policies = vec![read(json!({
            "apiVersion": "policy.linkerd.io/v1alpha1", "kind": "AuthorizationPolicy",
            "metadata": { "name": "web" },
            "spec": {
                "targetRef": { "group": "gateway.networking.k8s.io", "kind": "GRPCRoute", "name": "a" },
                "requiredAuthenticationRefs": [{ "kind": "ServiceAccount", "name": "web" }],
            },
        }))];
        let found = check(&objects, &ClusterInfo::default(), &uses);
        found.iter().any(|found| found.rule == "unauthorized-use")
    };
    assert!(!call("/shop.Items/List"), "the route of this method is authorized");
    assert!(call("/shop.Items/Add"), "no route but the one for everything takes this");
}
