//! With a pseudonym key no file of the log names a person or a recording, and each still stands for itself.

use super::super::{FailReason, Pseudonyms, Refusal};
use super::*;
use crate::policy::{Denied, Policy, Reason};
use crate::route::{Seat, SeatAct};

/// The base64 of 32 bytes of zeros.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

const SUBJECT: &str = "planted-subject";
const RECORDING: &str = "Y:/90/0/20210519/4977/1642329.mp4";
const CALL: &str = "1621413752-2011";

fn keys() -> Pseudonyms {
    Pseudonyms::parse(KEY.as_bytes()).expect("a key")
}

fn planted() -> Caller {
    caller().named_for_test("https://idp.example", SUBJECT, SUBJECT)
}

fn permission() -> Authorized {
    let certificate = Some(Arc::new(ClientCertificate::for_test()));
    let source = Source { certificate, ..arrival("req-1").source };
    Authorized::for_test(planted(), download(), Arrival { source, ..arrival("req-1") })
}

#[tokio::test]
async fn no_file_of_the_log_names_a_person_or_a_recording() {
    let world = World::with(Plan::never(), |config| config.pseudonyms = Some(keys()));
    let told = End {
        outcome: Outcome::Failed { reason: FailReason::UpstreamRefused },
        upstream: Some(UpstreamAnswer {
            status: 200,
            retcode: Retcode::parse("104-005"),
            message: format!("{SUBJECT} may not have {RECORDING} of {CALL}"),
        }),
        ..finished()
    };
    world.log.open(Budgeted::for_test(permission()), session()).await.expect("an entry").close(told);
    let denied = Denied::for_test(planted(), download(), arrival("req-2"), Reason::NotYourRecording);
    world.log.denied(&denied).await;
    let given = permission();
    let refusal = Refusal {
        arrival: given.arrival(),
        caller: None,
        download: None,
        seat: None,
        authorized: Some(&given),
        code: "agent_busy",
        limit: None,
        retcode: None,
    };
    world.log.refused(refusal).await;
    let (policy, seat) = (Policy::builtin().expect("the rules"), Seat::for_test(agent(4978), SeatAct::SignOut));
    let refused = policy.seat(planted(), seat, arrival("req-3")).expect_err("another's seat");
    world.log.not_your_seat(&refused).await;
    let _open = world.log.open(Budgeted::for_test(permission()), session()).await.expect("an entry");
    world.log.shut_down(Duration::ZERO).await;
    let world = world.killed_and_started_again().await;
    world.stop().await;

    for file in std::fs::read_dir(world.dir.path()).expect("the directory") {
        let path = file.expect("an entry").path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        for planted in [SUBJECT, RECORDING, "1642329.mp4", CALL, KEY, "call-review", "qa@example.com"] {
            assert!(!bytes.windows(planted.len()).any(|part| part == planted.as_bytes()), "{planted} in {path:?}");
        }
    }
    let lines = world.lines();
    check(&lines);
    expected_everywhere(&lines);
}

fn expected_everywhere(lines: &[Value]) {
    let shown = &lines.iter().find(|line| line["event"] == "authorized").expect("a record");
    assert_eq!(shown["from"]["certificate"]["sha256"], "5a".repeat(32), "whose it is, its issuer can tell");
    assert_eq!(shown["cut"], serde_json::json!(["from.certificate"]));
    let subject = keys().subject("https://idp.example", SUBJECT);
    let reference = keys().reference(&format!("file:{RECORDING}"));
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    assert_eq!((of("authorized").len(), of("denied").len()), (2, 3));
    for line in [of("authorized"), of("denied")].concat() {
        assert_eq!(
            (&line["who"]["subject"], &line["who"]["client_id"]),
            (&subject.clone().into(), &subject.clone().into())
        );
        assert_eq!(line["who"]["issuer"], "https://idp.example");
        if line["code"] != "not_your_seat" {
            assert_eq!(line["what"]["reference"], reference.as_str());
            assert_eq!(line["what"]["call_id"], keys().call(CALL));
            assert_eq!(line["what"]["owner"], "4977", "an agent is the gateway's number");
        }
    }
    // The recovery repeats what it reads: a pseudonym is made once.
    for line in [of("failed"), of("unknown")].concat() {
        assert_eq!((&line["subject"], &line["reference"]), (&subject.clone().into(), &reference.clone().into()));
    }
    let failed = of("failed")[0];
    assert_eq!((&failed["cut"], failed["upstream"].get("message")), (&serde_json::json!(["upstream.message"]), None));
}

#[tokio::test]
async fn a_refusal_for_want_of_room_names_nobody_either() {
    let world = World::with(Plan::never(), |config| {
        config.pseudonyms = Some(keys());
        config.entries_max = 1;
        config.write_timeout = Duration::from_millis(100);
    });
    let open = world.log.open(Budgeted::for_test(permission()), session()).await.expect("an entry");
    assert_eq!(
        world.log.open(Budgeted::for_test(permission()), session()).await.expect_err("full"),
        Error::Unavailable(Why::Full)
    );
    open.close(finished());
    world.stop().await;
    let text: String = segments(world.dir.path()).into_values().collect();
    assert!(text.contains("audit_unavailable") && !text.contains(SUBJECT) && !text.contains(CALL), "{text}");
}
