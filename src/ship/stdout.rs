//! Standard output as a sink: each record as the line that it is, for a log agent. A reader that stops blocks one thread of
//! its own and nobody else. The program's own log goes to standard error.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::WINDOW;
use super::sink::{Ack, Error, Item, Kind, Receipt, Sink};

/// How long a write may take before the output counts as blocked.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sink.
#[derive(Debug)]
pub struct Stdout {
    lines: mpsc::Sender<Line>,
    origin: String,
    patience: Duration,
}

#[derive(Debug)]
struct Line {
    /// Empty: nothing is to be written, only answered when all before it is.
    bytes: Bytes,
    written: oneshot::Sender<io::Result<()>>,
}

/// How a checkpoint looks among records.
#[derive(Serialize)]
struct CheckpointLine<'a> {
    event: &'static str,
    origin: &'a str,
    size: u64,
    note: &'a str,
}

impl Stdout {
    /// Takes standard output for the log with this id.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(origin: &str) -> io::Result<Self> {
        Self::over(io::stdout(), origin, PATIENCE)
    }

    pub(super) fn over(out: impl Write + Send + 'static, origin: &str, patience: Duration) -> io::Result<Self> {
        let (lines, queued) = mpsc::channel(WINDOW);
        // Its owner is the channel; blocked, it ends with the process.
        std::thread::Builder::new().name("ship-stdout".to_owned()).spawn(move || run(out, queued))?;
        Ok(Self { lines, origin: origin.to_owned(), patience })
    }

    async fn hand_over(&self, bytes: Bytes) -> Result<oneshot::Receiver<io::Result<()>>, Error> {
        let (written, wait) = oneshot::channel();
        self.lines.send(Line { bytes, written }).await.map_err(|_| Error::Lost)?;
        Ok(wait)
    }
}

impl Sink for Stdout {
    fn kind(&self) -> Kind {
        Kind::Stdout
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    /// Waits until what was handed over before is written or left out, so that nothing is written twice but what is being
    /// written now.
    fn connect(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        async {
            let probe = async { answered(self.hand_over(Bytes::new()).await?).await };
            // A little less than the shipper waits, to be able to say why.
            tokio::time::timeout(self.patience.mul_f32(0.9), probe).await.unwrap_or(Err(Error::Blocked))
        }
        .boxed()
    }

    fn publish(&mut self, item: &Item) -> BoxFuture<'_, Result<Ack, Error>> {
        let bytes = match item {
            Item::Record { line, .. } => Ok(line.clone()),
            Item::Checkpoint { size, note } => {
                let line = CheckpointLine { event: "checkpoint", origin: &self.origin, size: *size, note };
                serde_json::to_vec(&line).map(Bytes::from)
            }
        };
        async move {
            let bytes = bytes.map_err(|error| Error::Write(error.into()))?;
            let written = self.hand_over(bytes).await?;
            Ok(async { answered(written).await.map(|()| Receipt::Kept) }.boxed())
        }
        .boxed()
    }
}

async fn answered(written: oneshot::Receiver<io::Result<()>>) -> Result<(), Error> {
    written.await.map_err(|_| Error::Lost)?.map_err(Error::Write)
}

/// Writes what is queued, flushes, answers. A line whose sender has given it up is left out.
fn run(mut out: impl Write, mut queued: mpsc::Receiver<Line>) {
    let mut batch = Vec::with_capacity(WINDOW);
    let mut buffer = Vec::new();
    while queued.blocking_recv_many(&mut batch, WINDOW) > 0 {
        batch.retain(|line: &Line| !line.written.is_closed());
        buffer.clear();
        for line in batch.iter().filter(|line| !line.bytes.is_empty()) {
            buffer.extend_from_slice(&line.bytes);
            buffer.push(b'\n');
        }
        let written = out.write_all(&buffer).and_then(|()| out.flush());
        for line in batch.drain(..) {
            let told = match &written {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            let _ = line.written.send(told);
        }
    }
}
