use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::{LocalTargetRef, NamespacedTargetRef};

/// Lets some clients in: `policy.linkerd.io/v1alpha1` `AuthorizationPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationPolicy {
    /// `policy.linkerd.io/v1alpha1`.
    pub api_version: String,
    /// `AuthorizationPolicy`.
    pub kind: String,
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// Whom, to what.
    pub spec: AuthorizationPolicySpec,
}

/// Whom an [`AuthorizationPolicy`] lets in, to what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationPolicySpec {
    /// A Server, an `HTTPRoute`, a `GRPCRoute`, or the namespace itself.
    pub target_ref: LocalTargetRef,
    /// What a client must be, all of it: at most one of `MeshTLSAuthentication` or `ServiceAccount`, at most one
    /// `NetworkAuthentication`. None: anyone.
    pub required_authentication_refs: Vec<NamespacedTargetRef>,
}
