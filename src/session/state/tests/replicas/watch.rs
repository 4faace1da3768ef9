//! What must never happen, whatever goes wrong, and what is allowed because nobody could have avoided it.

use std::collections::{BTreeMap, BTreeSet};

use super::model_gateway::{Number, Token};
use super::model_store::Id;
use super::wires::Asked;
use super::world::SECOND;

/// The manual's longest time for anything: a session that nobody knows of stands in the way for so long.
pub(super) const MAXTIME_MICROS: u64 = 120 * SECOND;
/// As long as one sign-in may take at the gateway before whoever made it is refused another.
/// The record tells since when the agent is owned, which is a little longer.
pub(super) const SIGN_IN_BOUND: u64 = 29 * SECOND;

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) lease: u64,
    pub(super) broken: Option<(&'static str, String)>,
    /// What made this step lose something, where that was no step of the machine.
    pub(super) excuse: Option<&'static str>,
    /// Guids that are on their way to somebody.
    pub(super) in_flight: BTreeMap<Token, Number>,
    pub(super) dropped: BTreeSet<Token>,
    /// Sign-outs of sessions that only their former owner knew.
    pub(super) superseded: BTreeSet<Token>,
    pub(super) last_keep_alive: BTreeMap<(Id, u64), u64>,
    /// Sign-ins that waited for their turn at the gate.
    pub(super) waited_for_turn: BTreeSet<Token>,
    pub(super) calls: BTreeMap<Token, (Id, u64, Asked)>,
    /// The newest ownership, by fence, whose and since when.
    pub(super) newest: Option<(u64, Id, u64)>,
    /// Sessions that nobody knows of any more, and why.
    pub(super) orphans: BTreeMap<u64, &'static str>,
    pub(super) seen: BTreeMap<Id, u64>,
    /// Sessions that ended: how many faults there were until then, and how often each was resumed since.
    pub(super) ended: BTreeMap<u64, (u64, u64)>,
    pub(super) born: BTreeMap<u64, u64>,
    /// Sessions of which the store knows an older Guid only, and why.
    pub(super) told: BTreeSet<u64>,
    /// Sessions of which a new owner has found a Guid that was replaced twice.
    pub(super) outdated: BTreeSet<u64>,
    /// Sessions of which a new Guid did not come to its owner in time.
    pub(super) missed: BTreeSet<u64>,
    pub(super) half_known: BTreeMap<u64, &'static str>,
    pub(super) sign_ins: u32,
    pub(super) tries: u32,
    pub(super) losses: u32,
    pub(super) right_missing_until: u64,
    pub(super) last_fault: u64,
    pub(super) fault_before: u64,
    pub(super) faults: u64,
    pub(super) data_lost_at: Option<u64>,
    pub(super) old_data: bool,
    pub(super) clock_stepped_at: Option<u64>,
    pub(super) set_back: bool,
    pub(super) heals_by: Option<u64>,
    pub(super) refusals: BTreeMap<&'static str, u32>,
    /// How often something was allowed, by what.
    pub(super) allowed: BTreeMap<&'static str, u32>,
    pub(super) took_over: Vec<u64>,
}

impl Watch {
    pub(super) fn new(lease: u64) -> Self {
        Self {
            lease,
            broken: None,
            excuse: None,
            in_flight: BTreeMap::new(),
            dropped: BTreeSet::new(),
            superseded: BTreeSet::new(),
            last_keep_alive: BTreeMap::new(),
            waited_for_turn: BTreeSet::new(),
            calls: BTreeMap::new(),
            newest: None,
            orphans: BTreeMap::new(),
            seen: BTreeMap::new(),
            ended: BTreeMap::new(),
            born: BTreeMap::new(),
            told: BTreeSet::new(),
            outdated: BTreeSet::new(),
            missed: BTreeSet::new(),
            half_known: BTreeMap::new(),
            sign_ins: 0,
            tries: 0,
            losses: 0,
            right_missing_until: 0,
            last_fault: 0,
            fault_before: 0,
            faults: 0,
            data_lost_at: None,
            old_data: false,
            clock_stepped_at: None,
            set_back: false,
            heals_by: None,
            refusals: BTreeMap::new(),
            allowed: BTreeMap::new(),
            took_over: Vec::new(),
        }
    }

    pub(super) fn on_its_way(&mut self, token: Token, guid: Number) {
        self.in_flight.insert(token, guid);
    }

    pub(super) fn arrived(&mut self, token: Token) {
        self.in_flight.remove(&token);
    }

    pub(super) fn asked(&mut self, token: Token, from: Id, at: u64, asked: Asked) {
        if !matches!(asked, Asked::Drop) {
            self.calls.insert(token, (from, at, asked));
        }
    }

    /// Whether its connection was closed before it arrived.
    pub(super) fn is_dropped(&mut self, token: Token, asked: Asked) -> bool {
        if matches!(asked, Asked::Drop) {
            self.dropped.insert(token);
            return false;
        }
        self.dropped.contains(&token)
    }

    pub(super) fn sent(&self, token: Token) -> u64 {
        self.calls.get(&token).map_or(0, |(_, at, _)| *at)
    }

    pub(super) fn refused(&mut self, code: &'static str) {
        *self.refusals.entry(code).or_default() += 1;
    }

    pub(super) fn fault_at(&mut self, now: u64) {
        self.fault_before = self.last_fault;
        (self.last_fault, self.faults) = (now, self.faults + 1);
    }

    pub(super) fn data_lost(&mut self, now: u64, old: bool) {
        self.data_lost_at = Some(now);
        self.old_data |= old;
    }

    pub(super) fn clock_stepped(&mut self, now: u64, seconds: i64) {
        self.clock_stepped_at = Some(now);
        self.set_back |= seconds < 0;
    }

    pub(super) fn heals_by(&mut self, at: u64) {
        self.heals_by = Some(at);
    }

    pub(super) fn allow(&mut self, what: &'static str) {
        *self.allowed.entry(what).or_default() += 1;
    }

    /// The store has forgotten the newest ownership, so that nobody could be told of it.
    pub(super) fn forgot_newest(&self) -> bool {
        self.newest.is_some_and(|(_, _, since)| self.data_lost_at.is_some_and(|lost| lost >= since))
    }
}
