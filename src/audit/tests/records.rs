//! The records' texts: field names are public interface, and a line is one line for every reader.

use proptest::prelude::*;
use serde::Serialize;

use super::super::line::{Draft, Ledger};
use super::super::{By, ConfigChange, EntryId, Event, FailReason, Refusal, SessionChange};
use super::*;
use crate::policy::{Denied, Policy, Reason};
use crate::route::{Seat, SeatAct};

/// Replaces what is random or depends on the time by its form.
fn normal(line: &str) -> String {
    let value: Value = serde_json::from_str(line).expect("JSON");
    let mut text = line.to_owned();
    let forms = [
        (&value["salt"], "SALT"),
        (&value["entry"], "ENTRY"),
        (&value["ts"], "TIME"),
        (&value["recovered_at"], "TIME"),
        (&value["key"], "KEY"),
        (&value["session"]["guid_tag"], "GUIDTAG"),
        (&value["guid_tag"], "GUIDTAG"),
    ];
    for (found, form) in forms {
        if let Some(found) = found.as_str() {
            let length = match form {
                "TIME" => "2026-11-22T12:00:00.000000Z".len(),
                "GUIDTAG" => 16,
                "KEY" => 8,
                _ => 32,
            };
            assert_eq!(found.len(), length, "{form}: {found}");
            text = text.replace(found, form);
        }
    }
    let duration = &value["delivery"]["duration_us"];
    match value["event"].as_str() {
        Some("failed" | "aborted") if value["attempts"] == 1 => {
            text.replace(&format!("\"duration_us\":{duration}"), "\"duration_us\":N")
        }
        _ => text,
    }
}

async fn every_record(world: &World) {
    world.log.note(Event::Started { version: "0.1.0", config_hash: "cd".repeat(32) });
    let mut entry = world.open().await.expect("an entry");
    entry.session_replaced(session());
    let answer = UpstreamAnswer { status: 200, retcode: Retcode::parse("104-001"), message: "x".repeat(300) };
    let failed = Outcome::Failed { reason: FailReason::UpstreamRefused };
    entry.close(End { outcome: failed, upstream: Some(answer), ..finished() });
    world.open().await.expect("an entry").close(finished());
    let aborted = Outcome::Aborted { by: By::Shutdown };
    let partial = Delivery {
        range: Some("bytes=0-".to_owned()),
        content_range: Some("bytes 0-9/10".to_owned()),
        ..finished().delivery
    };
    let blake = Delivery { digest: Some((Digest::Blake3, [0x0f; 32])), first_byte: None, complete: false, ..partial };
    world.open().await.expect("an entry").close(End { outcome: aborted, upstream: None, delivery: blake });
    drop(world.open().await.expect("an entry"));
    world.log.denied(&Denied::for_test(caller(), download(), arrival("req-2"), Reason::NotYourRecording)).await;
    let retcode = Retcode::parse("100-002").expect("a code");
    let permission = authorized("req-3");
    let refusal = Refusal {
        arrival: permission.arrival(),
        caller: None,
        download: None,
        seat: None,
        authorized: Some(&permission),
        code: "agent_busy",
        limit: None,
        retcode: Some(&retcode),
    };
    world.log.refused(refusal).await;
    let forwarded = Some("192.0.2.7".parse().expect("an address"));
    let certificate = Some(Arc::new(ClientCertificate::for_test()));
    let forwarded = Source { forwarded, certificate, ..arrival("req-4").source };
    let arrival = Arrival { source: forwarded, trace: None, ..arrival("req-4") };
    let refusal = Refusal {
        arrival: &arrival,
        caller: None,
        download: None,
        seat: None,
        authorized: None,
        code: "token_expired",
        limit: None,
        retcode: None,
    };
    world.log.refused(refusal).await;
    let (policy, seat) = (Policy::builtin().expect("the rules"), Seat::for_test(agent(4978), SeatAct::SignOut));
    let refused = policy.seat(caller(), seat, arrival.clone()).expect_err("another's seat");
    world.log.not_your_seat(&refused).await;
    let refusal = Refusal { seat: Some(seat), code: "not_signed_in", ..refusal };
    world.log.refused(refusal).await;
    world.log.note(Event::Session {
        agent: agent(4977),
        change: SessionChange::SignedIn,
        guid: Some(session().tag),
        retcode: Retcode::parse("0"),
        detail: Some("platform"),
    });
    let reason = Some("server.listen cannot change while running".to_owned());
    world.log.note(Event::Config { change: ConfigChange::Refused, hash: "ef".repeat(32), generation: 1, reason });
}

#[tokio::test]
async fn each_record_has_the_golden_text() {
    let world = World::new();
    every_record(&world).await;
    let _open = world.open().await.expect("an entry");
    world.log.shut_down(Duration::ZERO).await;
    let world = world.killed_and_started_again().await;
    let text: String = segments(world.dir.path()).into_values().collect();
    let found: String = text.lines().map(|line| normal(line) + "\n").collect();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/audit.jsonl");
    if std::env::var_os("CCGATE_BLESS").is_some() {
        std::fs::write(golden, &found).expect("the golden file");
    }
    let expected = std::fs::read_to_string(golden).expect("the golden file");
    assert_eq!(found, expected, "run with CCGATE_BLESS=1 to take over the new texts");
}

#[tokio::test]
async fn r17_no_record_holds_a_guid() {
    let world = World::new();
    every_record(&world).await;
    world.stop().await;
    let text: String = segments(world.dir.path()).into_values().collect();
    assert!(text.contains("\"guid_tag\":") && !text.contains("279fe21d"), "{text}");
}

pub(super) fn draft(fields: &impl Serialize) -> Vec<u8> {
    let ledger = Ledger::new(Metrics::register(&Registry::new()).expect("metrics"));
    let at = "2026-11-22T12:00:00.5Z".parse().expect("a time");
    let draft = Draft::new("config.loaded", at, fields, &ledger).expect("it fits");
    let mut buffer = Vec::new();
    draft.write(7, 1, &mut buffer).expect("memory");
    buffer
}

#[test]
fn the_envelope_comes_first_and_a_record_can_be_empty() {
    let head = r#"{"v":1,"seq":7,"ts":"2026-11-22T12:00:00.500000Z","salt":"00000000000000000000000000000001","event":"config.loaded""#;
    assert_eq!(draft(&serde_json::json!({})), format!("{head}}}\n").as_bytes());
    assert_eq!(draft(&serde_json::json!({"a": 1})), format!("{head},\"a\":1}}\n").as_bytes());
}

proptest! {
    #[test]
    fn numbers_are_printed_as_standard_formatting_does(seq in any::<u64>(), salt in any::<u128>(), micros in 0..253_402_207_200_000_000_i64) {
        let ledger = Ledger::new(Metrics::register(&Registry::new()).expect("metrics"));
        let at = jiff::Timestamp::from_microsecond(micros).expect("a time");
        for salt in [salt, salt >> 64, salt & 0xff, 0, u128::MAX] {
            let mut line = Vec::new();
            let draft = Draft::own("process.started", at, &BTreeMap::from([("a", EntryId::parse(&format!("{salt:032x}")))]), &ledger);
            draft.expect("it fits").write(seq, salt, &mut line).expect("memory");
            let head = format!(r#"{{"v":1,"seq":{seq},"ts":"{at:.6}","salt":"{salt:032x}","event":"process.started""#);
            prop_assert_eq!(String::from_utf8(line).expect("UTF-8"), format!("{head},\"a\":\"{salt:032x}\"}}\n"));
        }
    }
}

#[test]
fn r16_characters_that_end_a_line_or_command_a_terminal_are_escaped() {
    let text = "a\r\n\u{1b}[31m\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\u{202e}\u{feff}\0\"\\ü€😀";
    let line = String::from_utf8(draft(&serde_json::json!({ "text": text }))).expect("UTF-8");
    let expected = r#""text":"a\r\n\u001b[31m\u007f\u0085\u009b\u2028\u2029\u202e\ufeff\u0000\"\\ü€😀"}"#;
    assert!(line.ends_with(&format!("{expected}\n")), "{line}");
}

proptest! {
    #[test]
    fn r16_one_record_is_one_line_and_one_object(text in any::<String>(), key in any::<String>()) {
        let line = String::from_utf8(draft(&BTreeMap::from([(&key, &text)]))).expect("UTF-8");
        let line = line.strip_suffix('\n').expect("a line feed");
        let ends = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
        prop_assert!(!line.contains(ends), "{line:?}");
        let value: Value = serde_json::from_str(line).expect("one object");
        if !["v", "seq", "ts", "salt", "event"].contains(&key.as_str()) {
            prop_assert_eq!(value[&key].as_str(), Some(text.as_str()));
        }
    }
}

#[test]
fn what_is_too_long_for_a_line_is_no_draft_and_counted() {
    let registry = Registry::new();
    let ledger = Ledger::new(Metrics::register(&registry).expect("metrics"));
    let at = "2026-11-22T12:00:00Z".parse().expect("a time");
    let long = serde_json::json!({ "text": "x".repeat(70_000) });
    assert!(Draft::or_lost("config.loaded", at, &long, &ledger).is_none());
    assert_eq!(ledger.untold(), 1);
    drop(Draft::new("config.loaded", at, &serde_json::json!({}), &ledger));
    assert_eq!(ledger.untold(), 2, "a draft that is dropped is lost");
    let draft = Draft::new("config.loaded", at, &serde_json::json!({}), &ledger).expect("it fits");
    draft.written();
    assert_eq!(ledger.untold(), 2);
}
