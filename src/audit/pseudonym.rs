//! Pseudonyms: who and which recording, as texts that only the key leads back to. It never shows a key and writes nothing.
//!
//! `hmac:` and 32 hex digits of HMAC-SHA-256, which is 128 bits: as many as nobody can search through, and enough that two
//! names of one log never meet. Each kind of name has its own, so that a call id and a recording that is called after it
//! do not show that they belong together. The issuer goes into a subject's: `alice` of two issuers is two people.
//!
//! What is replaced: subject, recording reference and call id, in every record. What stays: agent ids (the gateway's own
//! numbers, which sessions and owners are known by), issuer, client, roles, peer address, purpose and ticket. The upstream's
//! message is left out, since it can name a recording; the record says so. A client id that is its token's subject too gets
//! the subject's pseudonym.

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;

/// Length of a key, in bytes.
const KEY_BYTES: usize = 32;
/// More keys than this are no rotation any more.
const KEYS_MAX: usize = 16;
/// Longest key file, in bytes: 16 lines take some 700.
const FILE_BYTES_MAX: u64 = 16 * 1_024;
/// What every pseudonym's input begins with, so that a key that serves elsewhere too gives nothing away here.
const CONTEXT: &[u8] = b"ccgate audit pseudonym v1";
/// Bytes of the code that a pseudonym shows.
const SHOWN_BYTES: usize = 16;

/// The keys of a pseudonym key file: the first makes pseudonyms, all are searched by. Clones share them; the memory is
/// overwritten when the last is gone. `Debug` shows how many there are.
#[derive(Clone)]
pub struct Pseudonyms(Arc<[hmac::Key]>);

/// Why a pseudonym key file can't be used. It never tells what stands in the file.
#[derive(Debug, thiserror::Error)]
pub enum PseudonymError {
    /// It can't be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line of it is no key.
    #[error("line {line} of the file {what}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
}

impl Pseudonyms {
    /// Reads a key file: 1 to 16 lines, each the base64 of 32 bytes; empty lines are passed over. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// [`PseudonymError`]: no regular file, more than 16 KiB, or a line that is no key.
    pub fn read(path: &Path) -> Result<Self, PseudonymError> {
        let unreadable = |source| PseudonymError::Unreadable { path: path.to_owned(), source };
        // Looked at before it is opened: opening a named pipe would wait for a writer for ever.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(unreadable(io::Error::other("not a regular file")));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(1_024));
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        if read.map_err(unreadable)? as u64 > FILE_BYTES_MAX {
            return Err(unreadable(io::Error::other("longer than 16 KiB")));
        }
        Self::parse(&bytes)
    }

    /// As [`Pseudonyms::read`], of a file's content.
    ///
    /// # Errors
    ///
    /// [`PseudonymError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PseudonymError> {
        let mut keys = Vec::new();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let malformed = |what| PseudonymError::Malformed { line: index + 1, what };
            let key = STANDARD.decode(line).map(Zeroizing::new).ok().filter(|key| key.len() == KEY_BYTES);
            let key = key.ok_or_else(|| malformed("is not the base64 of 32 bytes"))?;
            if keys.len() == KEYS_MAX {
                return Err(malformed("is more than the 16th key"));
            }
            keys.push(hmac::Key::new(hmac::HMAC_SHA256, &key));
        }
        if keys.is_empty() {
            return Err(PseudonymError::Malformed { line: 1, what: "holds no key, nor does any other" });
        }
        Ok(Self(keys.into()))
    }

    /// The pseudonym of an issuer's subject.
    pub fn subject(&self, issuer: &str, subject: &str) -> String {
        self.newest("subject", &[issuer, subject])
    }

    /// The pseudonym of a recording by its canonical reference.
    pub fn reference(&self, reference: &str) -> String {
        self.newest("reference", &[reference])
    }

    /// The pseudonym of a call id.
    pub fn call(&self, call_id: &str) -> String {
        self.newest("call", &[call_id])
    }

    /// All pseudonyms that an issuer's subject has had, the newest first: what to search for.
    pub fn subjects(&self, issuer: &str, subject: &str) -> Vec<String> {
        self.all("subject", &[issuer, subject])
    }

    /// All pseudonyms that a recording has had, the newest first.
    pub fn references(&self, reference: &str) -> Vec<String> {
        self.all("reference", &[reference])
    }

    /// All pseudonyms that a call id has had, the newest first.
    pub fn calls(&self, call_id: &str) -> Vec<String> {
        self.all("call", &[call_id])
    }

    /// There is a first key: none is made without.
    fn newest(&self, kind: &str, parts: &[&str]) -> String {
        self.0.first().map(|key| pseudonym(key, kind, parts)).unwrap_or_default()
    }

    fn all(&self, kind: &str, parts: &[&str]) -> Vec<String> {
        self.0.iter().map(|key| pseudonym(key, kind, parts)).collect()
    }
}

/// Each part stands behind its length, so that no two lists of parts are one input.
fn pseudonym(key: &hmac::Key, kind: &str, parts: &[&str]) -> String {
    let mut code = hmac::Context::with_key(key);
    for part in [CONTEXT, kind.as_bytes()].into_iter().chain(parts.iter().map(|part| part.as_bytes())) {
        code.update(&(part.len() as u64).to_be_bytes());
        code.update(part);
    }
    let mut text = String::with_capacity("hmac:".len() + 2 * SHOWN_BYTES);
    text.push_str("hmac:");
    for byte in code.sign().as_ref().iter().take(SHOWN_BYTES) {
        // Writing to a `String` can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pseudonyms({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(first: u8, more: &[u8]) -> Pseudonyms {
        let lines = std::iter::once(&first).chain(more).map(|byte| STANDARD.encode([*byte; KEY_BYTES]) + "\n");
        Pseudonyms::parse(lines.collect::<String>().as_bytes()).expect("keys")
    }

    #[test]
    fn a_pseudonym_is_this_text_in_every_version() {
        // HMAC-SHA-256 under 32 bytes 07 of each part behind its length in 8 bytes, by Python's hmac and hashlib.
        assert_eq!(keys(7, &[]).subject("https://idp.example", "alice"), "hmac:208b77790ea9a78d8a1ec38775f4cadf");
        assert_eq!(keys(7, &[]).reference("call:1621413752-2011"), "hmac:0ad10c05f71bf9bbc4a0784248d22063");
        assert_eq!(keys(7, &[]).call("1621413752-2011"), "hmac:3dbde82d7e7cb2f19c5554fc8fc953d5");
    }

    #[test]
    fn equal_names_of_two_kinds_issuers_or_keys_are_apart() {
        let pseudonyms = keys(1, &[]);
        let all = [
            pseudonyms.subject("https://a", "alice"),
            pseudonyms.subject("https://b", "alice"),
            pseudonyms.subject("https://aa", "lice"),
            pseudonyms.subject("", "https://aalice"),
            pseudonyms.reference("alice"),
            pseudonyms.call("alice"),
            keys(2, &[]).subject("https://a", "alice"),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(all[0], keys(1, &[]).subject("https://a", "alice"), "and each stays itself");
    }

    #[test]
    fn the_first_key_makes_and_all_are_searched_by() {
        let (old, rotated) = (keys(1, &[]), keys(2, &[1]));
        assert_ne!(rotated.subject("i", "alice"), old.subject("i", "alice"));
        assert_eq!(rotated.subjects("i", "alice"), [rotated.subject("i", "alice"), old.subject("i", "alice")]);
        assert_eq!(rotated.references("r"), [rotated.reference("r"), old.reference("r")]);
        assert_eq!(rotated.calls("c"), [rotated.call("c"), old.call("c")]);
    }

    #[test]
    fn a_file_without_keys_is_refused_by_line_and_nothing_is_shown() {
        let key = STANDARD.encode([9; KEY_BYTES]);
        let problem = |text: &str| Pseudonyms::parse(text.as_bytes()).expect_err("refused").to_string();
        assert_eq!(problem(""), "line 1 of the file holds no key, nor does any other");
        assert_eq!(problem(&format!("{key}\n\nplanted")), "line 3 of the file is not the base64 of 32 bytes");
        assert_eq!(problem(&STANDARD.encode([9; 31])), "line 1 of the file is not the base64 of 32 bytes");
        assert_eq!(problem(&format!("{key}\n").repeat(17)), "line 17 of the file is more than the 16th key");
        let good = Pseudonyms::parse(format!("\r\n {key} \r\n").as_bytes()).expect("a key");
        assert_eq!(format!("{good:?}"), "Pseudonyms(1)", "r17");
        let dir = tempfile::TempDir::new().expect("a directory");
        assert!(matches!(Pseudonyms::read(dir.path()), Err(PseudonymError::Unreadable { .. })));
        let file = dir.path().join("keys");
        fs::write(&file, &key).expect("written");
        assert!(Pseudonyms::read(&file).is_ok());
        fs::write(&file, vec![b'\n'; 17_000]).expect("written");
        assert!(matches!(Pseudonyms::read(&file), Err(PseudonymError::Unreadable { .. })));
    }
}
