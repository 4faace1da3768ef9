//! A session that lives and is ours: its keep-alive, its rotations, its idling, and how far it can be used when the store
//! is away. It never signs in.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Effect, Granted, MAXTIME, Rules, Session, State, Version, meaning, upstream};
use crate::cc::{Guid, GuidTagKey, Meaning, SignInForm};
use crate::session::KeepAlive;
use crate::session::journal::{LossCause, SessionEvent, SignOutCause};
use crate::session::store::{Entry, Kind, Live, Retire, Tenure};

/// Longest time between two tries while keep-alives fail. Twenty of them fit into `MAXTIME`.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A session that lives is written again after so long, or the store forgets it.
const WRITE_EVERY: Duration = Duration::from_secs(30);

/// A signed-in agent.
#[allow(clippy::struct_excessive_bools, reason = "independent facts of a session, not its states")]
#[derive(Debug)]
pub(in crate::session) struct Active {
    pub(super) guid: Arc<Guid>,
    pub(super) version: Version,
    pub(super) form: SignInForm,
    pub(super) kind: Kind,
    /// When the gateway last answered that the session lives.
    pub(super) alive_at: Instant,
    /// When the Guid was issued, at the latest.
    pub(super) issued_at: Instant,
    /// Shortest time between two Guids; `None`: no replacement was seen.
    pub(super) rotates_every: Option<Duration>,
    /// Longest time that a quiet poll took.
    pub(super) poll_takes: Duration,
    /// Since when nobody uses it; `None`: somebody does.
    pub(super) idle_since: Option<Instant>,
    /// Nobody uses it here, and whether somebody does elsewhere cannot be asked: not to be kept without the store's word.
    pub(super) unused: bool,
    /// It seems to be another process's, or gone: not to be kept without the store's word either.
    pub(super) suspected: bool,
    /// The gateway said that it is gone, when it may have been another process's already.
    pub(super) gone: Option<LossCause>,
    /// The fresh session after a `000-003`: for as long as it lives another one is about the right, not about the
    /// session. A fresh one each time would help nobody and cut the downloads that run. That the session has died all
    /// the same, its keep-alive finds out.
    pub(super) decides: bool,
    pub(super) right_missing_told: bool,
    pub(super) pulse: Pulse,
    pub(super) failures: backon::ExponentialBackoff,
    /// A sparing keep-alive has failed: not another one before.
    pub(super) spare_after: Option<Instant>,
    /// When the store last took it; `None`: never, so nobody else knows of it.
    pub(super) written_at: Option<Instant>,
    /// The store is to be told.
    pub(super) dirty: bool,
    /// The Guid came when the session may have been another process's already: not to be used before the store agrees.
    pub(super) doubtful: bool,
    /// Somebody waits until the store agrees.
    pub(super) awaited: bool,
}

/// The keep-alive: one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulse {
    Waiting {
        at: Instant,
    },
    InFlight {
        since: Instant,
        /// Made without the store's word, to keep the session through its outage.
        sparing: bool,
    },
    /// Due, but not ours to make until the store agrees.
    Deferred,
    /// The gateway says that we ask in the wrong way, and asking on would be noise; or it is somebody else's to make.
    Stopped,
}

impl Active {
    /// A session that has just been signed in, and of which the store knows nothing yet.
    pub(super) fn fresh(
        (guid, version): (Arc<Guid>, Version),
        (form, kind): (SignInForm, Kind),
        now: Instant,
        failures: backon::ExponentialBackoff,
    ) -> Self {
        Self {
            guid,
            version,
            form,
            kind,
            alive_at: now,
            issued_at: now,
            rotates_every: None,
            poll_takes: Duration::ZERO,
            // Whoever wanted it may have gone meanwhile; a grant that is taken stops this clock.
            idle_since: Some(now),
            unused: false,
            suspected: false,
            gone: None,
            decides: false,
            right_missing_told: false,
            pulse: Pulse::Stopped,
            failures,
            spare_after: None,
            written_at: None,
            dirty: true,
            doubtful: false,
            awaited: false,
        }
    }

    /// The current version.
    pub(in crate::session) fn version(&self) -> Version {
        self.version
    }

    /// Who signed it in.
    pub(in crate::session) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether no other process can know of it.
    pub(super) fn is_untold(&self) -> bool {
        self.written_at.is_none() && self.kind == Kind::Own
    }

    /// Hands the session out, so it is no longer idle.
    pub(super) fn grant(&mut self, tenure: Tenure) -> Effect {
        (self.idle_since, self.unused) = (None, false);
        self.awaited = false;
        Effect::Grant(self.granted(tenure))
    }

    pub(super) fn granted(&self, tenure: Tenure) -> Granted {
        let (guid, version, kind) = (Arc::clone(&self.guid), self.version, self.kind);
        Granted { guid, version, kind, fresh_until: tenure.until }
    }

    /// Hands the session back to whoever rejected it: another one would be refused too.
    pub(super) fn right_is_missing(&mut self, tenure: Tenure, effects: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.right_missing_told, true) {
            effects.push(Effect::Record(SessionEvent::RightMissing { form: self.form }));
        }
        effects.push(self.grant(tenure));
    }

    pub(super) fn is_decided(&self, cause: LossCause) -> bool {
        self.decides && cause == LossCause::Refused
    }

    /// What others are to know.
    pub(super) fn entry(&self, now: Instant) -> Entry {
        Entry::Live(Live {
            guid: (*self.guid).clone(),
            rotation: self.version.rotation,
            form: self.form,
            kind: self.kind,
            decides: self.decides,
            alive_ago: now.saturating_duration_since(self.alive_at),
            issued_ago: now.saturating_duration_since(self.issued_at),
            rotates_every: self.rotates_every,
            poll_takes: self.poll_takes,
        })
    }

    /// Until when the Guid can be used without the store's word. Another owner may replace it meanwhile, and a Guid is
    /// dead once its successor is replaced.
    pub(super) fn usable_until(&self) -> Instant {
        let forgotten = self.alive_at + MAXTIME;
        match self.rotates_every {
            Some(every) => forgotten.min(self.issued_at + 2 * every),
            None => forgotten,
        }
    }

    /// When to keep the session alive without the store's word, as late and as seldom as it can be kept: another process
    /// may be at it, and the gateway forbids two keep-alives at once. `None`: never; nobody uses
    /// it, it may be another's by now, or could not be used any more.
    fn spare_at(&self, rules: &Rules, tenure: Tenure) -> Option<Instant> {
        let (ended, lease) = (tenure.until?, rules.lease?);
        let half = self.alive_at + MAXTIME / 2;
        let due = self.rotates_every.map_or(half, |every| half.min(self.issued_at + every + every / 2));
        let at = due.max(ended + 3 * lease).max(self.spare_after.unwrap_or(due));
        (self.kind == Kind::Own && !self.unused && !self.suspected && at < self.usable_until()).then_some(at)
    }

    pub(super) fn wake_at(&self, rules: &Rules, tenure: Tenure) -> Instant {
        let silent = self.alive_at + MAXTIME;
        let idle = self.idle_since.filter(|_| self.kind == Kind::Own).map(|since| since + rules.idle_sign_out);
        let pulse = match self.pulse {
            Pulse::Waiting { at } => Some(at),
            Pulse::InFlight { sparing: false, .. } => tenure.until,
            Pulse::Deferred => self.spare_at(rules, tenure),
            Pulse::InFlight { .. } | Pulse::Stopped => None,
        };
        [idle, pulse].into_iter().flatten().fold(silent, Instant::min)
    }

    /// Takes a Guid that came with the answer to a request sent with `version`.
    ///
    /// Only the answer to a request that carried the current Guid tells its successor: of two answers to requests with
    /// the same Guid, the one that comes late may bring the older successor.
    fn rotate(&mut self, version: Version, guid: Guid, tag_key: &GuidTagKey, now: Instant) -> Option<SessionEvent> {
        if version != self.version || guid.same_as(&self.guid) {
            return None;
        }
        let tag = tag_key.tag(&guid);
        let lived = now.saturating_duration_since(self.issued_at);
        self.rotates_every = Some(self.rotates_every.map_or(lived, |every| every.min(lived)));
        self.guid = Arc::new(guid);
        self.issued_at = now;
        self.version.rotation += 1;
        self.dirty = true;
        Some(SessionEvent::Rotated { count: self.version.rotation, guid: tag })
    }

    /// It seems to be another process's, or gone. The store is to say which: were it just forgotten here, it would stand
    /// there as ours, and others would go by that.
    fn suspect(&mut self, gone: Option<LossCause>) {
        self.gone = self.gone.or(gone);
        (self.doubtful, self.suspected, self.dirty) = (true, true, true);
    }

    /// The answer said that the session lives.
    pub(super) fn answered(&mut self, since: Option<Instant>, rotated: bool, now: Instant) {
        self.alive_at = now;
        if let Some(since) = since.filter(|_| !rotated) {
            self.poll_takes = self.poll_takes.max(now.saturating_duration_since(since));
        }
        if self.written_at.is_none_or(|at| at + WRITE_EVERY <= now) {
            self.dirty = true;
        }
    }
}

impl Rules {
    /// The time between the answer of a keep-alive and the next: polls follow each other after 200 to 500 ms
    /// (cc-gateway manual, event polling), heartbeats after the interval or up to a fifth sooner,
    /// never later: the interval is what keeps the session within `MAXTIME`.
    pub(super) fn gap(&self, jitter: &mut fastrand::Rng) -> Duration {
        match self.keep_alive {
            KeepAlive::Poll => Duration::from_millis(jitter.u64(200..=500)),
            KeepAlive::Heartbeat => self.keep_alive_interval.mul_f64(0.8 + 0.2 * jitter.f64()),
        }
    }
}

impl Session {
    pub(super) fn keep_alive_answered(
        &mut self,
        version: Version,
        result: Result<Option<Guid>, Arc<upstream::Error>>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let ours = self.holds(now);
        let State::Active(active) = &mut self.state else { return };
        if version.fence != active.version.fence {
            return;
        }
        let (since, sparing) = match active.pulse {
            Pulse::InFlight { since, sparing } => (Some(since), sparing),
            _ => (None, false),
        };
        active.pulse =
            if ours { Pulse::Waiting { at: now + self.rules.gap(&mut self.jitter) } } else { Pulse::Deferred };
        let error = match result {
            Ok(guid) => {
                active.failures = super::backoff(self.jitter.u64(..));
                let due = active.rotates_every.is_some_and(|every| active.issued_at + every + every / 2 <= now);
                let rotated = guid.and_then(|guid| active.rotate(version, guid, &self.rules.tag_key, now));
                active.answered(since, rotated.is_some(), now);
                // Without the store's word a new Guid may be older than what another owner has by now.
                active.doubtful |= !ours && !sparing && rotated.is_some();
                if sparing && !ours && due && rotated.is_none() {
                    // Somebody else takes the new Guids, or one did not arrive.
                    active.suspect(None);
                }
                effects.extend(rotated.map(Effect::Record));
                return;
            }
            Err(error) => error,
        };
        let cause = match &*error {
            upstream::Error::Refused { retcode, .. } => LossCause::of(retcode),
            _ => None,
        };
        match cause {
            // Of another owner's session it says nothing about ours.
            Some(cause) if !ours => active.suspect(Some(cause).filter(|_| version == active.version)),
            Some(cause) if version == active.version => self.lose_unasked(cause, now, effects),
            // Another answer brought a newer Guid meanwhile: the next keep-alive goes with that.
            Some(_) => {}
            None if meaning(&error) == Some(Meaning::WrongKeepAlive) => {
                active.pulse = Pulse::Stopped;
                effects.push(Effect::Record(SessionEvent::WrongKeepAlive));
            }
            None => {
                let at = now + active.failures.next().unwrap_or(RETRY_MAX).min(RETRY_MAX);
                if ours {
                    active.pulse = Pulse::Waiting { at };
                } else {
                    active.spare_after = Some(at);
                }
            }
        }
    }

    pub(super) fn learned(&mut self, version: Version, guid: Guid, now: Instant, effects: &mut Vec<Effect>) {
        let (ours, tag_key) = (self.holds(now), Arc::clone(&self.rules.tag_key));
        if let Some(active) = self.living() {
            let rotated = active.rotate(version, guid, &tag_key, now);
            active.doubtful |= !ours && rotated.is_some();
            effects.extend(rotated.map(Effect::Record));
        }
    }

    pub(super) fn tick_active(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let ours = self.holds(now);
        let State::Active(active) = &mut self.state else { return };
        if active.alive_at + MAXTIME <= now {
            return self.lose_unasked(LossCause::Silent, now, effects);
        }
        if active.kind == Kind::Own && active.idle_since.is_some_and(|since| since + self.rules.idle_sign_out <= now) {
            if ours {
                let within = self.rules.idle_sign_out;
                return self.retire(SignOutCause::Idle, Retire::Idle { within }, effects);
            }
            // Whether somebody else uses it cannot be asked now, and who has taken it over keeps it alive.
            (active.idle_since, active.unused) = (Some(now), true);
        }
        let due = match active.pulse {
            Pulse::Waiting { at } if at <= now && !ours => {
                active.pulse = Pulse::Deferred;
                false
            }
            Pulse::Waiting { at } => at <= now,
            Pulse::Deferred => active.spare_at(&self.rules, self.tenure).is_some_and(|at| at <= now),
            Pulse::InFlight { .. } | Pulse::Stopped => false,
        };
        if due {
            active.pulse = Pulse::InFlight { since: now, sparing: !ours };
            effects.push(Effect::KeepAlive { guid: Arc::clone(&active.guid), version: active.version });
        }
    }

    /// What the end or the renewal of the tenure means for a session that lives.
    pub(super) fn notice_tenure(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let ours = self.holds(now);
        let State::Active(active) = &mut self.state else { return };
        match active.pulse {
            Pulse::InFlight { sparing: false, .. } if !ours => {
                active.pulse = Pulse::Deferred;
                effects.push(Effect::DropKeepAlive);
            }
            Pulse::Deferred if ours => {
                active.pulse = Pulse::Waiting { at: now + self.rules.gap(&mut self.jitter) };
            }
            _ => {}
        }
        if self.claim.is_some_and(|claim| claim.generation != self.tenure.generation) {
            active.dirty = true;
        }
    }
}
