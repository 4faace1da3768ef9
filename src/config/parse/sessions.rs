//! From what a person wrote about sessions to what the program uses; the rules of `parse` hold here too.

use std::path::PathBuf;

use super::Parser;
use crate::config::grammar;
use crate::config::raw;
use crate::config::sections::{Callback, KeepAlive, Redis, Sessions, SignIns, StateFile, Store};

/// How often a tenure is renewed before it ends.
const RENEWALS_IN_A_LEASE: u32 = 3;

impl Parser<'_> {
    pub(super) fn sessions(&mut self, raw: raw::Sessions) -> Option<Sessions> {
        let heartbeat = raw.keep_alive == KeepAlive::Heartbeat;
        let callback = match raw.callback {
            Some(callback) if heartbeat => Some(self.callback(callback)?),
            Some(_) => {
                self.warn(
                    "sessions.callback",
                    "not used: keep_alive is poll",
                    "set keep_alive: heartbeat, or remove it",
                );
                None
            }
            None if heartbeat && !self.is_dropped("sessions.callback") => {
                let next = "heartbeats are the gateway's push mode: give callback.uri and callback.service_token_file";
                self.fail("sessions.keep_alive", "heartbeat needs sessions.callback", next);
                None
            }
            None => None,
        };
        let store = self.store(raw.store, raw.state_file, raw.state_key_file);
        Some(Sessions {
            accounts_dir: self.file("sessions.accounts_dir", raw.accounts_dir),
            sign_in: raw.sign_in,
            keep_alive: raw.keep_alive,
            callback,
            keep_alive_interval: raw.keep_alive_interval.get(),
            idle_sign_out: raw.idle_sign_out.get(),
            lease_timeout: raw.lease_timeout.get(),
            waiters_max: raw.max_waiters as usize,
            agents_max: raw.max_agents as usize,
            store: store?,
            sign_ins: SignIns { at_once: raw.sign_ins.at_once as usize, per_second: raw.sign_ins.per_second },
            pass_through: raw.pass_through,
        })
    }

    fn callback(&mut self, raw: raw::Callback) -> Option<Callback> {
        let uri = self.required("sessions.callback.uri", raw.uri, "the address that the gateway sends events to");
        let uri = uri.filter(|uri| self.read("sessions.callback.uri", uri, grammar::callback).is_some());
        if uri.as_deref().is_some_and(|uri| uri.starts_with("http:")) {
            self.warn("sessions.callback.uri", "events come over plain HTTP, readable on the way", "prefer https");
        }
        let next = "name the file with the token that the gateway shows";
        let file = self.required("sessions.callback.service_token_file", raw.service_token_file, next);
        let file = file.map(|file| self.file("sessions.callback.service_token_file", file));
        Some(Callback { uri: uri?, service_token_file: file? })
    }

    fn store(&mut self, raw: raw::Store, file: Option<PathBuf>, key_file: Option<PathBuf>) -> Option<Store> {
        let (path, key_path) = ("sessions.state_file", "sessions.state_key_file");
        let named = file.is_some() || self.is_dropped(path);
        let file = file.map(|file| self.file(path, file));
        let key_file = key_file.map(|file| self.file(key_path, file));
        match raw {
            raw::Store::Redis(redis) => {
                if named {
                    let what = "given beside sessions.store redis, which keeps sessions over a crash itself";
                    self.fail(path, what, "remove it, or set store: memory");
                }
                self.redis(redis).map(Store::Redis)
            }
            raw::Store::Memory => match (file, key_file) {
                (Some(file), Some(key_file)) => Some(Store::Memory(Some(StateFile { file, key_file }))),
                (Some(_), None) => {
                    if !self.is_dropped(key_path) {
                        let next = "name a file with the key that seals it: openssl rand -base64 32";
                        self.fail(path, format!("needs {key_path}"), next);
                    }
                    None
                }
                (None, key_file) => {
                    if key_file.is_some() && !named {
                        self.warn(key_path, format!("not used: there is no {path}"), "");
                    }
                    Some(Store::Memory(None))
                }
            },
        }
    }

    fn redis(&mut self, raw: raw::Redis) -> Option<Redis> {
        let key = |name: &str| format!("sessions.store.redis.{name}");
        let next = "name the file with the server's URL, rediss://user:password@host:6379/0";
        let url_file = self.required(&key("url_file"), raw.url_file, next);
        let url_file = url_file.map(|file| self.file(&key("url_file"), file));
        let next = "name a file with a key, the same for all replicas: openssl rand -base64 32";
        let key_file = self.required(&key("key_file"), raw.key_file, next);
        let key_file = key_file.map(|file| self.file(&key("key_file"), file));
        let ca_file = raw.ca_file.map(|file| self.file(&key("ca_file"), file));
        let prefix = self.read(&key("prefix"), &raw.prefix, grammar::prefix);
        // A tenure is renewed every third of it: one call may fail, and the next must still come in time.
        let timely = raw.lease.get() >= raw.timeout.get().saturating_mul(RENEWALS_IN_A_LEASE);
        if !timely {
            let what = format!("{} is less than three times sessions.store.redis.timeout {}", raw.lease, raw.timeout);
            let next = format!("at least {}, or a shorter timeout", raw.timeout.times(RENEWALS_IN_A_LEASE));
            self.fail(&key("lease"), what, &next);
        }
        prefix.filter(|()| timely)?;
        Some(Redis {
            url_file: url_file?,
            key_file: key_file?,
            ca_file,
            prefix: raw.prefix,
            lease: raw.lease.get(),
            timeout: raw.timeout.get(),
        })
    }
}
