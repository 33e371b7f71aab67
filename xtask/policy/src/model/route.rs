use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::{GATEWAY, ParentRef};

/// `gateway.networking.k8s.io/v1` or `policy.linkerd.io/v1beta3` `HTTPRoute`: inbound with a Server as parent,
/// outbound with a Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HTTPRoute {
    /// Which of the two it is.
    pub api_version: String,
    /// `HTTPRoute`.
    pub kind: String,
    /// Name, namespace, annotations.
    pub metadata: ObjectMeta,
    /// What it matches and what becomes of it.
    pub spec: HTTPRouteSpec,
}

/// What an [`HTTPRoute`] matches and what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HTTPRouteSpec {
    /// Servers or Services.
    pub parent_refs: Option<Vec<ParentRef>>,
    /// Exact, or `*.SUFFIX`; none: any host.
    pub hostnames: Option<Vec<String>>,
    /// None: one rule that matches everything.
    pub rules: Option<Vec<HTTPRouteRule>>,
}

/// One rule of an [`HTTPRoute`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HTTPRouteRule {
    /// Any of them; none: everything.
    pub matches: Option<Vec<HTTPRouteMatch>>,
    /// In this order.
    pub filters: Option<Vec<RouteFilter>>,
    /// Where it goes (outbound); none: to the parent.
    pub backend_refs: Option<Vec<BackendRef>>,
    /// Limits (outbound).
    pub timeouts: Option<Timeouts>,
}

/// What a request must be, all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HTTPRouteMatch {
    /// None: the prefix `/`.
    pub path: Option<HTTPPathMatch>,
    /// All of them.
    pub headers: Option<Vec<ValueMatch>>,
    /// All of them.
    pub query_params: Option<Vec<ValueMatch>>,
    /// In capitals.
    pub method: Option<String>,
}

/// A path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HTTPPathMatch {
    /// `Exact`, `PathPrefix` (the default) or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `/` by default.
    pub value: Option<String>,
}

/// A header or a query parameter and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueMatch {
    /// `Exact` (the default) or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The header's or the parameter's name.
    pub name: String,
    /// The whole value.
    pub value: String,
}

/// What is done to a request that matched. `kind` says which of the others is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteFilter {
    /// `RequestHeaderModifier`, `ResponseHeaderModifier`, `RequestRedirect`, and some that Linkerd does not have.
    #[serde(rename = "type")]
    pub kind: String,
    /// Changes the request's headers.
    pub request_header_modifier: Option<HeaderModifier>,
    /// Changes the response's headers; Linkerd ignores it on inbound routes.
    pub response_header_modifier: Option<HeaderModifier>,
    /// Answers with a redirect.
    pub request_redirect: Option<RequestRedirect>,
    /// Not in Linkerd.
    pub request_mirror: Option<serde_json::Value>,
    /// Not in Linkerd.
    pub url_rewrite: Option<serde_json::Value>,
    /// Not in Linkerd.
    pub extension_ref: Option<serde_json::Value>,
}

/// Changes to headers: `set` replaces, `add` appends, `remove` takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderModifier {
    /// Replaced.
    pub set: Option<Vec<HeaderChange>>,
    /// Appended.
    pub add: Option<Vec<HeaderChange>>,
    /// Taken away.
    pub remove: Option<Vec<String>>,
}

/// A header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderChange {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// An answer that sends the client elsewhere; what is not said stays as in the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRedirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host.
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<PathModifier>,
    /// The port.
    pub port: Option<i32>,
    /// 301 or 302 (the default).
    pub status_code: Option<i32>,
}

/// Another path. `kind` says which of the others is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathModifier {
    /// `ReplaceFullPath` or `ReplacePrefixMatch`.
    #[serde(rename = "type")]
    pub kind: String,
    /// In place of the whole path.
    pub replace_full_path: Option<String>,
    /// In place of the prefix that matched.
    pub replace_prefix_match: Option<String>,
}

/// Where a part of the requests goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackendRef {
    /// The core group by default.
    pub group: Option<String>,
    /// `Service` by default.
    pub kind: Option<String>,
    /// The name.
    pub name: String,
    /// The route's by default.
    pub namespace: Option<String>,
    /// The Service's port.
    pub port: Option<i32>,
    /// Its share of the sum of all weights; 1 by default.
    pub weight: Option<i32>,
    /// For what goes to this backend only.
    pub filters: Option<Vec<RouteFilter>>,
}

/// Limits of an HTTP rule, as Gateway API durations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// The whole request, over all attempts.
    pub request: Option<String>,
    /// One attempt.
    pub backend_request: Option<String>,
}

/// `gateway.networking.k8s.io/v1` `GRPCRoute`: inbound with a Server as parent, outbound with a Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GRPCRoute {
    /// `gateway.networking.k8s.io/v1`.
    pub api_version: String,
    /// `GRPCRoute`.
    pub kind: String,
    /// Name, namespace, annotations.
    pub metadata: ObjectMeta,
    /// What it matches and what becomes of it.
    pub spec: GRPCRouteSpec,
}

/// What a [`GRPCRoute`] matches and what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GRPCRouteSpec {
    /// Servers or Services.
    pub parent_refs: Option<Vec<ParentRef>>,
    /// Exact, or `*.SUFFIX`; none: any host.
    pub hostnames: Option<Vec<String>>,
    /// None: nothing matches.
    pub rules: Option<Vec<GRPCRouteRule>>,
}

/// One rule of a [`GRPCRoute`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GRPCRouteRule {
    /// Any of them; none: everything.
    pub matches: Option<Vec<GRPCRouteMatch>>,
    /// In this order.
    pub filters: Option<Vec<RouteFilter>>,
    /// Where it goes (outbound); none: to the parent.
    pub backend_refs: Option<Vec<BackendRef>>,
}

/// What a gRPC request must be, all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GRPCRouteMatch {
    /// The method. Linkerd's proxy refuses the whole Server of a match without one.
    pub method: Option<GRPCMethodMatch>,
    /// All of them.
    pub headers: Option<Vec<ValueMatch>>,
}

/// A gRPC method.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GRPCMethodMatch {
    /// `Exact` (the default) or `RegularExpression`, which Linkerd does not take.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `PACKAGE.SERVICE`; none: any.
    pub service: Option<String>,
    /// The method; none: any.
    pub method: Option<String>,
}

impl HTTPRoute {
    /// The API group: which of the two kinds of that name it is.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The parents, with the defaults that the CRD of its group gives them.
    pub fn parents(&self) -> Vec<ParentRef> {
        parents(self.spec.parent_refs.as_deref(), self.group())
    }
}

impl GRPCRoute {
    /// The parents, with the defaults that the CRD gives them.
    pub fn parents(&self) -> Vec<ParentRef> {
        parents(self.spec.parent_refs.as_deref(), GATEWAY)
    }
}

fn parents(refs: Option<&[ParentRef]>, group: &str) -> Vec<ParentRef> {
    let with_defaults = |parent: &ParentRef| ParentRef {
        group: Some(parent.group.clone().unwrap_or_else(|| group.to_owned())),
        kind: Some(parent.kind.clone().unwrap_or_else(|| "Gateway".to_owned())),
        ..parent.clone()
    };
    refs.unwrap_or_default().iter().map(with_defaults).collect()
}
