//! Routes that are not what they are meant for: outbound ones on a Server, ones without matches, ones for everything.

use std::collections::BTreeMap;

use super::parents::AnyRoute;
use super::{Check, Field, ObjectRef, Severity};
use crate::model::{HTTPPathMatch, HTTPRouteMatch, LINKERD, Named};

/// What annotations of outbound routes begin with.
const OUTBOUND_ANNOTATIONS: [&str; 2] = ["retry.linkerd.io/", "timeout.linkerd.io/"];

impl Check<'_> {
    pub(super) fn routes(&mut self) {
        // The inbound routes of each Server.
        let mut of_server: BTreeMap<(String, String), usize> = BTreeMap::new();
        for route in AnyRoute::all(self.objects) {
            for server in route.servers() {
                *of_server.entry((route.named().namespace().to_owned(), server)).or_default() += 1;
            }
        }
        for route in AnyRoute::all(self.objects).into_iter().filter(|route| route.is_inbound()) {
            if self.is_meant_for_outbound(route) {
                continue;
            }
            self.no_matches(route);
            let namespace = route.named().namespace().to_owned();
            let alone = route
                .servers()
                .iter()
                .all(|server| of_server.get(&(namespace.clone(), server.clone())) == Some(&1));
            if alone {
                self.for_everything(route);
            }
        }
    }

    /// An outbound route whose parent is the Server: a second inbound route for everything.
    fn is_meant_for_outbound(&mut self, route: AnyRoute<'_>) -> bool {
        let object = route.object();
        let rules = Field::keys(&["spec", "rules"]);
        let annotation = route.named().metadata().annotations.iter().flatten().find_map(|(key, _)| {
            OUTBOUND_ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix)).then(|| key.clone())
        });
        let (field, sign) = if let Some((index, what)) = backend_or_timeout(route) {
            (rules.index(index).key(what), format!("it has {what}"))
        } else if let Some(key) = annotation {
            (Field::keys(&["metadata", "annotations", &key]), format!("it has the annotation {key}"))
        } else if route.named().name().contains("outbound") {
            (Field::keys(&["metadata", "name"]), "so it is named".to_owned())
        } else {
            return false;
        };
        let Some(server) = route.servers().into_iter().next() else { return false };
        let remedy = match self.server(route.named().namespace(), &server) {
            None => "write the Service as parent: group: \"\", kind: Service".to_owned(),
            Some(own) => {
                let leads = self.service_ports(own, &self.selected(own));
                let lead = leads
                    .first()
                    .and_then(|(service, port, _)| self.numbered(own.namespace(), service, port));
                match lead {
                    Some((service, port)) => format!(
                        "write the Service as parent: group: \"\", kind: Service, name: {service}, port: {port}; an inbound route needs none of this"
                    ),
                    None => "write the Service as parent: group: \"\", kind: Service".to_owned(),
                }
            }
        };
        let effect = if catches_all(route) {
            "it is one more inbound route, for everything: authorizations of the Server's other routes may never apply, since of equal matches the older one wins"
        } else {
            "it is an inbound route: it sends nothing anywhere, retries nothing and times nothing out"
        };
        let cause =
            format!("is meant for outbound requests ({sign}), and its parent is Server {server}: {effect}");
        self.tell("outbound-on-server", Severity::Error, (object, field), cause, remedy);
        true
    }

    /// A Service's port by its number.
    fn numbered(&self, namespace: &str, service: &str, port: &str) -> Option<(String, i32)> {
        let ports = self.service(namespace, service)?.spec.as_ref()?.ports.as_ref()?;
        let is = |own: &&k8s_openapi::api::core::v1::ServicePort| {
            own.name.as_deref() == Some(port) || own.port.to_string() == port
        };
        Some((service.to_owned(), ports.iter().find(is)?.port))
    }

    /// Rules that say nothing of what they match.
    fn no_matches(&mut self, route: AnyRoute<'_>) {
        let rules = Field::keys(&["spec", "rules"]);
        let server = route.servers().first().cloned().unwrap_or_default();
        let tell = |check: &mut Self, field: Field| {
            let cause = format!(
                "matches every request to Server {server}, also ones that another route of it should decide, since it says no matches"
            );
            let remedy = match route {
                AnyRoute::Http(_) => {
                    "write the matches, with path, method or headers; to let a client use the whole Server, no route is needed: target the Server"
                }
                AnyRoute::Grpc(_) => {
                    "write the matches, with a method's service, method or both; to let a client use the whole Server, no route is needed: target the Server"
                }
            };
            check.tell("no-matches", Severity::Error, (route.object(), field), cause, remedy);
        };
        match route {
            AnyRoute::Http(own) => match own.spec.rules.as_deref() {
                None => tell(self, Field::keys(&["spec"])),
                Some(own) => {
                    for (index, rule) in own.iter().enumerate() {
                        if rule.matches.as_ref().is_none_or(Vec::is_empty) {
                            tell(self, rules.index(index));
                        }
                    }
                }
            },
            AnyRoute::Grpc(own) => {
                for (index, rule) in own.spec.rules.iter().flatten().enumerate() {
                    if rule.matches.as_ref().is_none_or(Vec::is_empty) {
                        tell(self, rules.index(index));
                    }
                }
            }
        }
        let is_empty = match route {
            AnyRoute::Http(own) => own.spec.rules.as_ref().is_some_and(Vec::is_empty),
            AnyRoute::Grpc(own) => own.spec.rules.as_ref().is_none_or(Vec::is_empty),
        };
        if is_empty {
            let cause = format!(
                "has no rules, so it takes no request; and since Server {server} then has a route, what no other route takes is not found"
            );
            let at = (route.object(), rules);
            self.tell("no-matches", Severity::Error, at, cause, "write its rules, or remove the route");
        }
    }

    /// The only route of a Server that takes everything is as good as none.
    fn for_everything(&mut self, route: AnyRoute<'_>) {
        let AnyRoute::Http(own) = route else { return };
        let takes_routes = |name: &String| {
            let server = self.server(own.namespace(), name);
            server.is_some_and(|server| {
                !matches!(server.spec.proxy_protocol.as_deref(), Some("gRPC" | "opaque" | "TLS"))
            })
        };
        if !route.servers().iter().any(takes_routes) {
            return;
        }
        let rules = own.spec.rules.as_deref().unwrap_or_default();
        let all = rules.iter().enumerate().find_map(|(index, rule)| {
            let matches = rule.matches.as_deref().unwrap_or_default();
            let found = matches.iter().position(is_everything)?;
            Some(Field::keys(&["spec", "rules"]).index(index).key("matches").index(found))
        });
        let Some(field) = all.filter(|_| rules.len() == 1) else { return };
        let server = route.servers().first().cloned().unwrap_or_default();
        let cause = format!(
            "is the only route of Server {server} and takes everything: it decides nothing that the Server would not, and the kubelet's HTTP probes, which a Server without routes lets through, are refused"
        );
        let remedy = format!("remove it, and target Server {server} in its AuthorizationPolicies");
        self.tell("catch-all", Severity::Warning, (route.object(), field), cause, remedy);
    }
}

/// The first rule that has what only outbound requests have.
fn backend_or_timeout(route: AnyRoute<'_>) -> Option<(usize, &'static str)> {
    let has = |list: bool, what| list.then_some(what);
    match route {
        AnyRoute::Http(own) => own.spec.rules.iter().flatten().enumerate().find_map(|(index, rule)| {
            let backends = rule.backend_refs.as_ref().is_some_and(|refs| !refs.is_empty());
            let what = has(backends, "backendRefs").or_else(|| has(rule.timeouts.is_some(), "timeouts"))?;
            Some((index, what))
        }),
        AnyRoute::Grpc(own) => own.spec.rules.iter().flatten().enumerate().find_map(|(index, rule)| {
            let backends = rule.backend_refs.as_ref().is_some_and(|refs| !refs.is_empty());
            Some((index, has(backends, "backendRefs")?))
        }),
    }
}

/// Whether some rule takes every request.
fn catches_all(route: AnyRoute<'_>) -> bool {
    match route {
        AnyRoute::Http(own) => own.spec.rules.as_ref().is_none_or(|rules| {
            rules.iter().any(|rule| match rule.matches.as_deref() {
                None | Some([]) => true,
                Some(matches) => matches.iter().any(is_everything),
            })
        }),
        AnyRoute::Grpc(own) => own.spec.rules.iter().flatten().any(|rule| match rule.matches.as_deref() {
            None | Some([]) => true,
            Some(matches) => matches.iter().any(|own| {
                own.headers.as_ref().is_none_or(Vec::is_empty)
                    && own.method.as_ref().is_none_or(|own| own.service.is_none() && own.method.is_none())
            }),
        }),
    }
}

/// Whether a match takes every request.
fn is_everything(own: &HTTPRouteMatch) -> bool {
    let root = |path: &HTTPPathMatch| {
        path.kind.as_deref().unwrap_or("PathPrefix") == "PathPrefix"
            && path.value.as_deref().unwrap_or("/") == "/"
    };
    own.path.as_ref().is_none_or(root)
        && own.headers.as_ref().is_none_or(Vec::is_empty)
        && own.query_params.as_ref().is_none_or(Vec::is_empty)
        && own.method.is_none()
}

/// A Server, as findings name it.
pub(super) fn server_ref(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef::new(LINKERD, "Server", namespace, name)
}
