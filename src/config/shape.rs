//! Holds a tree against the schema and takes out what does not fit, so that the rest can be read and checked in the same
//! run. It knows no key by name and no rule that spans two keys.

use std::collections::BTreeSet;

use serde_json::Value as Schema;

use super::problem::{Problem, shown, shown_key};
use super::schema::{child, choices, either, keys, plain, schema};
use super::tree::{Node, Value};
use super::units::{Duration, Size};

/// What [`fit`] found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What does not fit.
    pub(super) problems: Vec<Problem>,
    /// Paths of the keys that were taken out; nobody need complain that they are missing.
    pub(super) dropped: BTreeSet<String>,
}

/// Makes the tree fit the schema: afterwards each value in it is of the type and in the bounds of its key.
pub(super) fn fit(tree: &mut Node) -> Findings {
    let mut findings = Findings::default();
    if matches!(tree.value, Value::Null) {
        tree.value = Value::Map(Vec::new());
    }
    if let Err(problem) = value(tree, schema(), "", &mut findings) {
        findings.problems.push(problem);
        *tree = Node::empty(tree.origin.clone());
    }
    findings
}

/// One value; an error means that it is to be taken out.
fn value(node: &mut Node, schema: &Schema, path: &str, findings: &mut Findings) -> Result<(), Problem> {
    let kind = schema.get("type").and_then(Schema::as_str).unwrap_or("string");
    let origin = node.origin.clone();
    if either(schema).is_some() {
        return word_or_group(node, schema, path, findings).map_err(|problem| problem.at(origin));
    }
    let checked = match (kind, &mut node.value) {
        ("object", Value::Map(entries)) => match number(schema, "maxProperties") {
            Some(max) if entries.len() as u64 > max => {
                Err(Problem::error(path, format!("{} entries, at most {max}", entries.len()), ""))
            }
            _ => {
                group(entries, schema, path, findings);
                Ok(())
            }
        },
        ("array", Value::List(items)) => list(items, schema, path, findings),
        ("string", Value::Text(value)) => text(value, schema, path),
        ("integer", Value::Number(number)) => integer(number, schema, path),
        ("boolean", Value::Bool(_)) => Ok(()),
        _ => Err(wrong_type(node, kind, schema, path)),
    };
    checked.map_err(|problem| problem.at(origin))
}

/// One of some words, or a group in which one key stands.
fn word_or_group(node: &mut Node, schema: &Schema, path: &str, findings: &mut Findings) -> Result<(), Problem> {
    let forms = format!("{} or {{{}: …}}", choices(schema).join(" or "), names(schema));
    match &mut node.value {
        Value::Text(word) if child(schema, word).is_some() => {
            let keys = child(schema, word).map(names).unwrap_or_default();
            Err(Problem::error(path, format!("{word} is a group"), format!("write {word}: {{…}}; its keys are {keys}")))
        }
        Value::Text(word) => text(word, schema, path).map_err(|problem| {
            let next = if problem.next.is_empty() { format!("write {forms}") } else { problem.next };
            Problem { next, ..problem }
        }),
        Value::Map(entries) => {
            let before = findings.problems.len();
            group(entries, schema, path, findings);
            match (entries.is_empty(), findings.problems.len() > before) {
                (false, _) => Ok(()),
                (true, false) => Err(Problem::error(path, "empty", format!("write {forms}"))),
                // Nothing is left of it, which has been told.
                (true, true) => {
                    findings.dropped.insert(path.to_owned());
                    node.value = Value::Null;
                    Ok(())
                }
            }
        }
        _ => Err(Problem::error(path, format!("{} where {forms} belongs", node.kind()), "")),
    }
}

fn wrong_type(node: &Node, kind: &str, schema: &Schema, path: &str) -> Problem {
    let wanted = match kind {
        "object" => "a group of keys",
        "array" => "a list",
        "integer" => "a whole number",
        "boolean" => "true or false",
        _ => "a text",
    };
    let next = match (kind, &node.value, schema.get("x-kind").and_then(Schema::as_str)) {
        (_, Value::Number(_), Some("duration")) => "a duration has a unit: 250ms, 30s, 5m, 24h".to_owned(),
        (_, Value::Number(_), Some("size")) => "a size has a unit: 512B, 64KiB, 1GiB".to_owned(),
        ("string", Value::Number(_) | Value::Bool(_), _) => "put it in quotes".to_owned(),
        ("array", Value::Text(_) | Value::Number(_), _) => "write it as a list: [first, second]".to_owned(),
        ("object", ..) => format!("its keys are {}", names(schema)),
        ("string", ..) if !choices(schema).is_empty() => format!("one of {}", choices(schema).join(", ")),
        _ => String::new(),
    };
    Problem::error(path, format!("{} where {wanted} belongs", node.kind()), next)
}

/// Checks a group's keys and keeps those that are known, given once, and fit.
fn group(entries: &mut Vec<(String, Node)>, schema: &Schema, path: &str, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    entries.retain_mut(|(key, node)| {
        let path = join(path, key);
        let Some(child) = child(schema, key) else {
            findings.problems.push(unknown(&path, key, schema).at(node.origin.clone()));
            return false;
        };
        if !seen.insert(key.clone()) {
            let problem = Problem::error(path, "given twice", "keep one of the two");
            findings.problems.push(problem.at(node.origin.clone()));
            return false;
        }
        // A key without a value is as good as no key.
        if matches!(node.value, Value::Null) {
            return false;
        }
        match value(node, child, &path, findings) {
            Ok(()) => !matches!(node.value, Value::Null),
            Err(problem) => {
                findings.problems.push(problem);
                findings.dropped.insert(path);
                false
            }
        }
    });
}

/// Checks a list's items. Taking one out would renumber the others, so a list with a bad item goes as a whole.
fn list(items: &mut [Node], schema: &Schema, path: &str, findings: &mut Findings) -> Result<(), Problem> {
    if let Some(max) = number(schema, "maxItems")
        && items.len() as u64 > max
    {
        return Err(Problem::error(path, format!("{} items, at most {max}", items.len()), ""));
    }
    let Some(schema) = schema.get("items") else { return Ok(()) };
    let mut fits = Ok(());
    for (index, item) in items.iter_mut().enumerate() {
        if let Err(problem) = value(item, schema, &format!("{path}[{index}]"), findings)
            && let Err(earlier) = std::mem::replace(&mut fits, Err(problem))
        {
            findings.problems.push(earlier);
        }
    }
    fits
}

fn text(value: &str, schema: &Schema, path: &str) -> Result<(), Problem> {
    let shown = if schema.get("x-secret").is_some() { "the value".to_owned() } else { shown(value) };
    let refuse = |what: String, next: String| Err(Problem::error(path, what, next));
    let choices = choices(schema);
    if !choices.is_empty() && !choices.contains(&value) {
        let near = nearest(value, choices.iter().copied());
        let next = near.map(|near| format!("did you mean {near}?")).unwrap_or_default();
        return refuse(format!("{shown} is none of {}", choices.join(", ")), next);
    }
    let length = value.chars().count() as u64;
    match (number(schema, "minLength"), number(schema, "maxLength")) {
        (Some(min), _) if length < min => return refuse("empty".to_owned(), String::new()),
        (_, Some(max)) if length > max => return refuse(format!("{length} characters, at most {max}"), String::new()),
        _ => {}
    }
    let bounds = (schema.get("x-min").map(plain), schema.get("x-max").map(plain));
    match (schema.get("x-kind").and_then(Schema::as_str), bounds) {
        (Some("duration"), (Some(min), Some(max))) => within::<Duration>(value, &min, &max, path),
        (Some("size"), (Some(min), Some(max))) => within::<Size>(value, &min, &max, path),
        _ => Ok(()),
    }
}

/// A value with a unit, between two others.
fn within<T>(value: &str, min: &str, max: &str, path: &str) -> Result<(), Problem>
where
    T: std::str::FromStr + PartialOrd,
    T::Err: std::fmt::Display,
{
    let parsed =
        value.parse::<T>().map_err(|error| Problem::error(path, format!("{} is {error}", shown(value)), ""))?;
    let inside = min.parse().is_ok_and(|min| parsed >= min) && max.parse().is_ok_and(|max| parsed <= max);
    if inside { Ok(()) } else { Err(Problem::error(path, format!("{value} is not from {min} to {max}"), "")) }
}

fn integer(value: &serde_json::Number, schema: &Schema, path: &str) -> Result<(), Problem> {
    let (min, max) = (number(schema, "minimum").unwrap_or(0), number(schema, "maximum").unwrap_or(u64::MAX));
    if value.as_u64().is_some_and(|value| (min..=max).contains(&value)) {
        return Ok(());
    }
    let bound = if min == max { format!("not {min}") } else { format!("not a whole number from {min} to {max}") };
    Err(Problem::error(path, format!("{value} is {bound}"), ""))
}

fn number(schema: &Schema, key: &str) -> Option<u64> {
    schema.get(key).and_then(Schema::as_u64)
}

/// A key that is not known there; names the nearest that is, else the group that it belongs to, else all that are known.
pub(super) fn unknown(path: &str, key: &str, group: &Schema) -> Problem {
    // Whoever writes a secret itself means the key that names its file.
    let of_file = keys(group).map(|(name, _)| name).find(|name| name.strip_suffix("_file") == Some(key));
    let near = of_file.or_else(|| nearest(key, keys(group).map(|(name, _)| name)));
    let next = match (near, home(key)) {
        (Some(near), _) => format!("did you mean {near}?"),
        (None, Some(home)) => format!("did you mean {home}?"),
        (None, None) => format!("known here: {}", names(group)),
    };
    let parent = path.strip_suffix(key).unwrap_or_default();
    Problem::error(format!("{parent}{}", shown_key(key)), "unknown key", next)
}

/// The path of the one key of this name two levels deep, as in `server.listen`; none where there are several.
fn home(key: &str) -> Option<String> {
    let sections = keys(schema()).filter(|(_, section)| child(section, key).is_some());
    let mut homes = sections.map(|(name, _)| format!("{name}.{key}"));
    homes.next().filter(|_| homes.next().is_none())
}

/// The known word that a person most likely meant: at most a third of its letters differ.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let distance = |known: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &known.to_lowercase());
    let near = known.map(|known| (distance(known), known)).min_by_key(|(distance, _)| *distance)?;
    (near.0 <= near.1.len().div_ceil(3)).then_some(near.1)
}

fn names(group: &Schema) -> String {
    keys(group).map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

/// The path of a key in a group.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a text, one line each; nothing of what it tells is about missing keys.
    fn problems(text: &str) -> Vec<String> {
        let mut tree = Node::parse(text).expect("YAML");
        fit(&mut tree).problems.iter().map(ToString::to_string).collect()
    }

    fn problem(text: &str) -> String {
        let mut problems = problems(text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        problems.remove(0)
    }

    #[test]
    fn an_unknown_key_names_the_nearest_or_its_home_or_all() {
        let cases = [
            ("upstraem: {}", "line 1: upstraem: unknown key; did you mean upstream?"),
            (
                "upstream:\n  conect_timeout: 2s",
                "line 2: upstream.conect_timeout: unknown key; did you mean connect_timeout?",
            ),
            (
                "upstream: {accounts_dir: /a}",
                "line 1: upstream.accounts_dir: unknown key; did you mean sessions.accounts_dir?",
            ),
            ("log: {zzz: 1}", "line 1: log.zzz: unknown key; known here: level, format"),
            ("log: {Level: info}", "line 1: log.Level: unknown key; did you mean level?"),
        ];
        for (text, wanted) in cases {
            assert_eq!(problem(text), wanted);
        }
        assert!(
            problem(&format!("{}: 1", "k".repeat(90))).starts_with("line 1: (a key of 90 characters): unknown key")
        );
    }

    #[test]
    fn a_wrong_type_says_what_belongs_there() {
        let cases = [
            ("server: 5", "line 1: server: a number where a group of keys belongs; its keys are "),
            (
                "server: {trusted_proxies: 10.0.0.0/8}",
                "line 1: server.trusted_proxies: a text where a list belongs; write it as a list",
            ),
            (
                "server: {header_timeout: 10}",
                "line 1: server.header_timeout: a number where a text belongs; a duration has a unit",
            ),
            (
                "audit: {segment_size: 65536}",
                "line 1: audit.segment_size: a number where a text belongs; a size has a unit",
            ),
            (
                "upstream: {server_name: 10}",
                "line 1: upstream.server_name: a number where a text belongs; put it in quotes",
            ),
            ("server: {max_connections: many}", "line 1: server.max_connections: a text where a whole number belongs"),
            ("auth: {issuers: [a]}", "line 1: auth.issuers[0]: a text where a group of keys belongs"),
            ("[]", "a list where a group of keys belongs; its keys are "),
        ];
        for (text, wanted) in cases {
            let problem = problem(text);
            assert!(problem.starts_with(wanted), "{problem}");
        }
    }

    #[test]
    fn a_value_out_of_bounds_names_the_bound() {
        let cases = [
            ("server: {header_timeout: 50ms}", "line 1: server.header_timeout: 50ms is not from 100ms to 60s"),
            ("server: {header_timeout: 2m}", "line 1: server.header_timeout: 2m is not from 100ms to 60s"),
            ("server: {max_connections: 0}", "line 1: server.max_connections: 0 is not a whole number from 1 to 65536"),
            (
                "server: {max_connections: -1}",
                "line 1: server.max_connections: -1 is not a whole number from 1 to 65536",
            ),
            (
                "server: {max_connections: 1.5}",
                "line 1: server.max_connections: 1.5 is not a whole number from 1 to 65536",
            ),
            ("audit: {segment_size: 1KiB}", "line 1: audit.segment_size: 1KiB is not from 64KiB to 4GiB"),
            ("version: 2", "line 1: version: 2 is not 1"),
            (
                "log: {level: inf}",
                "line 1: log.level: \"inf\" is none of error, warn, info, debug, trace; did you mean info?",
            ),
            ("upstream: {server_name: ''}", "line 1: upstream.server_name: empty"),
        ];
        for (text, wanted) in cases {
            assert_eq!(problem(text), wanted);
        }
        let many = format!("server: {{trusted_proxies: [{}]}}", "10.0.0.0/8,".repeat(65));
        assert_eq!(problem(&many), "line 1: server.trusted_proxies: 65 items, at most 64");
    }

    #[test]
    fn symmetric_algorithms_cannot_be_named() {
        for name in ["none", "HS256", "HS512", "es256"] {
            let problem = problem(&format!("auth: {{issuers: [{{algorithms: [{name}]}}]}}"));
            assert!(problem.contains("is none of ES256, ES384, RS256"), "{problem}");
        }
    }

    #[test]
    fn every_bad_item_of_a_list_is_told() {
        let found = problems("auth:\n  issuers:\n    - algorithms: [none, RS256, HS256]\n    - isuer: x\n");
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn what_does_not_fit_is_taken_out_and_the_rest_stays() {
        let mut tree =
            Node::parse("log: {level: loud, format: text}\nversion: 1\nversion: 1\nadmin: ~\n").expect("YAML");
        let findings = fit(&mut tree);
        assert_eq!(tree.into_json(), serde_json::json!({"log": {"format": "text"}, "version": 1}));
        assert_eq!(findings.dropped.into_iter().collect::<Vec<_>>(), ["log.level"]);
        assert_eq!(findings.problems.len(), 2);
    }

    #[test]
    fn a_store_is_a_word_or_a_group() {
        let at = "line 1: sessions.store";
        let redis = "url_file, key_file, ca_file, prefix, lease, timeout";
        for (store, wanted) in [
            ("memry", format!("{at}: \"memry\" is none of memory; did you mean memory?")),
            ("disk", format!("{at}: \"disk\" is none of memory; write memory or {{redis: …}}")),
            ("redis", format!("{at}: redis is a group; write redis: {{…}}; its keys are {redis}")),
            ("5", format!("{at}: a number where memory or {{redis: …}} belongs")),
            ("[memory]", format!("{at}: a list where memory or {{redis: …}} belongs")),
            ("{}", format!("{at}: empty; write memory or {{redis: …}}")),
            ("{redis: ~}", format!("{at}: empty; write memory or {{redis: …}}")),
            ("{redis: yes}", format!("{at}.redis: a text where a group of keys belongs; its keys are {redis}")),
            ("{redis: {url: 'redis://h'}}", format!("{at}.redis.url: unknown key; did you mean url_file?")),
            ("{memory: {}}", format!("{at}.memory: unknown key; known here: redis")),
            ("{redis: {lease: 61s}}", format!("{at}.redis.lease: 61s is not from 1s to 60s")),
            ("{redis: {timeout: 10ms}}", format!("{at}.redis.timeout: 10ms is not from 50ms to 10s")),
            ("{redis: {prefix: ''}}", format!("{at}.redis.prefix: empty")),
        ] {
            assert_eq!(problem(&format!("sessions: {{store: {store}}}")), wanted);
        }
        let mut tree = Node::parse("sessions: {store: {redis: 5}}").expect("YAML");
        let dropped = fit(&mut tree).dropped;
        assert_eq!(tree.into_json(), serde_json::json!({"sessions": {}}), "what is left of it can be read");
        assert_eq!(dropped.into_iter().collect::<Vec<_>>(), ["sessions.store", "sessions.store.redis"]);
    }
}
