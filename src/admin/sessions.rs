//! `/sessions` for operators: list, show, sign out. It answers nobody but this machine and, with `admin.tls.client_ca_file`,
//! who shows a certificate; never a browser's page, and never for what a header claims.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{HOST, ORIGIN, VIA};
use http::request::Parts;
use http::{HeaderName, Method, Response, StatusCode};
use http_body_util::Full;

use super::operator::{Asker, Deed, Operator, SignOut};
use super::{not_allowed, text, typed};
use crate::cc::AgentId;

/// Where the sessions are.
pub const SESSIONS_PATH: &str = "/sessions";

/// Request header of every operator's request, with the value `1`: a browser's page of another site cannot send it without
/// asking first, which is refused.
pub const ADMIN_HEADER: HeaderName = HeaderName::from_static("ccgate-admin");

/// A request with one of these came over a proxy, whose own address is then no proof of this machine.
const OF_A_PROXY: [HeaderName; 4] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    VIA,
];

/// Answers a request below [`SESSIONS_PATH`]; `rest` is what follows it.
pub(super) async fn answer(
    operator: Option<&dyn Operator>,
    asker: &Asker,
    head: &Parts,
    rest: &str,
) -> Response<Full<Bytes>> {
    if let Err(why) = admit(asker, head) {
        tracing::warn!(peer = %asker.peer, why, "a request for sessions was refused");
        return text(StatusCode::FORBIDDEN, format!("forbidden: {why}\n"));
    }
    let Some(operator) = operator else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned());
    };
    let agent = match rest.strip_prefix('/') {
        None => None,
        Some(agent) => match agent.parse::<AgentId>() {
            Ok(agent) => Some(agent),
            Err(error) => return text(StatusCode::NOT_FOUND, format!("{error}\n")),
        },
    };
    match (agent, &head.method) {
        (None, &Method::GET) => {
            operator.record(asker, Deed::Read(None));
            json(&operator.list().await)
        }
        (Some(agent), &Method::GET) => {
            operator.record(asker, Deed::Read(Some(agent)));
            match operator.show(agent).await {
                Some(row) => json(&row),
                None => unknown(agent),
            }
        }
        (Some(agent), &Method::DELETE) => {
            operator.record(asker, Deed::SignOut(agent));
            match operator.sign_out(agent).await {
                SignOut::Done => text(StatusCode::OK, format!("agent {agent} is signed out\n")),
                SignOut::Unknown => unknown(agent),
                SignOut::Refused(why) => {
                    text(StatusCode::CONFLICT, format!("agent {agent} is not signed out: {why}\n"))
                }
            }
        }
        (None, _) => not_allowed("GET"),
        (Some(_), _) => not_allowed("GET, DELETE"),
    }
}

/// Whether a request is an operator's: by the connection it came over, and by what no browser's page sends.
pub(super) fn admit(asker: &Asker, head: &Parts) -> Result<(), &'static str> {
    if head.headers.get(&ADMIN_HEADER).is_none_or(|value| value != "1") {
        return Err("the request header Ccgate-Admin: 1 is missing");
    }
    if head.headers.contains_key(ORIGIN) {
        return Err("it comes from a web page");
    }
    if asker.certificate.is_some() {
        return Ok(());
    }
    if !asker.peer.ip().to_canonical().is_loopback() {
        return Err("it is for this machine, or for clients with a certificate (admin.tls.client_ca_file)");
    }
    if OF_A_PROXY.iter().any(|name| head.headers.contains_key(name)) {
        return Err("it comes over a proxy");
    }
    // A page whose name was bound anew to this machine's address is of the same origin for its browser.
    if !head.headers.get(HOST).and_then(|host| host.to_str().ok()).is_some_and(is_this_machine) {
        return Err("the request header Host names no loopback address");
    }
    Ok(())
}

/// Whether `host[:port]` is a loopback address or `localhost`.
fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn unknown(agent: AgentId) -> Response<Full<Bytes>> {
    text(StatusCode::NOT_FOUND, format!("nothing is known of agent {agent} here\n"))
}

pub(super) fn json(value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string(value) {
        Ok(body) => typed(StatusCode::OK, "application/json", body + "\n"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(peer: &str, certificate: bool, headers: &[(&str, &str)]) -> Result<(), &'static str> {
        let asker =
            Asker { peer: peer.parse().expect("an address"), certificate: certificate.then(|| "00".to_owned()) };
        let mut request = http::Request::builder().uri("/sessions");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        admit(&asker, &request.body(()).expect("a request").into_parts().0)
    }

    const OURS: [(&str, &str); 2] = [("ccgate-admin", "1"), ("host", "127.0.0.1:9090")];

    #[test]
    fn this_machine_is_let_in() {
        for peer in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(asked(peer, false, &OURS), Ok(()), "{peer}");
        }
        for host in ["localhost", "localhost:9090", "[::1]:9090"] {
            assert_eq!(asked("127.0.0.1:1", false, &[OURS[0], ("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn nobody_else_is_but_who_shows_a_certificate() {
        for peer in ["10.0.0.1:1", "[2001:db8::1]:1", "[::ffff:10.0.0.1]:1"] {
            assert!(asked(peer, false, &OURS).is_err(), "{peer}");
            assert!(asked(peer, false, &[OURS[0], OURS[1], ("x-forwarded-for", "127.0.0.1")]).is_err(), "{peer}");
            assert_eq!(asked(peer, true, &[OURS[0], ("host", "ccgate.example")]), Ok(()), "{peer}");
        }
    }

    #[test]
    fn no_page_and_no_proxy_is() {
        let here = "127.0.0.1:1";
        for headers in [
            &[("host", "127.0.0.1:9090")][..],
            &[("ccgate-admin", "0"), OURS[1]],
            &[("ccgate-admin", "true"), OURS[1]],
            &[OURS[0], OURS[1], ("origin", "https://evil.example")],
            &[OURS[0], OURS[1], ("origin", "null")],
            &[OURS[0], OURS[1], ("x-forwarded-for", "10.0.0.1")],
            &[OURS[0], OURS[1], ("forwarded", "for=10.0.0.1")],
            &[OURS[0], OURS[1], ("via", "1.1 proxy")],
            &[OURS[0]],
            &[OURS[0], ("host", "rebound.evil.example:9090")],
            &[OURS[0], ("host", "127.0.0.1.evil.example")],
            &[OURS[0], ("host", "localhost.evil.example")],
        ] {
            assert!(asked(here, false, headers).is_err(), "{headers:?}");
        }
        assert!(asked(here, true, &[("host", "h")]).is_err(), "the header, with a certificate too");
        assert!(asked(here, true, &[OURS[0], ("origin", "https://h")]).is_err());
    }
}
