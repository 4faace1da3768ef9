//! A configuration that takes another's place: where it is read from again, which files belong to it, what they hold, and
//! which changes wait for a start. It changes nothing, and nothing it tells holds a secret.

mod change;
mod contents;
mod named;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use change::{START_ONLY, StartOnly};
pub use contents::{Contents, Salt};
pub use named::Named;
pub(super) use named::resolve;

use super::overrides::Overrides;
use super::problem::Errors;
use super::{Loaded, load_text, read};

/// Where a configuration comes from: the file, and what is laid over it. The latter stays as it was at the start.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) path: PathBuf,
    pub(super) overrides: Overrides,
}

impl Source {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file once more. Blocks on the file system.
    ///
    /// # Errors
    /// As [`load`](super::load), with the SHA-256 of what the file held, in hex; empty where it could not be read.
    pub fn read(&self) -> Result<Loaded, (Errors, String)> {
        let text = read(&self.path).map_err(|problem| (Errors::one(&self.path, problem), String::new()))?;
        load_text(&text, self.clone()).map_err(|errors| (errors, super::hash(text.as_bytes())))
    }
}

impl Loaded {
    /// Where it comes from.
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Every key with its value, defaults included. A value that could hold a secret is not shown; names of files are.
    pub fn effective(&self) -> serde_json::Value {
        let mut shown = self.written.clone();
        conceal(&mut shown);
        shown
    }
}

/// Takes out what looks like a secret: user info or a query in a URL, a token, a key.
fn conceal(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) if super::problem::looks_secret(text) => "(not shown)".clone_into(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(conceal),
        serde_json::Value::Object(keys) => keys.values_mut().for_each(conceal),
        _ => {}
    }
}
