//! Authentications: those that are required and not there, and those that nothing requires.

use super::nearest::suggest;
use super::{Check, Field, ObjectRef, Severity};
use crate::model::{LINKERD, Named, NamespacedTargetRef};

impl Check<'_> {
    pub(super) fn authentications(&mut self) {
        self.required();
        self.unused();
    }

    fn required(&mut self) {
        let objects = self.objects;
        for policy in &objects.authorization_policies {
            let field = Field::keys(&["spec", "requiredAuthenticationRefs"]);
            for (index, reference) in policy.spec.required_authentication_refs.iter().enumerate() {
                let namespace = reference.namespace(policy.namespace());
                let known: Vec<&str> = if reference.is(LINKERD, "MeshTLSAuthentication") {
                    names(&objects.mesh_tls_authentications, namespace)
                } else if reference.is(LINKERD, "NetworkAuthentication") {
                    names(&objects.network_authentications, namespace)
                } else {
                    continue;
                };
                if known.contains(&reference.name.as_str()) {
                    continue;
                }
                let object = ObjectRef::linkerd("AuthorizationPolicy", policy);
                let cause = format!(
                    "authorizes nobody: there is no {} {} in namespace {namespace}",
                    reference.kind, reference.name
                );
                let remedy = suggest(&reference.name, known);
                let at = (object, field.index(index).key("name"));
                self.tell("unknown-authentication", Severity::Error, at, cause, remedy);
            }
        }
    }

    fn unused(&mut self) {
        let objects = self.objects;
        let is_required = |kind: &str, object: &dyn Named| {
            objects.authorization_policies.iter().any(|policy| {
                let means = |own: &NamespacedTargetRef| {
                    own.is(LINKERD, kind)
                        && own.name == object.name()
                        && own.namespace(policy.namespace()) == object.namespace()
                };
                policy.spec.required_authentication_refs.iter().any(means)
            })
        };
        let mesh =
            objects.mesh_tls_authentications.iter().map(|own| ("MeshTLSAuthentication", own as &dyn Named));
        let net =
            objects.network_authentications.iter().map(|own| ("NetworkAuthentication", own as &dyn Named));
        let unused: Vec<_> = mesh.chain(net).filter(|(kind, own)| !is_required(kind, *own)).collect();
        for (kind, own) in unused {
            let object = ObjectRef::new(LINKERD, kind, own.namespace(), own.name());
            let at = (object, Field::keys(&["metadata", "name"]));
            let remedy = "name it in an AuthorizationPolicy's requiredAuthenticationRefs, or remove it";
            let cause = "does nothing: no AuthorizationPolicy requires it";
            self.tell("unused-authentication", Severity::Warning, at, cause, remedy);
        }
    }
}

fn names<'a>(objects: &'a [impl Named], namespace: &str) -> Vec<&'a str> {
    objects.iter().filter(|own| own.namespace() == namespace).map(Named::name).collect()
}
