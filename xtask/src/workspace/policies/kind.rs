//! Which kind a document is of: those of today's Linkerd are read, those of older ones are named with what to write
//! now, and those that are Linkerd's but not modelled here are named as that.

use ::policy::model::{GATEWAY, LINKERD};

use crate::workspace::document::{Document, Spot, Type};
use crate::workspace::problem::{Problem, suggest};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownKind {
    Namespace,
    Server,
    AuthorizationPolicy,
    MeshTLSAuthentication,
    NetworkAuthentication,
    HTTPLocalRateLimitPolicy,
    GatewayHTTPRoute,
    LinkerdHTTPRoute,
    GRPCRoute,
}

/// Why a document is not read as it is.
#[derive(Debug)]
pub enum Unread {
    /// It is written for an older Linkerd; but for its version it may be right.
    Outdated(KnownKind, Problem),
    /// It is not known.
    Unknown(Problem),
}

/// A kind, with the group and version of today's Linkerd.
struct Known {
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: KnownKind,
}

const fn known(name: &'static str, group: &'static str, version: &'static str, kind: KnownKind) -> Known {
    Known { name, group, version, kind }
}

const KNOWN: [Known; 9] = [
    known("Namespace", "", "v1", KnownKind::Namespace),
    known("Server", LINKERD, "v1beta3", KnownKind::Server),
    known("AuthorizationPolicy", LINKERD, "v1alpha1", KnownKind::AuthorizationPolicy),
    known("MeshTLSAuthentication", LINKERD, "v1alpha1", KnownKind::MeshTLSAuthentication),
    known("NetworkAuthentication", LINKERD, "v1alpha1", KnownKind::NetworkAuthentication),
    known("HTTPLocalRateLimitPolicy", LINKERD, "v1alpha1", KnownKind::HTTPLocalRateLimitPolicy),
    known("HTTPRoute", GATEWAY, "v1", KnownKind::GatewayHTTPRoute),
    known("HTTPRoute", LINKERD, "v1beta3", KnownKind::LinkerdHTTPRoute),
    known("GRPCRoute", GATEWAY, "v1", KnownKind::GRPCRoute),
];

impl Known {
    /// As it is written.
    fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// Versions of before, and what is to be said of them.
const OUTDATED: [(KnownKind, &str, &str); 9] = [
    (KnownKind::Server, "v1alpha1", "is deprecated and has no accessPolicy"),
    (
        KnownKind::Server,
        "v1beta1",
        "is deprecated and has no accessPolicy: with it, the API server refuses the object",
    ),
    (KnownKind::Server, "v1beta2", "has no accessPolicy: with it, the API server refuses the object"),
    (KnownKind::LinkerdHTTPRoute, "v1alpha1", "has no timeouts"),
    (KnownKind::LinkerdHTTPRoute, "v1beta1", "has no timeouts"),
    (KnownKind::LinkerdHTTPRoute, "v1beta2", "has no timeouts"),
    (KnownKind::GatewayHTTPRoute, "v1alpha2", "is not served"),
    (KnownKind::GatewayHTTPRoute, "v1beta1", "is v1 since Gateway API 1.0"),
    (KnownKind::GRPCRoute, "v1alpha2", "is deprecated, and gone from Gateway API 1.2 on"),
];

/// Kinds of Linkerd that are not modelled, and what to do.
const NOT_MODELLED: [(&str, &str); 7] = [
    ("ServerAuthorization", "write an AuthorizationPolicy, which took its place"),
    ("ServiceProfile", "write an HTTPRoute or a GRPCRoute, which took its place"),
    ("EgressNetwork", "keep it out of these files"),
    ("TLSRoute", "keep it out of these files"),
    ("TCPRoute", "keep it out of these files"),
    ("ExternalWorkload", "keep it out of these files"),
    ("Gateway", "Linkerd serves none; routes have a Server or a Service as parent"),
];

/// What belongs to the services and not to their policies.
const OF_SERVICES: [&str; 4] = ["Deployment", "Service", "ServiceAccount", "Ingress"];

/// Which kind a document is of. Errors with what is known.
pub fn of(document: &Document) -> Result<KnownKind, Unread> {
    let Type { version, kind } = document.type_of().map_err(Unread::Unknown)?;
    let (group, version_only) = version.split_once('/').unwrap_or(("", version));
    let of_kind: Vec<_> = KNOWN.iter().filter(|known| known.name == kind).collect();
    if of_kind.is_empty() {
        let message = unknown(kind);
        return Err(Unread::Unknown(document.problem(&Spot::root().key("kind"), message)));
    }
    let of_group: Vec<_> = of_kind.iter().copied().filter(|known| known.group == group).collect();
    if let Some(known) = of_group.iter().find(|known| known.version == version_only) {
        return Ok(known.kind);
    }
    let spot = Spot::root().key("apiVersion");
    for known in &of_group {
        let before = OUTDATED.iter().find(|own| (own.0, own.1) == (known.kind, version_only));
        if let Some((kind_of, _, cause)) = before {
            let message = format!("{kind} {version} {cause}; write {}", known.api_version());
            return Err(Unread::Outdated(*kind_of, document.problem(&spot, message)));
        }
    }
    let meant = if of_group.is_empty() { of_kind } else { of_group };
    let remedy = meant.iter().map(|known| known.api_version()).collect::<Vec<_>>().join(" or ");
    let message = format!("unknown apiVersion \"{version}\" of {kind}; write {remedy}");
    Err(Unread::Unknown(document.problem(&spot, message)))
}

fn unknown(kind: &str) -> String {
    if let Some((_, remedy)) = NOT_MODELLED.iter().find(|own| own.0 == kind) {
        return format!("{kind} is not modelled here; {remedy}");
    }
    if OF_SERVICES.contains(&kind) {
        return format!("{kind} is no policy; keep it in manifests/base or manifests/ingress");
    }
    format!("unknown kind \"{kind}\"{}", suggest(kind, KNOWN.iter().map(|known| known.name)))
}
