//! Holds the outside of every request against the rules: headers, target, version. Changes no answer.

use super::{
    http::Request,
    rules::{Rule, Rules},
};

/// All headers that have business at the gateway, in lower case.
const HEADERS: [&str; 11] = [
    "host",
    "content-type",
    "content-length",
    "guid",
    "accept",
    "range",
    "if-range",
    "user-agent",
    "traceparent",
    "connection",
    "accept-encoding",
];

/// Records what is wrong with `request` whatever it calls. `signs_in`: it is a sign-in, the one call without a Guid.
pub(super) fn inspect(rules: &Rules, request: &Request, agent: Option<u32>, signs_in: bool) {
    let broke = |rule, detail: &str| rules.broke(rule, agent, detail.chars().take(200).collect::<String>());
    if request.version != 1 {
        broke(Rule::HttpVersion, &format!("HTTP/1.{}", request.version));
    }
    if request.method == "GET" && !request.body.is_empty() {
        broke(Rule::BodyOnGet, &format!("{} bytes", request.body.len()));
    }
    for (place, (name, _)) in request.headers.iter().enumerate() {
        let lower = name.to_ascii_lowercase();
        if !HEADERS.contains(&lower.as_str()) {
            broke(Rule::ForbiddenHeader, name);
        }
        if request.headers.iter().take(place).any(|(earlier, _)| earlier.eq_ignore_ascii_case(name)) {
            broke(Rule::RepeatedHeader, name);
        }
    }
    let content_type: Option<String> =
        request.header("Content-Type").map(|value| value.to_ascii_lowercase().split_whitespace().collect());
    if content_type.as_deref() != Some("application/json;charset=utf-8") {
        broke(Rule::ContentType, request.header("Content-Type").unwrap_or("none"));
    }
    match request.header("Guid") {
        Some(_) if signs_in => broke(Rule::GuidOnSignIn, "a Guid header"),
        None if !signs_in => broke(Rule::MissingGuid, "no Guid header"),
        _ => {}
    }
    if !is_canonical(request) {
        broke(Rule::NotCanonical, &request.target);
    }
}

/// Nothing that two readers could read differently: no dots that climb, no empty parts, no escapes in the path, no escaped
/// dots, slashes twice or controls anywhere.
fn is_canonical(request: &Request) -> bool {
    let (path, _) = request.path_and_query();
    let whole = request.target.to_ascii_lowercase();
    let decoded = percent_encoding::percent_decode_str(&whole).decode_utf8_lossy();
    path.starts_with('/')
        && !path.contains(['%', ';', '\\'])
        && !path.split('/').any(|part| part == ".")
        && !["%2e", "%00", "%0a", "%0d", "%25", "#"].iter().any(|escape| whole.contains(escape))
        && !["..", "//", "\\"].iter().any(|climb| decoded.contains(climb))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 3] =
        [("Host", "x"), ("Content-Type", "application/json; charset=UTF-8"), ("Guid", "279f.AgentGateway0")];

    fn broken(request: &Request, signs_in: bool) -> Vec<Rule> {
        let rules = Rules::default();
        inspect(&rules, request, Some(101), signs_in);
        rules.list().into_iter().map(|broken| broken.rule).collect()
    }

    fn get(target: &str, headers: &[(&str, &str)]) -> Request {
        Request {
            method: "GET".to_owned(),
            target: target.to_owned(),
            version: 1,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: Vec::new(),
        }
    }

    #[test]
    fn a_good_request_breaks_nothing() {
        assert!(broken(&get("/agentgateway/resource/agentevent/101", &GOOD), false).is_empty());
        assert!(broken(&get("/a?hwFileName=Y%3A%2F90%2Fa.mp4&x=Y:/1/a.V3", &GOOD), false).is_empty());
        assert!(broken(&get("/a", &GOOD[..2]), true).is_empty());
    }

    #[test]
    fn headers_are_an_allow_list() {
        for name in [
            "Authorization",
            "Cookie",
            "X-Forwarded-For",
            "Forwarded",
            "X-Real-IP",
            "X-Original-URL",
            "X_Guid",
            "G_uid",
            "Via",
        ] {
            let mut headers = GOOD.to_vec();
            headers.push((name, "x"));
            assert_eq!(broken(&get("/a", &headers), false), [Rule::ForbiddenHeader], "{name}");
        }
        let mut twice = GOOD.to_vec();
        twice.push(("guid", "other"));
        assert_eq!(broken(&get("/a", &twice), false), [Rule::RepeatedHeader]);
    }

    #[test]
    fn content_type_and_guid_are_needed() {
        assert_eq!(broken(&get("/a", &[GOOD[0], GOOD[2]]), false), [Rule::ContentType]);
        assert_eq!(broken(&get("/a", &[("Content-Type", "application/json"), GOOD[2]]), false), [Rule::ContentType]);
        assert_eq!(broken(&get("/a", &GOOD[..2]), false), [Rule::MissingGuid]);
        assert_eq!(broken(&get("/a", &GOOD), true), [Rule::GuidOnSignIn]);
    }

    #[test]
    fn targets_are_canonical() {
        for target in [
            "/a/../b",
            "/a//b",
            "/a/%2e/b",
            "/a/./b",
            "/a%2Fb",
            "/a;x=1",
            "/a?b=Y:/..%2Fc",
            "/a?b=Y:%2F%2Fc",
            "/a?b=%2500",
            "http://h/a",
            "/a?b=Y:\\c",
        ] {
            assert_eq!(broken(&get(target, &GOOD), false), [Rule::NotCanonical], "{target}");
        }
    }

    #[test]
    fn version_and_body_are_seen() {
        let mut request = get("/a", &GOOD);
        request.version = 0;
        request.body = b"x".to_vec();
        assert_eq!(broken(&request, false), [Rule::HttpVersion, Rule::BodyOnGet]);
    }
}
