//! How many sign-ins may begin in a second. It tells how long to wait, and never makes anybody wait.

use std::time::Duration;

use tokio::time::Instant;

/// Longest wait that is told.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A token bucket that holds the tokens of one second.
pub(super) struct Bucket {
    per_second: f64,
    tokens: f64,
    /// About how many wait since the bucket was last full: each is sent further back, so that not all come at once.
    behind: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, tokens: per_second, behind: 0.0, at: now }
    }

    /// Takes a token; otherwise how long to wait, at most [`WAIT_MAX`].
    pub(super) fn take(&mut self, now: Instant) -> Option<Duration> {
        let come = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = now;
        // Whoever was told to wait should have come by now.
        self.behind = (self.behind - come).max(0.0);
        self.tokens = (self.tokens + come).min(self.per_second);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return None;
        }
        let wait = (1.0 - self.tokens + self.behind) / self.per_second;
        self.behind += 1.0;
        Some(Duration::try_from_secs_f64(wait).unwrap_or(WAIT_MAX).clamp(Duration::from_millis(1), WAIT_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_tokens_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(5, start);
        assert!((0..5).all(|_| bucket.take(start).is_none()));
        let waits: Vec<Duration> = (0..3).filter_map(|_| bucket.take(start)).collect();
        let tenths: Vec<u128> = waits.iter().map(|wait| wait.as_millis() / 100).collect();
        assert_eq!(tenths, [2, 4, 6], "each behind the one before");
        let granted = (1..=100).filter(|tick| bucket.take(start + Duration::from_millis(tick * 100)).is_none()).count();
        assert!((45..=51).contains(&granted), "{granted} in ten seconds");
    }

    #[test]
    fn nobody_is_told_to_wait_for_ever() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1, start);
        let longest = (0..1_000).filter_map(|_| bucket.take(start)).max();
        assert_eq!(longest, Some(WAIT_MAX));
    }
}
