use std::cmp::Ordering;

use http::Method;
use regex::Regex;

use super::header::takes_whole;
use super::{HeaderMatch, Match, QueryMatch, Request};

/// What an HTTP request must be, all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpMatch {
    /// The path; none: any.
    pub path: Option<PathMatch>,
    /// The headers.
    pub headers: Vec<HeaderMatch>,
    /// The query parameters.
    pub query: Vec<QueryMatch>,
    /// The method; none: any.
    pub method: Option<Method>,
}

/// A path of a route.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The first segments.
    Prefix(String),
    /// The whole path, by an expression.
    Regex(Regex),
}

/// How much of a path matched, and by what. What counts is the length: an expression that takes a long path
/// comes before a shorter prefix.
#[derive(Clone, Copy, Debug)]
pub enum PathSummary {
    /// The whole path.
    Exact(usize),
    /// So much of it, without a `/` at the end.
    Prefix(usize),
    /// The whole path.
    Regex(usize),
}

/// How well a request matched: by the path's characters, then headers, query parameters, method.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpSummary {
    /// The path.
    pub path: PathSummary,
    /// How many headers.
    pub headers: usize,
    /// How many query parameters.
    pub query: usize,
    /// Whether the method was asked for.
    pub method: bool,
}

impl Default for HttpSummary {
    fn default() -> Self {
        Self { path: PathSummary::Prefix(1), headers: 0, query: 0, method: false }
    }
}

impl Match for HttpMatch {
    type Summary = HttpSummary;

    fn summarize(&self, request: &Request<'_>) -> Option<HttpSummary> {
        if self.method.as_ref().is_some_and(|method| method != request.method) {
            return None;
        }
        let path = match &self.path {
            Some(path) => path.summarize(request.path)?,
            None => HttpSummary::default().path,
        };
        let matches = self.headers.iter().all(|header| header.matches(request.headers))
            && self.query.iter().all(|parameter| parameter.matches(request.query));
        matches.then(|| HttpSummary {
            path,
            headers: self.headers.len(),
            query: self.query.len(),
            method: self.method.is_some(),
        })
    }
}

impl PathMatch {
    /// How much of a path matches; none if it does not.
    pub fn summarize(&self, path: &str) -> Option<PathSummary> {
        match self {
            Self::Exact(own) => (own == path).then_some(PathSummary::Exact(own.len())),
            Self::Regex(regex) => takes_whole(regex, path).then_some(PathSummary::Regex(path.len())),
            Self::Prefix(own) if own == "/" => Some(PathSummary::Prefix(1)),
            Self::Prefix(own) => {
                let own = own.trim_end_matches('/');
                let rest = path.trim_end_matches('/').strip_prefix(own)?;
                (rest.is_empty() || rest.starts_with('/')).then_some(PathSummary::Prefix(own.len()))
            }
        }
    }
}

impl PartialEq for PathMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(own), Self::Exact(other)) | (Self::Prefix(own), Self::Prefix(other)) => own == other,
            (Self::Regex(own), Self::Regex(other)) => own.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl PathSummary {
    fn len(self) -> usize {
        match self {
            Self::Exact(length) | Self::Prefix(length) | Self::Regex(length) => length,
        }
    }
}

impl PartialEq for PathSummary {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
    }
}

impl Eq for PathSummary {}

impl PartialOrd for PathSummary {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PathSummary {
    fn cmp(&self, other: &Self) -> Ordering {
        self.len().cmp(&other.len())
    }
}
