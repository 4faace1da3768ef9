//! The transport below the HTTP library: where the library refuses a head with an empty answer of its own, the client gets
//! a problem document instead. It never touches an answer of ours.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::crowd::Place;
use super::problem::Problem;
use crate::route::{self, RequestId};

/// How long, and for how many bytes, a connection is read on after its last answer when the client may still be sending:
/// a socket that is closed with bytes unread resets the connection, and the answer is lost with it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1 << 20;
/// The longest request line: the longest target between a method and the version.
const LINE_BYTES_MAX: usize = route::TARGET_BYTES_MAX + "GET  HTTP/1.1\r".len();

/// Why the library refuses a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is no HTTP/1.1.
    BadHead,
    /// Too many header fields, or too many bytes.
    HeadTooLarge,
    /// The request line alone is too many bytes.
    TargetTooLong,
}

/// A refusal that was written.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) request_id: RequestId,
    /// Of the document.
    pub(super) bytes: usize,
}

impl Reason {
    /// Its word, in the answer and the log.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::BadHead => "bad_request",
            Self::HeadTooLarge => "head_too_large",
            Self::TargetTooLong => "target_too_long",
        }
    }

    /// The status that it is answered with.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::BadHead => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
        }
    }
}

/// A connection whose library's refusals are ours.
///
/// While no request is with us, whatever the library writes is such a refusal: that is known from the [`Place`], not
/// guessed from the bytes. It never stands behind an answer of ours that is not written yet: the library reads the next
/// head only when all of that is flushed, or earlier once it has read a body to its end, and the answer to a request with
/// a body is the last one of its connection.
pub(super) struct Transport<'p, S> {
    io: S,
    place: &'p Place,
    head: Head,
    instead: Option<Instead>,
    linger: Option<Linger>,
}

/// What has come of the head that is to come.
#[derive(Default)]
struct Head {
    began: bool,
    /// Whether the request line has its end.
    first_line: bool,
    line_bytes: usize,
}

/// Bytes to write, in the place of so many.
struct Instead {
    rest: Bytes,
    of: usize,
}

/// Reading after the last answer.
struct Linger {
    timer: Pin<Box<Sleep>>,
    rest: usize,
}

impl<'p, S> Transport<'p, S> {
    pub(super) fn new(io: S, place: &'p Place) -> Self {
        Self { io, place, head: Head::default(), instead: None, linger: None }
    }

    /// Writes the document that stands for the library's answer; `None`: what is to be written is ours. `written`: its
    /// beginning, of `of` bytes.
    fn poll_instead(&mut self, cx: &mut Context<'_>, written: &[u8], of: usize) -> Option<Poll<io::Result<usize>>>
    where
        S: AsyncWrite + Unpin,
    {
        if self.instead.is_none() && self.place.progress().is_waiting() {
            let reason = match status(written)? {
                b"400" => Reason::BadHead,
                _ if self.head.line_bytes > LINE_BYTES_MAX => Reason::TargetTooLong,
                _ => Reason::HeadTooLarge,
            };
            let request_id = RequestId::random();
            let response = Problem::from(reason).response(&request_id);
            let bytes = response.body().len();
            let rest = on_the_wire(&response, &request_id, line(written, b"date: "));
            let _ = self.place.progress().refused().set(Refused { reason, request_id, bytes });
            self.instead = Some(Instead { rest, of });
        }
        Some(self.instead.as_mut()?.poll_write(&mut self.io, cx))
    }
}

impl Head {
    /// Empty lines before a head are none of it (RFC 9112 section 2.2).
    fn add(&mut self, bytes: &[u8]) {
        let Some(begin) = bytes.iter().position(|byte| self.began || !matches!(byte, b'\r' | b'\n')) else { return };
        self.began = true;
        if !self.first_line {
            let line = bytes.get(begin..).unwrap_or_default();
            let end = line.iter().position(|byte| *byte == b'\n');
            self.first_line = end.is_some();
            self.line_bytes += end.unwrap_or(line.len());
        }
    }
}

/// The digits of a status line. The library answers in the version of the last good head: a preflight may be HTTP/1.0.
fn status(written: &[u8]) -> Option<&[u8]> {
    let (_minor, rest) = written.strip_prefix(b"HTTP/1.")?.split_first()?;
    rest.strip_prefix(b" ")?.get(..3)
}

/// The rest of the line that starts with `name`.
fn line<'w>(written: &'w [u8], name: &[u8]) -> Option<&'w [u8]> {
    let mut lines = written.split(|byte| *byte == b'\n');
    lines.find_map(|line| line.strip_suffix(b"\r")?.strip_prefix(name))
}

fn on_the_wire(response: &Response<Bytes>, request_id: &RequestId, date: Option<&[u8]>) -> Bytes {
    let mut wire = BytesMut::from("HTTP/1.1 ");
    wire.extend_from_slice(response.status().as_str().as_bytes());
    wire.extend_from_slice(b" ");
    wire.extend_from_slice(response.status().canonical_reason().unwrap_or_default().as_bytes());
    let length = response.body().len().to_string();
    let mut field = |name: &str, value: &[u8]| {
        for part in [b"\r\n", name.as_bytes(), b": ", value] {
            wire.extend_from_slice(part);
        }
    };
    for (name, value) in response.headers() {
        field(name.as_str(), value.as_bytes());
    }
    field("x-request-id", request_id.as_str().as_bytes());
    field("content-length", length.as_bytes());
    if let Some(date) = date {
        field("date", date);
    }
    wire.extend_from_slice(b"\r\n\r\n");
    wire.extend_from_slice(response.body());
    wire.freeze()
}

impl Instead {
    /// Writes all of it; reports as written what it stands for.
    fn poll_write(&mut self, io: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while self.rest.has_remaining() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, &self.rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.rest.advance(written);
        }
        Poll::Ready(Ok(self.of))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Transport<'_, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let transport = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut transport.io).poll_read(cx, buf))?;
        if transport.place.progress().is_waiting() {
            transport.head.add(buf.filled().get(before..).unwrap_or_default());
            if transport.head.began {
                transport.place.began();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<'_, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let transport = self.get_mut();
        match transport.poll_instead(cx, buf, buf.len()) {
            Some(written) => written,
            None => Pin::new(&mut transport.io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let transport = self.get_mut();
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        match transport.poll_instead(cx, first, bufs.iter().map(|buf| buf.len()).sum()) {
            Some(written) => written,
            None => Pin::new(&mut transport.io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let transport = self.get_mut();
        ready!(Pin::new(&mut transport.io).poll_flush(cx))?;
        // The library flushes when its own buffer is empty, and only then.
        if transport.place.progress().has_answered() {
            transport.head = Head::default();
            transport.place.waits();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let transport = self.get_mut();
        if transport.linger.is_none() {
            if let Some(instead) = &mut transport.instead {
                ready!(instead.poll_write(&mut transport.io, cx))?;
            }
            ready!(Pin::new(&mut transport.io).poll_shutdown(cx))?;
            let rest = if transport.instead.is_some() || transport.place.progress().leaves_unread() {
                LINGER_BYTES_MAX
            } else {
                0
            };
            transport.linger = Some(Linger { timer: Box::pin(tokio::time::sleep(LINGER)), rest });
        }
        let Some(linger) = &mut transport.linger else { return Poll::Ready(Ok(())) };
        ready!(linger.poll(&mut transport.io, cx));
        Poll::Ready(Ok(()))
    }
}

impl Linger {
    /// Reads and drops what comes until the client has closed, too, or enough is enough.
    fn poll(&mut self, io: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        while self.rest > 0 && self.timer.as_mut().poll(cx).is_pending() {
            let mut scratch = [0; 4096];
            let mut buf = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut *io).poll_read(cx, &mut buf));
            match (read, buf.filled().len()) {
                (Err(_), _) | (Ok(()), 0) => self.rest = 0,
                (Ok(()), read) => self.rest = self.rest.saturating_sub(read),
            }
        }
        self.rest = 0;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests;
