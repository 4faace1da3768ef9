//! TLS and HTTP/1.1 towards other servers. It knows neither the vendor nor any issuer.

mod client;
mod tls;

pub use client::{Client, ClientConfig, Error};
pub use tls::{ClientTls, ServerTls, TlsError};
