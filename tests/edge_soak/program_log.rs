//! What the processes' own logs may say: no panic, and no error that was not brought about. It keeps counts only.

use std::collections::BTreeMap;

use serde_json::Value;

/// What was found in logs.
#[derive(Debug, Default, Clone)]
pub struct LogCounts {
    pub lines: u64,
    /// Refused configurations that were told of.
    pub refused: u32,
    /// Accounts that were barred.
    pub barred: u32,
    /// By their message.
    pub warnings: BTreeMap<String, u32>,
    /// Whatever must not be there; the first of it.
    pub strange: Vec<String>,
}

/// More of it tells nothing more.
const STRANGE_MAX: usize = 20;

impl LogCounts {
    /// Adds the log of one life.
    pub fn add(&mut self, log: &str) {
        for line in log.lines() {
            self.lines += 1;
            self.line(line);
        }
    }

    fn line(&mut self, line: &str) {
        let parsed: Value = serde_json::from_str(line).unwrap_or_default();
        let message = parsed["message"].as_str().unwrap_or_default();
        let is_strange = match parsed["level"].as_str() {
            Some("ERROR") if message.starts_with("the configuration is refused, the one before stays in force: ") => {
                self.refused += 1;
                false
            }
            Some("ERROR") if message == "account barred until its file changes" => {
                self.barred += 1;
                false
            }
            // What a panic prints is no JSON.
            None | Some("ERROR") => true,
            Some("WARN") => {
                *self.warnings.entry(message.to_owned()).or_default() += 1;
                message.contains("panic")
            }
            Some(_) => message.contains("panic"),
        };
        if is_strange && self.strange.len() < STRANGE_MAX {
            self.strange.push(line.to_owned());
        }
    }
}

#[test]
fn only_what_was_brought_about_may_be_told() {
    let mut counts = LogCounts::default();
    let line = |level: &str, message: &str| format!("{{\"level\":\"{level}\",\"message\":\"{message}\"}}\n");
    counts.add(
        &[
            line("INFO", "request"),
            line("WARN", "tried again"),
            line("ERROR", "account barred until its file changes"),
            line("ERROR", "the configuration is refused, the one before stays in force: key"),
        ]
        .concat(),
    );
    assert_eq!((counts.lines, counts.refused, counts.barred, counts.strange.len()), (4, 1, 1, 0));
    for strange in
        [&line("ERROR", "a task panicked"), "thread 'main' panicked at src/main.rs:1:1:", &line("WARN", "panic")]
    {
        let before = counts.strange.len();
        counts.add(strange);
        assert_eq!(counts.strange.len(), before + 1, "{strange}");
    }
}
