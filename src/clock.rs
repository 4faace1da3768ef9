//! Wall time, derived from the runtime's clock. Nothing else in the crate asks the system for the time of day.
//!
//! A test that pauses the runtime's clock moves token expiry and audit timestamps with it. In a running process the
//! anchor is renewed now and then ([`Clock::resync`]), so that a step of the system's clock is followed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use tokio::time::{Duration, Instant};

/// A source of wall time; clones share one anchor.
#[derive(Debug, Clone)]
pub struct Clock {
    start: Instant,
    /// Microseconds since the epoch at `start`.
    anchor: Arc<AtomicI64>,
}

impl Clock {
    /// How often [`Clock::resync`] is to be called in a running process.
    pub const RESYNC_INTERVAL: Duration = Duration::from_secs(10);

    /// A clock that shows the system's time.
    pub fn system() -> Self {
        let clock = Self::fixed(Timestamp::UNIX_EPOCH);
        clock.resync();
        clock
    }

    /// A clock that shows `now` at this moment and then moves with the runtime's clock alone.
    pub fn fixed(now: Timestamp) -> Self {
        Self { start: Instant::now(), anchor: Arc::new(AtomicI64::new(now.as_microsecond())) }
    }

    /// The time of day, in microseconds.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The time of day at a moment since the clock was made, in microseconds: saves a look at the system's clock.
    pub fn at(&self, moment: Instant) -> Timestamp {
        let elapsed = i64::try_from(moment.saturating_duration_since(self.start).as_micros()).unwrap_or(i64::MAX);
        let micros = self.anchor.load(Ordering::Relaxed).saturating_add(elapsed);
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
    }

    /// Takes over the system's time and returns by how much the clock was off, in microseconds (positive: it was behind).
    pub fn resync(&self) -> i64 {
        #[allow(clippy::disallowed_methods, reason = "the one place where the system's time enters")]
        let system = Timestamp::now();
        let step = system.as_microsecond().saturating_sub(self.now().as_microsecond());
        self.anchor.fetch_add(step, Ordering::Relaxed);
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn wall_time_moves_with_the_runtimes_clock() {
        let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
        tokio::time::advance(Duration::from_millis(90_500)).await;
        assert_eq!(clock.now().as_millisecond(), 90_500);
        assert_eq!(clock.clone().now(), clock.now());
        assert_eq!(clock.at(Instant::now() - Duration::from_millis(500)).as_millisecond(), 90_000);
    }

    #[tokio::test]
    async fn a_step_of_the_system_clock_is_followed() {
        let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
        assert!(clock.resync() > 1_600_000_000_000_000, "it was decades behind");
        assert!(clock.resync().abs() < 1_000_000, "and is no longer");
    }
}
