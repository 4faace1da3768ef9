//! How much must have come before a waiting stream is woken: one wake-up for 128 KiB rather than for each packet. It
//! waits for nothing that is not certain to come, and calls no system.

use std::time::Duration;

use tokio::time::Instant;

/// What is waited for at the most, in bytes.
const WANTED_MAX: usize = 128 * 1024;
/// Below this it's not worth two system calls: only bulk is waited for.
const WANTED_MIN: usize = 96 * 1024;
/// How long what has come may lie in the system's buffer until it's taken even so: an upstream that sends little at a time.
pub(super) const PATIENCE: Duration = Duration::from_millis(5);
/// After that nothing more than one byte is waited for during this time, so that it costs 5 ms in 105 at the most.
const BARRED: Duration = Duration::from_millis(100);
/// A read of at least so many bytes is a large one.
const LARGE: usize = 32 * 1024;
/// So many large ones in a row tell bulk whose length isn't known.
const LARGE_IN_A_ROW: u8 = 2;

/// What is known of the bytes that are still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToCome {
    /// At least so many, or the answer is broken.
    AtLeast(u64),
    /// A body without a declared length is under way.
    Unknown,
    /// Nothing is certain.
    Nothing,
}

/// The mark of one socket.
#[derive(Debug)]
pub(super) struct LowWater {
    set: usize,
    barred: Option<Instant>,
    large: u8,
}

impl LowWater {
    /// As a socket is when it's new: one byte.
    pub(super) const fn new() -> Self {
        Self { set: 1, barred: None, large: 0 }
    }

    /// So many bytes have been read in one go.
    pub(super) const fn read(&mut self, bytes: usize) {
        self.large = if bytes >= LARGE { self.large.saturating_add(1) } else { 0 };
    }

    /// The stream is going to wait, with `in_hand` bytes read and not given on. `Some`: the mark to set now.
    pub(super) fn wait(&mut self, to_come: ToCome, in_hand: usize, now: Instant) -> Option<usize> {
        let wanted = self.wanted(to_come, in_hand, now);
        self.change(wanted)
    }

    /// What came wasn't enough in time, or something else than bulk is next. `Some`: the mark to set now.
    pub(super) fn lower(&mut self) -> Option<usize> {
        self.large = 0;
        self.change(1)
    }

    /// [`PATIENCE`] is over. `Some`: the mark to set now.
    pub(super) fn fired(&mut self, now: Instant) -> Option<usize> {
        self.barred = Some(now + BARRED);
        self.lower()
    }

    /// Whether more than one byte is waited for, so that [`PATIENCE`] counts.
    pub(super) const fn is_raised(&self) -> bool {
        self.set > 1
    }

    fn wanted(&self, to_come: ToCome, in_hand: usize, now: Instant) -> usize {
        if self.barred.is_some_and(|until| now < until) {
            return 1;
        }
        let certain = match to_come {
            ToCome::AtLeast(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(in_hand),
            ToCome::Unknown if self.large >= LARGE_IN_A_ROW => WANTED_MAX,
            ToCome::Unknown | ToCome::Nothing => 0,
        };
        if certain < WANTED_MIN { 1 } else { certain.min(WANTED_MAX) }
    }

    fn change(&mut self, wanted: usize) -> Option<usize> {
        (wanted != self.set).then(|| {
            self.set = wanted;
            wanted
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    #[tokio::test(start_paused = true)]
    async fn only_what_is_certain_to_come_is_waited_for() {
        let now = Instant::now();
        for (to_come, in_hand, mark) in [
            (ToCome::AtLeast(1024 * KIB), 0, Some(WANTED_MAX)),
            (ToCome::AtLeast(u64::MAX), 0, Some(WANTED_MAX)),
            (ToCome::AtLeast(128 * KIB), 16 * 1024, Some(112 * 1024)),
            (ToCome::AtLeast(96 * KIB), 0, Some(96 * 1024)),
            (ToCome::AtLeast(96 * KIB), 1, None),
            (ToCome::AtLeast(64 * KIB), 0, None),
            (ToCome::AtLeast(0), 0, None),
            (ToCome::Unknown, 0, None),
            (ToCome::Nothing, 0, None),
        ] {
            assert_eq!(LowWater::new().wait(to_come, in_hand, now), mark, "{to_come:?}, {in_hand}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_length_two_large_reads_in_a_row_tell_bulk() {
        let now = Instant::now();
        let after = |reads: &[usize]| {
            let mut mark = LowWater::new();
            for bytes in reads {
                mark.read(*bytes);
            }
            (mark.wait(ToCome::Unknown, 0, now), mark.wait(ToCome::Nothing, 0, now))
        };
        assert_eq!(after(&[LARGE]), (None, None));
        assert_eq!(after(&[LARGE, LARGE]), (Some(WANTED_MAX), Some(1)));
        assert_eq!(after(&[LARGE, LARGE, LARGE - 1]), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_is_set_once_and_taken_back_near_the_end() {
        let (mut mark, now) = (LowWater::new(), Instant::now());
        let all = ToCome::AtLeast(512 * KIB);
        assert_eq!((mark.wait(all, 0, now), mark.wait(all, 0, now)), (Some(WANTED_MAX), None));
        assert!(mark.is_raised());
        assert_eq!(mark.wait(ToCome::AtLeast(10), 0, now), Some(1));
        assert!(!mark.is_raised());
        assert_eq!(mark.lower(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_sends_little_at_a_time_costs_5_ms_in_105() {
        let (mut mark, now) = (LowWater::new(), Instant::now());
        let all = ToCome::AtLeast(512 * KIB);
        assert_eq!(mark.wait(all, 0, now), Some(WANTED_MAX));
        assert_eq!(mark.fired(now + PATIENCE), Some(1));
        assert_eq!(mark.wait(all, 0, now + PATIENCE), None);
        assert_eq!(mark.wait(all, 0, now + PATIENCE + BARRED - Duration::from_millis(1)), None);
        assert_eq!(mark.wait(all, 0, now + PATIENCE + BARRED), Some(WANTED_MAX));
    }
}
