//! `ccgate demo` as a person runs it: the story to its end, a story that is spoilt on the way, the lines to try.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// A demo whose folder is below one of the test's own.
fn demo(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccgate"));
    command.arg("demo").args(arguments).env("TMPDIR", temporary).stdin(Stdio::null());
    command
}

/// A demo that runs, and what it has told so far.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    told: Vec<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, told: Vec::new() }
    }

    /// Reads on until a line starts so.
    fn until(&mut self, start: &str) {
        for line in self.lines.by_ref() {
            self.told.push(line.unwrap());
            if self.told.last().unwrap().starts_with(start) {
                return;
            }
        }
        panic!("no line `{start}` in:\n{}", self.told.join("\n"));
    }

    /// Reads to the end: exit code, standard output, standard error.
    fn end(&mut self) -> (Option<i32>, String, String) {
        self.told.extend(self.lines.by_ref().map(Result::unwrap));
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), self.told.join("\n"), errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a failed test; one that has ended can't be killed.
        let _ = self.child.kill();
    }
}

/// What is in a folder.
fn inside(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn once_tells_the_whole_story_and_leaves_nothing_behind() {
    let temporary = TempDir::new().unwrap();
    let ended = demo(temporary.path(), &["--once"]).output().unwrap();
    let told = String::from_utf8(ended.stdout).unwrap();
    let errors = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), errors.as_str()), (Some(0), ""), "{told}");
    for line in [
        "1. Anna, agent 1001, fetches a recording of her own.",
        "3. Anna asks for a call of agent 1002.",
        "   gets       403 not_your_recording",
        "4. Ines, an inspector of agent 1002, asks for the same call.",
        "5. A slow download, in the middle of which the session gets a new key.",
        "6. CC-Gateway throws Anna's session out; the next download mends it.",
        "7. CC-Gateway has held every request of ccgate against its rules.",
        "8. Who took Ben's call? The audit log answers, and proves that nobody changed it.",
        "   denied     anna, agent 1001, 0 bytes, because `not_your_recording`",
        "   finished   ines, agent 2001, 960058 bytes, because `inspect`",
        "9. ccgate is told to end (SIGTERM would do the same).",
    ] {
        assert!(told.lines().any(|told| told == line), "no line `{line}` in:\n{told}");
    }
    assert_eq!(told.matches("\n   checked  ").count(), 9, "one a step:\n{told}");
    assert!(told.lines().any(|line| line.starts_with("   finished ") && line.ends_with("after 2 attempts")), "{told}");
    let verified: Vec<&str> = told.lines().filter(|line| line.starts_with("   verified ")).collect();
    let [running, ended] = verified[..] else { panic!("verified while it runs and at the end:\n{told}") };
    assert!(running.contains(" signed by ccgate.audit/") && ended.contains(" checkpoints"), "{told}");
    let line = told.lines().find_map(|line| line.strip_prefix("   forged     line ")?.split_once(' ')).unwrap().0;
    assert!(told.lines().any(|told| told == format!("   found      edited, line {line}")), "{told}");
    assert!(!told.contains('\u{1b}'), "escapes on what is no terminal");
    assert!(inside(temporary.path()).is_empty(), "{:?}", inside(temporary.path()));
}

#[test]
fn a_step_that_does_not_happen_is_told_and_fails() {
    let temporary = TempDir::new().unwrap();
    let mut running = Running::start(demo(temporary.path(), &["--once"]));
    // Six seconds before the account is needed again.
    running.until("5. ");
    let folder = inside(temporary.path()).pop().unwrap();
    std::fs::remove_file(folder.join("accounts/1001.yaml")).unwrap();
    let (code, told, errors) = running.end();
    assert_eq!(code, Some(1), "{told}\n{errors}");
    let wanted = "ccgate: step 6 of the story did not happen\n  because the status: expected 200, but it is 503\n";
    assert_eq!(errors, wanted, "{told}");
    assert!(told.contains("The last lines of ccgate's own log:") && !told.contains("\n7. "), "{told}");
    assert!(inside(temporary.path()).is_empty());
}

#[test]
fn the_lines_to_try_work_as_they_are_until_it_is_told_to_end() {
    let temporary = TempDir::new().unwrap();
    let mut running = Running::start(demo(temporary.path(), &[]));
    running.until("Ctrl-C ends it");
    let lines: Vec<String> = running.told.iter().skip_while(|line| !line.starts_with("# ")).cloned().collect();
    let answer = |comment: &str| {
        let at = lines.iter().position(|line| line.starts_with(comment)).unwrap();
        let shell = Command::new("sh").arg("-c").arg(&lines[at + 1]).output().unwrap();
        String::from_utf8(shell.stdout).unwrap() + &String::from_utf8(shell.stderr).unwrap()
    };
    for (comment, wanted) in [
        ("# Anna fetches her own call", "HTTP/1.1 200 OK"),
        ("# She asks for a call of another agent", "\"code\":\"not_your_recording\""),
        ("# Why not", "refused: not_your_recording"),
        ("# Ines", "content-range: bytes 0-65535/960058"),
        ("# Nobody", "\"code\":\"token_missing\""),
        ("# Who took what", "not_your_recording"),
        ("# Who took Ben's call", "1 person took it, 1 person asked and did not get it"),
        ("# Is the log the one", "audit: sound\n"),
        ("# And the copy", "DAMAGE   edited: audit-00000000000000000001.jsonl, line "),
        ("# The records themselves", "\"event\":\"audit.read\",\"command\":\"who-accessed\""),
        ("# How is ccgate", "audit"),
        ("# Throw Anna out", "{\"ok\":true}"),
        ("# Anna fetches her own call", "HTTP/1.1 200 OK"),
    ] {
        assert!(answer(comment).contains(wanted), "{comment}: {}", answer(comment));
    }
    let signal = ["-TERM".to_owned(), running.child.id().to_string()];
    assert!(Command::new("kill").args(signal).status().unwrap().success());
    let (code, told, errors) = running.end();
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{told}");
    for label in ["   signed_out ", "   stopped ", "   checked "] {
        assert!(told.lines().skip_while(|line| !line.starts_with("9. ")).any(|line| line.starts_with(label)), "{told}");
    }
    assert!(inside(temporary.path()).is_empty());
}

#[test]
fn without_a_place_for_its_files_it_says_so() {
    let ended = demo(Path::new("/nonexistent/tmp"), &["--once"]).output().unwrap();
    let errors = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cannot make a folder for the demo in /nonexistent/tmp"), "{errors}");
    assert!(errors.contains("because No such file or directory"), "{errors}");
}
