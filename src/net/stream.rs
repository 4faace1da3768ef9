//! The bytes of a connection. It looks before it writes a request: what has come unasked is no answer to it.

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

    /// Before the first byte of a request: an error where bytes are waiting that nobody asked for, or where the other end
    /// has closed. The client would take the former for its answer, and write to nobody in the latter case. Nothing of
    /// the request is written then.
    fn look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut space = [0_u8; 1];
        let mut waiting = ReadBuf::new(&mut space);
        match self.carrier.poll_read(cx, &mut waiting) {
            // The task is woken by reading too, and it reads as soon as it has written.
            Poll::Pending => Ok(()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) if waiting.filled().is_empty() => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Ready(Ok(())) => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "an answer came before the request"))
            }
        }
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
            stream.look(cx).inspect_err(|_| stream.line.refuse())?;
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
