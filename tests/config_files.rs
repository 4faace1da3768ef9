//! Holds the files of `config/` against the code: the reference names every key with its default and bounds, and the
//! examples are good.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what is wrong by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ccgate::config::{self, Config, Duration, Overrides, Size, Store};
use serde_json::Value;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn reference() -> String {
    fs::read_to_string(path("ccgate.reference.yaml")).expect("the reference")
}

fn load_text(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("ccgate.yaml");
    fs::write(&file, text).expect("written");
    config::load(&file, &Overrides::default()).map(|loaded| loaded.config).map_err(|errors| errors.to_string())
}

/// The group that may stand in a word's place.
fn either(schema: &Value) -> Option<&Value> {
    let forms = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    forms.into_iter().find(|form| form.get("properties").is_some())
}

/// Every key of the schema by its path; a list of groups counts as one group.
fn keys(schema: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    let group = either(schema).unwrap_or(schema);
    for (key, child) in group.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        found.insert(path.clone(), child.clone());
        keys(child, &path, found);
        keys(child.get("items").unwrap_or(&Value::Null), &path, found);
    }
}

/// A line of the reference that has a key.
#[derive(Debug)]
struct Line {
    value: String,
    /// What stands behind, and on comment lines directly above.
    comment: String,
    commented_out: bool,
}

/// The keys of the reference by their paths, those that are commented out included.
fn lines(text: &str) -> BTreeMap<String, Line> {
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut found = BTreeMap::new();
    let mut above = String::new();
    for line in text.lines() {
        let bare = line.trim_start();
        let commented_out = bare.starts_with('#');
        // A commented-out key keeps its column: `# dir:` and `#   cert_file:`.
        let shown =
            if commented_out { bare.trim_start_matches('#').strip_prefix(' ').unwrap_or_default() } else { bare };
        let indent = line.len() - bare.len() + shown.len() - shown.trim_start().len();
        let (indent, shown) = match shown.trim_start().strip_prefix("- ") {
            Some(item) => (indent + 2, item),
            None => (indent, shown.trim_start()),
        };
        let Some((key, rest)) =
            shown.split_once(':').filter(|(key, rest)| is_key(key) && (rest.is_empty() || rest.starts_with(' ')))
        else {
            above = if commented_out { format!("{above} {bare}") } else { String::new() };
            continue;
        };
        let (value, comment) = rest.split_once(" #").unwrap_or((rest, ""));
        parents.retain(|(column, _)| *column < indent);
        let path = parents.iter().map(|(_, key)| key.as_str()).chain([key]).collect::<Vec<_>>().join(".");
        parents.push((indent, key.to_owned()));
        let comment = format!("{comment} {}", std::mem::take(&mut above));
        let line = Line { value: value.trim().to_owned(), comment, commented_out };
        assert!(found.insert(path.clone(), line).is_none(), "{path} stands twice in the reference");
    }
    found
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn the_reference_names_every_key_and_no_other() {
    let mut known = BTreeMap::new();
    keys(config::schema(), "", &mut known);
    let written = lines(&reference());
    let missing: Vec<_> = known.keys().filter(|path| !written.contains_key(*path)).collect();
    let strange: Vec<_> = written.keys().filter(|path| !known.contains_key(*path)).collect();
    assert!(missing.is_empty() && strange.is_empty(), "missing: {missing:?}, not in the code: {strange:?}");
}

#[test]
fn the_reference_shows_the_defaults_of_the_code() {
    let mut known = BTreeMap::new();
    keys(config::schema(), "", &mut known);
    for (path, line) in lines(&reference()) {
        let schema = &known[&path];
        let group = schema.get("properties").is_some() || schema["items"].get("properties").is_some();
        match schema.get("default") {
            _ if group => {}
            Some(default) => {
                let text = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
                assert_eq!(line.value, text, "{path}");
                // The default store is another one; by default nothing is shipped or exported and nobody witnesses.
                let others = ["sessions.store.", "audit.ship.", "audit.witnesses.", "telemetry.otlp."];
                let other = others.iter().any(|other| path.starts_with(other));
                let stands = other == line.commented_out;
                assert!(stands, "{path} has a default: it stands without #");
            }
            None if line.comment.contains("required") => assert!(!line.commented_out, "{path} is required"),
            None => assert!(line.commented_out || path == "policy", "{path} has no default: it stands behind #"),
        }
    }
}

#[test]
fn the_reference_names_the_bounds_of_the_code() {
    let mut known = BTreeMap::new();
    keys(config::schema(), "", &mut known);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut checked = 0;
    for (path, line) in lines(&reference()) {
        let schema = &known[&path];
        for (min, max) in [("x-min", "x-max"), ("minimum", "maximum")] {
            if let (Some(min), Some(max)) = (schema.get(min), schema.get(max))
                && min != max
            {
                let bounds = format!("{} to {}", text(min), text(max));
                assert!(line.comment.contains(&bounds), "{path}: {bounds} is not in {:?}", line.comment);
                checked += 1;
            }
        }
        let required: Vec<_> = ["version", "upstream.url", "auth.issuers", "auth.issuers.issuer"].into();
        if required.contains(&path.as_str()) {
            assert!(line.comment.contains("required"), "{path}");
        }
    }
    assert!(checked >= 19, "{checked} bounds");
}

/// A group's mark counts for all that is in it.
#[test]
fn the_reference_marks_what_waits_for_a_start() {
    let written = lines(&reference());
    let marked: Vec<_> =
        written.iter().filter(|(_, line)| line.comment.contains("(start)")).map(|(path, _)| path).collect();
    let mut wait: Vec<_> = config::START_ONLY.iter().map(|key| key.path).collect();
    wait.sort_unstable();
    assert_eq!(marked, wait, "the reference's marks and the code's table");
}

#[test]
fn the_reference_is_a_good_configuration_with_the_defaults() {
    let reference = load_text(&reference()).expect("the reference is good");
    let smallest = "version: 1\nupstream: {url: 'https://10.244.154.23:8043'}\n\
        auth: {issuers: [{issuer: 'https://idp.internal.example', audiences: [ccgate], algorithms: [ES256, RS256, EdDSA]}]}\n";
    assert_eq!(reference, load_text(smallest).expect("the smallest file is good"));
}

/// Each optional key of the reference can be used as it stands there.
#[test]
fn what_is_commented_out_in_the_reference_is_good_too() {
    let redis =
        uncommented(&["urls", "jwks_file", "state_file", "state_key_file", "nats"]).replace("store: memory ", "store:");
    let state = uncommented(&["urls", "jwks_file", "redis"]).replace("ship: none ", "ship:");
    for text in [redis, state].map(|text| text.replace("witnesses: [] ", "witnesses:")) {
        let config = load_text(&text).expect("good");
        assert_eq!(config.audit.witnesses.len(), 1);
        let (server, admin) = (&config.server, &config.admin);
        assert!(server.tls.is_some() && admin.tls.is_some() && config.policy.dir.is_some(), "{text}");
        assert!(config.sessions.callback.is_some() && config.sessions.store != Store::Memory(None), "{text}");
        assert!(
            config.upstream.client.tls.client_cert.is_some() && config.audit.signing_key_file.ends_with("audit.key")
        );
    }
}

/// The reference with every key in use but these, which may be groups.
fn uncommented(but: &[&str]) -> String {
    let mut text = String::new();
    let mut left_out = usize::MAX;
    for line in reference().lines() {
        let (indent, bare) = line.split_at(line.len() - line.trim_start().len());
        let key = bare.strip_prefix("# ").filter(|rest| {
            // The first key of a list's item stands behind a dash.
            rest.trim_start()
                .trim_start_matches("- ")
                .split_once(':')
                .is_some_and(|(key, value)| is_key(key) && (value.is_empty() || value.starts_with(' ')))
        });
        let column = key.map_or(0, |key| indent.len() + key.len() - key.trim_start().len());
        left_out = match key.and_then(|key| key.trim_start().split_once(':')) {
            Some(_) if column > left_out => left_out,
            Some((name, _)) if but.contains(&name) => column,
            _ => usize::MAX,
        };
        let key = key.filter(|_| left_out == usize::MAX);
        text.push_str(&key.map_or_else(|| line.to_owned(), |key| format!("{indent}{key}")));
        text.push('\n');
    }
    text.replace("policy: {}", "policy:")
        .replace("telemetry: {}", "telemetry:")
        .replace("keep_alive: poll ", "keep_alive: heartbeat ")
}

#[test]
fn the_examples_are_good_and_warn_of_nothing() {
    for name in ["demo.yaml", "production.yaml", "ccgate.reference.yaml"] {
        let loaded = config::load(&path(name), &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
    }
}

#[test]
fn units_are_public_and_strict() {
    assert!("30s".parse::<Duration>().is_ok() && "30".parse::<Duration>().is_err());
    assert!("64KiB".parse::<Size>().is_ok() && "64".parse::<Size>().is_err());
}
