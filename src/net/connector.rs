//! Connects by TCP and, for `https`, by TLS, within one deadline. Plain `http` is let through on loopback only.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::ServerName;
use tokio::time::Instant;
use tower::Service;

use super::line::Line;
use super::resolve::Names;
use super::stream::{Stream, Tls};

/// What the system takes in of an answer before it is read, in bytes; it grants twice that for its own needs. Left to itself it
/// takes several MiB ahead of a client that is slow, for each of its downloads.
const RECEIVE_BUFFER_BYTES: usize = 256 * 1024;

/// Makes connections for the client's pool. A name is looked up anew for each.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector<Names>,
    tls: Arc<rustls::ClientConfig>,
    name: Option<ServerName<'static>>,
    timeout: Duration,
    /// How many servers share the time.
    servers: u32,
    age_max: Duration,
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
    /// `age_max`: after how long, or up to a fifth sooner, a connection to a name carries no further request.
    pub(super) fn new(
        tls: Arc<rustls::ClientConfig>,
        name: Option<ServerName<'static>>,
        timeout: Duration,
        names: Names,
        age_max: Duration,
    ) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(names);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_recv_buffer_size(Some(RECEIVE_BUFFER_BYTES));
        // A peer that vanished without a word is noticed by the kernel, too.
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        // Shared out evenly among the addresses of a name, so that one that swallows everything leaves time for the next.
        // IPv6 and IPv4 are tried side by side where the first is slow (RFC 8305).
        tcp.set_connect_timeout(Some(timeout));
        Self { tcp, tls, name, timeout, servers: 1, age_max }
    }

    /// The time is shared among so many servers: all addresses of a name are tried in one's share, for by then whoever waits
    /// has gone to the next server. An address alone has all the time.
    pub(super) fn sharing(self, servers: u32) -> Self {
        Self { servers: servers.max(1), ..self }
    }

    async fn connect(mut self, uri: Uri) -> Result<Stream, ConnectError> {
        let secure = is_secure(&uri)?;
        let host = bare_host(&uri).to_owned();
        let is_name = host.parse::<IpAddr>().is_err();
        if is_name {
            self.tcp.set_connect_timeout(Some(self.timeout / self.servers));
        }
        let mut tcp = self.tcp.call(uri).await.map_err(|error| ConnectError::Tcp(Box::new(error)))?.into_inner();
        // An address leads where it led before. A name may not, and pools must not all begin anew at once.
        let age_max = self.age_max.mul_f64(1.0 - 0.2 * fastrand::f64());
        let expires = is_name.then(|| Instant::now() + age_max);
        let tls = if secure {
            let name = match self.name {
                Some(name) => name,
                None => ServerName::try_from(host).map_err(|_| ConnectError::Url)?,
            };
            Some(Tls::handshake(self.tls, name, &mut tcp).await.map_err(tls_error)?)
        } else {
            None
        };
        Ok(Stream::new(tcp, tls, Arc::new(Line::new(expires))))
    }
}

/// The host as a certificate names it: an IPv6 address stands in brackets in a URL only.
fn bare_host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

fn tls_error(error: io::Error) -> ConnectError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => ConnectError::Tls(tls.clone()),
        None => ConnectError::Broken(error),
    }
}

/// Whether TLS is needed; an error where the URL may not be asked at all.
fn is_secure(uri: &Uri) -> Result<bool, ConnectError> {
    let host = bare_host(uri);
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(true),
        Some("http") if loopback => Ok(false),
        _ => Err(ConnectError::Url),
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

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
