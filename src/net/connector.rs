//! Connects by TCP and, for `https`, by TLS, within one deadline. Plain `http` is let through on loopback only.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

/// Makes connections for the client's pool.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: TlsConnector,
    name: Option<ServerName<'static>>,
    timeout: Duration,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the URL is neither https nor http on loopback")]
    Url,
    #[error("cannot connect")]
    Tcp(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no connection in time")]
    Timeout,
    #[error("the connection broke off during the TLS handshake")]
    Broken(#[source] io::Error),
    #[error("TLS failed")]
    Tls(#[source] rustls::Error),
}

impl Connector {
    pub(super) fn new(tls: Arc<rustls::ClientConfig>, name: Option<ServerName<'static>>, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // A peer that vanished without a word is noticed by the kernel, too.
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        Self { tcp, tls: TlsConnector::from(tls), name, timeout }
    }

    async fn connect(mut self, uri: Uri) -> Result<Stream, ConnectError> {
        let secure = is_secure(&uri)?;
        let host = uri.host().unwrap_or_default();
        // An IPv6 address stands in brackets in a URL, and without them in a certificate.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tcp = self.tcp.call(uri).await.map_err(|error| ConnectError::Tcp(Box::new(error)))?.into_inner();
        if !secure {
            return Ok(Stream::Plain(TokioIo::new(tcp)));
        }
        let name = match self.name {
            Some(name) => name,
            None => ServerName::try_from(host).map_err(|_| ConnectError::Url)?,
        };
        let tls = self.tls.connect(name, tcp).await.map_err(tls_error)?;
        Ok(Stream::Tls(Box::new(TokioIo::new(tls))))
    }
}

fn tls_error(error: io::Error) -> ConnectError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => ConnectError::Tls(tls.clone()),
        None => ConnectError::Broken(error),
    }
}

/// Whether TLS is needed; an error where the URL may not be asked at all.
fn is_secure(uri: &Uri) -> Result<bool, ConnectError> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(true),
        Some("http") if loopback => Ok(false),
        _ => Err(ConnectError::Url),
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (timeout, connector) = (self.timeout, self.clone());
        Box::pin(async move {
            tokio::time::timeout(timeout, connector.connect(uri)).await.unwrap_or(Err(ConnectError::Timeout))
        })
    }
}

/// A connection.
pub(super) enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_read(cx, buf),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for (url, secure) in [
            ("https://idp.example/keys", Some(true)),
            ("https://10.0.0.1:8043/", Some(true)),
            ("http://127.0.0.1:8080/", Some(false)),
            ("http://[::1]:8080/", Some(false)),
            ("http://localhost/", Some(false)),
            ("http://idp.example/keys", None),
            ("http://10.0.0.1/", None),
            ("http://localhost.evil.example/", None),
            ("ftp://127.0.0.1/", None),
            ("/relative", None),
        ] {
            assert_eq!(is_secure(&Uri::from_static(url)).ok(), secure, "{url}");
        }
    }
}
