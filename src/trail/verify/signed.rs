//! Checkpoints in the order in which they were signed, verified a few hundred at a time. Memory is bounded by that.

use std::collections::VecDeque;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::thread;

use jiff::Timestamp;

use super::super::{CHECKPOINT_FILE, CHECKPOINTS_FILE, SignedLine, last_signed_lines, signed_lines};
use super::pipeline::workers;
use super::report::{Damage, Kind};
use crate::tlog::{Checkpoint, CheckpointError, Note, NoteError, VerifierKey};

/// Lines that are read and verified at once.
const AT_ONCE: usize = 512;

/// Longest `checkpoint` that is read, in bytes: a note with a hundred signatures.
const NOTE_BYTES_MAX: u64 = 64 * 1_024;

/// A checkpoint of which a known key has signed the text.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) checkpoint: Checkpoint,
    pub(super) key: String,
    pub(super) ts: Option<Timestamp>,
    pub(super) file: &'static str,
    pub(super) line: Option<u64>,
}

/// A line with its number; `None` for one that is none.
type Numbered = (u64, Option<SignedLine>);

/// A checkpoint, or what is wrong with it.
type Judged = Result<Entry, Box<Damage>>;

/// The checkpoints of a directory.
pub(super) struct Signed<'k> {
    lines: Option<Box<dyn Iterator<Item = io::Result<Numbered>>>>,
    keys: &'k [VerifierKey],
    /// Its last line has no line feed.
    torn: bool,
    ready: VecDeque<Judged>,
    /// The newest one, where it is not in the list of all.
    newest: Option<Entry>,
    origin: Option<String>,
    last: u64,
}

/// What the newest checkpoints say.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// The size of the newest one that a known key has signed.
    pub(super) size: u64,
    /// There is no checkpoint at all.
    pub(super) nothing: bool,
    /// What is wrong with them.
    pub(super) damages: Vec<Damage>,
    /// The newest one and the list differ as after a stop between two writes.
    pub(super) note: Option<&'static str>,
}

impl<'k> Signed<'k> {
    /// Looks at the newest checkpoints and makes ready to read all.
    ///
    /// # Errors
    /// A file is there and can't be read.
    pub(super) fn open(dir: &Path, keys: &'k [VerifierKey]) -> io::Result<(Self, Newest)> {
        let listed = last_signed_lines(dir)?;
        let newest = read_newest(dir)?;
        let mut found = Newest { nothing: listed.is_empty() && newest.is_none(), ..Newest::default() };
        let list_is_there = dir.join(CHECKPOINTS_FILE).exists();
        found.nothing &= !list_is_there;
        let opened = newest.as_deref().map(|note| open(note, keys));
        let mut signed = Self {
            lines: Some(Box::new(signed_lines(dir)?)),
            keys,
            torn: is_torn(dir)?,
            ready: VecDeque::new(),
            newest: None,
            origin: None,
            last: 0,
        };
        match opened {
            None if !found.nothing => found.wrong(Kind::Checkpoint, "the newest checkpoint is gone"),
            None => {}
            Some(Err(error)) => found.wrong(kind(error), error.to_string()),
            Some(Ok((checkpoint, key))) => {
                found.size = checkpoint.size;
                let place = listed.iter().position(|line| newest.as_ref() == Some(&line.note));
                let last = listed.first().map_or(0, |line| line.size);
                match place {
                    Some(0) => {}
                    Some(1) => found.note = Some("the newest checkpoint is the last but one of the list"),
                    None if checkpoint.size >= last => {
                        found.note = Some("the newest checkpoint is not in the list of all");
                        let file = CHECKPOINT_FILE;
                        signed.newest = Some(Entry { checkpoint, key, ts: None, file, line: None });
                    }
                    _ => found.wrong(Kind::Checkpoint, "it is older than checkpoints of the list of all"),
                }
                if !list_is_there {
                    let gone = Damage::new(Kind::Checkpoint, "the list of all checkpoints is gone");
                    found.damages.push(gone.in_file(CHECKPOINTS_FILE));
                }
            }
        }
        let known = |line: &SignedLine| open(&line.note, keys).ok().map(|(checkpoint, _)| checkpoint.size);
        found.size = listed.iter().find_map(known).unwrap_or(0).max(found.size);
        Ok((signed, found))
    }

    /// The next checkpoint that is over at least as much as the one before. What is wrong with others goes to `damage`.
    pub(super) fn peek(&mut self, damage: &mut impl FnMut(Damage)) -> Option<&Entry> {
        while !matches!(self.ready.front(), Some(Ok(_))) {
            match self.ready.pop_front() {
                Some(Err(found)) => damage(*found),
                Some(Ok(_)) | None => {
                    if !self.refill(damage) {
                        return None;
                    }
                }
            }
        }
        self.ready.front().and_then(|entry| entry.as_ref().ok())
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        self.ready.pop_front().and_then(Result::ok)
    }

    /// Whether the list's last line was not written whole.
    pub(super) const fn is_torn(&self) -> bool {
        self.torn
    }

    fn refill(&mut self, damage: &mut impl FnMut(Damage)) -> bool {
        let Some(lines) = &mut self.lines else { return false };
        let mut read = Vec::with_capacity(AT_ONCE);
        for line in lines.take(AT_ONCE) {
            match line {
                Ok(line) => read.push(line),
                Err(error) => {
                    damage(Damage::new(Kind::Unreadable, error.to_string()).in_file(CHECKPOINTS_FILE));
                    break;
                }
            }
        }
        let at_end = read.len() < AT_ONCE;
        if at_end {
            self.lines = None;
            // What was torn says nothing.
            if self.torn && matches!(read.last(), Some((_, None))) {
                read.pop();
            }
        }
        for entry in verified(&read, self.keys) {
            let entry = entry.and_then(|entry| self.in_order(entry));
            self.ready.push_back(entry);
        }
        if at_end && let Some(newest) = self.newest.take() {
            let newest = self.in_order(newest);
            self.ready.push_back(newest);
        }
        true
    }

    fn in_order(&mut self, entry: Entry) -> Judged {
        let origin = self.origin.get_or_insert_with(|| entry.checkpoint.origin.clone());
        let wrong = |detail: &str| {
            let damage = Damage::new(Kind::Checkpoint, detail).in_file(entry.file);
            Box::new(entry.line.map_or(damage.clone(), |line| damage.at_line(line)))
        };
        if *origin != entry.checkpoint.origin {
            return Err(wrong("it is a checkpoint of another log"));
        }
        if entry.checkpoint.size < self.last {
            return Err(wrong("it is over fewer records than the one before"));
        }
        self.last = entry.checkpoint.size;
        Ok(entry)
    }
}

impl Newest {
    fn wrong(&mut self, kind: Kind, detail: impl Into<String>) {
        self.damages.push(Damage::new(kind, detail).in_file(CHECKPOINT_FILE));
    }
}

fn read_newest(dir: &Path) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    match std::fs::File::open(dir.join(CHECKPOINT_FILE)) {
        Ok(file) => file.take(NOTE_BYTES_MAX + 1).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // What is no text is no note either.
    Ok(Some(String::from_utf8(bytes).unwrap_or_default()))
}

fn is_torn(dir: &Path) -> io::Result<bool> {
    let mut file = match std::fs::File::open(dir.join(CHECKPOINTS_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Verifies lines, on several threads where that is worth it.
fn verified(lines: &[Numbered], keys: &[VerifierKey]) -> Vec<Judged> {
    let share = lines.len().div_ceil(workers()).max(32);
    let verify = |lines: &[Numbered]| -> Vec<_> {
        lines.iter().map(|(number, line)| verify_line(*number, line.as_ref(), keys)).collect()
    };
    let mut shares = lines.chunks(share);
    let first = shares.next().unwrap_or_default();
    thread::scope(|scope| {
        let others: Vec<_> = shares.map(|lines| scope.spawn(move || verify(lines))).collect();
        let mut all = verify(first);
        // A thread that verifies has nothing that can panic; were it to, its lines would be missed by nobody but here.
        all.extend(others.into_iter().flat_map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| vec![Err(Box::new(Damage::new(Kind::Checkpoint, "it could not be verified")))])
        }));
        all
    })
}

fn verify_line(number: u64, line: Option<&SignedLine>, keys: &[VerifierKey]) -> Judged {
    let wrong = |kind, detail: String| Box::new(Damage::new(kind, detail).in_file(CHECKPOINTS_FILE).at_line(number));
    let line = line.ok_or_else(|| wrong(Kind::Checkpoint, "the line is none of the list".to_owned()))?;
    let opened = open(&line.note, keys);
    let (checkpoint, key) = opened.map_err(|error| wrong(kind(error), error.to_string()))?;
    if checkpoint.size != line.size {
        return Err(wrong(Kind::Checkpoint, "the line's size is not the signed one".to_owned()));
    }
    Ok(Entry { checkpoint, key, ts: Some(line.ts), file: CHECKPOINTS_FILE, line: Some(number) })
}

fn open(note: &str, keys: &[VerifierKey]) -> Result<(Checkpoint, String), CheckpointError> {
    let note = Note::parse(note)?;
    Checkpoint::open(&note, keys).map(|(checkpoint, key)| (checkpoint, key.id()))
}

const fn kind(error: CheckpointError) -> Kind {
    match error {
        CheckpointError::Note(NoteError::KeyUnknown) => Kind::KeyUnknown,
        _ => Kind::Checkpoint,
    }
}
