//! TLS and HTTP/1.1 towards other servers. It knows neither the vendor nor any issuer.

mod client;
mod connector;
mod line;
mod resolve;
mod stream;
mod tls;

pub use client::{Client, ClientConfig, Error, give_up, read_document};
pub use resolve::{Resolve, SystemResolver};
pub use tls::{ClientTls, ServerTls, TlsError, certificate_expiry};
