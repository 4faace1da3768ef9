//! A gateway whose answers are broken in every way that a peer can break them: each is refused or cut, told and recorded,
//! and its connection carries nothing any more.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Answer;
use crate::raw::{Act, Raw, Then, WHOLE, act};
use crate::world::{CALL, World, call, until};

const FILE: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n";

async fn behind(raw: &Raw) -> World {
    let world = World::new().file("raw-ca.pem", &raw.ca_pem).config(|config| {
        config["upstream"]["url"] = raw.url().into();
        config["upstream"]["ca_file"] = "raw-ca.pem".into();
        config["upstream"]["response_timeout"] = "1s".into();
        config["upstream"]["connect_timeout"] = "5s".into();
    });
    world.start().await
}

async fn get(world: &World) -> Answer {
    world.get(&call(1001, CALL), &world.issuer.agent(1001)).await
}

/// A download that goes well, and the connection that it went over.
async fn whole(world: &World, raw: &Raw, what: &str) -> usize {
    let answer = get(world).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"whole"[..]), "{what}: {answer:?}");
    *raw.seen("/recordfile/").last().unwrap()
}

async fn end_of(world: &World, answer: &Answer) -> Value {
    world.end_of(answer.header("ccgate-audit-id")).await
}

fn file(headers: &str, body: &str) -> Act {
    act(format!("{FILE}{headers}\r\n\r\n{body}"))
}

fn fields(count: usize) -> String {
    (0..count).fold(String::new(), |text, number| format!("{text}X-{number}: y\r\n"))
}

/// Every answer that is none, by a name.
fn table() -> Vec<(&'static str, Act)> {
    let chunk = "5\r\nwhole\r\n0\r\n\r\n";
    let with = |line: &str| act(WHOLE.replacen("HTTP/1.1 200 OK", line, 1));
    let beside = |field: &str| act(WHOLE.replacen("Content-Length", &format!("{field}Content-Length"), 1));
    vec![
        ("a length and chunks", file("Content-Length: 5\r\nTransfer-Encoding: chunked", chunk)),
        ("chunks and a length", file("Transfer-Encoding: chunked\r\nContent-Length: 5", chunk)),
        ("two lengths", file("Content-Length: 5\r\nContent-Length: 9", "whole")),
        ("one length twice", file("Content-Length: 5\r\nContent-Length: 5", "whole")),
        ("a list of lengths", file("Content-Length: 5, 5", "whole")),
        ("a signed length", file("Content-Length: +5", "whole")),
        ("a negative length", file("Content-Length: -5", "whole")),
        ("an empty length", file("Content-Length:", "whole")),
        ("a length beyond all numbers", file("Content-Length: 99999999999999999999999", "whole")),
        ("compressed chunks", file("Transfer-Encoding: gzip, chunked", chunk)),
        ("chunks that are not last", file("Transfer-Encoding: chunked, identity", "whole").then(Then::Close)),
        ("no chunks", file("Transfer-Encoding: identity", "whole").then(Then::Close)),
        ("chunks twice", file("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", chunk)),
        ("an end by closing", file("X: y", "whole").then(Then::Close)),
        ("a chunk without a size", file("Transfer-Encoding: chunked", "zz\r\nwhole\r\n0\r\n\r\n")),
        ("a chunk beyond all numbers", file("Transfer-Encoding: chunked", "fffffffffffffffff\r\nwhole")),
        (
            "an upgrade that nobody asked for",
            act("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        ),
        ("interim answers", act(format!("{}{WHOLE}", "HTTP/1.1 100 Continue\r\n\r\n".repeat(9)))),
        (
            "interim answers without end",
            act("").then(Then::Drip(b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(4), Duration::from_millis(5))),
        ),
        ("many fields", beside(&fields(64))),
        ("a long field", beside(&format!("X: {}\r\n", "y".repeat(64 * 1024)))),
        ("fields without end", act(FILE).then(Then::Drip(fields(8).into_bytes(), Duration::ZERO))),
        ("a field without a colon", beside("no colon\r\n")),
        ("a space before the colon", beside("X : y\r\n")),
        ("a field without a name", beside(": y\r\n")),
        ("a field that goes on", beside("X: y\r\n z\r\n")),
        ("a zero in a field", beside("X: y\0z\r\n")),
        ("HTTP/1.0", with("HTTP/1.0 200 OK")),
        ("HTTP/1.0 that is kept", act(format!("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n{}", &WHOLE[17..]))),
        ("HTTP/2.0 in words", with("HTTP/2.0 200 OK")),
        (
            "HTTP/2 in frames",
            act(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x00\x10\x00\x00".to_vec()),
        ),
        ("the preface of HTTP/2", act("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
        ("no head at all", act("whole").then(Then::Close)),
        ("a request", act("GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
        ("status 000", with("HTTP/1.1 000 Nothing")),
        ("status 099", with("HTTP/1.1 099 Low")),
        ("status 999", with("HTTP/1.1 999 High")),
        ("status 1000", with("HTTP/1.1 1000 Long")),
        ("no status", with("HTTP/1.1 OK")),
        ("a long status line", with(&format!("HTTP/1.1 200 {}", "O".repeat(64 * 1024)))),
        ("204 with a body", with("HTTP/1.1 204 No Content")),
        ("205 with a body", with("HTTP/1.1 205 Reset Content")),
        ("304 with a body", with("HTTP/1.1 304 Not Modified")),
        ("a part that nobody asked for", with("HTTP/1.1 206 Partial Content")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_a_broken_answer_is_refused_told_and_its_connection_given_up() {
    let raw = Raw::start().await;
    let world = behind(&raw).await;
    for (what, broken) in table() {
        let before = whole(&world, &raw, what).await;
        let asked = raw.seen("/recordfile/").len();
        raw.download(broken);
        let answer = get(&world).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "upstream_protocol"), "{what}: {answer:?}");
        let seen = raw.seen("/recordfile/");
        assert_eq!(seen.len(), asked + 1, "{what}: asked once");
        let end = end_of(&world, &answer).await;
        assert_eq!(end["event"], "failed", "{what}");
        let chunk = what.starts_with("a chunk ");
        let reason = if chunk { "upstream_truncated" } else { "upstream_protocol" };
        assert_eq!((&end["reason"], &end["delivery"]["client_bytes"]), (&json!(reason), &json!(0)), "{what}");
        let broken = *seen.last().unwrap();
        let after = whole(&world, &raw, what).await;
        assert_ne!(after, broken, "{what}: its connection was used again (the one before it was {before})");
        until(&format!("closed: {what}"), || async { raw.has_ended(broken) }).await;
    }
    assert_eq!(raw.seen("PUT ").len(), 1, "none of it costs the session");
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_what_comes_unasked_is_no_answer() {
    let raw = Raw::start().await;
    let world = behind(&raw).await;
    let other = WHOLE.replace("whole", "other");
    // Together with the answer before it.
    raw.download(act(format!("{WHOLE}{other}")));
    let first = whole(&world, &raw, "together").await;
    assert_ne!(whole(&world, &raw, "after").await, first);
    // When the connection is at rest.
    raw.download(act(WHOLE).then(Then::Later(other.clone().into_bytes())));
    let first = whole(&world, &raw, "later").await;
    until("it is closed", || async { raw.has_ended(first) }).await;
    assert_ne!(whole(&world, &raw, "after").await, first);
    // Before there was any request.
    raw.download(act(WHOLE.replacen("Content-Type", "Connection: close\r\nContent-Type", 1)).then(Then::Close));
    let first = whole(&world, &raw, "closing").await;
    until("it is closed", || async { raw.has_ended(first) }).await;
    raw.early(other);
    let answer = get(&world).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "upstream_protocol"), "{answer:?}");
    assert_eq!(end_of(&world, &answer).await["reason"], "upstream_protocol");
    whole(&world, &raw, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_a_head_that_never_ends_is_given_up_in_time() {
    let raw = Raw::start().await;
    let world = World::new().file("raw-ca.pem", &raw.ca_pem).config(|config| {
        config["upstream"]["url"] = raw.url().into();
        config["upstream"]["ca_file"] = "raw-ca.pem".into();
        config["upstream"]["response_timeout"] = "500ms".into();
        config["upstream"]["connect_timeout"] = "2s".into();
    });
    let world = world.start().await;
    whole(&world, &raw, "before").await;
    raw.download(act(format!("{FILE}X: ")).then(Then::Drip(b"y".to_vec(), Duration::from_millis(50))));
    let answer = get(&world).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (504, "upstream_timeout"));
    assert_eq!(end_of(&world, &answer).await["reason"], "upstream_timeout");
    let slow = *raw.seen("/recordfile/").last().unwrap();
    until("closed", || async { raw.has_ended(slow) }).await;
    assert_ne!(whole(&world, &raw, "after").await, slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_an_end_before_an_answer_is_asked_again_only_over_an_old_connection_and_without_a_byte() {
    let raw = Raw::start().await;
    let world = behind(&raw).await;
    let ends = [Then::Close, Then::End, Then::Reset];
    for end in &ends {
        // Over a connection that was used before, and nothing came: it was closed for its age.
        whole(&world, &raw, "before").await;
        let asked = raw.seen("/recordfile/").len();
        raw.download(act("").then(end.clone()));
        whole(&world, &raw, &format!("healed after {end:?}")).await;
        assert_eq!(raw.seen("/recordfile/").len(), asked + 2, "{end:?}");
        // A byte of an answer has come.
        raw.download(act("HTTP/1.1 200 O").then(end.clone()));
        let answer = get(&world).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "upstream_unreachable"), "{end:?}");
        assert_eq!(end_of(&world, &answer).await["reason"], "upstream_unreachable");
        assert_eq!(raw.seen("/recordfile/").len(), asked + 3, "{end:?}: asked once");
        // Over a fresh one.
        raw.download(act(WHOLE.replacen("Content-Type", "Connection: close\r\nContent-Type", 1)).then(Then::Close));
        let last = whole(&world, &raw, "closing").await;
        until("closed", || async { raw.has_ended(last) }).await;
        raw.download(act("").then(end.clone()));
        let answer = get(&world).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "upstream_unreachable"), "{end:?}");
        assert_eq!(raw.seen("/recordfile/").len(), asked + 5, "{end:?}: asked once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_body_that_breaks_off_is_cut_and_never_asked_for_again() {
    let raw = Raw::start().await;
    let world = behind(&raw).await;
    for end in [Then::Close, Then::End, Then::Reset] {
        for (what, headers, body) in [
            ("a length", "Content-Length: 9", "whol"),
            ("chunks", "Transfer-Encoding: chunked", "4\r\nwhol\r\n"),
            ("chunks without the last line", "Transfer-Encoding: chunked", "4\r\nwhol\r\n0\r\n"),
        ] {
            let asked = raw.seen("/recordfile/").len();
            raw.download(file(headers, body).then(end.clone()));
            let answer = get(&world).await;
            let end_record = end_of(&world, &answer).await;
            // A reset can overtake the bytes before it.
            let told = if answer.status == 200 { !answer.whole } else { answer.code() == "upstream_protocol" };
            let told = told || (matches!(end, Then::Reset) && answer.status == 502);
            assert!(told, "{what} {end:?}: {answer:?}");
            assert_eq!(end_record["event"], "failed", "{what} {end:?}");
            if answer.status == 200 {
                assert_eq!(end_record["reason"], "upstream_truncated", "{what} {end:?}");
                assert_eq!(end_record["delivery"]["complete"], false);
            }
            // What was reset before a byte came is asked for again where the connection was an old one.
            let again = usize::from(matches!(end, Then::Reset));
            assert!((asked + 1..=asked + 1 + again).contains(&raw.seen("/recordfile/").len()), "{what} {end:?}");
            whole(&world, &raw, what).await;
        }
    }
    // Without a farewell of TLS, but behind the last byte: the length says that it is whole.
    for end in [Then::End, Then::Close] {
        raw.download(act(WHOLE).then(end));
        whole(&world, &raw, "the end").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_sign_in_is_never_sent_twice() {
    for end in [Then::Close, Then::End, Then::Reset] {
        for bytes in ["", "HTTP/1.1 200 O"] {
            let raw = Raw::start().await;
            let world = behind(&raw).await;
            raw.sign_in(act(bytes).then(end.clone()));
            let answer = get(&world).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "upstream_unreachable"), "{end:?}");
            assert_eq!((raw.seen("PUT ").len(), raw.seen("/recordfile/").len()), (1, 0), "{end:?}");
        }
    }
}
