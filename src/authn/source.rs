//! Gets the text of an issuer's key set from where the configuration says. It never follows a redirect and never reads
//! more than a bound.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Uri;
use serde_json::Value;

use super::Algorithm;
use super::json;
use super::jwks::{KeySet, SET_BYTES_MAX, SetError};
use crate::net;

/// Longest discovery document.
const DISCOVERY_BYTES_MAX: usize = 64 * 1024;

/// Where an issuer's keys come from, ready to be asked.
pub(super) enum Source {
    File(PathBuf),
    Url {
        client: net::Client,
        url: Uri,
    },
    Discovery {
        client: net::Client,
        issuer: String,
    },
    #[cfg(test)]
    Scripted(std::sync::Arc<super::tests::Script>),
}

/// Why there is no (new) key set.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file can't be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key set, or the discovery document, did not come.
    #[error("cannot get the key set")]
    Get(#[source] net::Error),
    /// Not done in time.
    #[error("the key set did not come in time")]
    Timeout,
    /// The discovery document can't be used.
    #[error("the discovery document cannot be used")]
    Discovery(#[source] DiscoveryFault),
    /// The key set can't be used.
    #[error("the key set cannot be used")]
    Set(#[source] SetError),
}

/// What is wrong with a discovery document (OpenID Connect Discovery 1.0 sections 3 and 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryFault {
    /// Not a JSON object, or a name stands twice.
    #[error("not a JSON object without repeated names")]
    Malformed,
    /// It speaks for somebody else.
    #[error("its issuer is not exactly the configured one")]
    Issuer,
    /// No `jwks_uri`, or one that is neither https nor http on this machine.
    #[error("its jwks_uri is missing, or neither https nor http on this machine")]
    Address,
}

impl KeysError {
    /// The class of the cause, for the readiness page: no path, no address.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::Read { .. } => "the key file cannot be read",
            Self::Get(_) => "the key set cannot be fetched",
            Self::Timeout => "the key set did not come in time",
            Self::Discovery(_) => "the discovery document cannot be used",
            Self::Set(_) => "the key set cannot be used",
        }
    }
}

impl Source {
    /// Whether this is a file, which is read when the configuration is.
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// The text of the key set. Cancel safe: nothing is kept between calls.
    pub(super) async fn fetch(&self) -> Result<Bytes, KeysError> {
        match self {
            Self::File(path) => {
                let owned = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&owned)).await;
                read.unwrap_or_else(|panic| Err(KeysError::Read { path: path.clone(), source: panic.into() }))
            }
            Self::Url { client, url } => client.get(url, SET_BYTES_MAX).await.map_err(KeysError::Get),
            Self::Discovery { client, issuer } => {
                let address = discovery_address(issuer).ok_or(KeysError::Discovery(DiscoveryFault::Address))?;
                let document = client.get(&address, DISCOVERY_BYTES_MAX).await.map_err(KeysError::Get)?;
                let url = jwks_uri(issuer, &document).map_err(KeysError::Discovery)?;
                client.get(&url, SET_BYTES_MAX).await.map_err(KeysError::Get)
            }
            #[cfg(test)]
            Self::Scripted(script) => script.fetch().await,
        }
    }
}

/// Reads a key file; one that is longer than any set is cut one byte past the bound, and refused by whoever reads it.
pub(super) fn read_file(path: &Path) -> Result<Bytes, KeysError> {
    let read = || {
        let mut text = Vec::new();
        let limit = u64::try_from(SET_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        std::fs::File::open(path)?.take(limit).read_to_end(&mut text)?;
        Ok(Bytes::from(text))
    };
    read().map_err(|source| KeysError::Read { path: path.to_owned(), source })
}

/// Reads a key file as the authenticator will and tells how many of its keys are left out; for `ccgate check`. Blocks on
/// the file system.
///
/// # Errors
/// The file can't be read, or the set in it can't be used at all.
pub fn check_key_file(path: &Path, accepted: &[Algorithm]) -> Result<usize, KeysError> {
    let set = KeySet::read(&read_file(path)?, accepted).map_err(KeysError::Set)?;
    Ok(set.left_out)
}

/// Whether keys may come from there: `https`, or `http` on loopback; no user name or password in it.
pub(super) fn check_url(url: &Uri) -> bool {
    let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else { return false };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback());
    let plain = !host.is_empty() && !authority.as_str().contains('@');
    plain && (scheme == "https" || (scheme == "http" && loopback))
}

/// Section 4.1: a slash at the end of the issuer goes before the well-known path is added.
fn discovery_address(issuer: &str) -> Option<Uri> {
    format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer)).parse().ok()
}

fn jwks_uri(issuer: &str, document: &[u8]) -> Result<Uri, DiscoveryFault> {
    let document = json::object(document).map_err(|_| DiscoveryFault::Malformed)?;
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(DiscoveryFault::Issuer);
    }
    let address = document.get("jwks_uri").and_then(Value::as_str).and_then(|text| text.parse().ok());
    address.filter(check_url).ok_or(DiscoveryFault::Address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://idp.example/realms/a";

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for good in [
            "https://idp.example/jwks",
            "https://10.1.2.3:8443/",
            "http://127.0.0.1:1/",
            "http://[::1]:1/x",
            "http://localhost/",
        ] {
            assert!(check_url(&good.parse().expect("a URI")), "{good}");
        }
        for bad in [
            "http://idp.example/",
            "http://10.1.2.3/",
            "/jwks",
            "ftp://idp.example/",
            "https://u:p@idp.example/",
            "http://127.0.0.1.evil.example/",
            "http://localhost@evil.example/",
            "evil.example:443",
        ] {
            assert!(!check_url(&bad.parse().expect("a URI")), "{bad}");
        }
    }

    #[test]
    fn the_well_known_path_follows_the_issuers() {
        for issuer in [ISSUER.to_owned(), format!("{ISSUER}/")] {
            let address = discovery_address(&issuer).expect("an address").to_string();
            assert_eq!(address, "https://idp.example/realms/a/.well-known/openid-configuration");
        }
    }

    #[test]
    fn r03_a_discovery_document_speaks_for_its_own_issuer_only() {
        let read = |text: &str| jwks_uri(ISSUER, text.as_bytes()).map(|url| url.to_string());
        let document = |issuer: &str, url: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"{url}","x":[1]}}"#);
        assert_eq!(read(&document(ISSUER, "https://keys.example/a")).as_deref(), Ok("https://keys.example/a"));
        for other in
            ["https://idp.example/realms/b", "https://idp.example/realms/a/", "HTTPS://idp.example/realms/a", ""]
        {
            assert_eq!(read(&document(other, "https://keys.example/a")), Err(DiscoveryFault::Issuer), "{other}");
        }
        for url in ["http://keys.example/a", "", "/jwks", "https://u@keys.example/"] {
            assert_eq!(read(&document(ISSUER, url)), Err(DiscoveryFault::Address), "{url}");
        }
        assert_eq!(read(r#"{"jwks_uri":"https://keys.example/a"}"#), Err(DiscoveryFault::Issuer));
        assert_eq!(read("<html>"), Err(DiscoveryFault::Malformed));
        let twice = format!(r#"{{"issuer":"https://evil","issuer":"{ISSUER}","jwks_uri":"https://keys.example/a"}}"#);
        assert_eq!(read(&twice), Err(DiscoveryFault::Malformed));
    }

    #[test]
    fn a_file_is_read_to_one_byte_past_the_bound() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), vec![b' '; 2 * SET_BYTES_MAX]).expect("written");
        assert_eq!(read_file(file.path()).expect("read").len(), SET_BYTES_MAX + 1);
        assert!(matches!(read_file(Path::new("/nonexistent/jwks")), Err(KeysError::Read { .. })));
    }
}
