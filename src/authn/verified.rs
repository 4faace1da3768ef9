//! Tokens that were verified a moment ago, and whose they are. It holds no token, only hashes of some, and never a failure. What
//! a request has to prove beside its token is not remembered: only what the token is bound to.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::Caller;
use super::binding::Binding;
use super::claims::Lifetime;
use super::person::{Identity, Person};

/// Most tokens that are remembered.
const ENTRIES_MAX: u64 = 10_000;
/// Most persons that are. Each is of a verified token of at most 8 KiB.
const PERSONS_MAX: u64 = 10_000;
/// A token that nobody used for so long is forgotten. Whether it still holds is checked at each use, not by this.
const IDLE_MAX: Duration = Duration::from_mins(10);
/// A person of whom no new token came for so long is forgotten here. Its tokens keep it; a later one makes it anew, and then
/// the two share nothing. Longer than a token's usual life, so that each token finds the one before.
const PERSON_IDLE_MAX: Duration = Duration::from_hours(1);

/// The callers of verified tokens, by SHA-256 of the whole token, and their persons, each by all that it is: never by a hash
/// or a name alone, so that nobody gets what is remembered of another.
pub(super) struct Verified {
    entries: Cache<[u8; 32], Arc<Entry>>,
    persons: Cache<Arc<Identity>, Arc<Person>>,
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
        Self {
            entries: Cache::builder().max_capacity(ENTRIES_MAX).time_to_idle(IDLE_MAX).build(),
            persons: Cache::builder().max_capacity(PERSONS_MAX).time_to_idle(PERSON_IDLE_MAX).build(),
        }
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

    /// The one person that is all this, for a token that is verified.
    pub(super) fn person(&self, identity: Identity) -> Arc<Person> {
        let identity = Arc::new(identity);
        // Two tokens at once get one person.
        self.persons.get_with_by_ref(&identity, || Arc::new(Person::new(Arc::clone(&identity))))
    }

    #[cfg(test)]
    pub(super) fn persons(&self) -> u64 {
        self.persons.run_pending_tasks();
        self.persons.entry_count()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }
}
