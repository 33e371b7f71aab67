//! Who calls, by the name that people give.

use policy::explain::Caller;
use policy::model::{Named as _, Objects};

use crate::plan::INGRESS_ACCOUNT;
use crate::workspace::problem::suggest;

/// The name of a client without a sidecar.
pub const UNMESHED: &str = "unmeshed";

/// The name of the ingress.
pub const INGRESS: &str = "ingress";

/// The client of a name: `bar` or `bar.default` for a `ServiceAccount`, `ingress`, `unmeshed`. `namespace` is that of
/// a name without one. Errors with what is known; an account of a namespace that is not written down is taken as it
/// is.
pub fn caller(objects: &Objects, name: &str, namespace: &str) -> Result<Caller, String> {
    if name == UNMESHED {
        return Ok(Caller::unmeshed());
    }
    let (account, of) = name.split_once('.').unwrap_or((name, namespace));
    let is_known = |account: &str, of: &str| {
        objects.service_accounts.iter().any(|own| own.name() == account && own.namespace() == of)
    };
    if is_known(account, of) {
        return Ok(Caller::meshed(account, of));
    }
    let (ingress, ingress_namespace) = INGRESS_ACCOUNT;
    if name == INGRESS && is_known(ingress, ingress_namespace) {
        return Ok(Caller::meshed(ingress, ingress_namespace));
    }
    if of != namespace && !objects.service_accounts.iter().any(|own| own.namespace() == of) {
        return Ok(Caller::meshed(account, of));
    }
    let known = names(objects, namespace);
    Err(format!("no client `{name}`{}", suggest(name, known.iter().map(String::as_str))))
}

/// The names of all clients that are written down.
pub fn names(objects: &Objects, namespace: &str) -> Vec<String> {
    let accounts =
        objects.service_accounts.iter().map(|own| own_name(own.name(), own.namespace(), namespace));
    let mut names: Vec<_> = accounts.collect();
    names.sort();
    names.push(UNMESHED.to_owned());
    names
}

/// The name that people give a client.
pub fn own_name(account: &str, of: &str, namespace: &str) -> String {
    if (account, of) == INGRESS_ACCOUNT {
        INGRESS.to_owned()
    } else if of == namespace {
        account.to_owned()
    } else {
        format!("{account}.{of}")
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServiceAccount;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn objects() -> Objects {
        let account = |name: &str, namespace: &str| ServiceAccount {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        let accounts = vec![account("bar", "default"), account(INGRESS_ACCOUNT.0, INGRESS_ACCOUNT.1)];
        Objects { service_accounts: accounts, ..Objects::default() }
    }

    #[test]
    fn clients_are_accounts_the_ingress_or_unmeshed() {
        let account = |name: &str| caller(&objects(), name, "default").map(|caller| caller.account);
        let pair = |name: &str, namespace: &str| Ok(Some((name.to_owned(), namespace.to_owned())));
        assert_eq!(account("bar"), pair("bar", "default"));
        assert_eq!(account("bar.default"), pair("bar", "default"));
        assert_eq!(account("ingress"), pair("ingress-nginx", "ingress-nginx"));
        assert_eq!(account("unmeshed"), Ok(None));
        assert_eq!(account("prometheus.viz"), pair("prometheus", "viz"), "not ours to know");
        insta::assert_snapshot!(account("bax").unwrap_err(), @r#"no client `bax`; did you mean "bar"?"#);
        insta::assert_snapshot!(account("other").unwrap_err(), @"no client `other`; known: bar, ingress, unmeshed");
    }
}
