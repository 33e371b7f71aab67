//! Where pods run. Commands see this trait only; which runtime is behind it is chosen once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::report::event::{Exited, PodState};
use crate::runtime::top::{Top, TopRequest};

pub mod choose;
pub mod local;
pub mod policy;
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

    /// Waits until everything that was applied is ready. Ends early with the cause when something is
    /// certain not to become ready (it crash-loops, its command is missing).
    async fn ready(&self) -> anyhow::Result<()>;
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

/// One request, as `call` and `smoke` send it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CallRequest {
    /// The identity; none for a client without a sidecar.
    pub service_account: Option<String>,
    pub service: String,
    /// The Service's port, by number or name.
    pub port: String,
    /// With its leading slash.
    pub path: String,
    /// HTTP method; GET, or POST with data, when not said.
    pub method: Option<String>,
    pub headers: Vec<(String, String)>,
    /// Body; for gRPC the request message as JSON.
    pub data: Option<String>,
    pub timeout_ms: u64,
    /// How often, and how many at once.
    pub count: u32,
    pub concurrency: u32,
}

/// The answer of the last request, and the counts of all.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct CallAnswer {
    /// HTTP status; none when no answer came.
    pub status: Option<u16>,
    pub grpc_status: Option<i32>,
    pub grpc_message: Option<String>,
    pub headers: Vec<(String, String)>,
    pub trailers: Vec<(String, String)>,
    /// Text; the message as JSON for gRPC.
    pub body: String,
    /// Who answered.
    pub pod: Option<String>,
    pub ms: f64,
    /// Why no answer came.
    pub error: Option<String>,
    /// With a count: how many answers each pod gave.
    pub pods: BTreeMap<String, u32>,
    /// With a count: how many requests ended with each outcome (`200`, `grpc 7`, `error`).
    pub outcomes: BTreeMap<String, u32>,
}
