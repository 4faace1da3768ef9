//! One large buffer a thread, into which every connection reads. Nothing stays in it between two polls.

use std::cell::RefCell;

use super::pace::PIECE_FAST;
use super::session::RECORD_BYTES_MAX;

/// The largest piece, the record that didn't fit into it, and what is kept of the read before.
const BYTES: usize = PIECE_FAST + 2 * RECORD_BYTES_MAX;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends this thread's buffer. Not to be called inside of itself.
pub(super) fn with<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.is_empty() {
            // Its pages cost memory when they are first written to.
            *scratch = vec![0; BYTES];
        }
        use_it(scratch)
    })
}
