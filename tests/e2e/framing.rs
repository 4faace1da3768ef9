//! Answers that are no recording, or not surely one: refused, mapped, and their connection not used again.

use std::time::Duration;

use ccgate::sim::{self, Framing, Kind, Scope};
use serde_json::json;
use tokio::time::Instant;

use crate::client::{self, Answer};
use crate::world::{CALL, World, call, hex_sha256, recording, until};

async fn get(world: &World, target: &str) -> Answer {
    world.get(target, &world.issuer.agent(1001)).await
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.code())
}

/// A world whose only connection at rest is the one of a poll that is never answered.
async fn at_rest() -> World {
    let world = World::new().start().await;
    world.hold_polls();
    assert_eq!(get(&world, &call(1001, CALL)).await.status, 200);
    until("the poll waits", || async { world.sim.counts().polls == 1 }).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_bad_framing_is_refused_and_its_connection_is_not_used_again() {
    let world = at_rest().await;
    let coding = |text: &str| Kind::TransferEncoding(text.to_owned());
    let faults = [
        Kind::BothFramings,
        Kind::TwoLengths,
        coding("gzip, chunked"),
        coding("chunked, chunked"),
        coding("chunked, identity"),
        coding("identity"),
        coding("xchunked"),
        Kind::CloseDelimited,
        Kind::Switching101,
        Kind::GarbageHead,
        Kind::HugeHead,
    ];
    // A small body is there together with its head, a large one still comes when the answer is refused already.
    for (size, call_id) in [(10, "1621413752-1"), (64 * 1024, "1621413752-2"), (4 << 20, "1621413752-3")] {
        world.sim.add_file(call_id, size);
        for fault in &faults {
            let target = call(1001, call_id);
            let whole = get(&world, &target).await;
            assert_eq!((whole.status.as_u16(), whole.body.len() as u64), (200, size), "before {fault:?}");
            let asked = world.asked();
            world.fault(fault.clone(), Scope::Download, 1);
            let answer = get(&world, &target).await;
            assert_eq!(refused(&answer), (502, "upstream_protocol".to_owned()), "{fault:?} {size}");
            assert_eq!(world.asked(), asked + 1, "asked once: {fault:?} {size}");
            let end = world.end_of(answer.header("ccgate-audit-id")).await;
            assert_eq!((&end["event"], &end["reason"]), (&json!("failed"), &json!("upstream_protocol")), "{fault:?}");
            assert_eq!((&end["delivery"]["class"], &end["delivery"]["client_bytes"]), (&json!("error"), &json!(0)));
            // Sooner than a connection that is kept for reuse is given up.
            let start = Instant::now();
            until(&format!("closed after {fault:?} {size}"), || async { world.sim.counts().open_connections == 1 })
                .await;
            assert!(start.elapsed() < Duration::from_secs(10), "kept for reuse: {fault:?} {size}");
        }
    }
    assert_eq!((world.sim.counts().sign_ins, world.sim.broken_rules()), (1, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_bytes_behind_a_body_are_no_answer_to_anything() {
    let world = at_rest().await;
    world.fault(Kind::ShortLength, Scope::Download, 1);
    let half = get(&world, &call(1001, CALL)).await;
    assert_eq!((half.status.as_u16(), half.whole, half.body.len()), (200, true, 32 * 1024));
    for _ in 0..3 {
        let next = get(&world, &call(1001, CALL)).await;
        assert_eq!((next.status.as_u16(), next.body.to_vec()), (200, sim::body_bytes(CALL, 0, 64 * 1024, 64 * 1024)));
    }
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_recording_is_refused() {
    let world = World::new().start().await;
    let media = |text: &str| Kind::ContentType(text.to_owned());
    for (fault, status) in [
        (Kind::HtmlPage, None),
        (media("text/html;charset=utf-8"), None),
        (media("multipart/byteranges; boundary=x"), None),
        (media("application/json;charset=UTF-8"), None),
        (Kind::Http(500), Some(500)),
        (Kind::Http(302), Some(302)),
        (Kind::Http(404), Some(404)),
        (Kind::Http(204), Some(204)),
    ] {
        world.fault(fault.clone(), Scope::Download, 1);
        let answer = get(&world, &call(1001, CALL)).await;
        assert_eq!(refused(&answer), (502, "upstream_protocol".to_owned()), "{fault:?}");
        let end = world.end_of(answer.header("ccgate-audit-id")).await;
        assert_eq!((&end["event"], &end["reason"]), (&json!("failed"), &json!("upstream_protocol")), "{fault:?}");
        if let Some(status) = status.filter(|status| *status != 204) {
            assert_eq!(end["upstream"]["status"], status);
        }
    }
    assert_eq!((world.sim.counts().sign_ins, world.sim.broken_rules()), (1, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_reset_before_the_head_is_retried_once() {
    let world = World::new().start().await;
    assert_eq!(get(&world, &call(1001, CALL)).await.status, 200);
    world.fault(Kind::Reset, Scope::Download, 1);
    let healed = get(&world, &call(1001, CALL)).await;
    assert_eq!((healed.status.as_u16(), healed.body.len(), world.asked()), (200, 64 * 1024, 3));

    world.fault(Kind::Reset, Scope::Download, 2);
    let answer = get(&world, &call(1001, CALL)).await;
    assert_eq!(refused(&answer), (502, "upstream_unreachable".to_owned()));
    assert_eq!(world.asked(), 5, "twice and no more");
    let end = world.end_of(answer.header("ccgate-audit-id")).await;
    assert_eq!((&end["event"], &end["reason"]), (&json!("failed"), &json!("upstream_unreachable")));
    assert_eq!(get(&world, &call(1001, CALL)).await.status, 200);
    assert_eq!((world.sim.counts().sign_ins, world.events("authorized").len()), (1, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_is_a_timeout() {
    let world = World::new().config(|config| {
        config["upstream"]["connect_timeout"] = "2s".into();
        config["upstream"]["response_timeout"] = "500ms".into();
        config["upstream"]["idle_timeout"] = "1s".into();
    });
    let world = world.start().await;
    for fault in [Kind::HangBeforeHead, Kind::StallAt(0)] {
        world.fault(fault.clone(), Scope::Download, 1);
        let answer = get(&world, &call(1001, CALL)).await;
        assert_eq!(refused(&answer), (504, "upstream_timeout".to_owned()), "{fault:?}");
        let end = world.end_of(answer.header("ccgate-audit-id")).await;
        assert_eq!((&end["event"], &end["reason"]), (&json!("failed"), &json!("upstream_timeout")));
    }
    assert_eq!(world.asked(), 2, "a request that may have been acted on is not repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_under_a_files_content_type_is_told_from_a_file() {
    for framing in [Framing::ContentLength, Framing::Chunked] {
        let world = World::new().sim(|sim| sim.framing = framing).start().await;
        for (retcode, status, code) in [
            ("104-005", 404, "recording_not_found"),
            ("104-002", 403, "upstream_forbidden"),
            ("000-002", 400, "upstream_bad_request"),
            ("000-004", 503, "upstream_switching"),
            ("104-001", 502, "upstream_refused"),
            ("108-014", 502, "upstream_refused"),
        ] {
            world.fault(Kind::JsonAsFile(retcode.to_owned()), Scope::Download, 1);
            let answer = get(&world, &call(1001, CALL)).await;
            assert_eq!(refused(&answer), (status, code.to_owned()), "{retcode}");
            assert_eq!(answer.json()["retcode"], retcode);
            assert!(!String::from_utf8_lossy(&answer.body).contains("Y:/secret"), "the upstream's text: {answer:?}");
            let end = world.end_of(answer.header("ccgate-audit-id")).await;
            assert_eq!((&end["reason"], &end["upstream"]["retcode"]), (&json!("upstream_refused"), &json!(retcode)));
            assert_eq!(end["delivery"]["class"], "error");
        }
        world.fault(Kind::JsonAsFile("100-006".to_owned()), Scope::Download, 1);
        world.sim.throw_out(1001);
        assert_eq!(get(&world, &call(1001, CALL)).await.status, 200, "a loss is healed under this content type too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_file_that_looks_like_json_is_a_file() {
    let path = |number: u32| format!("Y:/90/0/20210519/1001/{number}.txt");
    // A simulated file is noise of its name: one in 256 starts like an object.
    let path = (0..100_000).map(path).find(|path| sim::body_bytes(path, 0, 1, 1) == b"{").unwrap();
    for framing in [Framing::ContentLength, Framing::Chunked] {
        let world = World::new().sim(|sim| sim.framing = framing).start().await;
        for size in [1, 1000, 64 * 1024, 64 * 1024 + 1, 300 * 1024] {
            world.sim.add_file(&path, size);
            let answer = get(&world, &recording(1001, &path)).await;
            let expected = sim::body_bytes(&path, 0, usize::try_from(size).unwrap(), size);
            assert!(answer.status == 200 && answer.whole && answer.body == expected, "{size}: {}", answer.status);
            let end = world.end_of(answer.header("ccgate-audit-id")).await;
            assert_eq!((&end["event"], &end["delivery"]["class"]), (&json!("finished"), &json!("media")));
            assert_eq!(end["delivery"]["upstream_bytes"], size);
            assert_eq!(end["delivery"]["client_bytes"], size);
            assert_eq!(end["delivery"]["sha256"], hex_sha256(&expected));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_is_delivered_and_recorded_as_empty() {
    for framing in [Framing::ContentLength, Framing::Chunked] {
        let world = World::new().sim(|sim| (sim.framing, sim.default_size) = (framing, 0)).start().await;
        let answer = get(&world, &call(1001, CALL)).await;
        assert_eq!((answer.status.as_u16(), answer.whole, answer.body.len()), (200, true, 0));
        let end = world.end_of(answer.header("ccgate-audit-id")).await;
        assert_eq!((&end["event"], &end["delivery"]["class"]), (&json!("finished"), &json!("empty")));
        assert_eq!((&end["delivery"]["complete"], &end["delivery"]["sha256"]), (&json!(true), &json!(hex_sha256(b""))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_is_the_one_that_is_configured() {
    for digest in ["sha256", "blake3", "none"] {
        let world = World::new().config(|config| config["audit"]["digest"] = digest.into()).start().await;
        let answer = get(&world, &call(1001, CALL)).await;
        let delivery = &world.end_of(answer.header("ccgate-audit-id")).await["delivery"];
        let expected = |name: &str, hex: String| if name == digest { json!(hex) } else { json!(null) };
        assert_eq!(delivery["sha256"], expected("sha256", hex_sha256(&answer.body)));
        assert_eq!(delivery["blake3"], expected("blake3", blake3::hash(&answer.body).to_string()));
        assert_eq!((delivery["complete"].clone(), delivery["client_bytes"].clone()), (json!(true), json!(64 * 1024)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_refused_and_asks_nobody() {
    let world = World::new().start().await;
    let bearer = format!("Bearer {}", world.issuer.agent(1001));
    let head = client::request(world.server(), "HEAD", &call(1001, CALL), &[("authorization", &bearer)]).await;
    let answer = client::whole(head).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow"), answer.body.len()), (405, "GET", 0));
    assert_eq!((world.sim.counts().requests, world.events("authorized").len()), (0, 0));
}
