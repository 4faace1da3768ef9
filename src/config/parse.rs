//! From what a person wrote to what the program uses: each value parsed, each rule that spans keys checked, all problems
//! collected. It opens no file that the configuration names.

mod budgets;
mod sessions;
mod ship;
mod telemetry;
mod upstream;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use http::Uri;
use http::uri::Scheme;
use ipnet::IpNet;

use super::grammar;
use super::problem::{Problem, shown};
use super::raw::{self, Raw};
use super::reload::resolve;
use super::sections::{Admin, Audit, Config, Drain, Log, Reload, Server};
use super::tree::Node;
use super::units::Duration;
use crate::authn::{self, Claims, IssuerConfig, KeySource};
use crate::net::ServerTls;
use crate::policy;

/// Reads a fitting [`Raw`]. `folder` is where relative names of files start that stand in the file.
pub(super) struct Parser<'a> {
    pub(super) tree: &'a Node,
    pub(super) dropped: &'a BTreeSet<String>,
    pub(super) folder: &'a Path,
    pub(super) problems: Vec<Problem>,
}

impl Parser<'_> {
    /// The configuration; `None` where something that it needs is missing, which is then among the problems or was dropped.
    pub(super) fn config(&mut self, raw: Raw) -> Option<Config> {
        self.required("version", raw.version, "write `version: 1`");
        let entries_max = raw.server.max_downloads as usize;
        let (server, admin) = (self.server(raw.server), self.admin(raw.admin));
        if let (Some(server), Some(admin)) = (&server, &admin) {
            self.apart(server.listen, admin.listen);
        }
        let (upstream, auth) = (self.upstream(raw.upstream), self.auth(raw.auth));
        if let (Some(server), Some(auth)) = (&server, &auth) {
            self.bound_tokens(server, auth);
        }
        let (sessions, policy) = (self.sessions(raw.sessions), self.policy(raw.policy));
        let budgets = self.budgets(raw.budgets);
        let audit = self.audit(raw.audit, entries_max);
        if let (Some(budgets), Some(audit)) = (&budgets, &audit) {
            self.remembered(budgets, audit);
        }
        let otlp = raw.telemetry.otlp.and_then(|otlp| self.otlp(otlp));
        Some(Config {
            server: server?,
            admin: admin?,
            upstream: upstream?,
            auth: auth?,
            sessions: sessions?,
            policy,
            budgets: budgets?,
            audit: audit?,
            log: Log { level: raw.log.level, format: raw.log.format },
            reload: self.reload(raw.reload),
            otlp,
        })
    }

    /// Looking costs a read of every file: not in a busy loop.
    fn reload(&mut self, raw: raw::Reload) -> Reload {
        const INTERVAL_MIN: Duration = Duration::from_millis(100);
        let interval = (raw.interval > Duration::from_secs(0)).then_some(raw.interval);
        if interval.is_some_and(|interval| interval < INTERVAL_MIN) {
            let what = format!("{} is less than {INTERVAL_MIN}", raw.interval);
            self.fail("reload.interval", what, "write 0s to look at SIGHUP only");
        }
        Reload { interval: interval.map(Duration::get) }
    }

    fn server(&mut self, raw: raw::Server) -> Option<Server> {
        let tls = raw.tls.map(|tls| self.tls("server.tls", tls));
        if raw.max_downloads > raw.max_connections {
            let what = format!("{} can never be reached: it is more than server.max_connections", raw.max_downloads);
            self.warn("server.max_downloads", what, "");
        }
        let listen = self.listen("server.listen", &raw.listen);
        let trusted_proxies = self.each("server.trusted_proxies", &raw.trusted_proxies, proxy);
        let allowed_origins = self.each("server.cors.allowed_origins", &raw.cors.allowed_origins, |text| {
            grammar::origin(text).map(|()| text.to_owned())
        });
        Some(Server {
            listen: listen?,
            tls: match tls {
                Some(tls) => Some(tls?),
                None => None,
            },
            trusted_proxies,
            allowed_origins,
            max_connections: raw.max_connections as usize,
            max_connections_per_peer: raw.max_connections_per_peer as usize,
            max_downloads: raw.max_downloads as usize,
            header_timeout: raw.header_timeout.get(),
            client_stall_timeout: raw.client_stall_timeout.get(),
            client_min_rate: raw.client_min_rate.bytes(),
            drain: Drain { delay: raw.drain.delay.get(), timeout: raw.drain.timeout.get() },
        })
    }

    fn tls(&mut self, group: &str, raw: raw::Tls) -> Option<ServerTls> {
        let key = |name: &str| format!("{group}.{name}");
        let cert_file = self.required(&key("cert_file"), raw.cert_file, "name the file with the certificate chain");
        let key_file = self.required(&key("key_file"), raw.key_file, "name the file with the private key");
        let without_authority = raw.client_ca_file.is_none() && !self.is_dropped(&key("client_ca_file"));
        if raw.client_crl_file.is_some() && without_authority {
            let what = format!("needs {}: without it no client certificate is asked for", key("client_ca_file"));
            self.fail(&key("client_crl_file"), what, "name the file with the clients' authorities");
        }
        Some(ServerTls {
            cert_file: self.file(&key("cert_file"), cert_file?),
            key_file: self.file(&key("key_file"), key_file?),
            client_ca_file: raw.client_ca_file.map(|file| self.file(&key("client_ca_file"), file)),
            client_crl_file: raw.client_crl_file.map(|file| self.file(&key("client_crl_file"), file)),
        })
    }

    fn admin(&mut self, raw: raw::Admin) -> Option<Admin> {
        let tls = raw.tls.map(|tls| self.tls("admin.tls", tls));
        let listen = self.listen("admin.listen", &raw.listen);
        Some(Admin {
            listen: listen?,
            tls: match tls {
                Some(tls) => Some(tls?),
                None => None,
            },
        })
    }

    /// Two listeners can't share an address; 0.0.0.0 and :: take every one.
    fn apart(&mut self, server: SocketAddr, admin: SocketAddr) {
        let everywhere = |address: SocketAddr| address.ip().is_unspecified();
        let meet = server.ip() == admin.ip() || everywhere(server) || everywhere(admin);
        if meet && server.port() == admin.port() && server.port() != 0 {
            self.fail("admin.listen", format!("{admin} meets server.listen {server}"), "give them different ports");
        }
    }

    /// Tokens that have to be bound to certificates need certificates.
    fn bound_tokens(&mut self, server: &Server, auth: &authn::Config) {
        let asked = server.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
        for (index, _) in auth.issuers.iter().enumerate().filter(|(_, issuer)| issuer.certificate_bound && !asked) {
            let what = "true, and no client certificate is asked for: every token would be refused";
            let path = format!("auth.issuers[{index}].certificate_bound");
            self.fail(&path, what, "name server.tls.client_ca_file; behind a proxy that ends TLS this cannot be used");
        }
    }

    fn auth(&mut self, raw: raw::Auth) -> Option<authn::Config> {
        let next = "name at least one issuer: without one nobody gets in";
        let issuers = self.filled("auth.issuers", raw.issuers, next)?;
        let mut names = BTreeSet::new();
        for (index, name) in issuers.iter().enumerate().filter_map(|(index, raw)| Some((index, raw.issuer.clone()?))) {
            if !names.insert(name) {
                let path = format!("auth.issuers[{index}].issuer");
                self.fail(&path, "named twice", "give each issuer one entry; list several audiences in it");
            }
        }
        let count = issuers.len();
        let issuers: Vec<_> =
            issuers.into_iter().enumerate().filter_map(|(index, raw)| self.issuer(index, raw)).collect();
        let (leeway, max_token_lifetime) = (raw.leeway.get(), raw.max_token_lifetime.get());
        (issuers.len() == count).then_some(authn::Config { leeway, max_token_lifetime, issuers })
    }

    fn issuer(&mut self, index: usize, raw: raw::Issuer) -> Option<IssuerConfig> {
        let key = |name: &str| format!("auth.issuers[{index}].{name}");
        let issuer = self.required(&key("issuer"), raw.issuer, "the exact `iss` claim of its tokens");
        let issuer = issuer.and_then(|name| self.read(&key("issuer"), &name, grammar::issuer));
        let next = "name at least one audience: a token for somebody else must not get in";
        let audiences = self.filled(&key("audiences"), raw.audiences, next);
        let audiences = audiences.map(|all| self.each(&key("audiences"), &all, grammar::audience));
        let next = "name at least one signature algorithm, as in [ES256, RS256, EdDSA]";
        let algorithms = self.filled(&key("algorithms"), raw.algorithms, next);
        let keys = self.keys(index, raw.jwks_file, raw.jwks_url, issuer.as_deref());
        if raw.ca_file.is_some() && matches!(keys, Some(KeySource::File(_))) {
            self.warn(&key("ca_file"), "not used: the keys come from jwks_file", "");
        }
        let ca_file = raw.ca_file.map(|file| self.file(&key("ca_file"), file));
        let claims = self.claims(index, raw.claims);
        Some(IssuerConfig {
            issuer: issuer?,
            audiences: audiences?,
            algorithms: algorithms?.into_iter().map(Into::into).collect(),
            keys: keys?,
            ca_file,
            certificate_bound: raw.certificate_bound,
            claims: claims?,
        })
    }

    /// One source of keys; discovery only from an address that can be trusted.
    fn keys(
        &mut self,
        index: usize,
        file: Option<PathBuf>,
        url: Option<String>,
        issuer: Option<&str>,
    ) -> Option<KeySource> {
        let key = |name: &str| format!("auth.issuers[{index}].{name}");
        match (file, url) {
            (Some(_), Some(_)) => {
                self.fail(&key("jwks_url"), "given beside jwks_file", "keep one of the two");
                None
            }
            (Some(file), None) => Some(KeySource::File(self.file(&key("jwks_file"), file))),
            (None, Some(url)) => self.read(&key("jwks_url"), &url, grammar::key_server).map(KeySource::Url),
            (None, None) if self.is_dropped(&key("jwks_file")) || self.is_dropped(&key("jwks_url")) => None,
            (None, None) => {
                let url = issuer.and_then(|issuer| self.read(&key("issuer"), issuer, grammar::key_server))?;
                if url.query().is_some() {
                    self.fail(&key("issuer"), "has a query, so nothing can be discovered from it", "name jwks_url");
                    return None;
                }
                Some(KeySource::Discovery)
            }
        }
    }

    fn claims(&mut self, index: usize, raw: raw::Claims) -> Option<Claims> {
        let mut pointer = |name: &str, text: String| {
            let path = format!("auth.issuers[{index}].claims.{name}");
            self.read(&path, &text, grammar::pointer)
        };
        let (agent, roles) = (pointer("agent", raw.agent), pointer("roles", raw.roles));
        let (inspects, teams) = (pointer("inspects", raw.inspects), pointer("teams", raw.teams));
        let purpose = raw.purpose.map(|text| pointer("purpose", text));
        let ticket = raw.ticket.map(|text| pointer("ticket", text));
        Some(Claims {
            agent: agent?,
            roles: roles?,
            inspects: inspects?,
            teams: teams?,
            purpose: purpose.flatten(),
            ticket: ticket.flatten(),
        })
    }

    fn policy(&mut self, raw: raw::Policy) -> policy::Config {
        policy::Config {
            dir: raw.dir.map(|dir| self.file("policy.dir", dir)),
            entities_file: raw.entities_file.map(|file| self.file("policy.entities_file", file)),
        }
    }

    fn audit(&mut self, raw: raw::Audit, entries_max: usize) -> Option<Audit> {
        // What C2SP allows in a key's name, less what a path or an id would be harder to read with.
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
        if raw.origin.as_ref().is_some_and(|origin| !origin.chars().all(fits)) {
            self.fail(
                "audit.origin",
                "a name is of letters, digits and . _ - / :",
                "take the replica's name, as in gate.example/ccgate-0",
            );
        }
        let dir = self.file("audit.dir", raw.dir);
        let signing_key_file = self.file("audit.signing_key_file", raw.signing_key_file);
        let path = "audit.pseudonym_key_file";
        let pseudonym_key_file = raw.pseudonym_key_file.map(|file| self.file(path, file));
        if let Some(file) = &pseudonym_key_file {
            if signing_key_file == *file {
                let next = "give it a file of its own: openssl rand -base64 32";
                self.fail(path, "the file of audit.signing_key_file, which others may have to hold", next);
            }
            if file.starts_with(&dir) {
                let next = "keep it elsewhere: whoever may read the log could name everybody in it";
                self.fail(path, "lies in audit.dir", next);
            }
        }
        Some(Audit {
            dir,
            signing_key_file,
            verifier_keys_file: raw.verifier_keys_file.map(|file| self.file("audit.verifier_keys_file", file)),
            origin: raw.origin,
            checkpoint_interval: raw.checkpoint_interval.get(),
            pseudonym_key_file,
            write_timeout: raw.write_timeout.get(),
            entries_max,
            digest: raw.digest,
            segment_bytes_max: raw.segment_size.bytes(),
            segment_age_max: raw.segment_age.get(),
            retention: raw.retention.map(Duration::get),
            free_bytes_min: raw.free_space_min.bytes(),
            durability: raw.durability,
            ship: self.ship(raw.ship, raw.durability)?,
            witnesses: self.witnesses(raw.witnesses),
        })
    }
}

/// How one value is read and how a problem finds its place.
impl Parser<'_> {
    fn fail(&mut self, path: &str, what: impl Into<String>, next: &str) {
        self.problems.push(Problem::error(path, what, next).at(self.tree.origin(path)));
    }

    fn warn(&mut self, path: &str, what: impl Into<String>, next: &str) {
        self.problems.push(Problem::warning(path, what, next).at(self.tree.origin(path)));
    }

    /// Whether the key, or a group that it is in, did not fit and has been reported.
    fn is_dropped(&self, path: &str) -> bool {
        let below =
            |dropped: &String| path.strip_prefix(dropped.as_str()).is_some_and(|rest| !rest.starts_with(is_name));
        self.dropped.iter().any(below)
    }

    fn required<T>(&mut self, path: &str, value: Option<T>, next: &str) -> Option<T> {
        if value.is_none() && !self.is_dropped(path) {
            self.fail(path, "missing", next);
        }
        value
    }

    /// A list that must hold something.
    fn filled<T>(&mut self, path: &str, list: Option<Vec<T>>, next: &str) -> Option<Vec<T>> {
        let list = self.required(path, list, next)?;
        if list.is_empty() {
            self.fail(path, "empty", next);
            return None;
        }
        Some(list)
    }

    /// Reads a value; the error of `read` is "not ...", told behind the value.
    fn read<T>(&mut self, path: &str, text: &str, read: impl Fn(&str) -> Result<T, &'static str>) -> Option<T> {
        read(text).map_err(|error| self.fail(path, format!("{} is {error}", shown(text)), "")).ok()
    }

    /// Reads the items of a list and leaves out those that can't be read.
    fn each<T>(&mut self, path: &str, texts: &[String], read: impl Fn(&str) -> Result<T, &'static str>) -> Vec<T> {
        let items = texts.iter().enumerate();
        items.filter_map(|(index, text)| self.read(&format!("{path}[{index}]"), text, &read)).collect()
    }

    fn listen(&mut self, path: &str, text: &str) -> Option<SocketAddr> {
        self.read(path, text, |text| {
            text.parse().map_err(|_| "not an address and port, as in 127.0.0.1:8080 or [::1]:8080")
        })
    }

    /// A file's or folder's name: from the file's folder where it stands in the file, from the working directory where it
    /// comes from the environment or the command line. A pasted text instead of a name is refused without showing it.
    fn file(&mut self, path: &str, name: PathBuf) -> PathBuf {
        let text = name.to_string_lossy();
        if text.is_empty() || text.len() > 4096 || text.contains(char::is_control) || text.contains("-----") {
            self.fail(path, "not the name of a file or folder", "");
        }
        resolve(self.tree, self.folder, path, name)
    }
}

/// Whether a character goes on with a key's name, so that `a.b` is below `a`, and `ab` is not.
fn is_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// A network whose proxies are believed; not the whole world (R10).
fn proxy(text: &str) -> Result<IpNet, &'static str> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match net {
        Ok(net) if net.prefix_len() == 0 => Err("every address: then anybody could claim to be somebody else"),
        Ok(net) => Ok(net),
        Err(_) => Err("not a network, as in 10.0.0.0/8 or ::1/128"),
    }
}

/// Whether an address may be asked without TLS: only this machine.
pub(super) fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    url.scheme() == Some(&Scheme::HTTP)
        && (host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}
