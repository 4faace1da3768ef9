//! Which servers are trusted: by authorities, by authorities and pins, or by pins alone. Nothing here lets a server in
//! that was not checked, and the server's proof that it holds the key is checked always.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, PeerMisbehaved, RootCertStore, SignatureScheme};
use x509_parser::asn1_rs::{FromDer as _, Sequence};
use x509_parser::certificate::X509Certificate;

use super::TlsError;
use crate::net::certificate::{parse, sha256};

/// What a server's certificate is held against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServerTrust {
    /// A chain to a trusted authority and the name, and where pins are set also one of them.
    #[default]
    Authorities,
    /// One of the pins, and the certificate's time. For a certificate that no authority vouches for, or that is an
    /// authority's itself, as appliances have them.
    ///
    /// No name is compared: the pin names one key, which is more than a name does, and whoever proves to hold that key is
    /// the server. What authorities say of it, and the rest of the chain, counts for nothing.
    Pins,
}

/// What our own checks find, beside those of the TLS library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::net) enum Fault {
    #[error("its key is none of the pins")]
    NotPinned,
    #[error("its certificate is an authority's own, which only a pin can make trusted as a server's")]
    Authority,
    #[error("its certificate cannot be read")]
    Unreadable,
}

impl From<Fault> for rustls::Error {
    fn from(fault: Fault) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault))))
    }
}

/// SHA-256 of the public key with its kind (SPKI, RFC 7469 section 2.4).
pub(super) fn spki_sha256(certificate: &X509Certificate<'_>) -> [u8; 32] {
    sha256(certificate.public_key().raw)
}

/// Verifies the chain and the name as usual and then, where pins are set, the end certificate's public key.
#[derive(Debug)]
pub(super) struct ByAuthorities {
    inner: Arc<WebPkiServerVerifier>,
    pins: Vec<[u8; 32]>,
}

impl ByAuthorities {
    pub(super) fn new(
        roots: RootCertStore,
        pins: Vec<[u8; 32]>,
        crypto: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto)
            .build()
            // The only cause is an empty root store.
            .map_err(|_| TlsError::NoSystemRoots)?;
        Ok(Self { inner, pins })
    }
}

impl ServerCertVerifier for ByAuthorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let verified = verified.map_err(|error| explain(error, end_entity))?;
        if self.pins.is_empty() {
            return Ok(verified);
        }
        let certificate = parse(end_entity).map_err(|_| Fault::Unreadable)?;
        if self.pins.contains(&spki_sha256(&certificate)) { Ok(verified) } else { Err(Fault::NotPinned.into()) }
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

/// The library has no word of its own for an authority's certificate in a server's place.
fn explain(error: rustls::Error, end_entity: &CertificateDer<'_>) -> rustls::Error {
    let other = matches!(error, rustls::Error::InvalidCertificate(CertificateError::Other(_)));
    let is_authority = || parse(end_entity).is_ok_and(|certificate| certificate.is_ca());
    if other && is_authority() { Fault::Authority.into() } else { error }
}

/// Lets in who holds a pinned key, while its certificate's time lasts.
#[derive(Debug)]
pub(super) struct ByPins {
    pins: Vec<[u8; 32]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ByPins {
    pub(super) fn new(pins: Vec<[u8; 32]>, crypto: &CryptoProvider) -> Result<Self, TlsError> {
        if pins.is_empty() {
            return Err(TlsError::NoPins);
        }
        Ok(Self { pins, algorithms: crypto.signature_verification_algorithms })
    }
}

impl ServerCertVerifier for ByPins {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = parse(end_entity).map_err(|_| Fault::Unreadable)?;
        if !self.pins.contains(&spki_sha256(&certificate)) {
            return Err(Fault::NotPinned.into());
        }
        check_time(&certificate, now)?;
        Ok(ServerCertVerified::assertion())
    }

    /// As `rustls::crypto::verify_tls12_signature`, with the key alone: that function reads no certificate of X.509 version
    /// 1, which self-signed ones often are.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let certificate = parse(cert).map_err(|_| Fault::Unreadable)?;
        let key = certificate.public_key();
        let kind = key_kind(key.raw).ok_or(Fault::Unreadable)?;
        let known = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme);
        let (_, candidates) = known.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let fitting = candidates.iter().find(|candidate| candidate.public_key_alg_id().as_ref() == kind);
        let fitting = fitting.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        fitting
            .verify_signature(&key.subject_public_key.data, message, dss.signature())
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadSignature))?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let certificate = parse(cert).map_err(|_| Fault::Unreadable)?;
        let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The content of the key's `AlgorithmIdentifier`: what tells RSA from a curve, and one curve from another.
fn key_kind(spki: &[u8]) -> Option<&[u8]> {
    let (_rest, whole) = Sequence::from_der(spki).ok()?;
    let std::borrow::Cow::Borrowed(content) = whole.content else { return None };
    let (_key, kind) = Sequence::from_der(content).ok()?;
    match kind.content {
        std::borrow::Cow::Borrowed(content) => Some(content),
        std::borrow::Cow::Owned(_) => None,
    }
}

/// RFC 5280 section 4.1.2.5: both ends included.
fn check_time(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let seconds = |at: i64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(at).unwrap_or(0)));
    let validity = certificate.validity();
    let (not_before, not_after) = (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()));
    let fault = if now < not_before {
        CertificateError::NotValidYetContext { time: now, not_before }
    } else if now > not_after {
        CertificateError::ExpiredContext { time: now, not_after }
    } else {
        return Ok(());
    };
    Err(rustls::Error::InvalidCertificate(fault))
}

/// Why a server is not trusted, or does not trust us.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Untrusted {
    /// The certificate's time is over.
    #[error("its certificate has expired{}", at(*.0))]
    Expired(Option<Timestamp>),
    /// The certificate's time has not begun.
    #[error("its certificate is not valid yet{}", at(*.0))]
    NotYetValid(Option<Timestamp>),
    /// The certificate bears other names.
    #[error("its certificate does not bear the name {expected}; it bears {presented}")]
    Name {
        /// The name or address that was looked for.
        expected: String,
        /// What the certificate bears, as far as it is told.
        presented: String,
    },
    /// No trusted authority has issued it.
    #[error("its certificate is issued by no authority that is trusted")]
    UnknownIssuer,
    /// The certificate is an authority's.
    #[error("{}", Fault::Authority)]
    Authority,
    /// None of the pins.
    #[error("{}", Fault::NotPinned)]
    NotPinned,
    /// The other end sent an alert: mostly it does not take our certificate, or wants one.
    #[error("it refused us with the alert {0}")]
    Refused(String),
    /// Anything else.
    #[error("TLS with it failed")]
    Other(#[source] rustls::Error),
}

fn at(moment: Option<Timestamp>) -> String {
    moment.map(|moment| format!(" (at {moment})")).unwrap_or_default()
}

impl From<rustls::Error> for Untrusted {
    fn from(error: rustls::Error) -> Self {
        let moment =
            |time: &UnixTime| i64::try_from(time.as_secs()).ok().and_then(|at| Timestamp::from_second(at).ok());
        let found = match &error {
            rustls::Error::AlertReceived(alert) => return Self::Refused(format!("{alert:?}")),
            rustls::Error::InvalidCertificate(found) => found,
            _ => return Self::Other(error),
        };
        match found {
            CertificateError::Expired => Self::Expired(None),
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired(moment(not_after)),
            CertificateError::NotValidYet => Self::NotYetValid(None),
            CertificateError::NotValidYetContext { not_before, .. } => Self::NotYetValid(moment(not_before)),
            CertificateError::NotValidForNameContext { expected, presented } => {
                let presented = if presented.is_empty() { "none".to_owned() } else { presented.join(", ") };
                Self::Name { expected: expected.to_str().into_owned(), presented }
            }
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Other(OtherError(cause)) => match cause.downcast_ref::<Fault>() {
                Some(Fault::Authority) => Self::Authority,
                Some(Fault::NotPinned) => Self::NotPinned,
                Some(Fault::Unreadable) | None => Self::Other(error),
            },
            _ => Self::Other(error),
        }
    }
}
