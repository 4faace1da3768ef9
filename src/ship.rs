//! Carries the audit log's records to where its writer cannot reach: a stream, or standard output. It reads the segments as
//! anybody would, changes none of them, and the log never waits for it unless its configuration says so.
//!
//! ```text
//! segments --follow--> queue --publish--> window (unacknowledged) --acks, in order--> Log::shipped --> ship.cursor
//!                        ^                   |
//!                        +---- sink lost ----+   all that was not acknowledged is sent again, under the same id
//! ```
//!
//! - Invariant: a record is sent only when it is durable and counts; in the order of `seq`; at least once.
//! - Invariant: the cursor never names a record that the sink has not acknowledged.
//! - Bounds: [`WINDOW`] items and [`WINDOW_BYTES`] sent and not acknowledged, as many read ahead; every wait has a deadline.

mod cursor;
mod follow;
mod metrics;
mod nats;
mod shipper;
mod sink;
mod spool;
mod stdout;
#[cfg(test)]
mod tests;
pub mod witness;

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::Log;
use crate::clock::Clock;

pub use cursor::CURSOR_FILE;
pub use metrics::Metrics;
pub use nats::{Nats, Server, SetUpError, probe};
pub use sink::{Ack, Error, Item, Kind, Receipt, Sink};
pub use stdout::Stdout;

/// Items that are sent and not acknowledged, at most.
pub const WINDOW: usize = 256;
/// Bytes of them, at most, but for a single item.
pub const WINDOW_BYTES: usize = 4 << 20;

/// For what is left at the end to be acknowledged.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// For the cursor to be written at the end.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// What is shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The log's directory.
    pub dir: PathBuf,
    /// The log's id, the first part of every record's id in the stream.
    pub origin: String,
}

/// Shipping does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file of the sink can't be used.
    #[error("the sink cannot be set up")]
    Sink(#[from] SetUpError),
    /// The thread that reads can't be started.
    #[error("no thread can be started")]
    Thread(#[source] std::io::Error),
}

/// Shipping that runs. Dropped, it stops without a last word: what the cursor does not name yet is sent again.
#[derive(Debug)]
pub struct Shipping {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Shipping {
    /// Starts at the cursor. Must be called inside a runtime, after the log's own start.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        config: Config,
        sink: impl Sink,
        log: Log,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let spool = spool::Spool::open(&config, log.progress().borrow().durable).map_err(StartError::Thread)?;
        let metrics = metrics.of(sink.kind());
        let shipper = shipper::Shipper::new(sink, spool, log, clock, metrics, stop.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(shipper.run());
        Ok(Self { tasks, stop })
    }

    /// Ships what is left, for at most 5 s, writes the cursor and ends. To be called when the log has written its last record.
    ///
    /// # Cancel safety
    /// A caller that leaves ends shipping without a last word.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "shipping of the audit log ended by a panic");
            }
        }
    }
}
