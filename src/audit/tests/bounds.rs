//! However much and whatever somebody else writes into a record: it fits into a line, and the line is one object with the
//! same texts.

use std::sync::atomic::AtomicBool;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use serde::Serialize;

use super::super::entry::{EntryId, Facts};
use super::super::line::LINE_BYTES_MAX;
use super::super::record::{Asked, Ended as EndRecord, Noted};
use super::super::{ConfigChange, Event, FailReason, Refusal};
use super::records::draft;
use super::*;
use crate::policy::{Denied, Reason};
use crate::route::Purpose;

/// What somebody else can choose of a record.
#[derive(Debug, Clone)]
struct Texts {
    issuer: String,
    subject: String,
    client: String,
    roles: Vec<String>,
    teams: Vec<String>,
    purpose: String,
    ticket: String,
    rule: String,
    message: String,
    range: String,
    reason: String,
}

/// The longest download that the grammars let in.
fn longest_download() -> Download {
    let folder = "Y:/4294967295/0/20210519/999999/";
    let path = format!("{folder}{}", "x".repeat(255 - folder.len()));
    let file = FileRef::RecordingEx {
        call_id: "9".repeat(64).parse().expect("a call id"),
        file: Some(path.parse().expect("a path")),
        work_no: Some(agent(999_999)),
    };
    Download::for_test(agent(999_999), file, None)
}

fn longest_arrival() -> Arrival {
    let address = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535";
    let source = Source {
        peer: address.parse().expect("an address"),
        forwarded: Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().expect("an address")),
        certificate: Some(Arc::new(ClientCertificate::longest_for_test())),
    };
    Arrival { source, ..arrival(&"x".repeat(64)) }
}

impl Texts {
    fn caller(&self) -> Caller {
        let [roles, teams] =
            [&self.roles, &self.teams].map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
        Caller::for_test(Some(agent(999_999)), &roles, Inspects::default(), &teams)
            .named_for_test(&self.issuer, &self.subject, &self.client)
            .claiming_for_test(Some(&self.purpose), Some(&self.ticket))
    }

    fn authorized(&self) -> Authorized {
        Authorized::for_test(self.caller(), longest_download(), longest_arrival()).by_rule_for_test(&self.rule)
    }

    fn facts(&self) -> Facts {
        Facts {
            seq: 1,
            id: EntryId::random(Clock::system().now()).expect("an id"),
            authorized: self.authorized(),
            reservation: Budgeted::for_test(self.authorized()).into_parts().1,
            session: session(),
            attempts: u32::MAX,
            begun: Instant::now(),
            taken: true,
            asking: None,
            timed_out: Arc::new(AtomicBool::new(false)),
            pseudonyms: None,
        }
    }

    fn end(&self) -> End {
        let retcode = Retcode::parse(&"9".repeat(16));
        let delivery = Delivery {
            upstream_bytes: u64::MAX,
            client_bytes: u64::MAX,
            range: Some(self.range.clone()),
            content_range: Some(self.range.clone()),
            first_byte: Some(Duration::MAX),
            duration: Duration::MAX,
            ..finished().delivery
        };
        End {
            outcome: Outcome::Failed { reason: FailReason::RangeNotSatisfiable },
            upstream: Some(UpstreamAnswer { status: 65_535, retcode, message: self.message.clone() }),
            delivery,
        }
    }

    fn denied(&self) -> Denied {
        let reason = Reason::Custom("x".repeat(40).into());
        Denied::for_test(self.caller(), longest_download(), longest_arrival(), reason).by_rule_for_test(&self.rule)
    }

    fn config(&self) -> Event {
        let (change, hash) = (ConfigChange::Refused, "ef".repeat(32));
        Event::Config { change, hash, generation: u64::MAX, reason: Some(self.reason.clone()) }
    }

    /// Each kind of record that holds such texts, as it stands in the file.
    fn records(&self) -> [Vec<u8>; 5] {
        let (facts, end, event) = (self.facts(), self.end(), self.config());
        let (permission, denied) = (self.authorized(), self.denied());
        let retcode = Retcode::parse(&"9".repeat(16));
        let refusal = Refusal {
            arrival: permission.arrival(),
            caller: None,
            download: None,
            seat: None,
            authorized: Some(&permission),
            code: "audit_unavailable",
            limit: None,
            retcode: retcode.as_ref(),
        };
        [
            line(&Asked::authorized(&facts)),
            line(&Asked::denied(&denied, None)),
            line(&Asked::refused(refusal, None)),
            line(&EndRecord::new(&facts, &end)),
            line(&Noted::from(&event)),
        ]
    }
}

fn line(fields: &impl Serialize) -> Vec<u8> {
    draft(fields)
}

#[tokio::test(start_paused = true)]
async fn the_longest_record_that_there_can_be_fits_into_a_line_and_says_what_was_cut() {
    // A character of three bytes that is written in six, in every field at once; a purpose may hold it.
    let long = "\u{202e}".repeat(70_000);
    let roles: Vec<_> = (0..3_000).map(|n| format!("{n}{}", "\u{202e}".repeat(200))).collect();
    let texts = Texts {
        issuer: long.clone(),
        subject: long.clone(),
        client: long.clone(),
        teams: roles.clone(),
        roles,
        purpose: "\u{202e}".repeat(200),
        ticket: "\u{202e}".repeat(200),
        rule: long.clone(),
        message: long.clone(),
        range: long.clone(),
        reason: long,
    };
    let names =
        ["decision.rule", "from.certificate", "who.client_id", "who.issuer", "who.roles", "who.subject", "who.teams"]
            .map(Value::from)
            .to_vec();
    let ends = ["delivery.content_range", "delivery.range", "issuer", "subject", "upstream.message"];
    let expected = [names.clone(), names.clone(), names, ends.map(Value::from).to_vec(), vec!["reason".into()]];
    for (record, expected) in texts.records().into_iter().zip(expected) {
        // The helper's envelope is shorter than the longest by a few digits of `seq` and the event's name.
        assert!(record.len() <= LINE_BYTES_MAX - 64, "{} bytes", record.len());
        let record: Value = serde_json::from_slice(&record).expect("JSON");
        assert_eq!(record["cut"], Value::from(expected));
    }
}

#[tokio::test]
async fn an_entry_of_any_length_is_opened_ended_and_recovered() {
    let world = World::new();
    let long = "\u{2028}".repeat(30_000);
    let person = |subject: &str| {
        let caller = caller().named_for_test(&long, subject, &long);
        Authorized::for_test(caller, longest_download(), longest_arrival()).by_rule_for_test(&long)
    };
    let (one, two) = (format!("{long}1"), format!("{long}2"));
    world.log.open(Budgeted::for_test(person(&one)), session()).await.expect("an entry").close(finished());
    let open = world.log.open(Budgeted::for_test(person(&two)), session()).await.expect("an entry");
    world.log.shut_down(Duration::ZERO).await;
    drop(open);
    let world = world.killed_and_started_again().await;
    world.stop().await;
    let lines = world.lines();
    check(&lines);
    let subject = |event: &str, at: usize| {
        let mut found = lines.iter().filter(|line| line["event"] == event);
        let line = found.nth(at).unwrap_or_else(|| panic!("no {event}"));
        line["who"]["subject"].as_str().or(line["subject"].as_str()).expect("a subject").to_owned()
    };
    assert_eq!(subject("authorized", 0), subject("finished", 0));
    assert_eq!(subject("authorized", 1), subject("unknown", 0));
    assert_ne!(subject("authorized", 0), subject("authorized", 1), "two people stay two");
}

/// Every character that ends a line for somebody, commands a terminal or is cut in half by careless hands.
fn hostile() -> impl Strategy<Value = String> {
    let known =
        "\r\n\t\u{8}\u{1b}\0\u{7f}\u{85}\u{9b}\u{200f}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}\u{fffd}\"\\/é€😀";
    let known: Vec<char> = known.chars().collect();
    let character = prop_oneof![proptest::sample::select(known), any::<char>()];
    vec(character, 0..600).prop_map(|text| text.into_iter().collect())
}

prop_compose! {
    fn texts()(
        names in [hostile(), hostile(), hostile(), hostile()],
        roles in btree_set(hostile(), 0..4),
        teams in btree_set(hostile(), 0..4),
        words in [hostile(), hostile(), hostile(), hostile(), hostile()],
    ) -> Texts {
        let [issuer, subject, client, rule] = names;
        let [purpose, ticket, message, range, reason] = words;
        let [roles, teams] = [roles, teams].map(|names| names.into_iter().collect());
        Texts { issuer, subject, client, roles, teams, purpose, ticket, rule, message, range, reason }
    }
}

/// Whether a field holds the text: the whole, or where the record says that it was cut, its first characters.
fn same(record: &Value, path: &str, text: &str) -> Result<(), TestCaseError> {
    let found = path.split('.').fold(record, |value, name| &value[name]);
    let found = found.as_str().unwrap_or_default();
    let cut = record["cut"].as_array().is_some_and(|paths| paths.iter().any(|cut| cut == path));
    let head: String = text.chars().take(200).collect();
    prop_assert_eq!(cut, found != text, "{}", path);
    prop_assert!(found.starts_with(&head), "{}: {:?}", path, found);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn r16_every_field_that_somebody_else_chooses_stays_in_its_line(texts in texts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let records = runtime.block_on(async { texts.records() });
        let mut parsed = Vec::new();
        for record in records {
            let line = std::str::from_utf8(&record).expect("UTF-8").strip_suffix('\n').expect("a line feed");
            let ends = |c: char| {
                c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
            };
            prop_assert!(!line.contains(ends), "{line:?}");
            let record: Value = serde_json::from_str(line).expect("one object");
            prop_assert!(record.is_object());
            parsed.push(record);
        }
        let [authorized, denied, refused, failed, noted] = <[Value; 5]>::try_from(parsed).expect("five records");
        for asked in [&authorized, &denied, &refused] {
            same(asked, "who.issuer", &texts.issuer)?;
            same(asked, "who.subject", &texts.subject)?;
            same(asked, "who.client_id", &texts.client)?;
            same(asked, "decision.rule", &texts.rule)?;
            // A claim that is no printable line counts as absent, as the policy sees it.
            let words = |text: &String| text.parse::<Purpose>().is_ok().then(|| text.clone());
            prop_assert_eq!(asked["why"]["purpose"].as_str().map(str::to_owned), words(&texts.purpose));
            prop_assert_eq!(asked["why"]["ticket"].as_str().map(str::to_owned), words(&texts.ticket));
            for (field, names) in [("roles", &texts.roles), ("teams", &texts.teams)] {
                let found = asked["who"][field].as_array().map_or(&[][..], Vec::as_slice);
                prop_assert_eq!(found.len(), names.len());
                for (found, name) in found.iter().zip(names) {
                    let head: String = name.chars().take(128).collect();
                    prop_assert!(found.as_str().expect("a name").starts_with(&head));
                }
            }
        }
        same(&failed, "issuer", &texts.issuer)?;
        same(&failed, "subject", &texts.subject)?;
        if !texts.message.is_empty() {
            same(&failed, "upstream.message", &texts.message)?;
        }
        same(&failed, "delivery.range", &texts.range)?;
        same(&failed, "delivery.content_range", &texts.range)?;
        same(&noted, "reason", &texts.reason)?;
    }
}
