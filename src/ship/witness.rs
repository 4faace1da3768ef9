//! Has the audit log's checkpoints cosigned by witnesses (C2SP `tlog-witness`), so that not even the holder of the log's key
//! can write it anew without being seen. The log never waits for a witness, and a witness learns sizes and hashes, never a
//! record.
//!
//! ```text
//! newest checkpoint --proof from what the witness has cosigned--> POST <url>/add-checkpoint --200--> witness.jsonl
//!                     ^                                              |
//!                     +---------------- 409: from its own size ------+
//! ```
//!
//! - Invariant: a note in `witness.jsonl` carries a cosignature that was verified.
//! - Bounds: for each witness one submission an interval, with one second try where it names another size; longer pauses
//!   where it fails; an answer of 64 KiB. `witness.jsonl` grows by one note of some 700 bytes an interval and witness at most,
//!   and only while the log grows: 1 MB a day at the default minute. Like `checkpoints.jsonl` it is never cut.

mod ledger;
mod metrics;
mod protocol;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use backon::BackoffBuilder as _;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::audit::{Log, Progress, Signed};
use crate::clock::Clock;
use crate::net::{Client, ClientConfig, ClientTls, TlsError, read_document};
use crate::tlog::{Checkpoint, Note, Signature, WitnessKey};
use crate::trail::WitnessedLine;

use super::sink::causes;
use ledger::{Ledger, last};
use metrics::{Board, Standing};
use protocol::{ANSWER_BYTES_MAX, Answer, answer, request};

pub use metrics::Metrics;
pub use protocol::Error;

/// Witnesses at most.
pub const WITNESSES_MAX: usize = 8;

/// Longest pause after failures, but for a longer interval.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// For what is under way at the end, and for the last checkpoint.
const LAST_TIMEOUT: Duration = Duration::from_secs(5);

/// Somebody else who remembers how the log was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The submission prefix, `https`, or `http` on loopback; requests go to `<url>/add-checkpoint`.
    pub url: Uri,
    /// The key that verifies its cosignatures.
    pub key: WitnessKey,
    /// PEM file with the certificates to trust; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// Between two submissions.
    pub interval: Duration,
    /// For a whole submission, a second try included.
    pub timeout: Duration,
}

/// Witnesses are not asked.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file that TLS needs can't be used.
    #[error("the connection to {witness} cannot be set up")]
    Tls {
        /// The witness's name.
        witness: String,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The URL can't be extended.
    #[error("the URL of {0} is no prefix of an address")]
    Url(String),
    /// The file of cosigned notes can't be read.
    #[error("the notes that were cosigned cannot be read")]
    Read(#[source] std::io::Error),
    /// The thread for the disk can't be started.
    #[error("no thread can be started")]
    Thread(#[source] std::io::Error),
}

/// Witnesses that are asked. Dropped, nothing more is sent.
#[derive(Debug)]
pub struct Witnessing {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Witnessing {
    /// Starts a task for each witness. Must be called inside a runtime, after the log's own start.
    ///
    /// # Errors
    /// A file can't be read, or no thread can be started.
    pub fn start(
        dir: PathBuf,
        witnesses: Vec<Witness>,
        log: &Log,
        clock: &Clock,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let last = |witness: &Witness| last(&dir, log.origin(), &witness.key);
        let before = witnesses.iter().map(last).collect::<Result<Vec<_>, _>>().map_err(StartError::Read)?;
        let standing = |last: &ledger::Last| Standing {
            last_success: last.ts.as_second(),
            size: last.size,
            ..Standing::default()
        };
        let board = Board::new(metrics, before.iter().map(standing).collect());
        let ledger = Ledger::open(dir.clone()).map_err(StartError::Thread)?;
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for (place, (witness, last)) in witnesses.into_iter().zip(before).enumerate() {
            let task = Task {
                client: client(&witness)?,
                url: add_checkpoint(&witness)?,
                witness,
                place,
                ledger: ledger.clone(),
                progress: log.progress(),
                clock: clock.clone(),
                board: board.clone(),
                stop: stop.clone(),
                cosigned: last.size,
                kept: last.size,
                trouble: None,
                is_up: false,
            };
            tasks.spawn(task.run());
        }
        Ok(Self { tasks, stop })
    }

    /// Has the last checkpoint cosigned, for at most 5 s, and ends. To be called when the log has written its last record.
    ///
    /// # Cancel safety
    /// A caller that leaves ends all at once; the next start goes on.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "the asking of a witness ended by a panic");
            }
        }
    }
}

fn client(witness: &Witness) -> Result<Client, StartError> {
    let tls = ClientTls { ca_file: witness.ca_file.clone(), ..ClientTls::default() };
    let config = ClientConfig { tls, connect_timeout: witness.timeout, response_timeout: witness.timeout };
    Client::new(&config).map_err(|source| StartError::Tls { witness: witness.key.name().to_owned(), source })
}

fn add_checkpoint(witness: &Witness) -> Result<Uri, StartError> {
    let url = witness.url.to_string();
    let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
    url.parse().map_err(|_| StartError::Url(witness.key.name().to_owned()))
}

/// What asks one witness.
struct Task {
    witness: Witness,
    /// Its place in the configuration.
    place: usize,
    client: Client,
    url: Uri,
    ledger: Ledger,
    progress: watch::Receiver<Progress>,
    clock: Clock,
    board: Board,
    stop: CancellationToken,
    /// Records that the witness has cosigned, as far as is known here.
    cosigned: u64,
    /// Records that the newest note in the file is over.
    kept: u64,
    /// Why it fails, as it was told last.
    trouble: Option<String>,
    is_up: bool,
}

impl Task {
    async fn run(mut self) {
        let stop = self.stop.clone();
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_TIMEOUT).await;
        };
        tokio::select! {
            () = self.ask_on() => {}
            () = late => {}
        }
    }

    /// Submits the newest checkpoint once an interval, whether the log has grown or not: a witness that has lost or changed
    /// its mind is seen while nothing happens, too. After a stop the last one.
    async fn ask_on(&mut self) {
        let mut pauses = pauses(self.witness.interval);
        while let Some(signed) = self.checkpoint().await {
            let next = Instant::now();
            let pause = match self.submit(&signed).await {
                Ok(()) => {
                    pauses = self::pauses(self.witness.interval);
                    self.witness.interval
                }
                Err(error) => {
                    self.failed(&error);
                    pauses.next().unwrap_or(LONGEST_PAUSE)
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep_until(next + pause) => {}
            }
        }
        let last = self.progress.borrow().checkpoint.clone();
        if let Some(last) = last.filter(|last| last.size > self.cosigned)
            && let Err(error) = self.submit(&last).await
        {
            self.failed(&error);
        }
    }

    /// The newest checkpoint, when there is one. `None`: it is to stop.
    async fn checkpoint(&mut self) -> Option<Signed> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            found = self.progress.wait_for(|progress| progress.checkpoint.is_some()) => found.ok()?.checkpoint.clone(),
        }
    }

    async fn submit(&mut self, signed: &Signed) -> Result<(), Error> {
        let within = self.witness.timeout;
        timeout(within, self.exchange(signed)).await.unwrap_or(Err(Error::Timeout(within)))
    }

    /// Proves the way from what the witness has; where it has something else, once more from there. A caller that leaves
    /// does not know what the witness has now: the next submission is told.
    async fn exchange(&mut self, signed: &Signed) -> Result<(), Error> {
        let note = Note::parse(&signed.note).map_err(|_| Error::Tiles)?;
        let checkpoint = Checkpoint::parse(note.unverified_text()).ok_or(Error::Tiles)?;
        let size = checkpoint.size;
        for _ in 0..2 {
            if self.cosigned > size {
                return Err(Error::PutBack { size, cosigned: self.cosigned });
            }
            let proof = self.ledger.prove(self.cosigned, checkpoint.clone()).await?;
            let body = request(self.cosigned, &proof, &signed.note);
            match self.ask(body, size, &note).await? {
                Answer::Cosigned(signature) => return self.take(size, note, signature).await,
                Answer::From(other) => {
                    let (witness, known) = (self.witness.key.name(), self.cosigned);
                    if other < known {
                        tracing::warn!(witness, other, known, "the witness has forgotten what it had cosigned");
                    }
                    self.cosigned = other;
                }
            }
        }
        Err(Error::Disagrees)
    }

    async fn ask(&self, body: String, size: u64, note: &Note) -> Result<Answer, Error> {
        let mut request = Request::post(self.url.clone()).body(Full::from(body)).map_err(|_| Error::Answer)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let response = self.client.send(request).await.map_err(Error::Net)?;
        let status = response.status();
        let body = read_document(response.into_body(), ANSWER_BYTES_MAX).await.map_err(Error::Net)?;
        answer(status, &body, (self.cosigned, size), note, &self.witness.key)
    }

    async fn take(&mut self, size: u64, mut note: Note, signature: Signature) -> Result<(), Error> {
        self.cosigned = size;
        let ts = self.clock.now();
        if size > self.kept {
            note.push_signature(signature);
            let witness = self.witness.key.name().to_owned();
            self.ledger.keep(WitnessedLine { ts, witness, size, note: note.to_string() }).await?;
            self.kept = size;
        }
        if !self.is_up {
            tracing::info!(witness = self.witness.key.name(), size, "a witness cosigns the audit log");
        }
        (self.is_up, self.trouble) = (true, None);
        let last_success = ts.as_second();
        self.board.change(self.place, |standing| *standing = Standing { up: true, refused: false, last_success, size });
        Ok(())
    }

    fn failed(&mut self, error: &Error) {
        let (why, witness) = (causes(error), self.witness.key.name());
        // Each reason once, not each try.
        if self.trouble.as_ref() != Some(&why) {
            if error.is_refusal() {
                tracing::error!(witness, why, "the audit log is not the one that was witnessed: `ccgate audit verify`");
            } else {
                tracing::warn!(witness, why, "the audit log is not witnessed: tried again for as long as it takes");
            }
        }
        (self.is_up, self.trouble) = (false, Some(why));
        let refused = error.is_refusal();
        self.board.change(self.place, |standing| {
            standing.up = false;
            // A witness that cannot be asked has not taken back what it said.
            standing.refused |= refused;
        });
    }
}

/// From the interval to sixteen of them, for ever; ten minutes at most, but for a longer interval.
fn pauses(interval: Duration) -> impl Iterator<Item = Duration> {
    backon::ExponentialBuilder::default()
        .with_min_delay(interval)
        .with_max_delay(interval.saturating_mul(16).min(LONGEST_PAUSE).max(interval))
        .with_jitter()
        .without_max_times()
        .build()
}
