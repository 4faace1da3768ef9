//! What a server shows, for a person who has to decide whom to trust. Looking changes nothing: the handshake is judged as
//! every other, and nothing is sent behind it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tower::Service as _;

use super::trust::spki_sha256;
use super::{ClientTls, TlsError};
use crate::net::certificate::{name, not_after, parse};
use crate::net::connector::Connector;
use crate::net::resolve::{Names, SystemResolver};

/// Certificates of a chain that are told.
const CHAIN_MAX: usize = 8;

/// One certificate of a server's chain, as it was shown; nobody vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCertificate {
    /// The subject (RFC 4514), at most 512 characters.
    pub subject: String,
    /// The issuer, likewise.
    pub issuer: String,
    /// When it ends.
    pub not_after: Timestamp,
    /// SHA-256 of its public key (SPKI) in base64: what a pin is.
    pub pin: String,
    /// Whether it is an authority's.
    pub authority: bool,
}

/// The certificates that a server shows, its own first, at most 8; empty where there was no handshake within `timeout`, or
/// none of them can be read. A session is never kept: every call is a whole handshake.
pub async fn seen_certificates(
    tls: &ClientTls,
    url: &Uri,
    timeout: Duration,
) -> Result<Vec<SeenCertificate>, TlsError> {
    let crypto = Arc::new(provider::default_provider());
    let looking = Arc::new(Looking { inner: tls.verifier(&crypto)?, seen: Mutex::new(Vec::new()) });
    let verifier: Arc<dyn ServerCertVerifier> = Arc::<Looking>::clone(&looking);
    let config = tls.build_with(verifier, crypto)?;
    let mut connector =
        Connector::new(Arc::new(config), tls.name()?, timeout, Names(Arc::new(SystemResolver)), timeout);
    // Whether it is trusted is not what is asked here.
    drop(connector.call(url.clone()).await);
    let shown = std::mem::take(&mut *looking.seen.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(shown.iter().filter_map(SeenCertificate::read).collect())
}

impl SeenCertificate {
    fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = parse(der).ok()?;
        let readable = |of| name(of, &mut false).unwrap_or_else(|error| format!("({error})"));
        Some(Self {
            subject: readable(certificate.subject()),
            issuer: readable(certificate.issuer()),
            not_after: not_after(&certificate),
            pin: STANDARD.encode(spki_sha256(&certificate)),
            authority: certificate.is_ca(),
        })
    }
}

/// Remembers what it is shown and leaves the judgement to the configured verifier.
#[derive(Debug)]
struct Looking {
    inner: Arc<dyn ServerCertVerifier>,
    seen: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Looking {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).take(CHAIN_MAX);
        let chain = chain.map(|shown| shown.clone().into_owned()).collect();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
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
