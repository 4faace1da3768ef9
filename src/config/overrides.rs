//! Values from the environment and the command line, laid over the file. Precedence: flag, environment, file.
//!
//! `CCGATE_SERVER__LISTEN=127.0.0.1:9000` is the key `server.listen`; lists and groups are YAML in one line, as in
//! `CCGATE_AUTH__ISSUERS=[{issuer: …}]`. A variable without `__` is no key. Two of those are ours, [`CONFIG_VARIABLE`] and
//! [`FILTER_VARIABLE`]; those that Kubernetes sets for a Service named `ccgate` (`CCGATE_SERVICE_HOST`, `CCGATE_PORT_…`) are
//! left alone.

use std::ffi::OsString;
use std::sync::Arc;

use serde_json::Value as Schema;

use super::problem::{Origin, Problem, shown_key};
use super::schema::{child, either, keys, schema};
use super::shape::{join, nearest, unknown};
use super::tree::{Node, Value};

/// Names the config file, for commands that need one.
pub const CONFIG_VARIABLE: &str = "CCGATE_CONFIG";
/// Filter of the program's own log, in the syntax of `RUST_LOG`; wins over `log.level`.
pub const FILTER_VARIABLE: &str = "CCGATE_LOG_FILTER";

const PREFIX: &str = "CCGATE_";

/// What is laid over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Environment variables, name and value; those that are no keys are passed over.
    pub variables: Vec<(OsString, OsString)>,
    /// `--set KEY=VALUE`, in order; a later one wins.
    pub flags: Vec<(String, String)>,
}

impl Overrides {
    /// The process's environment and these flags.
    pub fn from_env(flags: Vec<(String, String)>) -> Self {
        Self { variables: std::env::vars_os().collect(), flags }
    }

    /// Lays all over the tree; what can't be laid is a problem.
    pub(super) fn apply(&self, tree: &mut Node) -> Vec<Problem> {
        let mut problems = Vec::new();
        let ours = |(name, value): &(OsString, OsString)| Some((name.to_str()?.to_owned(), value.clone()));
        let mut variables: Vec<_> =
            self.variables.iter().filter_map(ours).filter(|(name, _)| name.starts_with(PREFIX)).collect();
        // By name, so that a group (`CCGATE_SERVER__TLS`) comes before its keys, which then win.
        variables.sort();
        for (name, value) in variables {
            if let Err(problem) = variable(tree, &name, value) {
                problems.push(problem.at(Origin::Variable(name.into())));
            }
        }
        for (key, value) in &self.flags {
            let path: Vec<String> = key.split('.').map(str::to_owned).collect();
            if let Err(problem) = lay(tree, &path, value, &Origin::Flag) {
                problems.push(problem.at(Origin::Flag));
            }
        }
        problems
    }
}

/// One variable that starts with our prefix.
fn variable(tree: &mut Node, name: &str, value: OsString) -> Result<(), Problem> {
    let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(()) };
    if !rest.contains("__") {
        return stray(name, rest);
    }
    let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
    let Ok(value) = value.into_string() else {
        return Err(Problem::error(path.join("."), "not UTF-8", ""));
    };
    lay(tree, &path, &value, &Origin::Variable(Arc::from(name)))
}

/// A variable that is no key by its form: an error where a key was plainly meant, so that no setting is lost in silence.
fn stray(name: &str, rest: &str) -> Result<(), Problem> {
    if name == CONFIG_VARIABLE || name == FILTER_VARIABLE || of_kubernetes(rest) {
        return Ok(());
    }
    let meant = |(section, schema): (&str, &Schema)| {
        let key = rest.to_ascii_lowercase();
        let key = key.strip_prefix(section)?.strip_prefix('_')?.to_owned();
        let known = keys(schema).find(|(known, _)| key.starts_with(known))?;
        Some(format!("{PREFIX}{}__{}", section, known.0).to_ascii_uppercase())
    };
    if let Some(meant) = keys(schema()).find_map(meant) {
        return Err(Problem::error("", "no key: groups end with two underscores", format!("did you mean {meant}?")));
    }
    let next = format!("its keys look like {PREFIX}SERVER__LISTEN; rename a variable that is meant for something else");
    Err(Problem { severity: super::Severity::Warning, ..Problem::error("", "not used by ccgate", next) })
}

/// Whether Kubernetes makes such a variable for a Service whose name starts with `ccgate` (service links).
fn of_kubernetes(rest: &str) -> bool {
    let service = |rest: &str| rest == "SERVICE_HOST" || rest == "SERVICE_PORT" || rest.starts_with("SERVICE_PORT_");
    let port = |rest: &str| {
        rest == "PORT"
            || rest.strip_prefix("PORT_").is_some_and(|rest| {
                let number = rest.split('_').next().unwrap_or_default();
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
    };
    // The Service may be `ccgate`, or `ccgate-admin`: then a part of its name stands before.
    let starts = std::iter::once(0).chain(rest.match_indices('_').map(|(at, _)| at + 1));
    starts.filter_map(|at| rest.get(at..)).any(|rest| service(rest) || port(rest))
}

/// Lays one value at a path of keys.
fn lay(tree: &mut Node, path: &[String], text: &str, origin: &Origin) -> Result<(), Problem> {
    let mut at = String::new();
    let mut schema = schema();
    for (depth, key) in path.iter().enumerate() {
        // What is laid inside a group wins over the word that stands in its place.
        if either(schema).is_some() {
            tree.open(path.get(..depth).unwrap_or_default());
        }
        let above = at;
        at = join(&above, key);
        schema = match child(schema, key) {
            Some(child) => child,
            None if keys(schema).next().is_none() => {
                let what = format!("unknown key: {} stands in no group", shown_key(key));
                let at = join(&above, &shown_key(key));
                return Err(Problem::error(at, what, "a list is given as a whole, as in [first, second]"));
            }
            None => return Err(unknown(&at, key, schema)),
        };
    }
    let value = match schema.get("type").and_then(Schema::as_str) {
        // A text is taken as it stands: in YAML, `no` or `a: b` would be something else.
        Some("string") | None if either(schema).is_none() => {
            Node { origin: origin.clone(), value: Value::Text(text.to_owned()) }
        }
        _ => Node::parse(text)
            .map_err(|_| Problem::error(at, "not readable as YAML", "a list is written [a, b], a group {key: value}"))?
            .written_at(origin),
    };
    tree.put(path, value);
    Ok(())
}

/// `KEY=VALUE` of `--set`.
pub fn parse_flag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, as in server.listen=127.0.0.1:9000")?;
    let all = keys(schema()).map(|(name, _)| name);
    match key.split('.').next() {
        Some(section) if child(schema(), section).is_none() => match nearest(section, all) {
            Some(near) => Err(format!("unknown key {}; did you mean {near}?", shown_key(section))),
            None => Err(format!("unknown key {}", shown_key(section))),
        },
        _ => Ok((key.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Overrides {
        Overrides { variables: pairs.iter().map(|(name, value)| (name.into(), value.into())).collect(), flags: vec![] }
    }

    fn laid(file: &str, overrides: &Overrides) -> (serde_json::Value, Vec<String>) {
        let mut tree = Node::parse(file).expect("YAML");
        let problems = overrides.apply(&mut tree).iter().map(ToString::to_string).collect();
        (tree.into_json(), problems)
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let file = "server: {listen: '127.0.0.1:1', max_connections: 5}\n";
        let mut overrides = env(&[("CCGATE_SERVER__LISTEN", "127.0.0.1:2"), ("CCGATE_SERVER__MAX_DOWNLOADS", "7")]);
        let server = |listen: &str| json!({"server": {"listen": listen, "max_connections": 5, "max_downloads": 7}});
        assert_eq!(laid(file, &overrides), (server("127.0.0.1:2"), vec![]));
        overrides.flags =
            vec![("server.listen".into(), "127.0.0.1:3".into()), ("server.listen".into(), "127.0.0.1:4".into())];
        assert_eq!(laid(file, &overrides), (server("127.0.0.1:4"), vec![]));
    }

    #[test]
    fn lists_and_groups_are_yaml_and_texts_are_not() {
        let overrides = env(&[
            ("CCGATE_SERVER__TRUSTED_PROXIES", "[10.0.0.0/8, '::1']"),
            ("CCGATE_SERVER__TLS", "{cert_file: /a, key_file: /b}"),
            ("CCGATE_SERVER__TLS__KEY_FILE", "/c"),
            ("CCGATE_UPSTREAM__SERVER_NAME", "no"),
            ("CCGATE_SERVER__CORS__ALLOWED_ORIGINS", "[https://a"),
        ]);
        let (tree, problems) = laid("", &overrides);
        let wanted = json!({"server": {"tls": {"cert_file": "/a", "key_file": "/c"}, "trusted_proxies": ["10.0.0.0/8", "::1"]},
                            "upstream": {"server_name": "no"}});
        assert_eq!(tree, wanted);
        let next = "a list is written [a, b], a group {key: value}";
        let path = "CCGATE_SERVER__CORS__ALLOWED_ORIGINS: server.cors.allowed_origins";
        assert_eq!(problems, [format!("{path}: not readable as YAML; {next}")]);
    }

    #[test]
    fn a_store_is_laid_as_a_word_as_a_group_or_key_by_key() {
        let redis = json!({"sessions": {"store": {"redis": {"url_file": "/u"}}}});
        for (file, name, value) in [
            ("", "CCGATE_SESSIONS__STORE", "{redis: {url_file: /u}}"),
            ("", "CCGATE_SESSIONS__STORE__REDIS__URL_FILE", "/u"),
            ("sessions: {store: memory}", "CCGATE_SESSIONS__STORE__REDIS__URL_FILE", "/u"),
        ] {
            assert_eq!(laid(file, &env(&[(name, value)])), (redis.clone(), vec![]), "{name}");
        }
        let memory = laid("sessions: {store: {redis: {url_file: /u}}}", &env(&[("CCGATE_SESSIONS__STORE", "memory")]));
        assert_eq!(memory, (json!({"sessions": {"store": "memory"}}), vec![]));
    }

    #[test]
    fn a_variable_that_looks_like_a_key_and_is_none_is_an_error() {
        let cases = [
            ("CCGATE_SERVER__LISTN", "server.listn: unknown key; did you mean listen?"),
            ("CCGATE_SEVER__LISTEN", "sever: unknown key; did you mean server?"),
            ("CCGATE_LOG_LEVEL", "no key: groups end with two underscores; did you mean CCGATE_LOG__LEVEL?"),
            (
                "CCGATE_AUTH__ISSUERS__0",
                "auth.issuers.0: unknown key: 0 stands in no group; a list is given as a whole, as in [first, second]",
            ),
        ];
        for (name, wanted) in cases {
            assert_eq!(laid("", &env(&[(name, "hunter2")])).1, [format!("{name}: {wanted}")]);
        }
        let stray = laid("", &env(&[("CCGATE_FOO", "x")])).1;
        assert!(stray.iter().all(|text| text.starts_with("warning: CCGATE_FOO: not used by ccgate")), "{stray:?}");
        assert_eq!(stray.len(), 1);
    }

    #[test]
    fn variables_of_other_purposes_are_left_alone() {
        let names = [
            CONFIG_VARIABLE,
            FILTER_VARIABLE,
            "CCGATE_SERVICE_HOST",
            "CCGATE_SERVICE_PORT",
            "CCGATE_SERVICE_PORT_HTTP",
            "CCGATE_PORT",
            "CCGATE_PORT_8080_TCP",
            "CCGATE_PORT_8080_TCP_ADDR",
            "CCGATE_ADMIN_SERVICE_HOST",
            "CCGATE_ADMIN_PORT_9090_TCP_PROTO",
            "PATH",
            "XCCGATE_SERVER__LISTEN",
        ];
        let pairs: Vec<_> = names.iter().map(|name| (*name, "x")).collect();
        assert_eq!(laid("", &env(&pairs)), (json!(null), vec![]));
    }
}
