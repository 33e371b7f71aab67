//! What becomes of one call, and why: from who calls what, to the verdict and the chain of objects that led to it.
//!
//! Decides with the same code as the mesh; only the words are made here.

mod chain;
mod outbound;
mod resolve;
mod seen;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http::{HeaderMap, Method};
use serde::Serialize;

pub use chain::Link;
use outbound::Left;
pub use resolve::{Destination, Unanswerable, destination, speaks_grpc};
pub(crate) use seen::mismatch_of as mismatch;
pub use seen::{Seen, seen};

use crate::authz::Client;
use crate::cluster::ClusterInfo;
use crate::inbound::{Inbound, PortPolicy, Trace, Verdict};
use crate::model::Objects;
use crate::rate_limit::Limiter;
use crate::route::{Protocol, Request};

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// `ServiceAccount` and namespace of a client with a sidecar; none for one without.
    pub account: Option<(String, String)>,
    /// Whence, as the server's policies see it.
    pub address: IpAddr,
}

impl Caller {
    /// The address of a pod, where it is not said: kind's pod network.
    pub const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 10));

    /// A client with a sidecar.
    pub fn meshed(service_account: &str, namespace: &str) -> Self {
        Self { account: Some((service_account.to_owned(), namespace.to_owned())), address: Self::POD }
    }

    /// A client without one.
    pub fn unmeshed() -> Self {
        Self { account: None, address: Self::POD }
    }
}

/// What is called.
#[derive(Clone, Debug)]
pub struct Call {
    /// The Service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// Its port, by number or name; none: the one that fits the request.
    pub port: Option<String>,
    /// How the client speaks.
    pub protocol: Protocol,
    /// The HTTP method.
    pub method: Method,
    /// `Host` or `:authority`; none: the Service's name.
    pub authority: Option<String>,
    /// The path, with its leading slash.
    pub path: String,
    /// What follows `?`.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The how manieth of as many at one moment, from 1: rate limits refuse only what exceeds their burst.
    pub nth: u32,
}

impl Call {
    /// A gRPC call of `PACKAGE.SERVICE/METHOD`.
    pub fn grpc(service: &str, namespace: &str, port: Option<&str>, method: &str) -> Self {
        Self {
            protocol: Protocol::Grpc,
            method: Method::POST,
            ..Self::http(service, namespace, port, &format!("/{}", method.trim_start_matches('/')))
        }
    }

    /// An HTTP/1 GET of `/PATH?QUERY`.
    pub fn http(service: &str, namespace: &str, port: Option<&str>, path: &str) -> Self {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        Self {
            service: service.to_owned(),
            namespace: namespace.to_owned(),
            port: port.map(str::to_owned),
            protocol: Protocol::Http1,
            method: Method::GET,
            authority: None,
            path: path.to_owned(),
            query: query.map(str::to_owned),
            headers: HeaderMap::new(),
            nth: 1,
        }
    }
}

impl Call {
    fn request<'a>(&'a self, authority: &'a str, headers: &'a HeaderMap) -> Request<'a> {
        Request {
            protocol: self.protocol,
            method: &self.method,
            authority: Some(authority),
            path: &self.path,
            query: self.query.as_deref(),
            headers,
        }
    }
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is passed on.
    Allow,
    /// It is passed on and noted.
    Audit,
    /// It is refused.
    Deny,
    /// No route takes it.
    NoRoute,
    /// There were too many.
    RateLimited,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Audit => "audit",
            Self::Deny => "deny",
            Self::NoRoute => "no-route",
            Self::RateLimited => "rate-limited",
        })
    }
}

/// What becomes of a call, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// How it ends.
    pub verdict: Outcome,
    /// The HTTP status that the client sees, 200 where an application answers well; none where it gets no answer.
    pub http_status: Option<u16>,
    /// The gRPC status that the client sees; none for HTTP.
    pub grpc_status: Option<u8>,
    /// The Server that decided, or the default in its place; none where there is no sidecar to decide.
    pub server: Option<String>,
    /// The route that took the request.
    pub route: Option<String>,
    /// The authorization that let the client in.
    pub authorization: Option<String>,
    /// The steps to the verdict, in order.
    pub chain: Vec<Link>,
}

/// Explains a call: what the client's sidecar makes of it, then the server's. Errors when it names what is not there.
pub fn explain(
    objects: &Objects,
    cluster: &ClusterInfo,
    caller: &Caller,
    call: &Call,
) -> Result<Explanation, Unanswerable> {
    let named = destination(objects, call)?;
    let mut chain = chain::opening(caller, call);
    let authority = format!("{}.{}.svc.{}", call.service, call.namespace, cluster.dns_domain);
    let authority = call.authority.as_deref().unwrap_or(&authority);
    let request = call.request(authority, &call.headers);
    let port = u16::try_from(named.port.port).unwrap_or_default();
    let (service, headers) =
        match outbound::leave(objects, cluster, caller, call, (port, &request), &mut chain) {
            Left::For { service, headers } => (service, headers),
            Left::Answered { outcome, seen } => return Ok(answered(outcome, seen, chain)),
        };
    let arriving = Call {
        service: service.name,
        namespace: service.namespace,
        port: Some(service.port.to_string()),
        headers,
        ..call.clone()
    };
    let destination = destination(objects, &arriving)?;
    chain.push(chain::service(&arriving, &destination));
    let workload = destination.workload;
    if !workload.is_meshed() {
        chain.push(chain::no_sidecar(workload));
        return Ok(answered(Outcome::Allow, seen(Outcome::Allow, None, call, caller), chain));
    }
    let inbound = Inbound::new(workload, objects, cluster);
    chain.extend(chain::conflict(&inbound, destination.container_port));
    let policy = inbound.port(destination.container_port);
    let request = arriving.request(authority, &arriving.headers);
    let explanation = inbound_explanation(policy, cluster, caller, (&arriving, &request), chain);
    Ok(with_ignored(explanation, &inbound))
}

fn inbound_explanation(
    policy: &PortPolicy,
    cluster: &ClusterInfo,
    caller: &Caller,
    (call, request): (&Call, &Request<'_>),
    mut chain: Vec<Link>,
) -> Explanation {
    let identity = caller.account.as_ref().map(|(name, namespace)| cluster.identity(name, namespace));
    let client = Client { address: caller.address, identity: identity.as_deref() };
    if let Some(reason) = seen::mismatch(policy, call, caller) {
        chain.push(chain::server(policy));
        chain.push(Link::new("server", None, reason));
        let nothing = Seen { http_status: None, grpc_status: None };
        let mut refused = answered(Outcome::Deny, nothing, chain);
        refused.server = Some(policy.server.name.clone());
        return refused;
    }
    let (decided, trace) = Trace::of_request(policy, &client, request);
    chain.extend(chain::steps(&trace, policy, &client));
    let mut outcome = match decided.verdict {
        Verdict::Allow => Outcome::Allow,
        Verdict::Audit => Outcome::Audit,
        Verdict::Deny => Outcome::Deny,
        Verdict::NoRoute => Outcome::NoRoute,
    };
    let mut is_seen = seen(outcome, Some(policy), call, caller);
    if matches!(outcome, Outcome::Allow | Outcome::Audit) {
        let redirect = seen::redirect(&decided, request);
        if let Some((status, text)) = &redirect {
            chain.push(Link::new("filter", None, text.clone()));
            is_seen = seen::redirected(*status, call);
        }
        // A redirect answers before the limit is looked at.
        if let Some(limit) = policy.rate_limit.as_ref().filter(|_| redirect.is_none()) {
            let limiter = Limiter::default();
            let all = (0..call.nth.max(1)).map(|_| limiter.check(limit, client.identity, Duration::ZERO));
            let last = all.last().unwrap_or(Ok(()));
            chain.push(chain::rate_limit(limit, last, call.nth));
            if last.is_err() {
                outcome = Outcome::RateLimited;
                is_seen = seen(outcome, Some(policy), call, caller);
            }
        }
    }
    let labels = decided.labels;
    let mut explanation = answered(outcome, is_seen, chain);
    explanation.server = Some(labels.server.name.clone());
    explanation.route = labels.route.as_ref().map(|route| route.name.clone());
    explanation.authorization = labels.authz.as_ref().map(|authorization| authorization.name.clone());
    explanation
}

fn answered(verdict: Outcome, is_seen: Seen, mut chain: Vec<Link>) -> Explanation {
    chain.push(chain::answer(verdict, is_seen));
    let Seen { http_status, grpc_status } = is_seen;
    Explanation { verdict, http_status, grpc_status, server: None, route: None, authorization: None, chain }
}

/// Objects that were meant for these pods and have no effect are part of the answer when it is a refusal.
fn with_ignored(mut explanation: Explanation, inbound: &Inbound) -> Explanation {
    if !matches!(explanation.verdict, Outcome::Allow) {
        let answer = explanation.chain.pop();
        explanation.chain.extend(inbound.ignored.iter().map(chain::ignored));
        explanation.chain.extend(answer);
    }
    explanation
}

#[cfg(test)]
mod tests;
