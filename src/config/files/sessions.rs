//! The files that sessions need: accounts, the service token, a store's URL and keys. Nothing of what they hold is told.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Check, SecretError, Shown, read_secret};
use crate::config::sections::{Redis, Sessions, StateFile, Store};
use crate::session::accounts;

/// Length of a sealing key, in bytes: AES-256.
const KEY_BYTES: usize = 32;
/// More keys than this are no rotation any more.
const KEYS_MAX: usize = 16;

impl Check {
    pub(super) fn sessions(&mut self, sessions: &Sessions) {
        let path = "sessions.accounts_dir";
        if self.folder(path, &sessions.accounts_dir) {
            for problem in accounts::check(&sessions.accounts_dir, sessions.sign_in.into()) {
                let what = format!("{}: {}", problem.path.display(), problem.what);
                match problem.severity {
                    accounts::Severity::Error => self.fail(path, what, ""),
                    accounts::Severity::Warning => self.warn(path, what, ""),
                }
            }
        }
        if let Some(callback) = &sessions.callback {
            let next = "put the bare token there, on one line";
            self.secret("sessions.callback.service_token_file", &callback.service_token_file, next);
        }
        match &sessions.store {
            Store::Memory(None) => {}
            Store::Memory(Some(state)) => self.state_file(state),
            Store::Redis(redis) => self.redis(redis),
        }
    }

    /// The file itself is made at the first start; what it holds is read then.
    fn state_file(&mut self, state: &StateFile) {
        let path = "sessions.state_file";
        let folder = state.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        self.written(path, folder.unwrap_or(Path::new(".")));
        if std::fs::metadata(&state.file).is_ok_and(|found| !found.is_file()) {
            self.fail(path, format!("{} is no regular file", state.file.display()), "");
        }
        self.sealing_keys("sessions.state_key_file", &state.key_file);
    }

    fn redis(&mut self, redis: &Redis) {
        let key = |name: &str| format!("sessions.store.redis.{name}");
        let path = key("url_file");
        let next = "put the bare URL there, on one line: rediss://user:password@host:6379/0";
        if let Some(url) = self.secret(&path, &redis.url_file, next) {
            match is_tls(url.expose_secret()) {
                None => self.fail(&path, "the file holds no rediss:// or redis:// URL with a host", next),
                Some(false) if redis.ca_file.is_some() => {
                    let what = "not used: the URL is redis://, which is without TLS";
                    self.fail(&key("ca_file"), what, "make the URL rediss://, or remove ca_file");
                }
                Some(_) => {}
            }
        }
        self.sealing_keys(&key("key_file"), &redis.key_file);
        self.trusted(&key("ca_file"), redis.ca_file.as_deref());
    }

    /// A file with the keys that seal sessions.
    fn sealing_keys(&mut self, path: &str, file: &Path) {
        let Some(bytes) = self.bytes(path, file, Shown::Nothing) else { return };
        if let Err((line, what)) = sealing_keys(&bytes) {
            let next = "make a key with `openssl rand -base64 32`; one a line, the first seals, all open";
            self.fail(path, format!("line {line} of the file {what}"), next);
        }
        self.private(path, file);
    }

    pub(super) fn secret(&mut self, path: &str, file: &Path, next: &str) -> Option<SecretString> {
        self.bytes(path, file, Shown::Nothing)?;
        let read = read_secret(file);
        if let Err(SecretError::Malformed(what)) = &read {
            self.fail(path, format!("the file's content cannot be used: {what}"), next);
        }
        self.private(path, file);
        read.ok()
    }
}

/// Whether a store's URL asks for TLS; `None`: it is no such URL.
fn is_tls(url: &str) -> Option<bool> {
    host(url).map(|(tls, _host)| tls)
}

/// Whether a store's URL asks for TLS, and its `host[:port]`.
fn host(url: &str) -> Option<(bool, &str)> {
    let (tls, rest) = match (url.strip_prefix("rediss://"), url.strip_prefix("redis://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_user, host)| host);
    let named = !host.is_empty() && !host.starts_with(':') && !url.contains(char::is_whitespace);
    named.then_some((tls, host))
}

/// How many keys a file holds: one a line, base64 of 32 bytes; empty lines do not count. An error names its line.
fn sealing_keys(bytes: &[u8]) -> Result<usize, (usize, &'static str)> {
    let text = std::str::from_utf8(bytes).map_err(|_| (1, "is not text"))?;
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let mut count = 0;
    for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
        if !STANDARD.decode(line).is_ok_and(|key| key.len() == KEY_BYTES) {
            return Err((number, "is not the base64 of 32 bytes"));
        }
        count += 1;
        if count > KEYS_MAX {
            return Err((number, "is more than the 16th key"));
        }
    }
    if count == 0 { Err((1, "holds no key, nor does any other")) } else { Ok(count) }
}
