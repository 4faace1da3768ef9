//! Bounds and spreads what sessions ask of the gateway by themselves. It never decides who is signed in, and makes no
//! call.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::store::{self, Store};
use crate::room::{Place, Room};

#[cfg(test)]
mod tests;

/// Shortest pause before the store is asked again, whatever it says.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Why a sign-in is not admitted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Its turn does not come in time.
    #[error("the sign-in's turn did not come in time")]
    Late,
    /// The store does not say.
    #[error("the session store does not admit the sign-in")]
    Store(#[from] store::Error),
}

/// Where sign-ins wait for their turn: so many at once in this process, first come first served, and so many a second
/// over all replicas, as the store counts. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    places: Room,
    store: Arc<dyn Store>,
}

/// A place among those that sign in. It is given back by dropping it, which is to be done when the call has answered.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub(super) struct Permit {
    _place: Place,
}

impl Gate {
    /// A gate for `at_once` sign-ins (at least one).
    pub(super) fn new(at_once: usize, store: Arc<dyn Store>) -> Self {
        Self { places: Room::new(at_once), store }
    }

    /// From now on it is for so many (at least one).
    pub(super) fn resize(&self, at_once: usize) {
        self.places.resize(at_once);
    }

    /// Waits for a place, and in it for the rate: so no more than `at_once` ever ask the store, and a turn that was
    /// taken is used at once.
    ///
    /// # Errors
    ///
    /// [`Error::Late`] at `deadline`, or sooner where the store says that the turn would come later; [`Error::Store`]
    /// as soon as the store fails, without another try.
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives the place back. One of the store's turns may be lost, which is made up for within its second.
    pub(super) async fn admit(&self, deadline: Instant) -> Result<Permit, Error> {
        tokio::time::timeout_at(deadline, self.turn(deadline)).await.unwrap_or(Err(Error::Late))
    }

    async fn turn(&self, deadline: Instant) -> Result<Permit, Error> {
        let place = self.places.enter().await;
        while let Some(wait) = self.store.admit_sign_in().await? {
            // Those who were told the same come back one by one, and never sooner than told.
            let pause = wait.max(PAUSE_MIN).mul_f64(1.0 + 0.5 * fastrand::f64());
            if deadline.saturating_duration_since(Instant::now()) <= pause {
                return Err(Error::Late);
            }
            tokio::time::sleep(pause).await;
        }
        Ok(Permit { _place: place })
    }
}

/// Spreads the first keep-alives of sessions that were found alive, so that thousands found at once (a takeover, a
/// restart with a state file) do not beat at once.
#[derive(Debug)]
pub(super) struct Pacer {
    gap: Duration,
    /// When the next slot is. Locked for an addition, never across a wait.
    next: Mutex<Option<Instant>>,
}

impl Pacer {
    /// Default rate: 10,000 sessions within 20 s.
    const PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(499);

    /// Furthest slot. A quarter of the 120 s after which the gateway forgets a session.
    const AHEAD_MAX: Duration = Duration::from_secs(30);

    /// A pacer for so many a second.
    pub(super) const fn new(per_second: NonZeroU32) -> Self {
        Self { gap: Duration::from_nanos(1_000_000_000 / per_second.get() as u64), next: Mutex::new(None) }
    }

    /// Takes the next slot: how long after `now` it is. Zero where none was taken lately, and at most
    /// [`Pacer::AHEAD_MAX`]: whoever finds all slots until then taken gets a random time up to it.
    pub(super) fn next(&self, now: Instant) -> Duration {
        // A panic while the lock is held leaves the moment whole.
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = next.map_or(now, |next| next.max(now));
        let wait = slot - now;
        if wait > Self::AHEAD_MAX {
            return Self::AHEAD_MAX.mul_f64(fastrand::f64());
        }
        *next = Some(slot + self.gap);
        wait
    }
}

impl Default for Pacer {
    fn default() -> Self {
        Self::new(Self::PER_SECOND)
    }
}
