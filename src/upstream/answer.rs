//! One call with a JSON answer, from request to envelope.

use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use hyper::body::Incoming;

use super::metrics::Operation;
use super::reach::Ask;
use super::{Error, Gateway};
use crate::cc::{Call, ENVELOPE_BYTES_MAX, Envelope, Guid, Meaning};
use crate::net;

/// Response header that carries a new Guid.
pub(super) const SET_GUID: HeaderName = HeaderName::from_static("set-guid");

/// A call that succeeded.
pub(super) struct Success {
    pub(super) headers: HeaderMap,
    pub(super) envelope: Envelope,
}

impl Success {
    /// The Guid that this answer brings, where it brings one.
    pub(super) fn guid(&self) -> Result<Option<Guid>, Error> {
        let read = self.headers.get(SET_GUID).map(Guid::from_set_guid).transpose();
        read.map_err(|_| Error::Protocol("its Set-GUID header holds no Guid"))
    }
}

/// A call of ours with a JSON answer.
pub(super) struct Asked<'a> {
    pub(super) operation: Operation,
    pub(super) call: Call,
    pub(super) guid: Option<&'a Guid>,
    pub(super) body: Bytes,
    /// For the head of the answer.
    pub(super) deadline: Duration,
}

impl Ask for Asked<'_> {
    type Answer = Success;

    fn operation(&self) -> Operation {
        self.operation
    }

    fn guid(&self) -> Option<&Guid> {
        self.guid
    }

    /// Sends the call and reads its envelope; a result code other than success is [`Error::Refused`].
    async fn ask(&self, gateway: &Gateway, at: &Authority, connect: Duration) -> Result<Success, Error> {
        let request = Gateway::request(at, &self.call, self.guid, self.body.clone())?;
        let exchange = async {
            let response = gateway.send(request, connect, self.deadline).await?;
            let connection = response.extensions().clone();
            let read = read(response, ENVELOPE_BYTES_MAX).await;
            read.and_then(|(status, headers, document)| success(status, headers, &document))
                .and_then(|success| self.whole(success))
                .inspect_err(|error| error.give_up(&connection))
        };
        // The head has the deadline of its own; this one bounds the whole, a trickled body included.
        tokio::time::timeout(self.deadline.saturating_mul(2), exchange).await.unwrap_or(Err(Error::Timeout))
    }

    fn brought(answer: &Success) -> Option<Guid> {
        answer.guid().ok().flatten()
    }
}

impl Asked<'_> {
    /// An answer that has what this call is made for.
    fn whole(&self, success: Success) -> Result<Success, Error> {
        match self.operation {
            Operation::SignIn if success.guid()?.is_none() => Err(Error::Protocol("the sign-in brought no Guid")),
            Operation::Poll | Operation::Heartbeat => success.guid().map(|_| success),
            _ => Ok(success),
        }
    }
}

/// Reads a whole answer of at most `bytes_max` bytes.
pub(super) async fn read(
    response: Response<Incoming>,
    bytes_max: usize,
) -> Result<(StatusCode, HeaderMap, Bytes), Error> {
    let (head, body) = response.into_parts();
    let document = net::read_document(body, bytes_max).await.map_err(|error| match error {
        net::Error::Protocol(source) => Error::Truncated { source },
        other => Error::from(other),
    })?;
    Ok((head.status, head.headers, document))
}

fn success(status: StatusCode, headers: HeaderMap, document: &[u8]) -> Result<Success, Error> {
    let envelope = Envelope::parse(document);
    if status != StatusCode::OK {
        return Err(Error::Status(status));
    }
    let envelope = envelope.ok_or(Error::Protocol("it is no JSON with a retcode"))?;
    if envelope.retcode.meaning() == Meaning::Success {
        Ok(Success { headers, envelope })
    } else {
        Err(Error::Refused { retcode: envelope.retcode, message: envelope.message })
    }
}

/// Whether a content type is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|media| media == "application/json" || media.ends_with("+json"))
}

/// The media type of an answer, without its parameters, in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let media = value.split_once(';').map_or(value, |(media, _parameters)| media);
    Some(media.trim().to_ascii_lowercase())
}
