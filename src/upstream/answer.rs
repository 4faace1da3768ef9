//! One call with a JSON answer, from request to envelope.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use hyper::body::Incoming;

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

impl Gateway {
    /// Sends a call and reads its envelope; a result code other than success is [`Error::Refused`].
    pub(super) async fn call(
        &self,
        call: Call,
        guid: Option<&Guid>,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Success, Error> {
        let request = self.request(call, guid, body)?;
        let exchange = async {
            let response = self.client.send_within(request, deadline).await?;
            let (status, headers, document) = read(response, ENVELOPE_BYTES_MAX).await?;
            success(status, headers, &document)
        };
        // The head has the deadline of `send_within`; this one bounds the whole, a trickled body included.
        tokio::time::timeout(deadline.saturating_mul(2), exchange).await.unwrap_or(Err(Error::Timeout))
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
