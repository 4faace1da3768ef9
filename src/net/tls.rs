//! TLS configurations from files. There is no switch that skips verification.

mod clients;
mod files;
mod seen;
mod trust;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;

pub use files::{certificate_expiry, client_certificate, revocation_expiry};
pub use seen::{SeenCertificate, seen_certificates};
pub use trust::{ServerTrust, Untrusted};

/// Whom to trust and who to be, towards a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM file with the certificates to trust; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// What a server's certificate is held against.
    pub trust: ServerTrust,
    /// The name to ask for and, but for [`ServerTrust::Pins`], to verify, when the URL holds a bare address.
    pub server_name: Option<String>,
    /// SHA-256 of the public keys to accept (SPKI, RFC 7469 section 2.4); empty: any key whose chain verifies.
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
    /// Revocation lists of those authorities, PEM: a client whose certificate no list covers is refused, too.
    pub client_crl_file: Option<PathBuf>,
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
    /// The file is empty or holds no PEM of the kind that is needed.
    #[error("{path}: no usable {what} in it")]
    File {
        /// Which file.
        path: PathBuf,
        /// What was looked for: certificate or private key.
        what: &'static str,
        /// Why, where there is more to say.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The system has no trusted certificates.
    #[error("the system has no trusted certificates: name a ca_file")]
    NoSystemRoots,
    /// Only pins are to be trusted, and there is none.
    #[error("there is no pin, so no server could be trusted")]
    NoPins,
    /// The name to verify is no host name or address.
    #[error("`{0}` is no name that a certificate can bear")]
    Name(String),
    /// Certificate and key do not fit together, or are of a kind that is not supported.
    #[error("certificate and key cannot be used together")]
    Unusable(#[source] rustls::Error),
    /// The certificates for verifying clients can't be used.
    #[error("the client certificate authority cannot be used")]
    ClientCa(#[source] rustls::server::VerifierBuilderError),
}

impl ClientTls {
    /// Builds the configuration: TLS 1.2 and 1.3, ALPN `http/1.1`.
    ///
    /// Its kept sessions are its own: what another configuration trusted is not resumed under this one. A server that was
    /// verified resumes without showing its certificate again, for as long as its ticket lasts.
    pub fn build(&self) -> Result<rustls::ClientConfig, TlsError> {
        let crypto = Arc::new(provider::default_provider());
        let verifier = self.verifier(&crypto)?;
        self.build_with(verifier, crypto)
    }

    fn build_with(
        &self,
        verifier: Arc<dyn ServerCertVerifier>,
        crypto: Arc<CryptoProvider>,
    ) -> Result<rustls::ClientConfig, TlsError> {
        let builder = rustls::ClientConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.client_cert {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder
                .with_client_auth_cert(files::certificates(cert)?, files::private_key(key)?)
                .map_err(TlsError::Unusable)?,
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn verifier(&self, crypto: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        let pins = self.pin_sha256.clone();
        Ok(match self.trust {
            ServerTrust::Authorities => Arc::new(trust::ByAuthorities::new(self.roots()?, pins, Arc::clone(crypto))?),
            ServerTrust::Pins => Arc::new(trust::ByPins::new(pins, crypto)?),
        })
    }

    /// The configured name to verify, parsed.
    pub fn name(&self) -> Result<Option<ServerName<'static>>, TlsError> {
        let parse = |name: &String| ServerName::try_from(name.clone()).map_err(|_| TlsError::Name(name.clone()));
        self.server_name.as_ref().map(parse).transpose()
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        if let Some(path) = &self.ca_file {
            return files::authorities(path);
        }
        let mut roots = RootCertStore::empty();
        let (_added, _unreadable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Ok(roots)
    }
}

impl ServerTls {
    /// Builds the configuration: TLS 1.2 and 1.3, ALPN `http/1.1`.
    ///
    /// Invariant: each configuration has a store of sessions of its own, and one that asks for certificates has none. So
    /// every client that is let in by its certificate has shown it, and had it verified, in this very handshake against
    /// this very list of authorities: one that was taken off the list, revoked, or has expired does not come back by
    /// resuming a session of before.
    pub fn build(&self) -> Result<rustls::ServerConfig, TlsError> {
        let crypto = Arc::new(provider::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&crypto))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?;
        let builder = match &self.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let clients = clients::Recordable::new(path, self.client_crl_file.as_deref(), crypto)?;
                builder.with_client_cert_verifier(Arc::new(clients))
            }
        };
        let mut config = builder
            .with_single_cert(files::certificates(&self.cert_file)?, files::private_key(&self.key_file)?)
            .map_err(TlsError::Unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if self.client_ca_file.is_some() {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }

    /// What tells one set of authorities and revocation lists from another: SHA-256 of the certificates and lists that decide
    /// which clients are let in; `None` where none is asked for a certificate.
    pub fn let_in(&self) -> Result<Option<[u8; 32]>, TlsError> {
        let Some(path) = &self.client_ca_file else { return Ok(None) };
        let mut all = Vec::new();
        for certificate in files::certificates(path)? {
            all.extend_from_slice(&super::certificate::sha256(&certificate));
        }
        for list in self.client_crl_file.as_deref().map(files::revocation_lists).transpose()?.unwrap_or_default() {
            all.extend_from_slice(&super::certificate::sha256(&list));
        }
        Ok(Some(super::certificate::sha256(&all)))
    }
}

/// For connections without TLS: a configuration that no certificate satisfies.
pub(super) fn trust_nobody() -> Result<rustls::ClientConfig, TlsError> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Unusable)?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

#[cfg(test)]
mod tests;
