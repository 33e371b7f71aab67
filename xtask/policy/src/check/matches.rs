//! Rules that no request meets, and matches that break what they are part of.

use std::collections::BTreeSet;

use super::parents::AnyRoute;
use super::{Check, Field, ObjectRef, Severity};
use crate::explain::Call;
use crate::inbound::{self, Permits};
use crate::model::{GRPCRoute, HTTPRoute, LINKERD, Named};
use crate::outbound::{self, RouteTraffic, ServicePolicy, ServicePort};
use crate::route::{GrpcMatch, HttpMatch, Match, PathMatch, Protocol, Request, Route, find};
use crate::sample::{grpc_sample, http_sample};

/// Whose route it is.
trait Owned {
    /// Its object; none for a default.
    fn object(&self, namespace: &str) -> Option<ObjectRef>;
}

impl Owned for Permits {
    fn object(&self, namespace: &str) -> Option<ObjectRef> {
        let route = self.route.as_ref().filter(|route| !route.is_default())?;
        Some(ObjectRef::new(&route.group, &route.kind, namespace, &route.name))
    }
}

impl Owned for RouteTraffic {
    fn object(&self, _: &str) -> Option<ObjectRef> {
        let route = Some(&self.route).filter(|route| !route.is_default())?;
        Some(ObjectRef::new(&route.group, &route.kind, &route.namespace, &route.name))
    }
}

impl Check<'_> {
    pub(super) fn matches(&mut self) {
        self.written();
        self.shadowed_inbound();
        self.shadowed_outbound();
    }

    /// What can be seen in a match itself.
    fn written(&mut self) {
        let objects = self.objects;
        for route in &objects.http_routes {
            self.http_matches(route);
        }
        for route in &objects.grpc_routes {
            self.grpc_matches(route);
        }
        for route in AnyRoute::all(objects).into_iter().filter(|route| route.is_inbound()) {
            self.hostnames(route);
        }
    }

    fn http_matches(&mut self, route: &HTTPRoute) {
        let rules = Field::keys(&["spec", "rules"]);
        for (rule, own) in route.spec.rules.iter().flatten().enumerate() {
            for (index, own) in own.matches.iter().flatten().enumerate() {
                let Some(path) = &own.path else { continue };
                let value = path.value.as_deref().unwrap_or("/");
                let field = rules.index(rule).key("matches").index(index).key("path").key("value");
                let (cause, remedy) = if path.kind.as_deref() == Some("RegularExpression") {
                    let first = value.trim_start_matches('^').chars().next();
                    if !first.is_some_and(char::is_alphanumeric) || value.contains('|') {
                        continue;
                    }
                    (
                        format!(
                            "takes no request: an expression takes a path whole, every path begins with /, and \"{value}\" does not"
                        ),
                        format!("write /{}", value.trim_start_matches('^')),
                    )
                } else if value.contains(['?', '#']) {
                    (
                        format!("takes no request: the query is no part of the path, so none is \"{value}\""),
                        "write the path alone, and queryParams".to_owned(),
                    )
                } else {
                    continue;
                };
                let at = (ObjectRef::http_route(route), field);
                self.tell("unreachable", Severity::Error, at, cause, remedy);
            }
        }
    }

    fn grpc_matches(&mut self, route: &GRPCRoute) {
        let parents = AnyRoute::Grpc(route).parents();
        let breaks = parents.iter().find_map(|parent| match parent {
            _ if parent.is(LINKERD, "Server") => {
                Some(format!("Server {} refuses every client, with gRPC status 7", parent.name))
            }
            _ if parent.is("", "Service") => {
                Some(format!("every call of Service {} fails, with gRPC status 13", parent.name))
            }
            _ => None,
        });
        let rules = Field::keys(&["spec", "rules"]);
        for (rule, own) in route.spec.rules.iter().flatten().enumerate() {
            for (index, own) in own.matches.iter().flatten().enumerate() {
                if own.method.is_some() {
                    continue;
                }
                let effect = breaks.clone().unwrap_or_else(|| "it does nothing".to_owned());
                let cause =
                    format!("has a match without a method, which no proxy of Linkerd takes: {effect}");
                let remedy = "write method: with service, method or both, beside the headers";
                let field = rules.index(rule).key("matches").index(index);
                let at = (ObjectRef::grpc_route(route), field);
                self.tell("no-method", Severity::Error, at, cause, remedy);
            }
        }
    }

    /// Host names that nothing here is called by.
    fn hostnames(&mut self, route: AnyRoute<'_>) {
        let names = match route {
            AnyRoute::Http(own) => own.spec.hostnames.as_deref(),
            AnyRoute::Grpc(own) => own.spec.hostnames.as_deref(),
        };
        let known = self.host_names();
        for (index, name) in names.unwrap_or_default().iter().enumerate() {
            let host = crate::route::HostMatch::parse(name);
            if known.iter().any(|known| host.summarize(known).is_some()) {
                continue;
            }
            let cause = format!(
                "takes requests for {name} only, and no Service and no Ingress of these manifests is called so"
            );
            let remedy = "write a name that clients use, such as SERVICE or SERVICE.NAMESPACE.svc.cluster.local, or no hostnames";
            let at = (route.object(), Field::keys(&["spec", "hostnames"]).index(index));
            self.tell("unknown-host", Severity::Warning, at, cause, remedy);
        }
    }

    /// What clients can call: Services by all of their names, Ingresses by their hosts.
    fn host_names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for service in &self.objects.services {
            let (name, namespace) = (service.name(), service.namespace());
            let domain = &self.cluster.dns_domain;
            names.insert(name.to_owned());
            names.insert(format!("{name}.{namespace}"));
            names.insert(format!("{name}.{namespace}.svc"));
            names.insert(format!("{name}.{namespace}.svc.{domain}"));
        }
        for ingress in &self.objects.ingresses {
            let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
            for host in rules.filter_map(|rule| rule.host.as_deref()) {
                names.insert(host.strip_prefix('*').map_or(host.to_owned(), |rest| format!("any{rest}")));
            }
        }
        names
    }

    fn shadowed_inbound(&mut self) {
        let mut found = Vec::new();
        for (workload, inbound) in &self.inbound {
            for (_, policy) in inbound.ports() {
                let namespace = &workload.namespace;
                match &policy.routes {
                    inbound::Routes::Http(routes) => http_shadows(routes, namespace, &mut found),
                    inbound::Routes::Grpc(routes) => grpc_shadows(routes, namespace, &mut found),
                }
            }
        }
        self.tell_shadows(found);
    }

    fn shadowed_outbound(&mut self) {
        let mut found = Vec::new();
        for policy in self.service_policies() {
            let namespace = policy.service.namespace.clone();
            match &policy.routes {
                outbound::Routes::Http(routes) => http_shadows(routes, &namespace, &mut found),
                outbound::Routes::Grpc(routes) => grpc_shadows(routes, &namespace, &mut found),
            }
        }
        self.tell_shadows(found);
    }

    fn tell_shadows(&mut self, found: Vec<Shadow>) {
        for Shadow { object, field, by, by_rule } in found {
            let (cause, remedy) = if object == by {
                (
                    format!("takes no request: rule {} of the same route takes them first", by_rule + 1),
                    "remove one of both rules".to_owned(),
                )
            } else {
                (
                    format!(
                        "takes no request: {by}, rule {}, takes them; of equal matches the older route wins, and here the first by name",
                        by_rule + 1
                    ),
                    format!("remove one of both, or make this more specific than {by}"),
                )
            };
            self.tell("shadowed", Severity::Error, (object, field), cause, remedy);
        }
    }

    /// The policies of all Service ports, as clients of the Service's namespace have them.
    pub(super) fn service_policies(&self) -> Vec<ServicePolicy> {
        let mut all = Vec::new();
        for service in &self.objects.services {
            for port in service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
                let Ok(number) = u16::try_from(port.port) else { continue };
                let own = ServicePort::new(service.namespace(), service.name(), number);
                all.extend(ServicePolicy::new(self.objects, self.cluster, service.namespace(), &own));
            }
        }
        all
    }

    /// What the engine passes over on the way out.
    pub(super) fn outbound_ignored(&self) -> Vec<inbound::Ignored> {
        self.service_policies().into_iter().flat_map(|policy| policy.ignored).collect()
    }
}

/// A match whose requests all go to another rule.
struct Shadow {
    object: ObjectRef,
    field: Field,
    by: ObjectRef,
    by_rule: usize,
}

fn http_shadows<P: Owned>(routes: &[Route<HttpMatch, P>], namespace: &str, found: &mut Vec<Shadow>) {
    let plain = Call::http("", "", None, "/");
    shadows(routes, namespace, found, |own, hosts| {
        let Some(sample) = http_sample(own, hosts, &plain) else { return Vec::new() };
        let mut calls = vec![sample.call];
        if let (Some(PathMatch::Prefix(prefix)), Some(first)) = (&own.path, calls.first()) {
            let below = format!("{}/any", prefix.trim_end_matches('/'));
            calls.push(Call { path: below, ..first.clone() });
        }
        if own.path.is_none()
            && let Some(first) = calls.first()
        {
            calls.push(Call { path: "/any".to_owned(), ..first.clone() });
        }
        // A method that no match is likely to name.
        if own.method.is_none()
            && let Some(first) = calls.first()
        {
            calls.push(Call { method: http::Method::TRACE, ..first.clone() });
        }
        calls
    });
}

fn grpc_shadows<P: Owned>(routes: &[Route<GrpcMatch, P>], namespace: &str, found: &mut Vec<Shadow>) {
    let plain =
        Call { protocol: Protocol::Grpc, method: http::Method::POST, ..Call::http("", "", None, "/") };
    shadows(routes, namespace, found, |own, hosts| {
        grpc_sample(own, hosts, &plain).map(|sample| sample.call).into_iter().collect()
    });
}

/// Asks for what each match takes, and notes the matches that get none of it.
fn shadows<M: Match, P: Owned>(
    routes: &[Route<M, P>],
    namespace: &str,
    found: &mut Vec<Shadow>,
    calls: impl Fn(&M, &[crate::route::HostMatch]) -> Vec<Call>,
) {
    for (route_index, route) in routes.iter().enumerate() {
        let Some(object) = route.policy.object(namespace) else { continue };
        for (rule_index, rule) in route.rules.iter().enumerate() {
            let rules = Field::keys(&["spec", "rules"]).index(rule_index);
            for (index, own) in rule.matches.iter().enumerate() {
                let mut taken_by = None;
                let mut calls = calls(own, &route.hosts).into_iter().peekable();
                if calls.peek().is_none() {
                    continue;
                }
                let is_met = calls.any(|call| {
                    let request = Request {
                        protocol: call.protocol,
                        method: &call.method,
                        authority: call.authority.as_deref().or(Some("any")),
                        path: &call.path,
                        query: call.query.as_deref(),
                        headers: &call.headers,
                    };
                    match find(routes, &request) {
                        Some(other) if (other.route_index, other.rule_index) == (route_index, rule_index) => {
                            true
                        }
                        // Its own match does not take it: nothing is known.
                        _ if own.summarize(&request).is_none() => false,
                        Some(other) => {
                            let by = other.route.policy.object(namespace);
                            taken_by = taken_by.take().or(by.map(|by| (by, other.rule_index)));
                            false
                        }
                        None => false,
                    }
                });
                if let Some((by, by_rule)) = taken_by.filter(|_| !is_met) {
                    let field = rules.key("matches").index(index);
                    found.push(Shadow { object: object.clone(), field, by, by_rule });
                }
            }
            if rule.matches.is_empty() {
                // A rule for everything: only an earlier one for everything is before it.
                let before =
                    routes.iter().enumerate().take(route_index + 1).find_map(|(other_index, other)| {
                        let rule = other.rules.iter().enumerate().position(|(other_rule, rule)| {
                            rule.matches.is_empty()
                                && other.hosts.is_empty()
                                && (other_index, other_rule) < (route_index, rule_index)
                        })?;
                        Some((other.policy.object(namespace)?, rule))
                    });
                if let Some((by, by_rule)) = before {
                    found.push(Shadow { object: object.clone(), field: rules, by, by_rule });
                }
            }
        }
    }
}
