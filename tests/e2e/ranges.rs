//! Parts of recordings, and the five downloads in every spelling of their targets.

use ccgate::sim::{self, Framing, Kind, Scope};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::world::{CALL, World, call, hex_sha256};

const SIZE: u64 = 64 * 1024;

async fn get(world: &World, headers: &[(&str, &str)]) -> Answer {
    world.get_with(&call(1001, CALL), &world.issuer.agent(1001), headers).await
}

fn part(first: u64, last: u64) -> Vec<u8> {
    sim::body_bytes(CALL, first, usize::try_from(last - first + 1).unwrap(), SIZE)
}

async fn end(world: &World, answer: &Answer) -> Value {
    world.end_of(answer.header("ccgate-audit-id")).await
}

/// What the upstream was asked for last, by a header's name.
fn asked_with(world: &World, name: &str) -> Option<String> {
    let requests = world.sim.requests();
    requests.iter().rfind(|seen| seen.target.contains("file/")).unwrap().header(name).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_part_with_fewer_bytes_than_it_says_is_never_whole() {
    for framing in [Framing::ContentLength, Framing::Chunked] {
        let world = World::new().sim(|sim| sim.framing = framing).start().await;
        world.fault(Kind::HalfBody, Scope::Download, 1);
        let answer = get(&world, &[("range", "bytes=0-9999")]).await;
        let end = end(&world, &answer).await;
        match framing {
            // The two lengths disagree, which is seen before a byte is handed over.
            Framing::ContentLength => assert_eq!(answer.code(), "upstream_protocol"),
            Framing::Chunked => {
                assert_eq!((answer.status.as_u16(), answer.body.len(), answer.whole), (206, 5_000, false));
                assert_eq!(
                    (&end["reason"], &end["delivery"]["complete"]),
                    (&json!("upstream_truncated"), &json!(false))
                );
            }
        }
        assert_eq!(end["event"], "failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_comes_as_the_part_it_is_and_is_recorded_as_such() {
    for framing in [Framing::ContentLength, Framing::Chunked] {
        let world = World::new().sim(|sim| sim.framing = framing).start().await;
        for (range, first, last) in [
            ("bytes=0-0", 0, 0),
            ("bytes=0-99", 0, 99),
            ("bytes=1000-", 1000, SIZE - 1),
            ("bytes=0-", 0, SIZE - 1),
            ("bytes=65000-99999", 65_000, SIZE - 1),
            ("bytes=-500", SIZE - 500, SIZE - 1),
            ("bytes=-99999", 0, SIZE - 1),
        ] {
            let answer = get(&world, &[("range", range)]).await;
            let content_range = format!("bytes {first}-{last}/{SIZE}");
            assert_eq!(
                (answer.status.as_u16(), answer.header("content-range")),
                (206, content_range.as_str()),
                "{range}"
            );
            assert!(answer.whole && answer.body == part(first, last), "{range}");
            assert_eq!(answer.header("accept-ranges"), "bytes");
            assert_eq!(asked_with(&world, "range").as_deref(), Some(range));
            let end = end(&world, &answer).await;
            assert_eq!((&end["event"], &end["upstream"]["status"]), (&json!("finished"), &json!(206)));
            let delivery = &end["delivery"];
            assert_eq!((&delivery["range"], &delivery["content_range"]), (&json!(range), &json!(content_range)));
            assert_eq!(delivery["client_bytes"], last - first + 1);
            assert_eq!(delivery["sha256"], hex_sha256(&answer.body), "of the part that was handed over");
        }
        assert_eq!(world.sim.broken_rules(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_beyond_the_end_is_416_with_the_size() {
    let world = World::new().start().await;
    for range in ["bytes=65536-", "bytes=99999-100000"] {
        let answer = get(&world, &[("range", range)]).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (416, "range_not_satisfiable"));
        assert_eq!(answer.header("content-range"), format!("bytes */{SIZE}"));
        let end = end(&world, &answer).await;
        assert_eq!((&end["event"], &end["reason"]), (&json!("failed"), &json!("range_not_satisfiable")));
        assert_eq!((&end["upstream"]["status"], &end["delivery"]["range"]), (&json!(416), &json!(range)));
        assert_eq!(end["delivery"]["client_bytes"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn if_range_gives_the_part_of_the_same_file_and_the_whole_of_another() {
    let world = World::new().start().await;
    let whole = get(&world, &[]).await;
    let etag = whole.header("etag").to_owned();
    assert!(etag.starts_with('"'), "{whole:?}");

    let same = get(&world, &[("range", "bytes=10-19"), ("if-range", &etag)]).await;
    assert_eq!((same.status.as_u16(), same.body.to_vec()), (206, part(10, 19)));
    assert_eq!(asked_with(&world, "if-range"), Some(etag.clone()));

    let other = get(&world, &[("range", "bytes=10-19"), ("if-range", "\"another\"")]).await;
    assert_eq!((other.status.as_u16(), other.header("content-range")), (200, ""));
    assert_eq!(other.body, part(0, SIZE - 1));
    let delivery = &end(&world, &other).await["delivery"];
    assert_eq!((&delivery["range"], &delivery["content_range"]), (&json!("bytes=10-19"), &Value::Null));

    // Without a range it means nothing (RFC 9110 section 13.1.5).
    assert_eq!(get(&world, &[("if-range", &etag)]).await.status, 200);
    assert_eq!(asked_with(&world, "if-range"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_ranges_and_malformed_ones_are_as_if_they_were_not_there() {
    let world = World::new().start().await;
    for range in ["bytes=0-1,5-6", "bytes=5-1", "items=0-1", "bytes=", "bytes=-0", "bytes=a-b", "0-5"] {
        let answer = get(&world, &[("range", range)]).await;
        assert_eq!((answer.status.as_u16(), answer.body.to_vec()), (200, part(0, SIZE - 1)), "{range}");
        assert_eq!(asked_with(&world, "range"), None, "{range}");
        assert_eq!(end(&world, &answer).await["delivery"]["range"], Value::Null);
    }
    let asked = world.asked();
    let twice = get(&world, &[("range", "bytes=0-1"), ("range", "bytes=2-3")]).await;
    assert_eq!((twice.status.as_u16(), twice.code().as_str(), world.asked()), (400, "bad_request", asked));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_without_ranges_gives_the_whole() {
    let world = World::new().sim(|sim| sim.ranges = false).start().await;
    let answer = get(&world, &[("range", "bytes=0-99")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-range"), answer.header("accept-ranges")), (200, "", ""));
    assert_eq!(answer.body, part(0, SIZE - 1));
    let delivery = &end(&world, &answer).await["delivery"];
    assert_eq!((&delivery["range"], &delivery["content_range"]), (&json!("bytes=0-99"), &Value::Null));
    assert_eq!(delivery["client_bytes"], SIZE);
}

/// One download: the recording's key at the simulator, its reference in the records, the spellings of its target.
struct Spelt {
    operation: &'static str,
    key: &'static str,
    reference: &'static str,
    spellings: &'static [&'static str],
}

const CONFERENCE: &str = "0f8fad5b-d9cb-469f-a165-70867728950e/7c9e6679-7425-40de-944b-e07fc1f90ae7";

const FIVE: [Spelt; 5] = [
    Spelt {
        operation: "recordfiledownloadEx",
        key: "Y:/90/0/20210519/1001/1642329.mp4",
        reference: "file:Y:/90/0/20210519/1001/1642329.mp4",
        spellings: &[
            "recordfile/1001/recordfiledownloadEx?callId=1621413752-2011&hwFileName=Y:/90/0/20210519/1001/1642329.mp4",
            "recordfile/1001/recordfiledownloadEx?callId=1621413752-2011&hwFileName=Y%3A%2F90%2F0%2F20210519%2F1001%2F1642329.mp4",
            "recordfile/1001/recordfiledownloadEx?hwFileName=y%3a%2f90%2f0%2f20210519%2f1001%2f1642329.mp4&callId=1621413752%2D2011",
        ],
    },
    Spelt {
        operation: "recordfile",
        key: "Y:/1/0/20181217/1001/1524488.V3",
        reference: "file:Y:/1/0/20181217/1001/1524488.V3",
        spellings: &[
            "recordfile/1001?recordId=Y:/1/0/20181217/1001/1524488.V3",
            "recordfile/1001?recordId=y:/1/0/20181217/1001/1524488.V3",
            "recordfile/1001?recordId=Y%3A%2F1%2F0%2F20181217%2F1001%2F1524488.V3",
            "recordfile/1001?recordId=y%3A%5C1%5C0%5C20181217%5C1001%5C1524488.V3",
        ],
    },
    Spelt {
        operation: "videofiledownload",
        key: CONFERENCE,
        reference: "conference:0f8fad5b-d9cb-469f-a165-70867728950e/7c9e6679-7425-40de-944b-e07fc1f90ae7.mp4",
        spellings: &[
            "recordfile/1001/videofiledownload?conferenceId=0f8fad5b-d9cb-469f-a165-70867728950e&recordId=7c9e6679-7425-40de-944b-e07fc1f90ae7&fileType=mp4",
            "recordfile/1001/videofiledownload?fileType=mp4&recordId=7C9E6679-7425-40DE-944B-E07FC1F90AE7&conferenceId=0F8FAD5B%2DD9CB-469F-A165-70867728950E",
        ],
    },
    Spelt {
        operation: "videofiledownloadEx",
        key: "D:/90/0/20210519/1001/screen.mp4",
        reference: "file:D:/90/0/20210519/1001/screen.mp4",
        spellings: &[
            "recordfile/1001/videofiledownloadEx?recordId=D:/90/0/20210519/1001/screen.mp4",
            "recordfile/1001/videofiledownloadEx?recordId=d%3A%2F90%2F0%2F20210519%2F1001%2Fscreen%2Emp4",
        ],
    },
    Spelt {
        operation: "webmsgrecordfiledownloadex",
        key: "chat-4711.zip",
        reference: "chat:chat-4711.zip?2021-05-19..2021-05-20&type=zip&zone=-480",
        spellings: &[
            "filedownload/1001/webmsgrecordfiledownloadex?startDate=2021-05-19&endDate=2021-05-20&fileType=zip&fileName=chat-4711.zip&zoneOffset=-480",
            "filedownload/1001/webmsgrecordfiledownloadex?fileName=chat%2D4711%2Ezip&zoneOffset=%2D480&fileType=zip&endDate=2021%2D05%2D20&startDate=2021%2D05%2D19",
        ],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn r08_the_five_downloads_come_by_every_spelling_under_one_reference() {
    // The built-in rules leave conferences and chats to the site; here an agent may have all of the own session.
    let rule = "@id(\"all\")\npermit (principal, action == Action::\"download\", resource)\n\
                when { principal has agent && principal.agent == resource.session_agent };\n";
    let world = World::new().file("policy/all.cedar", rule);
    let world = world.config(|config| config["policy"] = json!({ "dir": "policy" })).start().await;
    for Spelt { operation, key, reference, spellings } in FIVE {
        let mut sent = Vec::new();
        for spelling in spellings {
            let target = format!("/agentgateway/resource/{spelling}");
            let answer = world.get(&target, &world.issuer.agent(1001)).await;
            assert_eq!((answer.status.as_u16(), answer.whole), (200, true), "{spelling}: {answer:?}");
            let size = usize::try_from(SIZE).unwrap();
            assert!(answer.body == sim::body_bytes(key, 0, size, SIZE), "another file: {spelling}");
            let end = end(&world, &answer).await;
            assert_eq!((&end["event"], &end["reference"]), (&json!("finished"), &json!(reference)), "{spelling}");
            let opened = world.events("authorized");
            let what = &opened.iter().find(|record| record["entry"] == end["entry"]).unwrap()["what"];
            assert_eq!((&what["operation"], &what["reference"]), (&json!(operation), &json!(reference)), "{spelling}");
            sent.push(world.sim.requests().iter().rfind(|seen| seen.target.contains("file/")).unwrap().target.clone());
        }
        sent.dedup();
        assert_eq!(sent.len(), 1, "what is sent is printed from the values, so it is the same: {sent:?}");
    }
    assert_eq!((world.sim.counts().sign_ins, world.sim.broken_rules()), (1, vec![]));
}
