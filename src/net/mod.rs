//! TLS and HTTP/1.1 towards other servers, and TLS towards clients. It knows neither the vendor nor any issuer.

mod certificate;
mod client;
mod connector;
mod handshake;
mod line;
mod resolve;
mod stream;
mod tls;

pub use certificate::{ClientCertificate, IdentityError};
pub use client::{Client, ClientConfig, Error, give_up, read_document};
pub use handshake::{Accepted, HandshakeError, HandshakeMetrics, Handshakes, Plane};
pub use resolve::{Resolve, SystemResolver};
pub use tls::{
    ClientTls, SeenCertificate, ServerTls, ServerTrust, TlsError, Untrusted, certificate_expiry, client_certificate,
    revocation_expiry, seen_certificates,
};
