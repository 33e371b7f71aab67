//! From objects to the policy of one Service port: what the policy controller sends to a client's proxy, and what
//! the proxy makes of it.
//!
//! Longer than other files: the steps are one translation, in the order of the policy controller's.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;

use super::annotation::{parse_duration, parse_go_duration};
use super::attach::{Attachments, find};
use super::{
    Backend, Backends, Broken, Failure, OutboundSettings, Retry, RouteRef, RouteTraffic, Routes, RuleTraffic,
    ServicePolicy, ServicePort, Target, Timeouts,
};
use crate::cluster::ClusterInfo;
use crate::inbound::routes::{self, Unusable, created};
use crate::inbound::settings::{OPAQUE_PORTS, parse_ports};
use crate::inbound::{Ignored, ProxyProtocol};
use crate::model::{
    BackendRef, GATEWAY, GRPCRoute, HTTPRoute, HTTPRouteRule, LINKERD, Named, NamespacedTargetRef, Objects,
    RouteFilter,
};
use crate::route::{Filter, GrpcMatch, HttpMatch, InvalidFilter, Match, PathMatch, Route, Rule};

/// A route, before it is put in order.
struct Candidate<M> {
    created: Option<Timestamp>,
    route: Route<M, RouteTraffic>,
}

struct Compiler<'a> {
    objects: &'a Objects,
    service: &'a ServicePort,
    settings: OutboundSettings,
    ignored: Vec<Ignored>,
    broken: Option<Broken>,
}

impl ServicePolicy {
    /// Compiles what concerns a Service's port and the clients of a namespace. None if there is no such Service, or
    /// no such port in it. Cost: once for each change of the objects, not for each request.
    pub fn new(
        objects: &Objects,
        cluster: &ClusterInfo,
        client_namespace: &str,
        service: &ServicePort,
    ) -> Option<Self> {
        let object = find(objects, &service.namespace, &service.name)?;
        let ports = object.spec.as_ref()?.ports.as_ref()?;
        ports.iter().find(|port| port.port == i32::from(service.port))?;
        let empty = BTreeMap::new();
        let annotations = object.metadata.annotations.as_ref().unwrap_or(&empty);
        let (settings, wrong) = OutboundSettings::read(annotations);
        let ignored = wrong.into_iter().map(|wrong| Ignored {
            kind: "Service",
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            reason: wrong.to_string(),
        });
        let compiler = Compiler { objects, service, settings, ignored: ignored.collect(), broken: None };
        let protocol = compiler.protocol(object, cluster);
        let attachments = Attachments { objects, service, client_namespace };
        Some(compiler.policy(protocol, &attachments))
    }

    /// The policy of a Service without routes: every request goes to the Service itself.
    pub fn without_routes(service: ServicePort, settings: &OutboundSettings) -> Self {
        Self {
            routes: Routes::Http(vec![default_route(&service, settings)]),
            failure_accrual: settings.failure_accrual,
            service,
            protocol: ProxyProtocol::Detect,
            broken: None,
            ignored: Vec::new(),
        }
    }

    /// What is done with every request, where there is no route to choose: no accepted route, and nothing broken.
    pub fn only_rule(&self) -> Option<&RuleTraffic> {
        match &self.routes {
            Routes::Http(routes) if self.broken.is_none() => match routes.as_slice() {
                [route] if route.policy.route.is_default() => route.policy.rules.first(),
                _ => None,
            },
            _ => None,
        }
    }

    /// Every Service that its rules lead to, once.
    pub fn backends(&self) -> Vec<&ServicePort> {
        let rules: Vec<&RuleTraffic> = match &self.routes {
            Routes::Http(routes) => routes.iter().flat_map(|route| &route.policy.rules).collect(),
            Routes::Grpc(routes) => routes.iter().flat_map(|route| &route.policy.rules).collect(),
        };
        let mut all = Vec::new();
        for backend in rules.into_iter().flat_map(|rule| &rule.backends) {
            if let Target::Service(service) = &backend.target
                && !all.contains(&service)
            {
                all.push(service);
            }
        }
        all
    }
}

impl Compiler<'_> {
    /// The port's `appProtocol`, before the annotation `config.linkerd.io/opaque-ports`. One that the controller
    /// does not know makes the port opaque.
    fn protocol(&self, object: &Service, cluster: &ClusterInfo) -> ProxyProtocol {
        let ports = object.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let mut own = ports.filter(|port| port.port == i32::from(self.service.port));
        let said = own.find_map(|port| port.app_protocol.as_deref()).map(str::to_ascii_lowercase);
        match said.as_deref() {
            Some("http") => ProxyProtocol::Http1,
            Some("kubernetes.io/h2c") => ProxyProtocol::Http2,
            Some(_) => ProxyProtocol::Opaque,
            None if is_opaque(object, self.service.port, cluster) => ProxyProtocol::Opaque,
            None => ProxyProtocol::Detect,
        }
    }

    fn policy(mut self, protocol: ProxyProtocol, attachments: &Attachments<'_>) -> ServicePolicy {
        let takes_grpc = matches!(protocol, ProxyProtocol::Detect | ProxyProtocol::Http2);
        let takes_http = takes_grpc || protocol == ProxyProtocol::Http1;
        let mut ignored = std::mem::take(&mut self.ignored);
        let grpc = attachments.grpc(&mut ignored);
        let http = attachments.http(&mut ignored);
        self.ignored = ignored;
        let grpc = self.grpc_routes(&grpc, takes_grpc);
        let http = self.http_routes(&http, takes_http, !grpc.is_empty());
        let (protocol, routes) = if !grpc.is_empty() {
            (ProxyProtocol::Grpc, Routes::Grpc(grpc))
        } else if !http.is_empty() {
            (protocol, Routes::Http(http))
        } else {
            (protocol, Routes::Http(vec![default_route(self.service, &self.settings)]))
        };
        // What a proxy makes of a policy that it cannot read says nothing of a protocol.
        let unreadable = matches!(self.broken, Some(Broken::Unreadable(_)));
        let protocol = if unreadable { ProxyProtocol::Detect } else { protocol };
        self.ignored.sort();
        self.ignored.dedup();
        ServicePolicy {
            service: self.service.clone(),
            protocol,
            routes,
            failure_accrual: self.settings.failure_accrual,
            broken: self.broken,
            ignored: self.ignored,
        }
    }

    fn ignore(&mut self, kind: &'static str, route: &impl Named, reason: impl Into<String>) {
        let (namespace, name) = (route.namespace().to_owned(), route.name().to_owned());
        self.ignored.push(Ignored { kind, namespace, name, reason: reason.into() });
    }

    fn http_routes(
        &mut self,
        attached: &[&HTTPRoute],
        taken: bool,
        grpc: bool,
    ) -> Vec<Route<HttpMatch, RouteTraffic>> {
        let mut candidates = Vec::new();
        for route in attached {
            let no_use = if taken { grpc.then_some("the port has GRPCRoutes") } else { Some(NOT_HTTP) };
            if let Some(reason) = no_use {
                self.ignore("HTTPRoute", *route, reason);
                continue;
            }
            match self.http_route(route) {
                Ok((rules, traffic)) => {
                    self.notice(&format!("HTTPRoute {}", route.name()), &traffic);
                    candidates.push(candidate(
                        created(&route.metadata),
                        RouteRef {
                            group: route.group().to_owned(),
                            kind: "HTTPRoute".to_owned(),
                            namespace: route.namespace().to_owned(),
                            name: route.name().to_owned(),
                        },
                        route.spec.hostnames.as_deref(),
                        rules,
                        traffic,
                    ));
                }
                Err(reason) => self.ignore("HTTPRoute", *route, reason),
            }
        }
        in_order(candidates)
    }

    fn http_route(&self, route: &HTTPRoute) -> Result<(Vec<Rule<HttpMatch>>, Vec<RuleTraffic>), Unusable> {
        let (own, retry) = annotated(route, Retry::http)?;
        let mut rules = routes::http_rules(route)?;
        if route.group() == LINKERD {
            // The controller sends the response's changes as changes of the request (`convert_linkerd_filter`).
            for filter in rules.iter_mut().flat_map(|rule| &mut rule.filters) {
                if let Filter::ResponseHeaders(edit) = filter {
                    *filter = Filter::RequestHeaders(std::mem::take(edit));
                }
            }
        }
        let nothing = HTTPRouteRule::default();
        let written = route.spec.rules.as_deref().unwrap_or(std::slice::from_ref(&nothing));
        let traffic = written.iter().map(|rule| {
            let mut timeouts = own;
            timeouts.request = timeouts.request.or_else(|| rule_timeout(rule, route.group()));
            self.traffic(rule.backend_refs.as_deref(), Filter::http, HTTP_FAILURE, timeouts, retry.clone())
        });
        Ok((rules, traffic.collect()))
    }

    fn grpc_routes(&mut self, attached: &[&GRPCRoute], taken: bool) -> Vec<Route<GrpcMatch, RouteTraffic>> {
        let mut candidates = Vec::new();
        for route in attached {
            if !taken {
                self.ignore("GRPCRoute", *route, NOT_GRPC);
                continue;
            }
            match self.grpc_route(route) {
                Ok((rules, traffic, unreadable)) => {
                    let what = format!("GRPCRoute {}", route.name());
                    if let Some(reason) = unreadable {
                        self.unreadable(format!("{what} has {reason}"));
                    }
                    self.notice(&what, &traffic);
                    candidates.push(candidate(
                        created(&route.metadata),
                        RouteRef {
                            group: GATEWAY.to_owned(),
                            kind: "GRPCRoute".to_owned(),
                            namespace: route.namespace().to_owned(),
                            name: route.name().to_owned(),
                        },
                        route.spec.hostnames.as_deref(),
                        rules,
                        traffic,
                    ));
                }
                Err(reason) => self.ignore("GRPCRoute", *route, reason),
            }
        }
        in_order(candidates)
    }

    /// Its rules, their traffic, and what no proxy can read of it.
    #[expect(clippy::type_complexity, reason = "said above")]
    fn grpc_route(
        &self,
        route: &GRPCRoute,
    ) -> Result<(Vec<Rule<GrpcMatch>>, Vec<RuleTraffic>, Option<&'static str>), Unusable> {
        let (timeouts, retry) = annotated(route, Retry::grpc)?;
        let (rules, lacks_method) = routes::grpc_rules(route)?;
        let written = route.spec.rules.iter().flatten();
        let traffic: Vec<_> = written
            .map(|rule| {
                self.traffic(
                    rule.backend_refs.as_deref(),
                    Filter::grpc,
                    GRPC_FAILURE,
                    timeouts,
                    retry.clone(),
                )
            })
            .collect();
        let of_rules = rules.iter().flat_map(|rule| &rule.filters);
        let backends = traffic.iter().flat_map(|rule| &rule.backends);
        let mut filters = of_rules.chain(backends.flat_map(|backend| &backend.filters));
        let unreadable = if lacks_method {
            Some(
                "a match without a method, which no proxy takes: it fails everything that is sent to the Service",
            )
        } else if filters.any(|filter| matches!(filter, Filter::ResponseHeaders(_))) {
            Some(
                "a ResponseHeaderModifier, which no proxy takes on a GRPCRoute: it fails everything that is sent to the Service",
            )
        } else {
            None
        };
        Ok((rules, traffic, unreadable))
    }

    /// What a rule does, with the Service's timeouts and retries where the route has none of its own. A single
    /// timeout of the route's puts all of the Service's aside.
    fn traffic(
        &self,
        refs: Option<&[BackendRef]>,
        read: impl Fn(&RouteFilter) -> Result<Filter, InvalidFilter>,
        (http, grpc): (u16, u8),
        timeouts: Timeouts,
        retry: Option<Retry>,
    ) -> RuleTraffic {
        let backend = |own: &BackendRef| {
            // The API server refuses a negative one.
            let weight = own.weight.map_or(1, |weight| u32::try_from(weight).unwrap_or_default());
            let (target, filters) = match self.backend(own, &read) {
                Ok((service, filters)) => (Target::Service(service), filters),
                Err(message) => (Target::Missing(Failure { http, grpc, message }), Vec::new()),
            };
            Backend { target, weight, filters }
        };
        let backends = Backends::new(refs.unwrap_or_default().iter().map(backend).collect());
        let service_retry =
            if grpc == GRPC_FAILURE.1 { &self.settings.grpc_retry } else { &self.settings.http_retry };
        RuleTraffic {
            backends: backends.unwrap_or_else(|| Backends::only(self.service.clone())),
            timeouts: if timeouts == Timeouts::default() { self.settings.timeouts } else { timeouts },
            retry: retry.or_else(|| service_retry.clone()),
        }
    }

    /// The Service that a reference names, or what the proxy says in its place. A reference without a namespace
    /// means the parent's, whatever the route's is. Whether the Service declares the port is not asked.
    fn backend(
        &self,
        own: &BackendRef,
        read: impl Fn(&RouteFilter) -> Result<Filter, InvalidFilter>,
    ) -> Result<(ServicePort, Vec<Filter>), String> {
        let group = own.group.as_deref().unwrap_or_default();
        let kind = own.kind.as_deref().unwrap_or("Service");
        let own_is = |wanted: &str, wanted_kind: &str| {
            let target = NamespacedTargetRef {
                group: Some(group.to_owned()),
                kind: kind.to_owned(),
                ..NamespacedTargetRef::default()
            };
            target.is(wanted, wanted_kind)
        };
        let is_network = own_is(LINKERD, "EgressNetwork");
        if !is_network && !own_is("", "Service") {
            return Err(format!("unsupported backend type {group} {kind}"));
        }
        let filters = own.filters.iter().flatten().map(read).collect::<Result<Vec<_>, _>>();
        let filters = filters.map_err(|error| format!("unsupported backend filter: {error}"))?;
        let name = &own.name;
        if is_network {
            return Err(format!("EgressNetwork not found {name}"));
        }
        let port = own.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        let port = port.ok_or_else(|| format!("missing port for backend Service {name}"))?;
        let namespace = own.namespace.as_deref().unwrap_or(&self.service.namespace);
        if find(self.objects, namespace, name).is_none() {
            return Err(format!("Service not found {name}"));
        }
        Ok((ServicePort::new(namespace, name, port), filters))
    }

    /// Notes what no proxy survives.
    fn notice(&mut self, what: &str, traffic: &[RuleTraffic]) {
        if let Some(index) = traffic.iter().position(|rule| rule.backends.is_weightless()) {
            let reason = format!(
                "no backend of {what}, rule {}, has any weight: a proxy fails over that and answers nothing",
                index + 1
            );
            // What cannot be read never gets so far.
            self.broken.get_or_insert(Broken::Fatal(reason));
        }
    }

    fn unreadable(&mut self, reason: String) {
        if !matches!(self.broken, Some(Broken::Unreadable(_))) {
            self.broken = Some(Broken::Unreadable(reason));
        }
    }
}

const NOT_HTTP: &str = "by the port's appProtocol or the Service's opaque ports it is not HTTP";
const NOT_GRPC: &str = "by the port's appProtocol or the Service's opaque ports it is not HTTP/2";

/// How a backend that there is not answers on `HTTPRoute`s (`FAILED_PRECONDITION` for gRPC clients).
const HTTP_FAILURE: (u16, u8) = (500, 9);
/// And on `GRPCRoute`s: the controller sends 500 for a gRPC status, which is `UNKNOWN`; HTTP clients get 200.
const GRPC_FAILURE: (u16, u8) = (200, 2);

/// A route's own timeouts and retries. What cannot be read makes the controller ignore the whole route.
fn annotated(
    route: &impl Named,
    retry: impl Fn(&BTreeMap<String, String>) -> Result<Option<Retry>, super::SettingsError>,
) -> Result<(Timeouts, Option<Retry>), Unusable> {
    let empty = BTreeMap::new();
    let annotations = route.metadata().annotations.as_ref().unwrap_or(&empty);
    let timeouts = Timeouts::from_annotations(annotations).map_err(|error| error.to_string())?;
    Ok((timeouts, retry(annotations).map_err(|error| error.to_string())?))
}

/// A rule's `timeouts.request`; 0 and what cannot be read are none. `backendRequest` is not looked at.
fn rule_timeout(rule: &HTTPRouteRule, group: &str) -> Option<std::time::Duration> {
    let text = rule.timeouts.as_ref()?.request.as_deref()?;
    let read = if group == LINKERD { parse_go_duration(text) } else { parse_duration(text) };
    read.filter(|timeout| !timeout.is_zero())
}

fn is_opaque(service: &Service, port: u16, cluster: &ClusterInfo) -> bool {
    match service.metadata.annotations.as_ref().and_then(|own| own.get(OPAQUE_PORTS)) {
        None => cluster.opaque_ports.contains(&port),
        Some(text) => {
            parse_ports(text).unwrap_or_default().iter().any(|(low, high)| (*low..=*high).contains(&port))
        }
    }
}

fn default_route(service: &ServicePort, settings: &OutboundSettings) -> Route<HttpMatch, RouteTraffic> {
    let all = HttpMatch { path: Some(PathMatch::Prefix("/".to_owned())), ..HttpMatch::default() };
    let traffic = RuleTraffic {
        backends: Backends::only(service.clone()),
        timeouts: settings.timeouts,
        retry: settings.http_retry.clone(),
    };
    Route {
        hosts: Vec::new(),
        rules: vec![Rule { matches: vec![all], filters: Vec::new() }],
        policy: RouteTraffic { route: RouteRef::default_route(), rules: vec![traffic] },
    }
}

fn candidate<M: Match>(
    created: Option<Timestamp>,
    route: RouteRef,
    hostnames: Option<&[String]>,
    rules: Vec<Rule<M>>,
    traffic: Vec<RuleTraffic>,
) -> Candidate<M> {
    let hosts = routes::hosts(hostnames);
    Candidate { created, route: Route { hosts, rules, policy: RouteTraffic { route, rules: traffic } } }
}

/// The oldest first, then by name (`timestamp_then_name` of the controller); where that leaves them equal, it knows
/// no order, and here group and namespace decide. Routes of the client's namespace do not come before others.
fn in_order<M>(mut candidates: Vec<Candidate<M>>) -> Vec<Route<M, RouteTraffic>> {
    candidates.sort_by(|a, b| {
        let key = |own: &Candidate<M>| {
            let RouteRef { group, namespace, name, .. } = &own.route.policy.route;
            (own.created.is_none(), own.created, name.clone(), group.clone(), namespace.clone())
        };
        key(a).cmp(&key(b))
    });
    candidates.into_iter().map(|candidate| candidate.route).collect()
}
