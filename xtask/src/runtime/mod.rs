//! Where pods run. Commands see this trait only; which runtime is behind it is chosen once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
pub use client::{CallAnswer, CallRequest};
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::build::StaticTarget;
use crate::error::Fault;
use crate::plan::Plan;
use crate::report::event::{Exited, PodState};
use crate::runtime::stat::{OpenConnections, Stat, Traffic};
use crate::runtime::top::{Top, TopRequest};

pub mod choose;
pub mod fault;
pub mod kind;
pub mod local;
pub mod policy;
pub mod stat;
pub mod top;

/// An environment that runs: what commands ask of it, whichever process runs it.
#[async_trait]
pub trait Running: Send + Sync {
    /// What runs at this moment.
    async fn status(&self) -> anyhow::Result<Status>;

    /// One request from a client with the given identity, through its own sidecar.
    async fn call(&self, call: CallRequest) -> anyhow::Result<CallAnswer>;

    /// Shows or changes the policies in force. Errors, with nothing changed, where nothing would enforce them.
    async fn policy(&self, request: policy::PolicyRequest) -> anyhow::Result<policy::PolicyState>;

    /// The calls between pods from now on: what was counted so far, time after time. Errors where nothing sees them.
    async fn top(&self, request: TopRequest) -> anyhow::Result<BoxStream<'static, anyhow::Result<Top>>>;

    /// Shows or changes the faults on purpose. Errors, with nothing changed, where nothing would inject them.
    async fn fault(&self, _request: fault::FaultRequest) -> anyhow::Result<fault::FaultState> {
        Err(fault::not_there_yet(&self.status().await?.runtime).into())
    }

    /// The same of services and of the edges between them.
    async fn stat(&self, _request: TopRequest) -> anyhow::Result<BoxStream<'static, anyhow::Result<Stat>>> {
        Err(Fault::usage("a cluster's proxies are not read yet").hint("--runtime local").into())
    }

    /// What it knows of itself, for a failure bundle: objects, logs, metrics. No secrets.
    async fn evidence(&self) -> anyhow::Result<Vec<Evidence>>;

    /// Stops everything, gracefully first; says how each pod ended.
    async fn stop(&self) -> anyhow::Result<Vec<Exited>>;
}

/// A place where a plan becomes running pods.
#[async_trait]
pub trait Runtime: Running {
    /// Makes what runs equal to the plan, touching only what differs, and returns once every change is
    /// on its way (not once it is ready). All or nothing: a plan it cannot run is refused with every
    /// reason, and what ran before goes on. `images` has every image that the plan names.
    async fn apply(&self, plan: Arc<Plan>, images: Images) -> anyhow::Result<()>;

    /// Makes what pods need before any can run, beside the build: a cluster.
    async fn prepare(&self, _plan: Arc<Plan>) -> anyhow::Result<()> {
        Ok(())
    }

    /// What goes on at present, twice a second, for as long as somebody reads. Errors where nothing sees it.
    fn traffic(&self) -> anyhow::Result<BoxStream<'static, Traffic>> {
        Err(Fault::usage("a cluster's proxies are not read yet").into())
    }

    /// The connections that Services' addresses carry, by the pods at their ends; none where that is not known.
    fn connections(&self) -> Vec<OpenConnections> {
        Vec::new()
    }

    /// Replaces all pods of a Deployment by new ones of the same revision, as `kubectl rollout restart` does.
    fn restart(&self, _deployment: &str) -> anyhow::Result<()> {
        Err(Fault::usage("a cluster is not changed from here yet").hint("kubectl rollout restart").into())
    }

    /// Makes a Deployment have so many pods, until its manifest says another number.
    fn scale(&self, _deployment: &str, _replicas: u32) -> anyhow::Result<()> {
        Err(Fault::usage("a cluster is not changed from here yet").hint("kubectl scale").into())
    }

    /// How programs are built to run here; none: as for this machine itself.
    async fn target(&self) -> Result<Option<StaticTarget>, Fault> {
        Ok(None)
    }

    /// Programs of this workspace that it runs beside the services: they are built with them, and are among `apply`'s
    /// images.
    fn programs(&self) -> Vec<Program> {
        Vec::new()
    }

    /// Where the ingress answers; none without one.
    fn ingress(&self) -> Option<SocketAddr>;

    /// The files and directories of policies whose edits are applied.
    fn followed_policies(&self) -> BTreeSet<PathBuf>;

    /// Makes the policies in force equal to what the followed files have now.
    async fn follow_policies(&self, objects: Vec<policy::Given>) -> anyhow::Result<()>;

    /// What runs goes on when the `up` that brought it up ends.
    fn outlives(&self) -> bool {
        false
    }

    /// Whether there is anything that goes on.
    fn is_there(&self) -> bool {
        true
    }

    /// Waits until everything that was applied is ready. Ends early with the cause when something is
    /// certain not to become ready (it crash-loops, its command is missing).
    async fn ready(&self) -> anyhow::Result<()>;
}

/// A file of a failure bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where it is in the archive.
    pub path: String,
    pub text: String,
}

impl Evidence {
    /// As it is.
    pub fn text(path: impl Into<String>, text: String) -> Self {
        Self { path: path.into(), text }
    }

    /// For people to read.
    pub fn json(path: impl Into<String>, value: &serde_json::Value) -> Self {
        Self::text(path, format!("{value:#}\n"))
    }
}

/// A program of this workspace that is no service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its package.
    pub package: String,
    /// Its binary.
    pub name: String,
}

/// The built images, by name (a service's name).
pub type Images = BTreeMap<String, Image>;

/// One built revision of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Names the content: another content has another id.
    pub id: String,
    /// The program.
    pub binary: PathBuf,
}

/// What runs, as `status` shows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Status {
    /// `local` or `kind`.
    pub runtime: String,
    /// gRPC between the services.
    pub grpc: bool,
    /// A sidecar before and behind each pod.
    pub linkerd: bool,
    /// The process that runs it all (local).
    pub pid: Option<u32>,
    /// Seconds since it came up.
    pub uptime_seconds: u64,
    /// Where the ingress answers; none without one.
    pub ingress: Option<String>,
    /// The hosts that it routes.
    pub hosts: Vec<String>,
    /// Every Deployment, by name.
    pub deployments: Vec<DeploymentStatus>,
    /// Every Service, by name.
    pub services: Vec<ServiceStatus>,
    /// Every pod, by name.
    pub pods: Vec<PodStatus>,
    /// Where the dashboard is; none where none is served.
    #[serde(default)]
    pub dashboard: Option<String>,
}

/// A Deployment's counts.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct DeploymentStatus {
    pub name: String,
    pub desired: u32,
    pub updated: u32,
    pub ready: u32,
}

/// A Service's address and how many pods are behind it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ServiceStatus {
    pub name: String,
    /// `name -> address` of each port.
    pub ports: BTreeMap<String, String>,
    /// Ready endpoints.
    pub endpoints: u32,
}

/// A pod, and why it is not ready.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct PodStatus {
    pub name: String,
    pub deployment: String,
    pub state: PodState,
    /// Why, when it is not ready: `/readyz gave 503`, `exit code 1`.
    pub reason: String,
    pub restarts: u32,
    pub ip: String,
    pub pid: Option<u32>,
    /// The id of the image that it runs.
    pub image: String,
    /// It has a sidecar.
    pub meshed: bool,
    pub age_seconds: u64,
}
