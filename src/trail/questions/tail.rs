//! The newest lines, and those that come.

use super::super::made_log::{ALICE, MadeLog};
use super::super::{Line, Tail};

fn seqs(lines: Vec<Line>) -> Vec<u64> {
    lines.iter().map(|line| line.seq).collect()
}

#[test]
fn the_newest_lines_come_from_as_many_segments_as_they_need() {
    let mut log = MadeLog::new();
    for number in 1..=400 {
        log.begin(i64::from(number), number, ALICE);
        if number % 150 == 0 {
            log.rotate();
        }
    }
    let dir = log.write();
    for (count, first) in [(0, 401), (1, 400), (100, 301), (101, 300), (260, 141), (400, 1), (1_000, 1)] {
        let (_tail, lines) = Tail::begin(&dir, count).expect("read");
        assert_eq!(seqs(lines), (first..=400).collect::<Vec<u64>>(), "{count}");
    }
}

#[test]
fn lines_that_come_are_followed_over_rotation_and_only_whole() {
    let mut log = MadeLog::new();
    log.begin(0, 1, ALICE);
    let dir = log.write();
    let (mut tail, lines) = Tail::begin(&dir, 10).expect("read");
    assert_eq!(seqs(lines), [1]);
    assert_eq!(seqs(tail.look().expect("read")), [0; 0]);
    log.begin(1, 2, ALICE);
    log.begin(2, 3, ALICE);
    let path = log.write().join("audit-00000000000000000001.jsonl");
    let whole = std::fs::read(&path).expect("read");
    std::fs::write(&path, &whole[..whole.len() - 9]).expect("written");
    assert_eq!(seqs(tail.look().expect("read")), [2]);
    log.rotate();
    log.begin(3, 4, ALICE);
    log.rotate();
    log.begin(4, 5, ALICE);
    log.write();
    assert_eq!(seqs(tail.look().expect("read")), [3, 4, 5]);
    assert_eq!(seqs(tail.look().expect("read")), [0; 0]);
    // Retention takes the first two away.
    for first in [1, 4] {
        std::fs::remove_file(dir.join(super::super::segment_name(first))).expect("removed");
    }
    assert_eq!(seqs(tail.look().expect("read")), [0; 0]);
}

#[test]
fn a_log_that_is_not_there_yet_is_waited_for() {
    let mut log = MadeLog::new();
    let (mut tail, lines) = Tail::begin(log.path(), 10).expect("read");
    assert_eq!(seqs(lines), [0; 0]);
    log.begin(0, 1, ALICE);
    log.write();
    assert_eq!(seqs(tail.look().expect("read")), [1]);
}

#[test]
fn rubbish_is_no_line_and_holds_nothing_up() {
    let mut log = MadeLog::new();
    log.begin(0, 1, ALICE);
    let dir = log.write();
    let (mut tail, _lines) = Tail::begin(&dir, 1).expect("read");
    let path = dir.join("audit-00000000000000000001.jsonl");
    let mut bytes = std::fs::read(&path).expect("read");
    bytes.extend(vec![b'x'; 9 * 1_024 * 1_024]);
    bytes.extend(b"\ngarbage\n");
    std::fs::write(&path, bytes).expect("written");
    log.rotate();
    log.begin(1, 2, ALICE);
    let next = dir.join("audit-00000000000000000002.jsonl");
    std::fs::write(next, "{\"v\":1,\"seq\":2,\"ts\":\"t\",\"event\":\"started\"}\n").expect("written");
    let seen: Vec<u64> = (0..8).flat_map(|_| seqs(tail.look().expect("read"))).collect();
    assert_eq!(seen, [2]);
}
