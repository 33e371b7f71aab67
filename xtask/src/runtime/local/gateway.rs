//! The ingress's place in the environment: its port, its Service, and its sidecar, as ingress-nginx has
//! them on a cluster (`ingress-nginx-controller` in the namespace `ingress-nginx`).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use mesh::{Endpoint, Sidecar, SidecarSpec, Workload};

use super::address::{Lease, cluster_address};
use super::endpoints::{ServiceName, ServicePort, ServiceSpec, TargetPort, Watch};
use super::ingress::{Backend, BackendPort, Ingress, Listeners, Routes, Upstreams, bind};
use super::node::{METRICS, Node};
use crate::dashboard::guard::INGRESS_HOST;
use crate::error::Fault;
use crate::plan::Plan;

const NAMESPACE: &str = "ingress-nginx";
const SERVICE: &str = "ingress-nginx-controller";
const SERVICE_ACCOUNT: &str = "ingress-nginx";
/// The backend that is no Service: no name of one looks so.
const DASHBOARD: &str = "xtask/dashboard";
/// The port of its Service.
const PORT: u16 = 80;

/// The embedded ingress, from its port to its end.
pub struct Gateway {
    port: u16,
    /// Where the dashboard is, which has a host of its own here.
    dashboard: Option<SocketAddr>,
    /// Until the first plan is applied.
    listeners: Mutex<Option<Listeners>>,
    running: tokio::sync::Mutex<Option<Running>>,
}

struct Running {
    ingress: Ingress,
    upstreams: Arc<Backends>,
    sidecar: Option<Injected>,
}

/// The ingress's sidecar and the addresses that it has.
struct Injected {
    sidecar: Sidecar,
    pod: Lease,
}

/// The key of the ingress's Service.
pub fn service_name() -> ServiceName {
    (NAMESPACE.to_owned(), SERVICE.to_owned())
}

/// The ingress's Service: its endpoint is no pod, so it selects none.
pub fn service_spec() -> ServiceSpec {
    let port = ServicePort { name: "http".to_owned(), target: TargetPort::Number(PORT) };
    ServiceSpec { selector: [].into(), ports: [(PORT, port)].into() }
}

impl Gateway {
    /// Takes the port. Errors when it is taken, with who has it.
    pub fn bind(port: u16, dashboard: Option<SocketAddr>) -> Result<Self, Fault> {
        let listeners = bind(port)?;
        let port = listeners.port;
        let (listeners, running) = (Mutex::new(Some(listeners)), tokio::sync::Mutex::new(None));
        Ok(Self { port, dashboard, listeners, running })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Routes by the plan's Ingresses from now on. The first time it also begins to answer.
    pub async fn apply(&self, plan: &Plan, node: &Node) -> anyhow::Result<()> {
        let mut routes = Routes::of(&plan.ingresses).map_err(|refused| {
            Fault::usage(refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })?;
        if self.dashboard.is_some() {
            routes.add_host(INGRESS_HOST, Backend::own(DASHBOARD));
        }
        let mut running = self.running.lock().await;
        if let Some(running) = &*running {
            running.upstreams.learn(&routes, plan, node, running.sidecar.as_ref()).await?;
            running.ingress.set_routes(routes);
            return Ok(());
        }
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(listeners) = listeners else { return Ok(()) };
        let sidecar = if plan.mode.linkerd { Some(self.inject(node).await?) } else { None };
        let endpoint = self.endpoint(sidecar.as_ref());
        node.services.set_external(&service_name(), PORT, vec![endpoint]);
        let upstreams = Arc::new(Backends { dashboard: self.dashboard, ..Backends::default() });
        upstreams.learn(&routes, plan, node, sidecar.as_ref()).await?;
        let ingress = Ingress::start(listeners, routes, Arc::clone(&upstreams) as _, node.traces.clone());
        *running = Some(Running { ingress, upstreams, sidecar });
        Ok(())
    }

    /// Accepts nothing more and lets requests end within `grace`.
    pub async fn stop(&self, grace: Duration) {
        drop(self.listeners.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(Running { ingress, sidecar, .. }) = self.running.lock().await.take() else { return };
        ingress.stop(grace).await;
        if let Some(injected) = sidecar {
            injected.sidecar.drain(grace).await;
        }
    }

    async fn inject(&self, node: &Node) -> anyhow::Result<Injected> {
        let pod = node.block.pod().ok_or_else(|| Fault::environment("no loopback address is left"))?;
        let spec = SidecarSpec {
            workload: workload(),
            pod_ip: pod.ip(),
            app_ip: Ipv4Addr::LOCALHOST,
            inbound: vec![self.port],
            targets: Vec::new(),
            metrics_port: Some(METRICS),
            faults: mesh::fault::Faults::default(),
            traces: node.traces.clone(),
            client_address: cluster_address,
        };
        let policies = node.policies.inbound(policy::model::Workload {
            name: SERVICE.to_owned(),
            namespace: NAMESPACE.to_owned(),
            service_account: SERVICE_ACCOUNT.to_owned(),
            ..policy::model::Workload::default()
        });
        let sidecar = Sidecar::start(spec, &node.issuer, policies).await?;
        Ok(Injected { sidecar, pod })
    }

    fn endpoint(&self, sidecar: Option<&Injected>) -> Endpoint {
        let workload = workload();
        let ip = sidecar.map_or(Ipv4Addr::LOCALHOST, |injected| injected.pod.ip());
        let identity = sidecar.map(|_| workload.identity());
        Endpoint { addr: SocketAddr::from((ip, self.port)), workload, identity, opaque: false }
    }
}

fn workload() -> Arc<Workload> {
    Arc::new(Workload {
        pod: SERVICE.to_owned(),
        namespace: NAMESPACE.to_owned(),
        service_account: SERVICE_ACCOUNT.to_owned(),
        deployment: SERVICE.to_owned(),
        pod_template_hash: String::new(),
    })
}

/// Where the backends of the routes are.
#[derive(Default)]
struct Backends {
    reached: RwLock<HashMap<Backend, Reach>>,
    dashboard: Option<SocketAddr>,
}

struct Reach {
    endpoints: Watch,
    /// Requests all go here; none: to an endpoint, in turn.
    through: Option<SocketAddr>,
}

impl Backends {
    async fn learn(
        &self,
        routes: &Routes,
        plan: &Plan,
        node: &Node,
        sidecar: Option<&Injected>,
    ) -> anyhow::Result<()> {
        let mut reached = HashMap::new();
        for backend in routes.backends().filter(|backend| backend.service != DASHBOARD) {
            let (service, namespace) = (&backend.service, &plan.namespace);
            let port = match &backend.port {
                BackendPort::Number(number) => *number,
                BackendPort::Name(name) => {
                    let port =
                        plan.service_port(service, name).and_then(|port| u16::try_from(port.port).ok());
                    let Some(port) = port else { continue };
                    port
                }
            };
            let authority = format!("{service}.{namespace}.svc.cluster.local:{port}");
            let called = policy::outbound::ServicePort::new(namespace, service, port);
            let Some(target) = node.target(NAMESPACE, called, authority) else { continue };
            let endpoints = target.endpoints.clone();
            let through = match sidecar {
                Some(injected) => Some(injected.sidecar.add_target(target).await?),
                None if backend.options.service_upstream => node.service_address(service, namespace, port),
                None => None,
            };
            reached.insert(backend.clone(), Reach { endpoints, through });
        }
        *self.reached.write().unwrap_or_else(PoisonError::into_inner) = reached;
        Ok(())
    }
}

impl Upstreams for Backends {
    fn addresses(&self, backend: &Backend) -> Arc<[SocketAddr]> {
        if let Some(dashboard) = self.dashboard.filter(|_| backend.service == DASHBOARD) {
            return Arc::new([dashboard]);
        }
        let reached = self.reached.read().unwrap_or_else(PoisonError::into_inner);
        let Some(reach) = reached.get(backend) else { return Arc::new([]) };
        let endpoints = reach.endpoints.borrow();
        match reach.through {
            _ if endpoints.is_empty() => Arc::new([]),
            Some(address) => Arc::new([address]),
            None => endpoints.iter().map(|endpoint| endpoint.addr).collect(),
        }
    }
}
