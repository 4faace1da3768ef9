//! Tokens that were verified a moment ago. It holds no token, only hashes of some, and never a failure. What a request has to
//! prove beside its token is not remembered: only what the token is bound to.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::Caller;
use super::binding::Binding;
use super::claims::Lifetime;

/// Most tokens that are remembered.
const ENTRIES_MAX: u64 = 10_000;
/// A token that nobody used for so long is forgotten. Whether it still holds is checked at each use, not by this.
const IDLE_MAX: Duration = Duration::from_mins(10);

/// The callers of verified tokens, by SHA-256 of the whole token.
pub(super) struct Verified {
    entries: Cache<[u8; 32], Arc<Entry>>,
}

/// What was verified, and under which conditions that stays true.
pub(super) struct Entry {
    pub(super) caller: Caller,
    /// Which of the configured issuers.
    pub(super) issuer: usize,
    pub(super) key_id: String,
    /// Of the key that the signature was verified with.
    pub(super) key_print: [u8; 32],
    pub(super) lifetime: Lifetime,
    pub(super) binding: Binding,
}

impl Verified {
    pub(super) fn new() -> Self {
        Self { entries: Cache::builder().max_capacity(ENTRIES_MAX).time_to_idle(IDLE_MAX).build() }
    }

    /// What was verified of a token, where `holds` says that its conditions still do; else the entry is dropped.
    pub(super) fn find(&self, token: &[u8; 32], holds: impl FnOnce(&Entry) -> bool) -> Option<Arc<Entry>> {
        let entry = self.entries.get(token)?;
        if holds(&entry) {
            return Some(entry);
        }
        self.entries.invalidate(token);
        None
    }

    pub(super) fn insert(&self, token: [u8; 32], entry: Arc<Entry>) {
        self.entries.insert(token, entry);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }
}
