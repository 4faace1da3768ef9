//! A download's exchange: what is sent, and whether what comes back is a file or a failure behind HTTP 200.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_RANGE, LAST_MODIFIED, RANGE, TRANSFER_ENCODING,
};
use http::response::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use tokio::time::Instant;

use super::answer::{SET_GUID, is_json, media_type};
use super::metrics::Operation;
use super::reach::Ask;
use super::{Error, Gateway};
use crate::audit::OpenEntry;
use crate::cc::{Call, ENVELOPE_BYTES_MAX, Envelope, Guid};
use crate::net;
use crate::route::{ByteRange, Download, TraceParent};

/// The trace that a call belongs to (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Headers of an answer that are passed down; nothing else is.
const PASSED_DOWN: [HeaderName; 6] =
    [CONTENT_TYPE, CONTENT_RANGE, CONTENT_DISPOSITION, ETAG, LAST_MODIFIED, ACCEPT_RANGES];

/// What a download was answered with.
#[derive(Debug)]
pub enum Answer {
    /// A file, or the part that was asked for.
    File(File),
    /// The part that was asked for does not exist; with the answer's `Content-Range`.
    RangeNotSatisfiable(Option<HeaderValue>),
}

/// A download's answer, and the Guid that came with it.
#[derive(Debug)]
pub struct Downloaded {
    /// The answer.
    pub answer: Answer,
    /// The session's new Guid, where the answer brought one.
    pub guid: Option<Guid>,
}

/// A file whose head has come and whose body is to be read.
#[derive(Debug)]
pub struct File {
    /// 200 or 206.
    pub status: StatusCode,
    /// The headers to pass down, without framing.
    pub headers: HeaderMap,
    /// The body's length in bytes; `None`: chunked, the end is in the framing.
    pub length: Option<u64>,
    /// The bytes that `Content-Range` promises; a body of another size is no whole part, however well it ends.
    pub promised: Option<u64>,
    /// The body's first piece, which was read to tell a file from a failure; `None`: the body is empty.
    pub first: Option<Bytes>,
    /// The rest of the body.
    pub rest: Incoming,
}

impl Gateway {
    /// Asks for a recording. There is no other way to ask, and it takes an entry: the record is durable by then.
    ///
    /// Dropping the future, or later the file, closes the connection.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where the gateway says no, behind HTTP 200 as it does; [`Error::Protocol`] for an answer whose
    /// framing could hide a cut or that is no recording.
    pub async fn download(&self, entry: &OpenEntry, guid: &Guid) -> Result<Downloaded, Error> {
        let authorized = entry.authorized();
        let (download, trace) = (authorized.download(), authorized.arrival().trace.as_ref());
        self.reach(&Fetch { download, trace, guid }).await
    }

    async fn classify(&self, head: &Parts, mut body: Incoming, range: Option<ByteRange>) -> Result<Answer, Error> {
        let promised = match head.status {
            StatusCode::OK => None,
            StatusCode::PARTIAL_CONTENT => Some(promised(&head.headers, range)?),
            StatusCode::RANGE_NOT_SATISFIABLE if range.is_some() => {
                return Ok(Answer::RangeNotSatisfiable(head.headers.get(CONTENT_RANGE).cloned()));
            }
            other => return Err(Error::Status(other)),
        };
        let length = framing(&head.headers)?;
        if head.status == StatusCode::OK && is_json(&head.headers) {
            return Err(within(self.idle_timeout, refusal(body)).await?);
        }
        if !is_recording(&head.headers) {
            return Err(Error::Protocol("its content type is none of a recording"));
        }
        if length.is_some() && promised.is_some() && length != promised {
            return Err(Error::Protocol("its Content-Length is not that of its Content-Range"));
        }
        let mut first = next_piece(&mut body, self.idle_timeout).await?;
        if first.as_deref().is_some_and(looks_like_json) {
            first = Some(peek(first.unwrap_or_default(), &mut body, self.idle_timeout).await?);
        }
        let headers = passed_down(&head.headers);
        Ok(Answer::File(File { status: head.status, headers, length, promised, first, rest: body }))
    }
}

/// A download as it is asked for.
struct Fetch<'a> {
    download: &'a Download,
    trace: Option<&'a TraceParent>,
    guid: &'a Guid,
}

impl Ask for Fetch<'_> {
    type Answer = Downloaded;

    fn operation(&self) -> Operation {
        Operation::Download
    }

    fn guid(&self) -> Option<&Guid> {
        Some(self.guid)
    }

    async fn ask(&self, gateway: &Gateway, at: &Authority, connect: Duration) -> Result<Downloaded, Error> {
        let request = self.request(at)?;
        let (head, body) = gateway.send(request, connect, gateway.client.deadline()).await?.into_parts();
        // One that is malformed is left out: the session lives on with the Guid that it has.
        let guid = head.headers.get(SET_GUID).and_then(|value| Guid::from_set_guid(value).ok());
        let answer = gateway.classify(&head, body, self.download.range()).await;
        let answer = answer.inspect_err(|error| error.give_up(&head.extensions))?;
        Ok(Downloaded { answer, guid })
    }

    fn brought(answer: &Downloaded) -> Option<Guid> {
        answer.guid.clone()
    }
}

impl Fetch<'_> {
    fn request(&self, at: &Authority) -> Result<Request<Full<Bytes>>, Error> {
        let download = self.download;
        let call = Call::download(download.agent(), download.file());
        let mut request = Gateway::request(at, &call, Some(self.guid), Bytes::new())?;
        let headers = request.headers_mut();
        if let Some(range) = download.range() {
            headers.insert(RANGE, printed(range.to_string())?);
        }
        for (name, value) in [(IF_RANGE, download.if_range()), (ACCEPT, download.accept())] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        if let Some(trace) = self.trace {
            headers.insert(TRACEPARENT, printed(trace.child())?);
        }
        Ok(request)
    }
}

/// A body as it comes.
trait Piecewise: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> {}

impl<B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>> Piecewise for B {}

/// A failure can come under a recording's content type. It is short, so what goes on past 64 KiB, or for longer than
/// `idle`, is a file; what was read of it until then is its first piece.
async fn peek(first: Bytes, rest: &mut (impl Piecewise + Unpin), idle: Duration) -> Result<Bytes, Error> {
    let (mut peeked, until) = (BytesMut::from(first), Instant::now() + idle);
    let begun = peeked.len();
    while peeked.len() < ENVELOPE_BYTES_MAX {
        match tokio::time::timeout_at(until, next_piece(rest, idle)).await {
            Ok(Ok(Some(piece))) => peeked.extend_from_slice(&piece),
            Ok(Err(error)) => return Err(error),
            // Not a byte all that time: nobody is helped by a file that begins like this.
            Err(_elapsed) if peeked.len() == begun => return Err(Error::Timeout),
            Ok(Ok(None)) | Err(_) => {
                if let Some(envelope) = Envelope::parse(&peeked) {
                    return Err(Error::Refused { retcode: envelope.retcode, message: envelope.message });
                }
                break;
            }
        }
    }
    Ok(peeked.freeze())
}

async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(time, work).await.map_err(|_elapsed| Error::Timeout)
}

/// A value that we print ourselves; none of them has a character that a header may not hold.
fn printed(value: String) -> Result<HeaderValue, Error> {
    HeaderValue::try_from(value).map_err(|_| Error::Protocol("a header of ours cannot be printed"))
}

/// The next piece of a body that holds bytes, after a silence of at most `idle`; trailers are dropped.
async fn next_piece(body: &mut (impl Piecewise + Unpin), idle: Duration) -> Result<Option<Bytes>, Error> {
    while let Some(frame) = within(idle, body.frame()).await? {
        let frame = frame.map_err(|error| Error::Truncated { source: error.into() })?;
        if let Ok(piece) = frame.into_data()
            && !piece.is_empty()
        {
            return Ok(Some(piece));
        }
    }
    Ok(None)
}

/// A JSON answer to a download: always a failure, and with a result code where the gateway says why.
async fn refusal(body: Incoming) -> Error {
    match net::read_document(body, ENVELOPE_BYTES_MAX).await {
        Ok(document) => match Envelope::parse(&document) {
            Some(envelope) => Error::Refused { retcode: envelope.retcode, message: envelope.message },
            None => Error::Protocol("it is JSON without a retcode"),
        },
        Err(net::Error::Protocol(source)) => Error::Truncated { source },
        Err(other) => Error::from(other),
    }
}

/// Exactly one way of framing, and one that shows a cut (RFC 9112 section 6.3): one length, or `chunked` alone.
fn framing(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), lengths.next(), codings.next(), codings.next()) {
        (Some(length), None, None, None) => {
            let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let length = length.to_str().ok().filter(digits).and_then(|text| text.parse().ok());
            length.map(Some).ok_or(Error::Protocol("its Content-Length is no number"))
        }
        (None, None, Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(None),
        (None, None, None, None) => Err(Error::Protocol("its end is not framed, so a cut could not be seen")),
        _ => Err(Error::Protocol("its length is given in more than one way")),
    }
}

/// The content types that recordings come with. A web page behind status 200 is none.
fn is_recording(headers: &HeaderMap) -> bool {
    let encoded = headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
    let media = media_type(headers).unwrap_or_default();
    let known = ["application/octet-stream", "application/zip", "application/x-zip-compressed", "text/plain"];
    !encoded && (known.contains(&media.as_str()) || media.starts_with("audio/") || media.starts_with("video/"))
}

/// How many bytes a part has. It answers the part that was asked for, or it is not understood: a player would take it
/// for another place.
fn promised(headers: &HeaderMap, asked: Option<ByteRange>) -> Result<u64, Error> {
    const WRONG: Error = Error::Protocol("it is another part than was asked for");
    let (first, last) = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).and_then(part).ok_or(WRONG)?;
    let fits = match asked.ok_or(WRONG)? {
        ByteRange::From(from) => first == from,
        ByteRange::Between(from, to) => first == from && last <= to,
        ByteRange::Last(count) => last - first < count,
    };
    if fits { Ok((last - first).saturating_add(1)) } else { Err(WRONG) }
}

/// Reads `bytes first-last/total`.
fn part(value: &str) -> Option<(u64, u64)> {
    let (range, _total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
    (first <= last).then_some((first, last))
}

fn passed_down(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::with_capacity(PASSED_DOWN.len());
    for name in PASSED_DOWN {
        if let Some(value) = headers.get(&name) {
            passed.insert(name, value.clone());
        }
    }
    passed
}

fn looks_like_json(piece: &[u8]) -> bool {
    piece.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    /// A body of pieces that come so long after each other.
    fn trickle(pieces: &[&'static str], apart: Duration) -> impl Piecewise + Unpin + use<> {
        let pieces: Vec<_> = pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
        StreamBody::new(Box::pin(stream::iter(pieces).then(move |piece| async move {
            tokio::time::sleep(apart).await;
            Ok::<_, std::io::Error>(Frame::data(piece))
        })))
    }

    #[tokio::test(start_paused = true)]
    async fn whether_it_is_a_failure_is_found_out_in_time() {
        const IDLE: Duration = Duration::from_mins(1);
        let start = Instant::now();
        let mut slow = trickle(&["x"; 1000], Duration::from_secs(7));
        let peeked = peek(Bytes::from_static(b"{"), &mut slow, IDLE).await.expect("a file");
        assert_eq!(peeked, "{xxxxxxxx", "what had come by then");
        assert_eq!(start.elapsed(), IDLE);
        assert_eq!(next_piece(&mut slow, IDLE).await.expect("a piece"), Some("x".into()), "and nothing is lost");

        let refused = r#""retcode":"104-005","message":"no"}"#;
        let mut kept_open = trickle(&[refused, " ", " ", " ", " "], Duration::from_secs(30));
        let answer = peek(Bytes::from_static(b"{"), &mut kept_open, IDLE).await;
        assert!(matches!(answer, Err(Error::Refused { .. })), "whole, though its end has not come: {answer:?}");
        let silent = peek(Bytes::from_static(b"{"), &mut trickle(&["x"], Duration::from_secs(61)), IDLE).await;
        assert!(matches!(silent, Err(Error::Timeout)), "{silent:?}");
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn r12_only_one_framing_that_shows_a_cut_is_taken() {
        assert_eq!(framing(&headers(&[("content-length", "10")])).expect("a length"), Some(10));
        assert_eq!(framing(&headers(&[("transfer-encoding", "chunked")])).expect("chunked"), None);
        for bad in [
            &[][..],
            &[("content-length", "10"), ("transfer-encoding", "chunked")],
            &[("content-length", "10"), ("content-length", "10")],
            &[("content-length", "")],
            &[("content-length", "+5")],
            &[("transfer-encoding", "chunked, identity")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        ] {
            let read = framing(&headers(bad));
            assert!(matches!(read, Err(Error::Protocol(_))), "{bad:?}: {read:?}");
        }
    }

    #[test]
    fn a_part_must_be_the_part_that_was_asked_for() {
        let answer = headers(&[("content-range", "bytes 100-199/1000")]);
        for (asked, fits) in [
            (Some(ByteRange::From(100)), true),
            (Some(ByteRange::Between(100, 199)), true),
            (Some(ByteRange::Between(100, 5000)), true),
            (Some(ByteRange::Between(100, 150)), false),
            (Some(ByteRange::From(0)), false),
            (Some(ByteRange::Last(100)), true),
            (Some(ByteRange::Last(99)), false),
            (None, false),
        ] {
            assert_eq!(promised(&answer, asked).is_ok(), fits, "{asked:?}");
        }
        for bad in ["bytes */1000", "bytes 5-1/10", "items 1-2/3", "bytes 1-2"] {
            assert!(promised(&headers(&[("content-range", bad)]), Some(ByteRange::From(1))).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_listed_headers_go_down() {
        let answer = headers(&[
            ("content-type", "application/octet-stream"),
            ("etag", "\"e\""),
            ("set-guid", "JSESSIONID=x"),
            ("set-cookie", "JSESSIONID=x"),
            ("server", "Tomcat"),
            ("content-length", "3"),
            ("connection", "close"),
        ]);
        let passed = passed_down(&answer);
        assert_eq!(passed.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["content-type", "etag"]);
    }

    #[test]
    fn a_page_is_no_recording() {
        for (media, recording) in [
            ("application/octet-stream;charset=utf-8", true),
            ("Audio/Wav", true),
            ("video/mp4", true),
            ("application/zip", true),
            ("text/html", false),
            ("multipart/byteranges; boundary=x", false),
            ("", false),
        ] {
            assert_eq!(is_recording(&headers(&[("content-type", media)])), recording, "{media}");
        }
        assert!(!is_recording(&headers(&[("content-type", "audio/wav"), ("content-encoding", "gzip")])));
    }
}
