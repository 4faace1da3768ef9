//! Whether the log can take entries now, and why not. It moves the readiness condition; it never writes a record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::ready::Condition;

use super::Why;

/// How far the log has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last sequence number that is durable; 0: none. All before it are durable, void or missing.
    pub durable: u64,
    /// The newest signed checkpoint, which is durable too.
    pub checkpoint: Option<Signed>,
}

/// A signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Leaves: the number of the last record that it is over.
    pub size: u64,
    /// The signed note.
    pub note: std::sync::Arc<str>,
}

/// The log's state, shared by its handles, its ticker and its writer.
#[derive(Debug)]
pub(super) struct Status {
    faults: Mutex<Faults>,
    condition: Condition,
    /// A tick is on its way and the writer has not come round to it. Bounds the queue to one tick.
    tick_pending: AtomicBool,
    progress: watch::Sender<Progress>,
    /// Held by whoever writes old segments anew or removes them.
    rewriting: Mutex<()>,
    shipped: watch::Sender<u64>,
}

/// What is wrong, each with words for an operator. The first one that is set wins.
#[derive(Debug, Default)]
struct Faults {
    stopped: bool,
    broken: Option<String>,
    stalled: bool,
    unsigned: Option<String>,
    disk_low: Option<String>,
    not_shipping: Option<String>,
}

impl Status {
    /// Ready at once: the start has written its first records.
    pub(super) fn new(condition: Condition) -> Self {
        condition.holds();
        Self {
            faults: Mutex::default(),
            condition,
            tick_pending: AtomicBool::new(false),
            progress: watch::Sender::default(),
            shipped: watch::Sender::default(),
            rewriting: Mutex::default(),
        }
    }

    /// Keeps others from removing or rewriting old segments. Waits; a panic while it was held leaves whole files.
    pub(super) fn rewrite(&self) -> MutexGuard<'_, ()> {
        self.rewriting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Self::rewrite`], without waiting.
    pub(super) fn rewrite_now(&self) -> Option<MutexGuard<'_, ()>> {
        self.rewriting.try_lock().ok()
    }

    /// How far the log has come, for whoever follows it.
    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(super) fn durable(&self, seq: u64) {
        self.progress.send_modify(|progress| progress.durable = seq);
    }

    #[cfg(test)]
    pub(super) fn signed_for_test(&self, signed: Signed) {
        self.progress.send_modify(|progress| progress.checkpoint = Some(signed));
    }

    /// The last record that is kept elsewhere too, for whoever waits for it.
    pub(super) fn shipping(&self) -> watch::Receiver<u64> {
        self.shipped.subscribe()
    }

    /// Never goes back: a record that is shipped once more was shipped all the same.
    pub(super) fn shipped(&self, seq: u64) {
        self.shipped.send_if_modified(|shipped| {
            let more = seq > *shipped;
            *shipped = seq.max(*shipped);
            more
        });
    }

    pub(super) fn not_shipping(&self, reason: Option<String>) {
        self.change(|faults| faults.not_shipping = reason);
    }

    /// What keeps the log from taking an entry.
    pub(super) fn why_not(&self) -> Option<Why> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match &*faults {
            Faults { stopped: true, .. } => Some(Why::Stopped),
            Faults { broken: Some(_), .. } => Some(Why::Broken),
            Faults { stalled: true, .. } => Some(Why::Stalled),
            Faults { unsigned: Some(_), .. } => Some(Why::Unsigned),
            Faults { disk_low: Some(_), .. } => Some(Why::DiskLow),
            Faults { not_shipping: Some(_), .. } => Some(Why::NotShipped),
            Faults { .. } => None,
        }
    }

    pub(super) fn stop(&self) {
        self.change(|faults| faults.stopped = true);
    }

    pub(super) fn broken(&self, reason: Option<String>) {
        self.change(|faults| faults.broken = reason);
    }

    pub(super) fn disk_low(&self, reason: Option<String>) {
        self.change(|faults| faults.disk_low = reason);
    }

    pub(super) fn unsigned(&self, reason: Option<String>) {
        self.change(|faults| faults.unsigned = reason);
    }

    pub(super) fn signed(&self, signed: Signed) {
        self.progress.send_modify(|progress| progress.checkpoint = Some(signed));
    }

    pub(super) fn stalled(&self) {
        self.change(|faults| faults.stalled = true);
    }

    /// Whether a tick may be sent; `false` while the last one waits for the writer.
    pub(super) fn tick_sent(&self) -> bool {
        !self.tick_pending.swap(true, Ordering::AcqRel)
    }

    /// The writer has come round to the tick, so it is alive.
    pub(super) fn tick_seen(&self) {
        self.tick_pending.store(false, Ordering::Release);
        self.change(|faults| faults.stalled = false);
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut faults);
        // Under the lock, so that two changes can't leave the condition with the older one's reason.
        match &*faults {
            Faults { stopped: true, .. } => self.condition.wait_for("the audit log is shut down"),
            Faults { broken: Some(reason), .. } => self.condition.wait_for(reason),
            Faults { stalled: true, .. } => self.condition.wait_for("the audit volume does not answer"),
            Faults { unsigned: Some(reason), .. } => self.condition.wait_for(reason),
            Faults { disk_low: Some(reason), .. } | Faults { not_shipping: Some(reason), .. } => {
                self.condition.wait_for(reason);
            }
            Faults { .. } => self.condition.holds(),
        }
    }
}
