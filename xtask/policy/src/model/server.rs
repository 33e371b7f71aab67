use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};

/// A port of some pods, as something to authorize: `policy.linkerd.io/v1beta3` `Server`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// `policy.linkerd.io/v1beta3`.
    pub api_version: String,
    /// `Server`.
    pub kind: String,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What it selects and how it is protected.
    pub spec: ServerSpec,
}

/// What a [`Server`] selects and how it is protected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerSpec {
    /// The pods, of its own namespace.
    pub pod_selector: Option<LabelSelector>,
    /// Workloads outside of the cluster, in place of pods.
    pub external_workload_selector: Option<LabelSelector>,
    /// The port, by number or by its name in the pods.
    pub port: IntOrString,
    /// `unknown` (which is the default: detected), `HTTP/1`, `HTTP/2`, `gRPC`, `opaque`, `TLS`.
    pub proxy_protocol: Option<String>,
    /// Who is let in without any policy: `deny` (the default), `audit`, `all-unauthenticated`,
    /// `all-authenticated`, `cluster-unauthenticated`, `cluster-authenticated`.
    pub access_policy: Option<String>,
}
