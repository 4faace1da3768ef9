//! What witnesses have cosigned, compared with the log: the proof against a log that the holder of its key wrote anew. It
//! asks no witness; a note that was kept elsewhere is as good as the one beside the log, and harder to take away.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::super::{WITNESSED_FILE, WitnessedLine, witnessed_lines};
use super::cosigned::{Cosigned, Verdict};
use super::report::{About, Damage, Kind, Report};
use super::{Error, compare};
use crate::tlog::{Checkpoint, CheckpointError, Note, NoteError, VerifierKey, WitnessKey};

/// Longest file with a single note, in bytes.
const NOTE_BYTES_MAX: u64 = 64 * 1_024;

/// Who is believed beside the log itself, and what they signed.
#[derive(Debug, Clone, Default)]
pub struct Witnesses {
    /// Keys of witnesses, of each of which at least one cosignature has to be there.
    pub keys: Vec<WitnessKey>,
    /// Files that were kept elsewhere: a cosigned note each, or lines as `witness.jsonl` has them.
    pub files: Vec<PathBuf>,
}

/// What one witness has cosigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Witnessed {
    /// The witness's name.
    pub witness: String,
    /// Its cosigned checkpoints that fit the log.
    pub checkpoints: u64,
    /// The largest of them.
    pub size: u64,
    /// When that was cosigned, by the witness's own clock and under its signature.
    pub ts: Option<Timestamp>,
}

/// Verifies as [`verify`](super::verify()) does, and compares the log with what was cosigned.
///
/// # Errors
/// As those of [`verify`](super::verify()), or a file of cosigned notes can't be read.
pub fn verify_witnessed(
    dir: &Path,
    keys: &[VerifierKey],
    witnesses: &Witnesses,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, Error> {
    let own = dir.join(WITNESSED_FILE);
    let mut cosigned = Cosigned::default();
    // Read before the log is, so that none of a running log's notes is over more than is read then.
    let count = remember_lines(&own, &mut cosigned).map_err(failed(&own))?;
    for path in &witnesses.files {
        match single(path).map_err(failed(path))? {
            Some(note) => remember(&note, &mut cosigned),
            None => {
                remember_lines(path, &mut cosigned).map_err(failed(path))?;
            }
        }
    }
    let mut report = compare(dir, keys, &mut cosigned, progress)?;
    let mut check = Check::new(&cosigned, keys, &witnesses.keys, &report);
    let lines = witnessed_lines(&own).map(|lines| lines.take(count));
    lines.and_then(|lines| check.lines(lines, WITNESSED_FILE, Place::Own, &mut report)).map_err(failed(&own))?;
    for path in &witnesses.files {
        let before = check.notes;
        check.file(path, &mut report).map_err(failed(path))?;
        report.given.push(check.notes.saturating_sub(before));
    }
    check.finish(&mut report);
    Ok(report)
}

/// Reads what lines say of roots, which nobody has verified yet; how many there are.
fn remember_lines(path: &Path, cosigned: &mut Cosigned) -> io::Result<usize> {
    let mut count = 0_usize;
    for line in witnessed_lines(path)? {
        count = count.saturating_add(1);
        if let (_, Some(line)) = line? {
            remember(&line.note, cosigned);
        }
    }
    Ok(count)
}

fn remember(note: &str, cosigned: &mut Cosigned) {
    let checkpoint = Note::parse(note).ok().and_then(|note| Checkpoint::parse(note.unverified_text()));
    if let Some(Checkpoint { size, root, .. }) = checkpoint {
        cosigned.insert(size, root);
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_path_buf();
    |source| Error::Io { path, source }
}

/// The note that a file holds; `None` where it holds lines, or nothing.
fn single(path: &Path) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(NOTE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    // What is no text is no note either.
    let is_note = bytes.first().is_some_and(|first| *first != b'{');
    Ok(is_note.then(|| String::from_utf8(bytes).unwrap_or_default()))
}

/// Where a note comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// From beside the log: it has to be the log's.
    Own,
    /// From elsewhere: it can be another log's.
    Given,
}

/// Where a note stands.
struct Seen<'a> {
    file: &'a str,
    line: Option<u64>,
    place: Place,
}

/// The comparison.
struct Check<'a> {
    keys: &'a [VerifierKey],
    witnesses: &'a [WitnessKey],
    cosigned: &'a Cosigned,
    /// The log's last number.
    last: u64,
    found: Vec<Witnessed>,
    /// Notes of this log.
    notes: u64,
    /// Those that fit, whoever cosigned them, and the largest of them.
    fitting: u64,
    good: u64,
    /// The first of a file that does not fit, and how many after it do not.
    misfit: Option<(Damage, u64)>,
    misfits: u64,
}

impl<'a> Check<'a> {
    fn new(cosigned: &'a Cosigned, keys: &'a [VerifierKey], witnesses: &'a [WitnessKey], report: &Report) -> Self {
        let nothing =
            |key: &WitnessKey| Witnessed { witness: key.name().to_owned(), checkpoints: 0, size: 0, ts: None };
        Self {
            keys,
            witnesses,
            cosigned,
            last: report.records.map_or(0, |records| records.last),
            found: witnesses.iter().map(nothing).collect(),
            notes: 0,
            fitting: 0,
            good: 0,
            misfit: None,
            misfits: 0,
        }
    }

    fn file(&mut self, path: &Path, report: &mut Report) -> io::Result<()> {
        let name = path.display().to_string();
        match single(path)? {
            Some(note) => {
                self.note(&note, None, &Seen { file: &name, line: None, place: Place::Given }, report);
                Ok(())
            }
            None => self.lines(witnessed_lines(path)?, &name, Place::Given, report),
        }
    }

    fn lines(
        &mut self,
        lines: impl Iterator<Item = io::Result<(u64, Option<WitnessedLine>)>>,
        file: &str,
        place: Place,
        report: &mut Report,
    ) -> io::Result<()> {
        for line in lines {
            let (number, line) = line?;
            let seen = Seen { file, line: Some(number), place };
            match line {
                Some(line) => self.note(&line.note, Some(line.size), &seen, report),
                None => report.damage(seen.damage(Kind::Checkpoint, "the line is none of the list")),
            }
        }
        self.tell_misfit(report);
        Ok(())
    }

    /// Judges one note; `size` is what the line beside it says.
    fn note(&mut self, text: &str, size: Option<u64>, seen: &Seen<'_>, report: &mut Report) {
        let Ok(note) = Note::parse(text) else {
            return report.damage(seen.damage(Kind::Checkpoint, "it is no signed note"));
        };
        let Some(checkpoint) = Checkpoint::parse(note.unverified_text()) else {
            return report.damage(seen.damage(Kind::Checkpoint, "it is no checkpoint"));
        };
        let is_ours = self.keys.iter().any(|key| key.name() == checkpoint.origin);
        match seen.place {
            Place::Given if !is_ours => return,
            Place::Own if !is_ours => {
                return report.damage(seen.damage(Kind::Checkpoint, "it is a checkpoint of another log"));
            }
            Place::Own | Place::Given => {}
        }
        self.notes = self.notes.saturating_add(1);
        if size.is_some_and(|size| size != checkpoint.size) {
            return report.damage(seen.damage(Kind::Checkpoint, "the line's size is not the signed one"));
        }
        let Some(cosigners) = self.cosigners(&note, seen, report) else { return };
        let by_log = match Checkpoint::open(&note, self.keys) {
            Ok(_) => true,
            Err(CheckpointError::Note(NoteError::KeyUnknown)) if !cosigners.is_empty() => false,
            Err(CheckpointError::Note(NoteError::KeyUnknown)) => {
                let detail = "neither a known key of the log nor a known witness has signed it";
                return report.damage(seen.damage(Kind::KeyUnknown, detail));
            }
            Err(error) => return report.damage(seen.damage(Kind::Checkpoint, error.to_string())),
        };
        match self.compare(&checkpoint) {
            Ok(()) => self.fits(checkpoint.size, &cosigners),
            Err(why) => {
                let names = cosigners.iter().map(|(place, _)| self.witnesses.get(*place).map_or("", WitnessKey::name));
                let names = names.collect::<Vec<_>>().join(" and by ");
                let who = match (by_log, names.as_str()) {
                    (true, "") => "it is signed by the log's key".to_owned(),
                    (true, names) => format!("it is signed by the log's key and by {names}"),
                    (false, names) => format!("it is signed by {names}"),
                };
                let damage = seen.damage(Kind::Rewritten, format!("{who}, and {why}"));
                self.misfit(damage.between(self.good.min(checkpoint.size), checkpoint.size), seen, report);
            }
        }
    }

    /// Which of the known witnesses have cosigned it, by their place, and when. `None`: a cosignature is wrong.
    fn cosigners(&self, note: &Note, seen: &Seen<'_>, report: &mut Report) -> Option<Vec<(usize, u64)>> {
        let mut cosigners = Vec::new();
        for (place, key) in self.witnesses.iter().enumerate() {
            if note.signatures().iter().any(|signature| key.made(signature)) {
                match key.cosigned(note) {
                    Ok(time) => cosigners.push((place, time)),
                    Err(error) => {
                        report.damage(seen.damage(Kind::Checkpoint, error.to_string()));
                        return None;
                    }
                }
            }
        }
        Some(cosigners)
    }

    /// What the tree over the lines said to it.
    fn compare(&self, checkpoint: &Checkpoint) -> Result<(), String> {
        let Checkpoint { size, root, .. } = checkpoint;
        match self.cosigned.verdict(*size, *root) {
            Some(Verdict::Fits) => Ok(()),
            Some(Verdict::Differs) => Err(format!("the first {size} records of the log are others")),
            _ if *size > self.last => Err(format!("it is over {size} records, and the log ends with {}", self.last)),
            _ => Err("the log cannot be compared with it: lines and tiles before it are damaged".to_owned()),
        }
    }

    fn fits(&mut self, size: u64, cosigners: &[(usize, u64)]) {
        (self.fitting, self.good) = (self.fitting.saturating_add(1), self.good.max(size));
        for (place, time) in cosigners {
            if let Some(found) = self.found.get_mut(*place) {
                found.checkpoints = found.checkpoints.saturating_add(1);
                if size >= found.size {
                    found.size = size;
                    found.ts = i64::try_from(*time).ok().and_then(|time| Timestamp::from_second(time).ok());
                }
            }
        }
    }

    /// One damage a file: all notes after the first that does not fit will seldom fit either.
    fn misfit(&mut self, damage: Damage, seen: &Seen<'_>, report: &mut Report) {
        self.misfits = self.misfits.saturating_add(1);
        match &mut self.misfit {
            Some((_, more)) => *more = more.saturating_add(1),
            None => self.misfit = Some((damage, 0)),
        }
        if seen.line.is_none() {
            self.tell_misfit(report);
        }
    }

    fn tell_misfit(&mut self, report: &mut Report) {
        if let Some((mut damage, more)) = self.misfit.take() {
            if more > 0 {
                damage.detail = format!("{}; nor do {more} after it fit", damage.detail);
            }
            report.damage(damage);
        }
    }

    fn finish(self, report: &mut Report) {
        for found in self.found.iter().filter(|found| found.checkpoints == 0 && self.misfits == 0) {
            let detail = format!("no checkpoint of the log is cosigned by {}", found.witness);
            report.damage(Damage::new(Kind::Unwitnessed, detail));
        }
        if self.witnesses.is_empty() && self.fitting > 0 {
            let count = self.fitting;
            let text =
                format!("{count} cosigned checkpoints fit the log; by whom they are was not verified: give --witness");
            report.note(About::Witnesses, text);
        }
        report.witnesses = self.found;
    }
}

impl Seen<'_> {
    fn damage(&self, kind: Kind, detail: impl Into<String>) -> Damage {
        let damage = Damage::new(kind, detail).in_file(self.file);
        match self.line {
            Some(line) => damage.at_line(line),
            None => damage,
        }
    }
}
