//! Accounts of agents: one file each, `<agentid>.yaml`, read when it is needed. It never prints what a file holds.
//!
//! A Secret mount works as it is: links are followed, and what starts with a dot (`..data`) is no account.
//!
//! ```yaml
//! password_file: 1001.password   # relative to this file; or: password, the text itself, where "" is an empty password
//! phone_number: "88001001"       # needed for the full sign-in
//! takeover: false                # true: throw out whoever is signed in as this agent
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::SignIn;
use crate::cc::AgentId;

mod check;
#[cfg(test)]
mod tests;

pub use check::{Problem, Severity, check};

/// Longest password, in characters (cc-gateway manual, agent sign-in, `password`).
pub const PASSWORD_CHARS_MAX: usize = 32;
/// Longest phone number, in characters (cc-gateway manual, agent sign-in, `phonenum`).
pub const PHONE_NUMBER_CHARS_MAX: usize = 24;
/// Longest file that is read, in bytes: a hundred times what an account needs.
pub const FILE_BYTES_MAX: u64 = 16 * 1024;

/// What an agent signs in with.
#[derive(Debug)]
pub struct Account {
    /// The password; at most [`PASSWORD_CHARS_MAX`] characters.
    pub password: SecretString,
    /// The phone number; there for a full sign-in.
    pub phone_number: Option<String>,
    pub(super) takeover: bool,
    pub(super) fingerprint: Fingerprint,
}

/// Tells whether an account's files have changed. It leaves the process sealed only: a password could be searched for by
/// it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// For sealing.
    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From what was sealed.
    pub(super) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    #[cfg(test)]
    pub(super) fn of(contents: &[u8]) -> Self {
        Self(*blake3::hash(contents).as_bytes())
    }

    /// Length first, so that no byte can move from one file to the other unseen.
    fn of_both(account: &str, password_file: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&account.len().to_le_bytes());
        hasher.update(account.as_bytes());
        hasher.update(password_file.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint(REDACTED)")
    }
}

/// Why an account can't be used. It names files and lines, never what stands there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such account file.
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
    /// A file can't be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not an account.
    #[error("{}{}: {what}", .path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1, where it is known.
        line: Option<u64>,
        /// What is wrong.
        what: &'static str,
    },
}

/// Where an agent's account stands.
pub(super) fn path_of(dir: &Path, agent: AgentId) -> PathBuf {
    dir.join(format!("{agent}.yaml"))
}

/// Reads an agent's account. Blocks on the file system.
pub fn read(dir: &Path, agent: AgentId, sign_in: SignIn) -> Result<Account, Error> {
    let path = path_of(dir, agent);
    if matches!(fs::metadata(&path), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        // Without its folder every account would be missing: then nothing is known about this one.
        return Err(match fs::metadata(dir) {
            Ok(_) => Error::Missing(path),
            Err(source) => Error::Unreadable { path: dir.to_owned(), source },
        });
    }
    read_file(&path, sign_in)
}

/// What a person writes. `SecretString` wipes its text when it is dropped.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    password: Option<SecretString>,
    password_file: Option<PathBuf>,
    phone_number: Option<String>,
    #[serde(default)]
    takeover: bool,
}

fn read_file(path: &Path, sign_in: SignIn) -> Result<Account, Error> {
    let malformed = |line, what| Error::Malformed { path: path.to_owned(), line, what };
    let text = read_text(path)?;
    // The parser's own message is dropped: of a value of the wrong type it would quote the value.
    let raw: Raw = crate::yaml::from_str(text.expose_secret()).map_err(|error| {
        malformed(error.line, "not an account; its keys are password or password_file, phone_number and takeover")
    })?;
    let phone_number_fits = |number: &str| {
        (1..=PHONE_NUMBER_CHARS_MAX).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit() || b == b'+')
    };
    if raw.phone_number.as_deref().is_some_and(|number| !phone_number_fits(number)) {
        return Err(malformed(None, "phone_number: 1 to 24 digits or plus signs"));
    }
    if sign_in == SignIn::Full && raw.phone_number.is_none() {
        return Err(malformed(None, "phone_number is missing; sessions.sign_in: full needs it"));
    }
    let (password, fingerprint) = match (raw.password, raw.password_file) {
        (Some(password), None) => {
            require_password(path, &password)?;
            (password, Fingerprint::of_both(text.expose_secret(), ""))
        }
        (None, Some(file)) => {
            let (password, contents) = read_password(&path.parent().unwrap_or(Path::new("")).join(file))?;
            (password, Fingerprint::of_both(text.expose_secret(), contents.expose_secret()))
        }
        (Some(_), Some(_)) => return Err(malformed(None, "password and password_file exclude each other")),
        (None, None) => {
            return Err(malformed(None, "password or password_file is missing; an empty password is written \"\""));
        }
    };
    Ok(Account { password, phone_number: raw.phone_number, takeover: raw.takeover, fingerprint })
}

/// The file that an account names for its password, where it can be told.
fn password_file_of(path: &Path) -> Option<PathBuf> {
    let text = read_text(path).ok()?;
    let raw: Raw = crate::yaml::from_str(text.expose_secret()).ok()?;
    Some(path.parent()?.join(raw.password_file?))
}

/// The password, and the file's whole text.
fn read_password(path: &Path) -> Result<(SecretString, SecretString), Error> {
    let contents = read_text(path)?;
    let text = contents.expose_secret();
    // Editors and `echo` end a file with one line break, which is no part of the password.
    let cut = text.strip_suffix('\n').map_or(text, |cut| cut.strip_suffix('\r').unwrap_or(cut));
    if cut.is_empty() {
        let what = "the file is empty; an empty password is written as `password: \"\"` in the account file";
        return Err(Error::Malformed { path: path.to_owned(), line: None, what });
    }
    let password = SecretString::from(cut);
    require_password(path, &password)?;
    Ok((password, contents))
}

fn require_password(path: &Path, password: &SecretString) -> Result<(), Error> {
    let text = password.expose_secret();
    let what = if text.chars().count() > PASSWORD_CHARS_MAX {
        "the password is longer than 32 characters"
    } else if text.chars().any(char::is_control) {
        "the password holds a control character or a line break"
    } else {
        return Ok(());
    };
    Err(Error::Malformed { path: path.to_owned(), line: None, what })
}

fn read_text(path: &Path) -> Result<SecretString, Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let malformed = |what| Error::Malformed { path: path.to_owned(), line: None, what };
    // Looked at before it is opened: opening a named pipe would wait for a writer for ever.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(malformed("not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(malformed("longer than 16 KiB"));
    }
    String::from_utf8(bytes).map(SecretString::from).map_err(|_| malformed("not UTF-8"))
}
