//! Reading a log that grows, rotates, breaks and loses files.

use std::fs;

use super::*;
use crate::ship::follow::{Batch, Follower};
use crate::trail::segment_name;

/// A directory of segments that a test writes itself.
struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    fn append(&self, first: u64, text: &str) {
        let path = self.0.path().join(segment_name(first));
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).expect("a segment");
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("written");
    }

    fn records(&self, first: u64, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            self.append(first, &line(seq));
        }
    }

    fn follower(&self, last: u64) -> Follower {
        Follower::new(self.0.path().to_path_buf(), last)
    }
}

fn line(seq: u64) -> String {
    format!("{{\"v\":1,\"seq\":{seq},\"ts\":\"2026-11-22T12:00:00.000000Z\",\"event\":\"started\"}}\n")
}

fn gap(seq: u64, void: std::ops::RangeInclusive<u64>) -> String {
    let (first, last) = void.into_inner();
    format!("{{\"v\":1,\"seq\":{seq},\"event\":\"audit.gap\",\"void\":{{\"first\":{first},\"last\":{last}}}}}\n")
}

fn seqs(batch: &Batch) -> Vec<u64> {
    let of = |item: &Item| if let Item::Record { seq, .. } = item { Some(*seq) } else { None };
    batch.items.iter().filter_map(of).collect()
}

fn read(follower: &mut Follower, durable: u64) -> Vec<u64> {
    let batch = follower.read(durable, usize::MAX, usize::MAX).expect("read");
    assert_eq!((batch.missing, batch.unreadable), (0, 0));
    seqs(&batch)
}

#[test]
fn nothing_beyond_what_is_durable_is_read_and_nothing_is_read_twice() {
    let dir = Dir::new();
    let mut follower = dir.follower(0);
    assert_eq!(read(&mut follower, 3), Vec::<u64>::new(), "no file yet");
    dir.records(1, 1..=5);
    assert_eq!(read(&mut follower, 3), [1, 2, 3]);
    assert_eq!(read(&mut follower, 3), Vec::<u64>::new());
    assert_eq!(read(&mut follower, 4), [4]);
    dir.append(1, "{\"v\":1,\"seq\":6,\"half");
    assert_eq!(read(&mut follower, 5), [5]);
    dir.append(1, " of a line\":1}\n");
    dir.records(7, 7..=9);
    assert_eq!(read(&mut follower, 9), [6, 7, 8, 9], "and on to the next segment");
    let batch = dir.follower(0).read(9, 4, usize::MAX).expect("read");
    assert_eq!(seqs(&batch), [1, 2, 3, 4], "no more than asked for");
    let batch = dir.follower(0).read(9, usize::MAX, 100).expect("read");
    assert_eq!(seqs(&batch), [1, 2], "nor more bytes, but for the last line");
    assert_eq!(read(&mut dir.follower(7), 9), [8, 9], "from a cursor");
}

#[test]
fn lines_are_passed_on_as_they_are() {
    let dir = Dir::new();
    let odd = "{\"seq\":1,  \"event\":\"a\\u2028b\",\"v\":1}\n";
    let erased = "{\"seq\":2,\"erased\":true,\"leaf\":\"00\"}\n";
    dir.append(1, odd);
    dir.append(1, erased);
    let batch = dir.follower(0).read(2, 10, usize::MAX).expect("read");
    let found: Vec<_> = batch
        .items
        .iter()
        .map(|item| {
            let Item::Record { line, .. } = item else { panic!("{item:?}") };
            (item.event().to_owned(), format!("{}\n", str::from_utf8(line).expect("text")), item.id("o"))
        })
        .collect();
    let wanted = [("a\u{2028}b", odd, "o/1"), ("erased", erased, "o/2")];
    assert_eq!(found, wanted.map(|(event, line, id)| (event.to_owned(), line.to_owned(), id.to_owned())));
}

#[test]
fn lines_that_do_not_count_are_left_out() {
    let dir = Dir::new();
    // Of the batch 4..=6 only 4 and 5 and a part of 6 reached the disk; the gap record makes all of them void.
    dir.records(1, 1..=5);
    dir.append(1, "{\"v\":1,\"seq\":6,\"to");
    let mut follower = dir.follower(0);
    assert_eq!(read(&mut follower, 3), [1, 2, 3]);
    dir.append(7, &gap(7, 4..=6));
    dir.records(7, 8..=9);
    assert_eq!(read(&mut follower, 3), Vec::<u64>::new());
    assert_eq!(read(&mut follower, 9), [7, 8, 9]);
    assert_eq!(read(&mut dir.follower(0), 9), [1, 2, 3, 7, 8, 9], "in one go");
    // The next start moves them aside.
    fs::write(dir.0.path().join(segment_name(1)), [line(1), line(2), line(3)].concat()).expect("cut");
    assert_eq!(read(&mut dir.follower(0), 9), [1, 2, 3, 7, 8, 9]);
    // A line as high as the next segment's first one does not count either.
    let dir = Dir::new();
    dir.records(1, 1..=4);
    dir.records(3, 3..=5);
    assert_eq!(read(&mut dir.follower(0), 5), [1, 2, 3, 4, 5]);
}

#[test]
fn a_segment_that_is_taken_away_is_read_to_its_end() {
    let dir = Dir::new();
    dir.records(1, 1..=6);
    let mut follower = dir.follower(0);
    assert_eq!(read(&mut follower, 2), [1, 2]);
    fs::remove_file(dir.0.path().join(segment_name(1))).expect("removed");
    dir.append(7, &gap(7, 5..=6));
    assert_eq!(read(&mut follower, 7), [3, 4, 7], "what counted is still there for whoever holds the file");
    let batch = dir.follower(2).read(7, 10, usize::MAX).expect("read");
    assert_eq!((seqs(&batch), batch.missing), (vec![7], 2), "for anybody else it is gone, and 5 and 6 never counted");
}

#[test]
fn a_segment_that_is_written_anew_is_followed() {
    let dir = Dir::new();
    dir.records(1, 1..=3);
    let mut follower = dir.follower(0);
    assert_eq!(read(&mut follower, 3), [1, 2, 3]);
    // An erasure: the file is another one, and the log goes on there.
    let (path, new) = (dir.0.path().join(segment_name(1)), dir.0.path().join("new"));
    fs::write(&new, ["{\"seq\":1,\"erased\":true,\"leaf\":\"00\"}\n".to_owned(), line(2), line(3)].concat())
        .expect("new");
    fs::rename(&new, &path).expect("renamed");
    dir.records(1, 4..=5);
    assert_eq!(read(&mut follower, 5), [4, 5]);
    // Also where the next segment has begun already.
    fs::write(&new, (1..=6).map(line).collect::<String>()).expect("new");
    fs::rename(&new, &path).expect("renamed");
    dir.records(7, 7..=7);
    assert_eq!(read(&mut follower, 7), [6, 7]);
}

#[test]
fn what_retention_removed_before_is_not_missed_and_what_is_gone_later_is() {
    let dir = Dir::new();
    dir.records(5_121, 5_121..=5_123);
    let batch = dir.follower(0).read(5_123, 10, usize::MAX).expect("read");
    assert_eq!((seqs(&batch), batch.missing), (vec![5_121, 5_122, 5_123], 0));
    let batch = dir.follower(5_000).read(5_123, 10, usize::MAX).expect("read");
    assert_eq!((seqs(&batch), batch.missing), (vec![5_121, 5_122, 5_123], 120));
}

#[test]
fn lines_that_are_no_records_are_counted_and_left_out() {
    let dir = Dir::new();
    dir.append(1, &line(1));
    dir.append(1, "this is no record\n");
    dir.append(1, &line(3));
    let batch = dir.follower(0).read(3, 10, usize::MAX).expect("read");
    assert_eq!((seqs(&batch), batch.unreadable, batch.missing), (vec![1, 3], 1, 1));
}
