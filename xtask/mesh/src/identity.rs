use std::{fmt, sync::Arc};

use x509_parser::{extensions::GeneralName, prelude::FromDer};

/// The trust domain of Linkerd's default installation.
const TRUST_DOMAIN: &str = "cluster.local";

/// A workload identity as Linkerd names it, e.g. `bar.default.serviceaccount.identity.linkerd.cluster.local`:
/// the DNS name in the workload's certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(Arc<str>);

impl Identity {
    /// The identity of all pods that run as this `ServiceAccount`.
    pub fn of_service_account(service_account: &str, namespace: &str) -> Self {
        Self(format!("{service_account}.{namespace}.serviceaccount.identity.linkerd.{TRUST_DOMAIN}").into())
    }

    /// The identity that a certificate (DER) carries: its first DNS name. None when it has none.
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Some(Self((*name).into())),
            _ => None,
        })
    }

    /// The DNS name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_named_as_linkerd_names_it() {
        assert_eq!(
            Identity::of_service_account("bar", "default").as_str(),
            "bar.default.serviceaccount.identity.linkerd.cluster.local"
        );
    }

    #[test]
    fn what_is_no_certificate_has_no_identity() {
        assert_eq!(Identity::of_certificate(b"not a certificate"), None);
    }
}
