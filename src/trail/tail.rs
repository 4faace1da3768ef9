//! The newest lines of a log, and those that come. It holds no file open between two looks, so rotation and retention
//! disturb nobody.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::counted::Line;
use super::counted::Uncounted;
use super::{LINE_BYTES_MAX, Range, Segment, segments};

/// Bytes of a segment's end that are looked at for the newest lines.
const LOOK_BACK_MAX: u64 = 16 * 1_024 * 1_024;
/// Bytes that one look takes at most; the next look goes on from there.
const LOOK_MAX: u64 = 4 * 1_024 * 1_024;

/// Where somebody who follows a log has come to.
#[derive(Debug)]
pub struct Tail {
    dir: PathBuf,
    /// The first number of the segment that is read; 0: there was none yet.
    first: u64,
    offset: u64,
    last: u64,
}

impl Tail {
    /// Begins at the end of the log in `dir`, and gives its last `count` lines that count. From each segment, only the last
    /// 16 MiB are looked at.
    ///
    /// # Errors
    /// The log can't be read.
    pub fn begin(dir: &Path, count: usize) -> io::Result<(Self, Vec<Line>)> {
        let all = segments(dir)?;
        let Uncounted { mut voids, missing } = Uncounted::read(dir, &all)?;
        voids.extend(missing);
        let mut tail = Self { dir: dir.to_path_buf(), first: 0, offset: 0, last: 0 };
        let mut lines: Vec<Line> = Vec::new();
        let mut end = u64::MAX;
        for segment in all.iter().rev() {
            let (read, offset) = last_lines(segment, count.saturating_sub(lines.len()), end, &voids)?;
            if end == u64::MAX {
                (tail.first, tail.offset) = (segment.first, offset);
            }
            end = segment.first;
            lines.splice(0..0, read);
            if lines.len() >= count {
                break;
            }
        }
        tail.last = lines.last().map_or(0, |line| line.seq);
        Ok((tail, lines))
    }

    /// The whole lines that have come since the last look: 4 MiB of them at most. A line that a failing disk then makes the
    /// writer disown is among them: only the next segment tells that.
    ///
    /// # Errors
    /// The log can't be read.
    pub fn look(&mut self) -> io::Result<Vec<Line>> {
        // Which segments there are comes first: whatever a segment with a successor holds then is all of it.
        let all = segments(&self.dir)?;
        let mut lines = Vec::new();
        let mut left = LOOK_MAX;
        let from = all.partition_point(|segment| segment.first < self.first);
        for (place, segment) in all.iter().enumerate().skip(from) {
            if segment.first > self.first {
                (self.first, self.offset) = (segment.first, 0);
            }
            let end = all.get(place + 1).map_or(u64::MAX, |next| next.first);
            let (bytes, read) = match read_from(&segment.path, self.offset, left) {
                Ok(read) => read,
                // Retention took it away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // What fills a whole look and has no line feed is no line.
            let stuck = bytes == 0 && segment.path.metadata()?.len().saturating_sub(self.offset) > left;
            self.offset += if stuck { left } else { bytes };
            left = left.saturating_sub(bytes);
            for line in read {
                if line.seq < end && line.seq > self.last {
                    self.last = line.seq;
                    lines.push(line);
                }
            }
            if left < LINE_BYTES_MAX as u64 + 1 {
                break;
            }
        }
        Ok(lines)
    }
}

/// The last lines of a segment, and where whole lines end in it.
fn last_lines(segment: &Segment, count: usize, end: u64, voids: &[Range]) -> io::Result<(Vec<Line>, u64)> {
    let size = segment.path.metadata()?.len();
    let mut back = 64 * 1_024;
    loop {
        let from = size.saturating_sub(back);
        let (bytes, mut lines) = read_from(&segment.path, from, back)?;
        lines.retain(|line| line.seq < end && !voids.iter().any(|void| void.contains(line.seq)));
        if lines.len() >= count || from == 0 || back >= LOOK_BACK_MAX {
            lines.drain(..lines.len().saturating_sub(count));
            return Ok((lines, from + bytes));
        }
        back *= 4;
    }
}

/// The records among the whole lines from a place on, and how many bytes those lines have. What is no record is left out.
fn read_from(path: &Path, from: u64, bytes_max: u64) -> io::Result<(u64, Vec<Line>)> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
    bytes.truncate(whole);
    let pieces = bytes.split(|byte| *byte == b'\n').filter(|piece| !piece.is_empty());
    let lines = pieces.filter_map(|piece| {
        let mut line = Line { bytes: piece.to_vec(), ..Line::default() };
        line.read_front().then_some(line)
    });
    Ok((whole as u64, lines.collect()))
}
