//! How the shared store is reached: the files that say so, and what can be wrong with them. It never shows the URL.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::redis::{Client, TlsCertificates};
use secrecy::{ExposeSecret, SecretString};

use super::link::Fault;
use crate::session::store::seal::KeyError;

/// Longest URL that is read, in bytes.
const URL_BYTES_MAX: u64 = 4 * 1024;
/// Longest CA file that is read, in bytes.
const CA_BYTES_MAX: u64 = 1024 * 1024;
/// Longest prefix.
const PREFIX_CHARS_MAX: usize = 64;

/// How to reach the server, and by which rules.
#[derive(Debug, Clone)]
pub struct Config {
    /// Holds the URL, which is a secret: `redis://user:password@host:port/db`, or `rediss://` for TLS.
    pub url_file: PathBuf,
    /// Holds the keys that seal the entries.
    pub key_file: PathBuf,
    /// The CA certificates (PEM) that are trusted with `rediss://`; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// What all keys and the channel begin with: letters, digits, `-`, `_`, `.` and `:`, at most 64.
    pub prefix: String,
    /// How long an owner that is heard no more stays one; from 1 s.
    pub lease: Duration,
    /// How long each call may take.
    pub timeout: Duration,
    /// Sign-ins that all replicas may begin together in a second.
    pub sign_ins_per_second: u32,
}

/// Why the store can't be used. It names files and upstreams, never the URL.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file can't be read.
    #[error("the file {} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("the file {}: {what}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The key file can't be used.
    #[error("the sessions cannot be sealed")]
    Keys(#[from] KeyError),
    /// The prefix has other characters, or too many.
    #[error("the prefix must be 1 to 64 letters, digits, '-', '_', '.' or ':'")]
    Prefix,
    /// The server did not do what a start needs in time.
    #[error("the session store cannot be used: {}", .0.why())]
    Unavailable(#[source] Fault),
    /// Another deployment uses the prefix.
    #[error("the prefix is used for the upstream {theirs:?}, not {ours:?}: give each deployment a prefix of its own")]
    Foreign {
        /// The upstream of this process.
        ours: String,
        /// The other one.
        theirs: String,
    },
}

impl Config {
    /// A client that has connected to nothing yet. Blocks on the file system.
    pub(super) fn client(&self) -> Result<Client, ConnectError> {
        require_prefix(&self.prefix)?;
        open(&self.url_file, self.ca_file.as_deref())
    }
}

/// A client for the URL in a file. Blocks on the file system.
fn open(url_file: &Path, ca_file: Option<&Path>) -> Result<Client, ConnectError> {
    let bad = |path: &Path, what| ConnectError::Malformed { path: path.to_owned(), what };
    let url = String::from_utf8(read(url_file, URL_BYTES_MAX)?).map_err(|_| bad(url_file, "it is not UTF-8"))?;
    let url = SecretString::from(url);
    let url = url.expose_secret().trim();
    require_plain(url).map_err(|what| bad(url_file, what))?;
    // The parser's own message is dropped: it could quote the URL.
    let unknown = |_| bad(url_file, "it holds no URL of the form redis://user:password@host:port/db, or rediss://");
    match ca_file {
        None => Client::open(url).map_err(unknown),
        Some(_) if !url.starts_with("rediss://") => {
            Err(bad(url_file, "with ca_file the URL must begin with rediss://"))
        }
        Some(ca_file) => {
            let root_cert = read(ca_file, CA_BYTES_MAX)?;
            if !root_cert.windows(11).any(|part| part == b"-----BEGIN ") {
                return Err(bad(ca_file, "it holds no certificate in PEM"));
            }
            Client::open(url).map_err(unknown)?;
            Client::build_with_tls(url, TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
                .map_err(|_| bad(ca_file, "it holds no usable certificate"))
        }
    }
}

/// One server, by TCP, with the certificate checked.
fn require_plain(url: &str) -> Result<(), &'static str> {
    if url.is_empty() {
        return Err("it is empty");
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err("it holds no URL of the form redis://user:password@host:port/db, or rediss://");
    };
    if scheme.contains("sentinel") || scheme.contains("cluster") || rest.contains(',') {
        return Err("Sentinel and Cluster URLs are not supported; give the address of the primary");
    }
    if !matches!(scheme, "redis" | "rediss") {
        return Err("the URL must begin with redis:// or rediss://");
    }
    if rest.contains('#') || rest.contains('?') {
        return Err("the URL must have no options (? or #); in a password they are written %3F and %23");
    }
    Ok(())
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ConnectError> {
    let unreadable = |source| ConnectError::Unreadable { path: path.to_owned(), source };
    // Looked at before it is opened: opening a named pipe would wait for a writer for ever.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(ConnectError::Malformed { path: path.to_owned(), what: "it is not a file" });
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(ConnectError::Malformed { path: path.to_owned(), what: "it is too long" });
    }
    Ok(bytes)
}

fn require_prefix(prefix: &str) -> Result<(), ConnectError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let fits = (1..=PREFIX_CHARS_MAX).contains(&prefix.len()) && prefix.bytes().all(known);
    if fits { Ok(()) } else { Err(ConnectError::Prefix) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_or_refused_without_being_shown() {
        let refused = |url: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("url");
            fs::write(&file, url).expect("written");
            open(&file, None).err().map(|error| {
                let text = format!("{error} {error:?}");
                assert!(!text.contains("planted"), "{text}");
                error.to_string()
            })
        };
        for good in ["redis://h", "redis://user:planted@h:1/3\n", "rediss://:planted@h", "redis://u:%23%3F@h"] {
            assert_eq!(refused(good), None, "{good}");
        }
        for (bad, why) in [
            ("", "empty"),
            ("planted", "no URL"),
            ("http://u:planted@h", "must begin with"),
            ("unix:///planted", "must begin with"),
            ("redis+sentinel://u:planted@h", "not supported"),
            ("redis://u:planted@h:1,g:2", "not supported"),
            ("rediss://u:planted@h/#insecure", "no options"),
            ("redis://u:planted@h/?protocol=resp3", "no options"),
            ("redis://u:planted@h/x", "no URL"),
            ("redis://u:planted@h:99999", "no URL"),
        ] {
            let text = refused(bad).expect("refused");
            assert!(text.contains(why), "{bad}: {text}");
        }
    }

    #[test]
    fn a_prefix_is_short_and_has_no_braces_or_spaces() {
        for good in ["ccgate", "a", "site-1:cc_gate.x"] {
            assert!(require_prefix(good).is_ok(), "{good}");
        }
        for bad in ["", "{a}", "a b", "a\n", "é", &"a".repeat(65)] {
            assert!(require_prefix(bad).is_err(), "{bad}");
        }
    }
}
