//! Named conditions of readiness. It knows what is not ready and why; it decides nothing.
//!
//! Each part registers its condition before the listeners are bound and moves it between ready and not ready. The
//! process is ready when all conditions are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The conditions of one process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    conditions: Arc<Mutex<BTreeMap<&'static str, State>>>,
    registered: Arc<AtomicU64>,
}

/// A condition's state, and which registration speaks for it.
#[derive(Debug)]
struct State {
    registration: u64,
    reason: Option<String>,
}

impl Ready {
    /// No conditions yet: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition, not ready with the reason `starting`.
    ///
    /// A name that exists is taken over: what the older holder says from then on, its drop included, has no effect. So
    /// a part can be replaced while it runs, the new one registered before the old one ends.
    pub fn register(&self, name: &'static str) -> Condition {
        let registration = self.registered.fetch_add(1, Ordering::Relaxed);
        let state = State { registration, reason: Some("starting".to_owned()) };
        self.with(|conditions| conditions.insert(name, state));
        Condition { name, registration, ready: self.clone() }
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        self.with(|conditions| conditions.values().all(|state| state.reason.is_none()))
    }

    /// Each condition by name, with the reason where it does not hold.
    pub fn report(&self) -> Vec<(&'static str, Option<String>)> {
        self.with(|conditions| conditions.iter().map(|(name, state)| (*name, state.reason.clone())).collect())
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<&'static str, State>) -> T) -> T {
        // A panic while the lock is held leaves the map whole: each change is one insert or remove.
        f(&mut self.conditions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One condition. Dropping it takes it away, so a part that has ended can't keep the process from being ready.
pub struct Condition {
    name: &'static str,
    registration: u64,
    ready: Ready,
}

impl Condition {
    /// The condition holds.
    pub fn holds(&self) {
        self.set(None);
    }

    /// The condition does not hold, for a reason that an operator can act on. Never a secret: it is shown to anyone.
    pub fn wait_for(&self, reason: impl fmt::Display) {
        self.set(Some(reason.to_string()));
    }

    fn set(&self, reason: Option<String>) {
        self.ready.with(|conditions| {
            if let Some(state) = conditions.get_mut(self.name).filter(|state| state.registration == self.registration) {
                state.reason = reason;
            }
        });
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        self.ready.with(|conditions| {
            if conditions.get(self.name).is_some_and(|state| state.registration == self.registration) {
                conditions.remove(self.name);
            }
        });
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_all_conditions_hold() {
        let ready = Ready::new();
        assert!(ready.is_ready());
        let (keys, audit) = (ready.register("keys"), ready.register("audit"));
        keys.holds();
        assert!(!ready.is_ready());
        audit.holds();
        assert!(ready.is_ready());
        keys.wait_for("the key set is too old");
        assert_eq!(ready.report(), [("audit", None), ("keys", Some("the key set is too old".to_owned()))]);
        drop(keys);
        assert!(ready.is_ready());
    }

    #[test]
    fn a_part_that_was_replaced_says_nothing_any_more() {
        let ready = Ready::new();
        let old = ready.register("keys");
        let new = ready.register("keys");
        old.holds();
        drop(old);
        assert!(!ready.is_ready(), "the new one has no keys yet");
        new.holds();
        assert!(ready.is_ready());
    }
}
