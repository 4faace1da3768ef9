//! Files of every kind, good and bad, in a folder of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::super::{Loaded, Overrides, Severity, load};
use super::*;

const GOOD: &str = "version: 1\nupstream: {url: 'https://10.244.154.23:8043'}\n\
    auth: {issuers: [{issuer: 'https://idp.example', audiences: [ccgate], algorithms: [ES256]}]}\n\
    sessions: {accounts_dir: accounts}\naudit: {dir: audit, signing_key_file: audit.key}\n";

/// A folder with a good configuration and what it names.
struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().expect("a folder") };
        for folder in ["accounts", "audit"] {
            fs::create_dir(world.path(folder)).expect("made");
        }
        world.write("accounts/4977.yaml", "password: hunter2\n");
        world.write("audit.key", crate::audit::new_key_pem());
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that its owner alone can read.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("written");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect("changed");
    }

    fn load(&self, flags: &[(&str, &str)]) -> Loaded {
        self.write("ccgate.yaml", GOOD);
        let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        load(&self.path("ccgate.yaml"), &Overrides { variables: vec![], flags }).expect("a good configuration")
    }

    /// What is wrong when these keys hold these values; names of files are in this folder.
    fn problems(&self, keys: &[(&str, &str)]) -> Vec<String> {
        let in_folder = |value: &str| self.path(value).display().to_string();
        let flags: Vec<_> = keys
            .iter()
            .map(|(key, value)| {
                (
                    *key,
                    if key.ends_with("_file") || key.ends_with("dir") { in_folder(value) } else { (*value).to_owned() },
                )
            })
            .collect();
        let flags: Vec<_> = flags.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let folder = format!("{}/", self.dir.path().display());
        self.load(&flags).check().iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }

    fn problem(&self, keys: &[(&str, &str)]) -> String {
        let mut problems = self.problems(keys);
        assert_eq!(problems.len(), 1, "{keys:?}: {problems:?}");
        problems.remove(0)
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[test]
fn nothing_is_wrong_with_what_is_there() {
    assert_eq!(World::new().problems(&[]), Vec::<String>::new());
}

#[test]
fn each_problem_has_the_line_of_its_key() {
    let world = World::new();
    fs::remove_dir(world.path("audit")).expect("removed");
    let [problem] = world.load(&[]).check().try_into().expect("one problem");
    assert!(problem.to_string().starts_with("line 5: audit.dir: "), "{problem}");
    assert_eq!(problem.severity, Severity::Error);
}

#[test]
fn a_ca_file_holds_certificates() {
    let world = World::new();
    let key = "upstream.ca_file";
    assert_eq!(world.problem(&[(key, "none.pem")]), "--set: upstream.ca_file: none.pem: no such file");
    world.write("ca.pem", "");
    assert_eq!(world.problem(&[(key, "ca.pem")]), "--set: upstream.ca_file: ca.pem is empty");
    world.write("ca.pem", "hunter2");
    assert_eq!(world.problem(&[(key, "ca.pem")]), "--set: upstream.ca_file: ca.pem holds no certificate (PEM)");
    world.write("ca.pem", pem("CERTIFICATE", b"hunter2"));
    assert!(world.problem(&[(key, "ca.pem")]).ends_with("holds something that is no X.509 certificate"));
    world.write("ca.pem", "-----BEGIN CERTIFICATE-----\n*hunter2*\n-----END CERTIFICATE-----\n");
    assert!(world.problem(&[(key, "ca.pem")]).ends_with("ca.pem holds broken PEM"));
    assert!(world.problem(&[(key, "accounts")]).contains("not a regular file"));
}

#[test]
fn a_large_file_is_not_read_to_its_end() {
    let world = World::new();
    fs::File::create(world.path("ca.pem")).and_then(|file| file.set_len(5 << 20)).expect("a sparse file");
    assert!(world.problem(&[("upstream.ca_file", "ca.pem")]).contains("larger than 4 MiB"));
}

#[test]
fn a_jwks_file_holds_keys() {
    let world = World::new();
    let issuer = "[{issuer: x, audiences: [y], algorithms: [ES256], jwks_file: FILE}]";
    let issuers = issuer.replace("FILE", &world.path("jwks.json").display().to_string());
    for bad in ["{", "[]", "{}", r#"{"keys": []}"#, r#"{"keys": {}}"#, r#"{"keys": [{"kid": "hunter2"}]}"#] {
        world.write("jwks.json", bad);
        let problem = world.problem(&[("auth.issuers", &issuers)]);
        assert!(problem.starts_with("--set: auth.issuers[0].jwks_file: jwks.json: "), "{problem}");
        assert!(!problem.contains("hunter2"));
    }
    // RFC 7517 appendix A.1.
    let good = r#"{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;
    world.write("jwks.json", format!(r#"{{"keys": [{good}]}}"#));
    assert_eq!(world.problems(&[("auth.issuers", &issuers)]), Vec::<String>::new());
    world.write("jwks.json", format!(r#"{{"keys": [{good}, {{"kty": "oct", "kid": "2", "k": "hunter2"}}]}}"#));
    let problem = world.problem(&[("auth.issuers", &issuers)]);
    assert!(problem.starts_with("warning: --set: auth.issuers[0].jwks_file: jwks.json: 1 of its keys"), "{problem}");
}

#[test]
fn an_accounts_folder_holds_accounts() {
    let world = World::new();
    fs::remove_file(world.path("accounts/4977.yaml")).expect("removed");
    world.write("accounts/0101.yaml", "");
    world.write("accounts/4977.yml", "");
    let problems = world.problems(&[]);
    assert!(
        problems.iter().all(|problem| problem.starts_with("warning: line 4: sessions.accounts_dir: accounts")),
        "{problems:?}"
    );
    assert!(problems.iter().any(|problem| problem.contains("holds no account")), "{problems:?}");
}

#[test]
fn r17_an_account_that_is_malformed_is_named_and_not_quoted() {
    let world = World::new();
    world.write("accounts/4977.yaml", "password: hunter2\npasswrd: hunter2\n");
    let problem = world.problem(&[]);
    assert!(problem.starts_with("line 4: sessions.accounts_dir: accounts/4977.yaml: line "), "{problem}");
    assert!(!problem.contains("hunter2"), "{problem}");
    world.write("accounts/4977.yaml", "password: hunter2\n");
    assert_eq!(world.problems(&[]), Vec::<String>::new());
    assert!(!world.problems(&[("sessions.sign_in", "full")]).is_empty(), "a full sign-in needs a phone number");
}

#[test]
fn r19_a_policy_folder_holds_rules() {
    let world = World::new();
    fs::create_dir(world.path("rules")).expect("made");
    let problem = world.problem(&[("policy.dir", "rules")]);
    assert!(problem.starts_with("--set: policy.dir: ") && problem.contains("holds no *.cedar file"), "{problem}");
    world.write("rules/own.cedar", "permit(principal, action, resource) when { principal.nosuch };");
    let problems = world.problems(&[("policy.dir", "rules"), ("policy.entities_file", "teams.yaml")]);
    assert!(problems.iter().any(|problem| problem.starts_with("--set: policy.dir: own.cedar:1:")), "{problems:?}");
    assert!(
        problems.iter().any(|problem| problem.starts_with("--set: policy.entities_file: teams.yaml")),
        "{problems:?}"
    );
    assert!(problems.iter().all(|problem| !problem.contains('\n')), "{problems:?}");
    world.write("rules/own.cedar", include_str!("../../../config/policy/own.cedar"));
    assert_eq!(world.problems(&[("policy.dir", "rules")]), Vec::<String>::new());
}

#[test]
fn an_audit_folder_can_be_written() {
    let world = World::new();
    world.write("file", "x");
    let problem = world.problem(&[("audit.dir", "file")]);
    assert!(problem.starts_with("--set: audit.dir: file: cannot be read: Not a directory"), "{problem}");
    fs::set_permissions(world.path("audit"), fs::Permissions::from_mode(0o555)).expect("changed");
    // The super-user may write everywhere, and is then told nothing.
    let may = fs::write(world.path("audit/probe"), "").is_ok();
    let problems = world.problems(&[]);
    let wanted = "line 5: audit.dir: audit cannot be written: Permission denied (os error 13); give the process a volume that it may write";
    assert_eq!(problems, if may { vec![] } else { vec![wanted.to_owned()] });
}

#[test]
fn r17_a_secret_given_instead_of_its_files_name_is_not_told() {
    let world = World::new();
    let callback = [("sessions.keep_alive", "heartbeat"), ("sessions.callback.uri", "https://a")];
    let flags = [
        callback[0],
        callback[1],
        ("sessions.callback.service_token_file", "hunter2"),
        ("audit.signing_key_file", "hunter2"),
    ];
    let problems: Vec<_> = world.load(&flags).check().iter().map(|problem| format!("{problem} {problem:?}")).collect();
    assert_eq!(problems.len(), 2);
    assert!(problems.iter().all(|problem| problem.contains("the file that it names: no such file")), "{problems:?}");
    assert!(problems.iter().all(|problem| !problem.contains("hunter2")), "{problems:?}");
}

#[test]
fn a_store_has_a_url_and_keys_that_can_be_used() {
    let world = World::new();
    let (url, key) = ("sessions.store.redis.url_file", "sessions.store.redis.key_file");
    let good = STANDARD.encode([7; 32]);
    world.write("url", "rediss://:hunter2@redis.example:6379/0\n");
    world.write("keys", format!("{good}\n\n{good}\n"));
    let keys = [(url, "url"), (key, "keys")];
    assert_eq!(world.problems(&keys), Vec::<String>::new());
    for bad in ["hunter2", "https://hunter2", "redis://", "redis://hunter2@", "redis://:6379", "rediss://a b"] {
        world.write("url", bad);
        let problem = world.problem(&keys);
        assert!(
            problem.starts_with(&format!("--set: {url}: the file holds no rediss:// or redis:// URL")),
            "{problem}"
        );
        assert!(!problem.contains("hunter2"), "{problem}");
    }
    world.write("url", "redis://h\nredis://i\n");
    assert!(world.problem(&keys).contains("the file's content cannot be used: more than one line"));
    world.write("url", "redis://h");
    for (bad, what) in [
        (format!("{good}\nhunter2\n"), "line 2 of the file is not the base64 of 32 bytes"),
        (STANDARD.encode([7; 16]), "line 1 of the file is not the base64 of 32 bytes"),
        ("\n \n".to_owned(), "line 1 of the file holds no key, nor does any other"),
        (format!("{good}\n").repeat(17), "line 17 of the file is more than the 16th key"),
    ] {
        world.write("keys", bad);
        let problem = world.problem(&keys);
        let next = "make a key with `openssl rand -base64 32`; one a line, the first seals, all open";
        assert_eq!(problem, format!("--set: {key}: {what}; {next}"));
    }
    world.write("keys", &good);
    fs::set_permissions(world.path("keys"), fs::Permissions::from_mode(0o644)).expect("changed");
    assert!(world.problem(&keys).starts_with(&format!("warning: --set: {key}: every user")));
    let problems = world.problems(&[(url, "none"), (key, "accounts/4977.yaml")]).join(" ");
    assert!(problems.contains("the file that it names: no such file") && !problems.contains("hunter2"), "{problems}");
}

#[test]
fn a_stream_has_urls_that_can_be_used() {
    let world = World::new();
    let (url, ca) = ("audit.ship.nats.url_file", "audit.ship.nats.ca_file");
    world.write("url", "tls://ccgate:hunter2@n1.example:4222, tls://n2.example\n");
    assert_eq!(world.problems(&[(url, "url")]), Vec::<String>::new());
    for (bad, what) in [
        ("hunter2", "no nats:// or tls:// URL"),
        ("https://hunter2", "no nats:// or tls:// URL"),
        ("nats://hunter2@", "a URL without a host"),
        ("nats://a b", "a URL that cannot be read"),
    ] {
        world.write("url", bad);
        let problem = world.problem(&[(url, "url")]);
        assert!(problem.starts_with(&format!("--set: {url}: the file holds {what}; put the bare URLs")), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }
    world.write("url", "nats://a\nnats://b\n");
    assert!(world.problem(&[(url, "url")]).contains("the file's content cannot be used: more than one line"));
    world.write("url", "nats://a");
    world.write("ca.pem", "hunter2");
    let problem = world.problem(&[(url, "url"), (ca, "ca.pem")]);
    assert_eq!(problem, format!("--set: {ca}: ca.pem holds no certificate (PEM)"));
    let problem = world.problem(&[(url, "none")]);
    assert!(problem.contains("the file that it names: no such file"), "{problem}");
}

#[test]
fn a_stores_certificates_are_for_tls() {
    let world = World::new();
    let ca = "sessions.store.redis.ca_file";
    let keys = [("sessions.store.redis.url_file", "url"), ("sessions.store.redis.key_file", "keys"), (ca, "ca.pem")];
    world.write("url", "redis://h");
    world.write("keys", STANDARD.encode([7; 32]));
    world.write("ca.pem", "hunter2");
    let [unused, unusable] = world.problems(&keys).try_into().expect("two problems");
    assert!(unused.starts_with(&format!("--set: {ca}: not used: the URL is redis://")), "{unused}");
    assert_eq!(unusable, format!("--set: {ca}: ca.pem holds no certificate (PEM)"));
}

#[test]
fn a_state_file_needs_a_folder_that_can_be_written_and_a_key() {
    let world = World::new();
    let keys = |file| [("sessions.state_file", file), ("sessions.state_key_file", "keys")];
    world.write("keys", STANDARD.encode([7; 32]));
    assert_eq!(world.problems(&keys("audit/state")), Vec::<String>::new(), "it is made at the start");
    assert_eq!(world.problem(&keys("none/state")), "--set: sessions.state_file: none: no such folder");
    assert_eq!(world.problem(&keys("audit")), "--set: sessions.state_file: audit is no regular file");
    world.write("keys", "hunter2");
    assert!(world.problem(&keys("audit/state")).starts_with("--set: sessions.state_key_file: line 1 of the file"));
}

#[test]
fn a_signing_key_is_ed25519_in_pkcs8() {
    let world = World::new();
    let key = "audit.signing_key_file";
    let random = aws_lc_rs::rand::SystemRandom::new();
    let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
    world.write("audit.key", pem("PRIVATE KEY", ed25519.as_ref()));
    assert_eq!(world.problems(&[(key, "audit.key")]), Vec::<String>::new());
    let curve = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let other = aws_lc_rs::signature::EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
    for bad in [pem("PRIVATE KEY", other.as_ref()), pem("PUBLIC KEY", ed25519.as_ref()), "hunter2".to_owned()] {
        world.write("audit.key", bad);
        let problem = world.problem(&[(key, "audit.key")]);
        assert!(problem.contains("the file holds no Ed25519 key (PKCS#8, PEM)"), "{problem}");
    }
    world.write("audit.key", pem("PRIVATE KEY", ed25519.as_ref()));
    fs::set_permissions(world.path("audit.key"), fs::Permissions::from_mode(0o644)).expect("changed");
    assert!(world.problem(&[(key, "audit.key")]).starts_with("warning: --set: audit.signing_key_file: every user"));
}

#[test]
fn pseudonym_keys_are_checked_and_not_shown() {
    let world = World::new();
    let key = "audit.pseudonym_key_file";
    let good = STANDARD.encode([7; 32]);
    world.write("names", format!("{good}\n{good}\n"));
    assert_eq!(world.problems(&[(key, "names")]), Vec::<String>::new());
    assert!(world.problem(&[(key, "none")]).contains("the file that it names: no such file"));
    for bad in ["hunter2".to_owned(), pem("PRIVATE KEY", b"hunter2"), STANDARD.encode([7; 31])] {
        world.write("names", bad);
        let next = "make a key with `openssl rand -base64 32`; one a line, the first makes pseudonyms";
        let what = "line 1 of the file is not the base64 of 32 bytes";
        assert_eq!(world.problem(&[(key, "names")]), format!("--set: {key}: {what}; {next}"));
    }
    world.write("names", &good);
    fs::set_permissions(world.path("names"), fs::Permissions::from_mode(0o644)).expect("changed");
    assert!(world.problem(&[(key, "names")]).starts_with(&format!("warning: --set: {key}: every user")));
}

#[test]
fn a_secret_is_one_line() {
    let world = World::new();
    let secret = |content: &[u8]| {
        world.write("secret", content);
        read_secret(&world.path("secret"))
            .map(|secret| secret.expose_secret().to_owned())
            .map_err(|error| error.to_string())
    };
    assert_eq!(secret(b"hunter2\n").as_deref(), Ok("hunter2"));
    assert_eq!(secret(b" hunter2 \r\n").as_deref(), Ok(" hunter2 "));
    assert_eq!(secret("x".repeat(4096).as_bytes()).map(|secret| secret.len()), Ok(4096));
    for (bad, why) in [
        (&b""[..], "empty"),
        (b"\n", "empty"),
        (b"a\nb\n", "more than one line"),
        (b"a\n\n", "more than one line"),
        (b"\xff", "not UTF-8"),
        (&[b'x'; 4097], "longer than 4096 bytes"),
    ] {
        assert_eq!(secret(bad), Err(why.to_owned()));
    }
    assert!(matches!(read_secret(&world.path("none")), Err(SecretError::Read(_))));
}

#[cfg(feature = "demo")]
#[test]
fn a_certificate_and_its_key_belong_together() {
    let world = World::new();
    let made = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (one, other) = (made(), made());
    world.write("tls.crt", one.cert.pem());
    world.write("tls.key", one.signing_key.serialize_pem());
    let keys = [
        ("server.tls.cert_file", "tls.crt"),
        ("server.tls.key_file", "tls.key"),
        ("server.tls.client_ca_file", "tls.crt"),
    ];
    assert_eq!(world.problems(&keys), Vec::<String>::new());
    world.write("tls.key", other.signing_key.serialize_pem());
    let problem = world.problem(&keys);
    assert!(problem.ends_with("the key does not belong to the first certificate of server.tls.cert_file"), "{problem}");
    world.write("tls.key", pem("PRIVATE KEY", b"hunter2"));
    let problem = world.problem(&keys);
    assert!(problem.ends_with("the file holds no private key that can be used (PEM)"), "{problem}");
    let upstream = [("upstream.client_cert_file", "tls.crt"), ("upstream.client_key_file", "none.key")];
    assert_eq!(world.problem(&upstream), "--set: upstream.client_key_file: the file that it names: no such file");
}

#[test]
fn a_listeners_key_is_private_and_its_revocation_lists_are_in_force() {
    let world = World::new();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    world.write("tls.crt", params.self_signed(&key).expect("a certificate").pem());
    world.write("tls.key", key.serialize_pem());
    let issuer = rcgen::Issuer::new(params, key);
    let list = |until: i32| {
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(until, 1, 1),
            crl_number: rcgen::SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&issuer).expect("a list").pem().expect("PEM")
    };
    let files = [
        ("server.tls.cert_file", "tls.crt"),
        ("server.tls.key_file", "tls.key"),
        ("server.tls.client_ca_file", "tls.crt"),
        ("server.tls.client_crl_file", "tls.crl"),
    ];
    world.write("tls.crl", list(2049));
    assert_eq!(world.problems(&files), Vec::<String>::new());
    let at = "--set: server.tls.client_crl_file: tls.crl";
    world.write("tls.crl", list(2021));
    let told = world.problem(&files);
    assert!(
        told.starts_with(&format!("warning: {at}: a list in it is out of date since 2021-01-01T00:00:00Z")),
        "{told}"
    );
    for bad in ["hunter2".to_owned(), pem("X509 CRL", b"hunter2")] {
        world.write("tls.crl", bad);
        assert_eq!(world.problem(&files), format!("{at} holds no revocation list that can be read (PEM)"));
    }
    world.write("tls.crl", list(2049));
    fs::set_permissions(world.path("tls.key"), fs::Permissions::from_mode(0o644)).expect("changed");
    let told = world.problem(&files);
    assert!(told.starts_with("warning: --set: server.tls.key_file: every user of the machine can read"), "{told}");
}
