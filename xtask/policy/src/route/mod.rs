//! Routes: which of them matches a request best. The same rules serve inbound and outbound routes, as in
//! `linkerd/http/route` of linkerd2-proxy.

mod filter;
mod grpc;
mod header;
mod host;
mod http;
mod query;

use std::cmp::Ordering;

pub use filter::{Filter, HeaderEdit, InvalidFilter, InvalidRedirect, Redirect, Redirection};
pub use grpc::{GrpcMatch, GrpcSummary};
pub use header::HeaderMatch;
pub use host::{HostMatch, HostSummary};
pub use http::{HttpMatch, HttpSummary, PathMatch, PathSummary};
pub use query::QueryMatch;

/// A request, as far as routes look at it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// How the application speaks.
    pub protocol: Protocol,
    /// The HTTP method; gRPC's is POST.
    pub method: &'a ::http::Method,
    /// `:authority` or `Host`, with a port or without.
    pub authority: Option<&'a str>,
    /// The path without the query.
    pub path: &'a str,
    /// What follows `?`, if anything.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a ::http::HeaderMap,
}

/// How an application speaks. HTTP/1 remains HTTP/1 where sidecars carry it over HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 that is not gRPC.
    Http2,
    /// HTTP/2 with content type `application/grpc`.
    Grpc,
}

/// Rules under common hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Route<M, P> {
    /// Any of them; none: any host.
    pub hosts: Vec<HostMatch>,
    /// The rules.
    pub rules: Vec<Rule<M>>,
    /// What is decided for requests on this route.
    pub policy: P,
}

/// One rule of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule<M> {
    /// Any of them; none: every request.
    pub matches: Vec<M>,
    /// What is done to the requests, in this order.
    pub filters: Vec<Filter>,
}

/// How a request can match.
pub trait Match {
    /// How well it matched: the greater, the better. The default is that of a rule without matches.
    type Summary: Default + Ord + Clone;

    /// How well a request matches; none if it does not.
    fn summarize(&self, request: &Request<'_>) -> Option<Self::Summary>;
}

/// How well a route matched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Summary<T> {
    /// The host, where the route names hosts.
    pub host: Option<HostSummary>,
    /// The request.
    pub request: T,
}

/// The rule that matched.
#[derive(Clone, Debug)]
pub struct Found<'r, M: Match, P> {
    /// Its route.
    pub route: &'r Route<M, P>,
    /// The rule.
    pub rule: &'r Rule<M>,
    /// The index of the route.
    pub route_index: usize,
    /// The index of the rule in its route.
    pub rule_index: usize,
    /// How well.
    pub summary: Summary<M::Summary>,
}

/// The best match of a request; of equals the first route, and in it the first rule.
pub fn find<'r, M: Match, P>(routes: &'r [Route<M, P>], request: &Request<'_>) -> Option<Found<'r, M, P>> {
    let found = routes.iter().enumerate().filter_map(|(route_index, route)| {
        let host = route.host(request)?;
        let rules = route.rules.iter().enumerate();
        let matching = rules.filter_map(|(index, rule)| Some((rule.summarize(request)?, index, rule)));
        let (summary, rule_index, rule) = matching.reduce(|a, b| if a.0 >= b.0 { a } else { b })?;
        Some(Found { route, rule, route_index, rule_index, summary: Summary { host, request: summary } })
    });
    found.reduce(|a, b| if a.summary.cmp(&b.summary) == Ordering::Less { b } else { a })
}

impl<M, P> Route<M, P> {
    /// How its hosts match; the outer none if they do not, the inner one if it names none.
    pub fn host(&self, request: &Request<'_>) -> Option<Option<HostSummary>> {
        if self.hosts.is_empty() {
            return Some(None);
        }
        let host = host::without_port(request.authority?);
        self.hosts.iter().filter_map(|own| own.summarize(host)).max().map(Some)
    }
}

impl<M: Match> Rule<M> {
    /// How well its best match is.
    pub fn summarize(&self, request: &Request<'_>) -> Option<M::Summary> {
        if self.matches.is_empty() {
            return Some(M::Summary::default());
        }
        self.matches.iter().filter_map(|own| own.summarize(request)).max()
    }
}
