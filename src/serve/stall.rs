//! Ends a connection whose client takes no byte for too long. It measures writing only; reading has hyper's own timer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A connection that fails with [`io::ErrorKind::TimedOut`] when a write makes no progress for a while.
///
/// Progress is what the kernel takes for sending, not what the client reads. The kernel opens the socket again only when
/// a good part of its send buffer is free, and a client with large buffers of its own that reads a few KiB a second can
/// keep it shut for minutes; such sites raise `server.client_stall_timeout`.
pub(super) struct StallGuard<S> {
    io: S,
    timeout: Duration,
    /// Armed while a write waits.
    timer: Pin<Box<Sleep>>,
    waiting: bool,
}

impl<S> StallGuard<S> {
    pub(super) fn new(io: S, timeout: Duration) -> Self {
        Self { io, timeout, timer: Box::pin(tokio::time::sleep(timeout)), waiting: false }
    }

    /// Passes a finished write on; arms the timer for one that waits and fails it when the time is over.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = false;
            return written;
        }
        if !self.waiting {
            self.waiting = true;
            self.timer.as_mut().reset(Instant::now() + self.timeout);
        }
        self.timer.as_mut().poll(cx).map(|()| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let guard = self.get_mut();
        let written = Pin::new(&mut guard.io).poll_write(cx, buf);
        guard.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let guard = self.get_mut();
        let written = Pin::new(&mut guard.io).poll_write_vectored(cx, bufs);
        guard.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        let flushed = Pin::new(&mut guard.io).poll_flush(cx);
        guard.watch(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        let closed = Pin::new(&mut guard.io).poll_shutdown(cx);
        guard.watch(cx, closed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);
    const NEARLY: Duration = Duration::from_secs(59);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_ended() {
        let (near, _far) = tokio::io::duplex(8);
        let mut guard = StallGuard::new(near, TIMEOUT);
        let start = Instant::now();
        let error = guard.write_all(&[0; 64]).await.expect_err("stalled");
        assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_little_is_not() {
        let (near, mut far) = tokio::io::duplex(8);
        let mut guard = StallGuard::new(near, TIMEOUT);
        let write = async { guard.write_all(&[7; 64]).await };
        let read = async {
            let mut taken = 0;
            let mut byte = [0; 1];
            while taken < 64 {
                tokio::time::sleep(NEARLY).await;
                taken += far.read(&mut byte).await.expect("open");
            }
        };
        let (written, ()) = tokio::join!(write, read);
        written.expect("it kept moving");
    }
}
