//! The calls that an agent's own app makes through us. The answer goes back to it as the gateway wrote it, whatever the
//! result code; no header of it does, and no Guid.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, StatusCode};

use super::answer::{SET_GUID, read};
use super::keep_alive::POLL_DEADLINE_MIN;
use super::metrics::Operation;
use super::reach::Ask;
use super::{DeskSignIn, Error, Gateway};
use crate::cc::{AgentId, Call, ENVELOPE_BYTES_MAX, Envelope, Guid, Meaning, Retcode};

/// Longest answer to an app's poll, in bytes: events of many calls and chats at once. The usual ones are a few KiB.
const EVENTS_BYTES_MAX: usize = 1024 * 1024;

/// What the gateway answered to an app's call.
pub struct DeskAnswer {
    /// The session's new Guid, where the answer brought one.
    pub guid: Option<Guid>,
    /// The result code; a refusal is an answer here, for the app to understand.
    pub retcode: Retcode,
    body: Bytes,
    shows_guid: bool,
}

impl DeskAnswer {
    /// The envelope for the app, byte for byte.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] where a Guid stands in it. The call has had its effect all the same.
    pub fn into_body(self) -> Result<Bytes, Error> {
        if self.shows_guid { Err(Error::Protocol("it shows a Guid in its body")) } else { Ok(self.body) }
    }

    fn read(headers: &HeaderMap, sent: Option<&Guid>, body: Bytes) -> Result<Self, Error> {
        let retcode = Envelope::retcode_of(&body).ok_or(Error::Protocol("it is no JSON with a retcode"))?;
        let brought = headers.get(SET_GUID).map(Guid::from_set_guid).transpose();
        let guid = match retcode.meaning() {
            Meaning::Success => brought.map_err(|_| Error::Protocol("its Set-GUID header holds no Guid"))?,
            // The session is what it was before.
            _ => None,
        };
        let shows_guid = Guid::is_any_in(&body) || [sent, guid.as_ref()].iter().flatten().any(|guid| guid.is_in(&body));
        Ok(Self { guid, retcode, body, shows_guid })
    }

    #[cfg(test)]
    pub(crate) fn for_test(guid: Option<Guid>, retcode: Retcode) -> Self {
        let body = Bytes::from(format!("{{\"retcode\":\"{retcode}\"}}"));
        Self { guid, retcode, body, shows_guid: false }
    }
}

impl fmt::Debug for DeskAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of the body its length: it tells of people, and can hold anything.
        let bytes = self.body.len();
        f.debug_struct("DeskAnswer").field("retcode", &self.retcode).field("bytes", &bytes).finish_non_exhaustive()
    }
}

/// One call with what bounds it.
struct Passed<'a> {
    operation: Operation,
    call: Call,
    guid: Option<&'a Guid>,
    body: Bytes,
    deadline: Duration,
    bytes_max: usize,
}

impl Ask for Passed<'_> {
    type Answer = DeskAnswer;

    fn operation(&self) -> Operation {
        self.operation
    }

    fn guid(&self) -> Option<&Guid> {
        self.guid
    }

    fn is_judged(&self) -> bool {
        false
    }

    async fn ask(&self, gateway: &Gateway, at: &Authority, connect: Duration) -> Result<DeskAnswer, Error> {
        let request = Gateway::request(at, &self.call, self.guid, self.body.clone())?;
        let exchange = async {
            let response = gateway.send(request, connect, self.deadline).await?;
            let connection = response.extensions().clone();
            let read = read(response, self.bytes_max).await.and_then(|(status, headers, body)| match status {
                StatusCode::OK => DeskAnswer::read(&headers, self.guid, body),
                other => Err(Error::Status(other)),
            });
            read.inspect_err(|error| error.give_up(&connection))
        };
        // As for our own calls: the head has the deadline, and so much more bounds a trickled body.
        tokio::time::timeout(self.deadline.saturating_mul(2), exchange).await.unwrap_or(Err(Error::Timeout))
    }

    fn retcode(answer: &DeskAnswer) -> Option<&Retcode> {
        Some(&answer.retcode)
    }

    fn brought(answer: &DeskAnswer) -> Option<Guid> {
        answer.guid.clone()
    }
}

impl Gateway {
    /// Signs an agent in as its own app asks. Not cancel safe: a call that is dropped may still sign the agent in.
    pub async fn desk_sign_in(&self, agent: AgentId, sign_in: &DeskSignIn) -> Result<DeskAnswer, Error> {
        let call = Call::sign_in(agent, sign_in.form());
        let body = Bytes::from(sign_in.print()?);
        self.reach(&Passed { body, ..self.passed(Operation::SignIn, call, None) }).await
    }

    /// Waits for the agent's events for its own app, about 10 s where there are none. Dropping the call closes its
    /// connection; whether an event was lost with it only the gateway knows.
    pub async fn desk_events(&self, agent: AgentId, guid: &Guid) -> Result<DeskAnswer, Error> {
        let passed = self.passed(Operation::Poll, Call::poll(agent), Some(guid));
        let deadline = passed.deadline.max(POLL_DEADLINE_MIN);
        self.reach(&Passed { deadline, bytes_max: EVENTS_BYTES_MAX, ..passed }).await
    }

    /// Beats for the agent's own app.
    pub async fn desk_heartbeat(&self, agent: AgentId, guid: &Guid) -> Result<DeskAnswer, Error> {
        self.reach(&self.passed(Operation::Heartbeat, Call::heartbeat(agent), Some(guid))).await
    }

    /// Signs an agent out as its own app asks. Not cancel safe: a call that is dropped may still sign the agent out.
    pub async fn desk_sign_out(&self, agent: AgentId, guid: &Guid) -> Result<DeskAnswer, Error> {
        self.reach(&self.passed(Operation::SignOut, Call::sign_out(agent), Some(guid))).await
    }

    const fn passed<'a>(&self, operation: Operation, call: Call, guid: Option<&'a Guid>) -> Passed<'a> {
        let (deadline, bytes_max) = (self.client.deadline(), ENVELOPE_BYTES_MAX);
        Passed { operation, call, guid, body: Bytes::new(), deadline, bytes_max }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const OLD: &str = "279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0";
    const NEW: &str = "0123456789abcdef0123456789abcdef0123456789abcdef.AgentGateway1";

    fn read(set_guid: Option<&str>, body: &str) -> Result<DeskAnswer, Error> {
        let mut headers = HeaderMap::new();
        if let Some(value) = set_guid {
            headers.insert(SET_GUID, HeaderValue::from_str(value).expect("a value"));
        }
        let sent = Guid::from_text(OLD).expect("a Guid");
        DeskAnswer::read(&headers, Some(&sent), Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn an_answer_goes_back_as_it_came() {
        for body in [
            r#"{"retcode":"0","message":"","event":{"eventType":"AgentEvent_Ready"}}"#,
            r#" {"message":"no right","retcode":"000-003", "result":""} "#,
        ] {
            let answer = read(None, body).expect(body);
            assert!(answer.guid.is_none());
            assert_eq!(answer.into_body().expect(body), body);
        }
        let rotated = read(Some(&format!("JSESSIONID={NEW}")), r#"{"retcode":"0"}"#).expect("an answer");
        assert_eq!(rotated.guid.as_ref().expect("a Guid").header_value(), NEW);
        assert!(!format!("{rotated:?}").contains("0123456789"), "{rotated:?}");
        let refused = read(Some(&format!("JSESSIONID={NEW}")), r#"{"retcode":"100-006"}"#).expect("an answer");
        assert!(refused.guid.is_none(), "a refusal replaces nothing");
        let told = DeskAnswer::for_test(None, refused.retcode).into_body().expect("an answer");
        assert_eq!(told, r#"{"retcode":"100-006"}"#);
    }

    #[test]
    fn what_is_no_envelope_is_no_answer() {
        for body in ["", "<html>", "[]", "{}", r#"{"retcode":"a b"}"#] {
            assert!(matches!(read(None, body), Err(Error::Protocol(_))), "{body}");
        }
        assert!(matches!(read(Some("JSESSIONID=x"), r#"{"retcode":"0"}"#), Err(Error::Protocol(_))));
    }

    #[test]
    fn r17_an_answer_that_shows_a_guid_is_kept_back_and_its_guid_is_learned() {
        for shown in [OLD, NEW, "279FE21D-2caa-4437-84c3-ab9e9dae20f5", "JSESSIONID=other"] {
            let body = format!(r#"{{"retcode":"0","result":"{shown}"}}"#);
            let answer = read(Some(&format!("JSESSIONID={NEW}")), &body).expect("an answer");
            assert!(answer.guid.is_some());
            assert!(matches!(answer.into_body(), Err(Error::Protocol(_))), "{shown}");
        }
    }
}
