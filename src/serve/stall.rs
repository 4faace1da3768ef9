//! Ends a connection whose client takes no byte for too long, or too few of them over a long time. It measures writing
//! only; reading has hyper's own timer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The time of waiting for a client over which its rate is judged. The kernel opens a socket again only when a good part
/// of its send buffer is free: 16 s between two openings were seen with a client that took 8 KiB a second, and 149 s where
/// the buffer was of the kernel's own choice, as a proxy between may have it.
const RATE_WINDOW: Duration = Duration::from_mins(5);

/// What a client must take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demands {
    /// Some byte within this time.
    pub(super) stall_timeout: Duration,
    /// So many bytes a second, over [`RATE_WINDOW`] of waiting for it, or a longer stall time-out; 0: any.
    pub(super) min_rate: u64,
}

/// Why a write failed that the client was to take. It stands inside an [`io::ErrorKind::TimedOut`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cut {
    /// No byte for the whole of the time-out.
    #[error("the client takes nothing")]
    Stall,
    /// Fewer bytes than it must take.
    #[error("the client takes too little")]
    Slow,
}

/// A connection that fails with a [`Cut`] when its client does not take what it must.
///
/// Progress is what the kernel takes for sending, not what the client reads. A client with large buffers of its own that
/// reads a few KiB a second can keep the socket shut for minutes; such sites raise `server.client_stall_timeout`.
pub(super) struct StallGuard<S> {
    io: S,
    demands: Demands,
    /// Over which the rate is judged: never shorter than one wait may be.
    window: Duration,
    /// Armed while a write waits.
    timer: Pin<Box<Sleep>>,
    wait: Option<Wait>,
    /// Waiting in this window, the wait of now left out, and what was taken in it.
    waited: Duration,
    taken: u64,
}

/// A write that the client has not made room for.
#[derive(Clone, Copy)]
struct Wait {
    since: Instant,
    /// Up to here it counts in the windows before this one.
    counted: Instant,
}

impl<S> StallGuard<S> {
    pub(super) fn new(io: S, demands: Demands) -> Self {
        let timer = Box::pin(tokio::time::sleep(demands.stall_timeout));
        let window = RATE_WINDOW.max(demands.stall_timeout);
        Self { io, demands, window, timer, wait: None, waited: Duration::ZERO, taken: 0 }
    }

    /// Passes a finished write on; arms the timer for one that waits and fails it when the time is over.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = written {
            let bytes = done.as_ref().map_or(0, bytes);
            self.taken = self.taken.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            if let Some(wait) = self.wait.take() {
                self.waited += wait.counted.elapsed();
                self.judge()?;
            }
            return Poll::Ready(done);
        }
        loop {
            let wait = match self.wait {
                Some(wait) => wait,
                None => self.begin(),
            };
            ready!(self.timer.as_mut().poll(cx));
            if wait.since.elapsed() >= self.demands.stall_timeout {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, Cut::Stall)));
            }
            self.waited += wait.counted.elapsed();
            self.judge()?;
            self.arm(Wait { counted: Instant::now(), ..wait });
        }
    }

    fn begin(&mut self) -> Wait {
        let now = Instant::now();
        let wait = Wait { since: now, counted: now };
        self.arm(wait);
        wait
    }

    /// Wakes at the earlier of the time-out's and the window's end.
    fn arm(&mut self, wait: Wait) {
        self.wait = Some(wait);
        let window = wait.counted + self.window.saturating_sub(self.waited);
        self.timer.as_mut().reset(window.min(wait.since + self.demands.stall_timeout));
    }

    /// At a window's end: whether enough was taken in it; the next one begins.
    fn judge(&mut self) -> io::Result<()> {
        if self.waited < self.window {
            return Ok(());
        }
        let due = self.demands.min_rate.saturating_mul(self.waited.as_secs());
        let enough = std::mem::take(&mut self.taken) >= due;
        self.waited = Duration::ZERO;
        if enough { Ok(()) } else { Err(io::Error::new(io::ErrorKind::TimedOut, Cut::Slow)) }
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
        guard.watch(cx, written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let guard = self.get_mut();
        let written = Pin::new(&mut guard.io).poll_write_vectored(cx, bufs);
        guard.watch(cx, written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        let flushed = Pin::new(&mut guard.io).poll_flush(cx);
        guard.watch(cx, flushed, |()| 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        let closed = Pin::new(&mut guard.io).poll_shutdown(cx);
        guard.watch(cx, closed, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const NEARLY: Duration = Duration::from_secs(59);

    fn demands(min_rate: u64) -> Demands {
        Demands { stall_timeout: Duration::from_mins(1), min_rate }
    }

    fn cut(error: &io::Error) -> Option<Cut> {
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        error.get_ref()?.downcast_ref().copied()
    }

    /// Writes `bytes` to a client that takes one byte every `pause`: how that ended, and after how many seconds.
    async fn write(bytes: usize, pause: Duration, min_rate: u64) -> (io::Result<()>, u64) {
        let (near, mut far) = tokio::io::duplex(8);
        let mut guard = StallGuard::new(near, demands(min_rate));
        let start = Instant::now();
        let read = async {
            let mut byte = [0; 1];
            loop {
                tokio::time::sleep(pause).await;
                if far.read(&mut byte).await.is_ok_and(|read| read == 0) {
                    std::future::pending::<()>().await;
                }
            }
        };
        let bytes = vec![7; bytes];
        let written = tokio::select! {
            written = guard.write_all(&bytes) => written,
            () = read => Ok(()),
        };
        (written, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_ended() {
        let (near, _far) = tokio::io::duplex(8);
        let mut guard = StallGuard::new(near, demands(0));
        let start = Instant::now();
        let error = guard.write_all(&[0; 64]).await.expect_err("stalled");
        assert_eq!((cut(&error), start.elapsed().as_secs()), (Some(Cut::Stall), 60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_little_is_not() {
        let (written, seconds) = write(64, NEARLY, 0).await;
        written.expect("it kept moving");
        assert!(seconds > 50 * 59, "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_less_than_it_must_is_ended_after_a_window() {
        let (written, seconds) = write(4096, Duration::from_secs(1), 2).await;
        assert_eq!(cut(&written.expect_err("too slow")), Some(Cut::Slow));
        assert_eq!(seconds, RATE_WINDOW.as_secs());
        let (written, seconds) = write(4096, Duration::from_millis(400), 2).await;
        written.expect("fast enough");
        assert!(seconds > 4 * RATE_WINDOW.as_secs(), "{seconds}");
    }

    /// A socket that opens once in ten minutes lets a whole five pass without a byte.
    #[tokio::test(start_paused = true)]
    async fn a_stall_timeout_longer_than_the_window_is_waited_for() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let stall_timeout = Duration::from_mins(30);
        let mut guard = StallGuard::new(near, Demands { stall_timeout, min_rate: 1024 });
        let (mut room, bytes) = (vec![0; 1 << 20], vec![7; 8 << 20]);
        let read = async {
            loop {
                tokio::time::sleep(Duration::from_mins(10)).await;
                let _ = far.read_exact(&mut room).await;
            }
        };
        let written = tokio::select! {
            written = guard.write_all(&bytes) => written,
            () = read => Ok(()),
        };
        written.expect("1.7 KiB a second");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_before_does_not_pay_for_a_slow_window() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut guard = StallGuard::new(near, demands(2));
        guard.write_all(&vec![7; 1 << 20]).await.expect("room");
        // The first window is paid for by what fitted at once; the second is not.
        let start = Instant::now();
        let mut byte = [0; 1];
        let read = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _ = far.read(&mut byte).await;
            }
        };
        let written = tokio::select! {
            written = guard.write_all(&[7; 4096]) => written,
            () = read => Ok(()),
        };
        assert_eq!(cut(&written.expect_err("too slow")), Some(Cut::Slow));
        assert_eq!(start.elapsed().as_secs(), 2 * RATE_WINDOW.as_secs());
    }
}
