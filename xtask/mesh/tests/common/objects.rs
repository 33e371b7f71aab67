//! Policies for the tests: the smallest objects that say what is meant.

use std::sync::Arc;

use policy::cluster::ClusterInfo;
use policy::inbound::Inbound;
use policy::model::Objects;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::pod;

/// The policies of a pod, to be changed by the test.
pub struct Policies {
    pod: policy::model::Workload,
    sender: watch::Sender<Arc<Inbound>>,
}

impl Policies {
    /// Those of the pods of this name.
    pub fn of(name: &str, objects: &[Value]) -> Self {
        Self::of_pod(pod(name), objects)
    }

    pub fn of_pod(pod: policy::model::Workload, objects: &[Value]) -> Self {
        let inbound = Inbound::new(&pod, &read(objects), &ClusterInfo::default());
        Self { pod, sender: watch::Sender::new(Arc::new(inbound)) }
    }

    pub fn watch(&self) -> watch::Receiver<Arc<Inbound>> {
        self.sender.subscribe()
    }

    /// These objects instead.
    pub fn set(&self, objects: &[Value]) {
        let inbound = Inbound::new(&self.pod, &read(objects), &ClusterInfo::default());
        assert!(inbound.ignored.is_empty(), "{:?}", inbound.ignored);
        self.sender.send_replace(Arc::new(inbound));
    }
}

fn read(values: &[Value]) -> Objects {
    let mut objects = Objects::default();
    for value in values.iter().cloned() {
        match value["kind"].as_str().unwrap() {
            "Server" => objects.servers.push(serde_json::from_value(value).unwrap()),
            "AuthorizationPolicy" => {
                objects.authorization_policies.push(serde_json::from_value(value).unwrap());
            }
            "MeshTLSAuthentication" => {
                objects.mesh_tls_authentications.push(serde_json::from_value(value).unwrap());
            }
            "NetworkAuthentication" => {
                objects.network_authentications.push(serde_json::from_value(value).unwrap());
            }
            "HTTPRoute" => objects.http_routes.push(serde_json::from_value(value).unwrap()),
            "GRPCRoute" => objects.grpc_routes.push(serde_json::from_value(value).unwrap()),
            "HTTPLocalRateLimitPolicy" => objects.rate_limits.push(serde_json::from_value(value).unwrap()),
            kind => panic!("{kind}"),
        }
    }
    objects
}

const GATEWAY: &str = "gateway.networking.k8s.io";
const LINKERD: &str = "policy.linkerd.io";

fn object(api_version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

/// The Server `bar` on the port `http` of the pods bar.
pub fn server(protocol: &str, access: &str) -> Value {
    let selector = json!({"matchLabels": {"app": "bar"}});
    let spec = json!({
        "podSelector": selector, "port": "http", "proxyProtocol": protocol, "accessPolicy": access
    });
    object("policy.linkerd.io/v1beta3", "Server", "bar", &spec)
}

/// A route of that Server.
pub fn route(kind: &str, name: &str, rule: &Value) -> Value {
    let parents = json!([{"group": LINKERD, "kind": "Server", "name": "bar"}]);
    let spec = json!({"parentRefs": parents, "rules": [rule]});
    object("gateway.networking.k8s.io/v1", kind, name, &spec)
}

/// An `HTTPRoute` that takes one path.
pub fn path(name: &str, path: &str) -> Value {
    route("HTTPRoute", name, &json!({"matches": [{"path": {"type": "Exact", "value": path}}]}))
}

/// A `GRPCRoute` that takes one method.
pub fn method(name: &str, service: &str, method: &str) -> Value {
    route("GRPCRoute", name, &json!({"matches": [{"method": {"service": service, "method": method}}]}))
}

/// Lets a `ServiceAccount` in: `to` is the Server's kind and name, or a route's.
pub fn allow(account: &str, to: [&str; 2]) -> Value {
    authorize(&json!([{"kind": "ServiceAccount", "name": account}]), to)
}

/// Lets in whoever has all that these references ask for.
pub fn authorize(who: &Value, to: [&str; 2]) -> Value {
    let group = match to[0] {
        "Server" => LINKERD,
        "Namespace" => "",
        _ => GATEWAY,
    };
    let target = json!({"group": group, "kind": to[0], "name": to[1]});
    let spec = json!({"targetRef": target, "requiredAuthenticationRefs": who});
    let names = who.as_array().unwrap().iter().map(|who| who["name"].as_str().unwrap());
    let name = names.chain(["to", to[1]]).collect::<Vec<_>>().join("-");
    object("policy.linkerd.io/v1alpha1", "AuthorizationPolicy", &name, &spec)
}

/// Identities, as patterns.
pub fn identities(name: &str, patterns: &[&str]) -> Value {
    object("policy.linkerd.io/v1alpha1", "MeshTLSAuthentication", name, &json!({"identities": patterns}))
}

/// A network.
pub fn network(name: &str, cidr: &str) -> Value {
    let spec = json!({"networks": [{"cidr": cidr}]});
    object("policy.linkerd.io/v1alpha1", "NetworkAuthentication", name, &spec)
}

/// A reference to one of these.
pub fn proof(kind: &str, name: &str) -> Value {
    json!({"group": LINKERD, "kind": kind, "name": name})
}

/// Limits on the Server: requests per second in all, and of each client.
pub fn limit(total: Option<u32>, identity: Option<u32>) -> Value {
    let rate = |rate: Option<u32>| rate.map(|rate| json!({"requestsPerSecond": rate}));
    let target = json!({"group": LINKERD, "kind": "Server", "name": "bar"});
    let spec = json!({"targetRef": target, "total": rate(total), "identity": rate(identity)});
    object("policy.linkerd.io/v1alpha1", "HTTPLocalRateLimitPolicy", "limit", &spec)
}
