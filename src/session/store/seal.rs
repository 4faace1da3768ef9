//! Seals what is kept of a session outside the process, and opens it again. It never keeps, prints or returns a key.
//!
//! A sealed entry is the text `v1.<key id>.<base64url(nonce || ciphertext || tag)>`: AES-256-GCM with a key of its own for
//! each agent and fence, derived by HKDF-SHA-256 (RFC 5869) from a key of the key file, and a random nonce. What is
//! authenticated beside it is the upstream, the agent, the fence and the key's id, so a record that was moved from one
//! agent, owner or deployment to another does not open.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, RandomizedNonceKey};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, Prk};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::zeroize::Zeroizing;

use super::{Entry, form};
use crate::cc::AgentId;

#[cfg(test)]
mod tests;

/// Length of a key, in bytes.
const KEY_BYTES: usize = 32;
/// Longest key file, in bytes: some hundred keys.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// Longest sealed text that is looked at, in bytes: several times the longest entry.
pub(super) const TEXT_BYTES_MAX: usize = 4 * 1024;
/// How many records that did not open are remembered as reported.
const TOLD_MAX: usize = 1_024;

/// The keys of a key file: the first seals, all open. `Debug` shows how many there are.
pub struct Keys(Vec<Key>);

struct Key {
    id: KeyId,
    prk: Prk,
}

/// Derived from the key; tells nothing of it.
#[derive(Clone, PartialEq, Eq)]
struct KeyId(String);

/// Why a key file can't be used. It names the file and the line, never what stands there.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It can't be read.
    #[error("the key file {} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds no key.
    #[error("the key file {} is empty; make a key with: openssl rand -base64 32", .0.display())]
    Empty(PathBuf),
    /// Nothing can be derived from a key.
    #[error("the first key of the key file cannot be used")]
    Unusable,
    /// A line is no key.
    #[error("{}:{line}: {what}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
}

impl Keys {
    /// Reads a key file: one key per line, each the base64 of 32 bytes. Empty lines are passed over. Blocks on the file
    /// system.
    ///
    /// A file that others than its owner can read is only reported: a Secret mount may leave no choice.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |source| KeyError::Unreadable { path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(unreadable)?;
        // Looked at before it is opened: opening a named pipe would wait for a writer for ever.
        if !metadata.is_file() {
            return Err(unreadable(io::Error::other("not a file")));
        }
        warn_if_open(path, &metadata);
        let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).min(32 * 1024)));
        File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)).map_err(unreadable)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(unreadable(io::Error::other("longer than 16 KiB")));
        }
        let mut keys = Vec::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if !line.is_empty() {
                let malformed = |what| KeyError::Malformed { path: path.to_owned(), line: index + 1, what };
                keys.push(Key::read(line).map_err(malformed)?);
            }
        }
        if keys.is_empty() { Err(KeyError::Empty(path.to_owned())) } else { Ok(Self(keys)) }
    }

    /// A key for the names of people and recordings, derived from the first one: what is counted under another first key is
    /// not found by it.
    ///
    /// # Errors
    /// The cryptography failed.
    pub(super) fn for_budgets(&self) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        let key = self.newest().ok_or(KeyError::Unusable)?;
        let okm = key.prk.expand(&[Key::BUDGETS_INFO], Length(KEY_BYTES));
        okm.and_then(|okm| okm.fill(bytes.as_mut_slice())).map_err(|_| KeyError::Unusable)?;
        Ok(bytes)
    }

    fn newest(&self) -> Option<&Key> {
        self.0.first()
    }

    fn find(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.id.0 == id)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

#[cfg(unix)]
fn warn_if_open(path: &Path, metadata: &fs::Metadata) {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "the key file can be read by others than its owner");
    }
}

#[cfg(not(unix))]
fn warn_if_open(_path: &Path, _metadata: &fs::Metadata) {}

impl Key {
    const ID_INFO: &[u8] = b"ccgate session key id";
    const BUDGETS_INFO: &[u8] = b"ccgate budgets v1";
    const ENTRY_INFO: &[u8] = b"ccgate session entry v1";
    const ID_BYTES: usize = 8;

    fn read(line: &[u8]) -> Result<Self, &'static str> {
        let bytes = STANDARD.decode(line).map(Zeroizing::new).map_err(|_| "not base64")?;
        if bytes.len() != KEY_BYTES {
            return Err("not a key of 32 bytes; make one with: openssl rand -base64 32");
        }
        Self::new(&bytes).map_err(|_| "the key cannot be used")
    }

    fn new(bytes: &[u8]) -> Result<Self, SealError> {
        let prk = hkdf::Salt::new(HKDF_SHA256, b"ccgate sessions").extract(bytes);
        let mut id = [0_u8; Self::ID_BYTES];
        prk.expand(&[Self::ID_INFO], Length(Self::ID_BYTES))
            .and_then(|okm| okm.fill(&mut id))
            .map_err(|_| SealError::Failed)?;
        Ok(Self { id: KeyId(URL_SAFE_NO_PAD.encode(id)), prk })
    }

    /// The key for one agent under one fence. The parts of `info` after the fixed words have fixed lengths.
    fn of(&self, agent: AgentId, fence: u64) -> Result<RandomizedNonceKey, SealError> {
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        let info = [Self::ENTRY_INFO, &agent.get().to_be_bytes(), &fence.to_be_bytes()];
        self.prk
            .expand(&info, Length(KEY_BYTES))
            .and_then(|okm| okm.fill(bytes.as_mut_slice()))
            .and_then(|()| RandomizedNonceKey::new(&AES_256_GCM, bytes.as_slice()))
            .map_err(|_| SealError::Failed)
    }
}

/// How much HKDF is to give, in bytes.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Why a record can't be sealed or opened. It tells nothing of its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum SealError {
    /// It has not the form of a sealed record of this version.
    #[error("it is no sealed record of a known version")]
    Malformed,
    /// It was sealed with a key that the key file does not hold.
    #[error("it is sealed with a key that is not in the key file")]
    UnknownKey,
    /// It was changed, or sealed for another agent, another owner or another upstream.
    #[error("it was changed, or sealed for another agent, fence or upstream")]
    Refused,
    /// It is genuine, but holds what this version does not know.
    #[error("it holds no entry of a known form")]
    UnknownForm,
    /// The cryptography failed, or the entry is out of bounds.
    #[error("it cannot be sealed")]
    Failed,
}

/// Seals and opens the entries of one upstream.
pub(super) struct Sealer {
    keys: Keys,
    /// The upstream's authority.
    context: String,
    /// Records that did not open and were reported, at most [`TOLD_MAX`].
    told: Mutex<BTreeSet<(AgentId, u64, SealError)>>,
}

impl Sealer {
    const VERSION: &str = "v1";

    pub(super) fn new(keys: Keys, context: &str) -> Self {
        Self { keys, context: context.to_owned(), told: Mutex::default() }
    }

    /// The sealed text of an entry.
    pub(super) fn seal(&self, agent: AgentId, fence: u64, entry: &Entry) -> Result<String, SealError> {
        let key = self.keys.newest().ok_or(SealError::Failed)?;
        let mut plain = form::write(entry).map_err(|_| SealError::Failed)?;
        // Encrypted in place; the tag needs room that was not moved to.
        plain.reserve(AES_256_GCM.tag_len());
        let aad = Aad::from(self.beside(agent, fence, &key.id));
        let nonce = key.of(agent, fence)?.seal_in_place_append_tag(aad, &mut *plain).map_err(|_| SealError::Failed)?;
        let mut whole = nonce.as_ref().to_vec();
        whole.extend_from_slice(&plain);
        Ok(format!("{}.{}.{}", Self::VERSION, key.id.0, URL_SAFE_NO_PAD.encode(whole)))
    }

    /// Opens what was sealed for this agent, fence and upstream.
    pub(super) fn open(&self, agent: AgentId, fence: u64, text: &str) -> Result<Entry, SealError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(SealError::Malformed);
        }
        let mut parts = text.split('.');
        let (Some(Self::VERSION), Some(id), Some(body), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SealError::Malformed);
        };
        let key = self.keys.find(id).ok_or(SealError::UnknownKey)?;
        let mut body = URL_SAFE_NO_PAD.decode(body).map(Zeroizing::new).map_err(|_| SealError::Malformed)?;
        let (nonce, sealed) = body.split_at_mut_checked(NONCE_LEN).ok_or(SealError::Malformed)?;
        let nonce = aws_lc_rs::aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Malformed)?;
        let aad = Aad::from(self.beside(agent, fence, &key.id));
        let plain = key.of(agent, fence)?.open_in_place(nonce, aad, sealed).map_err(|_| SealError::Refused)?;
        form::read(plain).map_err(|_| SealError::UnknownForm)
    }

    /// Opens a record, or reports once why it does not open.
    pub(super) fn open_or_report(&self, agent: AgentId, fence: u64, text: &str) -> Option<Entry> {
        match self.open(agent, fence, text) {
            Ok(entry) => Some(entry),
            Err(error) => {
                self.report(agent, fence, error);
                None
            }
        }
    }

    fn report(&self, agent: AgentId, fence: u64, error: SealError) {
        // A panic while the lock is held leaves the set whole.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        if told.insert((agent, fence, error)) {
            tracing::warn!(%agent, fence, %error, "a kept session is not used: its record does not open");
        }
    }

    /// What is authenticated beside the entry. Lengths first, so that no byte can move between the parts.
    fn beside(&self, agent: AgentId, fence: u64, id: &KeyId) -> Vec<u8> {
        let mut beside = Vec::with_capacity(64 + self.context.len());
        for part in [Self::VERSION.as_bytes(), self.context.as_bytes(), id.0.as_bytes()] {
            beside.extend_from_slice(&(part.len() as u64).to_be_bytes());
            beside.extend_from_slice(part);
        }
        beside.extend_from_slice(&agent.get().to_be_bytes());
        beside.extend_from_slice(&fence.to_be_bytes());
        beside
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}
