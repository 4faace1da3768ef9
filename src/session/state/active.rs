//! A session that lives: its keep-alive, its rotations and its idling. It never signs in.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Effect, MAXTIME, Rules, Session, State, Version, meaning, upstream};
use crate::cc::{Guid, GuidTagKey, Meaning, SignInForm};
use crate::session::KeepAlive;
use crate::session::journal::{LossCause, SessionEvent, SignOutCause};

/// Longest time between two tries while keep-alives fail. Twenty of them fit into `MAXTIME`.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A signed-in agent.
#[derive(Debug)]
pub(in crate::session) struct Active {
    pub(super) guid: Arc<Guid>,
    pub(super) version: Version,
    pub(super) form: SignInForm,
    /// When the gateway last answered that the session lives.
    pub(super) alive_at: Instant,
    /// Since when nobody uses it; `None`: somebody does.
    pub(super) idle_since: Option<Instant>,
    /// The fresh session after a `000-003`: for as long as it lives another one is about the right, not about the
    /// session. A fresh one each time would help nobody and cut the downloads that run. That the session has died all
    /// the same, its keep-alive finds out.
    pub(super) decides: bool,
    pub(super) right_missing_told: bool,
    pub(super) pulse: Pulse,
    pub(super) failures: backon::ExponentialBackoff,
}

/// The keep-alive: one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulse {
    Waiting {
        at: Instant,
    },
    InFlight,
    /// The gateway says that we ask in the wrong way; asking on would be noise.
    Stopped,
}

impl Active {
    /// The current version.
    pub(in crate::session) fn version(&self) -> Version {
        self.version
    }

    /// Hands the session out, so it is no longer idle.
    pub(super) fn grant(&mut self) -> Effect {
        self.idle_since = None;
        Effect::Grant { guid: Arc::clone(&self.guid), version: self.version }
    }

    /// Hands the session back to whoever rejected it: another one would be refused too.
    pub(super) fn right_is_missing(&mut self, effects: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.right_missing_told, true) {
            effects.push(Effect::Record(SessionEvent::RightMissing { form: self.form }));
        }
        effects.push(self.grant());
    }

    pub(super) fn is_decided(&self, cause: LossCause) -> bool {
        self.decides && cause == LossCause::Refused
    }

    pub(super) fn wake_at(&self, idle_sign_out: Duration) -> Instant {
        let silent = self.alive_at + MAXTIME;
        let idle = self.idle_since.map(|since| since + idle_sign_out);
        let pulse = match self.pulse {
            Pulse::Waiting { at } => Some(at),
            Pulse::InFlight | Pulse::Stopped => None,
        };
        [idle, pulse].into_iter().flatten().fold(silent, Instant::min)
    }

    /// Takes a Guid that came with the answer to a request sent with `version`.
    ///
    /// Only the answer to a request that carried the current Guid tells its successor: of two answers to requests with
    /// the same Guid, the one that comes late may bring the older successor.
    fn rotate(&mut self, version: Version, guid: Guid, tag_key: &GuidTagKey) -> Option<SessionEvent> {
        if version != self.version || guid.same_as(&self.guid) {
            return None;
        }
        let tag = tag_key.tag(&guid);
        self.guid = Arc::new(guid);
        self.version.rotation += 1;
        Some(SessionEvent::Rotated { count: self.version.rotation, guid: tag })
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
        let State::Active(active) = &mut self.state else { return };
        if version.fence != active.version.fence {
            return;
        }
        active.pulse = Pulse::Waiting { at: now + self.rules.gap(&mut self.jitter) };
        let error = match result {
            Ok(guid) => {
                active.alive_at = now;
                active.failures = super::backoff(self.jitter.u64(..));
                let rotated = guid.and_then(|guid| active.rotate(version, guid, &self.rules.tag_key));
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
            Some(cause) if version == active.version => self.lose(cause, now, effects),
            // Another answer brought a newer Guid meanwhile: the next keep-alive goes with that.
            Some(_) => {}
            None if meaning(&error) == Some(Meaning::WrongKeepAlive) => {
                active.pulse = Pulse::Stopped;
                effects.push(Effect::Record(SessionEvent::WrongKeepAlive));
            }
            None => {
                let delay = active.failures.next().unwrap_or(RETRY_MAX).min(RETRY_MAX);
                active.pulse = Pulse::Waiting { at: now + delay };
            }
        }
    }

    pub(super) fn learned(&mut self, version: Version, guid: Guid, effects: &mut Vec<Effect>) {
        if let State::Active(active) = &mut self.state {
            effects.extend(active.rotate(version, guid, &self.rules.tag_key).map(Effect::Record));
        }
    }

    pub(super) fn released(&mut self, now: Instant) {
        if let State::Active(active) = &mut self.state {
            active.idle_since = Some(now);
        }
    }

    pub(super) fn tick_active(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let State::Active(active) = &mut self.state else { return };
        if active.alive_at + MAXTIME <= now {
            return self.lose(LossCause::Silent, now, effects);
        }
        if active.idle_since.is_some_and(|since| since + self.rules.idle_sign_out <= now) {
            let guid = Arc::clone(&active.guid);
            return self.leave(guid, SignOutCause::Idle, effects);
        }
        if matches!(active.pulse, Pulse::Waiting { at } if at <= now) {
            active.pulse = Pulse::InFlight;
            effects.push(Effect::KeepAlive { guid: Arc::clone(&active.guid), version: active.version });
        }
    }
}
