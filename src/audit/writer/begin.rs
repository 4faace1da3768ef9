//! The first records of a process. It runs before the writer has its thread.

use std::io;

use jiff::Timestamp;

use super::Writer;
use super::upkeep::KeyChanged;
use crate::audit::fault::Fault;
use crate::audit::keys::Keys;
use crate::audit::line::Draft;
use crate::audit::notary::keep_notes;
use crate::audit::recover::{Opened, Recovered, RepairRecord, UnknownEnd};
use crate::audit::segment::Storage;
use crate::trail::segment_name;

impl<S: Storage> Writer<S> {
    /// Begins a segment and writes what the start has to say: that it began, what was repaired, and the ends that a crash
    /// left out. A crash in here leaves some ends unwritten; the next start finds those entries open again.
    ///
    /// `head` comes before all of it.
    pub(in crate::audit) fn begin(
        &mut self,
        keys: &Keys,
        recovered: &Recovered,
        now: Timestamp,
        head: Option<&Draft>,
    ) -> io::Result<()> {
        self.now = now;
        self.notary.keep_leaves(&mut self.storage, 0)?;
        if !self.notary.has_signed() {
            // Before the first record there is a checkpoint, then a key: records without one were tampered with. A crash in
            // between leaves the name in the checkpoint.
            let lowest_open = recovered.open.values().map(|carried| carried.seq).min();
            self.notary.sign(&mut self.storage, now, lowest_open)?;
            keys.list(&mut self.storage)?;
        }
        // What a process left unsigned is signed together with the record of this start, never before it: an order that
        // somebody put in there is told from one that its process had signed.
        self.notary.list_unlisted(&mut self.storage, now)?;
        if head.is_none() {
            let segment = segment_name(self.next_seq);
            let (origin, key) = (keys.signer.verifier().name(), keys.signer.verifier().id());
            self.push_own("audit.opened", &Opened { segment: &segment, origin, key });
        }
        if let Some(replaced) = keys.replaced() {
            self.push_own("audit.key_changed", &KeyChanged::new(replaced, keys.signer.verifier()));
        }
        if let Some(repair) = RepairRecord::of(recovered) {
            self.push_own("audit.recovered", &repair);
        }
        for (entry, carried) in &recovered.open {
            self.push_own("unknown", &UnknownEnd::new(*entry, carried, now));
        }
        self.begin_with(head)?;
        if head.is_some() {
            keep_notes(&mut self.storage)?;
        }
        // After the record that says so: a crash before this line leaves it to the next start.
        keys.list(&mut self.storage)
    }

    /// Begins a segment with a record and what is queued.
    fn begin_with(&mut self, head: Option<&Draft>) -> io::Result<()> {
        let (mut head, mut fresh) = (head, true);
        while fresh || !self.queue.is_empty() {
            let count = self.batch_len();
            self.commit(head.take(), count, fresh).map_err(Fault::into_io)?;
            self.acknowledge(count);
            self.hash();
            fresh = false;
        }
        self.notary.sign(&mut self.storage, self.now, None)?;
        Ok(())
    }
}
