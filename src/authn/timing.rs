//! How often keys are fetched and how long anybody waits for them. Never read from the configuration.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The intervals of key refreshing. The defaults are meant for production; tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From one successful fetch to the next (a file: [`Timing::cooldown`]).
    pub refresh_interval: Duration,
    /// At most this is added to the interval, at random, so that replicas don't ask in step.
    pub jitter: Duration,
    /// No fetch for an unknown key within this time of the last fetch; also how often a file's keys are confirmed.
    pub cooldown: Duration,
    /// For one fetch, all its requests together.
    pub fetch_timeout: Duration,
    /// How long a request with an unknown key waits for a fetch.
    pub wait_max: Duration,
    /// A key set that was not confirmed for so long is not used any more.
    pub stale_max: Duration,
    /// First pause after a failed fetch; it doubles, and up to the same again is added at random.
    pub retry_min: Duration,
    /// Longest pause after a failed fetch, before the random part.
    pub retry_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            refresh_interval: Duration::from_mins(5),
            jitter: Duration::from_secs(30),
            cooldown: Duration::from_secs(30),
            fetch_timeout: Duration::from_secs(15),
            wait_max: Duration::from_secs(5),
            stale_max: Duration::from_hours(24),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_mins(1),
        }
    }
}

impl Timing {
    pub(super) fn backoff(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.retry_min)
            .with_max_delay(self.retry_max)
            .without_max_times()
            .with_jitter()
            .build()
    }

    /// `interval` and a random part of the jitter.
    pub(super) fn spread(&self, interval: Duration) -> Duration {
        let mut byte = [0_u8; 1];
        // Without randomness there is no jitter, which harms nobody.
        let drawn = aws_lc_rs::rand::fill(&mut byte).map_or(0, |()| u32::from(byte[0]));
        interval + self.jitter * drawn / 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r05_pauses_grow_to_a_ceiling_and_never_end() {
        let timing = Timing::default();
        let pauses: Vec<_> = timing.backoff().take(50).collect();
        assert_eq!(pauses.len(), 50);
        assert!(pauses[0] >= timing.retry_min && pauses[0] <= 2 * timing.retry_min, "{:?}", pauses[0]);
        assert!(pauses[10..].iter().all(|pause| *pause >= timing.retry_max && *pause <= 2 * timing.retry_max));
    }

    #[test]
    fn jitter_only_adds() {
        let timing = Timing::default();
        for _ in 0..100 {
            let spread = timing.spread(Duration::from_mins(5));
            assert!((Duration::from_mins(5)..=Duration::from_secs(330)).contains(&spread), "{spread:?}");
        }
    }
}
