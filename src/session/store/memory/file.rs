//! The state file: one line for each agent, sealed but for agent, fence and time. It never decides what a line is worth.
//!
//! The header names the version and a hash of the upstream. Changes are appended and synchronised; when the appended
//! lines outnumber the agents, the file is written afresh beside itself, synchronised and renamed. Of several lines for
//! an agent the last holds; one without a seal takes the agent out. The last line can be torn by a crash.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cc::AgentId;
use crate::session::store::seal::TEXT_BYTES_MAX;

/// Most of a file that is read, in bytes: a hundred times what 10,000 agents need.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: usize = TEXT_BYTES_MAX + 64;
/// At least so many lines are appended before the file is written afresh.
const APPENDED_MIN: usize = 1_000;

/// What stands in a line behind the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) fence: u64,
    /// Milliseconds since the epoch when it was written.
    pub(super) at: i64,
    pub(super) sealed: String,
}

/// The state file can't be written.
#[derive(Debug, thiserror::Error)]
#[error("the state file {} cannot be written", .path.display())]
pub struct Error {
    /// The file.
    path: PathBuf,
    /// What the system said.
    source: io::Error,
}

fn header(context: &str) -> String {
    let hash = blake3::hash(context.as_bytes()).to_hex();
    format!("ccgate-sessions v1 {}", hash.chars().take(32).collect::<String>())
}

/// The last line of each agent. What cannot be read is reported and passed over; a missing file holds nothing.
pub(super) fn read(path: &Path, context: &str) -> HashMap<AgentId, Line> {
    match try_read(path, context) {
        Ok(lines) => lines,
        Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "the state file is not used");
            keep_aside(path);
            HashMap::new()
        }
    }
}

/// What is no state file of ours may be something else of somebody's: it is not overwritten.
fn keep_aside(path: &Path) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".unused");
    if fs::metadata(path).is_ok_and(|found| found.is_file()) && fs::rename(path, &aside).is_ok() {
        tracing::warn!(file = %Path::new(&aside).display(), "what stood there is kept here");
    }
}

fn try_read(path: &Path, context: &str) -> io::Result<HashMap<AgentId, Line>> {
    // Looked at before it is opened: opening a named pipe would wait for a writer for ever.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a file"));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(io::Error::other("too long"));
    }
    let mut reader = BufReader::new(File::open(path)?.take(FILE_BYTES_MAX));
    let mut line = Vec::new();
    if !next_line(&mut reader, &mut line)? || line != header(context).as_bytes() {
        return Err(io::Error::other("not a state file of this version and upstream"));
    }
    let mut lines = HashMap::new();
    let mut garbage = 0_u64;
    while next_line(&mut reader, &mut line)? {
        match std::str::from_utf8(&line).ok().and_then(parse) {
            Some((agent, Some(line))) => drop(lines.insert(agent, line)),
            Some((agent, None)) => drop(lines.remove(&agent)),
            None => garbage += 1,
        }
    }
    if garbage > 0 {
        tracing::warn!(file = %path.display(), lines = garbage, "lines of the state file are not used: they cannot be read");
    }
    Ok(lines)
}

/// Reads a whole line without its end; `false` at the end, where a torn line may stand, which is left out.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(true);
    }
    if read < LINE_BYTES_MAX {
        return Ok(false);
    }
    // Too long: the rest is passed over, and what was read is no line.
    line.clear();
    reader.skip_until(b'\n')?;
    Ok(true)
}

fn parse(line: &str) -> Option<(AgentId, Option<Line>)> {
    let mut parts = line.split(' ');
    let agent = parts.next()?.parse().ok()?;
    let fence = parts.next()?;
    if fence == "-" {
        return parts.next().is_none().then_some((agent, None));
    }
    let fence = fence.parse().ok()?;
    let at = parts.next()?.parse().ok()?;
    let sealed = parts.next()?.to_owned();
    parts.next().is_none().then_some((agent, Some(Line { fence, at, sealed })))
}

fn put(text: &mut String, agent: AgentId, line: Option<&Line>) {
    use std::fmt::Write as _;
    // Writing to a string can't fail.
    let _ = match line {
        Some(Line { fence, at, sealed }) => writeln!(text, "{agent} {fence} {at} {sealed}"),
        None => writeln!(text, "{agent} -"),
    };
}

/// Writes the file. Every method blocks on the file system but [`Writer::take_up`] and [`Writer::is_behind`].
pub(super) struct Writer {
    path: PathBuf,
    header: String,
    /// What the file says, once `changed` is written.
    lines: HashMap<AgentId, Line>,
    changed: Vec<AgentId>,
    /// Open for appending; `None` after a failure: then it is written afresh.
    file: Option<File>,
    appended: usize,
    failing: bool,
}

impl Writer {
    /// Writes a fresh file with these lines, and so finds out whether it can.
    pub(super) fn create(path: PathBuf, context: &str, lines: HashMap<AgentId, Line>) -> Result<Self, Error> {
        let mut writer =
            Self { path, header: header(context), lines, changed: Vec::new(), file: None, appended: 0, failing: false };
        writer.write_afresh().map_err(|source| Error { path: writer.path.clone(), source })?;
        Ok(writer)
    }

    /// Takes changes up for the next write; `None` takes the agent out.
    pub(super) fn take_up(&mut self, changes: HashMap<AgentId, Option<Line>>) {
        for (agent, line) in changes {
            match line {
                Some(line) => drop(self.lines.insert(agent, line)),
                None => drop(self.lines.remove(&agent)),
            }
            self.changed.push(agent);
        }
        if self.changed.len() > self.lines.len().saturating_add(APPENDED_MIN) {
            // Long unwritable: a fresh file needs no list.
            self.changed.clear();
            self.file = None;
        }
    }

    /// Whether something was taken up that the file does not say yet.
    pub(super) fn is_behind(&self) -> bool {
        self.file.is_none() || !self.changed.is_empty()
    }

    /// Writes what was taken up. A failure is reported once, and made good by the next write that works.
    pub(super) fn write(&mut self) {
        let afresh = self.file.is_none() || self.appended > self.lines.len().max(APPENDED_MIN);
        let done = if afresh { self.write_afresh() } else { self.append() };
        match done {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!(file = %self.path.display(), "the state file is written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.file = None;
                if !self.failing {
                    tracing::error!(file = %self.path.display(), %error, "the state file cannot be written");
                }
                self.failing = true;
            }
        }
    }

    fn append(&mut self) -> io::Result<()> {
        let mut text = String::new();
        for agent in &self.changed {
            put(&mut text, *agent, self.lines.get(agent));
        }
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        self.appended += self.changed.len();
        self.changed.clear();
        Ok(())
    }

    fn write_afresh(&mut self) -> io::Result<()> {
        let mut name = self.path.file_name().ok_or_else(|| io::Error::other("it names no file"))?.to_owned();
        name.push(".tmp");
        let beside = self.path.with_file_name(name);
        let mut text = format!("{}\n", self.header);
        for (agent, line) in &self.lines {
            put(&mut text, *agent, Some(line));
        }
        // One that a crash left, which may have another mode.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        sync_folder(&self.path)?;
        self.file = Some(file);
        self.appended = 0;
        self.changed.clear();
        Ok(())
    }
}

/// Makes the rename last over a loss of power.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
