//! The lines of one log that count, in their order. It holds one line in memory, judges no hash and passes over what it
//! cannot read, which it tells.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{entry_key, front};
use super::{
    CHECKPOINT_FILE, Head, KEYS_FILE, LINE_BYTES_MAX, Lines, Piece, Range, Segment, read_keys, segments, signed_lines,
};

/// Lines at the front of a segment among which a start tells what it accepted.
const FIRST_LINES: usize = 4;

/// One log, read from its beginning.
#[derive(Debug)]
pub struct CountedLines {
    origin: Arc<str>,
    /// Those to be read, the next one last.
    rest: Vec<Segment>,
    voids: Vec<Range>,
    missing: Vec<Range>,
    open: Option<Open>,
    last: u64,
    bytes: u64,
    bytes_all: u64,
    line: Line,
}

#[derive(Debug)]
struct Open {
    lines: Lines<File>,
    path: PathBuf,
    /// The number that the next segment begins with: no line of this one may have it.
    end: u64,
}

/// A line that counts.
#[derive(Debug, Default)]
pub struct Line {
    /// Its bytes, without the line feed.
    pub bytes: Vec<u8>,
    /// Its sequence number.
    pub seq: u64,
    /// What is recorded; empty where the record is erased.
    pub event: String,
    /// When, as the record writes it; empty where the record is erased.
    pub ts: String,
    /// The download that it belongs to.
    pub entry: Option<u128>,
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// [`CountedLines::line`] is the next line.
    Line,
    /// Something was passed over.
    Unreadable(Unreadable),
    /// There is nothing more.
    End,
}

/// Something in a log that cannot be read, and was passed over.
#[derive(Debug, thiserror::Error)]
#[error("{path}, line {line}: {why}", path = path.display())]
pub struct Unreadable {
    /// The segment.
    pub path: PathBuf,
    /// The line in it, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It is no JSON object with the fields of a record.
    #[error("this is no record")]
    NoRecord,
    /// Bytes without a line feed, and another segment behind them.
    #[error("the line has no end")]
    Torn,
    /// It is longer than a line can be.
    #[error("the line is too long for a record; what follows it in this file was not read")]
    TooLong,
    /// Its number is not above the one before.
    #[error("its sequence number was used before")]
    Repeated,
    /// The file could not be read to its end.
    #[error("the file cannot be read: {0}")]
    Io(io::Error),
}

impl CountedLines {
    /// Opens the log in `dir`, as it is now.
    ///
    /// # Errors
    /// The directory can't be read, or is none of a log.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let mut rest = segments(dir)?;
        if rest.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "there is no audit log in it"));
        }
        let Uncounted { voids, missing } = Uncounted::read(dir, &rest)?;
        let bytes_all = rest.iter().map(|segment| segment.path.metadata().map_or(0, |data| data.len())).sum();
        rest.reverse();
        let (origin, line) = (origin(dir).into(), Line::default());
        Ok(Self { origin, rest, voids, missing, open: None, last: 0, bytes: 0, bytes_all, line })
    }

    /// Which log it is: the name of its newest key; without one, of its newest checkpoint; without that, the folder.
    pub const fn origin(&self) -> &Arc<str> {
        &self.origin
    }

    /// The line that the last [`Step::Line`] told of.
    pub const fn line(&self) -> &Line {
        &self.line
    }

    /// Bytes that were read, and that there were when it was opened.
    pub const fn progress(&self) -> (u64, u64) {
        (self.bytes, self.bytes_all)
    }

    /// Passes over whole segments before the record with this number.
    pub fn skip_to(&mut self, seq: u64) {
        let from = self.rest.partition_point(|segment| segment.first > seq);
        self.rest.truncate(from + 1);
    }

    /// That the last line is not what it has to be.
    pub(super) fn unreadable(&self, why: Why) -> Unreadable {
        let (path, line) =
            self.open.as_ref().map_or_else(Default::default, |open| (open.path.clone(), open.lines.number()));
        Unreadable { path, line, why }
    }

    /// Goes to the next line that counts.
    pub fn advance(&mut self) -> Step {
        loop {
            let Some(open) = &mut self.open else {
                match self.next_segment() {
                    Ok(true) => continue,
                    Ok(false) => return Step::End,
                    Err(unreadable) => return Step::Unreadable(unreadable),
                }
            };
            let last_segment = self.rest.is_empty();
            let unreadable = |open: &Open, why| {
                Step::Unreadable(Unreadable { path: open.path.clone(), line: open.lines.number(), why })
            };
            self.line.bytes.clear();
            match open.lines.next_piece() {
                Ok(Piece::Line(bytes)) => self.line.bytes.extend_from_slice(bytes),
                Ok(Piece::End) => {
                    self.open = None;
                    continue;
                }
                Ok(Piece::Torn) => {
                    // At the very end it is a line that is being written.
                    let step = unreadable(open, Why::Torn);
                    let void = self.is_void(self.last.saturating_add(1));
                    self.open = None;
                    if last_segment || void {
                        continue;
                    }
                    return step;
                }
                Ok(Piece::TooLong) => {
                    let step = unreadable(open, Why::TooLong);
                    self.open = None;
                    return step;
                }
                Err(error) => {
                    let step = unreadable(open, Why::Io(error));
                    self.open = None;
                    return step;
                }
            }
            self.bytes = self.bytes.saturating_add(self.line.bytes.len() as u64 + 1);
            let (read, end) = (self.line.read_front(), open.end);
            if !read {
                let step = unreadable(open, Why::NoRecord);
                // What a failed batch left need not even be whole lines.
                if self.is_void(self.last.saturating_add(1)) {
                    continue;
                }
                return step;
            }
            let seq = self.line.seq;
            if seq >= end || self.is_void(seq) || self.missing.iter().any(|missing| missing.contains(seq)) {
                continue;
            }
            if self.line.seq <= self.last {
                return self.open.as_ref().map_or(Step::End, |open| unreadable(open, Why::Repeated));
            }
            self.last = self.line.seq;
            return Step::Line;
        }
    }

    fn next_segment(&mut self) -> Result<bool, Unreadable> {
        let Some(Segment { path, .. }) = self.rest.pop() else { return Ok(false) };
        let end = self.rest.last().map_or(u64::MAX, |next| next.first);
        match File::open(&path) {
            Ok(file) => {
                self.open = Some(Open { lines: Lines::new(file), path, end });
                Ok(true)
            }
            Err(error) => Err(Unreadable { path, line: 1, why: Why::Io(error) }),
        }
    }

    /// Whether a number never counted.
    pub fn is_void(&self, seq: u64) -> bool {
        self.voids.iter().any(|void| void.contains(seq))
    }
}

impl Line {
    /// Reads what stands at the front of the line. `false`: it is no record.
    pub(super) fn read_front(&mut self) -> bool {
        self.event.clear();
        self.ts.clear();
        if let Some(front) = front(&self.bytes) {
            (self.seq, self.entry) = (front.seq, front.entry);
            self.event.push_str(front.event);
            self.ts.push_str(front.ts);
            return true;
        }
        let Ok(head) = serde_json::from_slice::<Head<'_>>(&self.bytes) else { return false };
        self.seq = head.seq;
        self.entry = head.entry.as_deref().and_then(entry_key);
        if head.tombstone().is_some() {
            return true;
        }
        let Ok(record) = serde_json::from_slice::<super::Record<'_>>(&self.bytes) else { return false };
        self.event.push_str(&record.event);
        self.ts.push_str(&record.ts);
        !self.event.is_empty() && (head.entry.is_none() || self.entry.is_some())
    }
}

/// Numbers whose lines are passed over.
#[derive(Debug, Default)]
pub(super) struct Uncounted {
    /// They never counted. The gap record that names some is the first line of its segment.
    pub(super) voids: Vec<Range>,
    /// Somebody has accepted that these are missing. What stands there all the same was put there later.
    pub(super) missing: Vec<Range>,
}

impl Uncounted {
    /// Reads the first lines of segments.
    ///
    /// # Errors
    /// One that is there can't be read.
    pub(super) fn read(dir: &Path, segments: &[Segment]) -> io::Result<Self> {
        let mut found = Self::default();
        let mut accepted = Vec::new();
        for (at, segment) in segments.iter().enumerate() {
            let next = segments.get(at + 1).map_or(u64::MAX, |next| next.first);
            let believed = |range: &Range| range.first <= range.last && range.last < segment.first;
            let file = match File::open(&segment.path) {
                Ok(file) => file,
                // Retention took it away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let mut lines = BufReader::with_capacity(4_096, file);
            for number in 0..FIRST_LINES {
                let mut line = Vec::new();
                lines.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
                let Ok(head) = serde_json::from_slice::<Head<'_>>(&line) else { break };
                match head.event.as_deref() {
                    Some("audit.gap") if number == 0 => found.voids.extend(head.void.filter(believed)),
                    Some("audit.loss_accepted") => {
                        accepted.extend(head.missing.filter(believed).map(|missing| (missing, head.seq, next)));
                    }
                    _ => {}
                }
            }
        }
        if !accepted.is_empty() {
            found.missing = signed_at_once(dir, &accepted)?;
        }
        Ok(found)
    }
}

/// Of losses that were accepted, with the acceptance's number and the next segment's first one, those that were signed
/// before that segment began: another one can have been put there while nothing ran.
fn signed_at_once(dir: &Path, accepted: &[(Range, u64, u64)]) -> io::Result<Vec<Range>> {
    let mut signed = vec![false; accepted.len()];
    for line in signed_lines(dir)? {
        let (_, Some(line)) = line? else { continue };
        for (signed, (_, seq, next)) in signed.iter_mut().zip(accepted) {
            *signed |= *seq <= line.size && line.size < *next;
        }
    }
    Ok(accepted.iter().zip(signed).filter_map(|((range, ..), signed)| signed.then_some(*range)).collect())
}

/// Which log is in a directory.
pub fn origin(dir: &Path) -> String {
    let key = || Some(read_keys(&dir.join(KEYS_FILE)).ok()?.first()?.name().to_owned());
    let note = || Some(std::fs::read_to_string(dir.join(CHECKPOINT_FILE)).ok()?.lines().next()?.to_owned());
    key().or_else(note).unwrap_or_else(|| dir.display().to_string())
}
