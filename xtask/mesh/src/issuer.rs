use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};

use crate::{Identity, MeshError};

/// Linkerd's default lifetime of a workload certificate.
const LEAF_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Certificates begin this long before they are issued, as Linkerd's allow for clock skew.
const SKEW: Duration = Duration::from_secs(20);
const CA_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The certificate authority of one run: made at start, kept in memory only, gone with the process.
#[derive(Clone)]
pub struct Issuer {
    authority: Arc<Authority>,
    lifetime: Duration,
}

struct Authority {
    signer: rcgen::Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A workload's certificate and key, and when it ends.
pub(crate) struct Leaf {
    pub key: Arc<CertifiedKey>,
    pub expires: SystemTime,
}

impl Issuer {
    /// Makes a new authority with a key of its own (ECDSA P-256).
    pub fn generate() -> Result<Self, MeshError> {
        const NAME: &str = "root.linkerd.cluster.local";
        let failed = |source| MeshError::Certificate { subject: NAME.to_owned(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = SystemTime::now();
        params.not_before = (now - SKEW).into();
        params.not_after = (now + CA_LIFETIME).into();
        let certificate = params.self_signed(&key).map_err(failed)?.der().clone();
        let signer = rcgen::Issuer::new(params, key);
        Ok(Self { authority: Arc::new(Authority { signer, certificate }), lifetime: LEAF_LIFETIME })
    }

    /// The same authority, issuing workload certificates of another lifetime (default 24 h, as Linkerd's).
    /// A sidecar replaces its certificate after 70 % of it. X.509 counts whole seconds.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// The lifetime of the certificates issued.
    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// What peers trust.
    pub(crate) fn roots(&self) -> Result<RootCertStore, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate.clone())?;
        Ok(roots)
    }

    /// A certificate for one workload, for both ends of a connection.
    pub(crate) fn issue(&self, identity: &Identity) -> Result<Leaf, MeshError> {
        let failed = |source| MeshError::Certificate { subject: identity.to_string(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(vec![identity.to_string()]).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, identity.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now();
        let expires = now + self.lifetime;
        params.not_before = (now - SKEW).into();
        params.not_after = expires.into();
        let certificate = params.signed_by(&key, &self.authority.signer).map_err(failed)?;
        let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let signing = rustls::crypto::ring::sign::any_supported_type(&der)
            .map_err(|source| MeshError::Tls { subject: identity.to_string(), source })?;
        let key = Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signing));
        Ok(Leaf { key, expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_carries_the_identity_it_was_issued_for() {
        let issuer = Issuer::generate().unwrap().with_lifetime(Duration::from_secs(60));
        let identity = Identity::of_service_account("bar", "default");
        let leaf = issuer.issue(&identity).unwrap();
        assert_eq!(Identity::of_certificate(&leaf.key.cert[0]), Some(identity));
        assert!(leaf.expires <= SystemTime::now() + Duration::from_secs(60));
    }
}
