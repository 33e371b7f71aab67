//! What a client sees of a verdict: linkerd2-proxy's `errors/respond.rs` and `inbound/http/server.rs`.

use super::{Call, Caller, Outcome};
use crate::inbound::{PortPolicy, ProxyProtocol, RequestVerdict};
use crate::route::{Filter, Protocol, Request};

/// The statuses that a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Of HTTP; none where there is no answer.
    pub http_status: Option<u16>,
    /// Of gRPC; none for HTTP.
    pub grpc_status: Option<u8>,
}

/// What a client sees. An application is taken to answer well. `policy`: the port's, none without a sidecar.
pub fn seen(outcome: Outcome, policy: Option<&PortPolicy>, call: &Call, caller: &Caller) -> Seen {
    let by_connection = policy.is_some_and(PortPolicy::is_by_connection);
    let (http, grpc) = match outcome {
        Outcome::Allow | Outcome::Audit => (200, 0),
        // The connection is closed; a client's own sidecar makes an answer of that.
        Outcome::Deny if by_connection && caller.account.is_some() => (502, 14),
        Outcome::Deny if by_connection => return Seen { http_status: None, grpc_status: None },
        Outcome::Deny => (403, 7),
        Outcome::NoRoute => (404, 5),
        Outcome::RateLimited => (429, 8),
    };
    shaped(http, grpc, call)
}

pub(super) fn shaped(http: u16, grpc: u8, call: &Call) -> Seen {
    match call.protocol {
        Protocol::Grpc => Seen { http_status: Some(200), grpc_status: Some(grpc) },
        Protocol::Http1 | Protocol::Http2 => Seen { http_status: Some(http), grpc_status: None },
    }
}

/// Why a port cannot even read a request: its Server says that it speaks another protocol. Meshed clients' HTTP/1
/// comes over HTTP/2 and is detected (`inbound/detect.rs` of linkerd2-proxy).
pub(super) fn mismatch(policy: &PortPolicy, call: &Call, caller: &Caller) -> Option<&'static str> {
    if caller.account.is_some() { None } else { mismatch_of(policy.protocol, call.protocol) }
}

/// The same for a client without a sidecar.
pub(crate) fn mismatch_of(served: ProxyProtocol, spoken: Protocol) -> Option<&'static str> {
    match (served, spoken) {
        (ProxyProtocol::Grpc | ProxyProtocol::Http2, Protocol::Http1) => Some(
            "no answer: the port is served as HTTP/2 only, and the client speaks HTTP/1 without a sidecar",
        ),
        (ProxyProtocol::Http1, Protocol::Http2 | Protocol::Grpc) => Some(
            "no answer: the port is served as HTTP/1 only, and the client speaks HTTP/2 without a sidecar",
        ),
        _ => None,
    }
}

/// The status of a route's redirect, and its text; none where the route has none or the request is there already.
/// One that cannot be made is answered with 500.
pub(super) fn redirect(decided: &RequestVerdict<'_>, request: &Request<'_>) -> Option<(u16, String)> {
    let redirects = decided.filters.iter().filter_map(|filter| match filter {
        Filter::Redirect(redirect) => Some(redirect),
        _ => None,
    });
    for redirect in redirects {
        match redirect.apply(request, decided.path) {
            Ok(None) => {}
            Ok(Some(to)) => {
                return Some((to.status.as_u16(), format!("the route redirects to {}", to.location)));
            }
            Err(error) => return Some((500, format!("the route's redirect cannot be made: {error}"))),
        }
    }
    None
}

/// What a client sees of a redirect.
pub(super) fn redirected(status: u16, call: &Call) -> Seen {
    shaped(status, if status == 500 { 13 } else { 5 }, call)
}
