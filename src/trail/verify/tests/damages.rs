//! Each kind of damage, in a log of some segments, with its place.

use super::*;
use crate::tlog::{Checkpoint, leaf_hash};

#[test]
fn an_edited_line_is_named() {
    let log = Log::of(2_000);
    let edit = |lines: &mut Vec<String>| lines[99] = lines[99].replace("alice", "malice").replace("platform", "other");
    log.with_lines(513, edit, |report| {
        assert_eq!(place(one(&report)), (Kind::Edited, Some((100, 100)), Some((612, 612))));
        assert_eq!(one(&report).file.as_deref(), Some("audit-00000000000000000513.jsonl"));
        assert_eq!(report.signed.map(|signed| signed.size), Some(2_000), "all else is proved");
    });
    let several = |lines: &mut Vec<String>| {
        for line in [10, 11, 12, 400] {
            lines[line] = lines[line].replace("4977", "4978");
        }
    };
    log.with_lines(1, several, |report| {
        let places: Vec<_> = report.damages.iter().map(place).collect();
        let edited = |first, last| (Kind::Edited, Some((first, last)), Some((first, last)));
        assert_eq!(places, [edited(11, 13), edited(401, 401)]);
    });
}

#[test]
fn removed_duplicated_inserted_and_swapped_lines_are_named() {
    let log = Log::of(2_000);
    let at = |line: usize| (1_025 + line as u64 - 1, line as u64);
    for line in [1, 2, 17, 255, 500, 510, 511] {
        let (seq, number) = at(line);
        let index = line - 1;
        log.with_lines(
            1_025,
            |lines| drop(lines.remove(index)),
            |report| {
                let damage = one(&report);
                assert_eq!((damage.kind, place(damage).2), (Kind::Removed, Some((seq, seq))), "{line}: {damage:?}");
            },
        );
        log.with_lines(
            1_025,
            |lines| lines.insert(index, lines[index].clone()),
            |report| {
                let there = Some((number + 1, number + 1));
                assert_eq!(place(one(&report)), (Kind::Duplicated, there, Some((seq, seq))), "{line}");
            },
        );
        log.with_lines(
            1_025,
            |lines| lines.insert(index, "{}".to_owned()),
            |report| {
                assert_eq!(place(one(&report)), (Kind::Inserted, Some((number, number)), None), "{line}");
            },
        );
        log.with_lines(
            1_025,
            |lines| lines.swap(index, index + 1),
            |report| {
                assert!(report.damages.iter().all(|damage| damage.kind == Kind::Reordered), "{line}: {report:#?}");
                let found: Vec<_> = report.damages.iter().filter_map(|damage| place(damage).2).collect();
                assert_eq!(
                    (found.first().map(|seqs| seqs.0), found.last().map(|seqs| seqs.1)),
                    (Some(seq), Some(seq + 1))
                );
            },
        );
    }
    log.with_lines(
        513,
        |lines| lines.swap(20, 300),
        |report| {
            let places: Vec<_> = report.damages.iter().map(place).collect();
            assert_eq!(places.len(), 2);
            assert_eq!(places[0], (Kind::Reordered, Some((21, 21)), Some((533, 533))));
            assert_eq!(places[1], (Kind::Reordered, Some((301, 301)), Some((813, 813))));
        },
    );
    let moved = |lines: &mut Vec<String>| {
        let block: Vec<_> = lines.drain(40..43).collect();
        lines.splice(60..60, block);
    };
    log.with_lines(513, moved, |report| {
        assert_eq!((one(&report).kind, place(one(&report)).2), (Kind::Reordered, Some((553, 555))));
    });
}

#[test]
fn the_last_line_of_a_segment_is_missed_too() {
    let log = Log::of(2_000);
    log.with_lines(
        513,
        |lines| drop(lines.pop()),
        |report| {
            assert_eq!((one(&report).kind, place(one(&report)).2), (Kind::Removed, Some((1_024, 1_024))));
        },
    );
    log.with_lines(
        1_537,
        |lines| drop(lines.pop()),
        |report| {
            assert_eq!((one(&report).kind, place(one(&report)).2), (Kind::Truncated, Some((2_000, 2_000))));
        },
    );
}

#[test]
fn a_segment_that_is_gone_is_missed() {
    let log = Log::of(2_000);
    for (segment, kind, seqs) in [
        (1, Kind::Removed, (1, 512)),
        (513, Kind::Removed, (513, 1_024)),
        (1_025, Kind::Removed, (1_025, 1_536)),
        (1_537, Kind::Truncated, (1_537, 2_000)),
    ] {
        let path = log.path(&segment_name(segment));
        let bytes = fs::read(&path).expect("a segment");
        fs::remove_file(&path).expect("removed");
        let report = log.verify();
        assert_eq!((one(&report).kind, place(one(&report)).2), (kind, Some(seqs)), "{segment}");
        fs::write(path, bytes).expect("written");
    }
    assert!(log.verify().is_sound());
}

#[test]
fn tiles_that_are_gone_or_changed_are_named_and_the_lines_are_still_proved() {
    let log = Log::of(2_000);
    for tile in ["tile/0/000", "tile/0/003", "tile/0/006", "tile/0/007.p/208", "tile/1/000.p/7"] {
        let flip = |bytes: &mut Vec<u8>| bytes[40] ^= 4;
        log.with(tile, flip, |report| {
            assert_eq!((one(&report).kind, one(&report).file.as_deref()), (Kind::Tile, Some(tile)));
            assert_eq!(report.counts.checkpoints, 20, "the lines are proved by all checkpoints");
        });
        log.with(
            tile,
            |bytes| bytes.truncate(33),
            |report| {
                assert_eq!((one(&report).kind, one(&report).file.as_deref()), (Kind::Tile, Some(tile)));
            },
        );
        let path = log.path(tile);
        let bytes = fs::read(&path).expect("a tile");
        fs::remove_file(&path).expect("removed");
        let report = log.verify();
        assert_eq!((one(&report).kind, one(&report).file.as_deref()), (Kind::Tile, Some(tile)));
        fs::write(&path, bytes).expect("written");
    }
    assert!(log.verify().is_sound());
}

#[test]
fn without_tiles_a_damage_lies_between_two_checkpoints() {
    let log = Log::of(2_000);
    fs::remove_dir_all(log.path("tile")).expect("removed");
    let edit = |lines: &mut Vec<String>| lines[99] = lines[99].replace("alice", "malice").replace("4977", "4978");
    log.with_lines(513, edit, |report| {
        let damage = report.damages.iter().find(|damage| damage.kind == Kind::Edited).expect("found");
        assert_eq!(damage.between, Some(Between { good: 600, bad: 700 }));
        assert_eq!(place(damage).2, Some((601, 700)));
        assert_eq!(report.damages.iter().filter(|damage| damage.kind == Kind::Edited).count(), 1);
    });
    let report = log.verify();
    assert!(report.damages.iter().all(|damage| damage.kind == Kind::Tile), "{:#?}", report.damages);
    assert_eq!(report.counts.checkpoints, 20);
}

#[test]
fn lines_and_tiles_that_agree_but_were_not_signed_are_found() {
    let log = Log::of(2_000);
    let path = log.path(&segment_name(513));
    let text = fs::read_to_string(&path).expect("a segment").replacen("alice", "malice", 1);
    let line = text.lines().position(|line| line.contains("malice")).expect("a line");
    let tile = log.path("tile/0/002");
    let mut hashes = fs::read(&tile).expect("a tile");
    let leaf = leaf_hash(text.lines().nth(line).expect("a line").as_bytes());
    hashes[line * 32..(line + 1) * 32].copy_from_slice(leaf.as_bytes());
    fs::write(path, &text).expect("written");
    fs::write(tile, hashes).expect("written");
    let report = log.verify();
    let damage = report.damages.iter().find(|damage| damage.kind == Kind::Edited).expect("found");
    assert_eq!(damage.between, Some(Between { good: 500, bad: 600 }));
}

#[test]
fn checkpoints_that_are_gone_or_changed_are_named() {
    let log = Log::of(2_000);
    for name in [CHECKPOINT_FILE, CHECKPOINTS_FILE] {
        let path = log.path(name);
        let bytes = fs::read(&path).expect("a file");
        fs::remove_file(&path).expect("removed");
        let report = log.verify();
        assert_eq!((one(&report).kind, one(&report).file.as_deref()), (Kind::Checkpoint, Some(name)));
        fs::write(&path, bytes).expect("written");
    }
    let flip = |bytes: &mut Vec<u8>| {
        let third: usize = bytes.split_inclusive(|byte| *byte == b'\n').take(2).map(<[u8]>::len).sum();
        let at = third + bytes[third..].windows(5).position(|found| found == b"audit").expect("the origin") + 10;
        bytes[at] ^= 1;
    };
    log.with(CHECKPOINTS_FILE, flip, |report| {
        assert_eq!(place(one(&report)), (Kind::Checkpoint, Some((3, 3)), None));
    });
    log.with(
        CHECKPOINT_FILE,
        |bytes| bytes[30] ^= 1,
        |report| {
            assert_eq!((one(&report).kind, one(&report).file.as_deref()), (Kind::Checkpoint, Some(CHECKPOINT_FILE)));
        },
    );
    let back = |bytes: &mut Vec<u8>| {
        let mut lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        lines.swap(4, 5);
        *bytes = lines.concat();
    };
    log.with(CHECKPOINTS_FILE, back, |report| {
        assert_eq!(place(one(&report)), (Kind::Checkpoint, Some((6, 6)), None), "sizes shrink");
    });
    let torn = |bytes: &mut Vec<u8>| bytes.extend_from_slice(br#"{"ts":"2026-"#);
    log.with(CHECKPOINTS_FILE, torn, |report| assert!(report.is_sound(), "{:?}", report.damages));
}

#[test]
fn an_old_checkpoint_that_was_put_back_is_found() {
    let log = Log::of(2_000);
    let list = fs::read_to_string(log.path(CHECKPOINTS_FILE)).expect("a list");
    let note = |line: usize| -> String {
        let line: crate::trail::SignedLine =
            serde_json::from_str(list.lines().nth(line).expect("a line")).expect("JSON");
        line.note
    };
    log.with(
        CHECKPOINT_FILE,
        |bytes| *bytes = note(10).into_bytes(),
        |report| {
            assert_eq!((one(&report).kind, one(&report).file.as_deref()), (Kind::Checkpoint, Some(CHECKPOINT_FILE)));
        },
    );
    log.with(CHECKPOINT_FILE, |bytes| *bytes = note(18).into_bytes(), |report| assert!(report.is_sound()));
    let shorter = |bytes: &mut Vec<u8>| {
        let last = bytes.split_inclusive(|byte| *byte == b'\n').next_back().map_or(0, <[u8]>::len);
        bytes.truncate(bytes.len() - last);
    };
    log.with(CHECKPOINTS_FILE, shorter, |report| {
        assert!(report.is_sound(), "{:?}", report.damages);
        assert_eq!(report.signed.map(|signed| signed.size), Some(2_000), "the newest one counts");
    });
}

#[test]
fn a_checkpoint_over_other_lines_is_found() {
    let mut log = Log::of(300);
    log.sample.listening();
    let (origin, size) = ("ccgate.example/audit".to_owned(), log.sample.size());
    log.sample.add_note(&Checkpoint { origin, size, root: leaf_hash(b"other") });
    log.sample.sign();
    let report = log.verify();
    assert_eq!(place(one(&report)), (Kind::Checkpoint, Some((4, 4)), None), "a later one fits");
    log.sample.listening();
    log.sample.flush();
    let (origin, size) = ("ccgate.example/audit".to_owned(), log.sample.size());
    log.sample.add_note(&Checkpoint { origin, size, root: leaf_hash(b"other") });
    let report = log.verify();
    let last = report.damages.last().expect("damage");
    assert_eq!((last.kind, last.between), (Kind::Edited, Some(Between { good: 302, bad: 304 })));
}

#[test]
fn a_key_that_is_not_known_is_told_and_not_the_lines_fault() {
    let (log, other) = (Log::of(300), Log::of(300));
    let keys = read_keys(&other.path(KEYS_FILE)).expect("keys");
    let report = verify(log.dir.path(), &keys, &mut |_, _| {}).expect("a log");
    assert!(report.damages.iter().all(|damage| damage.kind == Kind::KeyUnknown), "{:#?}", report.damages);
    assert_eq!(report.damages.len(), 2, "the list's lines are told together");
    assert_eq!((report.signed, report.origin), (None, None));
}

#[test]
fn a_log_without_checkpoints_proves_nothing() {
    let log = Log::of(300);
    for name in [CHECKPOINT_FILE, CHECKPOINTS_FILE] {
        fs::remove_file(log.path(name)).expect("removed");
    }
    assert_eq!(one(&log.verify()).kind, Kind::Unsigned);
}

#[test]
fn a_torn_tail_and_an_unsigned_one_are_no_damage() {
    let mut log = Log::of(300);
    log.sample.listening();
    log.sample.flush();
    let torn = |bytes: &mut Vec<u8>| bytes.extend_from_slice(br#"{"v":1,"seq":303"#);
    log.with(&segment_name(1), torn, |report| {
        assert!(report.is_sound(), "{:?}", report.damages);
        assert_eq!((report.counts.lines, report.counts.unsigned), (302, 2));
        let about: Vec<_> = report.notes.iter().map(|note| note.about).collect();
        assert_eq!(about, [About::TornTail, About::UnsignedTail]);
    });
    let zeros = |bytes: &mut Vec<u8>| bytes.resize(bytes.len() + 3_000_000, 0);
    log.with(&segment_name(1), zeros, |report| assert!(report.is_sound(), "{:?}", report.damages));
}

#[test]
fn an_unsigned_tail_of_hours_is_damage() {
    let mut log = Log::of(300);
    log.sample.listening();
    log.sample.flush();
    let late = |lines: &mut Vec<String>| lines[301] = lines[301].replace("2026-11-22T12:00", "2026-11-22T15:00");
    log.with_lines(1, late, |report| {
        assert_eq!((one(&report).kind, place(one(&report)).2), (Kind::Unsigned, Some((301, 302))));
    });
}
