//! Whole files, from text to problems or to a configuration.

mod budgets;
mod ship;
mod tls;
mod upstream;

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::authn::KeySource;

const SMALLEST: &str = "version: 1\nupstream: {url: 'https://10.244.154.23:8043'}\n\
    auth: {issuers: [{issuer: 'https://idp.example', audiences: [ccgate], algorithms: [ES256]}]}\n";

fn read_text(text: &str, overrides: &Overrides) -> Result<(Config, Vec<String>), Vec<String>> {
    let Read { config, problems, .. } = interpret(text, Path::new("/etc/ccgate"), overrides).expect("YAML");
    let lines = problems.iter().map(ToString::to_string).collect();
    match config {
        Some(config) if problems.iter().all(|problem| problem.severity == Severity::Warning) => Ok((config, lines)),
        _ => Err(lines),
    }
}

fn good(text: &str) -> Config {
    read_text(text, &Overrides::default()).map(|(config, _)| config).expect("a good configuration")
}

/// The only problem of the smallest good file with one section in place of its own.
fn problem(section: &str) -> String {
    let name = section.split(':').next().expect("a section");
    let kept: String =
        SMALLEST.lines().filter(|line| !line.starts_with(name)).fold(String::new(), |all, line| all + line + "\n");
    let mut problems =
        read_text(&(kept + section), &Overrides::default()).map_or_else(|all| all, |(_, warnings)| warnings);
    assert_eq!(problems.len(), 1, "{section}: {problems:?}");
    problems.remove(0)
}

/// One issuer with these keys in place of, or beside, good ones.
fn issuer_problem(keys: &str) -> String {
    let good = ["issuer: 'https://idp.example'", "audiences: [ccgate]", "algorithms: [ES256]"];
    let mut all: Vec<_> =
        good.into_iter().filter(|key| !keys.starts_with(key.split(':').next().expect("key"))).collect();
    all.push(keys);
    problem(&format!("auth: {{issuers: [{{{}}}]}}", all.join(", ")))
}

fn golden(name: &str, actual: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("the golden file is written");
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, wanted, "differs from {}; UPDATE_GOLDEN=1 writes it anew", path.display());
}

#[test]
fn all_problems_of_a_file_come_at_once_with_their_lines() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config/bad.yaml");
    let mut errors = load(&path, &Overrides::default()).expect_err("a bad file");
    errors.file = PathBuf::from("bad.yaml");
    golden("bad.txt", &format!("{errors}\n"));
    let lines: Vec<_> = errors.problems.iter().map(|problem| problem.origin.clone()).collect();
    assert!(lines.is_sorted(), "in the order of the file");
    assert!(errors.problems.len() >= 30, "{}", errors.problems.len());
}

#[test]
fn r17_no_problem_tells_a_secret() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config/bad.yaml");
    let errors = load(&path, &Overrides::default()).expect_err("a bad file");
    let told = format!("{errors} {errors:?}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn the_smallest_file_has_the_defaults_of_the_contract() {
    let config = good(SMALLEST);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.listen.to_string(), "0.0.0.0:9090");
    assert_eq!((config.server.max_connections, config.server.max_downloads), (4096, 1024));
    assert_eq!(config.server.drain.timeout.as_secs(), 300);
    assert_eq!(config.upstream.urls, ["10.244.154.23:8043"]);
    assert_eq!(config.upstream.client.response_timeout.as_secs(), 30);
    assert_eq!(config.auth.max_token_lifetime.as_secs(), 86_400);
    let [issuer] = config.auth.issuers.as_slice() else { panic!("one issuer") };
    assert_eq!((issuer.claims.agent.as_str(), &issuer.keys), ("/agent_id", &KeySource::Discovery));
    assert_eq!(config.sessions.keep_alive, KeepAlive::Poll);
    assert_eq!(config.sessions.idle_sign_out.as_secs(), 900);
    assert_eq!(config.audit.dir, Path::new("/var/lib/ccgate/audit"));
    assert_eq!(config.audit.entries_max, 1024);
    assert_eq!(config.policy.dir, None);
    assert_eq!(config.log, Log { level: Level::Info, format: Format::Json });
}

#[test]
fn an_empty_file_lacks_what_has_no_default() {
    let problems = read_text("", &Overrides::default()).expect_err("nothing in it");
    assert_eq!(
        problems,
        [
            "version: missing; write `version: 1`",
            "upstream.url: missing; as in https://10.244.154.23:8043",
            "auth.issuers: missing; name at least one issuer: without one nobody gets in",
        ]
    );
}

#[test]
fn r19_nobody_gets_in_by_what_is_left_out_or_empty() {
    let next = "name at least one issuer: without one nobody gets in";
    assert_eq!(problem("auth: {issuers: []}"), format!("line 3: auth.issuers: empty; {next}"));
    assert_eq!(problem("auth: {issuers: ~}"), format!("line 3: auth.issuers: missing; {next}"));
    let at = "line 3: auth.issuers[0]";
    let next = "name at least one audience: a token for somebody else must not get in";
    assert_eq!(issuer_problem("audiences: []"), format!("{at}.audiences: empty; {next}"));
    assert_eq!(issuer_problem("audiences: ~"), format!("{at}.audiences: missing; {next}"));
    let wanted = "\"\" is empty: a token without an audience must not get in";
    assert_eq!(issuer_problem("audiences: ['']"), format!("{at}.audiences[0]: {wanted}"));
    let next = "name at least one signature algorithm, as in [ES256, RS256, EdDSA]";
    assert_eq!(issuer_problem("algorithms: []"), format!("{at}.algorithms: empty; {next}"));
    assert_eq!(issuer_problem("algorithms: ~"), format!("{at}.algorithms: missing; {next}"));
    assert_eq!(issuer_problem("issuer: ''"), format!("{at}.issuer: empty"));
    assert_eq!(issuer_problem("issuer: ~"), format!("{at}.issuer: missing; the exact `iss` claim of its tokens"));
}

#[test]
fn r10_not_everybody_is_a_trusted_proxy() {
    for everybody in ["0.0.0.0/0", "::/0"] {
        let problem = problem(&format!("server: {{trusted_proxies: ['{everybody}']}}"));
        assert!(problem.contains("is every address"), "{problem}");
    }
    let config = good(&format!("{SMALLEST}server: {{trusted_proxies: [10.0.0.0/8, '::1', 192.0.2.7]}}"));
    let networks: Vec<_> = config.server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "::1/128", "192.0.2.7/32"]);
}

#[test]
fn rules_that_span_keys() {
    let cases = [
        (
            "upstream: {url: 'https://h', client_cert_file: /a}",
            "line 3: upstream.client_cert_file: needs upstream.client_key_file; name both files or none",
        ),
        (
            "upstream: {url: 'https://h', client_key_file: /a}",
            "line 3: upstream.client_key_file: needs upstream.client_cert_file; name both files or none",
        ),
        (
            "server: {tls: {cert_file: /a, key_file: /b, client_crl_file: /c}}",
            "line 4: server.tls.client_crl_file: needs server.tls.client_ca_file: without it no client certificate is asked \
             for; name the file with the clients' authorities",
        ),
        ("server: {tls: {cert_file: /a}}", "line 4: server.tls.key_file: missing; name the file with the private key"),
        (
            "admin: {tls: {key_file: /a}}",
            "line 4: admin.tls.cert_file: missing; name the file with the certificate chain",
        ),
        (
            "admin: {listen: '127.0.0.1:8080'}",
            "line 4: admin.listen: 127.0.0.1:8080 meets server.listen 127.0.0.1:8080; give them different ports",
        ),
        (
            "admin: {listen: '0.0.0.0:8080'}",
            "line 4: admin.listen: 0.0.0.0:8080 meets server.listen 127.0.0.1:8080; give them different ports",
        ),
        (
            "sessions: {callback: {uri: 'https://a', service_token_file: /t}}",
            "warning: line 4: sessions.callback: not used: keep_alive is poll; set keep_alive: heartbeat, or remove it",
        ),
        (
            "sessions: {keep_alive: heartbeat, callback: {uri: 'https://a'}}",
            "line 4: sessions.callback.service_token_file: missing; name the file with the token that the gateway shows",
        ),
        (
            "server: {max_connections: 10}",
            "warning: server.max_downloads: 1024 can never be reached: it is more than server.max_connections",
        ),
    ];
    for (section, wanted) in cases {
        let problem = problem(section);
        // A key that was not written has its group's line, or none.
        assert!(problem == wanted || problem.replace("line 4: ", "") == wanted, "{problem}");
    }
    let problem = problem("sessions: {keep_alive: heartbeat}");
    assert!(problem.starts_with("line 4: sessions.keep_alive: heartbeat needs sessions.callback"), "{problem}");
}

#[test]
fn pseudonym_keys_are_kept_apart_from_the_log_and_its_signing_key() {
    let found = good(&format!("{SMALLEST}audit: {{dir: /log, signing_key_file: /sign, pseudonym_key_file: /names}}"));
    assert_eq!(found.audit.pseudonym_key_file, Some(PathBuf::from("/names")));
    assert_eq!(
        problem("audit: {signing_key_file: /sign, pseudonym_key_file: /sign}"),
        "line 4: audit.pseudonym_key_file: the file of audit.signing_key_file, which others may have to hold; \
         give it a file of its own: openssl rand -base64 32"
    );
    assert_eq!(
        problem("audit: {dir: /log, pseudonym_key_file: /log/names}"),
        "line 4: audit.pseudonym_key_file: lies in audit.dir; \
         keep it elsewhere: whoever may read the log could name everybody in it"
    );
}

#[test]
fn a_store_is_whole_and_alone() {
    let redis = "redis: {url_file: /u, key_file: /k";
    let state = "state_file: /s, state_key_file: /k";
    let at = "line 4: sessions";
    for (section, wanted) in [
        (
            format!("store: {{{redis}, lease: 2999ms}}}}"),
            format!(
                "{at}.store.redis.lease: 2999ms is less than three times sessions.store.redis.timeout 1s; at least 3s, or a shorter timeout"
            ),
        ),
        (
            format!("store: {{{redis}, prefix: 'a{{b}}'}}}}"),
            format!("{at}.store.redis.prefix: \"a{{b}}\" is not made of letters, digits, `.`, `_`, `-` and `:`"),
        ),
        (
            "store: {redis: {url_file: /u}}".to_owned(),
            format!(
                "{at}.store.redis.key_file: missing; name a file with a key, the same for all replicas: openssl rand -base64 32"
            ),
        ),
        (
            "store: {redis: {key_file: /k}}".to_owned(),
            format!(
                "{at}.store.redis.url_file: missing; name the file with the server's URL, rediss://user:password@host:6379/0"
            ),
        ),
        (
            format!("{state}, store: {{{redis}}}}}"),
            format!(
                "{at}.state_file: given beside sessions.store redis, which keeps sessions over a crash itself; remove it, or set store: memory"
            ),
        ),
        (
            "state_file: /s".to_owned(),
            format!(
                "{at}.state_file: needs sessions.state_key_file; name a file with the key that seals it: openssl rand -base64 32"
            ),
        ),
        (
            "state_key_file: /k".to_owned(),
            format!("warning: {at}.state_key_file: not used: there is no sessions.state_file"),
        ),
        ("sign_ins: {at_once: 0}".to_owned(), format!("{at}.sign_ins.at_once: 0 is not a whole number from 1 to 1024")),
        (
            "sign_ins: {per_second: 10001}".to_owned(),
            format!("{at}.sign_ins.per_second: 10001 is not a whole number from 1 to 10000"),
        ),
        ("store: {redis: {}}".to_owned(), String::new()),
        ("store: {redis: {url_file: 5, key_file: 5}}".to_owned(), String::new()),
    ] {
        let section = format!("sessions: {{{section}}}");
        if wanted.is_empty() {
            let problems = read_text(&format!("{SMALLEST}{section}"), &Overrides::default()).expect_err("no files");
            assert_eq!(problems.len(), 2, "one a file: {problems:?}");
        } else {
            assert_eq!(problem(&section), wanted);
        }
    }
    let sessions = |section: &str| good(&format!("{SMALLEST}sessions: {{{section}}}")).sessions;
    let Store::Redis(found) = sessions(&format!("store: {{{redis}, lease: 3s}}}}")).store else { panic!("redis") };
    assert_eq!((found.prefix.as_str(), found.lease.as_secs(), found.timeout.as_millis()), ("ccgate", 3, 1000));
    assert_eq!((found.url_file, found.ca_file), (PathBuf::from("/u"), None));
    let state = StateFile { file: "/s".into(), key_file: "/k".into() };
    assert_eq!(sessions("state_file: /s, state_key_file: /k").store, Store::Memory(Some(state)));
    let sessions = sessions("sign_ins: {at_once: 1, per_second: 10000}, pass_through: true");
    assert_eq!(sessions.sign_ins, SignIns { at_once: 1, per_second: 10_000 });
    assert!(sessions.pass_through && sessions.store == Store::Memory(None));
}

#[test]
fn an_issuers_keys_come_from_one_trustworthy_place() {
    let at = "line 3: auth.issuers[0]";
    assert_eq!(
        issuer_problem("jwks_file: /a, jwks_url: 'https://a'"),
        format!("{at}.jwks_url: given beside jwks_file; keep one of the two")
    );
    for (keys, key) in [
        ("jwks_url: 'http://idp.example/j'", "jwks_url"),
        ("issuer: 'http://idp.example'", "issuer"),
        ("issuer: 'urn:idp'", "issuer"),
    ] {
        let problem = issuer_problem(keys);
        assert!(problem.starts_with(&format!("{at}.{key}: ")), "{problem}");
    }
    let issuer = |keys: &str| good(&SMALLEST.replace("issuer: 'https://idp.example'", keys)).auth.issuers.remove(0);
    assert_eq!(issuer("issuer: 'http://127.0.0.1:8001'").keys, KeySource::Discovery);
    assert_eq!(issuer("issuer: 'urn:idp', jwks_file: jwks.json").keys, KeySource::File("/etc/ccgate/jwks.json".into()));
    assert!(matches!(issuer("issuer: 'http://old.example/adfs', jwks_url: 'https://a/j'").keys, KeySource::Url(_)));
    let unused = issuer_problem("jwks_file: /a, ca_file: /b");
    assert_eq!(unused, format!("warning: {at}.ca_file: not used: the keys come from jwks_file"));
}

#[test]
fn two_entries_of_one_issuer_are_refused() {
    let one = "{issuer: 'https://a', audiences: [x], algorithms: [ES256]}";
    let problem = problem(&format!("auth: {{issuers: [{one}, {one}]}}"));
    assert!(problem.starts_with("line 3: auth.issuers[1].issuer: named twice"), "{problem}");
}

#[test]
fn names_of_files_start_from_where_they_were_written() {
    let overrides = Overrides {
        variables: vec![("CCGATE_AUDIT__DIR".into(), "log".into())],
        flags: vec![("policy.dir".into(), "rules".into())],
    };
    let text = format!("{SMALLEST}sessions: {{accounts_dir: accounts}}\naudit: {{dir: elsewhere}}\n");
    let (config, _) = read_text(&text, &overrides).expect("good");
    assert_eq!(config.sessions.accounts_dir, Path::new("/etc/ccgate/accounts"));
    assert_eq!(config.audit.dir, Path::new("log"));
    assert_eq!(config.policy.dir.as_deref(), Some(Path::new("rules")));
}

#[test]
fn r17_a_pasted_key_in_place_of_a_files_name_is_not_shown() {
    let problem = problem("audit: {signing_key_file: \"-----BEGIN PRIVATE KEY-----\\nhunter2\"}");
    assert_eq!(problem, "line 4: audit.signing_key_file: not the name of a file or folder");
}

#[test]
fn a_value_of_the_environment_is_named_by_its_variable() {
    let overrides = Overrides { variables: vec![("CCGATE_SERVER__LISTEN".into(), "here".into())], flags: vec![] };
    let problems = read_text(SMALLEST, &overrides).expect_err("no address");
    let wanted =
        "CCGATE_SERVER__LISTEN: server.listen: \"here\" is not an address and port, as in 127.0.0.1:8080 or [::1]:8080";
    assert_eq!(problems, [wanted]);
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = load(&dir.path().join("none.yaml"), &Overrides::default()).expect_err("no file");
    assert!(error.to_string().contains("cannot be read: No such file"), "{error}");
    let path = dir.path().join("big.yaml");
    std::fs::write(&path, " ".repeat(1024 * 1024 + 1)).expect("written");
    assert!(load(&path, &Overrides::default()).expect_err("too big").to_string().contains("larger than 1048576"));
    std::fs::write(&path, [0xff, 0xfe, b'a']).expect("written");
    assert!(load(&path, &Overrides::default()).expect_err("no UTF-8").to_string().contains("not UTF-8"));
    std::fs::write(&path, "version: 1\nserver: [\n").expect("written");
    let error = load(&path, &Overrides::default()).expect_err("no YAML").to_string();
    assert!(error.contains("line 2: not readable as one YAML document"), "{error}");
}

#[test]
fn the_hash_is_that_of_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("a.yaml");
    std::fs::write(&path, SMALLEST).expect("written");
    let plain = load(&path, &Overrides::default()).expect("good");
    assert_eq!((plain.hash.len(), &plain.hash), (64, &hash(SMALLEST.as_bytes())));
    assert_eq!(hash(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "FIPS 180-4");
    let overrides = Overrides { variables: vec![], flags: vec![("log.level".into(), "debug".into())] };
    let laid = load(&path, &overrides).expect("good");
    assert_eq!(laid.hash, plain.hash);
    assert_eq!(laid.config.log.level, Level::Debug);
}

/// Values of every kind, right and wrong, for a key.
fn some_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("~".to_owned()),
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just("[[]]".to_owned()),
        Just("{a: b}".to_owned()),
        Just("true".to_owned()),
        Just("''".to_owned()),
        Just("30s".to_owned()),
        Just("64KiB".to_owned()),
        Just("memory".to_owned()),
        Just("{redis: {url_file: /u, key_file: /k}}".to_owned()),
        Just("{redis: {lease: 1s, prefix: '{'}}".to_owned()),
        Just("{redis: ~}".to_owned()),
        Just("{memory: {}}".to_owned()),
        Just("{at_once: 5}".to_owned()),
        Just("'https://h'".to_owned()),
        Just("'127.0.0.1:0'".to_owned()),
        Just("[ES256]".to_owned()),
        Just("-1".to_owned()),
        (0_u64..100_000).prop_map(|number| number.to_string()),
        "[a-z/]{1,9}",
        "'[ -&(-~]{0,12}'",
    ]
}

/// Paths of all groups and keys, two levels deep.
fn some_key() -> impl Strategy<Value = (String, String)> {
    let mut all = Vec::new();
    for (section, group) in schema::keys(schema()) {
        all.extend(schema::keys(group).map(|(key, _)| (section.to_owned(), key.to_owned())));
    }
    prop::sample::select(all)
}

proptest! {
    /// What fits the schema can be read: no value of any key ends in "please report this".
    #[test]
    fn whatever_fits_the_schema_is_readable(entries in prop::collection::vec((some_key(), some_value()), 0..6)) {
        let entries: Vec<_> =
            entries.iter().map(|((section, key), value)| format!("{section}: {{{key}: {value}}}")).collect();
        let text = format!("{{{}}}", entries.join(", "));
        if Node::parse(&text).is_ok() {
            let read = interpret(&text, Path::new(""), &Overrides::default());
            prop_assert!(read.is_ok(), "{text}: {:?}", read.err());
            let Read { config, problems, .. } = read.expect("just seen");
            // Without `version` and `auth.issuers` there is always something to say.
            prop_assert!(config.is_none() || !problems.is_empty(), "{text}");
        }
    }
}
