//! One table of heads: what is read, and what is refused with which error.

use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use proptest::prelude::*;

use super::*;
use crate::cc::{Call, FileRef, Owner};

const CALL: &str = "/agentgateway/resource/recordfile/1001/recordfiledownloadEx?callId=1621413752-2011";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("localhost:8080"));
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
    }
    headers
}

fn read(target: &str) -> Result<Download, Error> {
    parse(Version::HTTP_11, &Method::GET, &target.parse().expect("a URI"), &headers(&[]))
}

fn with(pairs: &[(&'static str, &str)]) -> Result<Download, Error> {
    parse(Version::HTTP_11, &Method::GET, &Uri::from_static(CALL), &headers(pairs))
}

fn below(path: &str) -> Result<Download, Error> {
    read(&format!("{BASE}/{path}"))
}

const BASE: &str = crate::cc::BASE_PATH;

#[test]
fn the_five_downloads_are_read() {
    let uuid = "279fe21d-2caa-4437-84c3-ab9e9dae20f5";
    for (path, operation) in [
        ("recordfile/1001/recordfiledownloadEx?callId=1621413752-2011&hwFileName=Y:/90/0/20210519/4977/1.mp4".to_owned(), Operation::RecordingEx),
        ("recordfile/1001?recordId=Y%3A%2F90%2F0%2F20210519%2F4977%2F1.V3&filetype=1&locationId=3".to_owned(), Operation::Recording),
        (format!("recordfile/1001/videofiledownload?conferenceId={uuid}&recordId={uuid}&fileType=mp4"), Operation::Video),
        ("recordfile/1001/videofiledownloadEx?recordId=y:/90/0/20210519/4977/1.mp4".to_owned(), Operation::VideoEx),
        ("filedownload/1001/webmsgrecordfiledownloadex?startDate=2021-05-19&endDate=20210520&fileType=1&fileName=a.zip&zoneOffset=%2B8".to_owned(), Operation::Chat),
    ] {
        let download = below(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!((download.file().operation(), download.agent().get()), (operation, 1001), "{path}");
    }
}

#[test]
fn r08_raw_and_escaped_forms_are_one_recording() {
    let forms = [
        "recordfile/1001?recordId=Y:/90/0/20210519/4977/1.mp4",
        "recordfile/1001?recordId=Y%3A%2F90%2F0%2F20210519%2F4977%2F1.mp4",
        "recordfile/1001?recordId=y%3a/90/0/20210519/4977/1%2emp4",
        "recordfile/1001?recordId=Y%3A%5C90%5C0%5C20210519%5C4977%5C1.mp4",
    ];
    let first = below(forms[0]).expect("a download");
    assert_eq!(first.file().owner(), Owner::Agent(4977.try_into().expect("an agent")));
    for form in forms {
        assert_eq!(below(form).expect(form), first, "{form}");
    }
}

#[test]
fn r07_a_path_that_is_not_canonical_is_refused() {
    for path in [
        "/%61gentgateway/resource/recordfile/1001?recordId=x",
        "/agentgateway/resource/recordfile/1001%2f?recordId=x",
        "/agentgateway//resource/recordfile/1001",
        "/agentgateway/./resource/recordfile/1001",
        "/agentgateway/resource/../resource/recordfile/1001",
        "/agentgateway/resource/recordfile/1001;a=b",
        "/agentgateway/resource/recordfile/1001%00",
        "/agentgateway/resource/recordfile/%2e%2e/1001",
        "//agentgateway/resource/recordfile/1001",
        "/agentgateway/resource/recordfile/1001//",
        "/agentgateway/resource/recordfile/1001/..",
        "/..",
        "/agentgateway/resource/recordfile/0101",
        "/agentgateway/resource/recordfile/abc",
        "/agentgateway/resource/recordfile/1001%20",
    ] {
        assert!(matches!(read(path), Err(Error::Head(_))), "{path}: {:?}", read(path));
    }
    for path in [
        "/",
        "/agentgateway",
        "/agentgateway/resource/",
        "/agentgateway/resource/recordfile/1001/",
        "/metrics",
        "/livez",
        "/agentgateway/resource/recordfile/1001/other",
        "/AgentGateway/resource/recordfile/1001",
        "/agentgateway/resource/onlineagent/1001",
        "/agentgateway/resource/recordfile/1001/recordfiledownloadEx/x",
    ] {
        assert_eq!(read(path), Err(Error::NotFound), "{path}");
    }
    for target in ["http://evil.example/agentgateway/resource/recordfile/1001", "evil.example:80", "*"] {
        assert!(matches!(read(target), Err(Error::Head(_))), "{target}");
    }
}

#[test]
fn r07_parameters_are_known_single_and_whole() {
    for (query, error) in [
        ("", Error::Missing("callId")),
        ("callId=1&callId=2", Error::Repeated("callId")),
        ("callId=1&CallId=2", Error::Repeated("callId")),
        ("callId=1&CALLID=1", Error::Repeated("callId")),
        ("callid=1", Error::Unknown("callId, hwFileName, workNo")),
        ("callId=1&x=1", Error::Unknown("callId, hwFileName, workNo")),
        ("callId=1&", Error::Unknown("callId, hwFileName, workNo")),
        ("&callId=1", Error::Unknown("callId, hwFileName, workNo")),
        ("call%49d=1", Error::Unknown("callId, hwFileName, workNo")),
        ("callId", Error::Unknown("callId, hwFileName, workNo")),
        ("callId=1&recordId=Y:/90/0/20210519/4977/1.mp4", Error::Unknown("callId, hwFileName, workNo")),
    ] {
        let target = format!("{BASE}/recordfile/1001/recordfiledownloadEx?{query}");
        assert_eq!(read(&target), Err(error), "{query}");
    }
    for query in [
        "callId=",
        "callId=%",
        "callId=%2",
        "callId=%zz",
        "callId=%ff",
        "callId=a%20b",
        "callId=a+b",
        "callId=%2541",
        "callId=a%00",
        "callId=1&workNo=0101",
        "callId=1&workNo=1e3",
        "callId=1&hwFileName=..%2f..%2fetc",
        "callId=1;workNo=1001",
    ] {
        let target = format!("{BASE}/recordfile/1001/recordfiledownloadEx?{query}");
        assert!(matches!(read(&target), Err(Error::Value { .. })), "{query}: {:?}", read(&target));
    }
    let contradiction =
        "recordfile/1001/recordfiledownloadEx?callId=1&hwFileName=Y:/90/0/20210519/4977/1.mp4&workNo=4978";
    assert!(matches!(below(contradiction), Err(Error::Contradiction(_))));
}

#[test]
fn r08_a_video_without_its_record_id_is_refused() {
    let query = "recordfile/1001/videofiledownload?conferenceId=279fe21d-2caa-4437-84c3-ab9e9dae20f5&fileType=mp4";
    assert_eq!(below(query), Err(Error::Missing("recordId")));
    assert_eq!(below("recordfile/1001/videofiledownloadEx"), Err(Error::Missing("recordId")));
}

#[test]
fn r11_ambiguous_heads_are_refused() {
    for pairs in [
        &[("content-length", "3")][..],
        &[("content-length", "0")],
        &[("transfer-encoding", "chunked")],
        &[("transfer-encoding", "gzip, chunked")],
        &[("host", "b")],
        &[("upgrade", "h2c"), ("connection", "upgrade")],
        &[("connection", "authorization")],
        &[("connection", "close, Guid")],
        &[("connection", "keep-alive, x-request-id")],
        &[("range", "bytes=0-1"), ("range", "bytes=2-3")],
        &[("ccgate-purpose", "a"), ("ccgate-purpose", "b")],
        &[("ccgate-purpose", " ")],
    ] {
        assert!(matches!(with(pairs), Err(Error::Head(_))), "{pairs:?}: {:?}", with(pairs));
    }
    assert_eq!(with(&[("expect", "100-continue")]), Err(Error::ExpectationFailed));
    let uri = Uri::from_static(CALL);
    for version in [Version::HTTP_09, Version::HTTP_10, Version::HTTP_2] {
        assert!(parse(version, &Method::GET, &uri, &headers(&[])).is_err(), "{version:?}");
    }
    for host in ["", "a b", "a/b", "user@a", "a?b", "a#b"] {
        let mut bad = HeaderMap::new();
        bad.insert("host", HeaderValue::from_str(host).expect("a value"));
        assert!(parse(Version::HTTP_11, &Method::GET, &uri, &bad).is_err(), "{host:?}");
    }
    assert!(parse(Version::HTTP_11, &Method::GET, &uri, &HeaderMap::new()).is_err(), "no Host");
}

#[test]
fn only_get_is_served() {
    for method in [
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
        Method::PATCH,
    ] {
        let answer = parse(Version::HTTP_11, &method, &Uri::from_static(CALL), &headers(&[]));
        assert_eq!(answer, Err(Error::MethodNotAllowed("GET")), "{method}");
    }
}

#[test]
fn r09_identity_headers_of_the_caller_have_no_effect() {
    let plain = with(&[]).expect("a download");
    for name in [
        "guid",
        "g_uid",
        "x_guid",
        "service_token",
        "set-guid",
        "x-forwarded-for",
        "forwarded",
        "x-original-url",
        "x-http-method-override",
        "x-real-ip",
        "x-forwarded-uri",
        "cookie",
        "x.authenticated.user",
    ] {
        assert_eq!(with(&[(name, "/healthz")]).expect(name), plain, "{name}");
    }
}

#[test]
fn allowed_headers_are_kept() {
    let download = with(&[
        ("range", "bytes=0-99"),
        ("if-range", "\"e\""),
        ("accept", "audio/*"),
        ("ccgate-purpose", "Prüfung"),
        ("ccgate-ticket", "T-1"),
    ]);
    let download = download.expect("a download");
    assert_eq!(download.range(), Some(ByteRange::Between(0, 99)));
    assert_eq!(download.if_range().expect("kept"), "\"e\"");
    assert_eq!(download.accept().expect("kept"), "audio/*");
    assert_eq!(download.purpose().map(Purpose::as_str), Some("Prüfung"));
    assert_eq!(download.ticket().map(Ticket::as_str), Some("T-1"));
    let alone = with(&[("if-range", "\"e\""), ("range", "bytes=0-1,3-4")]).expect("a download");
    assert_eq!((alone.range(), alone.if_range()), (None, None));
}

proptest! {
    /// The string that was decided about is the string that is sent: what we print is read back as the same download.
    #[test]
    fn r07_what_is_sent_is_what_was_decided(
        agent in 101_u32..=999_999, owner in 101_u32..=999_999, vdn in 0_u32..9999, day in 1_u32..=28,
        folder in "[0-9A-Za-z_-]{1,8}", name in "[0-9A-Za-z_-]{1,12}(\\.[0-9A-Za-z]{1,4})?", drive in "[A-Za-z]",
    ) {
        let path = format!("{drive}:/{vdn}/{folder}/202105{day:02}/{owner}/{name}");
        let target = format!("{BASE}/recordfile/{agent}/recordfiledownloadEx?hwFileName={}&callId=1621413752-2011", path.replace('/', "%2F"));
        let first = read(&target).expect("a download");
        let sent = Call::download(first.agent(), first.file());
        let again = read(sent.target.as_str()).expect("what we print is canonical");
        prop_assert_eq!(&again, &first);
        prop_assert_eq!(Call::download(again.agent(), again.file()), sent);
        let FileRef::RecordingEx { file: Some(file), .. } = first.file() else { panic!("another download") };
        prop_assert_eq!(file.as_str().to_ascii_lowercase(), path.to_ascii_lowercase());
    }

    #[test]
    fn no_target_panics(path in "[ -~]{0,60}", query in "[!-~]{0,80}") {
        if let Ok(uri) = format!("/{path}?{query}").parse::<Uri>() {
            let _ = parse(Version::HTTP_11, &Method::GET, &uri, &headers(&[]));
        }
    }
}
