//! Which pods are behind each Service port: kept up to date by the pods, watched by Service VIPs, sidecars and
//! the ingress.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use mesh::{Endpoint, Workload};
use tokio::sync::watch;

/// The ready endpoints of a Service port, as they change.
pub type Watch = watch::Receiver<Arc<[Endpoint]>>;

/// A Service's key: namespace, then name.
pub type ServiceName = (String, String);

/// The targetPort of a Service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// The name of a container port.
    Name(String),
}

/// A Service as this runtime serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// The pods that have all of these labels. Empty: none (its endpoints come from elsewhere).
    pub selector: BTreeMap<String, String>,
    /// By number.
    pub ports: BTreeMap<u16, ServicePort>,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; may be empty when it is the only one.
    pub name: String,
    /// Where it leads.
    pub target: TargetPort,
}

/// A ready pod, as Services see it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadyPod {
    /// Who it is.
    pub workload: Arc<Workload>,
    /// What selectors are matched with.
    pub labels: BTreeMap<String, String>,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Where its application listens; behind a sidecar another address.
    pub app_ip: Ipv4Addr,
    /// Its named container ports.
    pub named_ports: BTreeMap<String, u16>,
    /// What its sidecar's certificate says; none without a sidecar.
    pub identity: Option<mesh::Identity>,
    /// Ports whose bytes no sidecar looks at.
    pub opaque_ports: Vec<u16>,
}

/// The Services, the ready pods, and which are behind which. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ServiceTable(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    services: BTreeMap<ServiceName, Service>,
    /// By namespace and name.
    pods: BTreeMap<(String, String), ReadyPod>,
}

#[derive(Debug)]
struct Service {
    spec: ServiceSpec,
    ports: BTreeMap<u16, watch::Sender<Arc<[Endpoint]>>>,
    /// Ports that only routes lead to: the pods' own ports of that number.
    undeclared: BTreeMap<u16, watch::Sender<Arc<[Endpoint]>>>,
    /// Endpoints that are no pods: by port.
    external: BTreeMap<u16, Vec<Endpoint>>,
}

impl ServiceTable {
    /// Adds a Service or changes it. Who watches a port that stays sees the change.
    pub fn set_service(&self, name: ServiceName, spec: ServiceSpec) {
        self.change(|table| {
            let service = table.services.entry(name).or_insert_with(|| Service {
                spec: spec.clone(),
                ports: BTreeMap::new(),
                undeclared: BTreeMap::new(),
                external: BTreeMap::new(),
            });
            service.ports.retain(|port, sender| {
                let stays = spec.ports.contains_key(port);
                if !stays {
                    // Who watches it would hold on to the last endpoints.
                    sender.send_replace(Arc::new([]));
                }
                stays
            });
            for port in spec.ports.keys() {
                service.ports.entry(*port).or_insert_with(|| watch::Sender::new(Arc::new([])));
            }
            service.spec = spec;
        });
    }

    /// Removes a Service: who watches it sees no endpoints.
    pub fn remove_service(&self, name: &ServiceName) {
        self.change(|table| {
            let gone = table.services.remove(name);
            let ports =
                gone.iter().flat_map(|service| service.ports.values().chain(service.undeclared.values()));
            for sender in ports {
                sender.send_replace(Arc::new([]));
            }
        });
    }

    /// Gives a Service without a selector its endpoints: how the ingress appears as
    /// `ingress-nginx-controller.ingress-nginx`. Nothing when there is no such Service.
    pub fn set_external(&self, name: &ServiceName, port: u16, endpoints: Vec<Endpoint>) {
        self.change(|table| {
            if let Some(service) = table.services.get_mut(name) {
                service.external.insert(port, endpoints);
            }
        });
    }

    /// A pod is ready, or still is with other properties.
    pub fn set_pod(&self, pod: ReadyPod) {
        self.change(|table| {
            table.pods.insert((pod.workload.namespace.clone(), pod.workload.pod.clone()), pod);
        });
    }

    /// A pod is not ready, or gone. When this returns no one can pick it any more.
    pub fn remove_pod(&self, workload: &Workload) {
        self.change(|table| {
            table.pods.remove(&(workload.namespace.clone(), workload.pod.clone()));
        });
    }

    /// Where the application of a ready pod behind a Service port listens, past its sidecar. None when none is ready.
    pub fn application(&self, service: &str, namespace: &str, port: u16) -> Option<SocketAddr> {
        let endpoint = self.subscribe(service, namespace, port)?.borrow().first().cloned()?;
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pod = table.pods.get(&(endpoint.workload.namespace.clone(), endpoint.workload.pod.clone()))?;
        Some(SocketAddr::from((pod.app_ip, endpoint.addr.port())))
    }

    /// The ready endpoints of a Service port; none when there is no such port. `port` is the Service's.
    pub fn subscribe(&self, service: &str, namespace: &str, port: u16) -> Option<Watch> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let service = table.services.get(&(namespace.to_owned(), service.to_owned()))?;
        service.ports.get(&port).map(watch::Sender::subscribe)
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut table);
        let Table { services, pods } = &*table;
        for ((namespace, _), service) in services {
            for (number, sender) in service.ports.iter().chain(&service.undeclared) {
                let now = endpoints(service, namespace, *number, pods);
                sender.send_if_modified(|before| {
                    let changed = **before != *now;
                    if changed {
                        *before = now;
                    }
                    changed
                });
            }
        }
    }
}

impl mesh::Resolve for ServiceTable {
    fn endpoints(&self, service: &policy::outbound::ServicePort) -> Option<Watch> {
        let policy::outbound::ServicePort { namespace, name, port } = service;
        if let Some(declared) = self.subscribe(name, namespace, *port) {
            return Some(declared);
        }
        let mut watch = None;
        self.change(|table| {
            let key = (namespace.clone(), name.clone());
            watch = table.services.get_mut(&key).map(|service| {
                let sender = service.undeclared.entry(*port);
                sender.or_insert_with(|| watch::Sender::new(Arc::new([]))).subscribe()
            });
        });
        watch
    }
}

fn endpoints(
    service: &Service,
    namespace: &str,
    number: u16,
    pods: &BTreeMap<(String, String), ReadyPod>,
) -> Arc<[Endpoint]> {
    let spec = &service.spec;
    let undeclared = TargetPort::Number(number);
    let target = spec.ports.get(&number).map_or(&undeclared, |port| &port.target);
    let selected = pods.values().filter(|pod| {
        !spec.selector.is_empty()
            && pod.workload.namespace == namespace
            && spec.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    });
    let behind = selected.filter_map(|pod| {
        let target = match target {
            TargetPort::Number(number) => *number,
            // A pod without such a port is no endpoint of this one, as in Kubernetes.
            TargetPort::Name(name) => *pod.named_ports.get(name)?,
        };
        Some(Endpoint {
            addr: SocketAddr::from((pod.ip, target)),
            workload: Arc::clone(&pod.workload),
            identity: pod.identity.clone(),
            opaque: pod.opaque_ports.contains(&target),
        })
    });
    behind.chain(service.external.get(&number).into_iter().flatten().cloned()).collect()
}

#[cfg(test)]
pub mod tests {
    use mesh::Resolve as _;

    use super::*;

    pub fn workload(pod: &str) -> Arc<Workload> {
        Arc::new(Workload {
            pod: pod.into(),
            namespace: "default".into(),
            service_account: "baz".into(),
            deployment: "baz".into(),
            pod_template_hash: "h".into(),
        })
    }

    pub fn ready_pod(name: &str, ip: Ipv4Addr) -> ReadyPod {
        ReadyPod {
            workload: workload(name),
            labels: BTreeMap::from([("app".into(), "baz".into()), ("tier".into(), "back".into())]),
            ip,
            app_ip: ip,
            named_ports: BTreeMap::from([("http".into(), 8080)]),
            identity: None,
            opaque_ports: vec![],
        }
    }

    pub fn service(target: TargetPort) -> ServiceSpec {
        ServiceSpec {
            selector: BTreeMap::from([("app".into(), "baz".into())]),
            ports: BTreeMap::from([(80, ServicePort { name: "http".into(), target })]),
        }
    }

    fn addresses(watch: &Watch) -> Vec<String> {
        watch.borrow().iter().map(|endpoint| endpoint.addr.to_string()).collect()
    }

    pub fn baz() -> ServiceName {
        ("default".into(), "baz".into())
    }

    #[test]
    fn ready_pods_with_the_selectors_labels_are_endpoints() {
        let table = ServiceTable::default();
        table.set_service(baz(), service(TargetPort::Name("http".into())));
        let watch = table.subscribe("baz", "default", 80).unwrap();
        table.set_pod(ready_pod("a", Ipv4Addr::new(127, 9, 1, 1)));
        table.set_pod(ReadyPod { labels: BTreeMap::new(), ..ready_pod("b", Ipv4Addr::LOCALHOST) });
        table.set_pod(ReadyPod { named_ports: BTreeMap::new(), ..ready_pod("c", Ipv4Addr::LOCALHOST) });
        assert_eq!(addresses(&watch), ["127.9.1.1:8080"]);
        table.remove_pod(&workload("a"));
        assert_eq!(addresses(&watch), [""; 0]);
        assert!(table.subscribe("baz", "default", 81).is_none());
    }

    #[test]
    fn an_application_is_found_past_its_sidecar() {
        let table = ServiceTable::default();
        table.set_service(baz(), service(TargetPort::Name("http".into())));
        assert_eq!(table.application("baz", "default", 80), None);
        let app_ip = Ipv4Addr::new(127, 9, 200, 7);
        table.set_pod(ReadyPod { app_ip, ..ready_pod("a", Ipv4Addr::new(127, 9, 1, 1)) });
        assert_eq!(table.application("baz", "default", 80), Some(SocketAddr::from((app_ip, 8080))));
    }

    #[test]
    fn a_change_of_the_target_port_reaches_who_watches() {
        let table = ServiceTable::default();
        table.set_service(baz(), service(TargetPort::Name("http".into())));
        table.set_pod(ready_pod("a", Ipv4Addr::LOCALHOST));
        let watch = table.subscribe("baz", "default", 80).unwrap();
        table.set_service(baz(), service(TargetPort::Number(9)));
        assert_eq!(addresses(&watch), ["127.0.0.1:9"]);
        table.remove_service(&baz());
        assert_eq!(addresses(&watch), [""; 0]);
    }

    #[test]
    fn a_port_that_a_service_does_not_declare_is_its_pods_own() {
        let table = ServiceTable::default();
        let find = |name: &str| table.endpoints(&policy::outbound::ServicePort::new("default", name, 8080));
        assert!(find("baz").is_none());
        table.set_service(baz(), service(TargetPort::Number(9)));
        table.set_pod(ready_pod("a", Ipv4Addr::LOCALHOST));
        let watch = find("baz").unwrap();
        assert_eq!(addresses(&watch), ["127.0.0.1:8080"]);
        table.remove_pod(&workload("a"));
        assert_eq!(addresses(&watch), [""; 0]);
        assert!(table.subscribe("baz", "default", 8080).is_none(), "others do not find it");
    }

    #[test]
    fn what_does_not_concern_a_service_wakes_no_one() {
        let table = ServiceTable::default();
        table.set_service(baz(), service(TargetPort::Number(1)));
        let mut watch = table.subscribe("baz", "default", 80).unwrap();
        watch.mark_unchanged();
        table.set_pod(ReadyPod { labels: BTreeMap::new(), ..ready_pod("b", Ipv4Addr::LOCALHOST) });
        assert!(!watch.has_changed().unwrap());
    }
}
