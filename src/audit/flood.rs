//! Keeps requests without a verified token from filling the volume. It bounds records, never refusals.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// Refusals of unverified tokens that are recorded one by one within a second. At about 700 bytes each they take 70 KiB a
/// second at the most, so that a loop without a token needs days for what it would otherwise fill in an hour.
pub(super) const UNVERIFIED_PER_SECOND_MAX: u32 = 100;

/// Counts the refusals of unverified tokens of the current second.
#[derive(Debug, Default)]
pub(super) struct Flood {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    second: i64,
    recorded: u32,
    left_out: u64,
}

impl Flood {
    /// Whether this refusal gets a record of its own; then with the number of those before it that got none.
    pub(super) fn admit(&self, now: Timestamp) -> Option<u64> {
        // A panic while the lock is held leaves three plain numbers.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.second != now.as_second() {
            state.second = now.as_second();
            state.recorded = 0;
        }
        if state.recorded == UNVERIFIED_PER_SECOND_MAX {
            state.left_out = state.left_out.saturating_add(1);
            return None;
        }
        state.recorded += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r15_what_is_left_out_is_told_by_the_next_record() {
        let flood = Flood::default();
        let at = |second| Timestamp::from_second(second).expect("a time");
        let admitted = (0..1_000).filter_map(|_| flood.admit(at(7))).count();
        assert_eq!(admitted, UNVERIFIED_PER_SECOND_MAX as usize);
        assert_eq!(flood.admit(at(8)), Some(900));
        assert_eq!(flood.admit(at(8)), Some(0));
        // A clock that runs backwards begins a second of its own, too.
        assert_eq!(flood.admit(at(3)), Some(0));
    }
}
