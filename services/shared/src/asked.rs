//! What was asked, as the server saw it, whichever protocol it came by.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, Request, Version};
use tokio::time::Instant;

use crate::trace::Trace;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `HTTP/1.1`, `HTTP/2` (no gRPC) or `gRPC`.
    pub protocol: &'static str,
    /// Its method; `POST` for gRPC.
    pub method: String,
    /// Its path with the query.
    pub path: String,
    /// Its headers by lower-case name, readable values only; several of one name are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// The trace that it belongs to.
    pub trace: Trace,
    /// When the client stops waiting, if it said so (`grpc-timeout`).
    pub deadline: Option<Instant>,
}

impl Asked {
    /// Takes down a request that came in by plain HTTP, or by gRPC if `grpc`.
    pub(crate) fn of<B>(request: &Request<B>, grpc: bool) -> Self {
        let headers = request.headers();
        let timeout =
            headers.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(grpc_timeout);
        Self {
            protocol: match request.version() {
                _ if grpc => "gRPC",
                Version::HTTP_09 | Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2",
                _ => "HTTP/1.1",
            },
            method: request.method().to_string(),
            path: request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            headers: readable(headers),
            trace: Trace::of(headers),
            deadline: timeout.filter(|_| grpc).map(|timeout| Instant::now() + timeout),
        }
    }
}

fn readable(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut map = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let Ok(value) = value.to_str() else { continue };
        map.entry(name.as_str().to_owned())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
    }
    map
}

/// `grpc-timeout`: at most eight digits and a unit
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
fn grpc_timeout(value: &str) -> Option<Duration> {
    let unit = value.len().checked_sub(1).filter(|&digits| (1..=8).contains(&digits))?;
    let (amount, unit) = value.split_at_checked(unit)?;
    let amount = amount.bytes().all(|digit| digit.is_ascii_digit()).then(|| amount.parse::<u64>().ok())??;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_timeout_is_read_in_each_unit() {
        assert_eq!(grpc_timeout("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(grpc_timeout("3M"), Some(Duration::from_secs(180)));
        assert_eq!(grpc_timeout("3S"), Some(Duration::from_secs(3)));
        assert_eq!(grpc_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(grpc_timeout("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(grpc_timeout("1n"), Some(Duration::from_nanos(1)));
        for malformed in ["", "S", "3", "3s", "-3S", "+3S", "123456789S", "3é"] {
            assert_eq!(grpc_timeout(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn headers_of_one_name_are_joined_and_unreadable_ones_left_out() {
        let request = Request::get("http://foo/a?b=1")
            .header("X-Twice", "1")
            .header("x-twice", "2")
            .header("x-bytes", &[0xff_u8][..])
            .body(())
            .unwrap();
        let asked = Asked::of(&request, false);
        assert_eq!(asked.path, "/a?b=1");
        assert_eq!(asked.headers, BTreeMap::from([("x-twice".to_owned(), "1, 2".to_owned())]));
    }

    #[test]
    fn a_deadline_is_a_grpc_clients_to_set() {
        let request = Request::post("/demo.Baz/GetInfo").header("grpc-timeout", "1S").body(()).unwrap();
        assert!(Asked::of(&request, true).deadline.is_some());
        assert!(Asked::of(&request, false).deadline.is_none());
    }
}
