use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::{LocalTargetRef, NamespacedTargetRef};

/// Limits what each pod of a Server takes: `policy.linkerd.io/v1alpha1` `HTTPLocalRateLimitPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HTTPLocalRateLimitPolicy {
    /// `policy.linkerd.io/v1alpha1`.
    pub api_version: String,
    /// `HTTPLocalRateLimitPolicy`.
    pub kind: String,
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// How much, of what.
    pub spec: HTTPLocalRateLimitPolicySpec,
}

/// How much a [`HTTPLocalRateLimitPolicy`] allows, of what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HTTPLocalRateLimitPolicySpec {
    /// A Server.
    pub target_ref: LocalTargetRef,
    /// For all clients together.
    pub total: Option<Limit>,
    /// For each client; those without an identity are one.
    pub identity: Option<Limit>,
    /// In place of `identity`, for some clients together.
    pub overrides: Option<Vec<Override>>,
}

/// A rate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// Requests per second, which is also the burst.
    pub requests_per_second: i64,
}

/// A rate for some clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// Requests per second, which is also the burst.
    pub requests_per_second: i64,
    /// `ServiceAccount`s.
    pub client_refs: Vec<NamespacedTargetRef>,
}
