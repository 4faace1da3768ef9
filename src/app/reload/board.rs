//! The configuration as operators see it, and the one that was refused last. No secret stands in it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::admin::{ConfigShown, RefusalShown};
use crate::config::{Contents, Loaded};

/// What `GET /config` answers.
pub(in crate::app) struct Board {
    current: ArcSwap<ConfigShown>,
    /// What the files held at the start.
    at_start: Contents,
}

impl Board {
    /// Of the first configuration.
    pub(in crate::app) fn new(loaded: &Loaded, contents: Contents, since: Timestamp) -> Self {
        let first = shown(loaded, contents.hash(), 1, since, Vec::new());
        Self { current: ArcSwap::from_pointee(first), at_start: contents }
    }

    pub(in crate::app) fn get(&self) -> ConfigShown {
        ConfigShown::clone(&self.current.load())
    }

    pub(super) const fn at_start(&self) -> &Contents {
        &self.at_start
    }

    pub(super) fn in_force(&self, shown: ConfigShown) {
        self.current.store(Arc::new(shown));
    }

    /// Only the reloader writes, one at a time.
    pub(super) fn refused(&self, hash: &str, at: Timestamp, reason: &str) {
        let refused = RefusalShown { at, hash: hash.to_owned(), reason: reason.to_owned() };
        self.current.store(Arc::new(ConfigShown { refused: Some(refused), ..self.get() }));
    }
}

/// What is told of a configuration; `at_next_start`: keys whose files wait for a start.
pub(super) fn shown(
    loaded: &Loaded,
    hash: &str,
    generation: u64,
    since: Timestamp,
    at_next_start: Vec<String>,
) -> ConfigShown {
    let config = loaded.effective();
    ConfigShown { generation, hash: hash.to_owned(), since, at_next_start, refused: None, config }
}
