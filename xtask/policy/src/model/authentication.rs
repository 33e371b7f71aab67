use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::NamespacedTargetRef;

/// A set of mesh identities: `policy.linkerd.io/v1alpha1` `MeshTLSAuthentication`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshTLSAuthentication {
    /// `policy.linkerd.io/v1alpha1`.
    pub api_version: String,
    /// `MeshTLSAuthentication`.
    pub kind: String,
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// The identities.
    pub spec: MeshTLSAuthenticationSpec,
}

/// The identities of a [`MeshTLSAuthentication`]; any of them will do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshTLSAuthenticationSpec {
    /// Exact, `*` for any, `*.SUFFIX` for all that end so.
    pub identities: Option<Vec<String>>,
    /// A `ServiceAccount`, or all of a Namespace.
    pub identity_refs: Option<Vec<NamespacedTargetRef>>,
}

/// A set of networks: `policy.linkerd.io/v1alpha1` `NetworkAuthentication`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkAuthentication {
    /// `policy.linkerd.io/v1alpha1`.
    pub api_version: String,
    /// `NetworkAuthentication`.
    pub kind: String,
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// The networks.
    pub spec: NetworkAuthenticationSpec,
}

/// The networks of a [`NetworkAuthentication`]; any of them will do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkAuthenticationSpec {
    /// Never empty.
    pub networks: Vec<Network>,
}

/// A network less some parts of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// `ADDRESS` or `ADDRESS/BITS`.
    pub cidr: String,
    /// Likewise; not in the network.
    pub except: Option<Vec<String>>,
}
