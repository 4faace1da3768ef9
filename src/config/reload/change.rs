//! What differs between two configurations, and which of it waits for a start. Values of secrets' keys are not told.

use serde_json::Value;

use crate::config::Loaded;
use crate::config::problem::{Errors, Problem, shown};
use crate::config::schema::{child, schema};
use crate::config::shape::join;

/// A key whose change waits for a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartOnly {
    /// The key, or the group with all that is in it, as in `server.listen`.
    pub path: &'static str,
    when: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Any change.
    Always,
    /// Whether it is there at all; what is in it may change.
    OnOff,
    /// Where sessions are kept beyond the process.
    Kept,
}

impl StartOnly {
    const fn always(path: &'static str) -> Self {
        Self { path, when: When::Always }
    }
}

/// All keys whose change waits for a start; every other key's takes effect while running. The reference marks these with
/// `(start)`, which a test holds.
pub const START_ONLY: [StartOnly; 14] = [
    // A listener that was bound anew could fail, or leave others with a port where nobody answers.
    StartOnly::always("server.listen"),
    StartOnly { path: "server.tls", when: When::OnOff },
    StartOnly::always("admin.listen"),
    StartOnly { path: "admin.tls", when: When::OnOff },
    // What is kept there is sealed for the gateway that it was made at.
    StartOnly { path: "upstream.url", when: When::Kept },
    StartOnly { path: "upstream.urls", when: When::Kept },
    // The gateway holds a session to the way in which it was signed in.
    StartOnly::always("sessions.keep_alive"),
    StartOnly::always("sessions.store"),
    StartOnly::always("sessions.state_file"),
    StartOnly::always("sessions.state_key_file"),
    // Counted by the store, for all replicas together.
    StartOnly::always("sessions.sign_ins.per_second"),
    // One writer, one key, one directory: verified at its start.
    StartOnly::always("audit"),
    StartOnly::always("log.format"),
    // One queue and its task.
    StartOnly::always("telemetry"),
];

/// Whether a change of this key, or of the content of a file that it names, waits for a start.
pub(super) fn is_start_only(path: &str) -> bool {
    START_ONLY.iter().any(|key| key.when == When::Always && is_within(path, key.path))
}

impl Loaded {
    /// Refuses `next` in this one's place for what waits for a start, naming each such key.
    ///
    /// # Errors
    /// Every key that waits for a start and differs, by the line where it was written.
    pub fn admits(&self, next: &Self) -> Result<(), Errors> {
        let differences = differences(&self.written, &next.written);
        let refused = differences.iter().filter(|difference| {
            START_ONLY.iter().any(|key| is_within(&difference.path, key.path) && key.refuses(self, next))
        });
        let problems: Vec<_> = refused.map(|difference| next.located(difference.problem())).collect();
        if problems.is_empty() { Ok(()) } else { Err(Errors { file: next.source.path.clone(), problems }) }
    }

    /// The keys that differ in `next`, without values.
    pub fn differs(&self, next: &Self) -> Vec<String> {
        differences(&self.written, &next.written).into_iter().map(|difference| difference.path).collect()
    }

    fn has(&self, path: &str) -> bool {
        path.split('.').try_fold(&self.written, |value, key| value.get(key)).is_some_and(|value| !value.is_null())
    }

    /// Whether sessions are kept where another process finds them.
    fn keeps_sessions(&self) -> bool {
        self.has("sessions.store.redis") || self.has("sessions.state_file")
    }
}

impl StartOnly {
    fn refuses(self, before: &Loaded, next: &Loaded) -> bool {
        match self.when {
            When::Always => true,
            When::OnOff => before.has(self.path) != next.has(self.path),
            When::Kept => before.keeps_sessions() || next.keeps_sessions(),
        }
    }
}

/// Whether a key is this one or in this group.
fn is_within(path: &str, group: &str) -> bool {
    path.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// One key that differs.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    path: String,
    before: String,
    next: String,
}

impl Difference {
    fn problem(&self) -> Problem {
        let Self { path, before, next } = self;
        let what = match (is_secret(path), before == next) {
            // What is shown of a list or a group says too little.
            (true, _) | (_, true) => "changed while running, which waits for a start".to_owned(),
            _ => format!("changed from {before} to {next} while running, which waits for a start"),
        };
        Problem::error(path.clone(), what, "restart ccgate to have it, or put it back to have the rest")
    }
}

fn differences(before: &Value, next: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(before, next, "", &mut found);
    found
}

/// Groups key by key; a group that came or went is one difference, and so is a list.
fn compare(before: &Value, next: &Value, path: &str, found: &mut Vec<Difference>) {
    match (before, next) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                compare(&of(one), &of(other), &join(path, key), found);
            }
        }
        _ if before == next => {}
        _ => found.push(Difference { path: path.to_owned(), before: told(before), next: told(next) }),
    }
}

fn told(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => shown(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a group".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Whether a key names a file that holds a secret: the secret itself may stand there by mistake.
fn is_secret(path: &str) -> bool {
    let key = path.split('.').try_fold(schema(), |schema, key| child(schema, key));
    key.is_some_and(|key| key.get("x-secret").is_some())
}
