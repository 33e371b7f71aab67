//! Pure: a cluster's trust anchor and the issuer that signs its proxies' certificates, made here and renewed in time.
//! Source: Linkerd's documentation, "Generating your own mTLS root certificates": ECDSA P-256, and these names.

use std::time::{Duration, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde::{Deserialize, Serialize};
use x509_parser::pem::parse_x509_pem;

use crate::error::Fault;

/// The trust domain: the cluster's, as kind makes them.
const DOMAIN: &str = "cluster.local";

const DAY: i64 = 24 * 60 * 60;

/// An anchor lives as long as any development cluster.
const ANCHOR: i64 = 3650 * DAY;

/// An issuer is renewed with every year.
const ISSUER: i64 = 365 * DAY;

/// What expires within this is renewed.
const SOON: i64 = 30 * DAY;

/// Clocks that differ by less than this agree.
const SKEW: i64 = 60 * 60;

/// What a cluster's proxies trust, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    pub anchor: String,
    /// Kept in the cluster, to renew the issuer.
    pub anchor_key: String,
    pub issuer: String,
    pub issuer_key: String,
}

/// What was renewed, and so what has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// All is valid for long enough.
    None,
    /// Another issuer of the same anchor: proxies do not notice.
    Issuer,
    /// Another anchor: every proxy has to start anew.
    Anchor,
}

impl Trust {
    /// An anchor and an issuer; `now` in seconds since 1970. Errors when no random key can be had.
    pub fn generate(now: i64) -> Result<Self, Fault> {
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let name = format!("root.linkerd.{DOMAIN}");
        let anchor =
            authority(&name, now, ANCHOR, 1).self_signed(&key).map_err(|error| failed(&error))?.pem();
        issued(anchor, key.serialize_pem(), now)
    }

    /// Which anchor: another one has another id.
    pub fn id(&self) -> String {
        crate::oci::Digest::of(self.anchor.as_bytes()).short().to_owned()
    }

    /// The same, or with what expires soon made anew. Errors when it is no PEM that this command wrote.
    pub fn renewed(&self, now: i64) -> Result<(Self, Renewal), Fault> {
        if expires(&self.anchor)? - now < SOON {
            return Ok((Self::generate(now)?, Renewal::Anchor));
        }
        if expires(&self.issuer)? - now < SOON {
            return Ok((issued(self.anchor.clone(), self.anchor_key.clone(), now)?, Renewal::Issuer));
        }
        Ok((self.clone(), Renewal::None))
    }
}

/// An issuer of an anchor.
fn issued(anchor: String, anchor_key: String, now: i64) -> Result<Trust, Fault> {
    let root = KeyPair::from_pem(&anchor_key).map_err(|error| failed(&error))?;
    // As a signer an authority is its name and its key.
    let root = Issuer::new(authority(&format!("root.linkerd.{DOMAIN}"), now, ANCHOR, 1), root);
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let name = format!("identity.linkerd.{DOMAIN}");
    // Not beyond what it is signed by.
    let life = ISSUER.min(expires(&anchor)? - now);
    let issuer = authority(&name, now, life, 0).signed_by(&key, &root).map_err(|error| failed(&error))?.pem();
    Ok(Trust { anchor, anchor_key, issuer, issuer_key: key.serialize_pem() })
}

fn authority(name: &str, now: i64, life: i64, below: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    params.not_before = time(now - SKEW).into();
    params.not_after = time(now + life).into();
    params
}

/// When a certificate expires, in seconds since 1970.
fn expires(pem: &str) -> Result<i64, Fault> {
    let unreadable = |why: String| Fault::failed(format!("the cluster's trust anchor cannot be read: {why}"));
    let (_, pem) = parse_x509_pem(pem.as_bytes()).map_err(|error| unreadable(error.to_string()))?;
    let certificate = pem.parse_x509().map_err(|error| unreadable(error.to_string()))?;
    Ok(certificate.validity().not_after.timestamp())
}

fn failed(error: &rcgen::Error) -> Fault {
    Fault::failed(format!("cannot make a certificate: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn an_issuer_is_renewed_in_time_and_an_anchor_with_all_that_it_signed() {
        let trust = Trust::generate(NOW).unwrap();
        assert_eq!(trust.renewed(NOW).unwrap(), (trust.clone(), Renewal::None));
        let (later, what) = trust.renewed(NOW + ISSUER - SOON + DAY).unwrap();
        assert_eq!(
            (what, &later.anchor, later.issuer == trust.issuer),
            (Renewal::Issuer, &trust.anchor, false)
        );
        assert_eq!(later.renewed(NOW + ISSUER).unwrap().1, Renewal::None);
        let (anew, what) = trust.renewed(NOW + ANCHOR).unwrap();
        assert_eq!((what, anew.anchor == trust.anchor), (Renewal::Anchor, false));
    }

    #[test]
    fn an_issuer_does_not_outlive_its_anchor() {
        let trust = Trust::generate(NOW).unwrap();
        let late = NOW + ANCHOR - SOON - DAY;
        let (renewed, what) = trust.renewed(late).unwrap();
        assert_eq!(what, Renewal::Issuer);
        assert_eq!(expires(&renewed.issuer).unwrap(), expires(&trust.anchor).unwrap());
    }
}
