//! What is known of one connection, and how old one may get. It carries no bytes and closes nothing itself.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::Authority;
use hyper_util::client::legacy::connect::CaptureConnection;
use tokio::time::Instant;

/// How often the connections are looked through for such as are too old, at most.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// One connection. It carries one request at a time (HTTP/1.1, no pipelining), so what it says is said of that one.
#[derive(Debug)]
pub(super) struct Line {
    /// When it is too old for a further request; `None`: its address was no name, so it cannot come to lead elsewhere.
    expires: Option<Instant>,
    /// Requests of which at least a byte was written.
    begun: AtomicU32,
    /// A byte of the answer to the latest one has come.
    answering: AtomicBool,
    gone: AtomicBool,
}

impl Line {
    pub(super) const fn new(expires: Option<Instant>) -> Self {
        Self { expires, begun: AtomicU32::new(0), answering: AtomicBool::new(false), gone: AtomicBool::new(false) }
    }

    /// Whether what is written next is the beginning of a request.
    pub(super) fn is_at_rest(&self) -> bool {
        self.begun() == 0 || self.answering.load(Ordering::Relaxed)
    }

    /// A request's first bytes are being written.
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.answering.store(false, Ordering::Relaxed);
    }

    /// Whether bytes came before anything was asked.
    pub(super) fn spoke_first(&self) -> bool {
        self.begun() == 0 && !self.is_unanswered()
    }

    /// Bytes have come.
    pub(super) fn answered(&self) {
        self.answering.store(true, Ordering::Relaxed);
    }

    /// The connection has ended.
    pub(super) fn end(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// How many requests it has begun to carry.
    pub(super) fn begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether no byte of an answer to its latest request has come.
    pub(super) fn is_unanswered(&self) -> bool {
        !self.answering.load(Ordering::Relaxed)
    }

    fn is_too_old(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// The connections that are open and have carried a request. Locked for a pass over them, never across a wait.
#[derive(Debug)]
pub(super) struct Lines {
    kept: Mutex<Vec<Watched>>,
    start: Instant,
    /// When to look through them next, in nanoseconds from `start`. Whoever moves it on does so.
    due: AtomicU64,
}

impl Default for Lines {
    fn default() -> Self {
        Self { kept: Mutex::default(), start: Instant::now(), due: AtomicU64::new(0) }
    }
}

#[derive(Debug)]
struct Watched {
    line: Arc<Line>,
    /// Whom it leads to.
    server: Option<Authority>,
    connection: CaptureConnection,
}

impl Lines {
    /// Watches a connection that carries its first request.
    pub(super) fn watch(&self, line: Arc<Line>, server: Option<&Authority>, connection: CaptureConnection) {
        self.kept().push(Watched { line, server: server.cloned(), connection });
    }

    /// One of the connections to a server turned out to be closed: no request goes out any more over those that are open. Most
    /// likely they are closed too, and nobody has noticed yet.
    pub(super) fn retire(&self, server: Option<&Authority>) {
        self.kept().retain(|watched| {
            let retired = watched.server.as_ref() == server;
            if retired {
                give_up(&watched.connection);
            }
            !retired
        });
    }

    /// No request goes out any more over a connection that is too old. One that is under way goes on to its end.
    ///
    /// Called before each request; looks through them at most once a second.
    pub(super) fn sweep(&self, now: Instant) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let at = nanos(now.saturating_duration_since(self.start));
        let due = self.due.load(Ordering::Relaxed);
        let next = at.saturating_add(nanos(SWEEP_EVERY));
        if at < due || self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        self.kept().retain(|Watched { line, connection, .. }| {
            let retired = line.is_too_old(now);
            if retired {
                give_up(connection);
            }
            !retired && !line.gone.load(Ordering::Relaxed)
        });
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection carries no further request.
pub(super) fn give_up(connection: &CaptureConnection) {
    if let Some(connection) = connection.connection_metadata().as_ref() {
        connection.poison();
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use hyper_util::client::legacy::connect::capture_connection;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connections_are_looked_through_once_a_second() {
        let (lines, start) = (Lines::default(), Instant::now());
        let gone = Arc::new(Line::new(None));
        gone.end();
        let mut left_at = |millis: u64| {
            lines.watch(Arc::clone(&gone), None, capture_connection(&mut Request::new(())));
            lines.sweep(start + Duration::from_millis(millis));
            lines.kept().len()
        };
        let left = [0, 0, 999, 1000, 1001, 1999, 2500, 3000, 3500].map(&mut left_at);
        assert_eq!(left, [0, 1, 2, 0, 1, 2, 0, 1, 0], "at once, and again no earlier than a second later");
    }
}
