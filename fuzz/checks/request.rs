//! What holds for any request head: what is sent upstream is what was decided about, and nothing else of the request.

use ccgate::cc::{Call, SignInForm};
use ccgate::route::{self, ByteRange, Download, Purpose, Seat, SeatAct, Ticket};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use percent_encoding::percent_decode_str;

/// The input is a head: a line with method and target, then a line for each header. Says whether it is taken.
pub fn check(data: &[u8]) -> bool {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let (method, target) = match first.iter().position(|byte| *byte == b' ') {
        Some(at) => (&first[..at], &first[at + 1..]),
        None => (&b"GET"[..], first),
    };
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method), Uri::try_from(target)) else { return false };
    let headers = headers(lines);
    let download = route::parse(Version::HTTP_11, &method, &uri, &headers);
    let seat = route::parse_seat(Version::HTTP_11, &method, &uri, &headers);
    assert!(download.is_err() || seat.is_err(), "it is a download and a call about a seat");
    match &download {
        Ok(download) => check_download(&uri, download),
        Err(error) => check_text(&error.to_string()),
    }
    match &seat {
        Ok(seat) => check_seat(&method, &uri, *seat),
        Err(error) => check_text(&error.to_string()),
    }
    assert_eq!(route::parse(Version::HTTP_11, &method, &uri, &headers), download, "the same head, read again");
    download.is_ok() || seat.is_ok()
}

fn headers<'h, I: Iterator<Item = &'h [u8]>>(lines: I) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = line[at + 1..].trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// What goes upstream is of the same meaning as what came, in one spelling, and reads back as itself.
fn check_download(uri: &Uri, download: &Download) {
    let call = Call::download(download.agent(), download.file());
    assert_eq!(call.method, Method::GET);
    let sent = call.target.as_str();
    assert!(sent.len() <= 4096 && sent.bytes().all(|byte| byte.is_ascii_graphic()), "{sent}");
    let printed: Uri = sent.parse().expect("what is sent is a target");
    let bare = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("gateway"))]);
    let again = route::parse(Version::HTTP_11, &Method::GET, &printed, &bare).expect("what is sent is read");
    assert_eq!((again.agent(), again.file()), (download.agent(), download.file()), "sent: {sent}");
    assert_eq!(Call::download(again.agent(), again.file()), call, "there is one spelling");
    assert_eq!(route::operation(uri), Some(download.file().operation()));
    assert_eq!(printed.path(), uri.path(), "the path is sent as it came");
    assert_eq!(parameters(&printed), parameters(uri), "sent: {sent}, came: {uri}");
    if let Some(range) = download.range() {
        assert_eq!(ByteRange::parse(&range.to_string()), Some(range));
    }
    assert!(download.if_range().is_none() || download.range().is_some(), "If-Range without a range");
    let words = [download.purpose().map(Purpose::as_str), download.ticket().map(Ticket::as_str)];
    for word in words.into_iter().flatten() {
        assert!(word.trim() == word && !word.chars().any(char::is_control), "{word:?}");
    }
}

/// The parameters of a target by name, read by other code than the one that is checked, each in its canonical spelling.
fn parameters(uri: &Uri) -> Vec<(String, String)> {
    let query = uri.query().unwrap_or_default();
    let mut all: Vec<_> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), canonical(&percent_decode_str(value).decode_utf8_lossy())))
        .collect();
    all.sort();
    all
}

/// A path's separators and drive letter, and a UUID's case; everything else has one spelling anyway.
fn canonical(value: &str) -> String {
    match value.as_bytes() {
        [drive, b':', b'/' | b'\\', ..] => {
            format!("{}{}", drive.to_ascii_uppercase() as char, value[1..].replace('\\', "/"))
        }
        _ if value.len() == 36 && value.matches('-').count() == 4 => value.to_ascii_lowercase(),
        _ => value.to_owned(),
    }
}

/// A call about a seat is sent on by the path and the method that it came with.
fn check_seat(method: &Method, uri: &Uri, seat: Seat) {
    let call = match seat.act() {
        SeatAct::SignIn(form @ (SignInForm::Full | SignInForm::Platform | SignInForm::Force)) => {
            Call::sign_in(seat.agent(), form)
        }
        SeatAct::SignOut => Call::sign_out(seat.agent()),
        SeatAct::Handshake => Call::heartbeat(seat.agent()),
        SeatAct::Events => Call::poll(seat.agent()),
    };
    assert_eq!((&call.method, call.target.as_str()), (method, uri.path()));
    assert_eq!(uri.query(), None);
    assert_eq!(route::seat_act(uri), Some(seat.act()));
}

/// A refusal is one printable line, and tells nothing of a value: the seeds' values hold this word.
fn check_text(text: &str) {
    assert!(!text.is_empty() && text.len() < 300 && !text.chars().any(char::is_control), "{text:?}");
    assert!(!text.contains("hunter2"), "{text:?}");
}
