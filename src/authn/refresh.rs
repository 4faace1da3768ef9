//! Keeps one issuer's keys fresh: the only place that fetches, so that there is one fetch at a time. It never takes the
//! last good set away; only age does.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::bearer::sha256;
use super::jwks::KeySet;
use super::keys::{Keys, Last, Loaded, View};
use super::source::KeysError;

impl Keys {
    /// Fetches until `stop`: at once where nothing is loaded, then at intervals, after failures with growing pauses, and
    /// for an unknown key at most once in a cooldown. `on_attempt` is told of each fetch that has ended: the number of
    /// keys, or why there are no new ones.
    pub(super) async fn keep_fresh(&self, stop: &CancellationToken, on_attempt: impl Fn(Result<&KeySet, &KeysError>)) {
        let mut pauses = self.timing.backoff();
        // Whoever kept them fresh before may have been stopped in the middle.
        self.change(|view| view.fetching = false);
        let mut next = self.first();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(next) => {}
                () = self.wanted.notified() => {
                    // An old wish: the fetch that it asked for is done.
                    if !self.cooled_down(&self.view.load()) {
                        continue;
                    }
                }
            }
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                ended = self.fetch() => ended,
            };
            on_attempt(ended.as_ref().map(Arc::as_ref));
            next = if ended.is_ok() {
                pauses = self.timing.backoff();
                self.regular()
            } else {
                // The pauses never end; were they to, the interval stands in.
                Instant::now() + pauses.next().unwrap_or(self.timing.refresh_interval)
            };
        }
    }

    /// Takes a text over as the key set: what a file holds at the start.
    pub(super) fn take_over(&self, text: &[u8]) -> Result<Arc<KeySet>, KeysError> {
        let view = self.view.load_full();
        let digest = sha256(&[text]);
        let set = match &view.loaded {
            Some(loaded) if loaded.digest == digest => Arc::clone(&loaded.set),
            _ => Arc::new(KeySet::read(text, &self.accepted).map_err(KeysError::Set)?),
        };
        let at = Instant::now();
        let loaded = Some(Loaded { set: Arc::clone(&set), digest, at });
        self.view.store(Arc::new(View { loaded, last: Last::Succeeded { at }, fetching: false }));
        Ok(set)
    }

    /// One fetch. Only the owner of the refreshing calls it.
    ///
    /// The set of a file that was read is confirmed as it is: the file belongs to the configuration, whose reload reads it
    /// again when its content changes, with all the rest or not at all. What is in force does not get old.
    pub(super) async fn fetch(&self) -> Result<Arc<KeySet>, KeysError> {
        if self.source.is_file()
            && let Some(set) = self.confirm()
        {
            return Ok(set);
        }
        self.change(|view| view.fetching = true);
        let text = timeout(self.timing.fetch_timeout, self.source.fetch()).await.unwrap_or(Err(KeysError::Timeout));
        let ended = text.and_then(|text| self.take_over(&text));
        if let Err(error) = &ended {
            let last = Last::Failed { at: Instant::now(), cause: error.cause() };
            self.change(|view| (view.last, view.fetching) = (last, false));
        }
        // After the view: who wakes up sees the new one.
        self.attempts.send_modify(|count| *count = count.wrapping_add(1));
        ended
    }

    /// The set that is there counts as fetched now.
    fn confirm(&self) -> Option<Arc<KeySet>> {
        let at = Instant::now();
        self.change(|view| {
            if let Some(loaded) = &mut view.loaded {
                (loaded.at, view.last) = (at, Last::Succeeded { at });
            }
        });
        self.attempts.send_modify(|count| *count = count.wrapping_add(1));
        self.view.load().loaded.as_ref().map(|loaded| Arc::clone(&loaded.set))
    }

    /// Load and store are two steps: sound, as only the owner's task is here.
    fn change(&self, change: impl FnOnce(&mut View)) {
        let mut view = View::clone(&self.view.load());
        change(&mut view);
        self.view.store(Arc::new(view));
    }

    /// Keys that were kept fresh before are fetched when they would have been: a configuration that changes often must not
    /// let them get old.
    fn first(&self) -> Instant {
        match &self.view.load().loaded {
            Some(loaded) => loaded.at + self.interval(),
            None => Instant::now(),
        }
    }

    fn regular(&self) -> Instant {
        Instant::now() + self.interval()
    }

    fn interval(&self) -> Duration {
        if self.source.is_file() { self.timing.cooldown } else { self.timing.spread(self.timing.refresh_interval) }
    }
}

/// An error with its causes, for the log.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
