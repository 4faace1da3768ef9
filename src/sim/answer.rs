//! Answers before they are written: status, headers, body. Knows no connection and no fault.

use serde_json::{Value, json};

use super::{
    files::{self, Recording},
    guid::Guid,
    world::Unanswered,
};

/// The content type of every JSON answer.
pub(super) const JSON: &str = "application/json;charset=UTF-8";
/// The content type of every download.
pub(super) const FILE: &str = "application/octet-stream;charset=utf-8";

/// One answer.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Without framing headers.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
    /// The call that this answers; given up just before the first byte.
    pub(super) answers: Option<Unanswered>,
    /// Whether it is chunked, whatever the site's framing.
    pub(super) chunked: bool,
}

/// The bytes of an answer.
pub(super) enum Body {
    /// Held whole.
    Whole(Vec<u8>),
    /// Part of a recording.
    Recording {
        recording: Recording,
        /// Offset of the first byte.
        from: u64,
        /// Number of bytes.
        length: u64,
    },
}

impl Body {
    pub(super) const fn len(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Recording { length, .. } => *length,
        }
    }

    /// Up to `max` bytes from `at` on, counted from the body's start; empty only at its end.
    pub(super) fn piece(&self, at: u64, max: usize) -> &[u8] {
        match self {
            Self::Whole(bytes) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                bytes.get(start..start.saturating_add(max).min(bytes.len())).unwrap_or_default()
            }
            Self::Recording { recording, from, length } => {
                let left = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX);
                recording.piece(from + at, max.min(left))
            }
        }
    }
}

impl Answer {
    pub(super) fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", content_type.to_owned())],
            body: Body::Whole(body),
            answers: None,
            chunked: false,
        }
    }

    fn json(value: &Value) -> Self {
        Self::new(200, JSON, value.to_string().into_bytes())
    }

    pub(super) fn success(result: &Value) -> Self {
        Self::json(&json!({"message": "success", "retcode": "0", "result": result}))
    }

    pub(super) fn event(event: &Value) -> Self {
        Self::json(&json!({"message": "", "retcode": "0", "event": event}))
    }

    /// A failure: HTTP 200 with a result code.
    pub(super) fn refused(retcode: &str) -> Self {
        Self::refused_with(retcode, message(retcode))
    }

    /// The same with a text of one's own.
    pub(super) fn refused_with(retcode: &str, message: &str) -> Self {
        Self::json(&json!({"message": message, "retcode": retcode, "result": ""}))
    }

    /// An error of the servlet container, outside the gateway's own answers.
    pub(super) fn page(status: u16) -> Self {
        let text = format!("<!doctype html><html><head><title>HTTP Status {status}</title></head><body></body></html>");
        Self::new(status, "text/html;charset=utf-8", text.into_bytes())
    }

    /// A page for people, under status 200.
    pub(super) fn portal() -> Self {
        let text = "<!doctype html><html><head><title>Sign in</title></head><body><form action=\"/login\"></form></body></html>";
        Self::new(200, "text/html;charset=utf-8", text.as_bytes().to_vec())
    }

    pub(super) fn with_guid(mut self, guid: Option<&Guid>) -> Self {
        self.headers.extend(guid.map(|guid| ("Set-GUID", guid.set_guid())));
        self
    }

    pub(super) fn answering(mut self, call: Unanswered) -> Self {
        self.answers = Some(call);
        self
    }

    /// A file, whole or the part that `range` asks for (when ranges are honoured).
    pub(super) fn file(key: &str, size: u64, name: &str, range: Option<Asked<'_>>) -> Self {
        let etag = files::etag(key, size);
        let mut headers = vec![
            ("Content-Type", FILE.to_owned()),
            ("Content-Disposition", format!("attachment;filename=\"{name}\"")),
            ("ETag", etag.clone()),
            ("Last-Modified", "Wed, 19 May 2021 08:42:32 GMT".to_owned()),
        ];
        let (mut status, mut from, mut length) = (200, 0, size);
        if let Some(asked) = range {
            headers.push(("Accept-Ranges", "bytes".to_owned()));
            match asked.part(&etag, size) {
                Part::Whole => {}
                Part::Of(first, last) => {
                    (status, from, length) = (206, first, last - first + 1);
                    headers.push(("Content-Range", format!("bytes {first}-{last}/{size}")));
                }
                Part::Beyond => {
                    headers.push(("Content-Range", format!("bytes */{size}")));
                    return Self { status: 416, headers, body: Body::Whole(Vec::new()), answers: None, chunked: false };
                }
            }
        }
        let body = Body::Recording { recording: Recording::new(key, size), from, length };
        Self { status, headers, body, answers: None, chunked: false }
    }

    /// Whether the body is a recording's.
    pub(super) const fn is_download(&self) -> bool {
        matches!(self.body, Body::Recording { .. })
    }
}

/// The range headers of a request to a site that honours them.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) range: Option<&'a str>,
    pub(super) if_range: Option<&'a str>,
}

/// What a range comes to.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// First and last byte.
    Of(u64, u64),
    Beyond,
}

impl Asked<'_> {
    /// RFC 9110, section 14: one range of bytes; anything else is as if it were not there.
    fn part(&self, etag: &str, size: u64) -> Part {
        let Some(range) = self.range.and_then(|range| range.strip_prefix("bytes=")) else {
            return Part::Whole;
        };
        if self.if_range.is_some_and(|wanted| wanted != etag) {
            return Part::Whole;
        }
        let Some((first, last)) = range.split_once('-') else {
            return Part::Whole;
        };
        match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last && first < size => Part::Of(first, last.min(size - 1)),
            (Ok(first), Ok(last)) if first <= last => Part::Beyond,
            (Ok(first), Err(_)) if last.is_empty() && first < size => Part::Of(first, size - 1),
            (Ok(_), Err(_)) if last.is_empty() => Part::Beyond,
            (Err(_), Ok(count)) if first.is_empty() && count > 0 && size > 0 => {
                Part::Of(size.saturating_sub(count), size - 1)
            }
            (Err(_), Ok(_)) if first.is_empty() => Part::Beyond,
            _ => Part::Whole,
        }
    }
}

/// What a successful sign-in tells.
pub(super) struct Welcome {
    pub(super) agent: u32,
    pub(super) check_in_webm: bool,
    pub(super) check_in_mailm: bool,
    pub(super) login_time: String,
    pub(super) must_change: bool,
    pub(super) password_days: Option<u16>,
}

impl Welcome {
    pub(super) fn result(&self) -> Value {
        let letter = |set: bool| if set { 'T' } else { 'F' };
        json!({
            "vdnid": 1,
            "workno": self.agent.to_string(),
            "mediatype": format!("T{}{}", letter(self.check_in_webm), letter(self.check_in_mailm)),
            "loginTime": self.login_time,
            "isForceChange": self.must_change.to_string(),
            "serverName": "SimulatedCluster",
            "timeRemaining": self.password_days.map(|days| days.to_string()).unwrap_or_default(),
        })
    }
}

/// The free text beside a result code.
fn message(retcode: &str) -> &'static str {
    match retcode {
        "000-001" => "wrong method of fetching events",
        "000-002" => "parameter or address not as defined",
        "000-003" => "no right to invite resource",
        "000-004" => "the agent is being switched over",
        "000-005" => "the inspected agent is the inspector",
        "000-007" => "interface called again before it answered",
        "100-001" => "sign-in parameters empty or invalid",
        "100-002" => "agent has logged in",
        "100-004" => "wrong user name or password",
        "100-006" => "agent has not logged in",
        "104-001" => "recording download is not enabled",
        "104-002" => "no right to inspect or play recordings",
        "104-005" => "the recording file does not exist: Y:/secret/path/of/the/server",
        _ => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(range: &str, if_range: Option<&str>) -> Part {
        Asked { range: Some(range), if_range }.part("\"tag\"", 100)
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        assert_eq!(part("bytes=0-0", None), Part::Of(0, 0));
        assert_eq!(part("bytes=10-", None), Part::Of(10, 99));
        assert_eq!(part("bytes=-10", None), Part::Of(90, 99));
        assert_eq!(part("bytes=-1000", None), Part::Of(0, 99));
        assert_eq!(part("bytes=90-1000", None), Part::Of(90, 99));
        for beyond in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(part(beyond, None), Part::Beyond, "{beyond}");
        }
        for ignored in ["bytes=5-4", "bytes=0-1,3-4", "chars=0-1", "bytes=x", "bytes=-", "bytes=a-b"] {
            assert_eq!(part(ignored, None), Part::Whole, "{ignored}");
        }
        assert_eq!(part("bytes=0-9", Some("\"tag\"")), Part::Of(0, 9));
        assert_eq!(part("bytes=0-9", Some("\"other\"")), Part::Whole);
        assert_eq!(Asked { range: None, if_range: None }.part("\"tag\"", 100), Part::Whole);
    }

    #[test]
    fn a_body_gives_its_pieces_and_ends() {
        let whole = Body::Whole(b"abcdef".to_vec());
        assert_eq!(
            (whole.piece(0, 4), whole.piece(4, 4), whole.piece(6, 4)),
            (b"abcd".as_slice(), b"ef".as_slice(), b"".as_slice())
        );
        let part = Body::Recording { recording: Recording::new("k", 1_000), from: 10, length: 20 };
        assert_eq!(part.piece(0, 100), files::body_bytes("k", 10, 20, 1_000));
        assert_eq!(part.piece(15, 100).len(), 5);
        assert!(part.piece(20, 100).is_empty());
    }
}
