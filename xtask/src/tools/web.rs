//! One GET over HTTP or HTTPS: redirects followed, a proxy used where the environment names one.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, LOCATION, USER_AGENT};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioExecutor;

use super::download::Failure;

/// How long a connection to one address may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How many redirects are followed: a release takes one or two.
const REDIRECTS: usize = 5;

/// Sends a GET and follows redirects, to the head of the answer. Each answer must begin within `stall`.
pub async fn get(uri: &Uri, headers: &HeaderMap, stall: Duration) -> Result<Response<Incoming>, Failure> {
    let mut uri = uri.clone();
    for _ in 0..=REDIRECTS {
        let answer = tokio::time::timeout(stall, send(&uri, headers)).await;
        let answer = answer.map_err(|_| Failure::Stalled { bytes: 0, after: stall })??;
        if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(answer);
        }
        uri = next(&uri, answer.headers().get(LOCATION))?;
    }
    Err(Failure::Answer(format!("more than {REDIRECTS} redirects")))
}

/// Where a redirect leads.
fn next(from: &Uri, location: Option<&HeaderValue>) -> Result<Uri, Failure> {
    let nowhere = || Failure::Answer("a redirect to nowhere".to_owned());
    let location = location.and_then(|value| value.to_str().ok()).ok_or_else(nowhere)?;
    let to: Uri = location.parse().map_err(|_| nowhere())?;
    let to = match (to.host(), from.authority(), from.scheme()) {
        (None, Some(authority), Some(scheme)) if location.starts_with('/') => {
            let path = to.path_and_query().map_or("/", |path| path.as_str());
            Uri::builder().scheme(scheme.clone()).authority(authority.clone()).path_and_query(path).build()
        }
        (Some(_), ..) if matches!(to.scheme_str(), Some("http" | "https")) => Ok(to),
        _ => return Err(nowhere()),
    };
    to.map_err(|_| nowhere())
}

async fn send(uri: &Uri, headers: &HeaderMap) -> Result<Response<Incoming>, Failure> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers.clone();
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("xtask"));
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(CONNECT));
    if uri.scheme_str() != Some("https") {
        return ask(tcp, request).await;
    }
    tcp.enforce_http(false);
    // ring by name, as everywhere here: two providers in one process panic.
    let tls = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(|error| Failure::NoRoots(error.to_string()))?
        .https_only()
        .enable_http1();
    let Some(proxy) = Matcher::from_env().intercept(uri) else {
        return ask(tls.wrap_connector(tcp), request).await;
    };
    if proxy.uri().scheme_str() != Some("http") {
        return Err(Failure::Answer(format!("the proxy {} is no http proxy", proxy.uri())));
    }
    let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
    if let Some(auth) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(auth.clone());
    }
    ask(tls.wrap_connector(tunnel), request).await
}

async fn ask<C>(connector: C, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, Failure>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    client.request(request).await.map_err(|error| Failure::Unreachable { host, why: cause(&error) })
}

/// What is at the bottom of an error: the layers above it say only that there is one below.
pub fn cause(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(below) = error.source() {
        error = below;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_to_another_host_or_another_path() {
        let from: Uri = "https://github.com/o/r".parse().unwrap();
        let to = |location: &str| {
            next(&from, Some(&HeaderValue::from_str(location).unwrap())).map(|uri| uri.to_string()).ok()
        };
        assert_eq!(to("https://cdn.example/x?y=1").as_deref(), Some("https://cdn.example/x?y=1"));
        assert_eq!(to("/x?y=1").as_deref(), Some("https://github.com/x?y=1"));
        assert_eq!(to("x"), None);
        assert!(next(&from, None).is_err());
    }
}
