//! What a client reads where the library refuses its head.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::super::crowd::Crowd;
use super::*;

const CANNED: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";

fn place() -> Place {
    let place = Crowd::new(9, Vec::new()).enter("192.0.2.1".parse().expect("an address")).expect("a place");
    place.waits();
    place
}

async fn read_all(mut far: DuplexStream) -> String {
    let mut text = String::new();
    far.read_to_string(&mut text).await.expect("text");
    text
}

/// What a client reads after `sent` when the library answers it with [`CANNED`].
async fn refused(place: &Place, sent: &[u8]) -> String {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    far.write_all(sent).await.expect("room");
    let mut transport = Transport::new(near, place);
    transport.read_exact(&mut vec![0; sent.len()]).await.expect("bytes");
    transport.write_all(CANNED).await.expect("room");
    drop(transport);
    read_all(far).await
}

#[tokio::test]
async fn the_librarys_refusal_becomes_a_problem_document() {
    let long = "a".repeat(4096);
    for (sent, status, code) in [
        ("GET / HTTP/1.1\r\nX: a".to_owned(), "431 Request Header Fields Too Large", "head_too_large"),
        (format!("GET / HTTP/1.1\r\nX: {long}\r\n"), "431 Request Header Fields Too Large", "head_too_large"),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(4095)), "431 Request Header Fields Too Large", "head_too_large"),
        (format!("\r\n\r\nGET /{long}aaaaaaaaaa"), "414 URI Too Long", "target_too_long"),
        (format!("GET /{long}aaaaa HTTP/1.1\r\nX: a"), "414 URI Too Long", "target_too_long"),
    ] {
        let place = place();
        let text = refused(&place, sent.as_bytes()).await;
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.split("\r\n");
        assert_eq!(lines.next(), Some(format!("HTTP/1.1 {status}").as_str()));
        let body: serde_json::Value = serde_json::from_str(body).expect("a document");
        assert_eq!((&body["code"], &body["type"]), (&code.into(), &format!("urn:ccgate:problem:{code}").into()));
        let known = place.progress().refused().get().expect("told");
        assert_eq!(body["request_id"], known.request_id.as_str());
        let mut lines: Vec<_> = lines.collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "cache-control: no-store",
                "connection: close",
                &format!("content-length: {}", known.bytes),
                "content-type: application/problem+json",
                "date: Thu, 01 Jan 1970 00:00:00 GMT",
                &format!("x-request-id: {}", known.request_id),
            ]
        );
    }
}

#[tokio::test]
async fn an_answer_of_ours_is_never_touched_whatever_it_looks_like() {
    let place = place();
    let (near, far) = tokio::io::duplex(1 << 16);
    let mut transport = Transport::new(near, &place);
    let turn = place.turn(false).answered(true);
    transport.write_all(CANNED).await.expect("room");
    drop(turn);
    // The body is with the library, and not all of it written.
    transport.write_all(CANNED).await.expect("room");
    assert!(place.progress().refused().get().is_none());
    transport.flush().await.expect("open");
    assert!(place.progress().is_waiting());
    transport.write_all(CANNED).await.expect("room");
    assert!(place.progress().refused().get().is_some(), "from here on it is the library's");
    drop(transport);
    let text = read_all(far).await;
    assert_eq!((text.matches("content-length: 0").count(), text.matches("problem+json").count()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_client_still_sends_is_read_for_a_while() {
    for (unread, sent) in [(true, 1 << 19), (false, 0)] {
        let place = place();
        drop(place.turn(unread));
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let mut transport = Transport::new(near, &place);
        let start = tokio::time::Instant::now();
        let client = async {
            let _ = far.write_all(&vec![0; sent]).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            closed = transport.shutdown() => closed.expect("closed"),
            () = client => {}
        }
        assert_eq!(start.elapsed(), if unread { LINGER } else { Duration::ZERO }, "{unread}");
    }
}
