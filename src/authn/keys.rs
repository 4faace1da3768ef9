//! The keys of one issuer as they are known now, and the wait for newer ones. It never fetches: the owner's task does
//! (`refresh`), and a request only asks it to and waits, for a bounded time and in bounded number.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::jwks::KeySet;
use super::key::Key;
use super::source::Source;
use super::{Algorithm, Timing};

/// Most requests of one issuer that wait for a fetch at once; the others are answered from what is known.
const WAITING_MAX: usize = 256;
/// When to try again where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// One issuer's keys.
pub(super) struct Keys {
    pub(super) source: Source,
    pub(super) accepted: Vec<Algorithm>,
    pub(super) timing: Timing,
    /// Written by the owner's task alone, so that no write is lost.
    pub(super) view: ArcSwap<View>,
    /// Counts ended fetches; moved after `view`.
    pub(super) attempts: watch::Sender<u64>,
    /// Asks the owner for a fetch; the owner decides whether it is time.
    pub(super) wanted: Notify,
    waiting: Semaphore,
}

/// What is known at one moment.
#[derive(Clone)]
pub(super) struct View {
    pub(super) loaded: Option<Loaded>,
    pub(super) last: Last,
    pub(super) fetching: bool,
}

/// The last good key set.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) set: Arc<KeySet>,
    /// SHA-256 of its text.
    pub(super) digest: [u8; 32],
    /// When it was last confirmed.
    pub(super) at: Instant,
}

/// How the last fetch ended.
#[derive(Clone, Copy)]
pub(super) enum Last {
    Never,
    Succeeded { at: Instant },
    Failed { at: Instant, cause: &'static str },
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// The issuer has no such key: its set is fresh.
    Unknown,
    /// We can't tell.
    Unavailable { retry_after: Duration },
}

impl Keys {
    pub(super) fn new(source: Source, accepted: Vec<Algorithm>, timing: Timing) -> Self {
        Self {
            source,
            accepted,
            timing,
            view: ArcSwap::from_pointee(View { loaded: None, last: Last::Never, fetching: false }),
            attempts: watch::Sender::new(0),
            wanted: Notify::new(),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }

    /// The key of exactly this id, where it is known now and the set is not too old.
    pub(super) fn current(&self, kid: &str) -> Option<Arc<Key>> {
        self.usable(&self.view.load()).and_then(|loaded| loaded.set.get(kid)).cloned()
    }

    /// The key of exactly this id; waits at most [`Timing::wait_max`] for a fetch where one could bring it.
    ///
    /// Cancel safe: a waiter that leaves changes nothing for the others, nor for the fetch.
    pub(super) async fn find(&self, kid: &str) -> Result<Arc<Key>, Absent> {
        if let Some(key) = self.current(kid) {
            return Ok(key);
        }
        // Subscribed before the look: a fetch that ends in between is seen by one or the other.
        let mut attempts = self.attempts.subscribe();
        let view = self.view.load_full();
        if self.worth_waiting(&view) && self.usable(&view).is_some_and(|loaded| loaded.set.get(kid).is_none()) {
            let unavailable = Absent::Unavailable { retry_after: RETRY_AFTER };
            let _permit = self.waiting.try_acquire().map_err(|_| unavailable)?;
            self.wanted.notify_one();
            // An error here: the time is over, or there is no owner any more.
            if !matches!(timeout(self.timing.wait_max, attempts.changed()).await, Ok(Ok(()))) {
                return Err(unavailable);
            }
        }
        self.current(kid).ok_or_else(|| self.absent(&self.view.load()))
    }

    /// Why there is no usable set now; `None` where there is one.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        let view = self.view.load();
        match (&view.loaded, view.last) {
            _ if self.usable(&view).is_some() => None,
            (Some(_), _) => Some("the key set is too old"),
            (None, Last::Failed { cause, .. }) => Some(cause),
            (None, Last::Never | Last::Succeeded { .. }) => Some("the key set is not loaded yet"),
        }
    }

    /// When the set that is there gets too old.
    pub(super) fn stale_at(&self) -> Option<Instant> {
        // It is still in use at the very moment.
        let past = self.timing.stale_max + Duration::from_millis(1);
        self.view.load().loaded.as_ref().map(|loaded| loaded.at + past)
    }

    /// Whether a fetch for an unknown key may start.
    pub(super) fn cooled_down(&self, view: &View) -> bool {
        self.cooldown_left(view).is_zero()
    }

    fn usable<'v>(&self, view: &'v View) -> Option<&'v Loaded> {
        view.loaded.as_ref().filter(|loaded| loaded.at.elapsed() <= self.timing.stale_max)
    }

    fn worth_waiting(&self, view: &View) -> bool {
        view.fetching || self.cooled_down(view)
    }

    fn cooldown_left(&self, view: &View) -> Duration {
        match view.last {
            Last::Never => Duration::ZERO,
            Last::Succeeded { at } | Last::Failed { at, .. } => self.timing.cooldown.saturating_sub(at.elapsed()),
        }
    }

    fn absent(&self, view: &View) -> Absent {
        match view.last {
            Last::Succeeded { .. } if self.usable(view).is_some() => Absent::Unknown,
            Last::Never => Absent::Unavailable { retry_after: RETRY_AFTER },
            Last::Succeeded { .. } | Last::Failed { .. } => {
                Absent::Unavailable { retry_after: self.cooldown_left(view).max(Duration::from_secs(1)) }
            }
        }
    }
}
