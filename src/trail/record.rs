//! A record, as far as questions are asked of it. It borrows from the line and never says what the line does not.

use std::borrow::Cow;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// A text of a record, borrowed where the line has it as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A record of any kind. What a kind does not have is `None`; fields that are not named here are left alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Record<'a> {
    /// The sequence number.
    pub seq: u64,
    /// When it was made, UTC, as the record writes it.
    #[serde(borrow, default)]
    pub ts: Text<'a>,
    /// What is recorded.
    #[serde(borrow, default)]
    pub event: Text<'a>,
    /// The download that it belongs to.
    #[serde(borrow, default)]
    pub entry: Option<Text<'a>>,
    /// Who asked.
    #[serde(borrow, default)]
    pub who: Option<Who<'a>>,
    /// What was asked for.
    #[serde(borrow, default)]
    pub what: Option<What<'a>>,
    /// The reason that was given.
    #[serde(borrow, default)]
    pub why: Option<Why<'a>>,
    /// What the rules said.
    #[serde(borrow, default)]
    pub decision: Option<Decision<'a>>,
    /// In whose session.
    #[serde(borrow, default)]
    pub session: Option<Session<'a>>,
    /// Why it was refused, as the problem's `code`.
    #[serde(borrow, default)]
    pub code: Option<Text<'a>>,
    /// Which limit was reached, or nearly.
    #[serde(borrow, default)]
    pub limit: Option<Text<'a>>,
    /// The gateway's result code.
    #[serde(borrow, default)]
    pub retcode: Option<Text<'a>>,
    /// Refusals before this one that have no record.
    #[serde(default)]
    pub left_out: u64,
    /// Who asked, in an end.
    #[serde(borrow, default)]
    pub issuer: Option<Text<'a>>,
    /// Who asked, in an end.
    #[serde(borrow, default)]
    pub subject: Option<Text<'a>>,
    /// In whose session, in an end; whose session, in a record of a session.
    #[serde(borrow, default)]
    pub agent: Option<Text<'a>>,
    /// The recording, in an end.
    #[serde(borrow, default)]
    pub reference: Option<Text<'a>>,
    /// Why it ended so, or what the record's maker says.
    #[serde(borrow, default)]
    pub reason: Option<Text<'a>>,
    /// A word on the circumstances.
    #[serde(borrow, default)]
    pub detail: Option<Text<'a>>,
    /// What was handed over, in an end.
    #[serde(borrow, default)]
    pub delivery: Option<Delivery<'a>>,
    /// The command, in a record of reading.
    #[serde(borrow, default)]
    pub command: Option<Text<'a>>,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Who<'a> {
    /// The token's issuer.
    #[serde(borrow)]
    pub issuer: Text<'a>,
    /// The token's subject, or a pseudonym of it.
    #[serde(borrow)]
    pub subject: Text<'a>,
    /// The agent that the token names.
    #[serde(borrow, default)]
    pub agent: Option<Text<'a>>,
    /// The token's roles.
    #[serde(borrow, default)]
    pub roles: Vec<Text<'a>>,
    /// The token's teams.
    #[serde(borrow, default)]
    pub teams: Vec<Text<'a>>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct What<'a> {
    /// The call of the gateway.
    #[serde(borrow, default)]
    pub operation: Text<'a>,
    /// Audio, video or chat.
    #[serde(borrow, default)]
    pub kind: Option<Text<'a>>,
    /// In whose session it was asked for.
    #[serde(borrow, default)]
    pub agent: Option<Text<'a>>,
    /// The recording, or a pseudonym of it. A call about a seat has none.
    #[serde(borrow, default)]
    pub reference: Option<Text<'a>>,
    /// The call.
    #[serde(borrow, default)]
    pub call_id: Option<Text<'a>>,
    /// Whose recording it is: an agent, `nobody` or `unknown`.
    #[serde(borrow, default)]
    pub owner: Option<Text<'a>>,
}

/// The reason that was given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Why<'a> {
    /// The purpose.
    #[serde(borrow, default)]
    pub purpose: Option<Text<'a>>,
    /// The case.
    #[serde(borrow, default)]
    pub ticket: Option<Text<'a>>,
}

/// What the rules said.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Decision<'a> {
    /// The rule that decided.
    #[serde(borrow, default)]
    pub rule: Option<Text<'a>>,
}

/// In whose session.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Session<'a> {
    /// The agent who is signed in.
    #[serde(borrow)]
    pub agent: Text<'a>,
}

/// What was handed over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Delivery<'a> {
    /// A recording, an error, or nothing.
    #[serde(borrow, default)]
    pub class: Text<'a>,
    /// Bytes handed to the client.
    #[serde(default)]
    pub client_bytes: u64,
    /// Whether the client took all of it.
    #[serde(default)]
    pub complete: bool,
}

/// What a record is to a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A download was allowed and begins.
    Begin,
    /// It ended.
    End,
    /// A request was refused.
    Refusal,
    /// It is of no download.
    Other,
}

impl Role {
    /// What records with this event are.
    pub fn of(event: &str) -> Self {
        match event {
            "authorized" => Self::Begin,
            "finished" | "aborted" | "failed" | "unknown" => Self::End,
            "denied" => Self::Refusal,
            _ => Self::Other,
        }
    }
}

impl<'a> Record<'a> {
    /// Who asked: issuer and subject.
    pub fn person(&self) -> Option<(&str, &str)> {
        match (&self.who, &self.issuer, &self.subject) {
            (Some(who), _, _) => Some((&who.issuer, &who.subject)),
            (None, Some(issuer), Some(subject)) => Some((issuer, subject)),
            _ => None,
        }
    }

    /// The recording.
    pub fn recording(&self) -> Option<&str> {
        self.what.as_ref().and_then(|what| what.reference.as_deref()).or(self.reference.as_deref())
    }

    /// The agents that it names beside the recording's owner: the caller's own, and the one whose session it is.
    pub fn agents(&self) -> impl Iterator<Item = &Text<'a>> {
        let claim = self.who.as_ref().and_then(|who| who.agent.as_ref());
        let asked = self.what.as_ref().and_then(|what| what.agent.as_ref());
        let session = self.session.as_ref().map(|session| &session.agent);
        [claim, asked, session, self.agent.as_ref()].into_iter().flatten()
    }
}

/// What stands at the front of every line that this program writes: enough to pass over most lines of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Front<'a> {
    pub(super) seq: u64,
    pub(super) ts: &'a str,
    pub(super) event: &'a str,
    pub(super) entry: Option<u128>,
}

/// Characters of `ts`: `2026-11-22T12:00:00.000000Z`.
const TS_CHARS: usize = 27;

/// Reads the front of a line that begins exactly as [`Front`] is written and ends like an object. `None` says nothing of the
/// line but that it has to be read whole.
pub(super) fn front(line: &[u8]) -> Option<Front<'_>> {
    let rest = line.strip_suffix(b"}")?.strip_prefix(br#"{"v":1,"seq":"#)?;
    let digits = rest.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let (seq, rest) = rest.split_at_checked(digits)?;
    let (ts, rest) = rest.strip_prefix(br#","ts":""#)?.split_at_checked(TS_CHARS)?;
    let (salt, rest) = rest.strip_prefix(br#"","salt":""#)?.split_at_checked(32)?;
    let rest = rest.strip_prefix(br#"","event":""#)?;
    let word = |byte: &u8| matches!(byte, b'a'..=b'z' | b'_' | b'.');
    let (event, rest) = rest.split_at_checked(rest.iter().take(64).take_while(|byte| word(byte)).count())?;
    let rest = rest.strip_prefix(b"\"")?;
    let time = ts.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'T' | b'Z' | b':' | b'.' | b'-'));
    let fits = time && !event.is_empty() && seq.first() != Some(&b'0') && salt.iter().all(u8::is_ascii_hexdigit);
    let entry = rest.strip_prefix(br#","entry":""#).map(|rest| entry_key(std::str::from_utf8(rest.get(..32)?).ok()?));
    // An entry that is there has to be one.
    let entry = match entry {
        Some(entry) => Some(entry?),
        None => None,
    };
    let seq = std::str::from_utf8(seq).ok()?.parse().ok()?;
    let (ts, event) = (std::str::from_utf8(ts).ok()?, std::str::from_utf8(event).ok()?);
    fits.then_some(Front { seq, ts, event, entry })
}

/// An entry's id as a number: 32 hex digits.
pub fn entry_key(text: &str) -> Option<u128> {
    let fits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}
