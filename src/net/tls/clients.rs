//! Which clients are let in by their certificates. It refuses one whose identity could not be written down.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};

use super::{TlsError, files};
use crate::net::ClientCertificate;

/// Verifies the chain and its revocation as usual, and then that the identity is one that can be recorded.
#[derive(Debug)]
pub(super) struct Recordable {
    inner: Arc<dyn ClientCertVerifier>,
}

impl Recordable {
    /// With `revoked`, each certificate of a chain but the authority's own needs a list that covers it, and a list that is
    /// out of date covers nothing: what is not known to be good is refused.
    pub(super) fn new(
        authorities: &Path,
        revoked: Option<&Path>,
        crypto: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let roots = Arc::new(files::authorities(authorities)?);
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, crypto);
        if let Some(path) = revoked {
            builder = builder.with_crls(files::revocation_lists(path)?).enforce_revocation_expiration();
        }
        Ok(Self { inner: builder.build().map_err(TlsError::ClientCa)? })
    }
}

impl ClientCertVerifier for Recordable {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        ClientCertificate::read(end_entity)
            .map_err(|error| rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error)))))?;
        Ok(verified)
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
