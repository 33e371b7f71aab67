use std::{sync::Arc, time::Instant};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::body::Incoming;

use crate::{
    body::{RequestBody, ResponseBody},
    metrics::HttpMetrics,
    outbound::{Outbound, endpoint::Lease},
    record::{Tracker, grpc_status},
    respond::{L5D_ORIG_PROTO, L5D_PROXY_CONNECTION, L5D_PROXY_ERROR, Shape},
};

/// A response's head and how to follow its end.
pub(crate) type Answer = (Response<ResponseBody>, Tracker);

impl Outbound {
    /// What was sent to this listener is addressed as the application's configuration addressed it. Another name
    /// in `Host` is the application's own choice and stays.
    pub(crate) fn restore_authority(&self, head: &mut Parts) {
        let host = head.headers.remove(HOST);
        let asked = head.uri.authority().map(Authority::as_str).map(str::as_bytes);
        let asked = asked.or(host.as_ref().map(HeaderValue::as_bytes));
        let own = match asked {
            Some(asked) if asked != self.listener.as_bytes() => {
                asked.try_into().ok().filter(|a: &Authority| !a.as_str().is_empty())
            }
            _ => None,
        };
        let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(own.unwrap_or_else(|| self.authority.clone()));
        parts.path_and_query = Some(path);
        if let Ok(uri) = Uri::from_parts(parts) {
            head.uri = uri;
        }
    }
}

/// Makes a response the application's: what the other proxy told this one is taken off.
pub(crate) fn answer(
    response: Response<Incoming>,
    lease: Lease,
    metrics: Arc<HttpMetrics>,
    shape: Shape,
    start: Instant,
) -> Answer {
    let mut response = response.map(ResponseBody::incoming);
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    if shape.version != Version::HTTP_2 && !switched {
        strip_hop(headers);
    }
    headers.remove(L5D_PROXY_ERROR);
    headers.remove(L5D_ORIG_PROTO);
    let close = headers.remove(L5D_PROXY_CONNECTION).is_some_and(|value| value == "close");
    if close && shape.version == Version::HTTP_11 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let grpc_status = grpc_status(headers);
    if shape.version != Version::HTTP_2 {
        *response.version_mut() = Version::HTTP_11;
    }
    let status = response.status().as_u16();
    let tracker =
        Tracker { metrics, start, status, grpc: shape.grpc, grpc_status, draft: None, lease: Some(lease) };
    (response, tracker)
}

/// Turns a request of the application into one for the hop between sidecars.
pub(crate) fn to_h2(request: &mut Request<RequestBody>, shape: Shape) {
    if shape.version != Version::HTTP_2 {
        let original = if shape.version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
        strip_hop(request.headers_mut());
        request.headers_mut().insert(L5D_ORIG_PROTO, HeaderValue::from_static(original));
    }
    *request.version_mut() = Version::HTTP_2;
}

/// Takes off what concerns one connection only (RFC 9110, 7.6.1).
pub(crate) fn strip_hop(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    if let Some(connection) = headers.remove(CONNECTION)
        && let Ok(named) = connection.to_str()
    {
        for name in named.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            headers.remove(name);
        }
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}
