//! Faults on demand: what goes wrong, in which calls, how often. Decides nothing about sessions.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// So many faults can wait at once; further ones are not taken.
const WAITING: usize = 1_000;

/// A fault that the next matching calls get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub what: Kind,
    /// In which calls.
    #[serde(default)]
    pub calls: Scope,
    /// Only in calls of this agent.
    #[serde(default)]
    pub agent: Option<u32>,
    /// In so many calls, then it is used up.
    #[serde(default = "once")]
    pub times: u32,
}

const fn once() -> u32 {
    1
}

/// Which calls a fault meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every sign-in, whichever form.
    SignIn,
    /// Every sign-out.
    SignOut,
    /// The event poll.
    Poll,
    /// The heartbeat.
    Heartbeat,
    /// `updateGuid`.
    UpdateGuid,
    /// The five downloads.
    Download,
    /// Every call.
    #[default]
    Any,
}

/// What goes wrong.
///
/// `Retcode`, `Message`, `Http`, `JsonAsFile`, `HtmlPage`, `Switching101`, `GarbageHead` and `Reset` come **instead of** the call: the gateway's
/// state stays. All others spoil the answer of a call that **was done**: after a `HangBeforeHead` on a sign-in the agent is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// HTTP 200 with this result code.
    Retcode(String),
    /// The same with a free text of one's own beside the code.
    Message {
        /// The result code.
        retcode: String,
        /// The text.
        message: String,
    },
    /// This HTTP status with an HTML error page.
    Http(u16),
    /// The answer never starts.
    HangBeforeHead,
    /// The answer starts so much later.
    DelayHead(#[serde(with = "millis")] Duration),
    /// TCP ends after so many body bytes, without TLS `close_notify`; a chunked body gets no last chunk.
    CutAt(u64),
    /// The same with a `close_notify`.
    CutCleanAt(u64),
    /// Silence after so many body bytes, the connection stays.
    StallAt(u64),
    /// The body in small pieces.
    SlowBody {
        /// Bytes in a piece, 1 to 65536.
        piece: usize,
        /// Pause before each piece.
        #[serde(with = "millis")]
        every: Duration,
    },
    /// The body at so many bytes a second.
    Rate(u64),
    /// Another content type.
    ContentType(String),
    /// `Content-Length` beside `Transfer-Encoding: chunked`, the body chunked.
    BothFramings,
    /// Two `Content-Length` that differ.
    TwoLengths,
    /// This `Transfer-Encoding`; the body is chunked when it ends in `chunked`, else ends with the connection.
    TransferEncoding(String),
    /// Neither length nor chunks: the body ends with the connection.
    CloseDelimited,
    /// `101 Switching Protocols`, then the connection ends.
    Switching101,
    /// TCP reset before the head.
    Reset,
    /// Bytes that are no HTTP.
    GarbageHead,
    /// The JSON failure of this code under the content type of a file.
    JsonAsFile(String),
    /// HTTP 200 with a page for people, as a portal or a login form would answer.
    HtmlPage,
    /// A head of 1 MiB.
    HugeHead,
    /// A `Content-Length` of half the body; all of it is sent and the connection stays.
    ShortLength,
    /// Half of the body, framed as if it were all: a part then is not what its `Content-Range` says.
    HalfBody,
}

impl Kind {
    /// Whether the fault comes instead of the call.
    pub(super) const fn replaces_call(&self) -> bool {
        matches!(
            self,
            Self::Retcode(_)
                | Self::Message { .. }
                | Self::Http(_)
                | Self::JsonAsFile(_)
                | Self::HtmlPage
                | Self::Switching101
                | Self::GarbageHead
                | Self::Reset
        )
    }
}

/// Durations as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// The faults that wait for their calls, oldest first; at most 1,000.
#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    /// Returns false when too many wait already.
    pub(super) fn add(&self, fault: Fault) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = waiting.len() < WAITING;
        if room && fault.times > 0 {
            waiting.push(fault);
        }
        room
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn list(&self) -> Vec<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Uses the oldest fault that fits the call once.
    pub(super) fn take(&self, scope: Option<Scope>, agent: Option<u32>) -> Option<Kind> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |fault: &Fault| {
            (fault.calls == Scope::Any || Some(fault.calls) == scope) && (fault.agent.is_none() || fault.agent == agent)
        };
        let place = waiting.iter().position(fits)?;
        let fault = waiting.get_mut(place)?;
        fault.times -= 1;
        let what = fault.what.clone();
        if fault.times == 0 {
            waiting.remove(place);
        }
        Some(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_its_calls_and_is_used_up() {
        let faults = Faults::default();
        assert!(faults.add(Fault { what: Kind::Reset, calls: Scope::Poll, agent: Some(101), times: 2 }));
        assert_eq!(faults.take(Some(Scope::Poll), Some(102)), None);
        assert_eq!(faults.take(Some(Scope::Download), Some(101)), None);
        assert_eq!(faults.take(None, None), None);
        assert_eq!(faults.take(Some(Scope::Poll), Some(101)), Some(Kind::Reset));
        assert_eq!(faults.take(Some(Scope::Poll), Some(101)), Some(Kind::Reset));
        assert_eq!(faults.take(Some(Scope::Poll), Some(101)), None);
    }

    #[test]
    fn faults_are_bounded_and_none_lasts_zero_times() {
        let faults = Faults::default();
        let fault = Fault { what: Kind::HtmlPage, calls: Scope::Any, agent: None, times: 0 };
        assert!(faults.add(fault.clone()));
        assert!(faults.list().is_empty());
        for _ in 0..WAITING {
            assert!(faults.add(Fault { times: 1, ..fault.clone() }));
        }
        assert!(!faults.add(Fault { times: 1, ..fault }));
        faults.clear();
        assert!(faults.list().is_empty());
    }

    #[test]
    fn the_json_form_is_short() {
        let fault: Fault = serde_json::from_str(r#"{"what":{"delay_head":250},"calls":"sign_in"}"#).unwrap();
        assert_eq!(fault.what, Kind::DelayHead(Duration::from_millis(250)));
        assert_eq!((fault.calls, fault.agent, fault.times), (Scope::SignIn, None, 1));
        let slow: Fault = serde_json::from_str(r#"{"what":{"slow_body":{"piece":10,"every":5}},"times":3}"#).unwrap();
        assert_eq!(slow.what, Kind::SlowBody { piece: 10, every: Duration::from_millis(5) });
        assert!(serde_json::from_str::<Fault>(r#"{"what":"reset","call":"poll"}"#).is_err());
    }
}
