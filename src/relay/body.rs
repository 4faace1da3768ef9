//! The response body. It ends well only when the upstream's end was seen; it closes its entry exactly once.
//!
//! The end is decided where the bytes are read: with a length, when the last byte was handed over; chunked, when the
//! last chunk was read. hyper drops a body with a length as soon as it has taken the last byte, without polling for
//! the end, so waiting to be polled again would call every complete download aborted.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::digest::Hasher;
use super::{Metrics, Relay};
use crate::audit::{By, Class, Delivery, End, FailReason, OpenEntry, Outcome, UpstreamAnswer};
use crate::session::Hold;
use crate::upstream::File;

/// The transfer was broken off, and so must be what the client sees: the connection is closed without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The upstream closed or broke its framing before the end.
    #[error("the upstream's body broke off")]
    Truncated,
    /// The upstream was silent for too long.
    #[error("the upstream fell silent inside the body")]
    Idle,
    /// The process is shutting down and the drain's time is over.
    #[error("the process is shutting down")]
    Shutdown,
}

/// A recording on its way to the client. No more than one piece of it is held.
pub struct RelayBody {
    source: Source,
    /// Bytes still to come by the declared length; `None`: chunked.
    remaining: Option<u64>,
    /// Bytes still to come by `Content-Range`, where there is one.
    promised: Option<u64>,
    idle_timeout: Duration,
    stop: CancellationToken,
    /// Made when the upstream is awaited for the first time: most short bodies never wait.
    waiting: Option<Waiting>,
    /// The upstream is awaited now: a client that reads slowly is no silence of the upstream.
    awaited: bool,
    ledger: Option<Ledger>,
    outcome: Option<&'static str>,
}

/// What ends a wait for the upstream.
struct Waiting {
    idle: Pin<Box<Sleep>>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

struct Source {
    first: Option<Bytes>,
    rest: Incoming,
}

/// The entry, and what its end will say.
struct Ledger {
    entry: OpenEntry,
    status: u16,
    hasher: Hasher,
    upstream_bytes: u64,
    client_bytes: u64,
    content_range: Option<String>,
    start: Instant,
    first_byte: Option<Duration>,
    metrics: Arc<Metrics>,
    /// Keeps the session signed in until the end is written.
    _hold: Hold,
}

impl RelayBody {
    pub(super) fn new(relay: &Relay, entry: OpenEntry, file: File, hold: Hold, start: Instant) -> Self {
        let content_range = file.headers.get(http::header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let ledger = Ledger {
            entry,
            status: file.status.as_u16(),
            hasher: Hasher::new(relay.digest),
            upstream_bytes: file.first.as_ref().map_or(0, length_of),
            client_bytes: 0,
            content_range: content_range.map(ToOwned::to_owned),
            start,
            first_byte: None,
            metrics: Arc::clone(&relay.metrics),
            _hold: hold,
        };
        let mut body = Self {
            source: Source { first: file.first, rest: file.rest },
            remaining: file.length,
            promised: file.promised,
            idle_timeout: relay.idle_timeout,
            stop: relay.stop.clone(),
            waiting: None,
            awaited: false,
            ledger: Some(ledger),
            outcome: None,
        };
        if body.remaining == Some(0) {
            // hyper does not poll an empty body at all.
            body.close(Outcome::Finished);
        }
        body
    }

    /// How it ended, for the access line; `None` while it has not.
    pub const fn outcome(&self) -> Option<&'static str> {
        self.outcome
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if let Some(piece) = self.source.first.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.source.rest).poll_frame(cx)) else {
                return Poll::Ready(None);
            };
            let Ok(frame) = frame else { return Poll::Ready(Some(Err(Broken::Truncated))) };
            // Trailers are not passed on.
            if let Ok(piece) = frame.into_data() {
                if let Some(ledger) = &mut self.ledger {
                    ledger.upstream_bytes = ledger.upstream_bytes.saturating_add(length_of(&piece));
                }
                return Poll::Ready(Some(Ok(piece)));
            }
        }
    }

    /// Why the upstream is awaited no longer.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            idle: Box::pin(tokio::time::sleep(self.idle_timeout)),
            stopped: Box::pin(self.stop.clone().cancelled_owned()),
        });
        if !self.awaited {
            self.awaited = true;
            waiting.idle.as_mut().reset(Instant::now() + self.idle_timeout);
        }
        if waiting.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Broken::Shutdown);
        }
        waiting.idle.as_mut().poll(cx).map(|()| Broken::Idle)
    }

    /// Hands one piece over: counted and hashed here, nowhere else.
    fn hand_over(&mut self, piece: Bytes) -> Frame<Bytes> {
        let length = length_of(&piece);
        if let Some(ledger) = &mut self.ledger {
            ledger.client_bytes = ledger.client_bytes.saturating_add(length);
            ledger.entry.handed_over(length);
            ledger.hasher.update(&piece);
            ledger.first_byte.get_or_insert_with(|| ledger.start.elapsed());
        }
        if let Some(left) = &mut self.promised {
            *left = left.saturating_sub(length);
        }
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(length);
            if *remaining == 0 {
                self.close(Outcome::Finished);
            }
        }
        Frame::data(piece)
    }

    fn break_off(&mut self, broken: Broken) -> Broken {
        self.close(match broken {
            Broken::Truncated => Outcome::Failed { reason: FailReason::UpstreamTruncated },
            Broken::Idle => Outcome::Failed { reason: FailReason::UpstreamIdle },
            Broken::Shutdown => Outcome::Aborted { by: By::Shutdown },
        });
        broken
    }

    fn close(&mut self, outcome: Outcome) {
        if let Some(ledger) = self.ledger.take() {
            self.outcome = Some(outcome.as_str());
            ledger.close(outcome);
        }
    }
}

impl Ledger {
    fn close(self, outcome: Outcome) {
        let complete = matches!(outcome, Outcome::Finished);
        let download = self.entry.authorized().download();
        self.metrics.ended(download.file().kind(), outcome.as_str());
        let end = End {
            outcome,
            upstream: Some(UpstreamAnswer { status: self.status, retcode: None, message: String::new() }),
            delivery: Delivery {
                class: if self.client_bytes == 0 { Class::Empty } else { Class::Media },
                upstream_bytes: self.upstream_bytes,
                client_bytes: self.client_bytes,
                range: download.range().map(|range| range.to_string()),
                content_range: self.content_range,
                complete,
                digest: self.hasher.finish(),
                first_byte: self.first_byte,
                duration: self.start.elapsed(),
            },
        };
        self.entry.close(end);
    }
}

fn length_of(piece: &Bytes) -> u64 {
    u64::try_from(piece.len()).unwrap_or(u64::MAX)
}

impl Body for RelayBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let body = self.get_mut();
        if body.ledger.is_none() {
            return Poll::Ready(None);
        }
        if body.stop.is_cancelled() {
            return Poll::Ready(Some(Err(body.break_off(Broken::Shutdown))));
        }
        match body.poll_source(cx) {
            // More than `Content-Range` promised: what the client would take for the part is not it.
            Poll::Ready(Some(Ok(piece))) if body.promised.is_some_and(|left| left < length_of(&piece)) => {
                Poll::Ready(Some(Err(body.break_off(Broken::Truncated))))
            }
            Poll::Ready(Some(Ok(piece))) => {
                body.awaited = false;
                Poll::Ready(Some(Ok(body.hand_over(piece))))
            }
            Poll::Ready(Some(Err(broken))) => Poll::Ready(Some(Err(body.break_off(broken)))),
            // With a length, hyper's client reports a short body as an error; this is the last chunk.
            Poll::Ready(None) if body.remaining.is_none() && body.promised.is_none_or(|left| left == 0) => {
                body.close(Outcome::Finished);
                Poll::Ready(None)
            }
            Poll::Ready(None) => Poll::Ready(Some(Err(body.break_off(Broken::Truncated)))),
            Poll::Pending => {
                let broken = ready!(body.poll_waiting(cx));
                Poll::Ready(Some(Err(body.break_off(broken))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for RelayBody {
    /// The client is gone, or the process is going, or a panic passes by: the entry gets its end all the same.
    fn drop(&mut self) {
        self.close(if std::thread::panicking() {
            Outcome::Failed { reason: FailReason::Panic }
        } else if self.stop.is_cancelled() {
            Outcome::Aborted { by: By::Shutdown }
        } else {
            Outcome::Aborted { by: By::Client }
        });
    }
}

impl std::fmt::Debug for RelayBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayBody")
            .field("remaining", &self.remaining)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}
