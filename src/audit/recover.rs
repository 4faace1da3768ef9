//! At start: reads all segments, moves aside what does not count, and finds the entries that a crash left open. No
//! network; it changes nothing but what it moves aside.
//!
//! Memory is bounded by one line and the entries open at once, whatever the log's size.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry::EntryId;
use super::fault::Range;
use super::line::LINE_BYTES_MAX;
use super::record::micros_utc;
use super::segment;
use super::start_error::StartError;

/// What the start found.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// The first free sequence number.
    pub(super) next_seq: u64,
    /// Entries without an end.
    pub(super) open: BTreeMap<EntryId, Carried>,
    /// What was moved aside.
    pub(super) moved: Vec<Moved>,
}

/// What an `unknown` end repeats of its `authorized`.
#[derive(Debug, Serialize)]
pub(super) struct Carried {
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    issuer: String,
    subject: String,
    agent: String,
    reference: String,
}

/// Bytes that stood behind the last line that counts.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Moved {
    segment: String,
    kept_in: String,
    bytes: u64,
}

/// The record `audit.opened`: a process has taken the directory.
#[derive(Serialize)]
pub(super) struct Opened<'a> {
    pub(super) segment: &'a str,
}

/// The record `audit.recovered`.
#[derive(Serialize)]
pub(super) struct RepairRecord<'a> {
    entries_without_end: usize,
    moved: &'a [Moved],
}

/// The record `unknown`.
#[derive(Serialize)]
pub(super) struct UnknownEnd<'a> {
    entry: EntryId,
    #[serde(flatten)]
    carried: &'a Carried,
    outcome: &'static str,
    #[serde(serialize_with = "micros_utc")]
    recovered_at: Timestamp,
}

impl<'a> RepairRecord<'a> {
    /// `None` where nothing was to be repaired.
    pub(super) fn of(recovered: &'a Recovered) -> Option<Self> {
        let repaired = !(recovered.open.is_empty() && recovered.moved.is_empty());
        repaired.then_some(Self { entries_without_end: recovered.open.len(), moved: &recovered.moved })
    }
}

impl<'a> UnknownEnd<'a> {
    pub(super) const fn new(entry: EntryId, carried: &'a Carried, recovered_at: Timestamp) -> Self {
        Self { entry, carried, outcome: "unknown", recovered_at }
    }
}

/// As much of a record as the recovery reads. An erased one may have no more than its `seq`.
#[derive(Deserialize)]
struct Seen<'a> {
    seq: u64,
    #[serde(default)]
    v: Option<u64>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    entry: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    trace_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    who: Option<SeenWho<'a>>,
    #[serde(borrow, default)]
    what: Option<SeenWhat<'a>>,
    #[serde(default)]
    void: Option<Range>,
    #[serde(default)]
    missing: Option<Range>,
}

#[derive(Deserialize)]
struct SeenWho<'a> {
    #[serde(borrow)]
    issuer: Cow<'a, str>,
    #[serde(borrow)]
    subject: Cow<'a, str>,
}

#[derive(Deserialize)]
struct SeenWhat<'a> {
    #[serde(borrow)]
    agent: Cow<'a, str>,
    /// A call about a seat has none.
    #[serde(borrow, default)]
    reference: Option<Cow<'a, str>>,
}

/// Reads and repairs the log in a directory that the caller has locked.
pub(super) fn recover(dir: &Path) -> Result<Recovered, StartError> {
    let segments = segments(dir)?;
    let voids = voids(&segments)?;
    let mut scan = Scan { voids, last: None, recovered: Recovered::default() };
    for (first, path) in &segments {
        if let Some(offset) = scan.segment(*first, path)? {
            let moved = move_aside(dir, path, offset).map_err(|source| StartError::io(path, source))?;
            scan.recovered.moved.push(moved);
        }
    }
    if let Some((_, path)) = segments.last().filter(|(_, path)| path.exists()) {
        // What a killed process wrote may not be durable yet, and what is written from now on builds on it.
        File::open(path).and_then(|file| file.sync_all()).map_err(|source| StartError::io(path, source))?;
    }
    let Scan { last, mut recovered, voids } = scan;
    // Numbers that failed are not used again, even where no line of theirs is left.
    let used = voids.iter().map(|void| void.last).chain(last).max().unwrap_or(0);
    recovered.next_seq = used.saturating_add(1);
    Ok(recovered)
}

/// The segments, oldest first.
fn segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, StartError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|source| StartError::io(dir, source))? {
        let entry = entry.map_err(|source| StartError::io(dir, source))?;
        if let Some(first) = entry.file_name().to_str().and_then(segment::first_seq) {
            found.push((first, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// The numbers that do not count. A gap record that names some is always the first line of its segment.
fn voids(segments: &[(u64, PathBuf)]) -> Result<Vec<Range>, StartError> {
    let mut voids = Vec::new();
    for (_, path) in segments {
        let mut line = Vec::new();
        let read = File::open(path)
            .and_then(|file| BufReader::new(file.take(LINE_BYTES_MAX as u64 + 1)).read_until(b'\n', &mut line));
        read.map_err(|source| StartError::io(path, source))?;
        if line.ends_with(b"\n")
            && let Ok(seen) = serde_json::from_slice::<Seen<'_>>(&line)
            && seen.event.as_deref() == Some("audit.gap")
        {
            voids.extend(seen.void);
        }
    }
    Ok(voids)
}

/// A walk over all lines in their order.
struct Scan {
    voids: Vec<Range>,
    last: Option<u64>,
    recovered: Recovered,
}

impl Scan {
    /// Reads one segment. Returns where the bytes begin that do not count, if there are any.
    fn segment(&mut self, first: u64, path: &Path) -> Result<Option<u64>, StartError> {
        let failed = |source| StartError::io(path, source);
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
        let (mut offset, mut number, mut line) = (0_u64, 0_u64, Vec::new());
        loop {
            line.clear();
            number = number.saturating_add(1);
            let wrong = |problem| StartError::Line { path: path.to_path_buf(), line: number, problem };
            let limit = LINE_BYTES_MAX as u64 + 1;
            let read = reader.by_ref().take(limit).read_until(b'\n', &mut line).map_err(failed)?;
            if read == 0 {
                return Ok(None);
            }
            if !line.ends_with(b"\n") {
                // A torn tail has no line feed; a file system may have padded it with zeros of any length.
                let torn = !has_line_feed(&mut reader).map_err(failed)?;
                return if torn { Ok(Some(offset)) } else { Err(wrong("the line is too long for a record")) };
            }
            let seen: Seen<'_> = match serde_json::from_slice(&line) {
                Ok(seen) => seen,
                // What a failed batch left need not even be whole lines.
                Err(_) if self.is_void(self.last.map_or(first, |last| last.saturating_add(1))) => {
                    return Ok(Some(offset));
                }
                Err(_) => return Err(wrong("this is no record")),
            };
            if self.is_void(seen.seq) {
                // A batch that failed is the last thing in its segment.
                return Ok(Some(offset));
            }
            if number == 1 && seen.seq != first {
                return Err(wrong("the first record is not the one that the file is named after"));
            }
            self.line(&seen).map_err(wrong)?;
            offset = offset.saturating_add(read as u64);
        }
    }

    fn is_void(&self, seq: u64) -> bool {
        self.voids.iter().any(|void| (void.first..=void.last).contains(&seq))
    }

    fn line(&mut self, seen: &Seen<'_>) -> Result<(), &'static str> {
        if seen.v.is_some_and(|version| version > 1) {
            return Err("the record is of a newer version of ccgate");
        }
        let expected = self.last.map_or(seen.seq, |last| last.saturating_add(1));
        if seen.seq < expected {
            return Err("the sequence number was used before");
        }
        if seen.seq > expected && !explains(seen, expected) {
            return Err("records before this line are missing, and no gap record says why");
        }
        self.last = Some(seen.seq);
        let entry = seen.entry.as_deref().and_then(EntryId::parse);
        match (seen.event.as_deref(), entry) {
            (Some("authorized"), Some(entry)) => {
                self.recovered.open.insert(entry, Carried::of(seen));
            }
            (Some("finished" | "aborted" | "failed" | "unknown"), Some(entry)) => {
                self.recovered.open.remove(&entry);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a gap record tells of all numbers from `expected` up to its own.
fn explains(seen: &Seen<'_>, expected: u64) -> bool {
    let first = seen.missing.iter().chain(&seen.void).map(|range| range.first).min();
    let last = seen.missing.iter().chain(&seen.void).map(|range| range.last).max();
    seen.event.as_deref() == Some("audit.gap")
        && first.is_some_and(|first| first <= expected)
        && last.and_then(|last| last.checked_add(1)) == Some(seen.seq)
}

impl Carried {
    fn of(seen: &Seen<'_>) -> Self {
        let text = |text: Option<&Cow<'_, str>>| text.map(ToString::to_string).unwrap_or_default();
        Self {
            request_id: text(seen.request_id.as_ref()),
            trace_id: seen.trace_id.as_ref().map(ToString::to_string),
            issuer: text(seen.who.as_ref().map(|who| &who.issuer)),
            subject: text(seen.who.as_ref().map(|who| &who.subject)),
            agent: text(seen.what.as_ref().map(|what| &what.agent)),
            reference: text(seen.what.as_ref().and_then(|what| what.reference.as_ref())),
        }
    }
}

fn has_line_feed(reader: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        if bytes.contains(&b'\n') {
            return Ok(true);
        }
        let count = bytes.len();
        reader.consume(count);
    }
}

/// Moves a segment's bytes from `offset` on to `<segment>.torn-N`.
fn move_aside(dir: &Path, path: &Path, offset: u64) -> io::Result<Moved> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (kept_in, mut copy) = torn_file(dir, name)?;
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let bytes = io::copy(&mut file, &mut copy)?;
    copy.sync_all()?;
    segment::sync_dir(dir)?;
    // A crash before this line leaves the bytes in both places, and the next start moves them once more.
    if offset == 0 {
        fs::remove_file(path)?;
        segment::sync_dir(dir)?;
    } else {
        file.set_len(offset)?;
        file.sync_all()?;
    }
    Ok(Moved { segment: name.to_owned(), kept_in, bytes })
}

/// The first `<segment>.torn-N` that does not exist yet.
fn torn_file(dir: &Path, segment: &str) -> io::Result<(String, File)> {
    for number in 1..=u16::MAX {
        let name = format!("{segment}.torn-{number}");
        match OpenOptions::new().write(true).create_new(true).mode(0o640).open(dir.join(&name)) {
            Ok(file) => return Ok((name, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("there are too many torn files"))
}
