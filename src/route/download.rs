//! A request for one recording, made of parsed values only.

use http::header::{ACCEPT, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::guard::single;
use super::query::Parameters;
use super::{ByteRange, Error, Purpose, Ticket};
use crate::cc::{AgentId, BASE_PATH, FileRef, Operation, Uuid};

/// Request header with the reason for a download.
const PURPOSE: HeaderName = HeaderName::from_static("ccgate-purpose");
/// Request header with the case that a download belongs to.
const TICKET: HeaderName = HeaderName::from_static("ccgate-ticket");

/// Longest `Accept` or `If-Range` that is passed on, in bytes.
const PASSED_BYTES_MAX: usize = 256;

/// A well-formed request for one recording. Only [`parse`](super::parse) makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    agent: AgentId,
    file: FileRef,
    purpose: Option<Purpose>,
    ticket: Option<Ticket>,
    range: Option<ByteRange>,
    if_range: Option<HeaderValue>,
    accept: Option<HeaderValue>,
}

impl Download {
    /// The agent in whose session it is to be downloaded: `{agentid}` of the path.
    pub const fn agent(&self) -> AgentId {
        self.agent
    }

    /// What is to be downloaded.
    pub const fn file(&self) -> &FileRef {
        &self.file
    }

    /// Why, as the caller's `Ccgate-Purpose` header says.
    pub const fn purpose(&self) -> Option<&Purpose> {
        self.purpose.as_ref()
    }

    /// The case it belongs to, as the caller's `Ccgate-Ticket` header says.
    pub const fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    /// The part that is asked for; `None`: the whole.
    pub const fn range(&self) -> Option<ByteRange> {
        self.range
    }

    /// `If-Range`, where a range is asked for.
    pub const fn if_range(&self) -> Option<&HeaderValue> {
        self.if_range.as_ref()
    }

    /// `Accept`.
    pub const fn accept(&self) -> Option<&HeaderValue> {
        self.accept.as_ref()
    }

    #[cfg(test)]
    pub(crate) const fn for_test(agent: AgentId, file: FileRef, purpose: Option<Purpose>) -> Self {
        Self { agent, file, purpose, ticket: None, range: None, if_range: None, accept: None }
    }
}

/// Reads the path of a download.
pub(super) fn path(path: &str) -> Result<(Operation, AgentId), Error> {
    let mut parts = tail(path).ok_or(Error::NotFound)?.split('/');
    let (folder, agent, name) = (parts.next(), parts.next().ok_or(Error::NotFound)?, parts.next());
    let operation = match (folder, name, parts.next()) {
        (Some("recordfile"), None, None) => Operation::Recording,
        (Some("recordfile"), Some("recordfiledownloadEx"), None) => Operation::RecordingEx,
        (Some("recordfile"), Some("videofiledownload"), None) => Operation::Video,
        (Some("recordfile"), Some("videofiledownloadEx"), None) => Operation::VideoEx,
        (Some("filedownload"), Some("webmsgrecordfiledownloadex"), None) => Operation::Chat,
        _ => return Err(Error::NotFound),
    };
    Ok((operation, self::agent(agent)?))
}

/// What stands below the base path.
pub(super) fn tail(path: &str) -> Option<&str> {
    path.strip_prefix(BASE_PATH)?.strip_prefix('/')
}

/// Reads the agent that a path names.
pub(super) fn agent(text: &str) -> Result<AgentId, Error> {
    text.parse().map_err(|_| Error::Head("the path names no agent: a number from 101 to 999999"))
}

/// Reads query and headers of a download.
pub(super) fn read(operation: Operation, agent: AgentId, query: &str, headers: &HeaderMap) -> Result<Download, Error> {
    let range = single(headers, &RANGE)?.and_then(ByteRange::parse);
    let if_range = single(headers, &IF_RANGE)?.filter(|_| range.is_some());
    Ok(Download {
        agent,
        file: file_ref(operation, query)?,
        purpose: printable(headers, &PURPOSE)?,
        ticket: printable(headers, &TICKET)?,
        range,
        if_range: if_range.and_then(passed),
        accept: single(headers, &ACCEPT)?.and_then(passed),
    })
}

fn file_ref(operation: Operation, query: &str) -> Result<FileRef, Error> {
    let read = |known: &[&'static str], listed| Parameters::read(query, known, listed);
    Ok(match operation {
        Operation::RecordingEx => {
            let query = read(&["callId", "hwFileName", "workNo"], "callId, hwFileName, workNo")?;
            recording_ex(&query)?
        }
        Operation::Recording => {
            let query = read(&["recordId", "filetype", "locationId"], "recordId, filetype, locationId")?;
            FileRef::Recording {
                record: query.required("recordId")?,
                file_type: query.optional("filetype")?,
                location: query.optional("locationId")?,
            }
        }
        Operation::Video => {
            let query = read(&["conferenceId", "recordId", "fileType"], "conferenceId, recordId, fileType")?;
            FileRef::Video {
                conference: query.required::<AnyCase>("conferenceId")?.0,
                record: query.required::<AnyCase>("recordId")?.0,
                file_type: query.required("fileType")?,
            }
        }
        Operation::VideoEx => {
            let query = read(&["recordId", "locationId"], "recordId, locationId")?;
            FileRef::VideoEx { record: query.required("recordId")?, location: query.optional("locationId")? }
        }
        Operation::Chat => {
            let known = ["startDate", "endDate", "fileType", "fileName", "zoneOffset"];
            let query = read(&known, "startDate, endDate, fileType, fileName, zoneOffset")?;
            FileRef::Chat {
                start: query.optional("startDate")?,
                end: query.optional("endDate")?,
                file_type: query.optional("fileType")?,
                file_name: query.required("fileName")?,
                zone_offset: query.optional("zoneOffset")?,
            }
        }
    })
}

fn recording_ex(query: &Parameters<'_>) -> Result<FileRef, Error> {
    let file: Option<crate::cc::FilePath> = query.optional("hwFileName")?;
    let work_no: Option<AgentId> = query.optional("workNo")?;
    // The gateway could go by either; we decide by the path, so both must say the same.
    if let (Some(path), Some(work_no)) = (&file, work_no)
        && path.agent() != Some(work_no)
    {
        return Err(Error::Contradiction("workNo is not the agent that hwFileName names"));
    }
    Ok(FileRef::RecordingEx { call_id: query.required("callId")?, file, work_no })
}

/// A UUID in any case of letters, read into its one spelling.
struct AnyCase(Uuid);

impl std::str::FromStr for AnyCase {
    type Err = crate::cc::FieldError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::any_case(text).map(Self)
    }
}

fn printable<T: std::str::FromStr>(headers: &HeaderMap, name: &HeaderName) -> Result<Option<T>, Error> {
    const EXPECTED: Error =
        Error::Head("Ccgate-Purpose and Ccgate-Ticket hold 1 to 200 printable characters, once each");
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(EXPECTED);
    }
    let Some(value) = value else { return Ok(None) };
    // A header may hold UTF-8; `to_str` would let ASCII through only.
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| EXPECTED)?;
    text.parse().map(Some).map_err(|_| EXPECTED)
}

fn passed(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok().filter(|value| !value.is_empty() && value.len() <= PASSED_BYTES_MAX)
}
