//! How a download ended, as its record tells it.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

use super::{Session, reference, subject};
use crate::audit::cut::{Cuts, WORDS_CHARS_MAX};
use crate::audit::end::{Delivery, End};
use crate::audit::entry::{EntryId, Facts};
use crate::audit::{Digest, UpstreamAnswer};
use crate::cc::AgentId;
use crate::route::RequestId;

/// The records `finished`, `aborted` and `failed`.
#[derive(Serialize)]
pub(in crate::audit) struct Ended<'a> {
    entry: EntryId,
    request_id: &'a RequestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    issuer: Cow<'a, str>,
    subject: Cow<'a, str>,
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
    #[serde(skip_serializing_if = "Cuts::is_empty")]
    cut: Cuts,
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
    pub(in crate::audit) fn new(facts: &'a Facts, end: &'a End) -> Self {
        let Facts { id, authorized, session, attempts, pseudonyms, .. } = facts;
        let pseudonyms = pseudonyms.as_ref();
        let arrival = authorized.arrival();
        let mut cut = Cuts::default();
        Self {
            entry: *id,
            request_id: &arrival.request_id,
            trace_id: arrival.trace.as_ref().map(crate::route::TraceParent::trace_id),
            issuer: cut.name("issuer", authorized.caller().issuer()),
            subject: subject(authorized.caller(), "subject", pseudonyms, &mut cut),
            agent: authorized.agent(),
            reference: reference(authorized.download(), pseudonyms),
            session: Session::from(*session),
            attempts: *attempts,
            outcome: end.outcome.as_str(),
            reason: end.outcome.reason(),
            upstream: end.upstream.as_ref().map(|answer| Upstream::new(answer, pseudonyms.is_none(), &mut cut)),
            delivery: Delivered::new(&end.delivery, &mut cut),
            cut,
        }
    }
}

impl<'a> Upstream<'a> {
    /// The message can name what a pseudonym stands for.
    fn new(answer: &'a UpstreamAnswer, with_message: bool, cut: &mut Cuts) -> Self {
        let chars_max = if with_message { WORDS_CHARS_MAX } else { 0 };
        Self {
            status: answer.status,
            retcode: answer.retcode.as_ref().map(crate::cc::Retcode::as_str),
            message: cut.words("upstream.message", &answer.message, chars_max),
        }
    }
}

impl<'a> Delivered<'a> {
    fn new(delivery: &'a Delivery, cut: &mut Cuts) -> Self {
        let digest = |wanted| match &delivery.digest {
            Some((digest, bytes)) if *digest == wanted => Some(Hex(bytes)),
            _ => None,
        };
        let mut words =
            |path, text: &'a Option<String>| text.as_deref().map(|text| cut.words(path, text, WORDS_CHARS_MAX));
        Self {
            class: delivery.class.as_str(),
            upstream_bytes: delivery.upstream_bytes,
            client_bytes: delivery.client_bytes,
            range: words("delivery.range", &delivery.range),
            content_range: words("delivery.content_range", &delivery.content_range),
            complete: delivery.complete,
            sha256: digest(Digest::Sha256),
            blake3: digest(Digest::Blake3),
            first_byte_us: delivery.first_byte.map(|time| time.as_micros()),
            duration_us: delivery.duration.as_micros(),
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
