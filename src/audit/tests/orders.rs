//! Orders that somebody forged, damage that is accepted, erasures that meet: what nobody may get away with.

use std::fs;

use super::super::{EraseError, Erasure, Person};
use super::lines as lines_of;
use super::signed::{accept, place, sound, start, stopped, verify, write};
use super::*;
use crate::trail::{CHECKPOINT_FILE, CHECKPOINTS_FILE, KEYS_FILE, read_keys};

/// Appends a line as if the log had written it, behind what is signed.
fn forge(dir: &Path, fields: &str) -> u64 {
    let (first, text) = segments(dir).into_iter().next_back().expect("a segment");
    let seq = first + text.lines().count() as u64;
    let line = format!("{{\"v\":1,\"seq\":{seq},\"ts\":\"2026-11-22T12:00:00.000000Z\",\"salt\":\"00\",{fields}}}\n");
    fs::write(dir.join(segment_name(seq)), line).expect("forged");
    seq
}

#[tokio::test]
async fn an_order_that_nobody_signed_is_not_obeyed() {
    let (dir, config) = sound().await;
    let (_, lines, at) = place(dir.path(), 600);
    let leaf = crate::tlog::leaf_hash(lines[at].trim_end().as_bytes());
    let by = "\"reason\":\"r\",\"by\":{}";
    forge(dir.path(), &format!("\"event\":\"audit.erased\",\"erased\":[{{\"seq\":600,\"leaf\":\"{leaf}\"}}],{by}"));
    for _ in 0..2 {
        stopped(start(&config).expect("it starts")).await;
        assert_eq!(place(dir.path(), 600).1[at], lines[at], "nothing is erased");
    }
    // A beginning that is gone is not told by a forged record of its removal, nor an edit by a forged acceptance.
    forge(dir.path(), "\"event\":\"audit.pruned\",\"first\":1,\"last\":256,\"segments\":1");
    let first = fs::read(dir.path().join(segment_name(1))).expect("a segment");
    fs::remove_file(dir.path().join(segment_name(1))).expect("removed");
    assert!(matches!(start(&config).expect_err("gone"), StartError::Beginning { last: 256, .. }));
    fs::write(dir.path().join(segment_name(1)), first).expect("put back");
    let (path, mut lines, at) = place(dir.path(), 690);
    forge(dir.path(), &format!("\"event\":\"audit.loss_accepted\",\"altered\":[{{\"first\":690,\"last\":690}}],{by}"));
    lines[at] = lines[at].replace("alice", "mallo");
    fs::write(path, lines.concat()).expect("edited");
    assert!(start(&config).is_err(), "what is read again is compared");
    let keys = read_keys(&dir.path().join(KEYS_FILE)).expect("keys");
    let report = crate::trail::verify::verify(dir.path(), &keys, &mut |_, _| {}).expect("a log");
    assert!(!report.is_sound() && report.accepted.is_empty(), "{report:?}");
}

#[tokio::test]
async fn records_without_any_checkpoint_are_not_taken_over() {
    let (dir, config) = sound().await;
    for name in [CHECKPOINT_FILE, CHECKPOINTS_FILE, KEYS_FILE] {
        fs::remove_file(dir.path().join(name)).expect("removed");
    }
    assert!(matches!(start(&config).expect_err("unsigned"), StartError::Unsigned { .. }));
}

#[tokio::test]
async fn what_a_stranger_puts_beside_the_segments_moves_nothing_aside() {
    let (dir, config) = sound().await;
    let before = segments(dir.path());
    fs::write(dir.path().join(segment_name(600)), "").expect("planted");
    stopped(start(&config).expect("an empty one ends none")).await;
    let after = segments(dir.path());
    assert!(before.iter().all(|(first, text)| after.get(first) == Some(text)), "nothing was cut");
    let void = "\"event\":\"audit.gap\",\"reason\":\"disk_full\",\"lost\":0,\"void\":{\"first\":600,\"last\":699}";
    forge(dir.path(), void);
    stopped(start(&config).expect("it starts")).await;
    let after = segments(dir.path());
    assert!(before.iter().all(|(first, text)| after.get(first) == Some(text)), "nothing was cut");
    // What the list of checkpoints says of where to begin is not signed, and believed no further than the signature.
    let notes = fs::read_to_string(dir.path().join(CHECKPOINTS_FILE)).expect("notes");
    let last = notes.lines().last().expect("a note");
    let (head, rest) = last.split_once("\"scan_from\":").expect("it says so");
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    fs::write(dir.path().join(CHECKPOINTS_FILE), format!("{head}\"scan_from\":1025{rest}\n")).expect("forged");
    let (path, mut lines, at) = place(dir.path(), 770.min(lines_of(dir.path()).len() as u64 - 1));
    lines[at] = lines[at].replacen("\"salt\":\"", "\"salt\":\"f", 1);
    fs::write(path, lines.concat()).expect("edited");
    assert!(start(&config).is_err(), "an edit of what was signed last is found all the same");
}

#[tokio::test]
async fn what_accept_loss_takes_over_starts_again() {
    type Damage = fn(&mut Vec<String>, usize);
    let table: [(&str, u64, Damage); 5] = [
        ("the first line of a segment is gone", 513, |lines, at| drop(lines.remove(at))),
        ("a line twice", 690, |lines, at| lines.insert(at, lines[at].clone())),
        ("a number that was set down", 690, |lines, at| lines[at] = lines[at].replace("\"seq\":690", "\"seq\":90")),
        ("a number that was set up", 690, |lines, at| lines[at] = lines[at].replace("\"seq\":690", "\"seq\":694")),
        ("a line that is too long", 690, |lines, at| lines[at] = "x".repeat(70_000) + "\n"),
    ];
    for (what, seq, damage) in table {
        let (dir, config) = sound().await;
        let (path, mut lines, at) = place(dir.path(), seq);
        damage(&mut lines, at);
        fs::write(path, lines.concat()).expect("damaged");
        assert!(start(&config).is_err(), "{what}");
        accept(&config).expect(what).expect("a loss");
        stopped(start(&config).unwrap_or_else(|error| panic!("{what}: {error}"))).await;
        assert_eq!(accept(&config).expect(what), None, "{what}: nothing more");
    }
}

#[tokio::test]
async fn two_erasures_at_once_and_an_end_without_its_beginning() {
    let world = World::new();
    write(&world, 40).await;
    world.until("all ends", |world| world.lines().len() == 81).await;
    let order = |records: &[u64]| Erasure {
        records: records.iter().copied().collect(),
        reason: "r".to_owned(),
        by: Person::default(),
    };
    let lines = world.lines();
    let of = |entry: &Value| -> Vec<u64> {
        lines
            .iter()
            .filter(|line| line["entry"] == *entry)
            .map(|line| line["seq"].as_u64().expect("a number"))
            .collect()
    };
    let entries: Vec<&Value> =
        lines.iter().filter(|line| line["event"] == "authorized").map(|line| &line["entry"]).collect();
    let ended = of(entries[0])[1];
    assert!(matches!(world.log.erase(order(&[ended])).await, Err(EraseError::End(seq)) if seq == ended));
    let all = futures_util::future::join_all(entries.iter().map(|entry| world.log.erase(order(&of(entry))))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    world.stop().await;
    verify(world.dir.path());
    assert!(!segments(world.dir.path()).into_values().any(|text| text.contains("alice")));
    let world = world.killed_and_started_again().await;
    assert!(!world.lines().iter().any(|line| line["event"] == "unknown"));
}
