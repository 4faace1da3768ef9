//! The task that ships: reads ahead, sends, counts acknowledgements in order, and begins anew where the sink is lost. It
//! never gives up a record, and it keeps nobody waiting but itself.

use std::collections::VecDeque;
use std::time::Duration;

use backon::BackoffBuilder as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::audit::{Log, Progress, Signed};
use crate::clock::Clock;

use super::follow::Batch;
use super::metrics::SinkMetrics;
use super::sink::{Ack, Error, Item, Receipt, Sink, causes};
use super::spool::{Answer, Spool};
use super::{DRAIN_TIMEOUT, LAST_WORD_TIMEOUT, WINDOW, WINDOW_BYTES};

/// How often the cursor is written at most, a reading that failed is tried again, and the lag is told.
const TICK: Duration = Duration::from_millis(250);
/// Between two tries to reach the sink.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the task has.
pub(super) struct Shipper<S> {
    sink: S,
    patience: Duration,
    spool: Spool,
    log: Log,
    progress: watch::Receiver<Progress>,
    clock: Clock,
    metrics: SinkMetrics,
    stop: CancellationToken,
    tick: Interval,
    /// Read and not sent, or sent and not acknowledged before the sink was lost.
    queue: VecDeque<Item>,
    window: VecDeque<Sent>,
    window_bytes: usize,
    reading: Option<Answer<Batch>>,
    saving: Option<(u64, Answer<()>)>,
    /// The last record that was read.
    read: u64,
    /// All up to this record are acknowledged, void or gone.
    shipped: u64,
    /// What the cursor says.
    saved: u64,
    /// A checkpoint that is to be sent behind the records that it is over.
    signed: Option<Signed>,
    /// The size of the newest checkpoint that was queued.
    checkpoint: u64,
    /// When the sink acknowledged anything last: one that is slow, but goes on, is not lost.
    heard: Instant,
    /// Ready when the sink is lost; nothing where it is not connected.
    gone: Option<BoxFuture<'static, ()>>,
    /// Why the sink is lost, as it was told last.
    lost: Option<String>,
    /// The disk failed, and nothing is asked of it before the next tick.
    rests: bool,
}

/// What waits for its acknowledgement.
struct Sent {
    item: Item,
    ack: Ack,
    deadline: Instant,
}

/// What happened while nothing was to be done.
enum Woken {
    Acknowledged(Result<Receipt, Error>),
    Read(std::io::Result<Batch>),
    Saved(u64, std::io::Result<()>),
    Grown,
    Tick,
    Stop,
    Gone,
}

impl<S: Sink> Shipper<S> {
    #[allow(clippy::too_many_arguments, reason = "the parts that shipping is made of, each once")]
    pub(super) fn new(
        sink: S,
        spool: Spool,
        log: Log,
        clock: Clock,
        metrics: SinkMetrics,
        stop: CancellationToken,
    ) -> Self {
        let begin = spool.begin();
        log.shipped(begin);
        log.not_shipping(Some("the audit log's sink has not been reached yet".to_owned()));
        metrics.up.set(0);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            patience: sink.patience(),
            progress: log.progress(),
            sink,
            spool,
            log,
            clock,
            metrics,
            stop,
            tick,
            queue: VecDeque::new(),
            window: VecDeque::new(),
            window_bytes: 0,
            reading: None,
            saving: None,
            read: begin,
            shipped: begin,
            saved: begin,
            signed: None,
            checkpoint: 0,
            heard: Instant::now(),
            gone: None,
            lost: None,
            rests: false,
        }
    }

    /// Ships until it is told to stop, and then what is left; at most [`DRAIN_TIMEOUT`] for that.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            () = self.ship() => {}
            () = late => {}
        }
        self.told();
        let left = self.metrics.lag_records.get();
        if left > 0 {
            tracing::warn!(
                records = left,
                "records of the audit log are not shipped yet: the next start goes on with them"
            );
        }
        let last_word = async {
            if let Some((_, before)) = self.saving.take() {
                let _ = before.await;
            }
            self.spool.save(self.shipped).await
        };
        if self.shipped > self.saved && !matches!(timeout(LAST_WORD_TIMEOUT, last_word).await, Ok(Ok(Ok(())))) {
            tracing::warn!("the cursor of shipping could not be written: the next start sends some records again");
        }
    }

    /// Reaches the sink, ships, and reaches it again when it is lost; until all is shipped after a stop.
    async fn ship(&mut self) {
        let mut pauses = pauses();
        while !self.is_done() {
            let lost = match self.connect().await {
                Ok(()) => {
                    self.is_up();
                    match self.pump().await {
                        Ok(()) => return,
                        Err((error, progressed)) => {
                            if progressed {
                                pauses = self::pauses();
                            }
                            error
                        }
                    }
                }
                Err(error) => error,
            };
            self.is_lost(&lost);
            let until = Instant::now() + pauses.next().unwrap_or(LONGEST_PAUSE);
            // Meanwhile it reads ahead, so that the age of what waits is known.
            while !self.is_done() && Instant::now() < until {
                self.fill();
                if let Ok(woken) = timeout_at(until, self.wait()).await {
                    // Nothing is in the window, so nothing can be refused.
                    let _ = self.take(woken);
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<(), Error> {
        match timeout(self.patience, self.sink.connect()).await {
            Ok(result) => result,
            Err(_elapsed) => Err(Error::Timeout(self.patience)),
        }
    }

    /// Ships until all is shipped after a stop, or the sink is lost; then also whether anything was acknowledged.
    async fn pump(&mut self) -> Result<(), (Error, bool)> {
        let before = self.shipped;
        while !self.is_done() {
            self.fill();
            let step = match self.send().await {
                Ok(()) => {
                    self.fill();
                    let woken = self.wait().await;
                    self.take(woken)
                }
                Err(error) => Err(error),
            };
            step.map_err(|error| (error, self.shipped > before))?;
        }
        Ok(())
    }

    /// Asks for more to send, where there is more and room for it.
    fn fill(&mut self) {
        let progress = self.progress.borrow_and_update();
        if self.queue.is_empty() && self.reading.is_none() && !self.rests && self.read < progress.durable {
            self.reading = Some(self.spool.read(progress.durable));
        }
        if self.signed.is_none() {
            self.signed = progress.checkpoint.clone().filter(|signed| signed.size > self.checkpoint);
        }
        // Behind the records that it is over. Of checkpoints that come faster than they can be sent some are left out.
        if let Some(Signed { size, note }) = self.signed.take_if(|signed| signed.size <= self.read) {
            self.checkpoint = size;
            self.queue.push_back(Item::Checkpoint { size, note });
        }
    }

    /// Sends while the window has room.
    async fn send(&mut self) -> Result<(), Error> {
        while self.window.len() < WINDOW && (self.window_bytes < WINDOW_BYTES || self.window.is_empty()) {
            let Some(item) = self.queue.front() else { break };
            let deadline = Instant::now() + self.patience;
            let ack = match timeout_at(deadline, self.sink.publish(item)).await {
                Ok(ack) => ack?,
                Err(_elapsed) => return Err(Error::Timeout(self.patience)),
            };
            if let Some(item) = self.queue.pop_front() {
                self.window_bytes = self.window_bytes.saturating_add(item.len());
                self.window.push_back(Sent { item, ack, deadline });
            }
        }
        Ok(())
    }

    /// Waits for the first thing to happen. Cancel safe: what waits stays where it is.
    async fn wait(&mut self) -> Woken {
        let Self { window, reading, saving, progress, tick, stop, heard, gone, patience, .. } = self;
        let stopping = stop.is_cancelled();
        tokio::select! {
            // The rare ones first, so that a stream of acknowledgements keeps none of them waiting.
            biased;
            _ = tick.tick() => Woken::Tick,
            batch = answer(reading.as_mut()) => Woken::Read(batch),
            done = answer(saving.as_mut().map(|(_, answer)| answer)) => {
                Woken::Saved(saving.as_ref().map_or(0, |(seq, _)| *seq), done)
            }
            receipt = first_ack(window.front_mut(), *heard, *patience) => Woken::Acknowledged(receipt),
            _ = progress.changed() => Woken::Grown,
            () = is_gone(gone.as_mut()) => Woken::Gone,
            () = stop.cancelled(), if !stopping => Woken::Stop,
        }
    }

    fn take(&mut self, woken: Woken) -> Result<(), Error> {
        match woken {
            Woken::Acknowledged(receipt) => return self.acknowledged(receipt),
            Woken::Read(batch) => {
                self.reading = None;
                match batch {
                    Ok(batch) => self.was_read(batch),
                    Err(error) => {
                        self.rests = true;
                        tracing::warn!(%error, "the audit log cannot be read for shipping: tried again");
                    }
                }
            }
            Woken::Saved(seq, done) => {
                self.saving = None;
                match done {
                    Ok(()) => self.saved = seq,
                    Err(error) => tracing::warn!(%error, "the cursor of shipping cannot be written: tried again"),
                }
            }
            Woken::Tick => {
                self.rests = false;
                self.told();
                if self.saving.is_none() && self.shipped > self.saved {
                    self.saving = Some((self.shipped, self.spool.save(self.shipped)));
                }
            }
            Woken::Gone => return Err(Error::Lost),
            Woken::Grown | Woken::Stop => {}
        }
        Ok(())
    }

    fn was_read(&mut self, batch: Batch) {
        // What should be there cannot be seen: it is looked for again at the next tick.
        self.rests = batch.items.is_empty();
        if batch.missing > 0 || batch.unreadable > 0 {
            let (missing, unreadable) = (batch.missing, batch.unreadable);
            tracing::error!(missing, unreadable, "records of the audit log are damaged: they cannot be shipped");
            self.metrics.missing.inc_by(missing);
            self.metrics.unreadable.inc_by(unreadable);
        }
        if let Some(Item::Record { seq, .. }) = batch.items.last() {
            self.read = *seq;
        }
        self.queue.extend(batch.items);
    }

    /// Counts the first acknowledgement and all behind it that are there, then tells the log once.
    fn acknowledged(&mut self, first: Result<Receipt, Error>) -> Result<(), Error> {
        let before = self.shipped;
        let mut next = Some(first);
        let failed = loop {
            match next {
                None => break None,
                Some(Err(error)) => break Some(error),
                Some(Ok(receipt)) => {
                    if let Some(sent) = self.window.pop_front() {
                        self.count(&sent, receipt);
                    }
                }
            }
            next = self.window.front_mut().and_then(|sent| (&mut sent.ack).now_or_never());
        };
        if self.shipped > before {
            self.log.shipped(self.shipped);
        }
        failed.map_or(Ok(()), Err)
    }

    fn count(&mut self, sent: &Sent, receipt: Receipt) {
        self.window_bytes = self.window_bytes.saturating_sub(sent.item.len());
        self.heard = Instant::now();
        self.metrics.last_ack.set(self.clock.now().as_second());
        if let Item::Record { seq, .. } = &sent.item {
            self.shipped = *seq;
            match receipt {
                Receipt::Kept => self.metrics.acknowledged.inc(),
                Receipt::Duplicate => self.metrics.duplicate.inc(),
            }
        }
    }

    fn is_up(&mut self) {
        self.heard = Instant::now();
        self.gone = Some(self.sink.gone());
        self.lost = None;
        tracing::info!(sink = self.sink.kind().as_str(), behind = self.shipped, "shipping the audit log");
        self.metrics.up.set(1);
        self.log.not_shipping(None);
    }

    /// All that was not acknowledged waits to be sent again, in its order.
    fn is_lost(&mut self, error: &Error) {
        let why = causes(error);
        let sink = self.sink.kind().as_str();
        // Each reason once, not each try.
        if self.lost.as_ref() != Some(&why) {
            tracing::warn!(sink, why, "the audit log cannot be shipped: tried again for as long as it takes");
        }
        self.metrics.up.set(0);
        self.log.not_shipping(Some(format!("the audit log cannot be shipped to {sink}: {why}")));
        self.lost = Some(why);
        let failed = self.window.iter().filter(|sent| matches!(sent.item, Item::Record { .. })).count();
        self.metrics.failed.inc_by(failed as u64);
        self.window_bytes = 0;
        self.gone = None;
        for sent in self.window.drain(..).rev() {
            self.queue.push_front(sent.item);
        }
    }

    /// Whether it was told to stop and nothing is left.
    fn is_done(&self) -> bool {
        let progress = self.progress.borrow();
        let signed = progress.checkpoint.as_ref().map_or(0, |signed| signed.size);
        self.stop.is_cancelled()
            && self.shipped >= progress.durable
            && self.window.is_empty()
            && self.queue.is_empty()
            && (self.checkpoint >= signed || self.read < signed)
    }

    /// Tells how far behind it is.
    fn told(&self) {
        let behind = self.progress.borrow().durable.saturating_sub(self.shipped);
        self.metrics.lag_records.set(i64::try_from(behind).unwrap_or(i64::MAX));
        let mut waiting = self.window.iter().map(|sent| &sent.item).chain(&self.queue);
        let oldest = waiting.find_map(|item| if let Item::Record { ts, .. } = item { *ts } else { None });
        let age = oldest.filter(|_| behind > 0).map_or(0.0, |ts| self.clock.now().duration_since(ts).as_secs_f64());
        self.metrics.lag_seconds.set(age.max(0.0));
    }
}

/// The first acknowledgement, which must come in time after it was sent, or after the one before.
async fn first_ack(sent: Option<&mut Sent>, heard: Instant, patience: Duration) -> Result<Receipt, Error> {
    match sent {
        None => std::future::pending().await,
        Some(sent) => match timeout_at(sent.deadline.max(heard + patience), &mut sent.ack).await {
            Ok(receipt) => receipt,
            Err(_elapsed) => Err(Error::Timeout(patience)),
        },
    }
}

async fn is_gone(gone: Option<&mut BoxFuture<'static, ()>>) {
    match gone {
        None => std::future::pending().await,
        Some(gone) => gone.await,
    }
}

async fn answer<T>(answer: Option<&mut Answer<T>>) -> std::io::Result<T> {
    match answer {
        None => std::future::pending().await,
        Some(answer) => match answer.await {
            Ok(result) => result,
            Err(_gone) => Err(std::io::Error::other("the thread that reads for shipping is gone")),
        },
    }
}

/// From 100 ms to 5 s, for ever.
fn pauses() -> impl Iterator<Item = Duration> {
    backon::ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}
