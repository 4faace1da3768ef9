//! Which requests are one access, as a player makes them of one listening. It changes no record.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};

use super::access::{Access, TEXTS_MAX};
use super::record::{Record, Role};
use super::scan::Match;

/// A request belongs to an access that was active so long ago, or less.
pub const ACCESS_GAP: SignedDuration = SignedDuration::from_mins(10);

/// A download without an end keeps its access active for so long.
const OPEN_GAP: SignedDuration = SignedDuration::from_hours(24);
/// Accesses that are held at once, to be given in the order of their beginning.
const HELD_MAX: usize = 20_000;

/// Whose and which: what the requests of an access have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    issuer: String,
    subject: String,
    recording: String,
    /// Of refusals.
    code: Option<String>,
}

/// Makes accesses of records. Its memory is bounded: more than 20,000 accesses are not held at once.
#[derive(Debug, Default)]
pub struct Accesses {
    /// In the order of their beginning.
    held: BTreeMap<u64, Held>,
    next: u64,
    /// The latest access of each key.
    latest: HashMap<Key, u64>,
    /// The access of each download without an end.
    open: HashMap<u128, u64>,
    now: Option<Timestamp>,
    cut: bool,
}

#[derive(Debug)]
struct Held {
    access: Access,
    key: Option<Key>,
    /// When there was last a sign of the person.
    active: Timestamp,
}

impl Accesses {
    /// Takes the next record of a download or a refusal; others are left alone. Accesses that are complete go to `done`.
    pub fn take<E>(&mut self, found: &Match<'_>, done: &mut impl FnMut(Access) -> Result<(), E>) -> Result<(), E> {
        let Some(at) = found.record.ts.parse().ok().or(self.now) else { return Ok(()) };
        let now = self.now.map_or(at, |now| now.max(at));
        self.now = Some(now);
        match found.role {
            Role::Begin | Role::Refusal => {
                let id = self.access_of(found, at);
                self.request(id, found, at);
            }
            Role::End => {
                let known = found.line.entry.and_then(|entry| self.open.remove(&entry));
                let known = known.filter(|id| self.held.contains_key(id));
                let id = match known {
                    Some(id) => {
                        if let Some(held) = self.held.get_mut(&id) {
                            held.access.outcomes.open = held.access.outcomes.open.saturating_sub(1);
                        }
                        id
                    }
                    // Its beginning is erased or removed, or the access was given away as it was.
                    None => self.access_of(found, at),
                };
                self.end(id, found, at, known.is_none());
            }
            Role::Other => return Ok(()),
        }
        self.give(now, done)
    }

    /// Gives all that is left. Returns whether accesses were given before they were complete, for want of room.
    ///
    /// # Errors
    /// Those of `done`.
    pub fn finish<E>(self, done: &mut impl FnMut(Access) -> Result<(), E>) -> Result<bool, E> {
        self.held.into_values().try_for_each(|held| done(held.access))?;
        Ok(self.cut)
    }

    /// The access that a request belongs to, a new one where there is none.
    fn access_of(&mut self, found: &Match<'_>, at: Timestamp) -> u64 {
        let key = Key::of(&found.record);
        let latest = key.as_ref().and_then(|key| self.latest.get(key)).copied();
        if let Some(id) = latest.filter(|id| self.held.get(id).is_some_and(|held| held.is_active(at))) {
            return id;
        }
        let id = self.next;
        self.next += 1;
        if let Some(key) = &key {
            self.latest.insert(key.clone(), id);
        }
        self.held.insert(id, Held { access: Access::new(found, at), key, active: at });
        id
    }

    fn request(&mut self, id: u64, found: &Match<'_>, at: Timestamp) {
        let Some(held) = self.held.get_mut(&id) else { return };
        held.sign(at);
        held.access.request(&found.record);
        match (found.role, found.line.entry) {
            (Role::Begin, Some(entry)) => {
                held.access.outcomes.open += 1;
                self.open.insert(entry, id);
            }
            (Role::Refusal, _) => held.access.outcomes.denied += 1,
            _ => {}
        }
    }

    fn end(&mut self, id: u64, found: &Match<'_>, at: Timestamp, alone: bool) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let Record { event, reason, delivery, .. } = &found.record;
        if alone {
            held.access.request(&found.record);
        }
        // The next start writes `unknown`, however late: nobody was active then.
        if alone || &**event != "unknown" {
            held.sign(at);
        }
        if let Some(count) = held.access.outcomes.count(event) {
            *count += 1;
        }
        if let Some(reason) = reason {
            held.access.reasons.add(reason, TEXTS_MAX);
        }
        // A problem has bytes too, but nothing of a recording.
        let media = delivery.as_ref().filter(|delivery| &*delivery.class == "media");
        let bytes = media.map_or(0, |delivery| delivery.client_bytes);
        held.access.bytes = held.access.bytes.saturating_add(bytes);
    }

    /// Gives what can't grow any more, in the order of beginning; out of order what waits behind one that goes on for long.
    fn give<E>(&mut self, now: Timestamp, done: &mut impl FnMut(Access) -> Result<(), E>) -> Result<(), E> {
        while let Some(first) = self.held.first_entry().filter(|held| !held.get().is_active(now)) {
            let held = first.remove_entry();
            self.give_one(held, done)?;
        }
        if self.held.len() <= HELD_MAX {
            return Ok(());
        }
        let complete: Vec<u64> = self.held.iter().filter(|(_, held)| !held.is_active(now)).map(|(id, _)| *id).collect();
        for id in complete {
            let held = self.held.remove_entry(&id);
            held.map_or(Ok(()), |held| self.give_one(held, done))?;
        }
        while self.held.len() > HELD_MAX / 2 {
            self.cut = true;
            let Some(held) = self.held.pop_first() else { break };
            self.give_one(held, done)?;
        }
        Ok(())
    }

    fn give_one<E>(
        &mut self,
        (id, held): (u64, Held),
        done: &mut impl FnMut(Access) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(key) = held.key.filter(|key| self.latest.get(key) == Some(&id)) {
            self.latest.remove(&key);
        }
        if held.access.outcomes.open > 0 {
            self.open.retain(|_, access| *access != id);
        }
        done(held.access)
    }
}

impl Held {
    fn is_active(&self, at: Timestamp) -> bool {
        let gap = if self.access.outcomes.open > 0 { OPEN_GAP } else { ACCESS_GAP };
        at.duration_since(self.active) <= gap
    }

    fn sign(&mut self, at: Timestamp) {
        self.active = self.active.max(at);
        self.access.last = self.access.last.max(at);
    }
}

impl Key {
    /// `None`: nobody was recognised, or no recording; such requests have nothing in common.
    fn of(record: &Record<'_>) -> Option<Self> {
        let (issuer, subject) = record.person()?;
        Some(Self {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            recording: record.recording()?.to_owned(),
            code: record.code.as_deref().map(str::to_owned),
        })
    }
}
