//! Objects and requests to measure decisions with, compiled with the same optimisation as the engine.
//! `cargo xtask bench policy` keeps the time.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue, Method};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::authz::Client;
use crate::cluster::ClusterInfo;
use crate::inbound::{Inbound, Verdict};
use crate::model::{
    AuthorizationPolicy, AuthorizationPolicySpec, GATEWAY, GRPCMethodMatch, GRPCRoute, GRPCRouteMatch,
    GRPCRouteRule, GRPCRouteSpec, LINKERD, LocalTargetRef, NamespacedTargetRef, Objects, ParentRef, Port,
    Server, ServerSpec, Workload,
};
use crate::route::{Protocol, Request};

/// A workload among others: each with a Server for gRPC, two routes and an authorization of each.
#[derive(Clone, Debug)]
pub struct World {
    /// The policy objects.
    pub objects: Objects,
    inbound: Inbound,
    clients: [String; 2],
    headers: HeaderMap,
}

/// The port that is asked for.
const PORT: u16 = 9090;

impl World {
    /// With so many Servers, one of which concerns the requests.
    pub fn new(servers: usize) -> Self {
        let mut objects = Objects::default();
        for index in 0..servers {
            let name = format!("svc-{index}");
            add(&mut objects, &name, &format!("{name}-allowed"));
        }
        let cluster = ClusterInfo::default();
        let inbound = Inbound::new(&workload("svc-0"), &objects, &cluster);
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        let clients = ["svc-0-allowed", "svc-0-other"].map(|account| cluster.identity(account, "default"));
        Self { objects, inbound, clients, headers }
    }

    /// Makes so many decisions, every other one a refusal; how many were allowed.
    pub fn decide(&self, decisions: u32) -> u32 {
        let mut allowed = 0;
        for number in 0..decisions {
            let client = Client {
                address: IpAddr::V4(Ipv4Addr::new(10, 244, 0, 10)),
                identity: self.clients.get((number % 2) as usize).map(String::as_str),
            };
            let request = Request {
                protocol: Protocol::Grpc,
                method: &Method::POST,
                authority: Some("svc-0.default.svc.cluster.local:9090"),
                path: "/demo.Baz/GetInfo",
                query: None,
                headers: &self.headers,
            };
            let decided = self.inbound.port(PORT).decide(&client, std::hint::black_box(&request));
            allowed += u32::from(decided.verdict == Verdict::Allow);
        }
        allowed
    }
}

/// What the pods of a workload let in on gRPC port 9090: one `ServiceAccount`, on the route of `demo.Baz/GetInfo`.
pub fn guarded(name: &str, service_account: &str) -> Inbound {
    let mut objects = Objects::default();
    add(&mut objects, name, service_account);
    Inbound::new(&workload(name), &objects, &ClusterInfo::default())
}

fn workload(name: &str) -> Workload {
    Workload {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        service_account: name.to_owned(),
        ports: vec![Port { number: PORT, name: Some("grpc".to_owned()) }],
        ..Workload::default()
    }
}

fn add(objects: &mut Objects, name: &str, allowed: &str) {
    let metadata = |name: String| ObjectMeta { name: Some(name), ..ObjectMeta::default() };
    objects.servers.push(Server {
        metadata: metadata(name.to_owned()),
        spec: ServerSpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some([("app".to_owned(), name.to_owned())].into()),
                ..LabelSelector::default()
            }),
            port: IntOrString::String("grpc".to_owned()),
            proxy_protocol: Some("gRPC".to_owned()),
            ..ServerSpec::default()
        },
        ..Server::default()
    });
    for method in ["GetInfo", "Other"] {
        let route = format!("{name}-{}", method.to_lowercase());
        let parent = ParentRef {
            group: Some(LINKERD.to_owned()),
            kind: Some("Server".to_owned()),
            name: name.to_owned(),
            ..ParentRef::default()
        };
        let of_method = GRPCMethodMatch {
            service: Some("demo.Baz".to_owned()),
            method: Some(method.to_owned()),
            ..GRPCMethodMatch::default()
        };
        let rule = GRPCRouteRule {
            matches: Some(vec![GRPCRouteMatch { method: Some(of_method), ..GRPCRouteMatch::default() }]),
            ..GRPCRouteRule::default()
        };
        objects.grpc_routes.push(GRPCRoute {
            metadata: metadata(route.clone()),
            spec: GRPCRouteSpec {
                parent_refs: Some(vec![parent]),
                rules: Some(vec![rule]),
                ..GRPCRouteSpec::default()
            },
            ..GRPCRoute::default()
        });
        let target =
            LocalTargetRef { group: Some(GATEWAY.to_owned()), kind: "GRPCRoute".to_owned(), name: route };
        let account = NamespacedTargetRef {
            kind: "ServiceAccount".to_owned(),
            name: allowed.to_owned(),
            ..NamespacedTargetRef::default()
        };
        objects.authorization_policies.push(AuthorizationPolicy {
            metadata: metadata(format!("{name}-{method}")),
            spec: AuthorizationPolicySpec { target_ref: target, required_authentication_refs: vec![account] },
            ..AuthorizationPolicy::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_request_is_refused_whatever_else_there_is() {
        assert_eq!(World::new(5).decide(100), 50);
        assert_eq!(World::new(500).decide(100), 50);
    }
}
