//! The steps to a verdict, in words.

use std::fmt;

use serde::Serialize;

use super::{Call, Caller, Destination, Outcome, Seen};
use crate::authz::{Authentication, Authorization, Client, Lack};
use crate::inbound::{Ignored, Inbound, Permits, PortPolicy, ProxyProtocol, Routes, Step, Trace};
use crate::label::ResourceLabel;
use crate::model::Workload;
use crate::rate_limit::{RateLimit, RateLimited};
use crate::route::Protocol;

/// One step to a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// What the step is about: `client`, `request`, `outbound`, `service`, `server`, `route`, `authorization`, `filter`,
    /// `rate-limit`, `ignored`, `answer`.
    pub step: &'static str,
    /// The object that it rests on, as `KIND NAME`; none where there is none.
    pub object: Option<String>,
    /// What it says.
    pub text: String,
}

impl Link {
    pub(super) fn new(step: &'static str, object: Option<&ResourceLabel>, text: impl Into<String>) -> Self {
        let named = object.filter(|object| !object.is_default()).map(ToString::to_string);
        Self { step, object: named, text: text.into() }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<14} {}", self.step, self.text)
    }
}

/// Who calls what.
pub(super) fn opening(caller: &Caller, call: &Call) -> Vec<Link> {
    let address = caller.address;
    let client = match &caller.account {
        Some((name, namespace)) => format!("{name} of namespace {namespace}, meshed, from {address}"),
        None => format!("a client without a sidecar, from {address}"),
    };
    let query = call.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let protocol = match call.protocol {
        Protocol::Grpc => "gRPC",
        Protocol::Http2 => "HTTP/2",
        Protocol::Http1 => "HTTP/1",
    };
    let request = format!("{protocol} {} {}{query}", call.method, call.path);
    vec![Link::new("client", None, client), Link::new("request", None, request)]
}

/// Where it arrives.
pub(super) fn service(call: &Call, to: &Destination<'_>) -> Link {
    let port = to.port.name.clone().map(|name| format!("{name} ({})", to.port.port));
    let port = port.unwrap_or_else(|| to.port.port.to_string());
    let service = format!(
        "Service {} port {port} leads to Deployment {}, port {}",
        call.service, to.workload.name, to.container_port
    );
    let others: Vec<_> = to.others.iter().map(|other| other.name.as_str()).collect();
    let service = match others.as_slice() {
        [] => service,
        others => format!("{service} (and to {}, which is not looked at here)", others.join(", ")),
    };
    Link::new("service", None, service)
}

pub(super) fn no_sidecar(workload: &Workload) -> Link {
    let text = format!("the pods of {} have no sidecar: nothing enforces policies there", workload.name);
    Link::new("server", None, text)
}

/// The port's Server.
pub(super) fn server(policy: &PortPolicy) -> Link {
    let protocol = match policy.protocol {
        ProxyProtocol::Detect => "protocol detected",
        ProxyProtocol::Http1 => "HTTP/1",
        ProxyProtocol::Http2 => "HTTP/2",
        ProxyProtocol::Grpc => "gRPC",
        ProxyProtocol::Opaque => "opaque",
        ProxyProtocol::Tls => "TLS",
    };
    let text = match (&policy.broken, policy.server.is_default()) {
        (Some(reason), _) => reason.clone(),
        (None, true) => format!("no Server selects it: the default policy {} applies", policy.server.name),
        (None, false) => format!("{} selects it ({protocol})", policy.server),
    };
    Link::new("server", Some(&policy.server), text)
}

/// Other Servers that select the same port.
pub(super) fn conflict(inbound: &Inbound, port: u16) -> Option<Link> {
    let (first, others) = inbound.conflicts.get(&port)?;
    let others = others.join(", ");
    Some(Link::new(
        "server",
        None,
        format!("Server {others} selects the same port and has no effect beside {first}"),
    ))
}

/// The steps that the engine told.
pub(super) fn steps(trace: &Trace, policy: &PortPolicy, client: &Client<'_>) -> Vec<Link> {
    // That a client is not the pod itself goes without saying.
    let told = trace.steps.iter().filter(|step| {
        !matches!(step, Step::Lacks { authorization, .. } if *authorization == ResourceLabel::default_of("localhost"))
    });
    told.map(|step| link(step, policy, client)).collect()
}

fn link(step: &Step, policy: &PortPolicy, client: &Client<'_>) -> Link {
    match step {
        Step::Server { .. } => server(policy),
        Step::Passed { route, by_host: true } => {
            Link::new("route", Some(route), format!("{route} is for other hosts"))
        }
        Step::Passed { route, by_host: false } => {
            Link::new("route", Some(route), format!("{route} does not match"))
        }
        Step::Outdone { route, rule } => Link::new(
            "route",
            Some(route),
            format!("{route} matches too (rule {}), but not as well", rule + 1),
        ),
        Step::Route { route, .. } if route.is_default() => {
            let text = match route.name.as_str() {
                "probe" => "it is a probe of the kubelet's: the route for probes takes it",
                "invalid" => "nothing reaches a route",
                _ if policy.server.is_default() => "the default route takes every request",
                _ => "the Server has no routes: the default route takes every request",
            };
            Link::new("route", None, text)
        }
        Step::Route { route, rule } => {
            Link::new("route", Some(route), format!("{route} takes it (rule {})", rule + 1))
        }
        Step::NoRoute => {
            let text = if policy.route_labels().iter().any(|label| label.is_default()) {
                "only POST to /SERVICE/METHOD is a gRPC request"
            } else {
                "no route takes it, and then nobody is let in, authorized or not"
            };
            Link::new("route", None, text)
        }
        Step::Lacks { authorization, lack } => {
            let text = match (lack, find(policy, authorization)) {
                (Lack::Network, _) => format!("{} is not in its networks", client.address),
                (Lack::AnyIdentity, _) => "the client has no identity".to_owned(),
                (Lack::Identity, Some(own)) => {
                    let identity = client.identity.unwrap_or_default();
                    format!("{identity} is not {}", wanted(own))
                }
                (Lack::Identity, None) => "the client has another identity".to_owned(),
            };
            Link::new(
                "authorization",
                Some(authorization),
                format!("{} does not: {text}", shown(authorization)),
            )
        }
        Step::Permits { authorization } => Link::new(
            "authorization",
            Some(authorization),
            format!("{} lets the client in", shown(authorization)),
        ),
        Step::Denied => Link::new("authorization", None, "no authorization lets the client in"),
    }
}

fn shown(authorization: &ResourceLabel) -> String {
    if !authorization.is_default() {
        return authorization.to_string();
    }
    match authorization.name.as_str() {
        "localhost" => "what a pod says to itself".to_owned(),
        "probe" => "the authorization of probes".to_owned(),
        name => format!("the access policy {name}"),
    }
}

fn find<'p>(policy: &'p PortPolicy, label: &ResourceLabel) -> Option<&'p Authorization> {
    let of = |permits: &'p Permits| {
        permits.authorizations.iter().map(|permit| &permit.authorization).find(|own| own.label == *label)
    };
    let in_routes = match &policy.routes {
        Routes::Http(routes) => routes.iter().find_map(|route| of(&route.policy)),
        Routes::Grpc(routes) => routes.iter().find_map(|route| of(&route.policy)),
    };
    in_routes.or_else(|| of(&policy.connections))
}

fn wanted(authorization: &Authorization) -> String {
    let Authentication::Identity { identities, suffixes } = &authorization.authentication else {
        return "wanted".to_owned();
    };
    let patterns = suffixes.iter().map(|suffix| format!("*{suffix}"));
    let all: Vec<_> = identities.iter().cloned().chain(patterns).collect();
    match all.as_slice() {
        [one] => one.clone(),
        all => format!("one of {}", all.join(", ")),
    }
}

pub(super) fn rate_limit(limit: &RateLimit, last: Result<(), RateLimited>, nth: u32) -> Link {
    let label = ResourceLabel::new(crate::model::LINKERD, "HTTPLocalRateLimitPolicy", &limit.name);
    let text = match last {
        Ok(()) => format!("{label}: request {nth} of a moment is within its limits"),
        Err(error) => format!("{label}: request {nth} of a moment exceeds them: {error}"),
    };
    Link::new("rate-limit", Some(&label), text)
}

/// An object that was meant to matter and does not.
pub(super) fn ignored(ignored: &Ignored) -> Link {
    let Ignored { kind, name, reason, .. } = ignored;
    let object = ResourceLabel::new(crate::model::LINKERD, kind, name);
    Link::new("ignored", Some(&object), format!("{kind} {name} has no effect: {reason}"))
}

/// What the client gets.
pub(super) fn answer(verdict: Outcome, seen: Seen) -> Link {
    let text = match (seen.http_status, seen.grpc_status) {
        (None, _) => format!("{verdict}: the connection is closed"),
        (Some(_), Some(grpc)) => format!("{verdict}: grpc-status {grpc}"),
        (Some(http), None) => format!("{verdict}: HTTP {http}"),
    };
    Link::new("answer", None, text)
}
