//! What becomes of one request, before a backend is chosen.

use super::trace::{NoTrace, Observe};
use super::{Broken, Failure, RouteRef, RouteTraffic, Routes, RuleTraffic, ServicePolicy};
use crate::route::{Filter, InvalidRedirect, Match, PathSummary, Redirection, Request, Route, find};

/// The rule that takes a request.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'p> {
    /// Its route.
    pub route: &'p RouteRef,
    /// Its index in the route.
    pub rule: usize,
    /// What is done to the request and to its answer, in this order, anew for each attempt.
    pub filters: &'p [Filter],
    /// Where it goes, for how long, how often.
    pub traffic: &'p RuleTraffic,
    /// How the path matched, for redirects.
    pub path: PathSummary,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict<'p> {
    /// It goes to one of the rule's backends, by weight.
    Forward(Matched<'p>),
    /// It is answered with a redirect.
    Redirect(Matched<'p>, Redirection),
    /// It is answered with HTTP 500, gRPC 13, `unexpected error`: a redirect cannot be made.
    InvalidRedirect(Matched<'p>, InvalidRedirect),
    /// No backend that gets any requests can be reached: this is the answer.
    BackendMissing(Matched<'p>, &'p Failure),
    /// No rule takes it: HTTP 404, gRPC 5, `no route`.
    NoRoute,
    /// No proxy can use the Service's routes.
    Broken(&'p Broken),
}

impl ServicePolicy {
    /// Decides on a request. Cost: that of the Service's own routes.
    pub fn decide(&self, request: &Request<'_>) -> Verdict<'_> {
        self.observe(request, &mut NoTrace)
    }

    /// [`ServicePolicy::decide`], telling `trace` of each step.
    pub(crate) fn observe<'p>(&'p self, request: &Request<'_>, trace: &mut impl Observe<'p>) -> Verdict<'p> {
        if let Some(broken) = &self.broken {
            return Verdict::Broken(broken);
        }
        let matched = match &self.routes {
            Routes::Http(routes) => matching(routes, request, trace, |found| found.path),
            Routes::Grpc(routes) => {
                matching(routes, request, trace, |_| PathSummary::Exact(request.path.len()))
            }
        };
        let Some(matched) = matched else { return Verdict::NoRoute };
        match redirection(matched.filters, request, matched.path) {
            Err(invalid) => Verdict::InvalidRedirect(matched, invalid),
            Ok(Some(redirection)) => Verdict::Redirect(matched, redirection),
            Ok(None) => match matched.traffic.backends.failure() {
                Some(failure) => Verdict::BackendMissing(matched, failure),
                None => Verdict::Forward(matched),
            },
        }
    }
}

/// Where filters of a rule or of a backend send a request; none if nowhere. Changes of headers do not change it.
pub fn redirection(
    filters: &[Filter],
    request: &Request<'_>,
    path: PathSummary,
) -> Result<Option<Redirection>, InvalidRedirect> {
    for filter in filters {
        if let Filter::Redirect(redirect) = filter
            && let Some(redirection) = redirect.apply(request, path)?
        {
            return Ok(Some(redirection));
        }
    }
    Ok(None)
}

fn matching<'p, M: Match>(
    routes: &'p [Route<M, RouteTraffic>],
    request: &Request<'_>,
    trace: &mut impl Observe<'p>,
    path: impl Fn(&M::Summary) -> PathSummary,
) -> Option<Matched<'p>> {
    trace.routes(routes, request);
    let Some(found) = find(routes, request) else {
        trace.no_route();
        return None;
    };
    trace.found(found.route_index, found.rule_index);
    let RouteTraffic { route, rules } = &found.route.policy;
    Some(Matched {
        route,
        rule: found.rule_index,
        filters: &found.rule.filters,
        traffic: rules.get(found.rule_index)?,
        path: path(&found.summary.request),
    })
}
