//! Who somebody is, whatever token shows it. It holds nothing of a token that another one of the same person might not say,
//! and a small memory for who decides about that person.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::Inspects;
use crate::cc::AgentId;

/// A person with what the issuer says of it. All tokens that say the very same share one, so that what was worked out for
/// one token need not be for the next.
#[derive(Debug)]
pub(crate) struct Person {
    identity: Arc<Identity>,
    memory: Memory,
}

/// All that a person is. Two tokens that differ in anything of it are two persons': equality is of every field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) issuer: Arc<str>,
    pub(super) subject: String,
    pub(super) client_id: Option<String>,
    pub(super) agent: Option<AgentId>,
    pub(super) roles: BTreeSet<String>,
    pub(super) inspects: Inspects,
    pub(super) teams: BTreeSet<String>,
}

/// One value that somebody to the right remembers of a person; `authn` does not know what it is. Reading it waits for nobody.
///
/// Who puts something in must be able to tell its own from others': there may be another policy after a reload.
pub(crate) struct Memory(ArcSwapOption<Held>);

/// Sized, as a swapped pointer needs it.
struct Held(Arc<dyn Any + Send + Sync>);

impl Person {
    pub(super) fn new(identity: Arc<Identity>) -> Self {
        Self { identity, memory: Memory(ArcSwapOption::empty()) }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What is remembered of this very person.
    pub(crate) const fn memory(&self) -> &Memory {
        &self.memory
    }
}

impl Memory {
    /// What was put last, where it is a `T`.
    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let held = Arc::clone(&self.0.load().as_ref()?.0);
        held.downcast().ok()
    }

    /// Puts something in the place of what was there. Of two at once the later one stays.
    pub(crate) fn put<T: Any + Send + Sync>(&self, value: Arc<T>) {
        self.0.store(Some(Arc::new(Held(value))));
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_holds_one_value_and_gives_it_as_what_it_is() {
        let memory = Memory(ArcSwapOption::empty());
        assert_eq!(memory.get::<u8>(), None);
        memory.put(Arc::new(7_u8));
        assert_eq!((memory.get::<u8>(), memory.get::<u16>()), (Some(Arc::new(7)), None));
        memory.put(Arc::new(8_u16));
        assert_eq!((memory.get::<u8>(), memory.get::<u16>()), (None, Some(Arc::new(8))));
    }
}
