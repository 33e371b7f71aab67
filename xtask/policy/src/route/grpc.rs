use http::Method;

use super::{HeaderMatch, Match, Request};

/// What a gRPC request must be, all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GrpcMatch {
    /// `PACKAGE.SERVICE`; none: any.
    pub service: Option<String>,
    /// The method; none: any.
    pub method: Option<String>,
    /// The headers.
    pub headers: Vec<HeaderMatch>,
}

/// How well a gRPC request matched: by the characters of the service's name, then of the method's, then headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrpcSummary {
    /// Characters of the service's name.
    pub service: usize,
    /// Characters of the method's name.
    pub method: usize,
    /// How many headers.
    pub headers: usize,
}

impl Match for GrpcMatch {
    type Summary = GrpcSummary;

    /// Only POST to `/SERVICE/METHOD` matches; what follows a further `/` does not count.
    fn summarize(&self, request: &Request<'_>) -> Option<GrpcSummary> {
        if request.method != Method::POST {
            return None;
        }
        let mut parts = request.path.split('/');
        if !parts.next()?.is_empty() {
            return None;
        }
        let service = matched(self.service.as_deref(), parts.next()?)?;
        let method = matched(self.method.as_deref(), parts.next()?)?;
        let headers = self.headers.iter().all(|header| header.matches(request.headers));
        headers.then_some(GrpcSummary { service, method, headers: self.headers.len() })
    }
}

/// The characters that count; none if it is another.
fn matched(wanted: Option<&str>, is: &str) -> Option<usize> {
    match wanted {
        None => Some(0),
        Some(wanted) => (wanted == is).then_some(wanted.len()),
    }
}
