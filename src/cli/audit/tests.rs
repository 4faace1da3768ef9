//! Questions as a person types them, and the answers.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::Parser as _;

use super::*;
use crate::cli::tests::golden;
use crate::cli::{Cli, Command};
use crate::trail::made_log::{ALICE, Asked, MadeLog, signer};

const ORIGIN: &str = "ccgate.example/audit";

/// Asks; gives exit, answer and complaints.
async fn ask(line: &[&str]) -> (Exit, String, String) {
    let cli = Cli::try_parse_from(["ccgate", "audit"].iter().chain(line)).unwrap_or_else(|error| panic!("{error}"));
    let Command::Audit { command } = cli.command else { panic!("another command") };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = audit(&command, &mut out, &mut err).await.expect("written");
    (exit, String::from_utf8(out).expect("UTF-8"), String::from_utf8(err).expect("UTF-8"))
}

/// Asks a log; there are no complaints.
async fn asked(log: &MadeLog, line: &[&str]) -> String {
    let dir = log.path().to_str().expect("UTF-8");
    let line: Vec<&str> = line.iter().copied().chain(["--dir", dir]).collect();
    let (exit, out, err) = ask(&line).await;
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""), "{line:?}");
    out.replace(dir, "DIR")
}

const BOB: Asked<'_> = Asked { subject: "bob", agent: "120", teams: "south", rule: "inspect", purpose: "", ..ALICE };

/// A month of some people.
fn story() -> MadeLog {
    let mut log = MadeLog::new();
    log.add(-5, "audit.opened", r#""segment":"audit-00000000000000000001.jsonl""#);
    log.add(-4, "started", r#""version":"0.1.0","config_hash":"cd""#);
    for (entry, seconds) in [(1, 0), (2, 30), (3, 400)] {
        log.download(seconds, entry, ALICE);
    }
    log.begin(410, 4, BOB);
    log.end(500, 4, BOB, ("aborted", 123_456));
    log.refusal(
        600,
        "not_your_recording",
        Asked { subject: "carol", agent: "300", teams: "", session: "300", ..ALICE },
    );
    log.add(700, "session.forced", r#""agent":"4977","guid_tag":"00""#);
    log.rotate();
    log.add(800, "audit.read", r#""command":"query","arguments":["--subject","bob"],"by":{"uid":1000}"#);
    log.download(4_000, 5, Asked { recording: "call:1621413752-2011", ..ALICE });
    log.begin(4_100, 6, Asked { recording: "file:Y:/90/0/20210519/4977/1642329.mp4@3", ..BOB });
    // The next month.
    log.download(9 * 86_400, 7, BOB);
    log.sign(ORIGIN, 20);
    log
}

#[tokio::test]
async fn people_get_a_table_and_programs_json() {
    let log = story();
    let mut all = String::new();
    for line in [
        &["query"][..],
        &["query", "--subject", "bob", "--json"],
        &["query", "--outcome", "denied"],
        &["query", "--event", "session.", "--event", "audit.read"],
        &["query", "--entry", "00000000000000000000000000000004", "--records"],
        &["who-accessed", "hwFileName=y:\\90\\0\\20210519\\4977\\1642329.mp4"],
        &["report", "--month", "2026-11"],
        &["report", "--month", "2026-12", "--json"],
        &["tail", "-n", "3"],
        &["prove", "00000000000000000000000000000004"],
    ] {
        let out = asked(&log, line).await;
        write!(all, "$ ccgate audit {}\n{out}\n", line.join(" ")).expect("a String takes all");
    }
    golden("audit.txt", &all);
}

#[tokio::test]
async fn the_same_recording_is_found_by_any_of_its_names() {
    let log = story();
    let wanted = asked(&log, &["query", "--recording", "file:Y:/90/0/20210519/4977/1642329.mp4"]).await;
    assert!(wanted.contains("1642329.mp4@3") && !wanted.contains("call:"), "{wanted}");
    for name in [
        "y:\\90\\0\\20210519\\4977\\1642329.mp4",
        "hwFileName=y:\\90\\0\\20210519\\4977\\1642329.mp4",
        "https://x/agentgateway/resource/recordfile/4977/videofiledownloadEx?recordId=Y%3A%2F90%2F0%2F20210519%2F4977%2F1642329.mp4",
    ] {
        assert_eq!(asked(&log, &["query", "--recording", name]).await, wanted, "{name}");
    }
}

#[tokio::test]
async fn a_wrong_question_is_a_usage_error() {
    let log = story();
    let dir = log.path().to_str().expect("UTF-8");
    for (line, told) in [
        (&["query", "--dir", dir, "--recording", "Y:/.."][..], "--recording: no recording"),
        (&["query", "--dir", dir, "--entry", "4"], "--entry: an entry's id has 32 hex digits"),
        (&["query", "--dir", dir, "--since", "yesterday"], "--since: a time as in"),
        (&["query", "--dir", dir, "--owner", "x"], "--owner: "),
        (&["report", "--dir", dir, "--month", "2026-13"], "--month: a month as in"),
        (&["report", "--dir", dir, "--month", "2026-1"], "--month: a month as in"),
        (&["prove", "--dir", dir, "--dir", "/", "--seq", "1"], "--seq: needs one log"),
        (&["query", "--dir", dir, "--dir", &format!("{dir}/.")], "--dir: "),
    ] {
        let (exit, out, err) = ask(line).await;
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{line:?}: {err}");
        assert!(err.contains(told), "{line:?}: {err}");
    }
    let (exit, _, err) = ask(&["query", "--dir", "/nowhere"]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("/nowhere cannot be read as an audit log\n  because "), "{err}");
}

#[tokio::test]
async fn damage_is_named_and_the_rest_is_told() {
    let log = story();
    let file = log.path().join("audit-00000000000000000001.jsonl");
    let text = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, text.replacen("{\"v\":1,\"seq\":3", "{\"v\":1,\x1b[2J\"seq\":3", 1)).expect("written");
    let (exit, out, err) = ask(&["query", "--dir", log.path().to_str().expect("UTF-8")]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("audit-00000000000000000001.jsonl, line 3: this is no record\n"), "{err}");
    assert!(out.contains("bob") && out.contains("carol"), "{out}");
}

/// What a caller, or somebody who edits the log, may have written.
const HOSTILE: &str = r"\u001b[2J\r\nevil\u0000\u009b31m\u2028\u202e\u200b";

#[tokio::test]
async fn r16_nothing_that_commands_a_terminal_reaches_it() {
    let mut log = MadeLog::new();
    // As the writer escapes it, and raw, as far as JSON can hold it.
    for text in [HOSTILE, "\u{9b}31m\u{2028}\u{202e}\u{7f}"] {
        let hostile =
            Asked { issuer: text, subject: text, teams: text, recording: text, rule: text, purpose: text, ..ALICE };
        log.begin(0, 1, hostile);
        log.end(1, 1, hostile, ("failed", 1));
        log.refusal(2, text, hostile);
        log.add(3, "session.forced", &format!(r#""agent":"{text}","detail":"{text}""#));
        log.add(3, "audit.read", &format!(r#""command":"{text}""#));
        log.add(4, text, "");
    }
    log.sign(ORIGIN, 2);
    for line in [
        &["query"][..],
        &["query", "--json"],
        &["query", "--event", "session."],
        &["query", "--event", "session.", "--json"],
        &["query", "--event", "denied"],
        &["report", "--month", "2026-11"],
        &["report", "--month", "2026-11", "--json"],
        &["tail"],
        &["tail", "--json"],
    ] {
        let out = asked(&log, line).await;
        let bad = out.chars().find(|c| *c != '\n' && (c.is_control() || "\u{2028}\u{202e}\u{200b}".contains(*c)));
        assert_eq!(bad, None, "{line:?}: {out}");
        assert!(out.contains("31m"), "{line:?} shows it: {out}");
        if line.contains(&"--json") {
            assert!(out.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{out}");
        }
    }
    let table = asked(&log, &["query"]).await;
    assert_eq!(table.lines().count(), 5, "a row each: {table}");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut answer = Answer { out: &mut out, err: &mut err, terminal: true, progress: false };
    query::raw("{\"a\":\"\u{9b}31m\"}".as_bytes(), &mut answer).expect("written");
    assert_eq!(out, b"{\"a\":\"\\u009b31m\"}\n");
}

#[tokio::test]
async fn lines_of_the_log_are_given_as_they_are() {
    let log = story();
    let all: String = [1, 13]
        .map(|first| std::fs::read_to_string(log.path().join(trail::segment_name(first))).expect("read"))
        .concat();
    let events = ["authorized", "finished", "aborted", "denied"].map(|event| format!("\"event\":\"{event}\""));
    let wanted: Vec<&str> = all.lines().filter(|line| events.iter().any(|event| line.contains(event))).collect();
    assert_eq!(asked(&log, &["query", "--records"]).await.lines().collect::<Vec<_>>(), wanted);
    let of = |outcome: &'static str| {
        let log = &log;
        async move {
            let out = asked(log, &["query", "--records", "--outcome", outcome]).await;
            let seq = |line: &str| serde_json::from_str::<trail::Head<'_>>(line).expect("a record").seq;
            out.lines().map(seq).collect::<Vec<_>>()
        }
    };
    assert_eq!(of("aborted").await, [9, 10]);
    assert_eq!(of("denied").await, [11]);
    assert_eq!(of("open").await, [16]);
    assert_eq!(of("unknown").await, [0; 0]);
}

#[tokio::test]
async fn a_limit_says_that_there_is_more() {
    let log = story();
    let dir = log.path().to_str().expect("UTF-8");
    let (exit, out, err) = ask(&["query", "--dir", dir, "--limit", "2", "--json"]).await;
    assert_eq!((exit, out.lines().count()), (Exit::Ok, 2));
    assert_eq!(err, "ccgate: there is more than --limit lets through\n");
    let (_, out, err) = ask(&["query", "--dir", dir, "--limit", "6", "--json"]).await;
    assert_eq!((out.lines().count(), err.as_str()), (6, ""));
}

#[tokio::test]
async fn an_export_is_whole_private_and_never_overwrites() {
    let log = story();
    let out = asked(&log, &["export", "--subject", "bob", "--issuer", "https://idp.example"]).await;
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["manifest"]["asked"]["subject"], "bob");
    assert_eq!(lines[0]["manifest"]["logs"][0]["origin"], ORIGIN);
    assert_eq!(lines[0]["manifest"]["logs"][0]["signed_records"], 18);
    assert_eq!(lines[1]["log"], ORIGIN);
    let seqs: Vec<_> = lines[2..7].iter().filter_map(|line| line["seq"].as_u64()).collect();
    assert_eq!(seqs, [9, 10, 16, 17, 18]);
    assert_eq!(lines[7], serde_json::json!({"end": {"records": 5, "complete": true}}));
    assert_eq!(asked(&log, &["export", "--subject", "bob", "--issuer", "other"]).await.lines().count(), 3);
    let owner = asked(&log, &["export", "--owner", "4977"]).await;
    assert_eq!(owner.lines().count(), 3 + 14, "{owner}");

    let file = log.path().join("bob.jsonl");
    let (path, dir) = (file.to_str().expect("UTF-8"), log.path().to_str().expect("UTF-8"));
    assert_eq!(asked(&log, &["export", "--subject", "bob", "--out", path]).await, "");
    assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    let written = std::fs::read_to_string(&file).expect("read");
    assert_eq!(written.lines().count(), out.lines().count());
    let (exit, _, err) = ask(&["export", "--subject", "bob", "--out", path, "--dir", dir]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("cannot be written"), "{err}");
    assert_eq!(std::fs::read_to_string(&file).expect("read"), written);
}

#[tokio::test]
async fn what_is_proved_is_verified_without_the_log() {
    let log = story();
    let other = tempfile::tempdir().expect("a folder");
    let file = other.path().join("entry.tlog-proof");
    let path = file.to_str().expect("UTF-8");
    asked(&log, &["prove", "00000000000000000000000000000004", "--out", path]).await;
    let key = signer(ORIGIN).verifier().to_string();
    drop(log);
    let (exit, out, err) = ask(&["verify-proof", path, "--key", &key]).await;
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    let wanted = "proof 1: good: record 9 of ccgate.example/audit, signed with 18 records, key ";
    assert!(out.starts_with(wanted) && out.contains("\nproof 2: good: record 10 of "), "{out}");
    assert!(out.contains("aborted  bob"), "{out}");

    let stranger = signer("stranger.example").verifier().to_string();
    let (exit, out, err) = ask(&["verify-proof", path, "--key", &stranger]).await;
    assert_eq!((exit, out.as_str()), (Exit::Failed, "proof 1: proves nothing\nproof 2: proves nothing\n"));
    assert!(err.contains("no known key has signed it"), "{err}");
    let changed = std::fs::read_to_string(&file).expect("read").replacen("index 9", "index 8", 1);
    std::fs::write(&file, changed).expect("written");
    let (exit, out, _) = ask(&["verify-proof", path, "--key", &key]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(out.contains("proof 1: good") && out.contains("proof 2: proves nothing"), "{out}");
}

#[tokio::test]
async fn what_is_not_signed_yet_is_told_with_the_next_step() {
    let log = story();
    let dir = log.path().to_str().expect("UTF-8");
    log.sign(ORIGIN, 9);
    let (exit, out, err) = ask(&["prove", "00000000000000000000000000000004", "--dir", dir]).await;
    assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
    assert!(err.contains("record 10 is not signed yet\n  ask again after audit.checkpoint_interval"), "{err}");
    let (exit, _, err) = ask(&["prove", "--seq", "77", "--dir", dir]).await;
    assert_eq!((exit, err.as_str()), (Exit::Failed, "ccgate: there is no record 77 in the log\n"));
    std::fs::remove_file(Path::new(dir).join(trail::CHECKPOINT_FILE)).expect("removed");
    let (_, _, err) = ask(&["prove", "--seq", "1", "--dir", dir]).await;
    assert!(err.contains("there is no checkpoint"), "{err}");
}

#[tokio::test(start_paused = true)]
async fn a_tail_follows_several_logs() {
    let (mut one, mut other) = (MadeLog::new(), MadeLog::new());
    one.add(0, "started", "");
    other.add(1, "started", "");
    let dirs = [one.write(), other.write()].map(|dir| dir.to_str().expect("UTF-8").to_owned());
    let line = ["ccgate", "audit", "tail", "-f", "--json", "--dir", &dirs[0], "--dir", &dirs[1]];
    let Command::Audit { command: AuditCommand::Tail(args) } = Cli::try_parse_from(line).expect("good").command else {
        panic!("another command")
    };
    let logs = Logs { dirs: dirs.iter().map(PathBuf::from).collect(), config: None, names: asked::Names::default() };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    {
        let mut answer = Answer { out: &mut out, err: &mut err, terminal: false, progress: false };
        let following = tail::tail(&args, &logs, &mut answer);
        let writing = async {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            other.add(2, "stopped", "");
            one.add(3, "stopped", "");
            one.write();
            other.write();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        };
        tokio::select! {
            ended = following => panic!("it ended: {:?}", ended.is_ok()),
            () = writing => {}
        }
    }
    let told = String::from_utf8(out).expect("UTF-8");
    let at = |text: &str| dirs.iter().position(|dir| text.contains(dir.as_str()));
    let order: Vec<_> = told.lines().map(|line| (at(line), line.contains("stopped"))).collect();
    assert_eq!(order, [(Some(0), false), (Some(1), false), (Some(1), true), (Some(0), true)], "{told}");
}

#[tokio::test]
async fn who_got_nothing_did_not_take_it() {
    for (end, wanted) in [
        (Some(("failed", 0)), "nobody took it, 1 person asked and did not get it\n"),
        (Some(("failed", 1)), "1 person took it, nobody asked and did not get it\n"),
        (Some(("unknown", 0)), "1 person took it, nobody asked and did not get it\n"),
        (None, "1 person took it, nobody asked and did not get it\n"),
    ] {
        let mut log = MadeLog::new();
        log.begin(0, 1, ALICE);
        if let Some(end) = end {
            log.end(1, 1, ALICE, end);
        }
        log.refusal(2, "agent_busy", ALICE);
        log.write();
        let told = asked(&log, &["who-accessed", ALICE.recording]).await;
        assert!(told.ends_with(wanted), "{end:?}: {told}");
    }
    let log = story();
    assert_eq!(asked(&log, &["who-accessed", "call:1-1"]).await, "nobody took it, nobody asked and did not get it\n");
}

#[test]
fn numbers_of_bytes_are_short() {
    for (count, text) in
        [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (1_642_329, "1.6 MB"), (u64::MAX, "18446744.0 TB")]
    {
        assert_eq!(paint::bytes(count), text);
    }
}
