//! Services and their routes for the tests, as a client's sidecar is told of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use mesh::{Endpoint, Resolve};
use policy::cluster::ClusterInfo;
use policy::model::Objects;
use policy::outbound::{ServicePolicy, ServicePort};
use serde_json::{Value, json};
use tokio::sync::watch;

/// The Services that can be found. `server` is the one that is called.
#[derive(Clone, Debug, Default)]
pub struct Services(Arc<Mutex<BTreeMap<ServicePort, Set>>>);

type Set = watch::Sender<Arc<[Endpoint]>>;

impl Services {
    /// A Service of the namespace `default` on port 80, with these endpoints now.
    pub fn set(&self, name: &str, endpoints: impl IntoIterator<Item = Endpoint>) {
        let mut services = self.0.lock().unwrap();
        let sender = services.entry(port(name)).or_insert_with(|| watch::Sender::new(Arc::from([])));
        sender.send_replace(endpoints.into_iter().collect());
    }

    /// It is there no more.
    pub fn remove(&self, name: &str) {
        self.0.lock().unwrap().remove(&port(name));
    }
}

impl Resolve for Services {
    fn endpoints(&self, service: &ServicePort) -> Option<watch::Receiver<Arc<[Endpoint]>>> {
        Some(self.0.lock().unwrap().get(service)?.subscribe())
    }
}

pub fn port(name: &str) -> ServicePort {
    ServicePort::new("default", name, 80)
}

/// The policy of the Service `server` beside Services of these names, with these objects.
pub fn policy(services: &[&str], annotations: &[(&str, &str)], routes: &[Value]) -> Arc<ServicePolicy> {
    let mut objects = Objects::default();
    for name in services.iter().chain(&["server"]) {
        let own: BTreeMap<_, _> = annotations.iter().filter(|_| *name == "server").copied().collect();
        let metadata = json!({"name": name, "namespace": "default", "annotations": own});
        let service = json!({"metadata": metadata, "spec": {"ports": [{"port": 80}]}});
        objects.services.push(serde_json::from_value(service).unwrap());
    }
    for route in routes.iter().cloned() {
        match route["kind"].as_str().unwrap() {
            "HTTPRoute" => objects.http_routes.push(serde_json::from_value(route).unwrap()),
            "GRPCRoute" => objects.grpc_routes.push(serde_json::from_value(route).unwrap()),
            kind => panic!("{kind}"),
        }
    }
    let policy = ServicePolicy::new(&objects, &ClusterInfo::default(), "default", &port("server")).unwrap();
    assert!(policy.ignored.is_empty(), "{:?}", policy.ignored);
    Arc::new(policy)
}

/// A route of the Service `server`, with these annotations and rules.
pub fn route(kind: &str, annotations: &Value, rules: &Value) -> Value {
    let metadata = json!({"name": "route", "namespace": "default", "annotations": annotations});
    let parents = json!([{"group": "core", "kind": "Service", "name": "server"}]);
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": metadata,
        "spec": {"parentRefs": parents, "rules": rules}
    })
}

/// An `HTTPRoute` with these rules.
pub fn http(rules: &Value) -> Value {
    route("HTTPRoute", &json!({}), rules)
}

/// A backend of a rule.
pub fn backend(name: &str, weight: u32) -> Value {
    json!({"name": name, "port": 80, "weight": weight})
}
