//! Identities: whether someone has them, and who else has.

use std::collections::BTreeSet;

use super::nearest::suggest;
use super::{Check, Field, ObjectRef, Severity};
use crate::model::{DEFAULT_NAMESPACE, Named, NamespacedTargetRef};

/// The account of pods that name none; it is in every namespace.
const DEFAULT_ACCOUNT: &str = "default";

impl Check<'_> {
    pub(super) fn identities(&mut self) {
        let objects = self.objects;
        for own in &objects.mesh_tls_authentications {
            let object = ObjectRef::linkerd("MeshTLSAuthentication", own);
            for (index, reference) in own.spec.identity_refs.iter().flatten().enumerate() {
                let field = Field::keys(&["spec", "identityRefs"]).index(index);
                if reference.is("", "ServiceAccount") {
                    self.account_ref(&object, own.namespace(), reference, &field);
                } else if reference.is("", "Namespace") {
                    self.namespace(&object, &reference.name, &field.key("name"));
                }
            }
            for (index, identity) in own.spec.identities.iter().flatten().enumerate() {
                self.identity(&object, identity, &Field::keys(&["spec", "identities"]).index(index));
            }
        }
        for policy in &objects.authorization_policies {
            let object = ObjectRef::linkerd("AuthorizationPolicy", policy);
            let refs = Field::keys(&["spec", "requiredAuthenticationRefs"]);
            for (index, reference) in policy.spec.required_authentication_refs.iter().enumerate() {
                if reference.is("", "ServiceAccount") {
                    self.account_ref(&object, policy.namespace(), reference, &refs.index(index));
                }
            }
        }
        for limit in &objects.rate_limits {
            let object = ObjectRef::linkerd("HTTPLocalRateLimitPolicy", limit);
            for (index, own) in limit.spec.overrides.iter().flatten().enumerate() {
                let refs = Field::keys(&["spec", "overrides"]).index(index).key("clientRefs");
                for (index, reference) in own.client_refs.iter().enumerate() {
                    self.account_ref(&object, limit.namespace(), reference, &refs.index(index));
                }
            }
        }
    }

    fn account_ref(
        &mut self,
        object: &ObjectRef,
        from: &str,
        reference: &NamespacedTargetRef,
        field: &Field,
    ) {
        self.account(object, &reference.name, reference.namespace(from), &field.key("name"));
    }

    /// Whether a `ServiceAccount` is there, and whether it is one workload's alone.
    fn account(&mut self, object: &ObjectRef, name: &str, namespace: &str, field: &Field) {
        if self.accounts(namespace).contains(name) {
            let using: Vec<_> = self
                .objects
                .workloads
                .iter()
                .filter(|own| own.service_account == name && own.namespace == namespace)
                .map(|own| own.name.as_str())
                .collect();
            if using.len() > 1 {
                let cause = format!(
                    "is about ServiceAccount {name}, and several workloads run as it: {} all have that identity",
                    using.join(", ")
                );
                let remedy = "give each workload a ServiceAccount of its own";
                let at = (object.clone(), field.clone());
                self.tell("shared-account", Severity::Warning, at, cause, remedy);
            }
            return;
        }
        // Of a namespace that none of these manifests is in, nothing is known.
        if !self.namespaces().contains(namespace) {
            return;
        }
        let elsewhere = self
            .objects
            .service_accounts
            .iter()
            .find(|own| own.name() == name)
            .map(|own| format!("it is in namespace {}: name that as well", own.namespace()));
        let known = self.accounts(namespace);
        let remedy = elsewhere.unwrap_or_else(|| suggest(name, known.iter().map(String::as_str)));
        let cause = format!("is about nobody: there is no ServiceAccount {name} in namespace {namespace}");
        self.tell("unknown-identity", Severity::Error, (object.clone(), field.clone()), cause, remedy);
    }

    fn namespace(&mut self, object: &ObjectRef, name: &str, field: &Field) {
        let known = self.namespaces();
        if known.contains(name) {
            return;
        }
        let cause =
            format!("is about the identities of namespace {name}, which none of these manifests is in");
        let remedy = suggest(name, known.iter().map(String::as_str));
        self.tell("unknown-identity", Severity::Warning, (object.clone(), field.clone()), cause, remedy);
    }

    /// An identity written out.
    fn identity(&mut self, object: &ObjectRef, text: &str, field: &Field) {
        if text == "*" || text.starts_with("spiffe://") {
            return;
        }
        // SERVICEACCOUNT.NAMESPACE.serviceaccount.identity.CONTROL-PLANE.DOMAIN
        let example = self.cluster.identity("SERVICEACCOUNT", "NAMESPACE");
        let tail = self.cluster.identity("", "").trim_start_matches('.').to_owned();
        let parts = text.strip_suffix(&tail).and_then(|head| head.strip_suffix('.'));
        match parts.map(|head| head.rsplit_once('.')) {
            Some(Some(("*", namespace))) => self.namespace(object, namespace, field),
            // A ServiceAccount's name may have dots.
            Some(Some((account, namespace))) if !account.starts_with('*') => {
                self.account(object, account, namespace, field);
            }
            // All identities of the cluster, or of more.
            _ if text.strip_prefix('*').is_some_and(|end| example.ends_with(end)) => {}
            _ => {
                let cause = format!(
                    "is about nobody: \"{text}\" is no identity of this cluster, in which they are {example}"
                );
                let remedy = "write it so, or write identityRefs with the ServiceAccount";
                self.tell(
                    "unknown-identity",
                    Severity::Error,
                    (object.clone(), field.clone()),
                    cause,
                    remedy,
                );
            }
        }
    }

    fn accounts(&self, namespace: &str) -> BTreeSet<String> {
        let own = self.objects.service_accounts.iter().filter(|own| own.namespace() == namespace);
        let mut names: BTreeSet<String> = own.map(|own| own.name().to_owned()).collect();
        if self.namespaces().contains(namespace) {
            names.insert(DEFAULT_ACCOUNT.to_owned());
        }
        names
    }

    /// Those that something of these manifests is in.
    fn namespaces(&self) -> BTreeSet<String> {
        let accounts = self.objects.service_accounts.iter().map(|own| own.namespace().to_owned());
        let workloads = self.objects.workloads.iter().map(|own| own.namespace.clone());
        let mut all: BTreeSet<String> = accounts.chain(workloads).collect();
        if all.is_empty() {
            all.insert(DEFAULT_NAMESPACE.to_owned());
        }
        all
    }
}
