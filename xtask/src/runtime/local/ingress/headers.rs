//! Pure: what ingress-nginx (v1.15.1, `rootfs/etc/nginx/template/nginx.tmpl`) changes in the headers of
//! requests and answers, with its default configuration.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    SERVER, TE, TRANSFER_ENCODING, UPGRADE,
};

/// What the listener knows of a request.
#[derive(Clone, Debug)]
pub struct Received {
    /// The client's address.
    pub client: IpAddr,
    /// The port it came in on.
    pub port: u16,
    /// Its Host header or `:authority`.
    pub host: HeaderValue,
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");
const X_ORIGINAL_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-original-forwarded-for");
const X_ORIGINAL_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-original-forwarded-host");
const PROXY: HeaderName = HeaderName::from_static("proxy");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const HTTP: HeaderValue = HeaderValue::from_static("http");

/// Makes a client's headers those that the backend gets; without a Host, which HTTP/2 has elsewhere.
pub fn to_backend(headers: &mut HeaderMap, received: &Received) {
    let trailers = headers.get_all(TE).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|t| t.trim().eq_ignore_ascii_case("trailers")))
    });
    remove_hop_by_hop(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // `underscores_in_headers off`: nginx drops them without a word.
    let underscored: Vec<_> = headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    for name in underscored {
        headers.remove(name);
    }
    for name in [HOST, EXPECT, PROXY] {
        headers.remove(name);
    }
    join_cookies(headers);
    if headers.get(X_REQUEST_ID).is_none_or(HeaderValue::is_empty) {
        headers.insert(X_REQUEST_ID, request_id());
    }
    // Without `use-forwarded-headers` the client's word counts for nothing; it is passed on as such.
    for (name, original) in
        [(X_FORWARDED_FOR, X_ORIGINAL_FORWARDED_FOR), (X_FORWARDED_HOST, X_ORIGINAL_FORWARDED_HOST)]
    {
        match headers.remove(name) {
            Some(value) => drop(headers.insert(original, value)),
            None => drop(headers.remove(original)),
        }
    }
    let client = HeaderValue::try_from(received.client.to_string());
    if let Ok(client) = client {
        headers.insert(X_REAL_IP, client.clone());
        headers.insert(X_FORWARDED_FOR, client);
    }
    headers.insert(X_FORWARDED_HOST, received.host.clone());
    headers.insert(X_FORWARDED_PORT, received.port.into());
    for name in [X_FORWARDED_PROTO, X_FORWARDED_SCHEME, X_SCHEME] {
        headers.insert(name, HTTP);
    }
}

/// Makes a backend's headers those that the client gets.
pub fn to_client(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    headers.remove(SERVER);
}

/// What concerns one connection only (RFC 9110, 7.6.1).
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // What frames the message is not for the other side to name.
        .filter(|name| *name != CONTENT_LENGTH && *name != HOST)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// HTTP/2 clients may split cookies; HTTP/1 has one header of them (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    let (Some(first), Some(_)) = (cookies.next(), cookies.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for cookie in headers.get_all(COOKIE).iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, value);
    }
}

/// The protocol that the client wants to change to, if it does.
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get_all(CONNECTION).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|t| t.trim().eq_ignore_ascii_case("upgrade")))
    });
    headers.get(UPGRADE).filter(|_| asked).cloned()
}

/// Whether it is a gRPC call, by its content type.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        matches!(rest, Some([] | [b'+' | b';', ..]))
    })
}

/// 32 hexadecimal digits, as nginx's `$request_id`.
fn request_id() -> HeaderValue {
    static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut id = String::with_capacity(32);
    for keys in KEYS.iter() {
        // Writing to a String does not fail.
        let _ = write!(id, "{:016x}", keys.hash_one(count));
    }
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(headers: &[(&str, &str)]) -> HeaderMap {
        let mut map: HeaderMap = headers
            .iter()
            .map(|(k, v)| (k.parse::<HeaderName>().unwrap(), HeaderValue::from_str(v).unwrap()))
            .collect();
        let host = HeaderValue::from_static("foo.localhost:8080");
        to_backend(&mut map, &Received { client: [127, 0, 0, 1].into(), port: 8080, host });
        map
    }

    fn text(headers: &HeaderMap) -> String {
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines.join("\n")
    }

    #[test]
    fn a_backend_gets_what_nginx_would_send() {
        insta::assert_snapshot!(text(&sent(&[
            ("host", "foo.localhost:8080"),
            ("accept", "*/*"),
            ("x-request-id", "mine"),
            ("x-forwarded-for", "10.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "10.1.1.1"),
            ("connection", "keep-alive, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "5"),
            ("te", "gzip, trailers"),
            ("proxy", "http://evil"),
            ("x_under", "1"),
            ("expect", "100-continue"),
        ])), @r"
        accept: */*
        te: trailers
        x-forwarded-for: 127.0.0.1
        x-forwarded-host: foo.localhost:8080
        x-forwarded-port: 8080
        x-forwarded-proto: http
        x-forwarded-scheme: http
        x-original-forwarded-for: 10.1.1.1
        x-real-ip: 127.0.0.1
        x-request-id: mine
        x-scheme: http
        ");
    }

    #[test]
    fn a_request_without_an_id_gets_one_of_its_own() {
        let (one, two) = (sent(&[]), sent(&[]));
        assert_eq!(one[X_REQUEST_ID].len(), 32);
        assert_ne!(one[X_REQUEST_ID], two[X_REQUEST_ID]);
    }

    #[test]
    fn split_cookies_arrive_as_one_header() {
        let headers = sent(&[("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn a_client_does_not_learn_of_the_backends_connection() {
        let mut headers = HeaderMap::from_iter([
            (CONNECTION, HeaderValue::from_static("close, content-length")),
            (SERVER, HeaderValue::from_static("hyper")),
            (CONTENT_LENGTH, HeaderValue::from_static("2")),
        ]);
        to_client(&mut headers);
        assert_eq!(text(&headers), "content-length: 2");
    }

    #[test]
    fn grpc_is_told_from_what_merely_begins_like_it() {
        let of = |value| is_grpc(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]));
        assert!(of("application/grpc") && of("application/grpc+proto") && of("application/grpc; a=b"));
        assert!(!of("application/grpc-web") && !of("application/json"));
    }
}
