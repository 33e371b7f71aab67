//! What routes are attached to: Servers for inbound ones, Services for outbound ones.

use k8s_openapi::api::core::v1::Service;

use super::nearest::suggest;
use super::{Check, Field, ObjectRef, Severity};
use crate::model::{GRPCRoute, HTTPRoute, LINKERD, Named, Objects, ParentRef, Server};

/// A route of either kind, as far as its parents go.
#[derive(Clone, Copy)]
pub(super) enum AnyRoute<'a> {
    Http(&'a HTTPRoute),
    Grpc(&'a GRPCRoute),
}

impl<'a> AnyRoute<'a> {
    /// All routes.
    pub fn all(objects: &'a Objects) -> Vec<Self> {
        let http = objects.http_routes.iter().map(Self::Http);
        http.chain(objects.grpc_routes.iter().map(Self::Grpc)).collect()
    }

    pub fn object(self) -> ObjectRef {
        match self {
            Self::Http(route) => ObjectRef::http_route(route),
            Self::Grpc(route) => ObjectRef::grpc_route(route),
        }
    }

    pub fn named(self) -> &'a dyn Named {
        match self {
            Self::Http(route) => route,
            Self::Grpc(route) => route,
        }
    }

    /// With the defaults of the CRD.
    pub fn parents(self) -> Vec<ParentRef> {
        match self {
            Self::Http(route) => route.parents(),
            Self::Grpc(route) => route.parents(),
        }
    }

    /// As written.
    fn written(self) -> &'a [ParentRef] {
        let refs = match self {
            Self::Http(route) => &route.spec.parent_refs,
            Self::Grpc(route) => &route.spec.parent_refs,
        };
        refs.as_deref().unwrap_or_default()
    }

    /// The Servers of its own namespace that are its parents, by name.
    pub fn servers(self) -> Vec<String> {
        let own = self.named().namespace();
        let parents = self.parents().into_iter();
        let servers = parents.filter(|parent| parent.is(LINKERD, "Server") && parent.namespace(own) == own);
        servers.map(|parent| parent.name).collect()
    }

    pub fn is_inbound(self) -> bool {
        self.parents().iter().any(|parent| parent.is(LINKERD, "Server"))
    }

    fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc(_))
    }
}

impl<'a> Check<'a> {
    pub(super) fn parents(&mut self) {
        for route in AnyRoute::all(self.objects) {
            let written = route.written();
            let field = Field::keys(&["spec", "parentRefs"]);
            if written.is_empty() {
                let cause = "is attached to nothing, and does nothing";
                let remedy = "give it parentRefs: a Server for inbound requests, a Service for outbound ones";
                self.tell("no-parent", Severity::Error, (route.object(), field), cause, remedy);
                continue;
            }
            for (index, parent) in route.parents().iter().enumerate() {
                let as_written = written.get(index).cloned().unwrap_or_default();
                self.parent(route, parent, &as_written, &field.index(index));
            }
        }
    }

    fn parent(&mut self, route: AnyRoute<'_>, parent: &ParentRef, written: &ParentRef, field: &Field) {
        if parent.is(LINKERD, "Server") {
            return self.server_parent(route, parent, field);
        }
        if parent.is("", "Service") {
            return self.service_parent(route, parent, field);
        }
        if parent.is(LINKERD, "EgressNetwork") {
            let at = (route.object(), field.clone());
            let cause = format!("has EgressNetwork {} as parent, which is not modelled here", parent.name);
            return self.tell("not-modelled", Severity::Warning, at, cause, "check it on the cluster");
        }
        let (group, kind) = (parent.group.as_deref().unwrap_or_default(), parent.kind.as_deref());
        let kind = kind.unwrap_or_default();
        let default = if written.group.is_none() { ", which is the default group here" } else { "" };
        let (what, remedy) = match written.kind.as_deref() {
            None => (
                format!(
                    "a Gateway {} as parent, which is the default kind, and Linkerd serves none",
                    parent.name
                ),
                format!("write group: {LINKERD} and kind: Server, or group: \"\" and kind: Service"),
            ),
            Some("Server") => (
                format!("a Server of the group {group} as parent{default}; Linkerd's is another"),
                format!("write group: {LINKERD}"),
            ),
            Some("Service") => (
                format!(
                    "a Service of the group {group} as parent{default}; Kubernetes' is of the core group"
                ),
                "write group: \"\"".to_owned(),
            ),
            Some(_) => (
                format!("a {kind} as parent, which Linkerd does not serve"),
                format!("write group: {LINKERD} and kind: Server, or group: \"\" and kind: Service"),
            ),
        };
        let cause = format!("does nothing: it has {what}");
        self.tell("unknown-parent", Severity::Error, (route.object(), field.clone()), cause, remedy);
    }

    fn server_parent(&mut self, route: AnyRoute<'_>, parent: &ParentRef, field: &Field) {
        let own = route.named().namespace();
        if parent.namespace(own) != own {
            let cause = format!(
                "does nothing: it has a Server of another namespace ({}) as parent",
                parent.namespace(own)
            );
            let remedy = "put the route into the Server's namespace";
            let at = (route.object(), field.key("namespace"));
            return self.tell("unknown-parent", Severity::Error, at, cause, remedy);
        }
        for (name, is_there) in
            [("port", parent.port.is_some()), ("sectionName", parent.section_name.is_some())]
        {
            if is_there {
                let cause =
                    format!("does nothing: a Server is one port, so a parent that is one takes no {name}");
                let at = (route.object(), field.key(name));
                self.tell("unknown-parent", Severity::Error, at, cause, "remove it");
            }
        }
        let Some(server) = self.server(own, &parent.name) else {
            let known = self.objects.servers.iter().filter(|server| server.namespace() == own);
            let remedy = suggest(&parent.name, known.map(Named::name));
            let cause = format!("does nothing: there is no Server {} in namespace {own}", parent.name);
            let at = (route.object(), field.key("name"));
            return self.tell("unknown-parent", Severity::Error, at, cause, remedy);
        };
        self.fits(route, server, field);
    }

    /// Whether a Server takes routes of this kind.
    fn fits(&mut self, route: AnyRoute<'_>, server: &Server, field: &Field) {
        let protocol = server.spec.proxy_protocol.as_deref().unwrap_or("unknown");
        let name = server.name();
        let (cause, remedy) = match (route.is_grpc(), protocol) {
            (_, "opaque" | "TLS") => (
                format!("does nothing: Server {name} says {protocol}, so its requests are not looked into"),
                "authorize clients on the Server, or write the protocol that is spoken".to_owned(),
            ),
            (true, "gRPC") => return,
            (true, _) => (
                format!(
                    "does nothing but harm: Server {name} says {protocol} and takes no GRPCRoutes, and every HTTPRoute of it is in conflict with this one"
                ),
                format!("write proxyProtocol: gRPC in Server {name}, or an HTTPRoute"),
            ),
            (false, "gRPC") => (
                format!("does nothing: Server {name} says gRPC and takes GRPCRoutes only"),
                "write a GRPCRoute, with the service and the method for the path".to_owned(),
            ),
            (false, _) => {
                let Some(other) = self.grpc_route_of(server) else { return };
                (
                    format!(
                        "does nothing: GRPCRoute {other} has the same parent, Server {name}, and all HTTPRoutes of it are in conflict with that"
                    ),
                    format!("remove one of both kinds from Server {name}"),
                )
            }
        };
        self.tell("wrong-kind", Severity::Error, (route.object(), field.clone()), cause, remedy);
    }

    fn grpc_route_of(&self, server: &Server) -> Option<String> {
        let is_parent = |route: &&GRPCRoute| {
            route.namespace() == server.namespace()
                && AnyRoute::Grpc(route).servers().iter().any(|name| name == server.name())
        };
        self.objects.grpc_routes.iter().find(is_parent).map(|route| route.name().to_owned())
    }

    fn service_parent(&mut self, route: AnyRoute<'_>, parent: &ParentRef, field: &Field) {
        let own = route.named().namespace();
        let namespace = parent.namespace(own);
        let Some(service) = self.service(namespace, &parent.name) else {
            let known = self.objects.services.iter().filter(|service| service.namespace() == namespace);
            let remedy = suggest(&parent.name, known.map(Named::name));
            let cause = format!("does nothing: there is no Service {} in namespace {namespace}", parent.name);
            let at = (route.object(), field.key("name"));
            return self.tell("unknown-parent", Severity::Error, at, cause, remedy);
        };
        let ports = || service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        if let Some(port) = parent.port
            && !ports().any(|own| own.port == port)
        {
            let known: Vec<_> = ports()
                .map(|own| match &own.name {
                    Some(name) => format!("{} ({name})", own.port),
                    None => own.port.to_string(),
                })
                .collect();
            let cause = format!("does nothing: Service {} has no port {port}", parent.name);
            let remedy = format!("it has {}", known.join(", "));
            let at = (route.object(), field.key("port"));
            self.tell("unknown-parent", Severity::Error, at, cause, remedy);
        }
        let spec = service.spec.as_ref();
        let headless = spec.and_then(|spec| spec.cluster_ip.as_deref()).is_some_and(|ip| ip == "None");
        let external = spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
        if headless || external {
            let cause = format!("does nothing: Service {} has no cluster IP", parent.name);
            let at = (route.object(), field.key("name"));
            self.tell("unknown-parent", Severity::Error, at, cause, "name a Service that has one");
        }
    }

    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<&'a Service> {
        self.objects.services.iter().find(|own| own.namespace() == namespace && own.name() == name)
    }
}
