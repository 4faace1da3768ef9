//! Somebody who can write the directory and has no key: what such a person can order, excuse or hide.

use super::*;
use crate::tlog::leaf_hash;

/// Changes the line of a record, and its hash in the tile.
fn forge(log: &Log, segment: u64, seq: u64) {
    let path = log.path(&segment_name(segment));
    let text = fs::read_to_string(&path).expect("a segment");
    let line = text.lines().find(|line| line.contains(&format!(r#","seq":{seq},"#))).expect("a line").to_owned();
    let other = line.replace("4977", "4978");
    assert_ne!(line, other);
    let tile = log.path(&format!("tile/0/{:03}", (seq - 1) / 256));
    let mut hashes = fs::read(&tile).expect("a tile");
    let at = usize::try_from((seq - 1) % 256 * 32).expect("small");
    hashes[at..at + 32].copy_from_slice(leaf_hash(other.as_bytes()).as_bytes());
    fs::write(tile, hashes).expect("written");
    fs::write(path, text.replace(&line, &other)).expect("written");
}

fn keep_last_checkpoint(log: &Log) {
    let path = log.path(CHECKPOINTS_FILE);
    let list = fs::read_to_string(&path).expect("a list");
    fs::write(path, list.lines().last().expect("a line").to_owned() + "\n").expect("written");
}

#[test]
fn an_edited_line_behind_a_pruned_beginning_is_found_although_its_tile_agrees() {
    let mut log = Log::of(5_000);
    log.sample.prune(513);
    assert!(log.verify().is_sound());
    forge(&log, 513, 600);
    let damage = log.verify().damages;
    assert_eq!(damage.iter().filter(|damage| damage.kind == Kind::Edited).count(), 1, "{damage:#?}");
    keep_last_checkpoint(&log);
    let damage = log.verify().damages;
    assert!(damage.iter().any(|damage| damage.kind == Kind::Edited), "{damage:#?}");
}

#[test]
fn an_edited_line_behind_an_accepted_loss_or_a_line_too_many_is_found_although_its_tile_agrees() {
    let mut log = Log::of(2_000);
    fs::remove_file(log.path(&segment_name(513))).expect("removed");
    log.sample.rotate();
    log.sample.accept_altered(513, 1_024);
    log.sample.sign();
    assert!(log.verify().is_sound());
    forge(&log, 1_025, 1_060);
    let damage = log.verify().damages;
    assert!(damage.iter().any(|damage| damage.kind == Kind::Edited), "{damage:#?}");
    // The same where the hashes of the accepted records are taken away.
    let mut log = Log::of(2_000);
    let path = log.path(&segment_name(513));
    let text = fs::read_to_string(&path).expect("a segment");
    let without: String = text
        .split_inclusive('\n')
        .enumerate()
        .filter(|(at, _)| !(184..188).contains(at))
        .map(|(_, line)| line)
        .collect();
    fs::write(&path, &without).expect("written");
    log.sample.rotate();
    log.sample.accept_missing(697, 700);
    log.sample.sign();
    assert!(log.verify().is_sound());
    fs::remove_file(log.path("tile/0/002")).expect("removed");
    fs::write(&path, without.replacen("4977", "4978", 600)).expect("written");
    let report = log.verify();
    assert!(!report.is_sound(), "{report:#?}");
    // A line more than there was explains no other.
    let log = Log::of(2_000);
    forge(&log, 513, 650);
    log.with_lines(
        513,
        |lines| lines.insert(100, lines[99].clone()),
        |report| {
            assert!(report.damages.iter().any(|damage| damage.kind == Kind::Edited), "{:#?}", report.damages);
        },
    );
}

#[test]
fn orders_that_were_appended_while_nothing_ran_do_not_count() {
    let mut log = Log::of(1_000);
    // Nobody signs these before the next start does, as part of the log's end.
    let text = fs::read_to_string(log.path(&segment_name(1))).expect("a segment");
    let leaf = leaf_hash(text.lines().nth(99).expect("a line").as_bytes());
    log.sample.rotate();
    log.sample.record("audit.erased", &format!(r#""erased":[{{"seq":100,"leaf":"{leaf}"}}],"reason":"","by":{{}}"#));
    log.sample.record("audit.pruned", r#""first":1,"last":512,"segments":1"#);
    log.sample.accept_altered(600, 700);
    log.sample.open();
    log.sample.sign();
    assert_eq!(log.verify().damages, [], "they do no harm by themselves");

    let gone = |lines: &mut Vec<String>| lines[99] = crate::trail::tombstone_line(100, leaf);
    log.with_lines(1, gone, |report| {
        let detail = "record 1001 orders the erasure, but was not signed by anybody before the next start";
        assert_eq!(one(&report).kind, Kind::ErasureWithoutOrder);
        assert!(one(&report).detail.starts_with(detail), "{}", one(&report).detail);
    });
    log.with_lines(
        513,
        |lines| lines[149] = lines[149].replace("alice", "malice").replace("4977", "4978"),
        |report| {
            assert_eq!(place(one(&report)), (Kind::Edited, Some((150, 150)), Some((662, 662))));
            assert!(
                one(&report).detail.contains("record 1003 accepts it, but was not signed"),
                "{}",
                one(&report).detail
            );
        },
    );
    let path = log.path(&segment_name(1));
    fs::rename(&path, log.path("away")).expect("renamed");
    let report = log.verify();
    assert_eq!((one(&report).kind, place(one(&report)).2), (Kind::Removed, Some((1, 512))));
    assert!(one(&report).detail.contains("record 1002 orders it, but was not signed"), "{}", one(&report).detail);
    // A later order counts, whatever stands before it.
    log.sample.prune(513);
    assert_eq!(log.verify().damages, []);
}

#[test]
fn a_start_that_is_hidden_still_ends_what_can_be_signed() {
    let mut log = Log::of(1_000);
    log.sample.record("audit.pruned", r#""first":1,"last":512,"segments":1"#);
    log.sample.open();
    log.sample.listening();
    log.sample.sign();
    fs::remove_file(log.path(&segment_name(1))).expect("removed");
    // The start's line is gone, and somebody answers for that.
    fs::remove_file(log.path(&segment_name(1_002))).expect("removed");
    log.sample.rotate();
    log.sample.accept_altered(1_002, 1_004);
    log.sample.sign();
    log.sample.open();
    log.sample.sign();
    let report = log.verify();
    assert_eq!((one(&report).kind, place(one(&report)).2), (Kind::Removed, Some((1, 512))));
    assert_eq!(report.accepted.len(), 1);
}

#[test]
fn a_loss_that_a_start_accepts_is_signed_with_what_follows_it() {
    let mut log = Log::of(1_024);
    fs::remove_file(log.path(&segment_name(513))).expect("removed");
    log.sample.rotate();
    // The process that accepts says so before it says that it has started.
    log.sample.accept_altered(513, 1_024);
    log.sample.record("audit.opened", &format!(r#""segment":"{}""#, segment_name(1_025)));
    log.sample.sign();
    log.sample.open();
    log.sample.sign();
    assert_eq!(log.verify().damages, []);
    // One that was put there while nothing ran has the next start's record behind it, which names its own segment.
    let mut log = Log::of(1_024);
    fs::remove_file(log.path(&segment_name(513))).expect("removed");
    log.sample.rotate();
    log.sample.accept_altered(513, 1_024);
    log.sample.open();
    log.sample.sign();
    assert_eq!(one(&log.verify()).kind, Kind::Removed);
}

#[test]
fn lines_in_the_place_of_accepted_missing_ones_are_inserted() {
    let mut log = Log::of(700);
    let path = log.path(&segment_name(513));
    let text = fs::read_to_string(&path).expect("a segment");
    fs::write(&path, text.split_inclusive('\n').take(184).collect::<String>()).expect("written");
    log.sample.rotate();
    log.sample.accept_missing(697, 700);
    log.sample.sign();
    log.sample.open();
    log.sample.sign();
    let report = log.verify();
    assert_eq!((report.damages.len(), report.accepted.len()), (0, 1), "{report:#?}");
    let read = |log: &Log| {
        let mut lines = crate::trail::CountedLines::open(log.dir.path()).expect("a log");
        let mut seqs = Vec::new();
        while matches!(lines.advance(), crate::trail::Step::Line) {
            seqs.push(lines.line().seq);
        }
        seqs
    };
    assert_eq!(read(&log).len(), 698);
    let forged = |(at, line): (usize, &str)| if at < 184 { line.to_owned() } else { line.replace("4977", "4978") };
    fs::write(&path, text.split_inclusive('\n').enumerate().map(forged).collect::<String>()).expect("written");
    let report = log.verify();
    assert!(
        report.damages.iter().any(|damage| damage.kind == Kind::Inserted && place(damage).2 == Some((697, 700))),
        "{report:#?}"
    );
    let seqs = read(&log);
    assert!(!seqs.contains(&697) && !seqs.contains(&700) && seqs.contains(&696) && seqs.contains(&701), "{seqs:?}");
    // Nobody can hide lines from a reader by an acceptance that nobody signed in time.
    let mut log = Log::of(700);
    log.sample.rotate();
    log.sample.accept_missing(697, 700);
    log.sample.open();
    log.sample.sign();
    assert!(read(&log).contains(&700));
}

#[test]
fn acceptances_side_by_side_cover_what_is_found_as_one() {
    let mut log = Log::begin();
    while log.sample.size() < 1_500 {
        if [256, 768].contains(&log.sample.size()) {
            log.sample.rotate();
        }
        log.sample.record("session.signed_in", r#""agent":"4977","retcode":"0""#);
    }
    log.sample.sign();
    fs::remove_file(log.path(&segment_name(257))).expect("removed");
    log.sample.accept_altered(257, 512);
    log.sample.sign();
    assert_eq!(place(one(&log.verify())).2, Some((257, 768)));
    log.sample.accept_altered(513, 768);
    log.sample.sign();
    let report = log.verify();
    assert_eq!((report.damages.len(), report.accepted.len()), (0, 1), "{report:#?}");
    assert!(report.accepted[0].detail.ends_with("accepted: restored; restored"), "{:?}", report.accepted);
}

#[test]
fn accepted_missing_checkpoints_are_told() {
    let mut log = Log::of(300);
    log.sample.rotate();
    log.sample.record("audit.loss_accepted", r#""checkpoints_missing":true,"reason":"a new key","by":{"uid":1}"#);
    log.sample.sign();
    let report = log.verify();
    assert_eq!(report.damages, []);
    assert_eq!((report.accepted[0].kind, place(&report.accepted[0]).2), (Kind::Checkpoint, Some((1, 300))));
    assert!(report.accepted[0].detail.ends_with("a new key"), "{:?}", report.accepted);
}

#[test]
fn numbers_that_never_counted_can_be_as_many_as_were_signed_and_no_forged_number_makes_work() {
    let mut log = Log::begin();
    let count = (1 << 20) + 10;
    log.sample.listening();
    log.sample.record("x", r#""y":1"#);
    log.sample.sign();
    log.sample.void(count);
    let unsigned = log.verify();
    assert_eq!(unsigned.damages, []);
    log.sample.sign();
    let report = log.verify();
    assert_eq!((report.damages.len(), report.counts.void), (0, count), "{:#?}", report.damages);

    let mut log = Log::of(300);
    let last = u64::MAX - 2;
    let gap = format!(r#"{{"v":1,"seq":{},"event":"audit.gap","void":{{"first":301,"last":{last}}}}}"#, last + 1);
    fs::write(log.path(&segment_name(last + 1)), gap + "\n").expect("written");
    let _ = log.verify();
    log.sample.listening();
}

#[test]
fn an_erased_record_excuses_one_entry_and_no_more() {
    let mut log = Log::begin();
    let open = log.sample.listening();
    log.sample.listening();
    log.sample.sign();
    log.sample.erase(open);
    assert_eq!(log.verify().damages, [], "its end has no beginning now");
    let again = log.sample.authorized();
    log.sample.ended(again);
    let second = log.sample.ended(again);
    log.sample.sign();
    assert_eq!(place(one(&log.verify())).2, Some((second, second)));
}
