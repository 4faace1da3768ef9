//! What stands in each record, version 1. Field names are public interface. No type here can hold a Guid, a token or a
//! password.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Serialize, Serializer};

use crate::authn::Caller;
use crate::cc::{AgentId, GuidTag, Owner};
use crate::policy::{Authorized, Denied, NotYourSeat};
use crate::route::{Arrival, Download, Purpose, RequestId, Seat, Source};

use super::end::{Delivery, End};
use super::entry::{EntryId, Facts, SessionUse};
use super::event::{Event, Refusal};
use super::{Digest, UpstreamAnswer};

/// Characters that a record keeps of a text that somebody else chose: the upstream's message, a range.
const TEXT_CHARS_MAX: usize = 200;

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
    from: From,
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
    retcode: Option<&'a str>,
    /// Refusals of unverified tokens before this one that got no record of their own.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) left_out: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde wants")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Serialize)]
pub(super) struct From {
    peer: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarded: Option<IpAddr>,
}

#[derive(Serialize)]
struct Who<'a> {
    issuer: &'a str,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentId>,
    roles: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    teams: &'a BTreeSet<String>,
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
    call_id: Option<&'a str>,
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
    rule: Option<&'a str>,
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
        let Facts { id, authorized, session, .. } = facts;
        Self { entry: Some(*id), session: Some(Session::from(*session)), ..Self::allowed(authorized) }
    }

    /// An `authorized` that did not become durable in time or at all, as a record `denied`.
    pub(super) fn unavailable(authorized: &'a Authorized) -> Self {
        Self { code: Some("audit_unavailable"), ..Self::allowed(authorized) }
    }

    /// The record `denied` for the policy's no.
    pub(super) fn denied(denied: &'a Denied) -> Self {
        let decision = Decision {
            effect: "deny",
            rule: denied.rule().map(crate::policy::RuleId::as_str),
            reason: Some(denied.reason().as_str()),
            policy_hash: denied.policy_hash(),
        };
        Self {
            decision: Some(decision),
            code: Some(denied.reason().as_str()),
            ..Self::request(denied.arrival(), Some(denied.caller()), Some(denied.download()))
        }
    }

    /// The record `denied` for a call about somebody else's seat.
    pub(super) fn not_your_seat(refused: &'a NotYourSeat) -> Self {
        let reason = Some(NotYourSeat::REASON);
        let decision = Decision { effect: "deny", rule: None, reason, policy_hash: refused.policy_hash() };
        Self {
            decision: Some(decision),
            code: reason,
            what: Some(What::seat(refused.seat())),
            ..Self::request(refused.arrival(), Some(refused.caller()), None)
        }
    }

    /// The record `denied` for any other refusal.
    pub(super) fn refused(refusal: Refusal<'a>) -> Self {
        let caller = refusal.authorized.map(Authorized::caller).or(refusal.caller);
        let download = refusal.authorized.map(Authorized::download).or(refusal.download);
        let request = Self::request(refusal.arrival, caller, download);
        Self {
            decision: refusal.authorized.map(Decision::allow),
            code: Some(refusal.code),
            retcode: refusal.retcode.map(crate::cc::Retcode::as_str),
            what: request.what.or(refusal.seat.map(What::seat)),
            ..request
        }
    }

    fn allowed(authorized: &'a Authorized) -> Self {
        Self {
            decision: Some(Decision::allow(authorized)),
            ..Self::request(authorized.arrival(), Some(authorized.caller()), Some(authorized.download()))
        }
    }

    fn request(arrival: &'a Arrival, caller: Option<&'a Caller>, download: Option<&'a Download>) -> Self {
        let Source { peer, forwarded } = arrival.source;
        Self {
            entry: None,
            request_id: &arrival.request_id,
            trace_id: arrival.trace.as_ref().map(crate::route::TraceParent::trace_id),
            arrived_at: arrival.at,
            from: From { peer, forwarded },
            who: caller.map(Who::new),
            what: download.map(What::new),
            why: Why::new(caller, download),
            decision: None,
            session: None,
            code: None,
            retcode: None,
            left_out: 0,
        }
    }
}

impl<'a> Who<'a> {
    fn new(caller: &'a Caller) -> Self {
        Self {
            issuer: caller.issuer(),
            subject: caller.subject(),
            client_id: caller.client_id(),
            agent: caller.agent(),
            roles: caller.roles(),
            teams: caller.teams(),
            token_tag: caller.token_tag(),
        }
    }
}

impl<'a> What<'a> {
    fn new(download: &'a Download) -> Self {
        let file = download.file();
        Self {
            operation: file.operation().as_str(),
            kind: Some(file.kind().as_str()),
            agent: download.agent(),
            reference: Some(file.reference()),
            call_id: file.call_id().map(crate::cc::CallId::as_str),
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
    fn new(caller: Option<&'a Caller>, download: Option<&'a Download>) -> Option<Self> {
        let well_formed = |text: &&str| text.parse::<Purpose>().is_ok();
        let purpose = caller.and_then(Caller::purpose).filter(well_formed);
        let ticket = caller.and_then(Caller::ticket).filter(well_formed);
        let purpose = purpose.or_else(|| download?.purpose().map(Purpose::as_str));
        let ticket = ticket.or_else(|| download?.ticket().map(crate::route::Ticket::as_str));
        (purpose.is_some() || ticket.is_some()).then_some(Self { purpose, ticket })
    }
}

impl<'a> Decision<'a> {
    fn allow(authorized: &'a Authorized) -> Self {
        Self {
            effect: "allow",
            rule: Some(authorized.rule().as_str()),
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

/// The records `finished`, `aborted` and `failed`.
#[derive(Serialize)]
pub(super) struct Ended<'a> {
    entry: EntryId,
    request_id: &'a RequestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    issuer: &'a str,
    subject: &'a str,
    agent: AgentId,
    reference: String,
    session: Session,
    attempts: u32,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<Upstream<'a>>,
    delivery: Delivered<'a>,
}

#[derive(Serialize)]
struct Upstream<'a> {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    retcode: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

#[derive(Serialize)]
struct Delivered<'a> {
    class: &'static str,
    upstream_bytes: u64,
    client_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_range: Option<&'a str>,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blake3: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_us: Option<u128>,
    duration_us: u128,
}

impl<'a> Ended<'a> {
    pub(super) fn new(facts: &'a Facts, end: &'a End) -> Self {
        let Facts { id, authorized, session, attempts, .. } = facts;
        let arrival = authorized.arrival();
        Self {
            entry: *id,
            request_id: &arrival.request_id,
            trace_id: arrival.trace.as_ref().map(crate::route::TraceParent::trace_id),
            issuer: authorized.caller().issuer(),
            subject: authorized.caller().subject(),
            agent: authorized.agent(),
            reference: authorized.download().file().reference(),
            session: Session::from(*session),
            attempts: *attempts,
            outcome: end.outcome.as_str(),
            reason: end.outcome.reason(),
            upstream: end.upstream.as_ref().map(Upstream::new),
            delivery: Delivered::new(&end.delivery),
        }
    }
}

impl<'a> Upstream<'a> {
    fn new(answer: &'a UpstreamAnswer) -> Self {
        Self {
            status: answer.status,
            retcode: answer.retcode.as_ref().map(crate::cc::Retcode::as_str),
            message: cut(&answer.message),
        }
    }
}

impl<'a> Delivered<'a> {
    fn new(delivery: &'a Delivery) -> Self {
        let digest = |wanted| match &delivery.digest {
            Some((digest, bytes)) if *digest == wanted => Some(Hex(bytes)),
            _ => None,
        };
        Self {
            class: delivery.class.as_str(),
            upstream_bytes: delivery.upstream_bytes,
            client_bytes: delivery.client_bytes,
            range: delivery.range.as_deref().map(cut),
            content_range: delivery.content_range.as_deref().map(cut),
            complete: delivery.complete,
            sha256: digest(Digest::Sha256),
            blake3: digest(Digest::Blake3),
            first_byte_us: delivery.first_byte.map(|time| time.as_micros()),
            duration_us: delivery.duration.as_micros(),
        }
    }
}

/// The record of an [`Event`].
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Noted<'a> {
    Started {
        version: &'static str,
        config_hash: &'a str,
    },
    Session {
        agent: AgentId,
        #[serde(skip_serializing_if = "Option::is_none")]
        guid_tag: Option<GuidTag>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retcode: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<&'static str>,
    },
    Admin {
        #[serde(skip_serializing_if = "Option::is_none")]
        agent: Option<AgentId>,
        from: From,
        #[serde(skip_serializing_if = "Option::is_none")]
        certificate: Option<&'a str>,
    },
    Config {
        config_hash: &'a str,
        generation: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
}

impl<'a> std::convert::From<&'a Event> for Noted<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::Started { version, config_hash } => Self::Started { version, config_hash },
            Event::Session { agent, guid, retcode, detail, .. } => Self::Session {
                agent: *agent,
                guid_tag: *guid,
                retcode: retcode.as_ref().map(crate::cc::Retcode::as_str),
                detail: *detail,
            },
            Event::Admin { agent, peer, certificate, .. } => Self::Admin {
                agent: *agent,
                from: From { peer: *peer, forwarded: None },
                certificate: certificate.as_deref(),
            },
            Event::Config { hash, generation, reason, .. } => {
                Self::Config { config_hash: hash, generation: *generation, reason: reason.as_deref() }
            }
        }
    }
}

/// The record `stopped`.
#[derive(Serialize)]
pub(super) struct Stopped {
    /// Entries that have no end; the next start gives them one.
    pub(super) entries_open: u64,
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(TEXT_CHARS_MAX).and_then(|(at, _)| text.get(..at)).unwrap_or(text)
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

struct Hex<'a>(&'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Six digits always, so that texts sort as times do.
pub(super) fn micros_utc<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.6}"))
}
