//! `AuthorizationPolicies`: what they target, and whether they let anyone in who would not be let in without them.

use super::nearest::suggest;
use super::parents::AnyRoute;
use super::{Check, Field, ObjectRef, Severity};
use crate::access::AccessPolicy;
use crate::authz::Client;
use crate::explain::{Caller, destination};
use crate::inbound::Verdict;
use crate::model::{AuthorizationPolicy, GATEWAY, LINKERD, Named, Server};
use crate::route::Request;
use crate::sample::{Sample, samples};

impl Check<'_> {
    pub(super) fn authorizations(&mut self) {
        let objects = self.objects;
        for policy in &objects.authorization_policies {
            let target = &policy.spec.target_ref;
            if target.is(LINKERD, "Server") {
                self.server_target(policy);
            } else if target.is("", "Namespace") {
                self.namespace_target(policy);
            } else if target.is(GATEWAY, "GRPCRoute") || target.kind.eq_ignore_ascii_case("HTTPRoute") {
                self.route_target(policy);
            }
        }
    }

    fn target(policy: &AuthorizationPolicy, field: &str) -> (ObjectRef, Field) {
        let object = ObjectRef::linkerd("AuthorizationPolicy", policy);
        (object, Field::keys(&["spec", "targetRef"]).key(field))
    }

    fn server_target(&mut self, policy: &AuthorizationPolicy) {
        let name = &policy.spec.target_ref.name;
        let Some(server) = self.server(policy.namespace(), name) else {
            let known = self.objects.servers.iter().filter(|own| own.namespace() == policy.namespace());
            let remedy = suggest(name, known.map(Named::name));
            let cause =
                format!("authorizes nobody: there is no Server {name} in namespace {}", policy.namespace());
            return self.tell("unknown-target", Severity::Error, Self::target(policy, "name"), cause, remedy);
        };
        if let Some(access) = open_to_all(server) {
            let cause =
                format!("changes nothing: accessPolicy {access} of Server {name} lets everyone in already");
            let remedy = format!("write accessPolicy: deny in Server {name}, or remove this");
            self.tell("unused-authorization", Severity::Warning, Self::target(policy, "name"), cause, remedy);
        }
        self.whole_server(policy, server);
    }

    /// A client that may use the whole Server still needs a route, once the Server has one.
    fn whole_server(&mut self, policy: &AuthorizationPolicy, server: &Server) {
        let selected = self.selected(server);
        let client = Client { address: Caller::POD, identity: None };
        let mut missed = None;
        for (service, port, _) in self.service_ports(server, &selected) {
            let Ok(samples) = samples(self.objects, self.cluster, &service, server.namespace(), &port) else {
                continue;
            };
            let Some(to) = samples.first().and_then(|own| destination(self.objects, &own.call).ok()) else {
                continue;
            };
            let inbound = self.inbound.iter().find(|(own, _)| std::ptr::eq(*own, to.workload));
            let Some(own) = inbound.map(|(_, inbound)| inbound.port(to.container_port)) else { continue };
            if own.server.name != server.name() || own.is_by_connection() {
                continue;
            }
            let is_missed = |sample: &&Sample| {
                let call = &sample.call;
                let request = Request {
                    protocol: call.protocol,
                    method: &call.method,
                    authority: call.authority.as_deref().or(Some(service.as_str())),
                    path: &call.path,
                    query: call.query.as_deref(),
                    headers: &call.headers,
                };
                own.decide(&client, &request).verdict == Verdict::NoRoute
            };
            missed = missed.or_else(|| samples.iter().find(is_missed).map(|sample| sample.name.clone()));
        }
        let Some(name) = missed else { return };
        let cause = format!(
            "lets clients use the whole Server {}, and the routes of that do not take everything, such as {name}: they get not found (HTTP 404, gRPC 5)",
            server.name()
        );
        let remedy = "add a route for the rest to the Server; by itself it lets nobody in";
        self.tell("no-rest", Severity::Warning, Self::target(policy, "name"), cause, remedy);
    }

    fn namespace_target(&mut self, policy: &AuthorizationPolicy) {
        if self.objects.servers.iter().any(|server| server.namespace() == policy.namespace()) {
            return;
        }
        let cause = format!(
            "authorizes nobody: it is for the Servers of namespace {}, and there are none",
            policy.namespace()
        );
        let remedy = "write a Server for each port that it is for";
        self.tell("unknown-target", Severity::Error, Self::target(policy, "name"), cause, remedy);
    }

    fn route_target(&mut self, policy: &AuthorizationPolicy) {
        let target = &policy.spec.target_ref;
        let here: Vec<_> = AnyRoute::all(self.objects)
            .into_iter()
            .filter(|route| route.named().namespace() == policy.namespace())
            .collect();
        let named = |route: &&AnyRoute<'_>| route.named().name().eq_ignore_ascii_case(&target.name);
        let found = here.iter().find(|route| {
            let object = route.object();
            named(route) && target.is(&object.group, &object.kind)
        });
        let Some(route) = found else {
            let of_other = here.iter().find(named).map(|route| route.object());
            let remedy = if let Some(other) = of_other {
                format!(
                    "the route of that name is another: write group: {} and kind: {}",
                    other.group, other.kind
                )
            } else {
                let kinds =
                    here.iter().filter(|route| route.object().kind.eq_ignore_ascii_case(&target.kind));
                suggest(&target.name, kinds.map(|route| route.named().name()))
            };
            let cause = format!(
                "authorizes nobody: there is no {} {} of {} in namespace {}",
                target.kind,
                target.name,
                target.group.as_deref().unwrap_or_default(),
                policy.namespace()
            );
            return self.tell("unknown-target", Severity::Error, Self::target(policy, "name"), cause, remedy);
        };
        if !route.is_inbound() {
            let cause = format!(
                "authorizes nobody: the parent of {} is no Server, and authorizations are for inbound requests",
                route.object()
            );
            let remedy = "target the Server, or a route whose parent is the Server";
            self.tell("unused-authorization", Severity::Error, Self::target(policy, "name"), cause, remedy);
            return;
        }
        let servers = route.servers();
        let own: Vec<_> = servers.iter().filter_map(|name| self.server(policy.namespace(), name)).collect();
        if !own.is_empty() && own.iter().all(|server| open_to_all(server).is_some()) {
            let cause = format!("changes nothing: the Server of {} lets everyone in already", route.object());
            let remedy = "write accessPolicy: deny in the Server, or remove this";
            self.tell("unused-authorization", Severity::Warning, Self::target(policy, "name"), cause, remedy);
        }
    }
}

/// The access policy of a Server that lets everyone in; `audit` does too, and is meant to be followed by `deny`.
fn open_to_all(server: &Server) -> Option<&str> {
    let text = server.spec.access_policy.as_deref()?;
    (text.parse() == Ok(AccessPolicy::ALL_UNAUTHENTICATED)).then_some(text)
}
