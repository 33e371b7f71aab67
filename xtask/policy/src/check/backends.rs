//! Where outbound routes send requests.

use super::nearest::suggest;
use super::parents::AnyRoute;
use super::{Check, Field, Severity};
use crate::model::{BackendRef, LINKERD, Named, ParentRef};

impl Check<'_> {
    pub(super) fn backends(&mut self) {
        for route in AnyRoute::all(self.objects) {
            let parents = route.parents();
            // Without a namespace, the parent's is meant, whatever the route's is.
            let Some(parent) = parents.iter().find(|parent| parent.is("", "Service")) else { continue };
            let parent = parent.clone();
            let rules: Vec<Option<&Vec<BackendRef>>> = match route {
                AnyRoute::Http(own) => {
                    own.spec.rules.iter().flatten().map(|rule| rule.backend_refs.as_ref()).collect()
                }
                AnyRoute::Grpc(own) => {
                    own.spec.rules.iter().flatten().map(|rule| rule.backend_refs.as_ref()).collect()
                }
            };
            for (index, refs) in rules.into_iter().enumerate() {
                let field = Field::keys(&["spec", "rules"]).index(index).key("backendRefs");
                let refs = refs.map(Vec::as_slice).unwrap_or_default();
                self.weights(route, refs, &field);
                for (index, own) in refs.iter().enumerate() {
                    self.backend(route, &parent, own, &field.index(index));
                }
            }
            self.without_rest(route, &parent);
        }
    }

    fn weights(&mut self, route: AnyRoute<'_>, refs: &[BackendRef], field: &Field) {
        if refs.is_empty() || refs.iter().any(|own| own.weight != Some(0)) {
            return;
        }
        let (cause, remedy) = if refs.len() == 1 {
            (
                "gives its only backend the weight 0, and Linkerd sends everything there all the same",
                "remove the weight, or the backend",
            )
        } else {
            (
                "gives every backend the weight 0: a proxy cannot choose, and closes connections without an answer",
                "give one of them a weight",
            )
        };
        self.tell("no-weight", Severity::Error, (route.object(), field.clone()), cause, remedy);
    }

    fn backend(&mut self, route: AnyRoute<'_>, parent: &ParentRef, own: &BackendRef, field: &Field) {
        let status = match route {
            AnyRoute::Http(_) => "HTTP 500",
            AnyRoute::Grpc(_) => "gRPC status 2",
        };
        let group = own.group.as_deref().unwrap_or_default();
        let kind = own.kind.as_deref().unwrap_or("Service");
        if !(group.is_empty() || group.eq_ignore_ascii_case("core")) || !kind.eq_ignore_ascii_case("Service")
        {
            let cause =
                format!("sends requests to a {kind}, which is no backend for Linkerd: they get {status}");
            let severity =
                if group == LINKERD && kind == "EgressNetwork" { Severity::Warning } else { Severity::Error };
            let at = (route.object(), field.key("kind"));
            return self.tell("unknown-backend", severity, at, cause, "name a Service");
        }
        let namespace =
            own.namespace.as_deref().unwrap_or_else(|| parent.namespace(route.named().namespace()));
        let Some(service) = self.service(namespace, &own.name) else {
            let known = self.objects.services.iter().filter(|service| service.namespace() == namespace);
            let remedy = suggest(&own.name, known.map(Named::name));
            let cause = format!(
                "sends requests to Service {}, which is not in namespace {namespace}: they get {status}",
                own.name
            );
            let at = (route.object(), field.key("name"));
            return self.tell("unknown-backend", Severity::Error, at, cause, remedy);
        };
        let ports: Vec<_> = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).collect();
        let known = ports.iter().map(|port| match &port.name {
            Some(name) => format!("{} ({name})", port.port),
            None => port.port.to_string(),
        });
        let known = known.collect::<Vec<_>>().join(", ");
        let Some(wanted) = own.port else {
            let cause = format!("names no port of the backend {}: its requests get {status}", own.name);
            let at = (route.object(), field.clone());
            return self.tell("unknown-backend", Severity::Error, at, cause, format!("it has {known}"));
        };
        if !ports.iter().any(|port| port.port == wanted) {
            let cause =
                format!("sends requests to port {wanted} of Service {}, which it does not have", own.name);
            let at = (route.object(), field.key("port"));
            self.tell("unknown-backend", Severity::Error, at, cause, format!("it has {known}"));
        }
    }

    /// Once a Service has a route, what none of its routes takes is not found.
    fn without_rest(&mut self, route: AnyRoute<'_>, parent: &ParentRef) {
        use crate::outbound::{Routes, Verdict};
        use crate::route::{Protocol, Request};
        let namespace = parent.namespace(route.named().namespace()).to_owned();
        let headers = http::HeaderMap::new();
        let policies = self.service_policies();
        let mut policies = policies.iter().filter(|policy| {
            policy.service.namespace == namespace
                && policy.service.name == parent.name
                && parent.port.is_none_or(|port| port == i32::from(policy.service.port))
                && policy.broken.is_none()
        });
        let missing = policies.any(|policy| {
            let (protocol, path) = match policy.routes {
                Routes::Http(_) => (Protocol::Http1, "/any/other/path"),
                Routes::Grpc(_) => (Protocol::Grpc, "/any.Other/Method"),
            };
            let methods = [http::Method::GET, http::Method::POST];
            methods.iter().any(|method| {
                let authority = Some(parent.name.as_str());
                let request = Request { protocol, method, authority, path, query: None, headers: &headers };
                matches!(policy.decide(&request), Verdict::NoRoute)
            })
        });
        if missing {
            let cause = format!(
                "gives Service {} a route, and no route of it takes the rest: what none takes is not found (HTTP 404, gRPC 5)",
                parent.name
            );
            let remedy = match route {
                AnyRoute::Http(_) => {
                    "add a rule with path: {type: PathPrefix, value: /}, here or in another route"
                }
                AnyRoute::Grpc(_) => "add a rule without matches, here or in another route",
            };
            let at = (route.object(), Field::keys(&["spec", "rules"]));
            self.tell("no-rest", Severity::Warning, at, cause, remedy);
        }
    }
}
