//! What the store's scripts do, as a pure model of one agent's keys: no server, no time of its own, no sealing.
//!
//! It follows `store/redis/*.lua` line by line; what those decide is written here once more so that the machine can be
//! run against it ten thousand times.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::session::LossCause;
use crate::session::store::{Cooling, Entry, Error, Found, Left, Retire, Retired, Version};

/// A replica's random id; a replica that is started again has another.
pub(super) type Id = u32;

/// An owner that gave the agent away: the script leaves an empty name.
const NOBODY: Id = 0;

/// What is broken on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Broken {
    /// A write is taken whatever its fence.
    pub(super) fence: bool,
    /// Nothing settles after a restart.
    pub(super) settling: bool,
    /// A seek takes an agent from an owner whose tenure lasts.
    pub(super) tenure: bool,
}

/// What a call names beside what it asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) me: Id,
    /// The store's clock as the caller expects it, in milliseconds; 0: it has not seen it yet.
    pub(super) expected: i64,
}

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Changed { by: Id },
    Inbox { owner: Id },
}

#[derive(Debug, Clone)]
pub(super) struct Beaten {
    pub(super) existed: bool,
    pub(super) epoch: i64,
    pub(super) now: i64,
    pub(super) settling: i64,
    pub(super) inbox: Vec<(Version, LossCause)>,
}

/// Why a script did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Superseded,
    Settling(i64),
    Lapsed,
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        let unavailable = |why, millis| Self::Unavailable { why, source: None, retry_after: duration(millis) };
        match trouble {
            Trouble::Superseded => Self::Superseded,
            Trouble::Settling(millis) => unavailable("settling", millis.max(1)),
            Trouble::Lapsed => unavailable("lapsed", 250),
        }
    }
}

/// What is kept. A copy of it is what a server finds that comes back with old data.
#[derive(Debug, Clone, Default)]
pub(super) struct Data {
    run: u64,
    epoch: i64,
    /// When it ends, in milliseconds of the store's clock, as for all keys.
    settling: Option<i64>,
    replicas: BTreeMap<Id, i64>,
    inboxes: BTreeMap<Id, (Vec<(Version, LossCause)>, i64)>,
    record: Option<Record>,
}

#[derive(Debug, Clone)]
struct Record {
    fence: i64,
    owner: Option<Id>,
    entry: Option<Entry>,
    at: i64,
    epoch: i64,
    stays: bool,
    used: Option<(i64, Id)>,
    ends: i64,
    /// What the owner before left, until the new one writes: since when, and what.
    left: Option<(i64, Option<Entry>)>,
}

pub(super) struct ModelStore {
    lease: i64,
    broken: Broken,
    /// Between the world's time and its clock, in microseconds; a step of the clock changes it.
    pub(super) offset: i64,
    run: u64,
    pub(super) data: Data,
    /// What the last call published.
    pub(super) told: Vec<Told>,
}

/// What every script begins with.
struct Common {
    micros: i64,
    now: i64,
    settling: i64,
}

impl ModelStore {
    pub(super) fn new(lease: Duration, broken: Broken) -> Self {
        let lease = millis(lease);
        Self { lease, broken, offset: 1_800_000_000_000_000, run: 1, data: Data::default(), told: Vec::new() }
    }

    /// Comes back as another server with these data.
    pub(super) fn restart(&mut self, data: Data) {
        self.run += 1;
        self.data = data;
    }

    fn common(&mut self, at: u64, caller: Caller) -> Common {
        let micros = i64::try_from(at).expect("a time of a test") + self.offset;
        let now = micros / 1_000;
        self.told.clear();
        self.expire(now);
        let data = &mut self.data;
        let mut settling = data.settling.map_or(-2, |ends| ends - now);
        let jumped = caller.expected > 0 && now - caller.expected > self.lease / 2 && settling < 0;
        if data.run != self.run || jumped {
            data.epoch = micros.max(data.epoch + 1);
            data.run = self.run;
            settling = self.lease;
            data.settling = Some(now + settling);
        } else if settling > self.lease {
            settling = self.lease;
            data.settling = Some(now + settling);
        }
        if self.broken.settling {
            settling = 0;
        }
        Common { micros, now, settling: settling.max(0) }
    }

    fn expire(&mut self, now: i64) {
        let data = &mut self.data;
        data.settling = data.settling.filter(|ends| now < *ends);
        data.replicas.retain(|_, ends| now < *ends);
        data.inboxes.retain(|_, (_, ends)| now < *ends);
        data.record = data.record.take().filter(|record| now < record.ends);
    }

    pub(super) fn beat(&mut self, at: u64, caller: Caller) -> Beaten {
        let common = self.common(at, caller);
        let data = &mut self.data;
        let existed = data.replicas.insert(caller.me, common.now + self.lease).is_some();
        let inbox = data.inboxes.remove(&caller.me).map(|(messages, _)| messages).unwrap_or_default();
        Beaten { existed, epoch: data.epoch, now: common.now, settling: common.settling, inbox }
    }

    pub(super) fn leave(&mut self, at: u64, caller: Caller) {
        self.common(at, caller);
        self.data.replicas.remove(&caller.me);
        self.data.inboxes.remove(&caller.me);
    }

    pub(super) fn seek(&mut self, at: u64, caller: Caller, floor: u64) -> Result<Found, Trouble> {
        let common = self.common(at, caller);
        let (now, me, data) = (common.now, caller.me, &mut self.data);
        let whole = self.lease;
        if let Some(record) = &mut data.record
            && let Some(owner) = record.owner.filter(|owner| ![me, NOBODY].contains(owner))
            && let Some(ends) = data.replicas.get_mut(&owner)
            && !self.broken.tenure
        {
            *ends = (*ends).min(now + whole);
            if record.epoch == data.epoch {
                record.used = Some((now, me));
                let age = duration(now - record.at);
                let entry = record.entry.clone().map(|entry| Left { entry: Some(entry), age });
                return Ok(Found::Theirs { fence: unsigned(record.fence), entry });
            }
        }
        if common.settling > 0 {
            return Err(Trouble::Settling(common.settling));
        }
        if !data.replicas.contains_key(&me) {
            return Err(Trouble::Lapsed);
        }
        let before = data.record.take();
        let known = before.as_ref().map_or(0, |record| record.fence);
        let fence = common.micros.max(known + 1).max(signed(floor) + 1);
        let owner = before.as_ref().and_then(|record| record.owner);
        let used = before.as_ref().and_then(|record| record.used).filter(|(_, by)| *by != me);
        let stays = before.as_ref().is_some_and(|record| record.stays);
        let left = match before {
            // The answer to the last seek may have been lost, or the owner before it wrote.
            Some(Record { entry: None, left: Some(left), .. }) => Some(left),
            Some(record) if owner.is_some_and(|owner| owner != me) => Some((record.at, record.entry)),
            _ => None,
        };
        data.record = Some(Record {
            fence,
            left: left.clone(),
            owner: Some(me),
            entry: None,
            at: now,
            epoch: data.epoch,
            stays,
            used,
            ends: now + 600_000,
        });
        if owner.is_some() {
            self.told.push(Told::Changed { by: me });
        }
        Ok(Found::Owned {
            fence: unsigned(fence),
            left: left.map(|(at, entry)| Left { age: duration(now - at), entry }),
        })
    }

    /// What `owned.lua` decides: whether the record is lost.
    fn owned(&self, common: &Common, me: Id, fence: u64) -> Result<bool, Trouble> {
        let (newest, owner) = self.data.record.as_ref().map_or((0, None), |record| (record.fence, record.owner));
        let lost = common.settling > 0 && signed(fence) > newest;
        if lost || (signed(fence) == newest && owner == Some(me)) || self.broken.fence {
            return Ok(lost);
        }
        Err(Trouble::Superseded)
    }

    pub(super) fn write(&mut self, at: u64, caller: Caller, fence: u64, entry: Entry) -> Result<(), Trouble> {
        let common = self.common(at, caller);
        self.owned(&common, caller.me, fence)?;
        let (stays, ends) = (entry.stays(), common.now + millis(kept_for(&entry)));
        let used = self.data.record.as_ref().and_then(|record| record.used);
        self.data.record = Some(Record {
            fence: signed(fence),
            owner: Some(caller.me),
            entry: Some(entry),
            left: None,
            at: common.now,
            epoch: self.data.epoch,
            stays,
            used,
            ends,
        });
        self.told.push(Told::Changed { by: caller.me });
        Ok(())
    }

    pub(super) fn retire(&mut self, at: u64, caller: Caller, fence: u64, why: Retire) -> Result<Retired, Trouble> {
        let common = self.common(at, caller);
        if self.owned(&common, caller.me, fence)? {
            return Err(Trouble::Settling(common.settling));
        }
        let Some(record) = &mut self.data.record else { return Err(Trouble::Superseded) };
        if let Some((used, by)) = record.used.filter(|(_, by)| *by != caller.me) {
            let ago = duration(common.now - used);
            match why {
                Retire::Idle { within } if ago <= within => return Ok(Retired::InUse { ago }),
                Retire::Stop if ago <= duration(self.lease) && self.data.replicas.contains_key(&by) => {
                    record.owner = Some(NOBODY);
                    self.told.push(Told::Changed { by: caller.me });
                    return Ok(Retired::InUse { ago });
                }
                _ => {}
            }
        }
        if record.entry.is_some() {
            record.left = Some((record.at, record.entry.take()));
        }
        (record.at, record.ends) = (common.now, common.now + 600_000);
        self.told.push(Told::Changed { by: caller.me });
        Ok(Retired::Unused)
    }

    pub(super) fn release(&mut self, at: u64, caller: Caller, fence: u64) -> Result<(), Trouble> {
        let common = self.common(at, caller);
        self.owned(&common, caller.me, fence)?;
        if let Some(record) = &mut self.data.record
            && record.stays
            && record.entry.is_some()
        {
            record.owner = Some(NOBODY);
            return Ok(());
        }
        self.data.record = Some(Record {
            fence: signed(fence),
            owner: None,
            entry: None,
            left: None,
            at: common.now,
            epoch: 0,
            stays: false,
            used: None,
            ends: common.now + 600_000,
        });
        self.told.push(Told::Changed { by: caller.me });
        Ok(())
    }

    pub(super) fn reject(&mut self, at: u64, caller: Caller, version: Version, cause: LossCause) {
        let common = self.common(at, caller);
        let record = self.data.record.as_ref().filter(|record| record.fence == signed(version.fence));
        if let Some(owner) = record.and_then(|record| record.owner).filter(|owner| *owner != NOBODY) {
            let (messages, ends) = self.data.inboxes.entry(owner).or_default();
            messages.push((version, cause));
            *ends = common.now + self.lease * 2;
            self.told.push(Told::Inbox { owner });
        }
    }

    pub(super) fn admit(&mut self, at: u64, caller: Caller) {
        self.common(at, caller);
    }

    /// What a new owner would find: the entry, and under which fence.
    pub(super) fn entry(&self) -> Option<&Entry> {
        self.data.record.as_ref()?.entry.as_ref()
    }

    /// What a new owner has found and not written again yet.
    pub(super) fn left(&self) -> Option<&Entry> {
        self.data.record.as_ref()?.left.as_ref()?.1.as_ref()
    }

    /// The owner in name.
    pub(super) fn owner(&self) -> Option<Id> {
        self.data.record.as_ref()?.owner
    }
}

fn kept_for(entry: &Entry) -> Duration {
    const LIVE: Duration = Duration::from_hours(24);
    match entry {
        Entry::Live(_) | Entry::SigningIn => LIVE,
        Entry::Barred { .. } => Duration::from_hours(24),
        Entry::Cooling(Cooling { lasts, doubt_lasts, .. }) => (*lasts).max(*doubt_lasts) + LIVE,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).expect("a time of a test")
}

fn duration(millis: i64) -> Duration {
    Duration::from_millis(unsigned(millis.max(0)))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).expect("no negative number")
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("a fence of a test")
}
