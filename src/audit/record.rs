//! What stands in each record, version 1. Field names are public interface. No type here can hold a Guid, a token or a
//! password, and no record can be longer than a line.

mod ended;
mod noted;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Serialize, Serializer};

use crate::authn::Caller;
use crate::cc::{AgentId, GuidTag, Owner};
use crate::policy::{Authorized, Denied, NotYourSeat};
use crate::route::{Arrival, Download, Purpose, RequestId, Seat, Source};

use super::cut::{Cuts, WORDS_CHARS_MAX};
use super::entry::{EntryId, Facts, SessionUse};
use super::event::Refusal;
use super::pseudonym::Pseudonyms;

pub(super) use ended::Ended;
pub(super) use noted::{By, Noted, Stopped};

/// The path of the rule's name.
const RULE: &str = "decision.rule";

/// A request: the fields that `authorized` and `denied` share.
#[derive(Serialize)]
pub(super) struct Asked<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<EntryId>,
    request_id: &'a RequestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(serialize_with = "micros_utc")]
    arrived_at: Timestamp,
    from: From<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<Who<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<What<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Why<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decision<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Session>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retcode: Option<&'a str>,
    /// Refusals of unverified tokens before this one that got no record of their own.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) left_out: u64,
    #[serde(skip_serializing_if = "Cuts::is_empty")]
    cut: Cuts,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde wants")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Serialize)]
pub(super) struct From<'a> {
    peer: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarded: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate<'a>>,
}

/// Whom the connection's client certificate names.
#[derive(Serialize)]
struct Certificate<'a> {
    sha256: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    issuer: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dns: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    uris: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    emails: &'a [String],
}

#[derive(Serialize)]
struct Who<'a> {
    issuer: Cow<'a, str>,
    subject: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentId>,
    roles: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    teams: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_tag: Option<&'a str>,
}

#[derive(Serialize)]
struct What<'a> {
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    agent: AgentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vdn: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_on: Option<Date>,
}

#[derive(Serialize)]
struct Why<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<&'a str>,
}

#[derive(Serialize)]
struct Decision<'a> {
    effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    policy_hash: &'a str,
}

#[derive(Serialize)]
struct Session {
    agent: AgentId,
    guid_tag: GuidTag,
    kind: &'static str,
}

impl<'a> Asked<'a> {
    /// The record `authorized`.
    pub(super) fn authorized(facts: &'a Facts) -> Self {
        let Facts { id, authorized, session, pseudonyms, .. } = facts;
        let session = Some(Session::from(*session));
        Self { entry: Some(*id), session, ..Self::allowed(authorized, pseudonyms.as_ref()) }
    }

    /// An `authorized` that did not become durable in time or at all, as a record `denied`.
    pub(super) fn unavailable(authorized: &'a Authorized, pseudonyms: Option<&Pseudonyms>) -> Self {
        Self { code: Some("audit_unavailable"), ..Self::allowed(authorized, pseudonyms) }
    }

    /// The record `denied` for the policy's no.
    pub(super) fn denied(denied: &'a Denied, pseudonyms: Option<&Pseudonyms>) -> Self {
        let (caller, download) = (denied.caller(), denied.download());
        let mut asked = Self::request(denied.arrival(), Some(caller), Some(download), pseudonyms);
        asked.decision = Some(Decision {
            effect: "deny",
            rule: denied.rule().map(|rule| asked.cut.name(RULE, rule.as_str())),
            reason: Some(denied.reason().as_str()),
            policy_hash: denied.policy_hash(),
        });
        asked.code = Some(denied.reason().as_str());
        asked
    }

    /// The record `denied` for a call about somebody else's seat.
    pub(super) fn not_your_seat(refused: &'a NotYourSeat, pseudonyms: Option<&Pseudonyms>) -> Self {
        let reason = Some(NotYourSeat::REASON);
        let decision = Decision { effect: "deny", rule: None, reason, policy_hash: refused.policy_hash() };
        Self {
            decision: Some(decision),
            code: reason,
            what: Some(What::seat(refused.seat())),
            ..Self::request(refused.arrival(), Some(refused.caller()), None, pseudonyms)
        }
    }

    /// The record `denied` for any other refusal.
    pub(super) fn refused(refusal: Refusal<'a>, pseudonyms: Option<&Pseudonyms>) -> Self {
        let caller = refusal.authorized.map(Authorized::caller).or(refusal.caller);
        let download = refusal.authorized.map(Authorized::download).or(refusal.download);
        let mut asked = Self::request(refusal.arrival, caller, download, pseudonyms);
        asked.decision = refusal.authorized.map(|authorized| Decision::allow(authorized, &mut asked.cut));
        asked.code = Some(refusal.code);
        asked.limit = refusal.limit;
        asked.retcode = refusal.retcode.map(crate::cc::Retcode::as_str);
        asked.what = asked.what.or(refusal.seat.map(What::seat));
        asked
    }

    fn allowed(authorized: &'a Authorized, pseudonyms: Option<&Pseudonyms>) -> Self {
        let (caller, download) = (authorized.caller(), authorized.download());
        let mut asked = Self::request(authorized.arrival(), Some(caller), Some(download), pseudonyms);
        asked.decision = Some(Decision::allow(authorized, &mut asked.cut));
        asked
    }

    fn request(
        arrival: &'a Arrival,
        caller: Option<&'a Caller>,
        download: Option<&'a Download>,
        pseudonyms: Option<&Pseudonyms>,
    ) -> Self {
        let mut cut = Cuts::default();
        Self {
            entry: None,
            request_id: &arrival.request_id,
            trace_id: arrival.trace.as_ref().map(crate::route::TraceParent::trace_id),
            arrived_at: arrival.at,
            from: From::new(&arrival.source, pseudonyms.is_some(), &mut cut),
            who: caller.map(|caller| Who::new(caller, pseudonyms, &mut cut)),
            what: download.map(|download| What::new(download, pseudonyms)),
            why: Why::new(caller, download, &mut cut),
            decision: None,
            session: None,
            code: None,
            limit: None,
            retcode: None,
            left_out: 0,
            cut,
        }
    }
}

impl<'a> From<'a> {
    /// A peer of the admin plane, whose certificate has a field of its own.
    pub(super) const fn peer(peer: SocketAddr) -> Self {
        Self { peer, forwarded: None, certificate: None }
    }

    /// Names of a certificate can be a person's, so beside pseudonyms they are left out. The fingerprint stays, as the
    /// token's tag does: who issued it knows whose it is.
    fn new(source: &'a Source, unnamed: bool, cut: &mut Cuts) -> Self {
        let Source { peer, forwarded, certificate } = source;
        let certificate = certificate.as_deref().map(|certificate| {
            if unnamed || certificate.is_cut() {
                cut.note("from.certificate");
            }
            let named = |names: &'a [String]| if unnamed { &[] } else { names };
            Certificate {
                sha256: certificate.sha256_hex(),
                subject: if unnamed { "" } else { certificate.subject() },
                issuer: certificate.issuer(),
                dns: named(certificate.dns()),
                uris: named(certificate.uris()),
                emails: named(certificate.emails()),
            }
        });
        Self { peer: *peer, forwarded: *forwarded, certificate }
    }
}

impl<'a> Who<'a> {
    fn new(caller: &'a Caller, pseudonyms: Option<&Pseudonyms>, cut: &mut Cuts) -> Self {
        let subject = subject(caller, "who.subject", pseudonyms, cut);
        Self {
            issuer: cut.name("who.issuer", caller.issuer()),
            client_id: caller.client_id().map(|id| match pseudonyms {
                // A program's own token: its client is its subject.
                Some(_) if id == caller.subject() => subject.clone(),
                _ => cut.name("who.client_id", id),
            }),
            subject,
            agent: caller.agent(),
            roles: cut.roles("who.roles", caller.roles()),
            teams: cut.roles("who.teams", caller.teams()),
            token_tag: caller.token_tag(),
        }
    }
}

impl<'a> What<'a> {
    fn new(download: &'a Download, pseudonyms: Option<&Pseudonyms>) -> Self {
        let file = download.file();
        Self {
            operation: file.operation().as_str(),
            kind: Some(file.kind().as_str()),
            agent: download.agent(),
            reference: Some(reference(download, pseudonyms)),
            call_id: file.call_id().map(|id| match pseudonyms {
                Some(pseudonyms) => Cow::Owned(pseudonyms.call(id.as_str())),
                None => Cow::Borrowed(id.as_str()),
            }),
            owner: Some(OwnerText(file.owner())),
            vdn: file.vdn(),
            recorded_on: file.recorded_on(),
        }
    }

    /// A seat has an agent and nothing of a recording.
    const fn seat(seat: Seat) -> Self {
        Self {
            operation: seat.act().as_str(),
            kind: None,
            agent: seat.agent(),
            reference: None,
            call_id: None,
            owner: None,
            vdn: None,
            recorded_on: None,
        }
    }
}

impl<'a> Why<'a> {
    /// The effective words, as the policy sees them: the token's claim first, then the request's header. A claim that is
    /// no well-formed purpose counts as absent.
    fn new(caller: Option<&'a Caller>, download: Option<&'a Download>, cut: &mut Cuts) -> Option<Self> {
        let well_formed = |text: &&str| text.parse::<Purpose>().is_ok();
        let purpose = caller.and_then(Caller::purpose).filter(well_formed);
        let ticket = caller.and_then(Caller::ticket).filter(well_formed);
        let purpose = purpose.or_else(|| download?.purpose().map(Purpose::as_str));
        let ticket = ticket.or_else(|| download?.ticket().map(crate::route::Ticket::as_str));
        (purpose.is_some() || ticket.is_some()).then(|| Self {
            purpose: purpose.map(|text| cut.words("why.purpose", text, WORDS_CHARS_MAX)),
            ticket: ticket.map(|text| cut.words("why.ticket", text, WORDS_CHARS_MAX)),
        })
    }
}

impl<'a> Decision<'a> {
    fn allow(authorized: &'a Authorized, cut: &mut Cuts) -> Self {
        Self {
            effect: "allow",
            rule: Some(cut.name(RULE, authorized.rule().as_str())),
            reason: None,
            policy_hash: authorized.policy_hash(),
        }
    }
}

impl std::convert::From<SessionUse> for Session {
    fn from(session: SessionUse) -> Self {
        Self { agent: session.agent, guid_tag: session.tag, kind: session.kind }
    }
}

/// Who, as records name them.
fn subject<'a>(
    caller: &'a Caller,
    path: &'static str,
    pseudonyms: Option<&Pseudonyms>,
    cut: &mut Cuts,
) -> Cow<'a, str> {
    match pseudonyms {
        Some(pseudonyms) => Cow::Owned(pseudonyms.subject(caller.issuer(), caller.subject())),
        None => cut.name(path, caller.subject()),
    }
}

/// Which recording, as records name it. It is never cut: its grammar bounds it to some 300 characters.
fn reference(download: &Download, pseudonyms: Option<&Pseudonyms>) -> String {
    let reference = download.file().reference();
    match pseudonyms {
        Some(pseudonyms) => pseudonyms.reference(&reference),
        None => reference,
    }
}

struct OwnerText(Owner);

impl Serialize for OwnerText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Owner::Agent(agent) => agent.serialize(serializer),
            Owner::Nobody => serializer.serialize_str("nobody"),
            Owner::Unknown => serializer.serialize_str("unknown"),
        }
    }
}

/// Six digits always, so that texts sort as times do.
pub(super) fn micros_utc<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.6}"))
}
