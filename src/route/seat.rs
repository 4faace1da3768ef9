//! A call that an agent's own app makes about its seat: sign in, poll, beat, sign out. Only its head is read here; a
//! sign-in's body is the upstream's to parse.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Uri, Version};

use super::guard::{self, single};
use super::{Error, download};
use crate::cc::{AgentId, SignInForm};

/// A well-formed call about an agent's seat. Only [`parse_seat`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    agent: AgentId,
    act: SeatAct,
}

/// What an app does about its agent's seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeatAct {
    /// `PUT /onlineagent/{agentid}`, `…/loginex`, `…/forcelogin`.
    SignIn(SignInForm),
    /// `DELETE /onlineagent/{agentid}/logout`.
    SignOut,
    /// `POST /onlineagent/{agentid}/handshake`.
    Handshake,
    /// `GET /agentevent/{agentid}`.
    Events,
}

impl Seat {
    /// Whose seat: `{agentid}` of the path.
    pub const fn agent(self) -> AgentId {
        self.agent
    }

    /// What is done.
    pub const fn act(self) -> SeatAct {
        self.act
    }

    #[cfg(test)]
    pub(crate) const fn for_test(agent: AgentId, act: SeatAct) -> Self {
        Self { agent, act }
    }
}

impl SeatAct {
    /// The word for it in records and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn(_) => "sign_in",
            Self::SignOut => "sign_out",
            Self::Handshake => "handshake",
            Self::Events => "events",
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::SignIn(_) => Method::PUT,
            Self::SignOut => Method::DELETE,
            Self::Handshake => Method::POST,
            Self::Events => Method::GET,
        }
    }

    const fn allowed(self) -> &'static str {
        match self {
            Self::SignIn(_) => "PUT",
            Self::SignOut => "DELETE",
            Self::Handshake => "POST",
            Self::Events => "GET",
        }
    }
}

/// Reads the head of a call about a seat, as strictly as a download's. No header of it goes on from here.
///
/// Only a sign-in may have a body. `Content-Length: 0` is no body: browsers send it with every `PUT` and `POST`.
pub fn parse_seat(version: Version, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Seat, Error> {
    guard::check(version, uri, headers)?;
    let (act, agent) = path(uri.path()).ok_or(Error::NotFound)?;
    if *method != act.method() {
        return Err(Error::MethodNotAllowed(act.allowed()));
    }
    if uri.query().is_some() {
        return Err(Error::Head("a call about a seat takes no parameters"));
    }
    match act {
        SeatAct::SignIn(_) => check_json(headers)?,
        SeatAct::Events => guard::check_no_body(headers)?,
        SeatAct::SignOut | SeatAct::Handshake => check_empty(headers)?,
    }
    let agent = download::agent(agent)?;
    Ok(Seat { agent, act })
}

/// What a path says is done about a seat, for labels; `None` for anything else.
pub fn seat_act(uri: &Uri) -> Option<SeatAct> {
    path(uri.path()).map(|(act, _agent)| act)
}

fn path(path: &str) -> Option<(SeatAct, &str)> {
    let mut parts = download::tail(path)?.split('/');
    let (family, agent, name) = (parts.next()?, parts.next()?, parts.next());
    let act = match (family, name, parts.next()) {
        ("onlineagent", None, None) => SeatAct::SignIn(SignInForm::Full),
        ("onlineagent", Some("loginex"), None) => SeatAct::SignIn(SignInForm::Platform),
        ("onlineagent", Some("forcelogin"), None) => SeatAct::SignIn(SignInForm::Force),
        ("onlineagent", Some("handshake"), None) => SeatAct::Handshake,
        ("onlineagent", Some("logout"), None) => SeatAct::SignOut,
        ("agentevent", None, None) => SeatAct::Events,
        _ => return None,
    };
    Some((act, agent))
}

/// A body of JSON, framed in one way (RFC 9112 section 6.3).
fn check_json(headers: &HeaderMap) -> Result<(), Error> {
    let length = single(headers, &CONTENT_LENGTH)?;
    let coding = single(headers, &TRANSFER_ENCODING)?;
    match (length, coding) {
        (Some(_), None) => {}
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => {}
        _ => return Err(Error::Head("a sign-in needs a body with one length, or in chunks")),
    }
    let media = single(headers, &CONTENT_TYPE)?.unwrap_or_default();
    let media = media.split_once(';').map_or(media, |(media, _parameters)| media).trim();
    if media.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Error::Head("a sign-in's Content-Type is application/json"))
    }
}

fn check_empty(headers: &HeaderMap) -> Result<(), Error> {
    let empty = matches!(single(headers, &CONTENT_LENGTH)?, None | Some("0"));
    if empty && !headers.contains_key(TRANSFER_ENCODING) {
        Ok(())
    } else {
        Err(Error::Head("only a sign-in takes a request body"))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::cc::{BASE_PATH, Call};

    const JSON: (&str, &str) = ("content-type", "application/json; charset=UTF-8");

    fn read(method: &str, path: &str, pairs: &[(&'static str, &str)]) -> Result<Seat, Error> {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost:8080"));
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let uri = format!("{BASE_PATH}{path}").parse().expect("a URI");
        parse_seat(Version::HTTP_11, &method, &uri, &headers)
    }

    #[test]
    fn r07_the_six_calls_are_read_and_printed_as_they_were_asked() {
        let body = &[("content-length", "9"), JSON][..];
        let agent = AgentId::try_from(1001).expect("an agent");
        for (method, path, pairs, act, call) in [
            (
                "PUT",
                "/onlineagent/1001",
                body,
                SeatAct::SignIn(SignInForm::Full),
                Call::sign_in(agent, SignInForm::Full),
            ),
            (
                "PUT",
                "/onlineagent/1001/loginex",
                body,
                SeatAct::SignIn(SignInForm::Platform),
                Call::sign_in(agent, SignInForm::Platform),
            ),
            (
                "PUT",
                "/onlineagent/1001/forcelogin",
                body,
                SeatAct::SignIn(SignInForm::Force),
                Call::sign_in(agent, SignInForm::Force),
            ),
            ("POST", "/onlineagent/1001/handshake", &[], SeatAct::Handshake, Call::heartbeat(agent)),
            ("DELETE", "/onlineagent/1001/logout", &[], SeatAct::SignOut, Call::sign_out(agent)),
            ("GET", "/agentevent/1001", &[], SeatAct::Events, Call::poll(agent)),
        ] {
            assert_eq!(read(method, path, pairs), Ok(Seat::for_test(agent, act)), "{method} {path}");
            assert_eq!((call.method.as_str(), call.target.as_str()), (method, format!("{BASE_PATH}{path}").as_str()));
        }
    }

    #[test]
    fn other_paths_are_nothing_and_other_methods_are_told_the_right_one() {
        for path in [
            "/onlineagent/1001/updateGuid",
            "/onlineagent/1001/forcelogout",
            "/onlineagent/1001/loginex/",
            "/onlineagent/1001/LOGINEX",
            "/onlineagent/1001/logininfo",
            "/onlineagent",
            "/agentevent",
            "/agentevent/1001/x",
            "/recordfile/1001",
        ] {
            assert_eq!(read("PUT", path, &[]), Err(Error::NotFound), "{path}");
        }
        for (method, path, allowed) in [
            ("GET", "/onlineagent/1001", "PUT"),
            ("POST", "/onlineagent/1001/forcelogin", "PUT"),
            ("PUT", "/onlineagent/1001/handshake", "POST"),
            ("GET", "/onlineagent/1001/logout", "DELETE"),
            ("HEAD", "/agentevent/1001", "GET"),
        ] {
            assert_eq!(read(method, path, &[]), Err(Error::MethodNotAllowed(allowed)), "{method} {path}");
        }
    }

    #[test]
    fn r07_heads_that_are_not_canonical_are_refused() {
        for (method, path, pairs) in [
            ("GET", "/agentevent/0101", &[][..]),
            ("GET", "/agentevent/100", &[]),
            ("GET", "/agentevent/%31001", &[]),
            ("GET", "/agentevent/1001?x=1", &[]),
            ("GET", "/agentevent/1001?", &[]),
            ("GET", "/agentevent/1001", &[("content-length", "0")]),
            ("GET", "/agentevent/1001", &[("connection", "guid")]),
            ("POST", "/onlineagent/1001/handshake", &[("content-length", "2")]),
            ("POST", "/onlineagent/1001/handshake", &[("transfer-encoding", "chunked")]),
            ("DELETE", "/onlineagent/1001/logout", &[("content-length", "0"), ("content-length", "0")]),
        ] {
            assert!(matches!(read(method, path, pairs), Err(Error::Head(_))), "{method} {path} {pairs:?}");
        }
        assert!(read("POST", "/onlineagent/1001/handshake", &[("content-length", "0")]).is_ok());
    }

    #[test]
    fn r11_a_sign_in_needs_one_framing_and_json() {
        for pairs in [
            &[JSON][..],
            &[JSON, ("content-length", "2"), ("transfer-encoding", "chunked")],
            &[JSON, ("content-length", "2"), ("content-length", "2")],
            &[JSON, ("transfer-encoding", "gzip, chunked")],
            &[("content-length", "2")],
            &[("content-length", "2"), ("content-type", "text/plain")],
            &[("content-length", "2"), JSON, JSON],
        ] {
            let answer = read("PUT", "/onlineagent/1001", pairs);
            assert!(matches!(answer, Err(Error::Head(_))), "{pairs:?}: {answer:?}");
        }
        assert!(read("PUT", "/onlineagent/1001", &[JSON, ("transfer-encoding", "chunked")]).is_ok());
    }

    #[test]
    fn r23_the_words_are_a_closed_set() {
        let word = |path: &str| seat_act(&format!("{BASE_PATH}{path}").parse().expect("a URI")).map(SeatAct::as_str);
        assert_eq!(word("/onlineagent/x/forcelogin"), Some("sign_in"));
        assert_eq!(word("/agentevent/1001"), Some("events"));
        assert_eq!(word("/onlineagent/1001/other"), None);
    }
}
