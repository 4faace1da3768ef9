//! Reads the log while it grows: the records that count, in the order of `seq`, never beyond what is durable. It holds the
//! open segment, so that one that is rotated or taken away is read to its end.
//!
//! A line counts if it is not in the `void` range of the next segment's first record and not as high as the next segment's
//! first number. When `durable` has passed such a number, that next segment is there: the gap record in it is durable.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use crate::trail::{LINE_BYTES_MAX, Lines, Piece, Range, Segment, segments};

use super::sink::Item;

/// What one reading brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// Records, in order.
    pub(super) items: Vec<Item>,
    /// Numbers that counted, behind what was read before, and are gone.
    pub(super) missing: u64,
    /// Lines that are no records.
    pub(super) unreadable: u64,
}

/// A place in the log.
#[derive(Debug)]
pub(super) struct Follower {
    dir: PathBuf,
    /// All up to this number was given out, or will never be.
    last: u64,
    open: Option<Open>,
}

/// The segment that is read.
#[derive(Debug)]
struct Open {
    first: u64,
    path: PathBuf,
    file: FileId,
    lines: Lines<File>,
    /// A line that was read and is not durable yet, or will never count.
    held: Option<Line>,
    /// Nothing more can be read from this file.
    ended: bool,
    /// The numbers that its first record declares void.
    void: Option<Range>,
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

#[derive(Debug)]
struct Line {
    seq: u64,
    event: String,
    ts: Option<Timestamp>,
    void: Option<Range>,
    bytes: Bytes,
}

/// What is read of a line.
#[derive(Deserialize)]
struct Seen<'a> {
    seq: u64,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(default)]
    ts: Option<Timestamp>,
    #[serde(default)]
    void: Option<Range>,
}

/// Where the lines of the open segment end that count.
#[derive(Debug, Clone, Copy)]
struct Limit {
    durable: u64,
    /// The first number of the next segment, and what it declares void.
    next: Option<(u64, Option<Range>)>,
}

impl Follower {
    /// Begins behind a record; 0: with the oldest.
    pub(super) const fn new(dir: PathBuf, last: u64) -> Self {
        Self { dir, last, open: None }
    }

    /// Reads on: at most `count` records and, but for a single one, `bytes` bytes. Empty: there is nothing more that is
    /// durable, or what should be there cannot be seen.
    ///
    /// # Errors
    /// A segment or the directory can't be read; the next call tries again.
    pub(super) fn read(&mut self, durable: u64, count: usize, bytes: usize) -> io::Result<Batch> {
        let mut batch = Batch::default();
        if self.last >= durable {
            return Ok(batch);
        }
        // Listed when `durable` is known already, so that a segment that makes lines void is among them.
        let segments = segments(&self.dir)?;
        let mut size = 0_usize;
        let mut limit = None;
        while self.last < durable && batch.items.len() < count && size < bytes {
            let Some(open) = &mut self.open else {
                let Some(open) = begin(&segments, self.last)? else { break };
                (self.open, limit) = (Some(open), None);
                continue;
            };
            let within = match limit {
                Some(within) => within,
                None => *limit.insert(Limit::of(open.first, &segments, durable)?),
            };
            match open.next(&mut batch.unreadable)? {
                Some(line) if line.seq <= self.last || within.is_void(line.seq) => {}
                Some(line) if within.holds(line.seq) => {
                    size = size.saturating_add(line.bytes.len());
                    batch.missing = batch.missing.saturating_add(open.missing(self.last, line.seq));
                    self.last = line.seq;
                    batch.items.push(line.into_item());
                }
                beyond => {
                    open.held = beyond;
                    if !self.go_on(&segments, durable)? {
                        break;
                    }
                    limit = None;
                }
            }
        }
        Ok(batch)
    }

    /// To the file that has taken the place of the open one, or else to the next segment.
    fn go_on(&mut self, segments: &[Segment], durable: u64) -> io::Result<bool> {
        let Some(open) = &self.open else { return Ok(false) };
        // An erasure writes the segment anew, and the log goes on in the new file.
        if open.is_replaced() {
            self.open = Open::new(open.first, &open.path)?;
            return Ok(self.open.is_some());
        }
        let next = segments.iter().find(|segment| segment.first > open.first && segment.first <= durable);
        let Some(next) = next else { return Ok(false) };
        self.open = Open::new(next.first, &next.path)?;
        Ok(self.open.is_some())
    }
}

/// The segment in which the record behind `last` must be; where that is gone, the oldest.
fn begin(segments: &[Segment], last: u64) -> io::Result<Option<Open>> {
    let holding = segments.iter().rev().find(|segment| segment.first <= last.saturating_add(1));
    match holding.or(segments.first()) {
        Some(segment) => Open::new(segment.first, &segment.path),
        None => Ok(None),
    }
}

impl Open {
    /// `None`: it was taken away meanwhile.
    fn new(first: u64, path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let id = FileId::of(&file.metadata()?);
        let (path, lines) = (path.to_path_buf(), Lines::new(file));
        Ok(Some(Self { first, path, file: id, lines, held: None, ended: false, void: None }))
    }

    /// The next line that is a record. `None`: the file ends here, so far.
    fn next(&mut self, unreadable: &mut u64) -> io::Result<Option<Line>> {
        if self.held.is_some() || self.ended {
            return Ok(self.held.take());
        }
        loop {
            match self.lines.next_piece()? {
                Piece::Line(bytes) => {
                    let Some(line) = Line::read(bytes) else {
                        *unreadable = unreadable.saturating_add(1);
                        continue;
                    };
                    if line.seq == self.first {
                        self.void = line.void;
                    }
                    return Ok(Some(line));
                }
                Piece::End => return Ok(None),
                // Lines that count are whole: this is what a failed batch left, and the log goes on in another file.
                Piece::Torn | Piece::TooLong => {
                    self.ended = true;
                    return Ok(None);
                }
            }
        }
    }

    /// How many numbers between two records counted: all that the open segment does not declare void.
    fn missing(&self, last: u64, seq: u64) -> u64 {
        // What was removed before the first record that was ever shipped is not missed.
        let between = if last == 0 { 0 } else { seq.saturating_sub(last).saturating_sub(1) };
        let void = self.void.map_or(0, |void| {
            let (first, end) = (void.first.max(last.saturating_add(1)), void.last.saturating_add(1).min(seq));
            end.saturating_sub(first)
        });
        between.saturating_sub(void)
    }

    fn is_replaced(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|found| FileId::of(&found) != self.file)
    }
}

impl FileId {
    fn of(data: &std::fs::Metadata) -> Self {
        Self { device: data.dev(), inode: data.ino() }
    }
}

impl Limit {
    fn of(first: u64, segments: &[Segment], durable: u64) -> io::Result<Self> {
        let next = segments.iter().find(|segment| segment.first > first && segment.first <= durable);
        let next = match next {
            None => None,
            Some(next) => Some((next.first, first_void(&next.path)?)),
        };
        Ok(Self { durable, next })
    }

    /// Whether a line with this number counts.
    fn holds(&self, seq: u64) -> bool {
        seq <= self.durable && self.next.is_none_or(|(first, _)| seq < first)
    }

    fn is_void(&self, seq: u64) -> bool {
        self.next.and_then(|(_, void)| void).is_some_and(|void| void.contains(seq))
    }
}

/// The numbers that a segment's first record declares void.
fn first_void(path: &Path) -> io::Result<Option<Range>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut lines = Lines::new(io::Read::take(file, LINE_BYTES_MAX as u64 + 1));
    Ok(match lines.next_piece()? {
        Piece::Line(bytes) => Line::read(bytes).and_then(|line| line.void),
        Piece::Torn | Piece::TooLong | Piece::End => None,
    })
}

impl Line {
    fn read(bytes: &[u8]) -> Option<Self> {
        let seen: Seen<'_> = serde_json::from_slice(bytes).ok()?;
        let event = seen.event.map_or_else(|| "erased".to_owned(), Cow::into_owned);
        let void = seen.void.filter(|_| event == "audit.gap");
        Some(Self { seq: seen.seq, ts: seen.ts, void, bytes: Bytes::copy_from_slice(bytes), event })
    }

    fn into_item(self) -> Item {
        Item::Record { seq: self.seq, event: self.event, ts: self.ts, line: self.bytes }
    }
}
