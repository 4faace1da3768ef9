//! Judges the claims of a genuine token and makes the caller's facts of them. It never repairs a claim: no trimming, no
//! change of case, no guess at a type.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::bearer::sha256;
use super::caller::{Inspects, OfToken};
use super::person::Identity;
use super::token::Registered;
use super::{ClaimFault, Claims, Error, JsonPointer};
use crate::cc::AgentId;

/// Longest subject and client id, in characters.
const IDENTITY_CHARS_MAX: usize = 256;
/// Most entries of roles and of teams.
const NAMES_MAX: usize = 256;
/// Longest role and team, in characters.
const NAME_CHARS_MAX: usize = 128;
/// Longest purpose and ticket, in characters.
const REASON_CHARS_MAX: usize = 200;

/// From when to when a token holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifetime {
    expires: Timestamp,
    not_before: Option<Timestamp>,
    issued: Option<Timestamp>,
}

/// How strictly time is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerance {
    leeway: SignedDuration,
    lifetime_max: SignedDuration,
}

impl Tolerance {
    /// Durations beyond what can be represented become the longest one.
    pub(super) fn new(leeway: Duration, lifetime_max: Duration) -> Self {
        let signed = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        Self { leeway: signed(leeway), lifetime_max: signed(lifetime_max) }
    }
}

impl Lifetime {
    pub(super) fn of(claims: &Registered) -> Self {
        Self { expires: claims.expires, not_before: claims.not_before, issued: claims.issued }
    }

    /// Whether the token holds now (RFC 7519 sections 4.1.4 to 4.1.6) and is not longer than accepted.
    pub(super) fn check(&self, now: Timestamp, tolerance: Tolerance) -> Result<(), Error> {
        if now.duration_since(self.expires) >= tolerance.leeway {
            return Err(Error::Expired);
        }
        let early = |moment: Timestamp| moment.duration_since(now) > tolerance.leeway;
        if self.not_before.is_some_and(early) {
            return Err(Error::Claims(ClaimFault::NotYet));
        }
        if self.issued.is_some_and(early) {
            return Err(Error::Claims(ClaimFault::IssuedInFuture));
        }
        let length = self.expires.duration_since(self.issued.unwrap_or(now));
        let backwards = self.issued.is_some() && !length.is_positive();
        // As `iat` is at most the leeway ahead, this bounds `exp` from now as well.
        if backwards || length > tolerance.lifetime_max {
            return Err(Error::Claims(ClaimFault::Lifetime));
        }
        Ok(())
    }
}

/// What a genuine token of this issuer says: of who somebody is, and beside that.
pub(super) fn facts(
    issuer: &Arc<str>,
    claims: &Claims,
    registered: &Registered,
    payload: &Value,
) -> Result<(Identity, OfToken), ClaimFault> {
    let at = |pointer: &JsonPointer| payload.pointer(pointer.as_str());
    let reason =
        |pointer: &Option<JsonPointer>, name| pointer.as_ref().and_then(at).map(|value| line(value, name)).transpose();
    if !printable(&registered.subject, IDENTITY_CHARS_MAX) {
        return Err(ClaimFault::Text("sub"));
    }
    if registered.client_id.as_deref().is_some_and(|id| !printable(id, IDENTITY_CHARS_MAX)) {
        return Err(ClaimFault::Text("client_id"));
    }
    let identity = Identity {
        issuer: Arc::clone(issuer),
        subject: registered.subject.clone(),
        client_id: registered.client_id.clone(),
        agent: at(&claims.agent).map(|value| agent(value).ok_or(ClaimFault::Agent)).transpose()?,
        roles: at(&claims.roles).map_or(Some(BTreeSet::new()), names).ok_or(ClaimFault::Roles)?,
        inspects: at(&claims.inspects).map_or(Some(Inspects::default()), inspects).ok_or(ClaimFault::Inspects)?,
        teams: at(&claims.teams).map_or(Some(BTreeSet::new()), names).ok_or(ClaimFault::Teams)?,
    };
    let token = OfToken {
        purpose: reason(&claims.purpose, "purpose")?,
        ticket: reason(&claims.ticket, "ticket")?,
        token_tag: registered.token_id.as_deref().and_then(|id| tag(issuer, id)),
        expires: registered.expires,
    };
    Ok((identity, token))
}

/// A JSON string that is an agent id; a number or a padded text is none.
fn agent(value: &Value) -> Option<AgentId> {
    value.as_str()?.parse().ok()
}

/// Bounded by the token's length alone.
fn inspects(value: &Value) -> Option<Inspects> {
    let mut inspects = Inspects::default();
    for entry in value.as_array()? {
        match entry.as_str()? {
            "*" => inspects.all = true,
            id => {
                inspects.agents.insert(id.parse().ok()?);
            }
        }
    }
    Some(inspects)
}

fn names(value: &Value) -> Option<BTreeSet<String>> {
    let list = value.as_array().filter(|list| list.len() <= NAMES_MAX)?;
    let name = |entry: &Value| entry.as_str().filter(|name| printable(name, NAME_CHARS_MAX)).map(str::to_owned);
    list.iter().map(name).collect()
}

/// One line of text without blanks around it, as the request headers for purpose and ticket are read.
fn line(value: &Value, name: &'static str) -> Result<String, ClaimFault> {
    let fits = |text: &&str| printable(text, REASON_CHARS_MAX) && text.trim() == *text;
    value.as_str().filter(fits).map(str::to_owned).ok_or(ClaimFault::Text(name))
}

/// 1 to `chars_max` characters, no control character, no line or paragraph separator, no byte order mark.
fn printable(text: &str, chars_max: usize) -> bool {
    let fits = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    !text.is_empty() && text.chars().count() <= chars_max && text.chars().all(fits)
}

/// 32 hex digits of SHA-256 over issuer, NUL and `jti`. Never over the token: no record holds a hash of a secret without
/// a key.
fn tag(issuer: &str, token_id: &str) -> Option<String> {
    if token_id.is_empty() {
        return None;
    }
    let digest = sha256(&[issuer.as_bytes(), b"\0", token_id.as_bytes()]);
    let hex = digest.iter().take(16).fold(String::with_capacity(32), |mut hex, byte| {
        // Writing to a `String` can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Some(hex)
}
