//! How large the pieces are that a stream gives out: small ones for whoever takes them slowly, since each costs memory
//! until it's sent on; large ones for bulk that runs. It knows nothing of what is in them.

use std::time::Duration;

use tokio::time::Instant;

/// While nothing is known of the taker, in bytes. One less than a power of two: hyper doubles its buffer when a piece fills
/// it, and halves it when a piece would fit into half of it, so it comes to fit the pieces.
const PIECE: usize = 16 * 1024 - 1;
/// For a slow one: hyper's buffer is never smaller.
const PIECE_SLOW: usize = 8 * 1024 - 1;
/// For a fast one.
pub(in crate::net) const PIECE_FAST: usize = 256 * 1024;
/// A taker that asks again within this time isn't slow: at the least 0.8 MiB/s.
const QUICKLY: Duration = Duration::from_millis(20);
/// What must have been taken quickly before the pieces are large ones, in bytes. More than fits into what the system takes
/// ahead of a slow client.
const PROVEN: usize = 2 * 1024 * 1024;

/// The pace of whoever reads a stream.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the latest piece was given; `None`: more was asked for since, and had to be waited for.
    given: Option<Instant>,
    /// Bytes taken in a row, each piece quickly.
    quickly: usize,
    slow: bool,
}

impl Pace {
    /// Nothing was taken yet.
    pub(super) const fn new() -> Self {
        Self { given: None, quickly: 0, slow: false }
    }

    /// More is asked for: how many bytes to give at the most.
    pub(super) fn asked(&mut self, now: Instant) -> usize {
        if let Some(given) = self.given.take() {
            self.slow = now.saturating_duration_since(given) > QUICKLY;
            if self.slow {
                self.quickly = 0;
            }
        }
        match (self.slow, self.quickly >= PROVEN) {
            (true, _) => PIECE_SLOW,
            (false, false) => PIECE,
            (false, true) => PIECE_FAST,
        }
    }

    /// Whether it pays to read more than is wanted: the rest is wanted soon.
    pub(super) const fn reads_ahead(&self) -> bool {
        !self.slow
    }

    /// A piece is given.
    pub(super) const fn gave(&mut self, bytes: usize, now: Instant) {
        self.given = Some(now);
        self.quickly = self.quickly.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes pieces with so much time between them, and returns their sizes.
    fn taken(pace: &mut Pace, pieces: usize, wait: Duration, now: &mut Instant) -> Vec<usize> {
        let mut take = || {
            let bytes = pace.asked(*now);
            pace.gave(bytes, *now);
            *now += wait;
            bytes
        };
        (0..pieces).map(|_| take()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn large_pieces_are_for_those_who_took_much_quickly() {
        let (mut pace, mut now) = (Pace::new(), Instant::now());
        let small = PROVEN.div_ceil(PIECE);
        let sizes = taken(&mut pace, small + 3, QUICKLY, &mut now);
        assert!(sizes[..small].iter().all(|size| *size == PIECE), "{sizes:?}");
        assert_eq!(sizes[small..], [PIECE_FAST; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_is_slow_gets_small_pieces_from_the_second_on() {
        let (mut pace, mut now) = (Pace::new(), Instant::now());
        let slowly = QUICKLY + Duration::from_millis(1);
        assert!(pace.reads_ahead());
        assert_eq!(taken(&mut pace, 4, slowly, &mut now), [PIECE, PIECE_SLOW, PIECE_SLOW, PIECE_SLOW]);
        assert!(!pace.reads_ahead());
        // It begins to hurry: large pieces are to be earned anew.
        assert_eq!(taken(&mut pace, 3, QUICKLY, &mut now), [PIECE_SLOW, PIECE, PIECE]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_one_that_stops_gets_small_pieces_at_once() {
        let (mut pace, mut now) = (Pace::new(), Instant::now());
        taken(&mut pace, PROVEN.div_ceil(PIECE), Duration::ZERO, &mut now);
        now += Duration::from_secs(1);
        assert_eq!(taken(&mut pace, 2, Duration::ZERO, &mut now), [PIECE_SLOW, PIECE]);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_other_end_is_not_the_takers_slowness() {
        let (mut pace, mut now) = (Pace::new(), Instant::now());
        taken(&mut pace, 2, Duration::ZERO, &mut now);
        // It has asked, nothing was there, and it asks again when something is.
        assert_eq!(pace.asked(now), PIECE);
        now += Duration::from_mins(1);
        assert_eq!(pace.asked(now), PIECE);
    }
}
