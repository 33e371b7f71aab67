//! Routes as the policy controller reads them.

use std::cmp::Ordering;

use http::{HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regex::Regex;

use crate::model::{
    GRPCRoute, GRPCRouteMatch, HTTPPathMatch, HTTPRoute, HTTPRouteMatch, LINKERD, Named as _, ParentRef,
    ValueMatch,
};
use crate::route::{Filter, GrpcMatch, HeaderMatch, HostMatch, HttpMatch, PathMatch, QueryMatch, Rule};

/// A route that the policy controller ignores, whatever its status says.
pub(crate) type Unusable = String;

/// `(creationTimestamp, group, kind, name)`: what decides between equal matches, the oldest first, then by name,
/// then by group and kind. A route without a timestamp comes after all that have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Precedence(pub Option<Timestamp>, pub String, pub &'static str, pub String);

impl Ord for Precedence {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_time = match (&self.0, &other.0) {
            (Some(own), Some(other)) => own.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        by_time.then_with(|| (&self.3, &self.1, self.2).cmp(&(&other.3, &other.1, other.2)))
    }
}

impl PartialOrd for Precedence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

pub(crate) fn created(metadata: &ObjectMeta) -> Option<Timestamp> {
    metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The Servers that a route is attached to, by name. A reference with a port, a section or another namespace
/// makes the controller ignore the whole route (`inbound/routes.rs`).
pub(crate) fn servers(parents: &[ParentRef], namespace: &str) -> Result<Vec<String>, Unusable> {
    let mut names = Vec::new();
    for parent in parents.iter().filter(|parent| parent.is(LINKERD, "Server") && !parent.name.is_empty()) {
        if parent.namespace.as_deref().is_some_and(|own| own != namespace) {
            return Err("a route may not have a Server of another namespace as parent".to_owned());
        }
        if parent.port.is_some() {
            return Err("a route may not name a port of a Server".to_owned());
        }
        if parent.section_name.is_some() {
            return Err("a route may not name a section of a Server".to_owned());
        }
        names.push(parent.name.clone());
    }
    Ok(names)
}

pub(crate) fn hosts(names: Option<&[String]>) -> Vec<HostMatch> {
    names.unwrap_or_default().iter().map(|name| HostMatch::parse(name)).collect()
}

/// The rules of an `HTTPRoute`; one that matches everything where it has none.
pub(crate) fn http_rules(route: &HTTPRoute) -> Result<Vec<Rule<HttpMatch>>, Unusable> {
    let Some(rules) = &route.spec.rules else {
        return Ok(vec![Rule { matches: Vec::new(), filters: Vec::new() }]);
    };
    let read = |rule: &crate::model::HTTPRouteRule| {
        let filters = rule.filters.iter().flatten().map(Filter::http);
        Ok(Rule {
            matches: rule.matches.iter().flatten().map(http_match).collect::<Result<_, _>>()?,
            filters: filters.collect::<Result<_, _>>().map_err(|error| error.to_string())?,
        })
    };
    rules.iter().map(read).collect()
}

/// The rules of a `GRPCRoute`, and whether a match lacks its method: no proxy takes that.
pub(crate) fn grpc_rules(route: &GRPCRoute) -> Result<(Vec<Rule<GrpcMatch>>, bool), Unusable> {
    let mut lacks_method = false;
    let mut rules = Vec::new();
    for rule in route.spec.rules.iter().flatten() {
        let matches = rule.matches.as_deref().unwrap_or_default();
        lacks_method |= matches.iter().any(|own| own.method.is_none());
        let filters = rule.filters.iter().flatten().map(Filter::grpc);
        rules.push(Rule {
            matches: matches.iter().map(grpc_match).collect::<Result<_, _>>()?,
            filters: filters.collect::<Result<_, _>>().map_err(|error| error.to_string())?,
        });
    }
    Ok((rules, lacks_method))
}

fn http_match(own: &HTTPRouteMatch) -> Result<HttpMatch, Unusable> {
    Ok(HttpMatch {
        path: own.path.as_ref().map(path_match).transpose()?,
        headers: own.headers.iter().flatten().map(header_match).collect::<Result<_, _>>()?,
        query: own.query_params.iter().flatten().map(query_match).collect::<Result<_, _>>()?,
        method: own.method.as_deref().map(method).transpose()?,
    })
}

fn method(text: &str) -> Result<Method, Unusable> {
    Method::from_bytes(text.as_bytes()).map_err(|_| format!("`{text}` is no HTTP method"))
}

fn path_match(own: &HTTPPathMatch) -> Result<PathMatch, Unusable> {
    let value = own.value.clone().unwrap_or_else(|| "/".to_owned());
    let is_regex = own.kind.as_deref() == Some("RegularExpression");
    if !is_regex && !value.starts_with('/') {
        return Err(format!("the path `{value}` does not begin with `/`"));
    }
    Ok(match own.kind.as_deref() {
        Some("Exact") => PathMatch::Exact(value),
        Some("RegularExpression") => PathMatch::Regex(regex(&value)?),
        _ => PathMatch::Prefix(value),
    })
}

fn regex(text: &str) -> Result<Regex, Unusable> {
    Regex::new(text).map_err(|error| format!("`{text}` is no regular expression: {error}"))
}

fn header_match(own: &ValueMatch) -> Result<HeaderMatch, Unusable> {
    let name: HeaderName = own.name.parse().map_err(|_| format!("`{}` is no header name", own.name))?;
    if own.kind.as_deref() == Some("RegularExpression") {
        return Ok(HeaderMatch::Regex(name, regex(&own.value)?));
    }
    let value: HeaderValue = own.value.parse().map_err(|_| format!("`{}` is no header value", own.value))?;
    Ok(HeaderMatch::Exact(name, value))
}

fn query_match(own: &ValueMatch) -> Result<QueryMatch, Unusable> {
    Ok(match own.kind.as_deref() {
        Some("RegularExpression") => QueryMatch::Regex(own.name.clone(), regex(&own.value)?),
        _ => QueryMatch::Exact(own.name.clone(), own.value.clone()),
    })
}

fn grpc_match(own: &GRPCRouteMatch) -> Result<GrpcMatch, Unusable> {
    let method = own.method.as_ref();
    if method.is_some_and(|method| method.kind.as_deref() == Some("RegularExpression")) {
        return Err("Linkerd takes no regular expression for a gRPC method".to_owned());
    }
    // The proxy reads an empty name as none.
    let named = |name: Option<&String>| name.filter(|name| !name.is_empty()).cloned();
    Ok(GrpcMatch {
        service: named(method.and_then(|method| method.service.as_ref())),
        method: named(method.and_then(|method| method.method.as_ref())),
        headers: own.headers.iter().flatten().map(header_match).collect::<Result<_, _>>()?,
    })
}

/// What decides between equal matches of `HTTPRoute`s.
pub(crate) fn http_precedence(route: &HTTPRoute) -> Precedence {
    Precedence(created(&route.metadata), route.group().to_owned(), "HTTPRoute", route.name().to_owned())
}

/// What decides between equal matches of `GRPCRoute`s.
pub(crate) fn grpc_precedence(route: &GRPCRoute) -> Precedence {
    Precedence(
        created(&route.metadata),
        crate::model::GATEWAY.to_owned(),
        "GRPCRoute",
        route.name().to_owned(),
    )
}
