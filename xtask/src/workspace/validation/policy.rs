//! Checks of Linkerd's policies but for its routes: what the webhook of Linkerd's policy controller 2.20 refuses
//! (`runtime/src/admission.rs`), beyond what the table of a kind says.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use policy::authz::parse_network;
use policy::model::{
    AuthorizationPolicy, GATEWAY, HTTPLocalRateLimitPolicy, LINKERD, MeshTLSAuthentication, Named as _,
    NamespacedTargetRef, NetworkAuthentication, Server,
};

use super::{Report, Spot};
use crate::workspace::names;
use crate::workspace::problem::suggest;

/// A group, and a kind of it.
type GroupKind = (&'static str, &'static str);

const SERVICE_ACCOUNT: GroupKind = ("", "ServiceAccount");
const MESH_TLS: GroupKind = (LINKERD, "MeshTLSAuthentication");
const NETWORK: GroupKind = (LINKERD, "NetworkAuthentication");

/// Checks a Namespace.
pub fn namespace(object: &Namespace, report: &mut Report<'_>) {
    metadata(&object.metadata, &names::LABEL, report);
}

/// Checks a Server.
pub fn server(object: &Server, report: &mut Report<'_>) {
    metadata(&object.metadata, &names::SUBDOMAIN, report);
    if let IntOrString::Int(number) = object.spec.port {
        report.port(&Spot::root().keys(&["spec", "port"]), number);
    }
}

/// Checks an `AuthorizationPolicy`.
pub fn authorization_policy(object: &AuthorizationPolicy, report: &mut Report<'_>) {
    metadata(&object.metadata, &names::SUBDOMAIN, report);
    let spot = Spot::root().key("spec");
    let target = &object.spec.target_ref;
    let at = spot.key("targetRef");
    let targets = [
        (LINKERD, "Server"),
        (GATEWAY, "HTTPRoute"),
        (LINKERD, "HTTPRoute"),
        (GATEWAY, "GRPCRoute"),
        ("", "Namespace"),
    ];
    if !targets.iter().any(|(group, kind)| target.is(group, kind)) {
        not_one_of(&at, target.group.as_deref(), &target.kind, &targets, report);
    }
    if target.is("", "Namespace") && target.name != object.namespace() {
        let own = object.namespace();
        let message = format!("is in the namespace \"{own}\" and can target no other; write {own}");
        report.tell(&at.key("name"), &message);
    }
    let at = spot.key("requiredAuthenticationRefs");
    let (mut identity, mut network) = (None, None);
    for (index, reference) in object.spec.required_authentication_refs.iter().enumerate() {
        let here = at.index(index);
        let is = |(group, kind): GroupKind| reference.is(group, kind);
        let (first, what) = if is(NETWORK) {
            (&mut network, "NetworkAuthentication")
        } else if is(MESH_TLS) || is(SERVICE_ACCOUNT) {
            (&mut identity, "MeshTLSAuthentication or ServiceAccount")
        } else {
            let kinds = [MESH_TLS, NETWORK, SERVICE_ACCOUNT];
            not_one_of(&here, reference.group.as_deref(), &reference.kind, &kinds, report);
            continue;
        };
        if first.replace(index).is_some() {
            let message = format!(
                "more than one {what}: a client would have to be all of them; name both in one authentication, or write an AuthorizationPolicy for each"
            );
            report.tell(&here, &message);
        }
    }
}

/// Checks a `MeshTLSAuthentication`.
pub fn mesh_tls_authentication(object: &MeshTLSAuthentication, report: &mut Report<'_>) {
    metadata(&object.metadata, &names::SUBDOMAIN, report);
    let spot = Spot::root().key("spec");
    for (index, identity) in object.spec.identities.iter().flatten().enumerate() {
        if let Err(form) = identity_form(identity) {
            report.tell(&spot.key("identities").index(index), &format!("\"{identity}\" is not {form}"));
        }
    }
    for (index, reference) in object.spec.identity_refs.iter().flatten().enumerate() {
        let at = spot.key("identityRefs").index(index);
        identity_ref(&at, reference, report);
    }
}

fn identity_ref(spot: &Spot, reference: &NamespacedTargetRef, report: &mut Report<'_>) {
    if reference.is("", "Namespace") {
        if reference.namespace.is_some() {
            let message =
                "a Namespace is in no namespace; remove it, its own name says whose identities are meant";
            report.tell(&spot.key("namespace"), message);
        }
    } else if !reference.is("", "ServiceAccount") {
        let kinds = [SERVICE_ACCOUNT, ("", "Namespace")];
        not_one_of(spot, reference.group.as_deref(), &reference.kind, &kinds, report);
    }
}

/// Whether an identity is in DNS or SPIFFE form; else what it should be.
fn identity_form(text: &str) -> Result<(), &'static str> {
    const DNS: &str = "an identity: a DNS name such as web.default.serviceaccount.identity.linkerd.cluster.local, * for any, or * with a name after it (*.default.serviceaccount...)";
    const SPIFFE: &str = "a SPIFFE ID: spiffe://TRUST-DOMAIN/PATH, with letters, digits, -, _ and . in each segment, and no empty one";
    let Some(rest) = text.strip_prefix("spiffe://") else {
        let rest = match text.strip_prefix('*') {
            Some("") => return Ok(()),
            Some(rest) => rest.strip_prefix('.').unwrap_or(""),
            None => text,
        };
        return if names::is_dotted(rest) { Ok(()) } else { Err(DNS) };
    };
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let good = !domain.is_empty()
        && domain.bytes().all(lower)
        && path.is_none_or(|path| path.split('/').all(segment));
    if good { Ok(()) } else { Err(SPIFFE) }
}

/// Checks a `NetworkAuthentication`.
pub fn network_authentication(object: &NetworkAuthentication, report: &mut Report<'_>) {
    metadata(&object.metadata, &names::SUBDOMAIN, report);
    for (index, network) in object.spec.networks.iter().enumerate() {
        let at = Spot::root().keys(&["spec", "networks"]).index(index);
        let cidr = network_form(&at.key("cidr"), &network.cidr, report);
        for (index, except) in network.except.iter().flatten().enumerate() {
            let at = at.key("except").index(index);
            let (Some(except), Some(cidr)) = (network_form(&at, except, report), cidr) else { continue };
            if except.contains(&cidr) {
                report.tell(&at, &format!("{except} takes all of {cidr} away; nothing would be left of it"));
            } else if !cidr.contains(&except) {
                report.tell(&at, &format!("{except} is not in {cidr}; write a part of it, or remove it"));
            }
        }
    }
}

fn network_form(spot: &Spot, text: &str, report: &mut Report<'_>) -> Option<ipnet::IpNet> {
    let network = parse_network(text);
    if network.is_none() {
        let message = format!("\"{text}\" is no network; write ADDRESS/BITS, such as 10.0.0.0/8, or ADDRESS");
        report.tell(spot, &message);
    }
    network
}

/// Checks an `HTTPLocalRateLimitPolicy`.
pub fn rate_limit(object: &HTTPLocalRateLimitPolicy, report: &mut Report<'_>) {
    metadata(&object.metadata, &names::SUBDOMAIN, report);
    let spot = Spot::root().key("spec");
    let spec = &object.spec;
    if !spec.target_ref.is(LINKERD, "Server") {
        let (group, kind) = (spec.target_ref.group.as_deref(), spec.target_ref.kind.as_str());
        not_one_of(&spot.key("targetRef"), group, kind, &[(LINKERD, "Server")], report);
    }
    let total = spec.total.as_ref().map(|limit| limit.requests_per_second);
    let mut within = |spot: &Spot, rate: i64| {
        if let Some(total) = total.filter(|total| rate > *total) {
            let message = format!("{rate} is more than the total of {total}, which counts for all; lower it");
            report.tell(&spot.key("requestsPerSecond"), &message);
        }
    };
    if let Some(identity) = &spec.identity {
        within(&spot.key("identity"), identity.requests_per_second);
    }
    for (index, own) in spec.overrides.iter().flatten().enumerate() {
        within(&spot.key("overrides").index(index), own.requests_per_second);
    }
    for (index, own) in spec.overrides.iter().flatten().enumerate() {
        for (client, reference) in own.client_refs.iter().enumerate() {
            if !reference.is("", "ServiceAccount") {
                let at = spot.key("overrides").index(index).key("clientRefs").index(client);
                not_one_of(&at, reference.group.as_deref(), &reference.kind, &[SERVICE_ACCOUNT], report);
            }
        }
    }
}

/// The metadata of a policy: what people write, and not what the API server adds.
pub(super) fn metadata(metadata: &ObjectMeta, rule: &names::Rule, report: &mut Report<'_>) {
    report.named(metadata, rule);
    let spot = Spot::root().key("metadata");
    for (field, is_there) in [
        ("uid", metadata.uid.is_some()),
        ("resourceVersion", metadata.resource_version.is_some()),
        ("managedFields", metadata.managed_fields.as_ref().is_some_and(|fields| !fields.is_empty())),
    ] {
        if is_there {
            report.tell(&spot.key(field), "the API server's to say, of one object in one cluster; remove it");
        }
    }
}

/// Tells that a reference is to no kind that could be meant.
pub(super) fn not_one_of(
    spot: &Spot,
    group: Option<&str>,
    kind: &str,
    known: &[GroupKind],
    report: &mut Report<'_>,
) {
    let groups: Vec<_> = known
        .iter()
        .filter(|known| known.1.eq_ignore_ascii_case(kind))
        .map(|known| if known.0.is_empty() { "\"\"" } else { known.0 })
        .collect();
    if groups.is_empty() {
        let remedy = suggest(kind, known.iter().map(|known| known.1));
        report.tell(&spot.key("kind"), &format!("not for a {kind}{remedy}"));
        return;
    }
    let found = match group {
        None | Some("") => "the core group has no such kind".to_owned(),
        Some(group) => format!("{group} has no such kind that is taken here"),
    };
    let remedy = groups.join(" or ");
    report.tell(&spot.key("group"), &format!("{kind}: {found}; write group: {remedy}"));
}
