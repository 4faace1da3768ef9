//! The pieces of the reader.

use super::*;
use crate::tlog::{Hashes as _, Tile, TileId, leaf_hash};

#[test]
fn names_and_numbers_of_segments_belong_together() {
    assert_eq!(segment_name(257), "audit-00000000000000000257.jsonl");
    assert_eq!(first_seq("audit-00000000000000000257.jsonl"), Some(257));
    for other in
        ["audit-257.jsonl", "audit-0000000000000000025x.jsonl", "audit.lock", "audit-00000000000000000257.jsonl.torn-1"]
    {
        assert_eq!(first_seq(other), None, "{other}");
    }
}

#[test]
fn lines_are_cut_at_line_feeds_and_what_is_no_line_is_told() {
    let mut lines = Lines::new(&b"one\n\ntwo\nthr"[..]);
    assert_eq!(lines.next_piece().expect("read"), Piece::Line(b"one"));
    assert_eq!((lines.number(), lines.offset()), (1, 0));
    assert_eq!(lines.next_piece().expect("read"), Piece::Line(b""));
    assert_eq!(lines.next_piece().expect("read"), Piece::Line(b"two"));
    assert_eq!((lines.number(), lines.offset()), (3, 5));
    assert_eq!(lines.next_piece().expect("read"), Piece::Torn);
    assert_eq!((lines.number(), lines.offset()), (4, 9));
    let long = [b"x".repeat(LINE_BYTES_MAX + 1), b"\n".to_vec()].concat();
    assert_eq!(Lines::new(&long[..]).next_piece().expect("read"), Piece::TooLong);
    assert_eq!(Lines::new(&long[1..]).next_piece().expect("read"), Piece::Line(&long[1..=LINE_BYTES_MAX]));
    assert_eq!(Lines::new(&vec![0; 1 << 20][..]).next_piece().expect("read"), Piece::Torn, "zeros of a torn block");
    assert_eq!(Lines::new(&b""[..]).next_piece().expect("read"), Piece::End);
}

#[test]
fn an_erased_line_says_its_leaf_and_no_other_line_does() {
    let leaf = leaf_hash(b"was here");
    let read = |line: &str| {
        let head: Head<'_> = serde_json::from_str(line).expect("a head");
        leaf_of(line.as_bytes(), &head)
    };
    assert_eq!(read(&format!(r#"{{"seq":7,"erased":true,"leaf":"{leaf}"}}"#)), leaf);
    for other in [
        format!(r#"{{"seq":7,"erased":false,"leaf":"{leaf}"}}"#),
        format!(r#"{{"seq":7,"leaf":"{leaf}"}}"#),
        format!(r#"{{"v":1,"seq":7,"event":"authorized","erased":true,"leaf":"{leaf}"}}"#),
        format!(r#"{{"v":1,"seq":7,"event":"audit.erased","erased":[{{"seq":3,"leaf":"{leaf}"}}]}}"#),
    ] {
        assert_eq!(read(&other), leaf_hash(other.as_bytes()), "{other}");
    }
    assert_eq!(void_leaf(7), leaf_hash(br#"{"seq":7,"void":true}"#));
}

#[test]
fn tiles_are_found_whole_grown_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let hashes: Vec<_> = (0..20_u8).map(|number| leaf_hash(&[number])).collect();
    let tile = Tile { id: TileId { level: 0, index: 3, width: 20 }, hashes };
    let path = dir.path().join(tile.id.path());
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    std::fs::write(&path, tile.encode()).expect("written");
    let tiles = TileDir::new(dir.path());
    for width in [1, 19, 20] {
        let id = TileId { width, ..tile.id };
        assert_eq!(tiles.tile(id).expect("a tile").hashes, tile.hashes[..usize::from(width)]);
    }
    for missing in [TileId { width: 21, ..tile.id }, TileId { index: 4, ..tile.id }, TileId::full(0, 3)] {
        assert!(tiles.tile(missing).is_err(), "{missing:?}");
    }
}

#[test]
fn signed_lines_are_read_from_both_ends_and_torn_ones_left_out() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(signed_lines(dir.path()).expect("none").count(), 0);
    assert_eq!(last_signed_lines(dir.path()).expect("none"), []);
    let line = |size| SignedLine {
        ts: "2026-11-22T12:00:00Z".parse().expect("a time"),
        size,
        scan_from: 1,
        note: format!("origin\n{size}\n"),
    };
    let text: String = (1..=3).map(|size| serde_json::to_string(&line(size)).expect("JSON") + "\n").collect();
    std::fs::write(dir.path().join(CHECKPOINTS_FILE), text + "{\"ts\":").expect("written");
    let read: Vec<_> = signed_lines(dir.path()).expect("a file").map(|line| line.expect("read")).collect();
    assert_eq!(read, [(1, Some(line(1))), (2, Some(line(2))), (3, Some(line(3))), (4, None)]);
    assert_eq!(last_signed_lines(dir.path()).expect("a file"), [line(3), line(2), line(1)]);
}

#[test]
fn a_list_of_keys_names_the_line_that_is_none() {
    assert_eq!(parse_keys("# nobody\n\n").map(|keys| keys.len()), Ok(0));
    assert_eq!(parse_keys("\nkey\n").map_err(|(line, _)| line), Err(2));
}
