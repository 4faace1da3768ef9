//! Both audit logs after the run, held against what the clients have: every answer has its entry, every entry its end, every
//! byte its record. It reads files only.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Value, json};

use crate::ledger;
use crate::load::Answered;
use crate::world::is_segment;

/// Refusals that are no answer of ours to a request with a token.
const UNRECORDED: [&str; 5] =
    ["token_missing", "parameter_unknown", "parameter_repeated", "not_found", "keys_unavailable"];

/// One process's audit log.
#[derive(Debug, Default)]
pub struct Book {
    opened: HashMap<String, String>,
    ends: HashMap<String, Ended>,
    /// Request ids with the code that they were refused with.
    denied: HashMap<String, String>,
    /// `session.*` by event and agent, and `config.*`.
    pub events: BTreeMap<(String, u32), u32>,
    pub records: usize,
    /// Bytes handed to clients, all in all.
    pub bytes: u64,
}

#[derive(Debug)]
struct Ended {
    event: String,
    reason: String,
    bytes: u64,
    is_complete: bool,
    sha256: String,
}

impl Book {
    /// Reads one, and holds it against itself.
    pub fn read(folder: &Path) -> Self {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(is_segment));
        files.sort();
        let (mut book, mut slim) = (Self::default(), Vec::new());
        for line in files.iter().flat_map(|file| BufReader::new(std::fs::File::open(file).unwrap()).lines()) {
            let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
            // All that the ledger asks for; whole records of a long run would take gigabytes.
            let kept = ["seq", "event", "entry", "missing", "void"].map(|name| (name.to_owned(), record[name].clone()));
            slim.push(Value::Object(kept.into_iter().collect()));
            book.take(&record);
        }
        ledger::check(&slim);
        book.records = slim.len();
        book
    }

    fn take(&mut self, record: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let event = text(&record["event"]);
        match event.as_str() {
            "authorized" => {
                self.opened.insert(text(&record["entry"]), text(&record["what"]["reference"]));
            }
            "denied" => {
                self.denied.insert(text(&record["request_id"]), text(&record["code"]));
            }
            _ if ledger::is_end(record) => {
                let delivery = &record["delivery"];
                let ended = Ended {
                    reason: text(&record["reason"]),
                    bytes: delivery["client_bytes"].as_u64().unwrap_or_default(),
                    is_complete: delivery["complete"] == json!(true),
                    sha256: text(&delivery["sha256"]),
                    event,
                };
                self.bytes += ended.bytes;
                self.ends.insert(text(&record["entry"]), ended);
            }
            _ if event.starts_with("session.") || event.starts_with("config.") => {
                let agent = record["agent"].as_str().and_then(|agent| agent.parse().ok()).unwrap_or_default();
                *self.events.entry((event, agent)).or_default() += 1;
            }
            _ => {}
        }
    }

    /// How often an event is told of agents that these are.
    pub fn count(&self, event: &str, is_asked: impl Fn(u32) -> bool) -> u32 {
        let told = self.events.iter().filter(|((name, agent), _)| name == event && is_asked(*agent));
        told.map(|(_, count)| count).sum()
    }

    /// Ends by event and reason.
    pub fn outcomes(&self) -> BTreeMap<String, u32> {
        let mut outcomes = BTreeMap::new();
        for end in self.ends.values() {
            *outcomes.entry(format!("{} {}", end.event, end.reason).trim_end().to_owned()).or_default() += 1;
        }
        outcomes
    }

    /// Ends that must not be.
    pub fn bad_ends(&self) -> Vec<String> {
        let bad = |end: &&Ended| {
            end.event == "unknown"
                || ["shutdown", "dropped", "panic", "audit_unavailable"].contains(&end.reason.as_str())
        };
        self.ends.values().filter(bad).map(|end| format!("{end:?}")).collect()
    }

    /// What is wrong with the record of an answer.
    pub fn wrong(&self, answered: &Answered) -> Option<String> {
        let Some(entry) = &answered.entry else { return self.wrong_refusal(answered) };
        let (Some(reference), Some(end)) = (self.opened.get(entry), self.ends.get(entry)) else {
            return Some("its entry is not in the log".to_owned());
        };
        let is_file = answered.status < 400;
        let is_right = if is_file && answered.is_complete {
            let same = end.bytes == answered.bytes && Some(&end.sha256) == answered.sha256.as_ref();
            end.event == "finished" && end.is_complete && same
        } else if is_file {
            // What a client left unread was handed to its connection all the same.
            end.bytes >= answered.bytes
        } else {
            end.event == "failed" && end.bytes == 0
        };
        let is_its_own = reference.ends_with(&*answered.key);
        (!is_right || !is_its_own).then(|| format!("its record is {reference} {end:?}"))
    }

    /// A refusal without an entry has a record if a token came.
    fn wrong_refusal(&self, answered: &Answered) -> Option<String> {
        let code = answered.code.as_deref().unwrap_or_default();
        if answered.status < 400 {
            return Some("a file without an entry".to_owned());
        }
        let told = answered.request_id.as_ref().and_then(|id| self.denied.get(id));
        let is_right = if UNRECORDED.contains(&code) { told.is_none() } else { told.map(String::as_str) == Some(code) };
        (!is_right).then(|| format!("its record is {told:?}"))
    }
}
