//! The thread that touches the disk for shipping: it reads the log and writes the cursor, so that a disk that hangs keeps
//! nobody but it. It talks to no network.

use std::io;
use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot};

use super::cursor::{self, Cursor};
use super::follow::{Batch, Follower};
use super::sink::causes;
use super::{Config, WINDOW, WINDOW_BYTES};

/// Questions that wait: one reading and one cursor.
const QUESTIONS_MAX: usize = 2;

/// The way to the thread, which ends with it.
#[derive(Debug)]
pub(super) struct Spool {
    questions: mpsc::Sender<Question>,
    begin: u64,
}

/// Comes when the disk has answered. Dropped, it is a defect of the thread.
pub(super) type Answer<T> = oneshot::Receiver<io::Result<T>>;

#[derive(Debug)]
enum Question {
    Read { durable: u64, answer: oneshot::Sender<io::Result<Batch>> },
    Save { seq: u64, answer: oneshot::Sender<io::Result<()>> },
}

impl Spool {
    /// Reads the cursor and starts the thread.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn open(config: &Config, durable: u64) -> io::Result<Self> {
        let begin = cursor::load(&config.dir, &config.origin, durable).unwrap_or_else(|useless| {
            let why = causes(&useless);
            tracing::warn!(why, "the cursor of shipping is not used: shipping begins with the oldest record");
            0
        });
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let thread = Thread {
            follower: Follower::new(config.dir.clone(), begin),
            dir: config.dir.clone(),
            origin: config.origin.clone(),
        };
        // Its owner is the channel.
        std::thread::Builder::new().name("ship".to_owned()).spawn(move || thread.run(asked))?;
        Ok(Self { questions, begin })
    }

    /// The last record that was shipped before.
    pub(super) const fn begin(&self) -> u64 {
        self.begin
    }

    /// Asks for what comes next, up to a full window. One such question at a time.
    pub(super) fn read(&self, durable: u64) -> Answer<Batch> {
        let (answer, wait) = oneshot::channel();
        // Where it can't be sent, the answer is dropped with it, and whoever waits is told.
        let _ = self.questions.try_send(Question::Read { durable, answer });
        wait
    }

    /// Asks for a cursor to be made durable. One such question at a time.
    pub(super) fn save(&self, seq: u64) -> Answer<()> {
        let (answer, wait) = oneshot::channel();
        let _ = self.questions.try_send(Question::Save { seq, answer });
        wait
    }
}

struct Thread {
    follower: Follower,
    dir: PathBuf,
    origin: String,
}

impl Thread {
    fn run(mut self, mut asked: mpsc::Receiver<Question>) {
        while let Some(question) = asked.blocking_recv() {
            match question {
                Question::Read { durable, answer } => {
                    let _ = answer.send(self.follower.read(durable, WINDOW, WINDOW_BYTES));
                }
                Question::Save { seq, answer } => {
                    let cursor = Cursor { origin: self.origin.clone(), seq };
                    let _ = answer.send(cursor::save(&self.dir, &cursor));
                }
            }
        }
    }
}
