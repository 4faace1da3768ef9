//! Method and target of each call, printed from types. No byte of a caller reaches a target any other way.

use http::Method;
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{AgentId, FileRef};

/// Path of the gateway's interface, below which all calls stand.
pub const BASE_PATH: &str = "/agentgateway/resource";

/// What is escaped in a value: everything that RFC 3986 section 3.4 does not let stand in a query, and what separates
/// or could be read twice (`&`, `=`, `+`, `%`, `#`). `:` and `/` stand raw, as in the manual's examples.
const VALUE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// One call of the gateway's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query, in origin form.
    pub target: PathAndQuery,
}

/// The three ways of signing in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignInForm {
    /// `loginex`: to the platform only; takes no licence.
    Platform,
    /// The plain sign-in: joins the media servers and takes licences.
    Full,
    /// `forcelogin`: throws out whoever holds the agent.
    Force,
}

impl Call {
    /// Signs an agent in.
    pub fn sign_in(agent: AgentId, form: SignInForm) -> Self {
        let tail = match form {
            SignInForm::Platform => "/loginex",
            SignInForm::Full => "",
            SignInForm::Force => "/forcelogin",
        };
        Self::of(Method::PUT, &format!("/onlineagent/{agent}{tail}"))
    }

    /// Asks for the agent's events; answers after about 10 s when there are none.
    pub fn poll(agent: AgentId) -> Self {
        Self::of(Method::GET, &format!("/agentevent/{agent}"))
    }

    /// Beats for a session in push mode.
    pub fn heartbeat(agent: AgentId) -> Self {
        Self::of(Method::POST, &format!("/onlineagent/{agent}/handshake"))
    }

    /// Signs an agent out; refused while the agent talks.
    pub fn sign_out(agent: AgentId) -> Self {
        Self::of(Method::DELETE, &format!("/onlineagent/{agent}/logout"))
    }

    /// Downloads a recording in the session of an agent.
    pub fn download(agent: AgentId, file: &FileRef) -> Self {
        let mut query = Query::default();
        let path = match file {
            FileRef::RecordingEx { call_id, file, work_no } => {
                query.add("callId", Some(call_id));
                query.add("hwFileName", file.as_ref());
                query.add("workNo", work_no.as_ref());
                format!("/recordfile/{agent}/recordfiledownloadEx")
            }
            FileRef::Recording { record, file_type, location } => {
                query.add("recordId", Some(record));
                query.add("filetype", file_type.as_ref());
                query.add("locationId", location.as_ref());
                format!("/recordfile/{agent}")
            }
            FileRef::Video { conference, record, file_type } => {
                query.add("conferenceId", Some(conference));
                query.add("recordId", Some(record));
                query.add("fileType", Some(file_type));
                format!("/recordfile/{agent}/videofiledownload")
            }
            FileRef::VideoEx { record, location } => {
                query.add("recordId", Some(record));
                query.add("locationId", location.as_ref());
                format!("/recordfile/{agent}/videofiledownloadEx")
            }
            FileRef::Chat { start, end, file_type, file_name, zone_offset } => {
                query.add("startDate", start.as_ref());
                query.add("endDate", end.as_ref());
                query.add("fileType", file_type.as_ref());
                query.add("fileName", Some(file_name));
                query.add("zoneOffset", zone_offset.as_ref());
                format!("/filedownload/{agent}/webmsgrecordfiledownloadex")
            }
        };
        Self::of(Method::GET, &format!("{path}{}", query.text))
    }

    fn of(method: Method, tail: &str) -> Self {
        let target = PathAndQuery::try_from(format!("{BASE_PATH}{tail}"));
        // Only numbers, fixed words and escaped values get here; a target that could not be sent becomes one that
        // the gateway does not know, never another recording.
        Self { method, target: target.unwrap_or_else(|_| PathAndQuery::from_static("/")) }
    }
}

#[derive(Default)]
struct Query {
    text: String,
}

impl Query {
    fn add(&mut self, name: &str, value: Option<&impl ToString>) {
        let Some(value) = value else { return };
        self.text.push(if self.text.is_empty() { '?' } else { '&' });
        self.text.push_str(name);
        self.text.push('=');
        self.text.extend(utf8_percent_encode(&value.to_string(), VALUE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(number: u32) -> AgentId {
        AgentId::try_from(number).expect("an agent")
    }

    #[test]
    fn the_documented_calls_are_printed() {
        let table = [
            (Call::sign_in(agent(1001), SignInForm::Platform), "PUT /agentgateway/resource/onlineagent/1001/loginex"),
            (Call::sign_in(agent(1001), SignInForm::Full), "PUT /agentgateway/resource/onlineagent/1001"),
            (Call::sign_in(agent(1001), SignInForm::Force), "PUT /agentgateway/resource/onlineagent/1001/forcelogin"),
            (Call::poll(agent(1001)), "GET /agentgateway/resource/agentevent/1001"),
            (Call::heartbeat(agent(1001)), "POST /agentgateway/resource/onlineagent/1001/handshake"),
            (Call::sign_out(agent(1001)), "DELETE /agentgateway/resource/onlineagent/1001/logout"),
        ];
        for (call, printed) in table {
            assert_eq!(format!("{} {}", call.method, call.target), printed);
        }
    }

    #[test]
    fn a_download_is_printed_as_in_the_manual() {
        let file = FileRef::RecordingEx {
            call_id: "1621413752-2011".parse().expect("a call id"),
            file: Some("y:/90/0/20210519/4977/1642329.mp4".parse().expect("a path")),
            work_no: Some(agent(4977)),
        };
        assert_eq!(
            Call::download(agent(101), &file).target,
            "/agentgateway/resource/recordfile/101/recordfiledownloadEx\
             ?callId=1621413752-2011&hwFileName=Y:/90/0/20210519/4977/1642329.mp4&workNo=4977"
        );
    }

    #[test]
    fn values_are_escaped() {
        let file = FileRef::Chat {
            start: Some("2021-05-19 08:00:00".parse().expect("a date")),
            end: None,
            file_type: None,
            file_name: "a-b_c.zip".parse().expect("a name"),
            zone_offset: Some("+8".parse().expect("an offset")),
        };
        assert_eq!(
            Call::download(agent(101), &file).target,
            "/agentgateway/resource/filedownload/101/webmsgrecordfiledownloadex\
             ?startDate=2021-05-19%2008:00:00&fileName=a-b_c.zip&zoneOffset=%2B8"
        );
    }
}
