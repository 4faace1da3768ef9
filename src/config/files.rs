//! Opens the files that a configuration names and tells what is missing, unreadable or malformed in them. It prints
//! nothing of what they hold, and names no file whose name could be a secret pasted by mistake.

mod sessions;
mod ship;
mod telemetry;

pub use telemetry::{HeadersError, read_headers};

use std::io::{ErrorKind, Read as _};
use std::path::Path;

use aws_lc_rs::signature::Ed25519KeyPair;
use rustix::fs::{Access, access};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use secrecy::SecretString;

use super::problem::{Problem, Severity};
use super::sections::{Audit, Config, Upstream};
use crate::audit::Pseudonyms;
use crate::authn::{self, KeySource, KeysError, check_key_file};
use crate::net::{ServerTls, TlsError};
use crate::policy;

/// Largest file of any kind that is opened, in bytes: a CA bundle of a system has about 250 KiB.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Longest secret in a file of its own, in bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// What is wrong with the files that a configuration names; empty: nothing. Errors and warnings, without lines
/// ([`Loaded::check`](super::Loaded::check) adds them).
pub fn check(config: &Config) -> Vec<Problem> {
    let mut check = Check::default();
    check.listener("server.tls", config.server.tls.as_ref());
    check.listener("admin.tls", config.admin.tls.as_ref());
    check.upstream(&config.upstream);
    check.auth(&config.auth);
    check.sessions(&config.sessions);
    check.policy(&config.policy);
    check.audit(&config.audit);
    if let Some(otlp) = &config.otlp {
        check.otlp(otlp);
    }
    check.problems
}

/// Reads a secret from a file of its own: one line of at most 4096 bytes; one newline at its end is not part of it.
///
/// # Errors
/// What is wrong with the file, without anything of it.
pub fn read_secret(path: &Path) -> Result<SecretString, SecretError> {
    let bytes = read(path).map_err(SecretError::Read)?;
    let text = String::from_utf8(bytes).map_err(|_| SecretError::Malformed("not UTF-8"))?;
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    match line {
        "" => Err(SecretError::Malformed("empty")),
        _ if line.len() > SECRET_BYTES_MAX => Err(SecretError::Malformed("longer than 4096 bytes")),
        _ if line.contains(char::is_control) => Err(SecretError::Malformed("more than one line")),
        _ => Ok(SecretString::from(line)),
    }
}

/// A secret can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("cannot be read")]
    Read(#[source] std::io::Error),
    /// It holds something else.
    #[error("{0}")]
    Malformed(&'static str),
}

/// At most [`BYTES_MAX`] of a regular file.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "larger than 4 MiB"));
    }
    Ok(bytes)
}

/// The certificates of a PEM file; each is one that a TLS stack can parse.
fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|_| "holds broken PEM")?;
    if found.is_empty() {
        return Err("holds no certificate (PEM)");
    }
    let parses = |der: &CertificateDer<'_>| x509_parser::parse_x509_certificate(der).is_ok();
    if found.iter().all(parses) { Ok(found) } else { Err("holds something that is no X.509 certificate") }
}

/// Walks the configuration; collects.
#[derive(Default)]
struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn listener(&mut self, group: &str, tls: Option<&ServerTls>) {
        let Some(tls) = tls else { return };
        let key = |name: &str| format!("{group}.{name}");
        let before = self.problems.len();
        self.pair(&key("cert_file"), &tls.cert_file, &key("key_file"), &tls.key_file);
        self.trusted(&key("client_ca_file"), tls.client_ca_file.as_deref());
        self.built(group, before, || tls.build().err());
    }

    fn upstream(&mut self, upstream: &Upstream) {
        let tls = &upstream.client.tls;
        let before = self.problems.len();
        self.trusted("upstream.ca_file", tls.ca_file.as_deref());
        if let Some((cert, key)) = &tls.client_cert {
            self.pair("upstream.client_cert_file", cert, "upstream.client_key_file", key);
        }
        self.built("upstream", before, || tls.build().err());
    }

    fn auth(&mut self, auth: &authn::Config) {
        for (index, issuer) in auth.issuers.iter().enumerate() {
            let key = |name: &str| format!("auth.issuers[{index}].{name}");
            self.trusted(&key("ca_file"), issuer.ca_file.as_deref());
            if let KeySource::File(file) = &issuer.keys
                && self.bytes(&key("jwks_file"), file, Shown::Name).is_some()
            {
                self.key_set(&key("jwks_file"), file, check_key_file(file, &issuer.algorithms));
            }
        }
    }

    fn key_set(&mut self, path: &str, file: &Path, read: Result<usize, KeysError>) {
        let file = file.display();
        match read {
            Ok(0) => {}
            Ok(count) => {
                let next = "each needs a kid of its own and an accepted algorithm and size";
                self.warn(path, format!("{file}: {count} of its keys cannot be used"), next);
            }
            Err(KeysError::Set(error)) => self.fail(path, format!("{file}: {error}"), ""),
            Err(error) => self.fail(path, format!("{file}: {error}"), ""),
        }
    }

    fn policy(&mut self, policy: &policy::Config) {
        if *policy == policy::Config::default() {
            return;
        }
        let teams = policy.entities_file.as_ref().map(|file| file.display().to_string());
        let loaded = policy::Policy::load(policy);
        for problem in loaded.err().iter().flat_map(policy::Error::problems) {
            let of_teams = teams.as_deref() == Some(&*problem.file);
            let path = if of_teams { "policy.entities_file" } else { "policy.dir" };
            // Some advice of the validator has several lines.
            let what = problem.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            self.fail(path, what, "");
        }
    }

    fn audit(&mut self, audit: &Audit) {
        self.written("audit.dir", &audit.dir);
        self.signing_key(audit);
        self.verifier_keys(audit);
        self.pseudonym_keys(audit);
        self.ship(&audit.ship);
        self.witnesses(&audit.witnesses);
    }

    /// A folder that is there and can be written.
    fn written(&mut self, path: &str, dir: &Path) {
        if self.folder(path, dir)
            && let Err(error) = access(dir, Access::WRITE_OK | Access::EXEC_OK)
        {
            let what = format!("{} cannot be written: {}", dir.display(), std::io::Error::from(error));
            self.fail(path, what, "give the process a volume that it may write");
        }
    }

    fn signing_key(&mut self, audit: &Audit) {
        let file = &audit.signing_key_file;
        if let Some(bytes) = self.bytes("audit.signing_key_file", file, Shown::Nothing) {
            let key = PrivatePkcs8KeyDer::from_pem_slice(&bytes).ok();
            let good =
                key.is_some_and(|key| Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der()).is_ok());
            if !good {
                let next = "make one with `openssl genpkey -algorithm ed25519`";
                self.fail("audit.signing_key_file", "the file holds no Ed25519 key (PKCS#8, PEM)", next);
            }
            self.private("audit.signing_key_file", file);
        }
    }

    /// Keys that signed the log before.
    fn verifier_keys(&mut self, audit: &Audit) {
        if let Some(file) = &audit.verifier_keys_file
            && let Some(bytes) = self.bytes("audit.verifier_keys_file", file, Shown::Nothing)
        {
            let read = std::str::from_utf8(&bytes).map(crate::trail::parse_keys);
            let line = match read {
                Ok(Ok(_)) => return,
                Ok(Err((line, _))) => line,
                Err(_) => 1,
            };
            let next = "put one verifier key a line there, as audit.pub has them";
            self.fail("audit.verifier_keys_file", format!("line {line} of the file is no verifier key"), next);
        }
    }

    fn pseudonym_keys(&mut self, audit: &Audit) {
        let path = "audit.pseudonym_key_file";
        let Some(file) = &audit.pseudonym_key_file else { return };
        let Some(bytes) = self.bytes(path, file, Shown::Nothing) else { return };
        if let Err(error) = Pseudonyms::parse(&bytes) {
            let next = "make a key with `openssl rand -base64 32`; one a line, the first makes pseudonyms";
            self.fail(path, error.to_string(), next);
        }
        self.private(path, file);
    }

    /// A certificate chain and its key, which must belong together.
    fn pair(&mut self, cert_path: &str, cert: &Path, key_path: &str, key: &Path) {
        let chain = self.certificates(cert_path, cert);
        let Some(bytes) = self.bytes(key_path, key, Shown::Nothing) else { return };
        self.private(key_path, key);
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let signing =
            PrivateKeyDer::from_pem_slice(&bytes).ok().and_then(|key| provider.key_provider.load_private_key(key).ok());
        let Some(signing) = signing else {
            self.fail(key_path, "the file holds no private key that can be used (PEM)", "");
            return;
        };
        let belongs = |chain| rustls::sign::CertifiedKey::new(chain, signing).keys_match();
        // `Unknown` is for keys that do not tell their public half: nothing to hold against them.
        if let Some(Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch))) = chain.map(belongs) {
            self.fail(key_path, format!("the key does not belong to the first certificate of {cert_path}"), "");
        }
    }

    fn trusted(&mut self, path: &str, file: Option<&Path>) {
        if let Some(file) = file {
            self.certificates(path, file);
        }
    }

    fn certificates(&mut self, path: &str, file: &Path) -> Option<Vec<CertificateDer<'static>>> {
        let bytes = self.bytes(path, file, Shown::Name)?;
        match certificates(&bytes) {
            Ok(found) => Some(found),
            Err(what) => {
                self.fail(path, format!("{} {what}", file.display()), "");
                None
            }
        }
    }

    /// What building a TLS configuration tells, as that the system has no certificates to trust. Only where its files told
    /// nothing since `before`: building reads them again, to their ends however far those are.
    fn built(&mut self, path: &str, before: usize, build: impl FnOnce() -> Option<TlsError>) {
        if self.problems.iter().skip(before).any(|problem| problem.severity == Severity::Error) {
            return;
        }
        if let Some(error) = build() {
            self.fail(path, error.to_string(), "");
        }
    }

    /// Whether a folder is there and can be listed.
    fn folder(&mut self, path: &str, dir: &Path) -> bool {
        let listed = std::fs::read_dir(dir);
        if let Err(error) = &listed {
            self.fail(path, format!("{}: {}", dir.display(), cause(error, "folder")), "");
        }
        listed.is_ok()
    }

    fn bytes(&mut self, path: &str, file: &Path, shown: Shown) -> Option<Vec<u8>> {
        match read(file) {
            Ok(bytes) if !bytes.is_empty() => Some(bytes),
            Ok(_) => {
                self.fail(path, format!("{} is empty", shown.name(file)), "");
                None
            }
            Err(error) => {
                self.fail(path, format!("{}: {}", shown.name(file), cause(&error, "file")), "");
                None
            }
        }
    }

    /// Warns of a secret that every user of the machine can read.
    fn private(&mut self, path: &str, file: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        let open = std::fs::metadata(file).is_ok_and(|data| data.permissions().mode() & 0o004 != 0);
        if open {
            self.warn(path, "every user of the machine can read the file", "chmod o-r");
        }
    }

    fn fail(&mut self, path: &str, what: impl Into<String>, next: &str) {
        self.problems.push(Problem::error(path, what, next));
    }

    fn warn(&mut self, path: &str, what: impl Into<String>, next: &str) {
        self.problems.push(Problem::warning(path, what, next));
    }
}

/// Whether a file's name may be told. Where a secret's file belongs, somebody may have put the secret itself.
#[derive(Clone, Copy)]
enum Shown {
    Name,
    Nothing,
}

impl Shown {
    fn name(self, file: &Path) -> String {
        match self {
            Self::Name => file.display().to_string(),
            Self::Nothing => "the file that it names".to_owned(),
        }
    }
}

/// Why something can't be read, with the next step in it.
fn cause(error: &std::io::Error, what: &str) -> String {
    match error.kind() {
        ErrorKind::NotFound => format!("no such {what}"),
        ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests;
