//! The corpus: what is sent, the status that answers it (`None`: closed without a word), and the connection afterwards.

use super::After;

/// One vector.
pub(super) type Vector = (String, Vec<u8>, Option<u16>, After);

const CLOSE: After = After::Close;
const OPEN: After = After::Open;

/// The whole corpus. All of it carries a good token where a token can stand at all, so that nothing else refuses it.
pub(super) fn all(target: &str, token: &str) -> Vec<Vector> {
    let mut all = Vec::new();
    let from = Corpus { target, token };
    from.framing(&mut all);
    from.heads(&mut all);
    from.first_lines(&mut all);
    from.targets(&mut all);
    from.queries(&mut all);
    from.methods(&mut all);
    from.sizes(&mut all);
    all
}

struct Corpus<'a> {
    target: &'a str,
    token: &'a str,
}

impl Corpus<'_> {
    fn request(&self, method: &str, target: &str, lines: &str, body: &str) -> Vec<u8> {
        let token = self.token;
        format!("{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{lines}\r\n{body}")
            .into_bytes()
    }

    /// A good GET with more lines and a body.
    fn get(&self, lines: &str, body: &str) -> Vec<u8> {
        self.request("GET", self.target, lines, body)
    }

    fn framing(&self, all: &mut Vec<Vector>) {
        const CHUNKED: &str = "3\r\nabc\r\n0\r\n\r\n";
        const TE: &str = "Transfer-Encoding: chunked\r\n";
        let te = |value: &str| format!("Transfer-Encoding: {value}\r\n");
        for (name, lines, body) in [
            ("a body by length", "Content-Length: 3\r\n".to_owned(), "abc"),
            ("a length of nothing", "Content-Length: 0\r\n".to_owned(), ""),
            ("CL.TE", format!("Content-Length: 3\r\n{TE}"), CHUNKED),
            ("TE.CL", format!("{TE}Content-Length: 3\r\n"), CHUNKED),
            ("two lengths that agree", "Content-Length: 3\r\nContent-Length: 3\r\n".to_owned(), "abc"),
            ("two lengths that do not", "Content-Length: 3\r\nContent-Length: 4\r\n".to_owned(), "abcd"),
            ("a list of lengths", "Content-Length: 3, 3\r\n".to_owned(), "abc"),
            ("a length with a sign", "Content-Length: +3\r\n".to_owned(), "abc"),
            ("a negative length", "Content-Length: -1\r\n".to_owned(), "abc"),
            ("a length in hex", "Content-Length: 0x3\r\n".to_owned(), "abc"),
            ("a length of 2^64+3", "Content-Length: 18446744073709551619\r\n".to_owned(), "abc"),
            ("an empty length", "Content-Length: \r\n".to_owned(), "abc"),
            ("a length with a space inside", "Content-Length: 1 1\r\n".to_owned(), "abc"),
            ("a blank before the colon", "Content-Length : 3\r\n".to_owned(), "abc"),
            ("chunked", TE.to_owned(), CHUNKED),
            ("chunked, identity", te("chunked, identity"), CHUNKED),
            ("identity", te("identity"), "abc"),
            ("gzip, chunked", te("gzip, chunked"), CHUNKED),
            ("xchunked", te("xchunked"), CHUNKED),
            ("chunked, chunked", te("chunked, chunked"), CHUNKED),
            ("TE.TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(), CHUNKED),
            ("TE twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".to_owned(), CHUNKED),
            ("a vertical tab before chunked", te("\u{b}chunked"), CHUNKED),
            ("a tab before chunked", te("\tchunked"), CHUNKED),
            ("CHUNKED", te("CHUNKED"), CHUNKED),
            ("a blank before TE's colon", "Transfer-Encoding : chunked\r\n".to_owned(), CHUNKED),
            ("an empty TE", te(""), CHUNKED),
            ("a chunk extension", TE.to_owned(), "3;a=b\r\nabc\r\n0\r\n\r\n"),
            ("a bare LF in a chunk extension", TE.to_owned(), "3;a\nb\r\nabc\r\n0\r\n\r\n"),
            ("a bare LF after a chunk size", TE.to_owned(), "3\nabc\r\n0\r\n\r\n"),
            ("a bad end of a chunk", TE.to_owned(), "3\r\nabcXX0\r\n\r\n"),
            ("a chunk size in hex style", TE.to_owned(), "0x3\r\nabc\r\n0\r\n\r\n"),
            ("a chunk size too large", TE.to_owned(), "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
            ("a blank after a chunk size", TE.to_owned(), "3 \r\nabc\r\n0\r\n\r\n"),
            ("trailers that frame", TE.to_owned(), "3\r\nabc\r\n0\r\nContent-Length: 5\r\nHost: b\r\n\r\n"),
            ("a request in the body", "Content-Length: 35\r\n".to_owned(), "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        ] {
            all.push((name.to_owned(), self.get(&lines, body), Some(400), CLOSE));
        }
        let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(20 * 1024));
        all.push(("a chunk extension of 20 KiB".to_owned(), self.get(TE, &long), Some(400), CLOSE));
        for lines in ["Content-Length: 3\r\n", TE, "Transfer-Encoding: gzip, chunked\r\n"] {
            let body = if lines.starts_with('C') { "abc" } else { CHUNKED };
            all.push((
                format!("POST with {lines:?}"),
                self.request("POST", self.target, lines, body),
                Some(405),
                CLOSE,
            ));
            all.push((format!("POST / with {lines:?}"), self.request("POST", "/", lines, body), Some(404), CLOSE));
            all.push((format!("GET / with {lines:?}"), self.request("GET", "/", lines, body), Some(404), CLOSE));
        }
    }

    fn heads(&self, all: &mut Vec<Vector>) {
        for (name, lines) in [
            ("a bare CR in a value", "X: a\rb\r\n"),
            ("a NUL in a value", "X: a\0b\r\n"),
            ("an escape in a value", "X: a\u{1b}[2Jb\r\n"),
            ("obs-fold", "X: a\r\n b\r\n"),
            ("obs-fold with a tab", "X: a\r\n\tb\r\n"),
            ("a header without a colon", "X\r\n"),
            ("an empty header name", ": x\r\n"),
            ("a blank in a name", "X Y: z\r\n"),
            ("a name that is no token", "X(): z\r\n"),
            ("a name over ASCII", "X\u{fc}: z\r\n"),
            ("two Hosts", "Host: b\r\n"),
            ("two Hosts that agree", "Host: a\r\n"),
            (
                "Upgrade to h2c",
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            ),
            (
                "Upgrade to a websocket",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13\r\n",
            ),
            ("Upgrade alone", "Upgrade: h2c\r\n"),
            ("Connection names Authorization", "Connection: close, Authorization\r\n"),
            ("Connection names Guid", "Connection: guid\r\n"),
            ("Connection names Host", "Connection: Host\r\n"),
            ("two ranges", "Range: bytes=0-1\r\nRange: bytes=3-4\r\n"),
            ("a purpose that is only blanks", "Ccgate-Purpose: \u{a0}\r\n"),
            ("a purpose of 201 characters", &format!("Ccgate-Purpose: {}\r\n", "x".repeat(201))),
            ("a purpose with a line separator", "Ccgate-Purpose: a\u{2028}b\r\n"),
        ] {
            all.push((name.to_owned(), self.get(lines, ""), Some(400), CLOSE));
        }
        let mut invalid = self.get("Ccgate-Purpose: ", "");
        invalid.truncate(invalid.len() - 2);
        invalid.extend_from_slice(b"\xff\xfe\r\n\r\n");
        all.push(("a purpose that is no UTF-8".to_owned(), invalid, Some(400), CLOSE));
        for value in ["100-continue", "foo"] {
            all.push((format!("Expect: {value}"), self.get(&format!("Expect: {value}\r\n"), ""), Some(417), CLOSE));
        }
    }

    /// Heads whose first lines are at fault.
    fn first_lines(&self, all: &mut Vec<Vector>) {
        let (target, token) = (self.target, self.token);
        let token = format!("Authorization: Bearer {token}\r\n");
        for (name, text) in [
            ("no Host", format!("GET {target} HTTP/1.1\r\n{token}\r\n")),
            ("an empty Host", format!("GET {target} HTTP/1.1\r\nHost: \r\n{token}\r\n")),
            ("a Host with a blank", format!("GET {target} HTTP/1.1\r\nHost: a b\r\n{token}\r\n")),
            ("a Host with a path", format!("GET {target} HTTP/1.1\r\nHost: a/b\r\n{token}\r\n")),
            ("a Host with a user", format!("GET {target} HTTP/1.1\r\nHost: u@a\r\n{token}\r\n")),
            ("HTTP/1.0", format!("GET {target} HTTP/1.0\r\nHost: a\r\n{token}\r\n")),
            (
                "TE on HTTP/1.0",
                format!("GET {target} HTTP/1.0\r\nHost: a\r\n{token}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            ),
            (
                "TE and CL on HTTP/1.0",
                format!(
                    "GET {target} HTTP/1.0\r\nHost: a\r\n{token}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
                ),
            ),
            ("HTTP/1.2", format!("GET {target} HTTP/1.2\r\nHost: a\r\n{token}\r\n")),
            ("HTTP/2.0", format!("GET {target} HTTP/2.0\r\nHost: a\r\n{token}\r\n")),
            ("HTTP/0.9", format!("GET {target}\r\n\r\n")),
            ("a version in lower case", format!("GET {target} http/1.1\r\nHost: a\r\n{token}\r\n")),
            ("a leading blank", format!("GET {target} HTTP/1.1\r\n Host: a\r\n{token}\r\n")),
            ("two blanks", format!("GET  {target} HTTP/1.1\r\nHost: a\r\n{token}\r\n")),
            ("a method that is no token", format!("GE(T {target} HTTP/1.1\r\nHost: a\r\n{token}\r\n")),
            ("noise", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n\r\n".to_owned()),
        ] {
            all.push((name.to_owned(), text.into_bytes(), Some(400), CLOSE));
        }
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        all.push(("the preface of HTTP/2".to_owned(), preface, None, CLOSE));
    }

    fn targets(&self, all: &mut Vec<Vector>) {
        let path = self.target.split('?').next().unwrap();
        let query = self.target.split('?').nth(1).unwrap();
        for path in [
            path.replace("recordfile/", "recordfile%2f"),
            path.replace("recordfile/", "recordfile%2F"),
            path.replace("recordfile/", "recordfile%5c"),
            path.replace("recordfile/", "recordfile/%2e%2e/recordfile/"),
            path.replace("recordfile/", "recordfile/../recordfile/"),
            path.replace("recordfile/", "recordfile/./"),
            path.replace("recordfile/", "recordfile//"),
            path.replace("recordfile/", "recordfile\\"),
            path.replace("recordfile/", "recordfile;a=b/"),
            path.replace("recordfile/", "recordfil\u{e9}/"),
            path.replace("recordfile/", "recordfile%00/"),
            path.replace("recordfile/", "recordfile%25/"),
            path.replace("agentgateway", "%61gentgateway"),
            path.replace("1001", "01001"),
            path.replace("1001", "1001%20"),
            path.replace("1001", "1000000"),
            format!("/{path}"),
            format!("/..{path}"),
            format!("http://evil.example{path}"),
            format!("http://a{path}"),
            path.trim_start_matches('/').to_owned(),
            "evil.example:80".to_owned(),
        ] {
            let target = format!("{path}?{query}");
            let target = if path == "evil.example:80" { path.clone() } else { target };
            all.push((format!("target {target:?}"), self.request("GET", &target, "", ""), Some(400), CLOSE));
        }
        let spaced = path.replace("recordfile/", "record file/");
        all.push((
            "a blank in the target".to_owned(),
            self.request("GET", &format!("{spaced}?{query}"), "", ""),
            Some(400),
            CLOSE,
        ));
        for path in [
            path.to_uppercase(),
            path.replace("recordfile/", "recordfiles/"),
            format!("{path}/"),
            format!("{path}.json"),
            "/metrics".to_owned(),
            "/".to_owned(),
        ] {
            all.push((
                format!("path {path}"),
                self.request("GET", &format!("{path}?{query}"), "", ""),
                Some(404),
                OPEN,
            ));
        }
    }

    fn queries(&self, all: &mut Vec<Vector>) {
        let base = "/agentgateway/resource/recordfile/1001";
        let own = "Y:/90/0/20210519/1001/1.V3";
        for target in [
            format!("{}&callId=1", self.target),
            format!("{}&CallId=1", self.target),
            format!("{}&", self.target),
            format!("{}&x=1", self.target),
            format!("{}&workNo=", self.target),
            format!("{}%2541", self.target),
            format!("{}%00", self.target),
            format!("{}%", self.target),
            format!("{}+", self.target),
            format!("{};workNo=1001", self.target),
            format!("{base}?recordId={own}&recordId={own}"),
            format!("{base}?recordId={own}&RecordId={own}"),
            format!("{base}?recordId={own}/../2.V3"),
            format!("{base}?recordId=Y:/90/0/20210519/1001/..%2f1.V3"),
            format!("{base}?recordId=Y:/90/0/20210519/1001%00/1.V3"),
            format!("{base}?recordId=%5C%5Cserver%5Cshare%5C1.V3"),
            format!("{base}?recordId=Y:Z:/90/0/20210519/1001/1.V3"),
            format!("{base}?recordId=//90/0/20210519/1001/1.V3"),
            format!("{base}?recordId={}", own.replace('/', "%252F")),
            format!("{base}?"),
            format!("{base}/videofiledownload?conferenceId=279fe21d-2caa-4437-84c3-ab9e9dae20f5&fileType=mp4"),
            format!("{base}/videofiledownloadEx"),
        ] {
            all.push((format!("query {target}"), self.request("GET", &target, "", ""), Some(400), CLOSE));
        }
    }

    fn methods(&self, all: &mut Vec<Vector>) {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "X"] {
            all.push((format!("method {method}"), self.request(method, self.target, "", ""), Some(405), CLOSE));
        }
        all.push(("OPTIONS *".to_owned(), self.request("OPTIONS", "*", "", ""), Some(400), CLOSE));
        all.push(("CONNECT".to_owned(), self.request("CONNECT", "evil.example:443", "", ""), Some(400), CLOSE));
    }

    fn sizes(&self, all: &mut Vec<Vector>) {
        let lines = (0..101).map(|n| format!("x{n}: y\r\n")).collect::<Vec<_>>().concat();
        all.push(("101 headers".to_owned(), self.get(&lines, ""), Some(431), CLOSE));
        for kib in [100, 500] {
            let line = format!("X: {}\r\n", "a".repeat(kib * 1024));
            all.push((format!("a header of {kib} KiB"), self.get(&line, ""), Some(431), CLOSE));
        }
        let target = format!("{}{}", self.target, "1".repeat(5000));
        all.push(("a target of 5 KB".to_owned(), self.request("GET", &target, "", ""), Some(400), CLOSE));
        let target = format!("{}{}", self.target, "1".repeat(70 * 1024));
        all.push(("a target of 70 KiB".to_owned(), self.request("GET", &target, "", ""), Some(431), CLOSE));
    }
}
