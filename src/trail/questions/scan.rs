//! Which records are asked for, and which lines count.

use std::convert::Infallible;
use std::ops::ControlFlow;

use super::super::made_log::{ALICE, Asked, MadeLog};
use super::super::record::front;
use super::super::{CountedLines, Events, Filter, Found, Head, Record, Scan, Wanted, entry_key};

/// Numbers of the records that are found, and what could not be read.
fn scan(logs: &[&MadeLog], filter: &Filter) -> (Vec<u64>, Vec<String>) {
    let open = logs.iter().map(|log| CountedLines::open(&log.write()).expect("a log")).collect();
    let (mut seqs, mut unreadable) = (Vec::new(), Vec::new());
    let Ok(_lines) = Scan::new(open, filter).run(|found| {
        match found {
            Found::Record(found) => seqs.push(found.line.seq),
            Found::Unreadable(error) => unreadable.push(error.to_string().rsplit('/').next().expect("text").to_owned()),
            Found::Tick(..) => {}
        }
        Ok::<_, Infallible>(ControlFlow::Continue(()))
    });
    (seqs, unreadable)
}

fn found(log: &MadeLog, filter: Filter) -> Vec<u64> {
    let (seqs, unreadable) = scan(&[log], &filter);
    assert_eq!(unreadable, [""; 0]);
    seqs
}

/// 1-2 alice's own, 3-4 bob's of her recording, 5 a refusal of bob, 6 a session, 7 carol's that still runs.
fn story() -> MadeLog {
    let mut log = MadeLog::new();
    let bob = Asked { issuer: "https://other.example", subject: "bob", agent: "120", rule: "inspect", ..ALICE };
    log.download(0, 1, ALICE);
    log.download(10, 2, bob);
    log.refusal(20, "not_your_recording", Asked { recording: "call:99", call: "99", owner: "unknown", ..bob });
    log.add(30, "session.forced", r#""agent":"4977","guid_tag":"00""#);
    let carol = Asked { subject: "carol \\\"c\\\"", agent: "300", session: "300", ..ALICE };
    log.begin(40, 3, Asked { recording: "file:Y:/90/0/20210519/4977/1642329.mp4@3", ..carol });
    log
}

#[test]
fn each_condition_finds_its_records() {
    let text = |text: &str| Some(Wanted::text(text));
    let file = "file:Y:/90/0/20210519/4977/1642329.mp4".to_owned();
    let at = |seconds: u8| Some(format!("2026-11-22T12:00:{seconds:02}Z").parse().expect("a time"));
    let every = Filter::default;
    let rows: Vec<(&str, Filter, &[u64])> = vec![
        ("nothing", every(), &[1, 2, 3, 4, 5, 7]),
        ("agent of the token", Filter { agent: text("120"), ..every() }, &[3, 4, 5]),
        ("agent of the session", Filter { agent: text("4977"), ..every() }, &[1, 2, 3, 4, 5]),
        ("no part of an agent", Filter { agent: text("497"), ..every() }, &[]),
        ("subject", Filter { subject: text("bob"), ..every() }, &[3, 4, 5]),
        ("escaped subject", Filter { subject: text("carol \"c\""), ..every() }, &[7]),
        ("issuer", Filter { issuer: text("https://idp.example"), ..every() }, &[1, 2, 7]),
        ("file", Filter { recording: Some(Wanted::new(vec![file.clone()], vec![])), ..every() }, &[1, 2, 3, 4]),
        (
            "file on any node",
            Filter { recording: Some(Wanted::new(vec![file.clone()], vec![format!("{file}@")])), ..every() },
            &[1, 2, 3, 4, 7],
        ),
        ("call", Filter { call: text("99"), ..every() }, &[5]),
        ("owner, with ends that do not name one", Filter { owner: text("4977"), ..every() }, &[1, 2, 3, 4, 7]),
        ("rule, with ends that do not name one", Filter { rule: text("inspect"), ..every() }, &[3, 4]),
        ("entry", Filter { entry: Some(2), ..every() }, &[3, 4]),
        ("since, by the beginning", Filter { since: at(1), ..every() }, &[3, 4, 5, 7]),
        ("until, with the end that is later", Filter { until: at(1), ..every() }, &[1, 2]),
        ("since and until", Filter { since: at(10), until: at(40), ..every() }, &[3, 4, 5]),
        ("two conditions", Filter { subject: text("bob"), owner: text("4977"), ..every() }, &[3, 4]),
        ("all events", Filter { events: Events::All, ..every() }, &[1, 2, 3, 4, 5, 6, 7]),
        ("events of a kind", Filter { events: Events::Named(vec!["session.".into()]), ..every() }, &[6]),
        (
            "an end by what its beginning says",
            Filter { rule: text("own"), events: Events::Named(vec!["finished".into()]), ..every() },
            &[2],
        ),
        (
            "a session by agent",
            Filter { agent: text("4977"), events: Events::Named(vec!["session.forced".into()]), ..every() },
            &[6],
        ),
    ];
    let log = story();
    for (name, filter, wanted) in rows {
        assert_eq!(found(&log, filter), wanted, "{name}");
    }
}

#[test]
fn lines_that_do_not_count_are_left_out() {
    let mut log = MadeLog::new();
    log.download(0, 1, ALICE);
    // A batch that failed: two lines and half of a third. The gap record names its numbers.
    log.begin(5, 2, ALICE);
    log.begin(5, 3, ALICE);
    log.raw(r#"{"v":1,"seq":5,"ts""#.to_owned());
    log.skip(1);
    log.rotate();
    log.add(9, "audit.gap", r#""reason":"write_failed","lost":0,"void":{"first":3,"last":5}"#);
    log.download(10, 4, ALICE);
    // A line with a number of the next segment.
    let seq = log.next() + 3;
    log.begin(11, 5, ALICE);
    let stray = format!(r#"{{"v":1,"seq":{seq},"ts":"2026-11-22T12:00:00.000000Z","salt":"00","event":"authorized"}}"#);
    log.raw(stray);
    log.rotate();
    log.end(12, 5, ALICE, ("finished", 1));
    assert_eq!(found(&log, Filter { events: Events::All, ..Filter::default() }), [1, 2, 6, 7, 8, 9, 10]);
}

#[test]
fn what_cannot_be_read_is_named_and_passed_over() {
    let mut log = MadeLog::new();
    log.begin(0, 1, ALICE);
    log.raw("garbage".to_owned());
    log.raw(r#"{"v":1,"seq":1,"ts":"x","event":"started"}"#.to_owned());
    log.raw(r#"{"v":1,"event":"started"}"#.to_owned());
    log.raw(r#"{"v":1,"seq":2,"ts":"x","event":"authorized","entry":"zz"}"#.to_owned());
    log.end(1, 1, ALICE, ("finished", 1));
    let (name, text) = ("audit-00000000000000000001.jsonl", "this is no record");
    let wanted = [
        format!("{name}, line 2: {text}"),
        format!("{name}, line 3: its sequence number was used before"),
        format!("{name}, line 4: {text}"),
        format!("{name}, line 5: {text}"),
    ];
    assert_eq!(scan(&[&log], &Filter::default()), (vec![1, 2], wanted.to_vec()));
}

#[test]
fn a_line_that_is_being_written_is_no_damage_and_one_before_another_segment_is() {
    let mut log = MadeLog::new();
    log.begin(0, 1, ALICE);
    let dir = log.write();
    let path = dir.join("audit-00000000000000000001.jsonl");
    let half = std::fs::read_to_string(&path).expect("read") + r#"{"v":1,"se"#;
    std::fs::write(&path, &half).expect("written");
    let read = || {
        let mut lines = CountedLines::open(&dir).expect("a log");
        std::iter::from_fn(|| match lines.advance() {
            super::super::Step::Line => Some(format!("{}", lines.line().seq)),
            super::super::Step::Unreadable(error) => Some(error.why.to_string()),
            super::super::Step::End => None,
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(read(), ["1"]);
    std::fs::write(dir.join("audit-00000000000000000002.jsonl"), "").expect("written");
    assert_eq!(read(), ["1", "the line has no end"]);
    std::fs::write(&path, format!("{}\n", "x".repeat(70_000))).expect("written");
    assert_eq!(read(), ["the line is too long for a record; what follows it in this file was not read"]);
    assert!(CountedLines::open(&dir.join("tile")).is_err());
}

#[test]
fn logs_are_merged_by_time_and_each_stays_in_its_order() {
    let (mut one, mut other) = (MadeLog::new(), MadeLog::new());
    for seconds in [0, 20, 10] {
        one.add(seconds, "started", "");
        other.add(seconds + 5, "started", "");
    }
    let filter = Filter { events: Events::All, ..Filter::default() };
    let open = [&other, &one].map(|log| CountedLines::open(&log.write()).expect("a log")).into();
    let mut order = Vec::new();
    let first = one.path().display().to_string();
    let Ok(lines) = Scan::new(open, &filter).run(|found| {
        if let Found::Record(found) = found {
            order.push((**found.origin == *first, found.line.seq));
        }
        Ok::<_, Infallible>(ControlFlow::Continue(()))
    });
    // The clock of each ran backwards once: 0, 5, 20, 10 and 25, 15.
    assert_eq!(order, [(true, 1), (false, 1), (true, 2), (true, 3), (false, 2), (false, 3)]);
    assert_eq!(lines, 6);
}

#[test]
fn the_front_of_a_line_says_what_its_json_says() {
    let golden = std::fs::read_to_string("tests/golden/audit.jsonl").expect("read");
    let mut fronts = 0;
    for line in golden.lines() {
        let line = line.replace("\"TIME\"", "\"2026-11-22T12:00:00.000000Z\"");
        let line = line.replace("SALT", &"0f".repeat(16)).replace("ENTRY", &"1a".repeat(16)).replace(":N}", ":5}");
        let head: Head<'_> = serde_json::from_str(&line).expect("a record");
        let front = front(line.as_bytes()).expect("written as every record is");
        assert_eq!((front.seq, Some(front.event)), (head.seq, head.event.as_deref()));
        assert_eq!(front.entry, head.entry.as_deref().and_then(entry_key));
        let record: Record<'_> = serde_json::from_str(&line).expect("every kind of record is understood");
        assert_eq!((record.seq, &*record.event), (front.seq, front.event));
        fronts += 1;
    }
    assert!(fronts > 20);
    let line =
        r#"{"v":1,"seq":7,"ts":"2026-11-22T12:00:00.000000Z","salt":"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","event":"x"}"#;
    assert!(front(line.as_bytes()).is_some());
    for (part, other) in [
        ("\"v\":1", "\"v\":2"),
        ("7", "07"),
        ("7", ""),
        ("7", "99999999999999999999"),
        ("12:00", "12\\00"),
        ("salt", "salz"),
        ("\"x\"", "\"\""),
        ("\"x\"", "\"\\u0041\""),
        ("\"x\"}", "\"x\",\"entry\":\"1\"}"),
        ("}", ""),
    ] {
        assert_eq!(front(line.replacen(part, other, 1).as_bytes()), None, "{other}");
    }
}

#[test]
fn no_changed_byte_hides_other_records_or_makes_a_panic() {
    let log = story();
    let dir = log.write();
    let path = dir.join("audit-00000000000000000001.jsonl");
    let whole = std::fs::read(&path).expect("read");
    let filter = Filter { events: Events::All, ..Filter::default() };
    for at in (0..whole.len()).step_by(23) {
        for byte in [b'\n', b'"', b'0', 0xff, b'}'] {
            let mut changed = whole.clone();
            changed[at] = byte;
            std::fs::write(&path, &changed).expect("written");
            let mut pieces = 0;
            let Ok(_lines) = Scan::new(vec![CountedLines::open(&dir).expect("a log")], &filter).run(|found| {
                pieces += usize::from(!matches!(found, Found::Tick(..)));
                Ok::<_, Infallible>(ControlFlow::Continue(()))
            });
            // A number that became a larger one makes those behind it look used before: they are told, too. A line feed
            // makes two pieces of one line, or one of two; a changed number can send its line to nobody's segment.
            assert!((6..=8).contains(&pieces), "byte {at} became {byte}: {pieces} pieces");
        }
    }
}
