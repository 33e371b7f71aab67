//! Rate limits: what they are for.

use super::nearest::suggest;
use super::{Check, Field, ObjectRef, Severity};
use crate::model::{LINKERD, Named};

impl Check<'_> {
    pub(super) fn rate_limits(&mut self) {
        let objects = self.objects;
        for limit in &objects.rate_limits {
            let target = &limit.spec.target_ref;
            if !target.is(LINKERD, "Server") {
                continue;
            }
            let object = ObjectRef::linkerd("HTTPLocalRateLimitPolicy", limit);
            let field = Field::keys(&["spec", "targetRef", "name"]);
            let Some(server) = self.server(limit.namespace(), &target.name) else {
                let known = objects.servers.iter().filter(|own| own.namespace() == limit.namespace());
                let remedy = suggest(&target.name, known.map(Named::name));
                let cause = format!(
                    "limits nothing: there is no Server {} in namespace {}",
                    target.name,
                    limit.namespace()
                );
                self.tell("unknown-target", Severity::Error, (object, field), cause, remedy);
                continue;
            };
            let protocol = server.spec.proxy_protocol.as_deref().unwrap_or("unknown");
            if matches!(protocol, "gRPC" | "opaque" | "TLS") {
                let cause = format!(
                    "limits nothing: Server {} says {protocol}, and Linkerd limits HTTP only",
                    target.name
                );
                let remedy = "remove it; with proxyProtocol: HTTP/2 gRPC calls are limited as well";
                self.tell("no-limit", Severity::Error, (object.clone(), field.clone()), cause, remedy);
            }
            let spec = &limit.spec;
            let nothing = spec.total.is_none()
                && spec.identity.is_none()
                && spec.overrides.as_ref().is_none_or(Vec::is_empty);
            if nothing {
                let cause = "limits nothing: it has neither total, identity nor overrides";
                let at = (object, Field::keys(&["spec"]));
                self.tell("no-limit", Severity::Warning, at, cause, "add one, with requestsPerSecond");
            }
        }
    }
}
