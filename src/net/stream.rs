//! A connection as hyper reads and writes it: plaintext of TCP or TLS in pieces that suit its reader, with few system calls.
//! It changes none of the bytes.

mod head;
mod low_water;
mod pace;
mod scratch;
mod session;
mod socket;
mod tls;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use self::head::{Answer, SHORT_BYTES_MAX};
use self::low_water::{LowWater, PATIENCE};
use self::pace::Pace;
use self::tls::Wants;
use super::line::Line;

pub(super) use self::pace::PIECE_FAST;
pub(super) use self::tls::Tls;

/// A connection.
pub(super) struct Stream {
    tcp: TcpStream,
    tls: Option<Box<Tls>>,
    line: Arc<Line>,
    answer: Answer,
    pace: Pace,
    mark: LowWater,
    /// Made when it's needed first: most connections never carry bulk.
    patience: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Stream {
    pub(super) fn new(tcp: TcpStream, tls: Option<Tls>, line: Arc<Line>) -> Self {
        Self {
            tcp,
            tls: tls.map(Box::new),
            line,
            answer: Answer::none(),
            pace: Pace::new(),
            mark: LowWater::new(),
            patience: None,
            waiting: false,
        }
    }

    /// Nothing is there: maybe more than a byte is worth waiting for.
    fn wait(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<()> {
        let in_hand = self.tls.as_ref().map_or(0, |tls| tls.in_hand());
        let mark = self.mark.wait(self.answer.to_come(), in_hand, now);
        self.set(mark)?;
        if !self.mark.is_raised() {
            self.waiting = false;
            return Ok(());
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(now + PATIENCE)));
        if !std::mem::replace(&mut self.waiting, true) {
            patience.as_mut().reset(now + PATIENCE);
        }
        if patience.as_mut().poll(cx).is_ready() {
            // Lowered, it lets the system wake us for what is there already.
            self.waiting = false;
            let mark = self.mark.fired(now);
            self.set(mark)?;
        }
        Ok(())
    }

    fn set(&self, mark: Option<usize>) -> io::Result<()> {
        mark.map_or(Ok(()), |bytes| socket::set_low_water(&self.tcp, bytes))
    }

    fn begin(&mut self, request: &[u8]) -> io::Result<()> {
        self.line.begin();
        (self.answer, self.pace, self.waiting) = (Answer::to(request), Pace::new(), false);
        let mark = self.mark.lower();
        self.set(mark)
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

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let (stream, now) = (self.get_mut(), Instant::now());
        let piece = stream.pace.asked(now);
        let piece = if stream.answer.is_short() { piece.max(SHORT_BYTES_MAX) } else { piece };
        let wanted = cursor.remaining().min(piece);
        let (answer, mut seen) = (&mut stream.answer, Ok(()));
        let mut out = |bytes: &[u8]| {
            if seen.is_ok() {
                seen = answer.see(bytes);
            }
            cursor.put_slice(bytes);
        };
        let read = match &mut stream.tls {
            Some(tls) => {
                let wants = Wants { bytes: wanted, ahead: stream.pace.reads_ahead() };
                tls.poll_read(&mut stream.tcp, cx, wants, &mut out)
            }
            None => poll_read_plain(&mut stream.tcp, cx, wanted, &mut out),
        };
        let Poll::Ready(read) = read else {
            return stream.wait(cx, now).map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending);
        };
        let bytes = read?;
        stream.waiting = false;
        if bytes > 0 {
            stream.line.answered();
            stream.mark.read(bytes);
            stream.pace.gave(bytes, now);
        }
        Poll::Ready(seen)
    }
}

fn poll_read_plain(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    wanted: usize,
    out: &mut dyn FnMut(&[u8]),
) -> Poll<io::Result<usize>> {
    scratch::with(|scratch| {
        let mut buf = ReadBuf::new(scratch.get_mut(..wanted).unwrap_or_default());
        ready!(Pin::new(tcp).poll_read(cx, &mut buf))?;
        out(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    })
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        if stream.line.is_at_rest() {
            stream.begin(bytes)?;
        }
        match &mut stream.tls {
            Some(tls) => tls.poll_write(&mut stream.tcp, cx, bytes),
            None => Pin::new(&mut stream.tcp).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        match &mut stream.tls {
            Some(tls) => tls.poll_flush(&mut stream.tcp, cx),
            None => Pin::new(&mut stream.tcp).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        match &mut stream.tls {
            Some(tls) => tls.poll_shutdown(&mut stream.tcp, cx),
            None => Pin::new(&mut stream.tcp).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
