//! TLS configurations from files. There is no switch that skips verification.

use std::path::PathBuf;

/// Whom to trust and who to be, towards a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM file with the certificates to trust; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// The name to verify when the URL holds a bare address.
    pub server_name: Option<String>,
    /// SHA-256 of the public keys to accept (SPKI, RFC 7469 section 2.4); empty: any that verifies.
    pub pin_sha256: Vec<[u8; 32]>,
    /// Our own certificate and key, PEM files, for mTLS.
    pub client_cert: Option<(PathBuf, PathBuf)>,
}

/// Our certificate, and whom to let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Certificate chain, PEM.
    pub cert_file: PathBuf,
    /// Private key, PEM.
    pub key_file: PathBuf,
    /// Certificates whose clients are let in (mTLS); without it no client certificate is asked for.
    pub client_ca_file: Option<PathBuf>,
}

/// A TLS file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file can't be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
