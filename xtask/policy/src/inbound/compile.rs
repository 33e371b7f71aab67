//! From objects to the policy of one Server or of a port without one: what the policy controller sends to a
//! proxy, and what the proxy makes of it.
//!
//! Longer than other files: the steps are one translation, in the order of the policy controller's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::routes::{self, Precedence, Unusable};
use super::{Permits, PortPolicy, ProxyProtocol, Routes};
use crate::access::AccessPolicy;
use crate::authz::{Authentication, Authorization, NetworkMatch, parse_network};
use crate::cluster::ClusterInfo;
use crate::label::{PolicyLabels, ResourceLabel};
use crate::model::{
    AuthorizationPolicy, GRPCRoute, HTTPLocalRateLimitPolicy, HTTPRoute, LINKERD, LocalTargetRef, Named as _,
    NamespacedTargetRef, Objects, Server,
};
use crate::rate_limit::RateLimit;
use crate::route::{GrpcMatch, HttpMatch, Match, PathMatch, Route, Rule};

/// An object that has no effect, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ignored {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Looks objects up while policies are compiled.
pub(super) struct Compiler<'a> {
    pub objects: &'a Objects,
    pub cluster: &'a ClusterInfo,
    pub ignored: Vec<Ignored>,
}

/// A route, before it is put in order.
type Candidate<M> = (Precedence, Route<M, Permits>);

impl Compiler<'_> {
    /// The policy of a Server for a pod's port, with the paths of the probes that the kubelet sends there.
    pub(super) fn server(&mut self, server: &Server, probes: &[&str]) -> PortPolicy {
        let label = ResourceLabel::new(LINKERD, "server", server.name());
        let protocol = match server.spec.proxy_protocol.as_deref() {
            Some("HTTP/1") => ProxyProtocol::Http1,
            Some("HTTP/2") => ProxyProtocol::Http2,
            Some("gRPC") => ProxyProtocol::Grpc,
            Some("opaque") => ProxyProtocol::Opaque,
            Some("TLS") => ProxyProtocol::Tls,
            _ => ProxyProtocol::Detect,
        };
        let shared = self.server_authorizations(server);
        if protocol == ProxyProtocol::Grpc {
            return match self.grpc_routes(server, &label, &shared) {
                Ok(routes) => self.policy(label, protocol, &shared, Routes::Grpc(routes), Some(server)),
                Err(reason) => broken(reason),
            };
        }
        let routes = self.http_routes(server, &label, &shared);
        let routes = if routes.is_empty() { self.default_routes(&label, &shared, probes) } else { routes };
        self.policy(label, protocol, &shared, Routes::Http(routes), Some(server))
    }

    /// The policy of a port that no Server selects.
    pub(super) fn default(&mut self, access: AccessPolicy, opaque: bool, probes: &[&str]) -> PortPolicy {
        let label = ResourceLabel::default_of(access.as_str());
        let shared: Vec<_> = self.access(access).into_iter().chain([localhost()]).collect();
        let routes = Routes::Http(self.default_routes(&label, &shared, probes));
        let protocol = if opaque { ProxyProtocol::Opaque } else { ProxyProtocol::Detect };
        self.policy(label, protocol, &shared, routes, None)
    }

    fn policy(
        &mut self,
        server: ResourceLabel,
        protocol: ProxyProtocol,
        shared: &[Authorization],
        routes: Routes,
        of: Option<&Server>,
    ) -> PortPolicy {
        // The proxy is told of no limits for gRPC and for connections.
        let limited = !matches!(protocol, ProxyProtocol::Grpc | ProxyProtocol::Opaque | ProxyProtocol::Tls);
        // Where HTTP is a must, nobody may connect with anything else (`check_authorized` of linkerd2-proxy).
        let takes_bytes =
            matches!(protocol, ProxyProtocol::Detect | ProxyProtocol::Opaque | ProxyProtocol::Tls);
        PortPolicy {
            connections: Permits::new(&server, None, shared.iter().filter(|_| takes_bytes)),
            rate_limit: of.filter(|_| limited).and_then(|of| self.rate_limit(of)),
            no_route: PolicyLabels::shared(&server, None, None),
            server,
            protocol,
            routes,
            broken: None,
        }
    }

    fn ignore(&mut self, kind: &'static str, object: &impl crate::model::Named, reason: impl Into<String>) {
        let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
        self.ignored.push(Ignored { kind, namespace, name, reason: reason.into() });
    }

    /// What a Server's authorizations are: those that target it or its namespace, by name; then its access policy;
    /// then the pod itself.
    fn server_authorizations(&mut self, server: &Server) -> Vec<Authorization> {
        let namespace = server.namespace().to_owned();
        let mut all = self.authorizations(&namespace, |target| {
            (target.is(LINKERD, "Server") && target.name == server.name()) || target.is("", "Namespace")
        });
        let access = server.spec.access_policy.as_deref().unwrap_or("deny").parse();
        all.extend(access.ok().and_then(|access| self.access(access)));
        all.push(localhost());
        all
    }

    /// The authorizations of a namespace whose target is meant, in the order of their names.
    fn authorizations(
        &mut self,
        namespace: &str,
        targets: impl Fn(&LocalTargetRef) -> bool,
    ) -> Vec<Authorization> {
        let objects = self.objects;
        let own = objects.authorization_policies.iter().filter(|policy| policy.namespace() == namespace);
        let mut meant: Vec<_> = own.filter(|policy| targets(&policy.spec.target_ref)).collect();
        meant.sort_by_key(|policy| policy.name());
        let mut all = Vec::new();
        for policy in meant {
            match self.authorization(policy) {
                Ok(authorization) => all.push(authorization),
                Err(reason) => self.ignore("AuthorizationPolicy", policy, reason),
            }
        }
        all
    }

    fn authorization(&self, policy: &AuthorizationPolicy) -> Result<Authorization, Unusable> {
        let namespace = policy.namespace();
        let (mut authentication, mut networks) = (None, None);
        for reference in &policy.spec.required_authentication_refs {
            if reference.is(LINKERD, "NetworkAuthentication") {
                let found = self.networks(reference, namespace)?;
                if networks.replace(found).is_some() {
                    return Err("it may require only one NetworkAuthentication".to_owned());
                }
                continue;
            }
            let found = if reference.is(LINKERD, "MeshTLSAuthentication") {
                self.identities(reference, namespace)?
            } else if reference.is("", "ServiceAccount") {
                let identity = self.cluster.identity(&reference.name, reference.namespace(namespace));
                Authentication::Identity { identities: [identity].into(), suffixes: Vec::new() }
            } else {
                return Err(format!("it requires a {}, which is no authentication", reference.kind));
            };
            if authentication.replace(found).is_some() {
                return Err("it may require only one MeshTLSAuthentication or ServiceAccount".to_owned());
            }
        }
        Ok(Authorization {
            label: ResourceLabel::new(LINKERD, "authorizationpolicy", policy.name()),
            networks: networks.unwrap_or_else(NetworkMatch::everywhere),
            authentication: authentication.unwrap_or(Authentication::None),
        })
    }

    fn identities(&self, reference: &NamespacedTargetRef, from: &str) -> Result<Authentication, Unusable> {
        let namespace = reference.namespace(from);
        let mut known = self.objects.mesh_tls_authentications.iter();
        let found = known.find(|own| own.name() == reference.name && own.namespace() == namespace);
        let missing = || format!("there is no MeshTLSAuthentication {} in {namespace}", reference.name);
        let spec = &found.ok_or_else(missing)?.spec;
        let mut patterns: Vec<String> = spec.identities.clone().unwrap_or_default();
        for identity in spec.identity_refs.iter().flatten() {
            if identity.is("", "ServiceAccount") {
                patterns.push(self.cluster.identity(&identity.name, identity.namespace(namespace)));
            } else if identity.is("", "Namespace") {
                patterns.push(self.cluster.namespace_identities(&identity.name));
            } else {
                return Err(format!(
                    "MeshTLSAuthentication {} names a {}, which has no identity",
                    reference.name, identity.kind
                ));
            }
        }
        if patterns.is_empty() {
            return Err(format!("MeshTLSAuthentication {} has no identities", reference.name));
        }
        Ok(Authentication::of_patterns(patterns.iter().map(String::as_str)))
    }

    fn networks(&self, reference: &NamespacedTargetRef, from: &str) -> Result<Vec<NetworkMatch>, Unusable> {
        let namespace = reference.namespace(from);
        let mut known = self.objects.network_authentications.iter();
        let found = known.find(|own| own.name() == reference.name && own.namespace() == namespace);
        let missing = || format!("there is no NetworkAuthentication {} in {namespace}", reference.name);
        let spec = &found.ok_or_else(missing)?.spec;
        let read = |text: &String| {
            parse_network(text)
                .ok_or_else(|| format!("NetworkAuthentication {}: `{text}` is no network", reference.name))
        };
        let networks = spec.networks.iter().map(|network| {
            let except = network.except.iter().flatten().map(read).collect::<Result<_, _>>()?;
            Ok(NetworkMatch { net: read(&network.cidr)?, except })
        });
        let networks: Vec<_> = networks.collect::<Result<_, Unusable>>()?;
        if networks.is_empty() {
            return Err(format!("NetworkAuthentication {} has no networks", reference.name));
        }
        Ok(networks)
    }

    /// The authorization that an access policy amounts to; `deny` to none.
    fn access(&self, access: AccessPolicy) -> Option<Authorization> {
        let (authenticated, cluster) = match access {
            AccessPolicy::Deny => return None,
            AccessPolicy::Audit => (false, false),
            AccessPolicy::Allow { authenticated, cluster } => (authenticated, cluster),
        };
        let networks = if cluster {
            self.cluster.networks.iter().copied().map(NetworkMatch::from).collect()
        } else {
            NetworkMatch::everywhere()
        };
        let authentication =
            if authenticated { Authentication::of_patterns(["*"]) } else { Authentication::None };
        Some(Authorization { label: ResourceLabel::default_of(access.as_str()), networks, authentication })
    }

    fn http_routes(
        &mut self,
        server: &Server,
        label: &ResourceLabel,
        shared: &[Authorization],
    ) -> Vec<Route<HttpMatch, Permits>> {
        let objects = self.objects;
        let mut candidates = Vec::new();
        for route in attached(&objects.http_routes, server, HTTPRoute::parents) {
            if let Some(other) = self.grpc_route_of(server) {
                let reason = format!(
                    "GRPCRoute {other} has the same parent, Server {}: HTTPRoutes are in conflict with it",
                    server.name()
                );
                self.ignore("HTTPRoute", route, reason);
                continue;
            }
            let usable = routes::servers(&route.parents(), route.namespace());
            match usable.and_then(|_| routes::http_rules(route)) {
                Ok(rules) => {
                    let precedence = routes::http_precedence(route);
                    candidates.push(self.candidate(
                        server,
                        label,
                        shared,
                        precedence,
                        route.spec.hostnames.as_deref(),
                        rules,
                    ));
                }
                Err(reason) => self.ignore("HTTPRoute", route, reason),
            }
        }
        in_order(candidates)
    }

    fn grpc_routes(
        &mut self,
        server: &Server,
        label: &ResourceLabel,
        shared: &[Authorization],
    ) -> Result<Vec<Route<GrpcMatch, Permits>>, Unusable> {
        let objects = self.objects;
        let (mut candidates, mut lacking) = (Vec::new(), Vec::new());
        for route in attached(&objects.grpc_routes, server, GRPCRoute::parents) {
            let usable = routes::servers(&route.parents(), route.namespace());
            match usable.and_then(|_| routes::grpc_rules(route)) {
                Ok((rules, lacks_method)) => {
                    lacking.extend(lacks_method.then(|| route.name()));
                    let precedence = routes::grpc_precedence(route);
                    candidates.push(self.candidate(
                        server,
                        label,
                        shared,
                        precedence,
                        route.spec.hostnames.as_deref(),
                        rules,
                    ));
                }
                Err(reason) => self.ignore("GRPCRoute", route, reason),
            }
        }
        lacking.sort_unstable();
        if let Some(name) = lacking.first() {
            return Err(format!(
                "GRPCRoute {name} has a match without a method, which no proxy takes: it refuses everything on Server {}",
                server.name()
            ));
        }
        if candidates.is_empty() {
            let permits = Permits::new(label, Some(ResourceLabel::default_of("default")), shared.iter());
            let rules = vec![Rule { matches: vec![GrpcMatch::default()], filters: Vec::new() }];
            return Ok(vec![Route { hosts: Vec::new(), rules, policy: permits }]);
        }
        Ok(in_order(candidates))
    }

    fn candidate<M: Match>(
        &mut self,
        server: &Server,
        label: &ResourceLabel,
        shared: &[Authorization],
        precedence: Precedence,
        hostnames: Option<&[String]>,
        rules: Vec<Rule<M>>,
    ) -> Candidate<M> {
        let Precedence(_, group, kind, name) = &precedence;
        let own = self.authorizations(server.namespace(), |target| {
            target.is(group, kind) && target.name.eq_ignore_ascii_case(name)
        });
        let route = ResourceLabel::new(group, kind, name);
        let policy = Permits::new(label, Some(route), own.iter().chain(shared));
        (precedence, Route { hosts: routes::hosts(hostnames), rules, policy })
    }

    /// The name of a `GRPCRoute` whose parent is a Server, of any namespace: it puts the Server's `HTTPRoute`s in
    /// conflict (`parent_has_conflicting_routes` of the status controller).
    fn grpc_route_of(&self, server: &Server) -> Option<&str> {
        let is_parent = |route: &&GRPCRoute| {
            route.parents().iter().any(|parent| {
                parent.is(LINKERD, "Server")
                    && parent.name == server.name()
                    && parent.namespace(route.namespace()) == server.namespace()
            })
        };
        self.objects.grpc_routes.iter().filter(is_parent).map(GRPCRoute::name).min()
    }

    /// Everything, and the kubelet's probes.
    fn default_routes(
        &self,
        label: &ResourceLabel,
        shared: &[Authorization],
        probes: &[&str],
    ) -> Vec<Route<HttpMatch, Permits>> {
        let permits = Permits::new(label, Some(ResourceLabel::default_of("default")), shared.iter());
        let all = HttpMatch { path: Some(PathMatch::Prefix("/".to_owned())), ..HttpMatch::default() };
        let rules = vec![Rule { matches: vec![all], filters: Vec::new() }];
        let mut default = vec![Route { hosts: Vec::new(), rules, policy: permits }];
        if !probes.is_empty() && !self.cluster.probe_networks.is_empty() {
            let probe = Authorization {
                label: ResourceLabel::default_of("probe"),
                networks: self.cluster.probe_networks.iter().copied().map(NetworkMatch::from).collect(),
                authentication: Authentication::None,
            };
            let matches = probes.iter().map(|path| HttpMatch {
                path: Some(PathMatch::Exact((*path).to_owned())),
                method: Some(http::Method::GET),
                ..HttpMatch::default()
            });
            let rules = vec![Rule { matches: matches.collect(), filters: Vec::new() }];
            let route = Some(ResourceLabel::default_of("probe"));
            let policy = Permits::new(label, route, [&probe].into_iter().chain(shared));
            default.push(Route { hosts: Vec::new(), rules, policy });
        }
        default
    }

    /// The oldest, then first by name, of those that target the Server.
    fn rate_limit(&mut self, server: &Server) -> Option<RateLimit> {
        let objects = self.objects;
        let targets = |own: &&HTTPLocalRateLimitPolicy| {
            own.namespace() == server.namespace()
                && own.spec.target_ref.is(LINKERD, "Server")
                && own.spec.target_ref.name == server.name()
        };
        let mut all: Vec<_> = objects.rate_limits.iter().filter(targets).collect();
        all.sort_by_key(|own| {
            Precedence(routes::created(&own.metadata), String::new(), "", own.name().to_owned())
        });
        let (first, others) = all.split_first()?;
        for other in others {
            let reason =
                format!("HTTPLocalRateLimitPolicy {} limits Server {} already", first.name(), server.name());
            self.ignore("HTTPLocalRateLimitPolicy", *other, reason);
        }
        let rate = |per_second: i64| u32::try_from(per_second).ok().filter(|rate| *rate > 0);
        let mut overrides = BTreeMap::new();
        for (group, own) in first.spec.overrides.iter().flatten().enumerate() {
            for client in &own.client_refs {
                if !client.is("", "ServiceAccount") {
                    let reason = format!("an override names a {}, which is no ServiceAccount", client.kind);
                    self.ignore("HTTPLocalRateLimitPolicy", *first, reason);
                    return None;
                }
                if let Some(rate) = rate(own.requests_per_second) {
                    let namespace = client.namespace(server.namespace());
                    overrides.insert(self.cluster.identity(&client.name, namespace), (group, rate));
                }
            }
        }
        Some(RateLimit {
            name: first.name().to_owned(),
            total: first.spec.total.as_ref().and_then(|limit| rate(limit.requests_per_second)),
            identity: first.spec.identity.as_ref().and_then(|limit| rate(limit.requests_per_second)),
            overrides,
        })
    }
}

/// What a proxy makes of a Server that it cannot read: nobody is let in, not even the pod itself
/// (`ServerPolicy::invalid` of linkerd2-proxy).
fn broken(reason: String) -> PortPolicy {
    let server = ResourceLabel::default_of("invalid");
    let nobody = || std::iter::empty::<&Authorization>();
    let rules = vec![Rule { matches: Vec::new(), filters: Vec::new() }];
    let policy = Permits::new(&server, Some(server.clone()), nobody());
    PortPolicy {
        connections: Permits::new(&server, None, nobody()),
        routes: Routes::Http(vec![Route { hosts: Vec::new(), rules, policy }]),
        no_route: PolicyLabels::shared(&server, None, None),
        server,
        protocol: ProxyProtocol::Detect,
        rate_limit: None,
        broken: Some(reason),
    }
}

/// What a pod says to itself is always let in (`inbound/proto` of linkerd2-proxy's server policy).
fn localhost() -> Authorization {
    let local = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    Authorization {
        label: ResourceLabel::default_of("localhost"),
        networks: local.into_iter().map(IpNet::from).map(NetworkMatch::from).collect(),
        authentication: Authentication::None,
    }
}

/// The routes of a Server's namespace that name it as a parent.
fn attached<'a, R: crate::model::Named>(
    routes: &'a [R],
    server: &Server,
    parents: impl Fn(&R) -> Vec<crate::model::ParentRef>,
) -> Vec<&'a R> {
    let names = |route: &&R| {
        route.namespace() == server.namespace()
            && parents(route)
                .iter()
                .any(|parent| parent.is(LINKERD, "Server") && parent.name == server.name())
    };
    routes.iter().filter(names).collect()
}

fn in_order<M>(mut candidates: Vec<Candidate<M>>) -> Vec<Route<M, Permits>> {
    candidates.sort_by(|a, b| a.0.cmp(&b.0));
    candidates.into_iter().map(|(_, route)| route).collect()
}
