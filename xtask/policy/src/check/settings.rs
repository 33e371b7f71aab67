//! Annotations of Namespaces and pods.

use std::collections::BTreeMap;

use super::nearest::suggest;
use super::{Check, Field, ObjectRef, Severity};
use crate::access::{ACCESS_POLICIES, AccessPolicy};
use crate::inbound::settings::{DEFAULT_INBOUND_POLICY, OPAQUE_PORTS, REQUIRE_IDENTITY, parse_ports};
use crate::model::Named;

const INJECT: &str = "linkerd.io/inject";

impl Check<'_> {
    pub(super) fn settings(&mut self) {
        let objects = self.objects;
        let none = BTreeMap::new();
        for namespace in &objects.namespaces {
            let annotations = namespace.metadata.annotations.as_ref().unwrap_or(&none);
            let field = Field::keys(&["metadata", "annotations"]);
            let object = ObjectRef::new("", "Namespace", "", namespace.name());
            self.values(&object, &field, annotations);
            if annotations.contains_key(INJECT) {
                let name = namespace.name();
                let (cause, remedy) = if name == "ingress-nginx" {
                    (
                        "asks for sidecars in all of ingress-nginx, also in its jobs, which then never end",
                        "annotate the pod template of the controller instead",
                    )
                } else {
                    (
                        "asks for sidecars, which pods get when they are made: pods that run already stay clients without an identity",
                        "restart the workloads of the namespace afterwards (kubectl rollout restart), or annotate their pod templates",
                    )
                };
                self.tell("inject-namespace", Severity::Warning, (object, field.key(INJECT)), cause, remedy);
            }
        }
        for workload in &objects.workloads {
            let object = ObjectRef::new("apps", "Deployment", &workload.namespace, &workload.name);
            let field = Field::keys(&["spec", "template", "metadata", "annotations"]);
            self.values(&object, &field, &workload.annotations);
        }
    }

    /// Values that Linkerd passes over.
    fn values(&mut self, object: &ObjectRef, field: &Field, annotations: &BTreeMap<String, String>) {
        if let Some(text) = annotations.get(DEFAULT_INBOUND_POLICY)
            && text.parse::<AccessPolicy>().is_err()
        {
            let cause =
                format!("has no effect with {DEFAULT_INBOUND_POLICY}: \"{text}\" is no access policy");
            let remedy = suggest(text, ACCESS_POLICIES);
            let at = (object.clone(), field.key(DEFAULT_INBOUND_POLICY));
            self.tell("unknown-setting", Severity::Error, at, cause, remedy);
        }
        for key in [OPAQUE_PORTS, REQUIRE_IDENTITY] {
            if let Some(text) = annotations.get(key)
                && parse_ports(text).is_none()
            {
                let cause = format!("has no effect with {key}: \"{text}\" are no ports");
                let at = (object.clone(), field.key(key));
                let remedy = "write numbers and ranges, such as 25,587,9000-9010";
                self.tell("unknown-setting", Severity::Error, at, cause, remedy);
            }
        }
    }
}
