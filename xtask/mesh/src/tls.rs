use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    ClientConfig, ServerConfig, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    pki_types::ServerName,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{Identity, Issuer, MeshError};

/// What a sidecar says of a connection's content in the handshake, so that the other need not detect it.
pub(crate) const ALPN_H2: &[u8] = b"h2";
pub(crate) const ALPN_HTTP1: &[u8] = b"http/1.1";
/// Bytes to pass on as they are. Linkerd's own name is `transport.l5d.io/v1`, which announces a header that
/// names the port; here each port has a listener of its own, so there is none.
pub(crate) const ALPN_OPAQUE: &[u8] = b"opaque.l5d.io";

/// A certificate is replaced when this share of its life is over, as Linkerd's proxy does.
const ROTATE_AT: f64 = 0.7;

/// A sidecar's certificate, and the TLS configurations that always present the newest one.
pub(crate) struct Credentials {
    identity: Identity,
    current: Arc<CurrentKey>,
    acceptor: TlsAcceptor,
    h2: TlsConnector,
    http1: TlsConnector,
    opaque: TlsConnector,
}

/// Replaced in place at each rotation: open connections go on, new ones present the new certificate.
#[derive(Debug)]
struct CurrentKey(RwLock<(Arc<CertifiedKey>, SystemTime)>);

impl Credentials {
    pub(crate) fn new(identity: Identity, issuer: &Issuer) -> Result<Self, MeshError> {
        let leaf = issuer.issue(&identity)?;
        let current = Arc::new(CurrentKey(RwLock::new((leaf.key, leaf.expires))));
        let failed = |source| MeshError::Tls { subject: identity.to_string(), source };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(issuer.roots().map_err(failed)?);

        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| failed(rustls::Error::General(error.to_string())))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(current.clone());
        server.alpn_protocols = [ALPN_H2, ALPN_HTTP1, ALPN_OPAQUE].map(<[u8]>::to_vec).into();
        // Every connection shows both certificates: a resumed one would go on with an expired one's identity.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .with_root_certificates(roots)
            .with_client_cert_resolver(current.clone());
        client.resumption = Resumption::disabled();
        let connector = |alpn: &[u8]| {
            let mut config = client.clone();
            config.alpn_protocols = vec![alpn.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            h2: connector(ALPN_H2),
            http1: connector(ALPN_HTTP1),
            opaque: connector(ALPN_OPAQUE),
            current,
            identity,
        })
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Ends TLS and requires a client certificate of this run's authority.
    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Starts TLS for what `alpn` names.
    pub(crate) fn connector(&self, alpn: &[u8]) -> &TlsConnector {
        match alpn {
            ALPN_H2 => &self.h2,
            ALPN_HTTP1 => &self.http1,
            _ => &self.opaque,
        }
    }

    /// When the certificate in use ends, in seconds since the epoch.
    pub(crate) fn expires(&self) -> f64 {
        let expires = self.current.0.read().unwrap_or_else(PoisonError::into_inner).1;
        expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }

    /// Replaces the certificate whenever 70 % of its life is over. Never ends.
    pub(crate) async fn rotate(&self, issuer: Issuer) {
        loop {
            tokio::time::sleep(issuer.lifetime().mul_f64(ROTATE_AT)).await;
            loop {
                match issuer.issue(&self.identity) {
                    Ok(leaf) => {
                        let mut current = self.current.0.write().unwrap_or_else(PoisonError::into_inner);
                        *current = (leaf.key, leaf.expires);
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "certificate not rotated, trying again");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        }
    }
}

/// The name to verify a server's certificate by. None if the identity is no DNS name.
pub(crate) fn server_name(identity: &Identity) -> Option<ServerName<'static>> {
    ServerName::try_from(identity.as_str().to_owned()).ok()
}

impl CurrentKey {
    fn get(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

impl ResolvesServerCert for CurrentKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

impl ResolvesClientCert for CurrentKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    fn credentials(name: &str, issuer: &Issuer) -> Credentials {
        Credentials::new(Identity::of_service_account(name, "default"), issuer).unwrap()
    }

    /// The DNS names and the issuer in the certificate that one side sees of the other.
    fn seen(session: &rustls::CommonState) -> (String, String) {
        let (_, leaf) = X509Certificate::from_der(&session.peer_certificates().unwrap()[0]).unwrap();
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        (names.value.general_names[0].to_string(), leaf.issuer().to_string())
    }

    #[tokio::test]
    async fn each_side_sees_the_others_identity_in_its_certificate() {
        let issuer = Issuer::generate().unwrap();
        let (foo, bar) = (credentials("foo", &issuer), credentials("bar", &issuer));
        let (client, server) = tokio::io::duplex(16 * 1024);
        let name = server_name(bar.identity()).unwrap();
        let (client, server) =
            tokio::join!(foo.connector(ALPN_H2).connect(name, client), bar.acceptor().accept(server));
        let (client, server) = (client.unwrap(), server.unwrap());
        let (client, server) = (client.get_ref().1, server.get_ref().1);
        assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(server.alpn_protocol(), Some(ALPN_H2));
        let (of_server, of_client) = (seen(client), seen(server));
        assert_eq!(of_server.0, format!("DNSName({})", bar.identity()));
        assert_eq!(of_client.0, format!("DNSName({})", foo.identity()));
        assert_eq!(
            (of_server.1, of_client.1),
            ("CN=root.linkerd.cluster.local".into(), "CN=root.linkerd.cluster.local".into())
        );
    }

    #[tokio::test]
    async fn a_certificate_of_another_run_is_refused() {
        let (here, elsewhere) = (Issuer::generate().unwrap(), Issuer::generate().unwrap());
        let (foo, bar) = (credentials("foo", &elsewhere), credentials("bar", &here));
        let (client, server) = tokio::io::duplex(16 * 1024);
        let name = server_name(bar.identity()).unwrap();
        let (client, server) =
            tokio::join!(foo.connector(ALPN_H2).connect(name, client), bar.acceptor().accept(server));
        assert!(client.is_err() && server.is_err());
    }
}
