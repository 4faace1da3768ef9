//! What one policy remembers of one person: how the engine sees it, and the last few things that were permitted.
//!
//! It remembers a permit only, and only of a question of which every fact that any rule looks at is compared. A refusal is
//! never remembered.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cedar_policy::{Entities, EntityUid};
use jiff::Timestamp;
use jiff::civil::Date;

use super::authorized::RuleId;
use super::facts::Facts;
use super::reads::{Reads, Word};
use crate::cc::{AgentId, Kind, Operation, Owner};

/// Most permits that are remembered of a person: the latest. With [`TEXT_MAX`] at most 4 KiB for each person.
pub(super) const PERMITTED_MAX: usize = 8;

/// Longest texts of a question that is remembered, all together, in bytes.
const TEXT_MAX: usize = 256;

/// A person, as a policy knows it. It holds nothing of the policy but its hash, which outlives a reload for as long as the
/// person is not asked about again.
#[derive(Debug)]
pub(super) struct Known {
    /// The very text that the policy holds: its place in memory names the policy.
    policy: Arc<str>,
    pub(super) principal: Principal,
    /// Replaced as a whole, so that nobody waits. Of two that add at once one may be lost, which costs a decision.
    permitted: ArcSwap<Vec<Arc<Permitted>>>,
}

/// The caller as the engine takes it.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    pub(super) uid: EntityUid,
    /// Just the caller.
    pub(super) entities: Entities,
}

#[derive(Debug)]
struct Permitted {
    asked: Asked<'static>,
    by: RuleId,
}

/// A question of one person to one policy: two that are equal get one answer. So it holds each fact that is not the person's
/// own and that a rule looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    kind: Kind,
    operation: Operation,
    /// With the session's agent and the person's own it names the teams that count, which are the policy's.
    owner: Owner,
    session_agent: AgentId,
    vdn: Option<u32>,
    call_id: Given<'a>,
    purpose: Given<'a>,
    ticket: Given<'a>,
    // `None` too where no rule looks at it: that is so for all questions to a policy, or for none.
    reference: Option<Cow<'a, str>>,
    recorded_on: Option<Date>,
    age_days: Option<i64>,
    peer: Option<IpAddr>,
}

/// A text that may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Given<'a> {
    Missing,
    /// It is given, and no rule asks what it is.
    Something,
    Text(Cow<'a, str>),
}

impl Known {
    pub(super) fn new(policy: &Arc<str>, principal: Principal) -> Self {
        Self { policy: Arc::clone(policy), principal, permitted: ArcSwap::default() }
    }

    /// Whether the policy with this hash made it. Another one of the same text is another one.
    pub(super) fn is_of(&self, policy: &Arc<str>) -> bool {
        Arc::ptr_eq(&self.policy, policy)
    }

    /// The rule that permitted the same before.
    pub(super) fn permitted(&self, asked: &Asked<'_>) -> Option<RuleId> {
        let permitted = self.permitted.load();
        permitted.iter().find(|before| before.asked == *asked).map(|before| before.by.clone())
    }

    /// Remembers a permit, in the place of the oldest where there are enough.
    pub(super) fn remember(&self, asked: Asked<'_>, by: &RuleId) {
        if asked.text() > TEXT_MAX {
            return;
        }
        let added = Arc::new(Permitted { asked: asked.into_owned(), by: by.clone() });
        let before = self.permitted.load();
        let kept = before.iter().filter(|before| before.asked != added.asked).take(PERMITTED_MAX - 1).cloned();
        let permitted = std::iter::once(Arc::clone(&added)).chain(kept).collect();
        self.permitted.store(Arc::new(permitted));
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.permitted.load().len()
    }
}

impl<'a> Asked<'a> {
    /// The question that facts are; `None` where the answer depends on the time itself and won't hold for the next one.
    pub(super) fn of(facts: &'a Facts<'_>, reads: Reads) -> Option<Self> {
        let (what, when) = (&facts.what, &facts.when);
        if reads.has(Word::Now) || !is_plain(when.now) {
            return None;
        }
        let given = |text: Option<&'a str>, word| match text {
            None => Given::Missing,
            Some(_) if !reads.has(word) => Given::Something,
            Some(text) => Given::Text(Cow::Borrowed(text)),
        };
        Some(Self {
            kind: what.kind,
            operation: what.operation,
            owner: what.owner,
            session_agent: what.session_agent,
            vdn: what.vdn,
            call_id: given(what.call_id, Word::CallId),
            purpose: given(when.purpose, Word::Purpose),
            ticket: given(when.ticket, Word::Ticket),
            reference: reads.has(Word::Reference).then(|| Cow::Owned(what.reference())),
            recorded_on: what.recorded_on.filter(|_| reads.has(Word::RecordedOn)),
            age_days: reads.has(Word::AgeDays).then(|| what.age_days(when.now)).flatten(),
            peer: reads.has(Word::Peer).then_some(when.peer),
        })
    }

    fn text(&self) -> usize {
        let given = |given: &Given<'_>| if let Given::Text(text) = given { text.len() } else { 0 };
        let reference = self.reference.as_ref().map_or(0, |text| text.len());
        given(&self.call_id) + given(&self.purpose) + given(&self.ticket) + reference
    }

    fn into_owned(self) -> Asked<'static> {
        let owned = |text: Cow<'a, str>| Cow::<'static, str>::Owned(text.into_owned());
        let given = |given: Given<'a>| match given {
            Given::Missing => Given::Missing,
            Given::Something => Given::Something,
            Given::Text(text) => Given::Text(owned(text)),
        };
        Asked {
            call_id: given(self.call_id),
            purpose: given(self.purpose),
            ticket: given(self.ticket),
            reference: self.reference.map(owned),
            ..self
        }
    }
}

/// Whether the engine surely takes a time. It refuses years before 0, and then all is refused, whether a rule asks or not.
pub(super) fn is_plain(now: Timestamp) -> bool {
    now >= Timestamp::UNIX_EPOCH
}
