//! TLS over a byte stream: as many records a read as there are, decrypted straight to where they're wanted. It keeps no more
//! than one record that is not whole, and one that was not wanted whole.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::scratch;
use super::session::{RECORD_BYTES_MAX, Say, Session, Turn};

/// What a handshake may send before it's over, in bytes. rustls takes a message of at most 64 KiB.
const HANDSHAKE_BYTES_MAX: usize = 128 * 1024;
/// What is read at once during the handshake.
const HANDSHAKE_READ: usize = 4 * 1024;
/// Plaintext of one write, in bytes: what is encrypted waits until it's sent.
const WRITE_BYTES_MAX: usize = 16 * 1024;
/// More than that waits to be sent only where the other side asks for answers and takes none: no more is read meanwhile.
const OUTGOING_BYTES_MAX: usize = 64 * 1024;

/// A TLS connection whose handshake is done.
pub(in crate::net) struct Tls {
    session: Session,
    /// Ciphertext that was read and isn't decrypted yet: at most [`RECORD_BYTES_MAX`] more than was wanted.
    kept: Vec<u8>,
    plain: Plain,
    said_goodbye: bool,
}

/// What is wanted of a read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wants {
    /// Bytes of plaintext at the most.
    pub(super) bytes: usize,
    /// A record more may be read, and kept.
    pub(super) ahead: bool,
}

/// Plaintext of records that was wanted in part only.
#[derive(Debug, Default)]
struct Plain {
    bytes: Vec<u8>,
    given: usize,
}

impl Tls {
    /// Makes the handshake. A `rustls::Error` inside of the error: TLS failed, and the other side was told so; else the
    /// connection broke off. Not cancel safe: dropping the future leaves half a handshake.
    pub(in crate::net) async fn handshake<IO>(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        io: &mut IO,
    ) -> io::Result<Self>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let connection = UnbufferedClientConnection::new(config, name).map_err(failed)?;
        let mut tls =
            Self { session: Session::new(connection), kept: Vec::new(), plain: Plain::default(), said_goodbye: false };
        loop {
            let (kept, plain) = (&mut tls.kept, &mut tls.plain);
            let (done, turn) = tls.session.turn(kept, Say::Nothing, &mut |bytes| plain.keep(bytes));
            kept.drain(..done.min(kept.len()));
            if turn == Ok(Turn::Again) {
                continue;
            }
            let told = tls.send_all(io).await;
            match turn.map_err(failed)? {
                Turn::Traffic => return told.map(|()| tls),
                Turn::Closed | Turn::Over => return Err(io::ErrorKind::UnexpectedEof.into()),
                Turn::Again | Turn::Handshake => told?,
            }
            if tls.kept.len() >= HANDSHAKE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a handshake without an end"));
            }
            tls.kept.reserve(HANDSHAKE_READ);
            if io.read_buf(&mut tls.kept).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed during the handshake"));
            }
        }
    }

    async fn send_all<IO: AsyncWrite + Unpin>(&mut self, io: &mut IO) -> io::Result<()> {
        let outgoing = &mut self.session.outgoing;
        io.write_all(outgoing.left()).await?;
        outgoing.sent(outgoing.left().len());
        io.flush().await
    }

    /// Bytes that were read and not given out.
    pub(super) fn in_hand(&self) -> usize {
        self.kept.len() + self.plain.left().len()
    }

    /// Reads up to so many bytes of plaintext and gives them to `out`; returns how many, 0 for a proper end. One large read
    /// where that will do; until nothing more is there or it is enough otherwise.
    ///
    /// A stream that ends without `close_notify` is an error: it may have been cut.
    pub(super) fn poll_read<IO>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
        wants: Wants,
        out: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let wanted = wants.bytes;
        // An answer to a key update, or an alert, for which there was no room before.
        // A connection that is broken shows when it's read, maybe with an alert before.
        let _ = self.poll_send(io, cx);
        let given = self.plain.give(wanted, out);
        if given == wanted {
            return Poll::Ready(Ok(given));
        }
        if self.session.outgoing.left().len() > OUTGOING_BYTES_MAX {
            return if given == 0 { Poll::Pending } else { Poll::Ready(Ok(given)) };
        }
        let ahead = if wants.ahead { RECORD_BYTES_MAX } else { 0 };
        let mut read = Read { wanted, given, ahead, out };
        let outcome = scratch::with(|scratch| self.fill(io, cx, scratch, &mut read));
        // What there is to say of an error or the end is said the next time, after the bytes before it.
        if read.given > 0 { Poll::Ready(Ok(read.given)) } else { outcome.map_ok(|()| 0) }
    }

    /// Decrypts what was kept, and reads more while it's wanted. `scratch` is all somebody else's before and afterwards.
    fn fill<IO>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        read: &mut Read<'_>,
    ) -> Poll<io::Result<()>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut filled = self.kept.len();
        scratch.get_mut(..filled).unwrap_or_default().copy_from_slice(&self.kept);
        self.kept.clear();
        let outcome = loop {
            let (begin, opened) = self.open(scratch.get_mut(..filled).unwrap_or_default(), read);
            scratch.copy_within(begin..filled, 0);
            filled -= begin;
            if !self.session.outgoing.left().is_empty() {
                // Where it can't be sent now, the next read tries again.
                let _ = self.poll_send(io, cx);
            }
            match opened {
                Err(error) => break Poll::Ready(Err(failed(error))),
                Ok(()) if self.session.is_closed() || read.left() == 0 => break Poll::Ready(Ok(())),
                Ok(()) => {}
            }
            // Behind a part of a record, or a part of a message that is spread over several.
            let end = scratch.len().min((read.left() + read.ahead).max(RECORD_BYTES_MAX).max(filled + HANDSHAKE_READ));
            let mut buf = ReadBuf::new(scratch.get_mut(filled..end).unwrap_or_default());
            match Pin::new(&mut *io).poll_read(cx, &mut buf) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => match buf.filled().len() {
                    0 => break Poll::Ready(Err(cut())),
                    bytes => filled += bytes,
                },
            }
        };
        self.keep(scratch.get(..filled).unwrap_or_default());
        outcome
    }

    /// Decrypts records while there are whole ones and they are wanted. Returns how many bytes are done with.
    fn open(&mut self, incoming: &mut [u8], read: &mut Read<'_>) -> (usize, Result<(), rustls::Error>) {
        let (mut begin, plain) = (0, &mut self.plain);
        // `plain` was given out whole, or nothing would be wanted.
        while read.left() > 0 {
            let incoming = incoming.get_mut(begin..).unwrap_or_default();
            let (done, turn) = self.session.turn(incoming, Say::Nothing, &mut |record| {
                let (wanted, rest) = record.split_at(record.len().min(read.left()));
                read.give(wanted);
                plain.keep(rest);
            });
            begin += done;
            match turn {
                Ok(Turn::Again) => {}
                Ok(Turn::Handshake | Turn::Traffic | Turn::Closed | Turn::Over) => break,
                Err(error) => return (begin, Err(error)),
            }
        }
        (begin, Ok(()))
    }

    fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.kept.capacity() > 2 * RECORD_BYTES_MAX {
            self.kept = Vec::new();
        }
        self.kept.extend_from_slice(bytes);
    }

    /// Encrypts some bytes and sends them; what can't be sent at once is sent by the next call of any kind. Returns how many
    /// were taken.
    pub(super) fn poll_write<IO>(&mut self, io: &mut IO, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>
    where
        IO: AsyncWrite + Unpin,
    {
        ready!(self.poll_send(io, cx))?;
        let bytes = bytes.get(..WRITE_BYTES_MAX).unwrap_or(bytes);
        self.say(Say::Data(bytes))?;
        // The bytes are taken, whatever becomes of the records.
        let _ = self.poll_send(io, cx)?;
        Poll::Ready(Ok(bytes.len()))
    }

    /// Sends what is encrypted.
    pub(super) fn poll_flush<IO>(&mut self, io: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        IO: AsyncWrite + Unpin,
    {
        ready!(self.poll_send(io, cx))?;
        Pin::new(io).poll_flush(cx)
    }

    /// Says that no more comes, and closes this direction.
    pub(super) fn poll_shutdown<IO>(&mut self, io: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        IO: AsyncWrite + Unpin,
    {
        if !self.said_goodbye {
            self.said_goodbye = true;
            // A connection that has failed has said so by its alert.
            let _ = self.say(Say::Close);
        }
        ready!(self.poll_send(io, cx))?;
        Pin::new(io).poll_shutdown(cx)
    }

    /// Until data can flow, which is where it's encrypted. What was kept is passed by, and may be opened on the way: rustls may
    /// hold places in it.
    fn say(&mut self, say: Say<'_>) -> io::Result<()> {
        let plain = &mut self.plain;
        loop {
            let (done, turn) = self.session.turn(&mut self.kept, say, &mut |record| plain.keep(record));
            self.kept.drain(..done.min(self.kept.len()));
            match turn.map_err(failed)? {
                Turn::Again | Turn::Closed => {}
                Turn::Over => return Err(io::ErrorKind::BrokenPipe.into()),
                Turn::Handshake => return Err(io::ErrorKind::NotConnected.into()),
                Turn::Traffic => return Ok(()),
            }
        }
    }

    fn poll_send<IO: AsyncWrite + Unpin>(&mut self, io: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outgoing = &mut self.session.outgoing;
        while !outgoing.left().is_empty() {
            match ready!(Pin::new(&mut *io).poll_write(cx, outgoing.left()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => outgoing.sent(bytes),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// One read: how much is wanted, and where it goes.
struct Read<'a> {
    wanted: usize,
    given: usize,
    /// What may be read beyond that: it saves system calls, and costs memory until it's wanted.
    ahead: usize,
    out: &'a mut dyn FnMut(&[u8]),
}

impl Read<'_> {
    const fn left(&self) -> usize {
        self.wanted.saturating_sub(self.given)
    }

    fn give(&mut self, bytes: &[u8]) {
        self.given += bytes.len();
        (self.out)(bytes);
    }
}

impl Plain {
    fn left(&self) -> &[u8] {
        self.bytes.get(self.given..).unwrap_or_default()
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn give(&mut self, wanted: usize, out: &mut dyn FnMut(&[u8])) -> usize {
        let bytes = self.left();
        let bytes = bytes.get(..wanted).unwrap_or(bytes);
        let given = bytes.len();
        if given > 0 {
            out(bytes);
            self.given += given;
            if self.left().is_empty() {
                *self = Self::default();
            }
        }
        given
    }
}

/// As tokio-rustls has it: whoever looks for the cause finds it inside.
fn failed(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "closed without close_notify")
}

#[cfg(test)]
mod tests;
