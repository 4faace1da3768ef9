//! Holds Cargo.lock against the versions below which a dependency has a hole that matters here, and against crates that must
//! not come in. The advisory database does not know all of them, so the numbers stand here.

use std::path::Path;

/// A package of Cargo.lock.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Locked {
    name: String,
    version: Version,
}

/// Major, minor, patch. A pre-release counts as its release.
type Version = (u64, u64, u64);

fn version(text: &str) -> Option<Version> {
    let core = text.split(['-', '+']).next()?;
    let mut parts = core.split('.').map(str::parse);
    let parsed = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    parts.next().is_none().then_some(parsed)
}

/// The `[[package]]` tables of a lock file.
fn packages(lock: &str) -> Vec<Locked> {
    let mut found = Vec::new();
    for table in lock.split("[[package]]").skip(1) {
        let field =
            |key: &str| table.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
        if let Some((name, version)) = field("name").zip(field("version").and_then(version)) {
            found.push(Locked { name: name.to_owned(), version });
        }
    }
    found
}

/// Packages of that name below the version.
fn below<'l>(locked: &'l [Locked], name: &str, least: Version) -> Vec<&'l Locked> {
    locked.iter().filter(|package| package.name == name && package.version < least).collect()
}

/// Locked packages of one of the names; a trailing `*` stands for anything.
fn present<'l>(locked: &'l [Locked], banned: &[&str]) -> Vec<&'l Locked> {
    let hit = |name: &str| {
        banned.iter().any(|banned| match banned.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *banned,
        })
    };
    locked.iter().filter(|package| hit(&package.name)).collect()
}

/// The project's own lock file, which is known to be read right by the packages that it must hold.
fn own() -> Vec<Locked> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"));
    let locked = packages(&text.unwrap_or_default());
    for name in ["ccgate", "hyper", "jsonwebtoken", "rustls-webpki", "tracing-subscriber", "prometheus", "aws-lc-rs"] {
        assert!(locked.iter().any(|package| package.name == name), "Cargo.lock has no `{name}`");
    }
    locked
}

#[test]
fn r01_jsonwebtoken_refuses_an_expiry_of_the_wrong_type() {
    // CVE-2026-25537: before 10.3.0 an `exp` that is not a number counts as absent.
    assert_eq!(below(&own(), "jsonwebtoken", (10, 3, 0)), Vec::<&Locked>::new());
}

#[test]
fn r11_hyper_closes_on_both_framings() {
    // Fixed in 1.11.0 (hyper #3860, #4123); 1.12 is what the request guard was tried against.
    assert_eq!(below(&own(), "hyper", (1, 12, 0)), Vec::<&Locked>::new());
}

#[test]
fn r13_certificates_are_checked_by_a_mended_webpki() {
    // RUSTSEC-2026-0098, -0099, -0104.
    assert_eq!(below(&own(), "rustls-webpki", (0, 103, 13)), Vec::<&Locked>::new());
}

#[test]
fn r13_http_2_is_absent_or_mended() {
    // RUSTSEC-2026-0258, 2024-0332, 2024-0003.
    assert_eq!(below(&own(), "h2", (0, 4, 16)), Vec::<&Locked>::new());
}

#[test]
fn r13_no_protobuf_and_no_rsa_of_its_own() {
    // RUSTSEC-2024-0437 comes with the default features of `prometheus`, RUSTSEC-2023-0071 with `rust_crypto` of `jsonwebtoken`.
    assert_eq!(present(&own(), &["protobuf*", "rsa"]), Vec::<&Locked>::new());
}

#[test]
fn r13_no_openssl() {
    // The lock file names optional packages too, so `ring`, which nothing here switches on, is left to cargo-deny.
    let banned = ["openssl", "openssl-sys", "native-tls"];
    assert_eq!(present(&own(), &banned), Vec::<&Locked>::new());
}

#[test]
fn r16_log_lines_escape_terminal_codes() {
    // RUSTSEC-2025-0055: before 0.3.20 an ANSI sequence in a field reaches the terminal.
    assert_eq!(below(&own(), "tracing-subscriber", (0, 3, 20)), Vec::<&Locked>::new());
}

#[test]
fn yaml_is_read_by_one_parser() {
    assert_eq!(present(&own(), &["serde_yaml*", "serde_yml"]), Vec::<&Locked>::new());
}

#[test]
fn a_lock_file_that_goes_back_is_found() {
    let locked = packages(
        "version = 4\n\n[[package]]\nname = \"hyper\"\nversion = \"1.9.12\"\ndependencies = [\n \"h2\",\n]\n\n\
         [[package]]\nname = \"hyper\"\nversion = \"1.12.0\"\n\n[[package]]\nname = \"protobuf-support\"\nversion = \"3.7.1+x\"\n",
    );
    assert_eq!(locked.len(), 3);
    assert_eq!(below(&locked, "hyper", (1, 12, 0)), [locked.first().unwrap()], "compared as numbers, each copy");
    assert_eq!(below(&locked, "hyper", (1, 9, 12)), Vec::<&Locked>::new());
    assert_eq!(present(&locked, &["protobuf*"]), [locked.last().unwrap()]);
    assert_eq!(present(&locked, &["protobuf"]), Vec::<&Locked>::new());
}

#[test]
fn versions_are_read_strictly() {
    assert_eq!(version("0.103.13"), Some((0, 103, 13)));
    assert_eq!(version("1.2.3-rc.1+build"), Some((1, 2, 3)));
    for bad in ["1.2", "1.2.3.4", "1.x.3", ""] {
        assert_eq!(version(bad), None, "{bad}");
    }
}
