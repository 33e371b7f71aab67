//! What a decision looked at, in order: the chain that `explain` shows.

use super::{Permits, PortPolicy, Routes};
use crate::authz::{Authorization, Client, Lack};
use crate::label::ResourceLabel;
use crate::route::{Match, Request, Route};

/// Watches a decision. The one that does nothing costs nothing.
pub(crate) trait Observe<'p> {
    /// These routes are compared with the request.
    fn routes<M: Match>(&mut self, routes: &'p [Route<M, Permits>], request: &Request<'_>);
    /// None of them takes it.
    fn no_route(&mut self);
    /// This one does, by this of its rules.
    fn found(&mut self, permits: &'p Permits, route: usize, rule: usize);
    /// An authorization was looked at.
    fn authorization(&mut self, authorization: &'p Authorization, lack: Option<Lack>);
}

/// Watches nothing.
pub(crate) struct NoTrace;

impl<'p> Observe<'p> for NoTrace {
    fn routes<M: Match>(&mut self, _: &'p [Route<M, Permits>], _: &Request<'_>) {}
    fn no_route(&mut self) {}
    fn found(&mut self, _: &'p Permits, _: usize, _: usize) {}
    fn authorization(&mut self, _: &'p Authorization, _: Option<Lack>) {}
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The port's Server, or the default in its place; the reason if its proxy cannot read it.
    Server {
        /// Which.
        server: ResourceLabel,
        /// Why nobody is let in.
        broken: Option<String>,
    },
    /// A route that does not take the request.
    Passed {
        /// Which.
        route: ResourceLabel,
        /// Its host is another.
        by_host: bool,
    },
    /// A route that would take the request, but another does better.
    Outdone {
        /// Which.
        route: ResourceLabel,
        /// The rule, from 0.
        rule: usize,
    },
    /// The route that takes the request.
    Route {
        /// Which.
        route: ResourceLabel,
        /// The rule, from 0.
        rule: usize,
    },
    /// No route takes it.
    NoRoute,
    /// An authorization that does not let the client in.
    Lacks {
        /// Which.
        authorization: ResourceLabel,
        /// Why not.
        lack: Lack,
    },
    /// The authorization that does.
    Permits {
        /// Which.
        authorization: ResourceLabel,
    },
    /// None does.
    Denied,
}

/// The steps of one decision, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// From the Server to the last authorization.
    pub steps: Vec<Step>,
    /// Routes that take the request, with the rule of each that does it best.
    candidates: Vec<(ResourceLabel, Option<usize>, bool)>,
}

impl<'p> Observe<'p> for Trace {
    fn routes<M: Match>(&mut self, routes: &'p [Route<M, Permits>], request: &Request<'_>) {
        let candidates = routes.iter().filter_map(|route| {
            let label = route.policy.route.clone()?;
            let by_host = route.host(request).is_none();
            let rules = route.rules.iter().enumerate();
            let matching = rules.filter_map(|(index, rule)| Some((rule.summarize(request)?, index)));
            let best = matching.reduce(|a, b| if a.0 >= b.0 { a } else { b }).map(|(_, index)| index);
            Some((label, best.filter(|_| !by_host), by_host))
        });
        self.candidates = candidates.collect();
    }

    fn no_route(&mut self) {
        self.passed(None);
        self.steps.push(Step::NoRoute);
    }

    fn found(&mut self, permits: &'p Permits, route: usize, rule: usize) {
        self.passed(Some(route));
        self.steps.extend(permits.route.clone().map(|route| Step::Route { route, rule }));
    }

    fn authorization(&mut self, authorization: &'p Authorization, lack: Option<Lack>) {
        let label = authorization.label.clone();
        self.steps.push(match lack {
            Some(lack) => Step::Lacks { authorization: label, lack },
            None => Step::Permits { authorization: label },
        });
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
    pub fn of_request<'p>(
        policy: &'p PortPolicy,
        client: &Client<'_>,
        request: &Request<'_>,
    ) -> (super::RequestVerdict<'p>, Self) {
        let mut trace = Self::of_server(policy);
        let verdict = policy.observe(client, request, &mut trace);
        (verdict, trace.concluded(verdict.verdict))
    }

    /// The decision on a connection, step by step.
    pub fn of_connection<'p>(
        policy: &'p PortPolicy,
        client: &Client<'_>,
    ) -> (super::RequestVerdict<'p>, Self) {
        let mut trace = Self::of_server(policy);
        let verdict = policy.observe_connection(client, &mut trace);
        (verdict, trace.concluded(verdict.verdict))
    }

    fn of_server(policy: &PortPolicy) -> Self {
        let server = Step::Server { server: policy.server.clone(), broken: policy.broken.clone() };
        Self { steps: vec![server], candidates: Vec::new() }
    }

    fn concluded(mut self, verdict: super::Verdict) -> Self {
        self.steps.extend((verdict == super::Verdict::Deny).then_some(Step::Denied));
        self
    }
}

impl PortPolicy {
    /// The labels of its routes, in order.
    pub fn route_labels(&self) -> Vec<&ResourceLabel> {
        match &self.routes {
            Routes::Http(routes) => routes.iter().filter_map(|route| route.policy.route.as_ref()).collect(),
            Routes::Grpc(routes) => routes.iter().filter_map(|route| route.policy.route.as_ref()).collect(),
        }
    }
}
