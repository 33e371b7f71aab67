//! Ingresses whose controller would go around the mesh.

use super::{Check, Field, ObjectRef, Severity};
use crate::model::Named;

/// ingress-nginx sends requests to the Service instead of to pods that it picks itself.
const SERVICE_UPSTREAM: &str = "nginx.ingress.kubernetes.io/service-upstream";

impl Check<'_> {
    pub(super) fn ingresses(&mut self) {
        let objects = self.objects;
        for ingress in &objects.ingresses {
            let class = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
            let annotations = ingress.metadata.annotations.as_ref();
            let upstream = annotations.and_then(|own| own.get(SERVICE_UPSTREAM)).map(String::as_str);
            if class.is_some_and(|class| class != "nginx") || upstream == Some("true") {
                continue;
            }
            let object = ObjectRef::new("networking.k8s.io", "Ingress", ingress.namespace(), ingress.name());
            let field = Field::keys(&["metadata", "annotations", SERVICE_UPSTREAM]);
            let cause = "has ingress-nginx pick pods itself: that goes around Linkerd's balancing and outbound routes";
            let remedy = format!("add the annotation {SERVICE_UPSTREAM}: \"true\"");
            self.tell("ingress-around-mesh", Severity::Warning, (object, field), cause, remedy);
        }
    }
}
