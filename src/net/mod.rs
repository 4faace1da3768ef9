//! TLS and HTTP/1.1 towards other servers. It knows neither the vendor nor any issuer.

mod client;
mod connector;
mod tls;

pub use client::{Client, ClientConfig, Error, read_document};
pub use tls::{ClientTls, ServerTls, TlsError, certificate_expiry};
