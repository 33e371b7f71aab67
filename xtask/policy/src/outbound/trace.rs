//! What a decision looked at, in order: the chain that `explain` shows.

use super::{Broken, RouteRef, RouteTraffic, ServicePolicy, Target, Verdict};
use crate::route::{Match, Redirection, Request, Route};

/// Watches a decision. The one that does nothing costs nothing.
pub(crate) trait Observe<'p> {
    /// These routes are compared with the request.
    fn routes<M: Match>(&mut self, routes: &'p [Route<M, RouteTraffic>], request: &Request<'_>);
    /// None of them takes it.
    fn no_route(&mut self);
    /// This one does, by this of its rules.
    fn found(&mut self, route: usize, rule: usize);
}

/// Watches nothing.
pub(crate) struct NoTrace;

impl<'p> Observe<'p> for NoTrace {
    fn routes<M: Match>(&mut self, _: &'p [Route<M, RouteTraffic>], _: &Request<'_>) {}
    fn no_route(&mut self) {}
    fn found(&mut self, _: usize, _: usize) {}
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// No proxy can use the Service's routes.
    Broken(Broken),
    /// A route that does not take the request.
    Passed {
        /// Which.
        route: RouteRef,
        /// Its host is another.
        by_host: bool,
    },
    /// A route that would take the request, but another does better.
    Outdone {
        /// Which.
        route: RouteRef,
        /// The rule, from 0.
        rule: usize,
    },
    /// The route that takes the request.
    Route {
        /// Which.
        route: RouteRef,
        /// The rule, from 0.
        rule: usize,
    },
    /// No route takes it.
    NoRoute,
    /// It is answered with a redirect.
    Redirect(Redirection),
    /// It would be, but that cannot be made.
    InvalidRedirect(String),
    /// It may go here.
    Backend {
        /// Where.
        target: Target,
        /// The share of requests that do while all backends are available, from 0 to 1.
        share: f64,
    },
}

/// The steps of one decision, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// From the routes to the backends.
    pub steps: Vec<Step>,
    candidates: Vec<(RouteRef, Option<usize>, bool)>,
}

impl<'p> Observe<'p> for Trace {
    fn routes<M: Match>(&mut self, routes: &'p [Route<M, RouteTraffic>], request: &Request<'_>) {
        let candidates = routes.iter().map(|route| {
            let by_host = route.host(request).is_none();
            let rules = route.rules.iter().enumerate();
            let matching = rules.filter_map(|(index, rule)| Some((rule.summarize(request)?, index)));
            let best = matching.reduce(|a, b| if a.0 >= b.0 { a } else { b }).map(|(_, index)| index);
            (route.policy.route.clone(), best.filter(|_| !by_host), by_host)
        });
        self.candidates = candidates.collect();
    }

    fn no_route(&mut self) {
        self.passed(None);
        self.steps.push(Step::NoRoute);
    }

    fn found(&mut self, route: usize, rule: usize) {
        let taken = self.candidates.get(route).map(|(route, _, _)| route.clone());
        self.passed(Some(route));
        self.steps.extend(taken.map(|route| Step::Route { route, rule }));
    }
}

impl Trace {
    /// The routes that were looked at, but for the one that was taken.
    fn passed(&mut self, taken: Option<usize>) {
        let others = std::mem::take(&mut self.candidates).into_iter().enumerate();
        let others = others.filter(|(index, _)| Some(*index) != taken);
        self.steps.extend(others.map(|(_, (route, rule, by_host))| match rule {
            Some(rule) => Step::Outdone { route, rule },
            None => Step::Passed { route, by_host },
        }));
    }

    /// The decision on a request, step by step.
    pub fn of_request<'p>(policy: &'p ServicePolicy, request: &Request<'_>) -> (Verdict<'p>, Self) {
        let mut trace = Self::default();
        let verdict = policy.observe(request, &mut trace);
        let last = match &verdict {
            Verdict::Broken(broken) => vec![Step::Broken((*broken).clone())],
            Verdict::Redirect(_, redirection) => vec![Step::Redirect(redirection.clone())],
            Verdict::InvalidRedirect(_, error) => vec![Step::InvalidRedirect(error.to_string())],
            Verdict::Forward(matched) | Verdict::BackendMissing(matched, _) => {
                let backends = &matched.traffic.backends;
                let shares = backends.iter().zip(backends.shares());
                shares.map(|(own, share)| Step::Backend { target: own.target.clone(), share }).collect()
            }
            Verdict::NoRoute => Vec::new(),
        };
        trace.steps.extend(last);
        (verdict, trace)
    }
}
