//! TLS handshakes with clients: each counted by how it ended, and a refused client hears why.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, Opts, Registry};
use rustls::{CertificateError, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::ClientCertificate;

/// How long a refused client's last bytes are read and dropped. Closing while some are unread would reset the connection,
/// and a reset overtakes the alert that says why.
const FAREWELL: Duration = Duration::from_secs(1);
/// How many of them at the most.
const FAREWELL_BYTES_MAX: u64 = 64 * 1024;

/// Counts handshakes. Clones share the counters.
#[derive(Debug, Clone)]
pub struct HandshakeMetrics {
    handshakes: IntCounterVec,
}

/// Which listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// The data plane.
    Server,
    /// The admin plane.
    Admin,
}

/// The handshakes of one listener.
#[derive(Debug, Clone)]
pub struct Handshakes {
    metrics: HandshakeMetrics,
    plane: &'static str,
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Accepted<IO> {
    /// The connection.
    pub stream: TlsStream<IO>,
    /// Who the client is, where certificates are asked for; read once for all the connection's requests.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It took too long.
    #[error("the TLS handshake took too long")]
    Timeout,
    /// It failed; the client has been told.
    #[error("the TLS handshake failed")]
    Failed(#[source] io::Error),
}

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Ok,
    NoCertificate,
    Expired,
    NotYetValid,
    UnknownIssuer,
    Revoked,
    RevocationUnknown,
    OtherCertificate,
    RefusedByClient,
    Incompatible,
    NotTls,
    Broken,
    Timeout,
    Other,
}

impl HandshakeMetrics {
    /// Registers `ccgate_tls_handshakes_total`.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let handshakes = IntCounterVec::new(
            Opts::new("ccgate_tls_handshakes_total", "TLS handshakes of clients, by how they ended."),
            &["plane", "outcome"],
        )?;
        registry.register(Box::new(handshakes.clone()))?;
        Ok(Self { handshakes })
    }

    /// The handshakes of one listener; all its series are there from now on.
    pub fn of(&self, plane: Plane) -> Handshakes {
        let plane = match plane {
            Plane::Server => "server",
            Plane::Admin => "admin",
        };
        for outcome in Outcome::ALL {
            let _ = self.handshakes.with_label_values(&[plane, outcome.as_str()]);
        }
        Handshakes { metrics: self.clone(), plane }
    }
}

impl Handshakes {
    /// Makes the handshake under a configuration. Not cancel safe: dropping the future closes the connection.
    pub async fn accept<IO>(
        &self,
        config: &Arc<ServerConfig>,
        io: IO,
        timeout: Duration,
    ) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = TlsAcceptor::from(Arc::clone(config)).accept(io).into_fallible();
        match tokio::time::timeout(timeout, handshake).await {
            Err(_elapsed) => {
                self.count(Outcome::Timeout);
                Err(HandshakeError::Timeout)
            }
            Ok(Err((error, io))) => {
                self.count(Outcome::of(&error));
                farewell(io).await;
                Err(HandshakeError::Failed(error))
            }
            Ok(Ok(stream)) => self.identified(stream),
        }
    }

    fn identified<IO>(&self, stream: TlsStream<IO>) -> Result<Accepted<IO>, HandshakeError> {
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        match shown.map(ClientCertificate::read).transpose() {
            Ok(certificate) => {
                self.count(Outcome::Ok);
                Ok(Accepted { stream, certificate: certificate.map(Arc::new) })
            }
            // The verifier has read it before, and would have refused it.
            Err(error) => {
                self.count(Outcome::OtherCertificate);
                Err(HandshakeError::Failed(io::Error::new(io::ErrorKind::InvalidData, error)))
            }
        }
    }

    fn count(&self, outcome: Outcome) {
        self.metrics.handshakes.with_label_values(&[self.plane, outcome.as_str()]).inc();
    }
}

/// The alert has been written; now the client gets the chance to read it.
async fn farewell<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO) {
    let drop_rest = async {
        // It may be gone; then there is nobody to tell.
        let _ = io.shutdown().await;
        let _ = tokio::io::copy(&mut io.take(FAREWELL_BYTES_MAX), &mut tokio::io::sink()).await;
    };
    let _ = tokio::time::timeout(FAREWELL, drop_rest).await;
}

impl Outcome {
    const ALL: [Self; 14] = [
        Self::Ok,
        Self::NoCertificate,
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownIssuer,
        Self::Revoked,
        Self::RevocationUnknown,
        Self::OtherCertificate,
        Self::RefusedByClient,
        Self::Incompatible,
        Self::NotTls,
        Self::Broken,
        Self::Timeout,
        Self::Other,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NoCertificate => "certificate_missing",
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::UnknownIssuer => "certificate_unknown_ca",
            Self::Revoked => "certificate_revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::OtherCertificate => "certificate_unusable",
            Self::RefusedByClient => "refused_by_client",
            Self::Incompatible => "incompatible",
            Self::NotTls => "not_tls",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::Other => "other",
        }
    }

    fn of(error: &io::Error) -> Self {
        use rustls::Error;
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            None => Self::Broken,
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(fault)) => Self::of_certificate(fault),
            Some(Error::AlertReceived(_)) => Self::RefusedByClient,
            Some(Error::PeerIncompatible(_)) => Self::Incompatible,
            Some(Error::InvalidMessage(_)) => Self::NotTls,
            Some(_) => Self::Other,
        }
    }

    const fn of_certificate(fault: &CertificateError) -> Self {
        match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Revoked => Self::Revoked,
            CertificateError::UnknownRevocationStatus
            | CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => Self::RevocationUnknown,
            _ => Self::OtherCertificate,
        }
    }
}
