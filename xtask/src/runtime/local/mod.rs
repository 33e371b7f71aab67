//! The embedded runtime: every pod is a process on its own loopback address.
//!
//! Where to start reading: [`controller`] keeps a Deployment's pods as wanted, [`pod`] is one of them,
//! [`endpoints`] knows who is ready behind which Service, [`vip`] picks one of them per connection.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh::{Issuer, Observer, OutboundSettings};

use self::audit::Audit;
use self::controller::{Controller, Wanted};
use self::endpoints::{ServiceName, ServicePort, ServiceSpec, TargetPort};
use self::fault::FaultController;
use self::gateway::Gateway;
use self::log_file::{LogBook, LogReader};
use self::node::Node;
use self::overrides::Overrides;
use self::policy::PolicyController;
use self::services::ServiceAddresses;
use self::template::PodTemplate;
use super::fault::{FaultRequest, FaultState};
use super::policy::{Change, Given, PolicyRequest, PolicyState};
use super::stat::{OpenConnections, Stat, Traffic};
use super::top::{Top, TopRequest};
use super::{CallAnswer, CallRequest, Evidence, Image, Images, Running, Runtime, ServiceStatus, Status};
use crate::command::Checkout;
use crate::error::Fault;
use crate::plan::Plan;
use crate::plan::lookup::{name, ports};
use crate::process::{Spawner, raise_open_files};
use crate::report::event::Exited;
use crate::report::{Event, Events};

mod address;
mod audit;
mod backoff;
mod client;
mod connections;
mod controller;
mod endpoints;
mod fault;
mod gateway;
mod ingress;
pub mod log_file;
mod model;
mod node;
mod output;
mod overrides;
mod pod;
mod policy;
mod probe;
mod rollout;
mod services;
mod stat;
mod template;
mod top;
mod traffic;
mod vip;

pub use address::{Block, cluster_address, fnv1a};
pub use endpoints::ServiceTable;
pub use top::watch as watch_calls;
pub use traffic::watch as watch_traffic;
pub use vip::Vip;

/// How long requests may take to end when everything is taken down.
const DRAIN: Duration = Duration::from_secs(2);

/// Below this many open files a busy environment runs short.
const FEW_FILES: u64 = 1024;

/// A running local environment.
pub struct Local {
    node: Arc<Node>,
    gateway: Option<Gateway>,
    controllers: RwLock<BTreeMap<String, Arc<Controller>>>,
    plan: RwLock<Option<Arc<Plan>>>,
    audit: Audit,
    overrides: Mutex<Overrides>,
    dashboard: Option<SocketAddr>,
    /// Where the pods' logs are.
    log_files: PathBuf,
    started: Instant,
}

impl Local {
    /// Takes the run's addresses and the ingress's port (0: any free one; none: no ingress), which also leads to a
    /// dashboard. Nothing runs yet. Errors when an address or the port is taken.
    pub fn start(
        checkout: &Checkout,
        ingress: Option<u16>,
        dashboard: Option<SocketAddr>,
        events: &Events,
    ) -> anyhow::Result<Self> {
        if let Some(limit) = raise_open_files().filter(|limit| *limit < FEW_FILES) {
            let message =
                format!("at most {limit} files can be open at once: under load, connections will wait");
            events.warn(message, Some("ulimit -n 4096".to_owned()));
        }
        let gateway = ingress.map(|port| Gateway::bind(port, dashboard)).transpose()?;
        let cannot =
            |what: &'static str| move |error: std::io::Error| Fault::environment(format!("{what}: {error}"));
        let node = Arc::new(Node {
            spawner: Spawner::start().map_err(cannot("cannot start processes"))?,
            block: Block::claim(&checkout.root)?,
            services: ServiceTable::default(),
            addresses: ServiceAddresses::default(),
            policies: PolicyController::default(),
            faults: FaultController::default(),
            traces: traces(events)?,
            observer: Observer::default(),
            issuer: Issuer::generate()?,
            logs: LogBook::start(checkout.state.logs(), events.clone())
                .map_err(cannot("cannot write logs"))?,
            events: events.clone(),
            environment: node::inherited(),
        });
        Ok(Self {
            node,
            gateway,
            controllers: RwLock::default(),
            plan: RwLock::default(),
            audit: Audit::default(),
            overrides: Mutex::default(),
            dashboard,
            log_files: checkout.state.logs(),
            started: Instant::now(),
        })
    }

    /// Whether this runtime can run a plan, before anything is built. Errors with every reason.
    pub fn can_run(plan: &Plan) -> Result<(), Fault> {
        let built = Image { id: String::new(), binary: PathBuf::new() };
        let images = plan.images.iter().map(|name| (name.clone(), built.clone())).collect();
        check(plan, &images).map(drop).map_err(|problems| Fault::usage(problems.join("\n")))
    }

    fn controllers(&self) -> Vec<Arc<Controller>> {
        self.controllers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn plan(&self) -> Option<Arc<Plan>> {
        self.plan.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves the plan's Services, and the ingress as one.
    async fn serve(&self, plan: &Plan) -> anyhow::Result<()> {
        let mut names: Vec<ServiceName> = Vec::new();
        for service in &plan.services {
            let key = (plan.namespace.clone(), name(&service.object).to_owned());
            self.serve_one(&key, spec_of(&service.object))?;
            names.push(key);
        }
        if let Some(gateway) = &self.gateway {
            let key = gateway::service_name();
            self.serve_one(&key, gateway::service_spec())?;
            names.push(key);
            gateway.apply(plan, &self.node).await?;
        }
        self.node.addresses.keep(&self.node.services, &names);
        Ok(())
    }

    fn serve_one(&self, key: &ServiceName, spec: ServiceSpec) -> Result<(), Fault> {
        let Node { block, services, addresses, .. } = &*self.node;
        addresses.serve(block, services, key, spec).map_err(Fault::environment)
    }
}

#[async_trait]
impl Runtime for Local {
    async fn apply(&self, plan: Arc<Plan>, images: Images) -> anyhow::Result<()> {
        let mut wanted = check(&plan, &images).map_err(|problems| Fault::usage(problems.join("\n")))?;
        self.node.policies.set_plan(crate::plan::objects(&plan));
        self.serve(&plan).await?;
        let mut controllers = self.controllers.write().unwrap_or_else(PoisonError::into_inner);
        self.overrides.lock().unwrap_or_else(PoisonError::into_inner).apply(&mut wanted);
        controllers.retain(|name, controller| {
            let kept = wanted.contains_key(name);
            if !kept {
                controller.delete();
                let controller = Arc::clone(controller);
                // Its pods are given their grace period.
                tokio::spawn(async move { controller.gone().await });
            }
            kept
        });
        for (name, wanted) in wanted {
            match controllers.get(&name) {
                Some(controller) => controller.want(wanted),
                None => {
                    controllers.insert(name, Arc::new(Controller::start(Arc::clone(&self.node), wanted)));
                }
            }
        }
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Some(plan);
        Ok(())
    }

    async fn ready(&self) -> anyhow::Result<()> {
        for controller in self.controllers() {
            if let Err(why) = controller.ready().await {
                return Err(Fault::failed(why)
                    .hint("cargo xtask logs SERVICE shows all that it wrote")
                    .into());
            }
        }
        Ok(())
    }

    fn connections(&self) -> Vec<OpenConnections> {
        let progress = self.controllers().into_iter().map(|controller| controller.progress());
        let pods: Vec<_> = progress.flat_map(|own| own.pods).map(|(pod, _)| pod).collect();
        self.node.addresses.connections().between(&pods)
    }

    fn restart(&self, deployment: &str) -> anyhow::Result<()> {
        self.change(deployment, |wanted, _, overrides| {
            let at = Timestamp::now().to_string();
            wanted.template = Arc::new(wanted.template.restarted(&at));
            overrides.restart(deployment, at);
        })
    }

    fn scale(&self, deployment: &str, replicas: u32) -> anyhow::Result<()> {
        self.change(deployment, |wanted, written, overrides| {
            wanted.rules.desired.replicas = replicas;
            overrides.scale(deployment, written, replicas);
        })
    }

    fn traffic(&self) -> anyhow::Result<BoxStream<'static, Traffic>> {
        self.sees_calls()?;
        Ok(traffic::watch(&self.node.observer))
    }

    fn ingress(&self) -> Option<SocketAddr> {
        self.gateway.as_ref().map(Gateway::address)
    }

    fn followed_policies(&self) -> BTreeSet<PathBuf> {
        self.node.policies.followed().paths
    }

    async fn follow_policies(&self, objects: Vec<Given>) -> anyhow::Result<()> {
        self.tell_policies(&self.node.policies.follow(objects, Timestamp::now()));
        Ok(())
    }
}

#[async_trait]
impl Running for Local {
    async fn status(&self) -> anyhow::Result<Status> {
        let plan = self.plan();
        let mut status = Status {
            runtime: "local".to_owned(),
            pid: Some(std::process::id()),
            uptime_seconds: self.started.elapsed().as_secs(),
            ingress: self.ingress().map(|address| address.to_string()),
            dashboard: self.dashboard.map(crate::dashboard::url),
            ..Status::default()
        };
        if let Some(plan) = &plan {
            (status.grpc, status.linkerd, status.hosts) = (plan.mode.grpc, plan.mode.linkerd, plan.hosts());
            status.services =
                plan.services.iter().map(|s| self.service_status(&s.object, &plan.namespace)).collect();
        }
        for controller in self.controllers() {
            let progress = controller.progress();
            status.deployments.push(progress.status);
            status.pods.extend(progress.pods.into_iter().map(|(mut pod, since)| {
                // As of now, not of the last change.
                pod.age_seconds = since.elapsed().as_secs();
                pod
            }));
        }
        status.pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(status)
    }

    async fn call(&self, request: CallRequest) -> anyhow::Result<CallAnswer> {
        let Some(plan) = self.plan() else {
            return Err(Fault::environment("it is still starting").hint("cargo xtask status").into());
        };
        client::call(&self.node, &plan, &request).await
    }

    async fn policy(&self, request: PolicyRequest) -> anyhow::Result<PolicyState> {
        if self.plan().is_some_and(|plan| !plan.mode.linkerd) {
            return Err(Fault::usage("nothing enforces policies without sidecars")
                .hint("cargo xtask down, then cargo xtask up --linkerd with its other options")
                .into());
        }
        let policies = &self.node.policies;
        let changes = match request {
            PolicyRequest::Show => Vec::new(),
            PolicyRequest::Apply { objects, paths } => policies.apply(objects, paths, Timestamp::now()),
            PolicyRequest::Delete { objects, paths } => policies.delete(objects, &paths),
            PolicyRequest::Access { servers, access } => policies.set_access(&servers, access.as_deref()),
            PolicyRequest::Observe(wanted) => {
                match wanted {
                    Some(true) => self.audit.start(&self.node.observer),
                    Some(false) => self.audit.stop(),
                    None => {}
                }
                Vec::new()
            }
        };
        self.tell_policies(&changes);
        Ok(PolicyState {
            objects: policies.applied(),
            changes,
            observed: self.audit.seen(),
            ..PolicyState::default()
        })
    }

    async fn top(&self, request: TopRequest) -> anyhow::Result<BoxStream<'static, anyhow::Result<Top>>> {
        self.sees_calls()?;
        Ok(top::watch(&self.node.observer, request).map(Ok).boxed())
    }

    async fn fault(&self, request: FaultRequest) -> anyhow::Result<FaultState> {
        Ok(self.change_faults(request)?)
    }

    async fn stat(&self, request: TopRequest) -> anyhow::Result<BoxStream<'static, anyhow::Result<Stat>>> {
        self.sees_calls()?;
        Ok(stat::watch(&self.node.observer, request).map(Ok).boxed())
    }

    async fn evidence(&self) -> anyhow::Result<Vec<Evidence>> {
        self.node.logs.flush().await;
        let mut evidence = Vec::new();
        // Without sidecars there are none.
        if let Ok(policies) = self.policy(PolicyRequest::Show).await {
            evidence.push(Evidence::json("policies.json", &serde_json::to_value(&policies)?));
        }
        for pod in log_file::pods(&self.log_files)? {
            let lines = LogReader::new(self.log_files.clone(), vec![pod.clone()], None).read()?;
            let lines: Vec<String> = lines.iter().map(|line| format!("{} {}", line.at, line.line)).collect();
            evidence.push(Evidence::text(format!("logs/{pod}.log"), lines.join("\n")));
        }
        Ok(evidence)
    }

    async fn stop(&self) -> anyhow::Result<Vec<Exited>> {
        // With the direction of the traffic, so that what is under way is answered: who only calls others
        // first, then the ingress, then the rest.
        let plan = self.plan();
        let only_calls = |name: &str| plan.as_ref().is_some_and(|plan| !plan.is_called(name));
        let (callers, called): (Vec<_>, Vec<_>) =
            self.controllers().into_iter().partition(|controller| only_calls(&controller.name()));
        let mut exited = end(callers).await;
        if let Some(gateway) = &self.gateway {
            gateway.stop(DRAIN).await;
        }
        exited.extend(end(called).await);
        if let Some(traces) = &self.node.traces {
            traces.flush().await;
            let dropped = traces.counts().dropped;
            if dropped > 0 {
                self.node.events.warn(format!("{dropped} spans were lost"), None);
            }
        }
        self.node.logs.flush().await;
        exited.sort_by(|a, b| a.pod.cmp(&b.pod));
        Ok(exited)
    }
}

impl Local {
    /// Changes what is wanted of a Deployment; also given the replicas of its manifest.
    fn change(
        &self,
        deployment: &str,
        change: impl FnOnce(&mut Wanted, u32, &mut Overrides),
    ) -> anyhow::Result<()> {
        // Held, so that no apply comes between.
        let controllers = self.controllers.write().unwrap_or_else(PoisonError::into_inner);
        let Some((controller, plan)) = controllers.get(deployment).zip(self.plan()) else {
            return Err(Fault::usage(format!("no service `{deployment}` is up")).into());
        };
        let mut wanted = controller.wanted();
        let mut overrides = self.overrides.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut wanted, plan.replicas(deployment), &mut overrides);
        controller.want(wanted);
        Ok(())
    }

    fn sees_calls(&self) -> Result<(), Fault> {
        if self.plan().is_some_and(|plan| !plan.mode.linkerd) {
            return Err(Fault::usage("nothing sees calls without sidecars")
                .hint("cargo xtask down, then cargo xtask up --linkerd with its other options"));
        }
        Ok(())
    }

    fn tell_policies(&self, changes: &[Change]) {
        let changes = super::policy::changed(changes);
        if !changes.is_empty() {
            self.node.events.emit(Event::Policies { changes });
        }
    }

    fn service_status(&self, service: &Service, namespace: &str) -> ServiceStatus {
        let mut status = ServiceStatus { name: name(service).to_owned(), ..ServiceStatus::default() };
        for port in ports(service) {
            let Ok(number) = u16::try_from(port.port) else { continue };
            let shown = port.name.clone().unwrap_or_else(|| number.to_string());
            if let Some(address) = self.node.service_address(&status.name, namespace, number) {
                status.ports.insert(shown, address.to_string());
            }
            if let Some(endpoints) = self.node.services.subscribe(&status.name, namespace, number) {
                let count = u32::try_from(endpoints.borrow().len()).unwrap_or(u32::MAX);
                status.endpoints = status.endpoints.max(count);
            }
        }
        status
    }
}

/// Where spans go, as OpenTelemetry's variables say. Errors for what is no collector's URL.
fn traces(events: &Events) -> Result<Option<otlp::Exporter>, Fault> {
    let endpoint = otlp::Endpoint::read(|name| std::env::var(name).ok());
    let endpoint = endpoint.map_err(|error| {
        Fault::usage(error.to_string()).hint("export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318")
    })?;
    let events = events.clone();
    Ok(endpoint.map(|endpoint| {
        otlp::Exporter::start(endpoint, move |why| {
            let remedy = "start the collector, or unset OTEL_EXPORTER_OTLP_ENDPOINT";
            events.warn(format!("spans are lost: {why}"), Some(remedy.to_owned()));
        })
    }))
}

/// Stops Deployments, all at once; says how their pods ended.
async fn end(controllers: Vec<Arc<Controller>>) -> Vec<Exited> {
    for controller in &controllers {
        controller.delete();
    }
    let mut exited = Vec::new();
    for controller in controllers {
        exited.extend(controller.gone().await);
    }
    exited
}

/// What every Deployment is to be; or every reason why this runtime cannot run the plan.
fn check(plan: &Plan, images: &Images) -> Result<BTreeMap<String, Wanted>, Vec<String>> {
    let mut problems = model::check(plan);
    for service in &plan.services {
        let annotations = service.object.metadata.annotations.clone().unwrap_or_default();
        if let Err(error) = OutboundSettings::from_annotations(&annotations) {
            let source = &service.source;
            problems.push(format!(
                "{}:{}: Service {}: {error}",
                source.file.display(),
                source.line,
                name(&service.object)
            ));
        }
    }
    if plan.ingress
        && let Err(refused) = ingress::Routes::of(&plan.ingresses)
    {
        problems.extend(refused.iter().map(ToString::to_string));
    }
    let mut wanted = BTreeMap::new();
    for deployment in &plan.deployments {
        let source = &deployment.source;
        match PodTemplate::of(&deployment.object, &plan.namespace, images) {
            Ok((template, rules)) => {
                let one = Wanted { template: Arc::new(template), rules, deleted: false };
                wanted.insert(name(&deployment.object).to_owned(), one);
            }
            Err(reasons) => problems.extend(reasons.iter().map(|why| {
                let name = name(&deployment.object);
                format!("{}:{}: Deployment {name}: {why}", source.file.display(), source.line)
            })),
        }
    }
    if problems.is_empty() { Ok(wanted) } else { Err(problems) }
}

/// A Service as this runtime serves it.
fn spec_of(service: &Service) -> ServiceSpec {
    let spec = service.spec.as_ref();
    let port = |port: &k8s_openapi::api::core::v1::ServicePort| {
        let number = u16::try_from(port.port).ok()?;
        let target = match &port.target_port {
            Some(IntOrString::String(name)) => TargetPort::Name(name.clone()),
            Some(IntOrString::Int(target)) => TargetPort::Number(u16::try_from(*target).ok()?),
            None => TargetPort::Number(number),
        };
        Some((number, ServicePort { name: port.name.clone().unwrap_or_default(), target }))
    };
    ServiceSpec {
        selector: spec.and_then(|spec| spec.selector.clone()).unwrap_or_default(),
        ports: ports(service).iter().filter_map(port).collect(),
    }
}

#[cfg(test)]
mod tests;
