//! Lists of keys that verify checkpoints: one verifier key a line, empty lines and `#` comments between.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::tlog::{KeyError, VerifierKey, WitnessKey};

/// The log's own list, below its directory: the key in use first, then older ones.
pub const KEYS_FILE: &str = "audit.pub";

/// Longest list, in bytes: some thousand keys.
const KEYS_BYTES_MAX: u64 = 256 * 1_024;

/// Why there is no list of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file can't be read.
    #[error("{path} cannot be read", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A line is no key.
    #[error("{path}, line {line}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
}

/// Reads a list of at most 256 KiB.
///
/// # Errors
/// The file can't be read, or a line is no verifier key.
pub fn read_keys(path: &Path) -> Result<Vec<VerifierKey>, KeysError> {
    read(path)
}

/// Reads a list of witnesses' keys of at most 256 KiB.
///
/// # Errors
/// The file can't be read, or a line is no witness's key.
pub fn read_witness_keys(path: &Path) -> Result<Vec<WitnessKey>, KeysError> {
    read(path)
}

fn read<K: FromStr<Err = KeyError>>(path: &Path) -> Result<Vec<K>, KeysError> {
    let failed = |source| KeysError::Io { path: path.to_path_buf(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(KEYS_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    parse(&text).map_err(|(line, source)| KeysError::Line { path: path.to_path_buf(), line, source })
}

/// Reads a list.
///
/// # Errors
/// The number of the line that is no verifier key, from 1, and why.
pub fn parse_keys(text: &str) -> Result<Vec<VerifierKey>, (usize, KeyError)> {
    parse(text)
}

fn parse<K: FromStr<Err = KeyError>>(text: &str) -> Result<Vec<K>, (usize, KeyError)> {
    let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(number, line)| line.parse().map_err(|error| (number, error))).collect()
}
