//! The thread that touches the disk for witnesses: it makes proofs out of the log's tiles and keeps the notes that were
//! cosigned, so that a disk that hangs keeps nobody but it. It talks to no network.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::WITNESSES_MAX;
use super::protocol::Error;
use crate::tlog::{Checkpoint, Hash, Note, WitnessKey, consistency_proof, root, verify_consistency};
use crate::trail::{TileDir, WITNESSED_FILE, WitnessedLine, last_witnessed_lines};

/// Questions that wait: one of each witness, and one that it has given up.
const QUESTIONS_MAX: usize = 2 * WITNESSES_MAX;

/// The way to the thread, which ends with the last of its clones.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    questions: mpsc::Sender<Question>,
}

/// The newest note that a witness has cosigned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Last {
    /// Records that it is over; 0: there is none.
    pub(super) size: u64,
    /// When it came.
    pub(super) ts: Timestamp,
}

type Reply<T> = oneshot::Sender<Result<T, Error>>;

#[derive(Debug)]
enum Question {
    Prove { old: u64, new: Checkpoint, reply: Reply<Vec<Hash>> },
    Keep { line: WitnessedLine, reply: Reply<()> },
}

impl Ledger {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        let (questions, mut asked) = mpsc::channel(QUESTIONS_MAX);
        let run = move || {
            while let Some(question) = asked.blocking_recv() {
                // Whoever asked may have given up.
                match question {
                    Question::Prove { old, new, reply } => drop(reply.send(prove(&dir, old, &new))),
                    Question::Keep { line, reply } => drop(reply.send(keep(&dir, &line).map_err(Error::Disk))),
                }
            }
        };
        // Its owner is the channel.
        std::thread::Builder::new().name("witness".to_owned()).spawn(run)?;
        Ok(Self { questions })
    }

    /// The proof that a checkpoint continues the log's first `old` records, verified. Cancel safe.
    pub(super) async fn prove(&self, old: u64, new: Checkpoint) -> Result<Vec<Hash>, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Question::Prove { old, new, reply }, answer).await
    }

    /// Makes a cosigned note durable. A caller that leaves does not know whether it is.
    pub(super) async fn keep(&self, line: WitnessedLine) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Question::Keep { line, reply }, answer).await
    }

    async fn ask<T>(&self, question: Question, answer: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
        // Where it can't be sent, the reply is dropped with it.
        let _ = self.questions.try_send(question);
        answer.await.unwrap_or_else(|_| Err(Error::Disk(io::ErrorKind::ResourceBusy.into())))
    }
}

/// The newest note of this log that a witness has cosigned, as the file beside the log has it, verified.
pub(super) fn last(dir: &Path, origin: &str, key: &WitnessKey) -> io::Result<Last> {
    let verified = |line: WitnessedLine| {
        let note = Note::parse(&line.note).ok().filter(|_| line.witness == key.name())?;
        let checkpoint = Checkpoint::parse(note.unverified_text())?;
        let is_ours = checkpoint.origin == origin && checkpoint.size == line.size && key.cosigned(&note).is_ok();
        is_ours.then_some(Last { size: line.size, ts: line.ts })
    };
    Ok(last_witnessed_lines(dir)?.into_iter().find_map(verified).unwrap_or_default())
}

fn prove(dir: &Path, old: u64, new: &Checkpoint) -> Result<Vec<Hash>, Error> {
    let tiles = TileDir::new(dir);
    let failed = |error: crate::trail::TileError| Error::Disk(error.source);
    let proof = consistency_proof(&tiles, old, new.size).map_err(failed)?;
    let old = (old, root(&tiles, old).map_err(failed)?);
    // A witness that refuses is a grave thing: it must not be for tiles that are damaged here.
    verify_consistency(old, (new.size, new.root), &proof).map_err(|_| Error::Tiles)?;
    Ok(proof)
}

fn keep(dir: &Path, line: &WitnessedLine) -> io::Result<()> {
    let path = dir.join(WITNESSED_FILE);
    let is_new = !path.exists();
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
    let mut bytes = Vec::new();
    if is_torn(&mut file)? {
        bytes.push(b'\n');
    }
    serde_json::to_writer(&mut bytes, line).map_err(io::Error::other)?;
    bytes.push(b'\n');
    file.write_all(&bytes)?;
    file.sync_all()?;
    if is_new { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Whether a crash left a line without its end.
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
