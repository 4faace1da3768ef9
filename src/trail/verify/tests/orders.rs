//! What the log says of itself: failed batches, losses, erasures, retention, entries.

use super::*;

#[test]
fn numbers_that_never_counted_are_no_damage_and_their_lines_do_not_count() {
    let mut log = Log::begin();
    for _ in 0..40 {
        log.sample.listening();
    }
    log.sample.sign();
    log.sample.fail(5);
    log.sample.listening();
    log.sample.fail(1);
    log.sample.listening();
    log.sample.sign();
    let report = log.verify();
    assert_eq!(report.damages, []);
    assert_eq!((report.counts.void, report.counts.lines), (6, 87));
    // Also where the next start has moved them aside.
    let whole = |bytes: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        *bytes = text.split_inclusive('\n').take(81).collect::<String>().into_bytes();
    };
    log.with(&segment_name(1), whole, |report| assert_eq!(report.damages, []));
    // A gap record that says so of more than its segment leaves open is not believed.
    let more = |lines: &mut Vec<String>| lines[0] = lines[0].replace(r#""first":82"#, r#""first":80"#);
    log.with_lines(87, more, |report| assert!(!report.is_sound()));
}

#[test]
fn a_loss_is_damage_until_a_signed_record_answers_for_it() {
    let mut log = Log::of(512);
    log.sample.rotate();
    for _ in 0..20 {
        log.sample.listening();
    }
    log.sample.sign();
    log.sample.lose();
    log.sample.sign();
    let report = log.verify();
    assert_eq!((one(&report).kind, place(one(&report)).2), (Kind::Loss, Some((513, 552))));
    log.sample.accept_missing(513, 552);
    log.sample.flush();
    assert_eq!(one(&log.verify()).kind, Kind::Loss, "not signed yet");
    log.sample.sign();
    let report = log.verify();
    assert_eq!(report.damages, []);
    assert_eq!((report.accepted.len(), report.accepted[0].kind), (1, Kind::Loss));
    assert!(report.accepted[0].detail.ends_with("the disk broke"), "{:?}", report.accepted);
}

#[test]
fn an_accepted_loss_covers_no_more_than_it_names() {
    let mut log = Log::of(512);
    log.sample.rotate();
    log.sample.listening();
    log.sample.sign();
    log.sample.lose();
    log.sample.accept_missing(513, 514);
    log.sample.sign();
    let edit = |lines: &mut Vec<String>| lines[99] = lines[99].replace("4977", "4978");
    log.with_lines(1, edit, |report| {
        assert_eq!(place(one(&report)), (Kind::Edited, Some((100, 100)), Some((100, 100))));
    });
}

#[test]
fn an_erasure_needs_a_signed_order() {
    let mut log = Log::of(600);
    log.sample.erase(300);
    log.sample.erase(601 - 1);
    let report = log.verify();
    assert_eq!(report.damages, []);
    assert_eq!(report.counts.erased, 2);
    log.sample.erase_silently(301);
    assert_eq!(place(one(&log.verify())), (Kind::ErasureWithoutOrder, Some((301, 301)), Some((301, 301))));
}

#[test]
fn a_tombstone_says_its_leaf_and_nothing_else() {
    let mut log = Log::of(600);
    log.sample.erase(300);
    for (from, to) in [
        (r#""erased":true"#, r#""erased": true"#),
        (r#""erased":true"#, r#""erased":true,"who":"bob""#),
        (r#""seq":300"#, r#""seq":299"#),
    ] {
        let edit = |lines: &mut Vec<String>| lines[299] = lines[299].replace(from, to);
        log.with_lines(1, edit, |report| {
            assert_eq!((one(&report).kind, place(one(&report)).1), (Kind::Edited, Some((300, 300))), "{to}");
        });
    }
    let leaf = |lines: &mut Vec<String>| {
        let at = lines[299].find(r#""leaf":""#).expect("a leaf") + 8;
        let digit = if lines[299].as_bytes()[at] == b'0' { "1" } else { "0" };
        lines[299].replace_range(at..=at, digit);
    };
    log.with_lines(1, leaf, |report| assert_eq!(one(&report).kind, Kind::Edited));
}

#[test]
fn retention_removes_the_beginning_and_only_with_a_signed_order() {
    let mut log = Log::of(2_000);
    log.sample.prune(1_025);
    let report = log.verify();
    assert_eq!(report.damages, []);
    assert_eq!(report.records, Some(Range { first: 1_025, last: 2_001 }));
    assert!(report.notes.iter().any(|note| note.about == About::Pruned));
    assert_eq!(report.counts.checkpoints, 21, "old checkpoints still verify, by the tiles");
    fs::remove_file(log.path(&segment_name(1_025))).expect("removed");
    let report = log.verify();
    assert_eq!((one(&report).kind, place(one(&report)).2), (Kind::Removed, Some((1, 1_536))), "more than was ordered");
}

#[test]
fn every_entry_has_one_beginning_and_one_end() {
    let mut log = Log::begin();
    let first = log.sample.authorized();
    log.sample.ended(first);
    log.sample.ended(first);
    log.sample.sign();
    assert_eq!(place(one(&log.verify())), (Kind::Entry, Some((4, 4)), Some((4, 4))), "a second end");
    let mut log = Log::begin();
    let open = log.sample.authorized();
    log.sample.sign();
    let report = log.verify();
    assert!(report.is_sound() && report.notes[0].about == About::OpenEntries, "still open");
    log.sample.record("audit.opened", r#""segment":"x""#);
    log.sample.sign();
    assert!(log.verify().is_sound(), "killed, and started just now");
    log.sample.listening();
    log.sample.sign();
    assert_eq!((one(&log.verify()).kind, place(one(&log.verify())).2), (Kind::Entry, Some((2, 2))), "forgotten");
    log.sample.ended(open);
    log.sample.sign();
    assert!(log.verify().is_sound());
}

#[test]
fn a_record_of_a_newer_version_is_told() {
    let mut log = Log::begin();
    log.sample.record("started\",\"v\":2,\"x\":\"", r#""y":1"#);
    log.sample.sign();
    let report = log.verify();
    assert_eq!(one(&report).kind, Kind::Malformed, "two versions are none");
}
