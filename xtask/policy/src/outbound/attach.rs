//! Which routes a Service has: what the status controller accepts (`parent_condition_service` of `k8s/status`), and
//! for which clients.

use k8s_openapi::api::core::v1::Service;

use super::ServicePort;
use crate::inbound::Ignored;
use crate::model::{GRPCRoute, HTTPRoute, Named, Objects, ParentRef};

/// A Service as the parent of a route, with the port where it names one.
type Parent = (String, String, Option<u16>);

/// Looks for a Service's routes.
pub(super) struct Attachments<'a> {
    pub objects: &'a Objects,
    pub service: &'a ServicePort,
    /// Routes of the Service's namespace are for everybody; those of another only for clients of that one.
    pub client_namespace: &'a str,
}

impl<'a> Attachments<'a> {
    /// The accepted `HTTPRoute`s, in no order.
    pub(super) fn http(&self, ignored: &mut Vec<Ignored>) -> Vec<&'a HTTPRoute> {
        let meant = self.meant(&self.objects.http_routes, HTTPRoute::parents);
        let accepted = meant.filter(|(route, parents)| {
            let refusal = self.refusal(parents, |parent| {
                self.grpc_route_of(parent).map(|other| {
                    format!(
                        "GRPCRoute {other} has the same parent, Service {}: HTTPRoutes are in conflict with it",
                        parent.1
                    )
                })
            });
            keep("HTTPRoute", *route, refusal, ignored)
        });
        accepted.map(|(route, _)| route).collect()
    }

    /// The accepted `GRPCRoute`s, in no order.
    pub(super) fn grpc(&self, ignored: &mut Vec<Ignored>) -> Vec<&'a GRPCRoute> {
        let meant = self.meant(&self.objects.grpc_routes, GRPCRoute::parents);
        let accepted = meant.filter(|(route, parents)| {
            let refusal = self.refusal(parents, |_| None);
            keep("GRPCRoute", *route, refusal, ignored)
        });
        accepted.map(|(route, _)| route).collect()
    }

    /// The routes that name the Service and its port, or no port, and are for these clients.
    fn meant<R: Named>(
        &self,
        routes: &'a [R],
        of: impl Fn(&R) -> Vec<ParentRef>,
    ) -> impl Iterator<Item = (&'a R, Vec<Parent>)> {
        let is_meant = |(namespace, name, port): &Parent| {
            *namespace == self.service.namespace
                && *name == self.service.name
                && port.is_none_or(|port| port == self.service.port)
        };
        routes.iter().filter_map(move |route| {
            let namespace = route.namespace();
            let is_visible = namespace == self.service.namespace || namespace == self.client_namespace;
            let parents = services(&of(route), namespace);
            (is_visible && parents.iter().any(is_meant)).then_some((route, parents))
        })
    }

    /// Why no parent of a route that has this Service's name and port accepts it; none if one does. The
    /// controller does not compare namespaces here.
    fn refusal(&self, parents: &[Parent], conflict: impl Fn(&Parent) -> Option<String>) -> Option<String> {
        let here = parents.iter().filter(|(_, name, port)| {
            *name == self.service.name && port.is_none_or(|port| port == self.service.port)
        });
        let mut refusals = Vec::new();
        for parent in here {
            match self.no_parent(parent).or_else(|| conflict(parent)) {
                None => return None,
                Some(reason) => refusals.push(reason),
            }
        }
        refusals.into_iter().next()
    }

    /// Why a Service is no parent for routes.
    fn no_parent(&self, (namespace, name, _): &Parent) -> Option<String> {
        let service = find(self.objects, namespace, name);
        match service {
            None => Some(format!("there is no Service {name} in {namespace}")),
            Some(service) if !has_cluster_ip(service) => {
                Some(format!("Service {name} has no cluster IP: it takes no routes"))
            }
            Some(_) => None,
        }
    }

    /// The name of a `GRPCRoute`, of any namespace, with exactly this parent.
    fn grpc_route_of(&self, parent: &Parent) -> Option<&'a str> {
        let routes = self.objects.grpc_routes.iter();
        let with = routes.filter(|route| services(&route.parents(), route.namespace()).contains(parent));
        with.map(GRPCRoute::name).min()
    }
}

/// A Service among the objects.
pub(super) fn find<'a>(objects: &'a Objects, namespace: &str, name: &str) -> Option<&'a Service> {
    objects.services.iter().find(|own| own.name() == name && own.namespace() == namespace)
}

/// A Service without one in its manifest is given one, unless it is an `ExternalName`.
fn has_cluster_ip(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return true };
    let headless = spec.cluster_ip.as_deref().is_some_and(|ip| ip.eq_ignore_ascii_case("none"));
    !headless && spec.type_.as_deref() != Some("ExternalName")
}

fn services(parents: &[ParentRef], from: &str) -> Vec<Parent> {
    let service = |parent: &ParentRef| {
        let port = parent.port.map(u16::try_from).transpose().ok()?.filter(|port| *port > 0);
        let is_service = parent.is("", "Service");
        is_service.then(|| (parent.namespace(from).to_owned(), parent.name.clone(), port))
    };
    parents.iter().filter_map(service).collect()
}

fn keep(kind: &'static str, route: &impl Named, refusal: Option<String>, ignored: &mut Vec<Ignored>) -> bool {
    let Some(reason) = refusal else { return true };
    let (namespace, name) = (route.namespace().to_owned(), route.name().to_owned());
    ignored.push(Ignored { kind, namespace, name, reason });
    false
}
