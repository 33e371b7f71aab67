use std::{io, net::SocketAddr};

/// Why a sidecar or the certificate authority could not start.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// A certificate could not be made.
    #[error("cannot issue a certificate for {subject}: {source}")]
    Certificate {
        /// Whom the certificate was for.
        subject: String,
        /// What rcgen said.
        source: rcgen::Error,
    },
    /// The TLS library refused the configuration.
    #[error("cannot configure mutual TLS for {subject}: {source}")]
    Tls {
        /// The identity.
        subject: String,
        /// What rustls said.
        source: rustls::Error,
    },
    /// An address could not be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The authority of a target is not `HOST[:PORT]`.
    #[error("target {service}.{namespace}: {authority:?} is not an authority (expected HOST or HOST:PORT)")]
    Authority {
        /// The target's Service.
        service: String,
        /// Its namespace.
        namespace: String,
        /// What was given.
        authority: String,
    },
}
