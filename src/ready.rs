//! Named conditions of readiness. It knows what is not ready and why; it decides nothing.
//!
//! Each part registers its condition before the listeners are bound and moves it between ready and not ready. The
//! process is ready when all conditions are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The conditions of one process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    conditions: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

impl Ready {
    /// No conditions yet: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition, not ready with the reason `starting`. A name that exists is taken over.
    pub fn register(&self, name: &'static str) -> Condition {
        let condition = Condition { name, ready: self.clone() };
        condition.wait_for("starting");
        condition
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        self.with(|conditions| conditions.values().all(Option::is_none))
    }

    /// Each condition by name, with the reason where it does not hold.
    pub fn report(&self) -> Vec<(&'static str, Option<String>)> {
        self.with(|conditions| conditions.iter().map(|(name, reason)| (*name, reason.clone())).collect())
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<&'static str, Option<String>>) -> T) -> T {
        // A panic while the lock is held leaves the map whole: each change is one insert or remove.
        f(&mut self.conditions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One condition. Dropping it takes it away, so a part that has ended can't keep the process from being ready.
pub struct Condition {
    name: &'static str,
    ready: Ready,
}

impl Condition {
    /// The condition holds.
    pub fn holds(&self) {
        self.ready.with(|conditions| conditions.insert(self.name, None));
    }

    /// The condition does not hold, for a reason that an operator can act on. Never a secret: it is shown to anyone.
    pub fn wait_for(&self, reason: impl fmt::Display) {
        self.ready.with(|conditions| conditions.insert(self.name, Some(reason.to_string())));
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        self.ready.with(|conditions| conditions.remove(self.name));
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
}
