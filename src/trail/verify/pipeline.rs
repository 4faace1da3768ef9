//! Segments in, rows in their order out: one thread reads, the others hash and parse, and the caller merges. Memory is
//! bounded by a few pieces of 1 MiB for each thread, whatever the log's size.

use std::fs::File;
use std::io::{self, BufRead as _, Read as _};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope};

use super::super::LINE_BYTES_MAX;
use super::super::segments::Segment;
use super::row::Row;

/// Bytes of a piece, of which the longest line can add its own.
const PIECE_BYTES: usize = 1 << 20;

/// Pieces that wait before and behind each worker.
const WAITING_MAX: usize = 2;

/// Threads that hash and parse, at most: the one that merges is busy with the work of about six.
const WORKERS_MAX: usize = 6;

/// Whole lines of a segment.
#[derive(Debug)]
pub(super) struct Piece<L> {
    /// Which segment, by its place in the list.
    pub(super) segment: usize,
    /// The lines: bytes before a worker, rows behind it.
    pub(super) lines: L,
    /// What follows them.
    pub(super) then: Then,
    /// Bytes that were read for it.
    pub(super) bytes: u64,
}

/// What follows the lines of a piece.
#[derive(Debug)]
pub(super) enum Then {
    /// More lines.
    More,
    /// A line that is too long for a record, then more.
    TooLong,
    /// The segment's end.
    End,
    /// So many bytes without a line feed, then the segment's end.
    Torn(u64),
    /// The rest cannot be read.
    Failed(io::Error),
}

/// How many threads hash and parse.
pub(super) fn workers() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get).clamp(1, WORKERS_MAX)
}

/// Reads all segments and hands their rows to `merge`, in order. Times are read of rows above `timed_from`.
pub(super) fn run(segments: &[Segment], timed_from: u64, mut merge: impl FnMut(Piece<Vec<Row>>)) {
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..workers()).map(|_| worker(scope, timed_from)).collect();
        let (senders, receivers): (Vec<_>, Vec<_>) = lanes.into_iter().unzip();
        scope.spawn(move || read(segments, &senders));
        // Pieces are dealt out in turn, so that taking them in turn restores their order.
        for receiver in receivers.iter().cycle() {
            let Ok(piece) = receiver.recv() else { break };
            merge(piece);
        }
    });
}

/// A worker's two ends.
type Lane = (SyncSender<Piece<Vec<u8>>>, Receiver<Piece<Vec<Row>>>);

fn worker<'scope>(scope: &'scope Scope<'scope, '_>, timed_from: u64) -> Lane {
    let (to_worker, pieces) = sync_channel::<Piece<Vec<u8>>>(WAITING_MAX);
    let (done, from_worker) = sync_channel(WAITING_MAX);
    scope.spawn(move || {
        for Piece { segment, lines, then, bytes } in pieces {
            let piece = Piece { segment, lines: rows(&lines, &then, timed_from), then, bytes };
            if done.send(piece).is_err() {
                return;
            }
        }
    });
    (to_worker, from_worker)
}

/// The rows of whole lines.
fn rows(mut bytes: &[u8], then: &Then, timed_from: u64) -> Vec<Row> {
    let mut rows = Vec::with_capacity(bytes.len() / 512 + 1);
    while !bytes.is_empty() {
        let mut rest = bytes;
        let count = rest.skip_until(b'\n').unwrap_or(bytes.len());
        let (line, after) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        rows.push(if line.len() > LINE_BYTES_MAX { Row::too_long() } else { Row::read(line, timed_from) });
        bytes = after;
    }
    if matches!(then, Then::TooLong) {
        rows.push(Row::too_long());
    }
    rows
}

/// Deals the segments' pieces out to the workers.
fn read(segments: &[Segment], workers: &[SyncSender<Piece<Vec<u8>>>]) {
    let mut turn = workers.iter().cycle();
    for (segment, Segment { path, .. }) in segments.iter().enumerate() {
        let mut cutter = Cutter::new(path.clone());
        loop {
            let (lines, then, bytes) = cutter.next();
            let last = !matches!(then, Then::More | Then::TooLong);
            // Without a receiver nobody merges any more.
            let sent = turn.next().map(|worker| worker.send(Piece { segment, lines, then, bytes }));
            if !matches!(sent, Some(Ok(()))) {
                return;
            }
            if last {
                break;
            }
        }
    }
}

/// Cuts a segment at line feeds.
struct Cutter {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end was not read yet.
    rest: Vec<u8>,
}

impl Cutter {
    const fn new(path: PathBuf) -> Self {
        Self { path, file: None, rest: Vec::new() }
    }

    fn next(&mut self) -> (Vec<u8>, Then, u64) {
        match self.cut() {
            Ok(cut) => cut,
            Err(error) => (Vec::new(), Then::Failed(error), 0),
        }
    }

    fn cut(&mut self) -> io::Result<(Vec<u8>, Then, u64)> {
        let mut lines = Vec::with_capacity(PIECE_BYTES + self.rest.len());
        lines.append(&mut self.rest);
        let read = self.fill(&mut lines)?;
        let at_end = read < PIECE_BYTES as u64;
        let whole = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.rest = lines.split_off(whole);
        if at_end {
            let torn = self.rest.len() as u64;
            return Ok((lines, if torn == 0 { Then::End } else { Then::Torn(torn) }, read));
        }
        if self.rest.len() <= LINE_BYTES_MAX {
            return Ok((lines, Then::More, read));
        }
        let (skipped, ended) = self.skip_line()?;
        Ok((lines, if ended { Then::TooLong } else { Then::Torn(skipped) }, read.saturating_add(skipped)))
    }

    /// Skips the rest of a line that is too long, in memory of one piece. Tells its bytes and whether it had an end.
    fn skip_line(&mut self) -> io::Result<(u64, bool)> {
        let mut skipped = self.rest.len() as u64;
        loop {
            self.rest.clear();
            let mut more = Vec::new();
            let read = self.fill(&mut more)?;
            if let Some(end) = more.iter().position(|byte| *byte == b'\n') {
                self.rest = more.split_off(end + 1);
                return Ok((skipped.saturating_add(more.len() as u64), true));
            }
            skipped = skipped.saturating_add(read);
            if read < PIECE_BYTES as u64 {
                return Ok((skipped, false));
            }
        }
    }

    /// Appends a piece's bytes; fewer than those only at the file's end.
    fn fill(&mut self, to: &mut Vec<u8>) -> io::Result<u64> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path)?),
        };
        Ok(file.take(PIECE_BYTES as u64).read_to_end(to)? as u64)
    }
}
