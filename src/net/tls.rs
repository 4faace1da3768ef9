//! TLS configurations from files. There is no switch that skips verification.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Longest PEM file, in bytes: the system's own bundle of all authorities is about 220 KiB.
const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Whom to trust and who to be, towards a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM file with the certificates to trust; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// The name to verify when the URL holds a bare address.
    pub server_name: Option<String>,
    /// SHA-256 of the public keys to accept (SPKI, RFC 7469 section 2.4), beside the verification of the chain; empty:
    /// any key whose chain verifies.
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
    pub fn build(&self) -> Result<rustls::ClientConfig, TlsError> {
        let crypto = Arc::new(provider::default_provider());
        let roots = Arc::new(self.roots()?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&crypto))
            .build()
            // The only cause is an empty root store.
            .map_err(|_| TlsError::NoSystemRoots)?;
        let verifier = PinnedVerifier { inner: verifier, pins: self.pin_sha256.clone() };
        let builder = rustls::ClientConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.client_cert {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(TlsError::Unusable)?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// The configured name to verify, parsed.
    pub fn name(&self) -> Result<Option<ServerName<'static>>, TlsError> {
        let parse = |name: &String| ServerName::try_from(name.clone()).map_err(|_| TlsError::Name(name.clone()));
        self.server_name.as_ref().map(parse).transpose()
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.ca_file {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| unusable(path, "certificate", Some(Box::new(error))))?;
            }
        } else {
            let (_added, _unreadable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Ok(roots)
    }
}

impl ServerTls {
    /// Builds the configuration: TLS 1.2 and 1.3, ALPN `http/1.1`.
    pub fn build(&self) -> Result<rustls::ServerConfig, TlsError> {
        let crypto = Arc::new(provider::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&crypto))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?;
        let builder = match &self.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(client_verifier(path, crypto)?),
        };
        let mut config = builder
            .with_single_cert(certificates(&self.cert_file)?, private_key(&self.key_file)?)
            .map_err(TlsError::Unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// For connections without TLS: a configuration that no certificate satisfies.
pub(super) fn trust_nobody() -> Result<rustls::ClientConfig, TlsError> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Unusable)?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// When the first of a PEM file's certificates ends.
pub fn certificate_expiry(path: &Path) -> Result<Timestamp, TlsError> {
    let certificates = certificates(path)?;
    let ends = certificates.iter().map(|certificate| {
        let (_rest, certificate) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| unusable(path, "certificate", Some(Box::new(error))))?;
        let seconds = certificate.validity().not_after.timestamp();
        Timestamp::from_second(seconds).map_err(|error| unusable(path, "certificate", Some(Box::new(error))))
    });
    let ends = ends.collect::<Result<Vec<_>, _>>()?;
    ends.into_iter().min().ok_or_else(|| unusable(path, "certificate", None))
}

fn client_verifier(
    path: &Path,
    crypto: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, "certificate", Some(Box::new(error))))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto).build().map_err(TlsError::ClientCa)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path, "certificate")?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| unusable(path, "certificate", Some(Box::new(error))))?;
    if found.is_empty() { Err(unusable(path, "certificate", None)) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(path, "private key")?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| unusable(path, "private key", Some(Box::new(error))))
}

/// Reads a PEM file; one that is longer than the bound, such as a device, is refused rather than read to its end.
fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, TlsError> {
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).and_then(|file| file.take(PEM_BYTES_MAX + 1).read_to_end(&mut pem));
    file.map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    if u64::try_from(pem.len()).is_ok_and(|length| length <= PEM_BYTES_MAX) {
        Ok(pem)
    } else {
        Err(unusable(path, what, Some("it is longer than 4 MiB".into())))
    }
}

fn unusable(path: &Path, what: &'static str, source: Option<Box<dyn std::error::Error + Send + Sync>>) -> TlsError {
    TlsError::File { path: path.to_owned(), what, source }
}

/// Verifies the chain as usual and then, where pins are set, the end certificate's public key.
#[derive(Debug)]
struct PinnedVerifier {
    inner: Arc<WebPkiServerVerifier>,
    pins: Vec<[u8; 32]>,
}

impl PinnedVerifier {
    fn pinned(&self, end_entity: &CertificateDer<'_>) -> bool {
        if self.pins.is_empty() {
            return true;
        }
        let Ok((_rest, certificate)) = x509_parser::parse_x509_certificate(end_entity) else { return false };
        let found = digest::digest(&digest::SHA256, certificate.public_key().raw);
        self.pins.iter().any(|pin| pin.as_slice() == found.as_ref())
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if self.pinned(end_entity) {
            Ok(verified)
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_refused() {
        let tls = ClientTls { ca_file: Some(PathBuf::from("/dev/zero")), ..ClientTls::default() };
        assert!(matches!(tls.build(), Err(TlsError::File { what: "certificate", .. })));
    }

    #[test]
    fn a_name_that_no_certificate_bears_is_refused() {
        let tls = ClientTls { server_name: Some("not a name".to_owned()), ..ClientTls::default() };
        assert!(matches!(tls.name(), Err(TlsError::Name(_))));
    }
}
