//! Looks at single steps when they are made: ownership, writes, grants, sign-ins, keep-alives, waiters, takeovers.

use super::model_gateway::Number;
use super::model_store::Id;
use super::replica::{Replica, word};
use super::watch::MAXTIME_MICROS;
use super::world::{SECOND, What, World};
use super::*;

impl World {
    pub(super) fn check_owned(&mut self, id: Id, fence: u64) {
        let before = self.watch.newest.map_or(0, |(fence, ..)| fence);
        self.say(&format!("    store: {id} owns it, fence {fence}"));
        if fence <= before && !(self.watch.set_back && self.watch.data_lost_at.is_some()) {
            self.broken("fence", format!("{fence} after {before}"));
        }
        self.watch.newest = Some((fence, id, self.now));
        let lives = self.gateway.session.as_ref().map(|session| session.guid);
        if let (Some(lives), Some(Entry::Live(live))) = (lives, self.store.left())
            && lives != Number::of(&live.guid)
            && Number::of(&live.guid).sign_in == lives.sign_in
        {
            let why = "its owner was cut off while the Guid was replaced";
            self.watch.outdated.insert(lives.sign_in);
            self.watch.half_known.insert(lives.sign_in, why);
        }
    }

    /// A write of an owner that is none any more changes nothing.
    pub(super) fn check_taken(&mut self, id: Id, fence: u64, taken: bool) {
        let Some((newest, owner, _)) = self.watch.newest.filter(|_| taken) else { return };
        if let Some(Entry::Live(live)) = self.store.entry() {
            self.watch.told.insert(Number::of(&live.guid).sign_in);
        }
        if self.kind.blind {
            return;
        }
        if (fence, id) != (newest, owner) {
            if self.watch.forgot_newest() || self.watch.clock_stepped_at.is_some() {
                return self.watch.allow("an older owner's write: the store forgot the newer");
            }
            self.broken("superseded write", format!("{id} with {fence}, where {owner} has {newest}"));
        }
    }

    pub(super) fn check_grant(&mut self, slot: usize, granted: &Granted) {
        let id = self.replicas[slot].id;
        let seen = self.watch.seen.entry(id).or_default();
        // An owner that was cut off while another one came and went writes its own again where the store has lost all.
        // So it does where the clock was set ahead, and all keys have expired.
        let forgot = self.watch.data_lost_at.is_some() || self.watch.clock_stepped_at.is_some();
        if granted.version.fence < *seen && !forgot {
            let detail = format!("{id} saw {seen} and grants {:?}", granted.version);
            return self.broken("fence", detail);
        }
        *seen = granted.version.fence;
    }

    /// At the moment when it is sent.
    pub(super) fn check_sign_in(&mut self, slot: usize) {
        self.watch.tries += 1;
        let replica = &self.replicas[slot];
        let fence = replica.session.as_ref().and_then(|session| session.claim).map(|claim| claim.fence);
        let id = replica.id;
        let newest = self.watch.newest.map(|(fence, id, _)| (fence, id));
        if newest != fence.map(|fence| (fence, id)) {
            if self.watch.forgot_newest() || self.watch.clock_stepped_at.is_some() {
                return self
                    .watch
                    .allow("a sign-in of an older owner: the store forgot the newer, or its clock was set");
            }
            self.broken("sign-in without ownership", format!("{id} with {fence:?}, newest {newest:?}"));
        }
    }

    /// No two that are convinced keep it alive at once.
    pub(super) fn check_keep_alive(&mut self, slot: usize) {
        let (id, fence) =
            (self.replicas[slot].id, self.replicas[slot].session.as_ref().map_or(0, |session| session.floor));
        let last = self.watch.last_keep_alive.insert((id, fence), self.now);
        if last.is_some_and(|last| self.now < last + SECOND / 6) {
            self.broken("poll too fast", format!("{id}, again after {} us", self.now - last.unwrap_or_default()));
        }
        let now = self.instant(self.now);
        let convinced = |replica: &Replica| {
            replica.runs
                && replica.paused_until <= self.now
                && replica.pulse.is_some()
                && replica.session.as_ref().is_some_and(|session| session.holds(now))
        };
        let others =
            (0..self.replicas.len()).filter(|other| *other != slot && convinced(&self.replicas[*other])).count();
        if others > 0 && convinced(&self.replicas[slot]) && !self.watch.forgot_newest() {
            // A replica that has just started cannot see that the clock has jumped, and the others have not asked since.
            if self.watch.clock_stepped_at.is_some() {
                return self.watch.allow("kept alive twice: the store's clock was set");
            }
            self.broken("kept alive twice", "");
        }
    }

    pub(super) fn check_waiters(&mut self, slot: usize) {
        let replica = &self.replicas[slot];
        if replica.waiters.is_empty() || replica.session.is_none() {
            if !replica.waiters.is_empty() {
                self.broken("waits", "nobody is there who could answer");
            }
            return;
        }
        let Some(session) = &replica.session else { return };
        let moves = replica.call.is_some() || replica.seek.is_some() || replica.telling.is_some();
        if !moves && session.wake_at().is_none() {
            let state = word(session.state());
            return self.broken("waits", format!("nothing moves in {state}"));
        }
        // A sign-out, a sign-in that waits its turn, and a forced one after it.
        let bound = 130 * SECOND;
        if let Some((client, since)) = replica.waiters.iter().find(|(_, since)| self.now > since + bound) {
            let detail = format!("{client} since {since} in {}", word(session.state()));
            self.broken("waits", detail);
        }
    }

    /// A sign-in has worked, or not, at the gateway.
    pub(super) fn signed_in(&mut self, result: Result<Number, &'static str>) {
        if let Ok(number) = result {
            self.watch.sign_ins += 1;
            self.watch.born.insert(number.sign_in, self.now);
        }
    }

    pub(super) fn recorded(&mut self, slot: usize, event: &SessionEvent) {
        match event {
            SessionEvent::Resumed { .. } => {
                let Some(session) = &self.replicas[slot].session else { return };
                let State::Active(active) = session.state() else { return };
                let number = Number::of(&active.guid);
                if self.gateway.takes(number) || self.watch.old_data {
                    return;
                }
                let Some((faults, times)) = self.watch.ended.get_mut(&number.sign_in) else { return };
                *times += 1;
                // Whoever resumes it may be killed before it finds out.
                if *times > 1 + self.watch.faults - *faults {
                    self.broken("resumed twice", format!("session {} is dead", number.sign_in));
                }
            }
            SessionEvent::SignedOut { why, .. } => self.say(&format!("    signed out: {}", why.as_str())),
            _ => {}
        }
    }

    /// After the faults: as long as a session that nobody knows of can stand in the way, and the longest back-off.
    pub(super) fn heal_bound(&self) -> u64 {
        // A sign-in that was never answered can have its effect half a minute later; a replica may be stopped for as long;
        // the longest cooling is a minute.
        MAXTIME_MICROS + 135 * SECOND + 3 * self.watch.lease
    }

    /// Another replica must go on with the session of one that is killed, where one uses it.
    pub(super) fn expect_takeover(&mut self, slot: usize) {
        let id = self.replicas[slot].id;
        let lives = self.replicas[slot].session.as_ref().is_some_and(|session| {
            matches!(session.state(), State::Active(active) if active.written_at.is_some() && active.kind == Kind::Own
                && self.gateway.takes(Number::of(&active.guid)))
        });
        let used = self.replicas.iter().any(|replica| {
            let borrows = replica.session.as_ref().is_some_and(|session| matches!(session.state(), State::Borrowed(_)));
            borrows && replica.holds > 0 && !replica.cut && replica.paused_until <= self.now && !replica.stopping
        });
        let quiet = self.watch.fault_before + 2 * self.watch.lease < self.now;
        if lives && used && quiet && self.store_up && self.store.owner() == Some(id) {
            // The tenure ends; a borrower looks each 0.9 s, or a third of the lease, and one look may be lost after its second.
            let bound = self.watch.lease + 3 * SECOND;
            let (armed, killed_at) = (self.watch.faults, self.now);
            self.after(bound, What::Takeover { of: id, armed, killed_at });
        }
    }

    /// Sign-ins are tried for a reason: the first, one after each loss, one more for each fault that ends an owner before it
    /// could tell, and some with growing pauses while a session stands in the way that nobody knows of.
    pub(super) fn check_tries(&mut self) {
        let orphans = u32::try_from(self.watch.orphans.len()).expect("few");
        let faults = u32::try_from(self.watch.faults).expect("few");
        let bound = 3 + 2 * self.watch.losses + faults + 20 * orphans;
        if self.watch.tries > bound {
            self.broken("too many sign-ins", format!("{} tries, bound {bound}", self.watch.tries));
        }
    }

    pub(super) fn check_takeover(&mut self, of: Id, armed: u64, killed_at: u64) {
        // Other faults came between.
        if self.watch.faults != armed {
            return;
        }
        let newest = self.watch.newest.map(|(_, id, _)| id);
        let since = self.watch.newest.map_or(0, |(.., since)| since);
        if newest == Some(of) {
            return self.broken("takeover", format!("{of} was killed and nobody has taken over"));
        }
        // In hundredths of the lease.
        self.watch.took_over.push((since - killed_at) * 100 / self.watch.lease);
    }
}
