//! The bytes of a connection, and when they come and go. It changes none of them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::line::Line;

/// A connection.
pub(super) struct Stream {
    carrier: Carrier,
    line: Arc<Line>,
}

/// What carries its bytes.
pub(super) enum Carrier {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) const fn new(carrier: Carrier, line: Arc<Line>) -> Self {
        Self { carrier, line }
    }
}

impl Carrier {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_read(cx, buf),
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().extra(Arc::clone(&self.line))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.line.end();
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let before = buf.filled().len();
        ready!(stream.carrier.poll_read(cx, buf))?;
        if buf.filled().len() > before {
            stream.line.answered();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        if stream.line.is_at_rest() {
            stream.line.begin();
        }
        match &mut stream.carrier {
            Carrier::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Carrier::Tls(io) => Pin::new(io.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().carrier {
            Carrier::Plain(io) => Pin::new(io).poll_flush(cx),
            Carrier::Tls(io) => Pin::new(io.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().carrier {
            Carrier::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Carrier::Tls(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
        }
    }
}
