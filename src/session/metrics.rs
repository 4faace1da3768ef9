//! What sessions count. Label values come from the enums of this file; none names an agent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::upstream;
use crate::cc::{AgentId, Meaning, Retcode};

/// The counters and gauges of all sessions of a process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    sessions: IntGaugeVec,
    sign_ins: IntCounterVec,
    keep_alives: IntCounterVec,
    rotations: IntCounter,
    /// A vector without labels: it shows nothing before an expiry is known, where a plain gauge would show 1970.
    password_expiry: GaugeVec,
    /// Bounded by `agents_max`: an agent stands here no longer than its actor lives.
    expiries: Arc<Mutex<BTreeMap<AgentId, Timestamp>>>,
}

/// What an agent's actor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Absent,
    SigningIn,
    Active,
    Borrowed,
    Leaving,
    Cooling,
    Barred,
}

impl Phase {
    const ALL: [Self; 7] =
        [Self::Absent, Self::SigningIn, Self::Active, Self::Borrowed, Self::Leaving, Self::Cooling, Self::Barred];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::SigningIn => "signing_in",
            Self::Active => "active",
            Self::Borrowed => "borrowed",
            Self::Leaving => "leaving",
            Self::Cooling => "cooling",
            Self::Barred => "barred",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    SessionLost,
    AgentBusy,
    WrongPassword,
    WrongAccount,
    WrongKeepAlive,
    TryLater,
    Refused,
    Unreachable,
    Untrusted,
    Timeout,
    Protocol,
    /// Not made: the gateway is left alone for a while.
    Resting,
}

impl Outcome {
    pub(super) fn of(error: &upstream::Error) -> Self {
        match error {
            upstream::Error::Unreachable { .. } | upstream::Error::Closed { .. } => Self::Unreachable,
            upstream::Error::Untrusted { .. } => Self::Untrusted,
            upstream::Error::Timeout => Self::Timeout,
            upstream::Error::Resting { .. } => Self::Resting,
            upstream::Error::Truncated { .. } | upstream::Error::Protocol(_) | upstream::Error::Status(_) => {
                Self::Protocol
            }
            upstream::Error::Refused { retcode, .. } => match Self::of_retcode(retcode) {
                Self::Ok => Self::Refused,
                other => other,
            },
        }
    }

    pub(super) fn of_retcode(retcode: &Retcode) -> Self {
        match retcode.meaning() {
            Meaning::Success => Self::Ok,
            Meaning::SessionLost | Meaning::SessionOrRight => Self::SessionLost,
            Meaning::AgentBusy => Self::AgentBusy,
            Meaning::WrongPassword => Self::WrongPassword,
            Meaning::WrongAccount => Self::WrongAccount,
            Meaning::WrongKeepAlive => Self::WrongKeepAlive,
            Meaning::TryLater => Self::TryLater,
            Meaning::Forbidden | Meaning::NotFound | Meaning::BadRequest | Meaning::Other => Self::Refused,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::SessionLost => "session_lost",
            Self::AgentBusy => "agent_busy",
            Self::WrongPassword => "wrong_password",
            Self::WrongAccount => "wrong_account",
            Self::WrongKeepAlive => "wrong_keep_alive",
            Self::TryLater => "try_later",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Untrusted => "untrusted",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Resting => "resting",
        }
    }
}

impl Metrics {
    /// Makes the metrics and adds them to a registry.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            sessions: IntGaugeVec::new(
                Opts::new("ccgate_sessions", "Agents by the state of their session."),
                &["state"],
            )?,
            sign_ins: IntCounterVec::new(
                Opts::new("ccgate_session_sign_ins_total", "Sign-ins that were answered or given up, by outcome."),
                &["outcome"],
            )?,
            keep_alives: IntCounterVec::new(
                Opts::new("ccgate_session_keep_alives_total", "Polls and heartbeats, by outcome."),
                &["outcome"],
            )?,
            rotations: IntCounter::new("ccgate_session_guid_rotations_total", "Guids that replaced an older one.")?,
            password_expiry: GaugeVec::new(
                Opts::new(
                    "ccgate_account_password_expiry_timestamp_seconds",
                    "When the first password of an account expires, as far as sign-ins have told.",
                ),
                &[],
            )?,
            expiries: Arc::default(),
        };
        registry.register(Box::new(metrics.sessions.clone()))?;
        registry.register(Box::new(metrics.sign_ins.clone()))?;
        registry.register(Box::new(metrics.keep_alives.clone()))?;
        registry.register(Box::new(metrics.rotations.clone()))?;
        registry.register(Box::new(metrics.password_expiry.clone()))?;
        // Series that exist from the start can be alerted on before the first event.
        for phase in Phase::ALL {
            metrics.sessions(phase).set(0);
        }
        metrics.sign_ins.with_label_values(&[Outcome::Ok.label()]).inc_by(0);
        metrics.keep_alives.with_label_values(&[Outcome::Ok.label()]).inc_by(0);
        Ok(metrics)
    }

    pub(super) fn sessions(&self, phase: Phase) -> IntGauge {
        self.sessions.with_label_values(&[phase.label()])
    }

    pub(super) fn signed_in(&self, outcome: Outcome) {
        self.sign_ins.with_label_values(&[outcome.label()]).inc();
    }

    pub(super) fn kept_alive(&self, outcome: Outcome) {
        self.keep_alives.with_label_values(&[outcome.label()]).inc();
    }

    pub(super) fn rotated(&self) {
        self.rotations.inc();
    }

    /// When an agent's password expires, where that is known.
    pub(super) fn password_expiry_of(&self, agent: AgentId) -> Option<Timestamp> {
        self.expiries.lock().unwrap_or_else(PoisonError::into_inner).get(&agent).copied()
    }

    /// Takes down when an agent's password expires; `None`: never, or the account is gone.
    pub(super) fn password_expires(&self, agent: AgentId, at: Option<Timestamp>) {
        // A panic while the lock is held leaves the map whole: each change is one insert or remove.
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        match at {
            Some(at) => expiries.insert(agent, at),
            None => expiries.remove(&agent),
        };
        let none: [&str; 0] = [];
        match expiries.values().min() {
            #[allow(clippy::cast_precision_loss, reason = "seconds since the epoch are far below 2^52")]
            Some(first) => self.password_expiry.with_label_values(&none).set(first.as_second() as f64),
            // Fails only where there is no such series, which is what is wanted.
            None => drop(self.password_expiry.remove_label_values(&none)),
        }
    }
}
