//! The rules a client must keep, and a record of those it broke. Never changes an answer.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

/// So many broken rules are remembered; later ones only make [`Rules::total`] grow.
const REMEMBERED: usize = 10_000;

/// A rule of the vendor (or of any careful client) that requests are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Sign-in was called again before it answered.
    SignInRepeated,
    /// Sign-in was called while a sign-out was unanswered.
    SignInDuringSignOut,
    /// Sign-out was called while a sign-in was unanswered.
    SignOutDuringSignIn,
    /// Sign-out was called again before it answered.
    SignOutRepeated,
    /// A second sign-in while a session lives that the client itself opened.
    SecondSignIn,
    /// A forcible sign-in, where the site forbids it.
    Forced,
    /// A sign-in after `100-004` that nobody allowed.
    PasswordRetried,
    /// Signed in as idle: the agent is given calls.
    SignedInIdle,
    /// Signed in with `autoenteridle` not false.
    AutoEnterIdle,
    /// Signed in with `checkInWebm` not false.
    CheckInWebm,
    /// A field in the sign-in body that the vendor does not name.
    UnknownSignInField,
    /// The callback was given on a polling site, or not given on a push site.
    CallbackMode,
    /// A Guid that is dead by a rule that the client knows.
    DeadGuid,
    /// A Guid that was never given out.
    UnknownGuid,
    /// A Guid of another agent than the path's.
    ForeignGuid,
    /// No Guid where one is needed.
    MissingGuid,
    /// A Guid sent on sign-in.
    GuidOnSignIn,
    /// A poll sooner than 200 ms after the answer to the previous one.
    PollTooFast,
    /// Two polls of one agent at once.
    PollsOverlap,
    /// A poll on a push site or a heartbeat on a polling site.
    WrongEventMode,
    /// A header that has no business at the gateway.
    ForbiddenHeader,
    /// A header sent twice.
    RepeatedHeader,
    /// `Content-Type` missing or not `application/json; charset=UTF-8`.
    ContentType,
    /// A query parameter sent twice, in any case of letters.
    RepeatedParameter,
    /// A query parameter that the call does not know.
    UnknownParameter,
    /// A target that is not in its one canonical form.
    NotCanonical,
    /// Another version than HTTP/1.1.
    HttpVersion,
    /// A body on `GET`.
    BodyOnGet,
    /// A request that cannot be parsed.
    Malformed,
    /// A path or method that the vendor does not name.
    UnknownCall,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SignInRepeated => "sign-in must not be called again before it has answered",
            Self::SignInDuringSignOut => "sign-in must not be called while a sign-out is unanswered",
            Self::SignOutDuringSignIn => "sign-out must not be called while a sign-in is unanswered",
            Self::SignOutRepeated => "sign-out must not be called again before it has answered",
            Self::SecondSignIn => "an agent whose session lives must not be signed in again",
            Self::Forced => "nobody must be thrown out by a forcible sign-in",
            Self::PasswordRetried => "after a wrong password no further sign-in must be tried",
            Self::SignedInIdle => "a client that only downloads must not sign in as idle",
            Self::AutoEnterIdle => "a client that only downloads must sign in with autoenteridle false",
            Self::CheckInWebm => "a client that only downloads must sign in with checkInWebm false",
            Self::UnknownSignInField => "the sign-in body must hold no field that the vendor does not name",
            Self::CallbackMode => "a callback must be given in push mode and only there",
            Self::DeadGuid => "a Guid must not be used after its end",
            Self::UnknownGuid => "a Guid that was never given out must not be used",
            Self::ForeignGuid => "a Guid must only be used for its own agent",
            Self::MissingGuid => "every call but sign-in must carry a Guid",
            Self::GuidOnSignIn => "a sign-in must not carry a Guid",
            Self::PollTooFast => "polls must be 200 ms apart",
            Self::PollsOverlap => "an agent must not have two polls at once",
            Self::WrongEventMode => "polls belong to the polling mode and heartbeats to the push mode",
            Self::ForbiddenHeader => "only the headers that the gateway needs must reach it",
            Self::RepeatedHeader => "a header must not be sent twice",
            Self::ContentType => "every call must say Content-Type: application/json; charset=UTF-8",
            Self::RepeatedParameter => "a query parameter must not be repeated",
            Self::UnknownParameter => "a call must not carry a parameter that it does not know",
            Self::NotCanonical => "a target must be canonical",
            Self::HttpVersion => "requests must be HTTP/1.1",
            Self::BodyOnGet => "GET must not carry a body",
            Self::Malformed => "requests must be well formed",
            Self::UnknownCall => "only calls that the vendor names must be made",
        })
    }
}

/// One rule broken once.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BrokenRule {
    /// Which.
    pub rule: Rule,
    /// By a request for this agent, where the request names one.
    pub agent: Option<u32>,
    /// What was seen; never a Guid or password.
    pub detail: String,
}

impl fmt::Display for BrokenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.agent {
            Some(agent) => write!(f, "{} (agent {agent}: {})", self.rule, self.detail),
            None => write!(f, "{} ({})", self.rule, self.detail),
        }
    }
}

/// The record: at most 10,000 entries.
#[derive(Default)]
pub(super) struct Rules(Mutex<Record>);

#[derive(Default)]
struct Record {
    broken: Vec<BrokenRule>,
    total: u64,
}

impl Rules {
    pub(super) fn broke(&self, rule: Rule, agent: Option<u32>, detail: impl Into<String>) {
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        record.total += 1;
        if record.broken.len() < REMEMBERED {
            record.broken.push(BrokenRule { rule, agent, detail: detail.into() });
        }
    }

    pub(super) fn list(&self) -> Vec<BrokenRule> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).broken.clone()
    }

    pub(super) fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Record::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_bounded_and_says_sentences() {
        let rules = Rules::default();
        for _ in 0..=REMEMBERED {
            rules.broke(Rule::PollTooFast, Some(101), "after 3 ms");
        }
        let list = rules.list();
        assert_eq!(list.len(), REMEMBERED);
        assert_eq!(rules.total(), 10_001);
        assert_eq!(list[0].to_string(), "polls must be 200 ms apart (agent 101: after 3 ms)");
        rules.clear();
        assert!(rules.list().is_empty());
    }
}
