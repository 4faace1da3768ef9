//! The examples that are shipped: each is valid beside the built-in rules and does what it says.

use std::fs;
use std::path::Path;

use super::*;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/policy/examples");

/// The built-in rules, one example and the example's teams.
fn with(example: &str) -> Policy {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in BUILT_IN {
        fs::write(dir.path().join(name), text).expect("a file");
    }
    fs::copy(Path::new(EXAMPLES).join(example), dir.path().join(example)).expect("an example");
    let entities_file = Some(Path::new(EXAMPLES).join("teams.yaml"));
    let config = Config { dir: Some(dir.path().to_owned()), entities_file };
    Policy::load(&config).unwrap_or_else(|error| panic!("{example}: {error}"))
}

fn at(time: &str) -> Arrival {
    Arrival { at: time.parse().expect("a time"), ..arrival() }
}

fn from(address: &str) -> Arrival {
    let source = From { forwarded: Some(address.parse().expect("an address")), ..arrival().source };
    Arrival { source, ..arrival() }
}

#[test]
fn every_example_is_named_here() {
    let mut found: Vec<_> = fs::read_dir(EXAMPLES)
        .expect("the examples")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "age.cedar",
            "break-glass.cedar",
            "conferences.cedar",
            "hours.cedar",
            "network.cedar",
            "purpose.cedar",
            "teams.yaml",
            "vdn.cedar"
        ]
    );
}

#[test]
fn age() {
    let policy = with("age.cedar");
    let ask = |what: &str, time: &str| decide(&policy, caller("4977"), download(what), at(time));
    let path = "4977: file Y:/90/0/20210519/4977/1.mp4";
    assert_eq!(ask(path, "2021-08-17T23:59:59Z"), "own", "90 days");
    assert_eq!(ask(path, "2021-08-18T00:00:00Z"), "outside_window by age-limit", "91 days");
    assert_eq!(ask("4977: call", "2021-06-18T08:00:00Z"), "own", "the call id has the time");
    let undated = FileRef::RecordingEx { call_id: "x-1".parse().expect("a call id"), file: None, work_no: None };
    let undated = Download::for_test(AgentId::try_from(4977).expect("an agent"), undated, None);
    assert_eq!(decide(&policy, caller("4977"), undated, arrival()), "outside_window by age-limit");
}

#[test]
fn hours() {
    let policy = with("hours.cedar");
    for (time, expected) in [
        ("05:59:59.999", "outside_window by hours"),
        ("06:00:00", "own"),
        ("19:59:59.999", "own"),
        ("20:00:00", "outside_window by hours"),
    ] {
        let how = at(&format!("2021-06-18T{time}Z"));
        assert_eq!(decide(&policy, caller("4977"), download("4977: call"), how), expected, "{time}");
    }
}

#[test]
fn purpose() {
    let policy = with("purpose.cedar");
    let inspector = || caller("4977 inspector inspects=4978");
    let asked = |purpose: Option<&str>| {
        let purpose = purpose.map(|text| text.parse().expect("a purpose"));
        Download::for_test(AgentId::try_from(4977).expect("an agent"), file("call 4978"), purpose)
    };
    assert_eq!(decide(&policy, inspector(), asked(None), arrival()), "purpose_required by purpose");
    assert_eq!(decide(&policy, inspector(), asked(Some("complaint")), arrival()), "inspect");
    let claiming = inspector().claiming_for_test(Some("complaint"), None);
    assert_eq!(decide(&policy, claiming, asked(None), arrival()), "inspect");
    check(&policy, "4977", "4977: call 4977", "own");
}

#[test]
fn network() {
    let policy = with("network.cedar");
    let video = "4977: video Y:/90/0/20210519/4977/1.mp4";
    let ask = |what: &str, address: &str| decide(&policy, caller("4977"), download(what), from(address));
    assert_eq!(ask(video, "10.20.255.1"), "own");
    assert_eq!(ask(video, "::ffff:10.20.1.7"), "own", "an IPv4 client of a listener on ::");
    assert_eq!(ask(video, "::ffff:10.21.0.1"), "outside_network by office-network");
    for own_pod in ["127.0.0.1", "::1"] {
        assert_eq!(ask(video, own_pod), "outside_network by office-network", "a web app that names no client");
    }
    assert_eq!(ask(video, "10.21.0.1"), "outside_network by office-network");
    assert_eq!(ask(video, "2001:db8::1"), "outside_network by office-network");
    assert_eq!(ask("4977: call", "10.21.0.1"), "own", "audio from anywhere");
}

#[test]
fn vdn() {
    let policy = with("vdn.cedar");
    check(&policy, "4977", "4977: file Y:/90/0/20210519/4977/1.mp4", "own");
    check(&policy, "4977", "4977: file Y:/92/0/20210519/4977/1.mp4", "not_your_recording by our-call-centres");
    check(&policy, "4977", "4977: call", "own");
}

#[test]
fn break_glass() {
    let policy = with("break-glass.cedar");
    let who = |purpose, ticket| caller("4977 break-glass").claiming_for_test(purpose, ticket);
    let ask = |who, what: &str| decide(&policy, who, download(what), arrival());
    assert_eq!(ask(who(Some("threat"), Some("T-1")), "4977: call 4978"), "break-glass");
    assert_eq!(ask(who(Some("threat"), Some("T-1")), "4977: conference"), "break-glass");
    assert_eq!(ask(who(Some("threat"), None), "4977: call 4978"), NO);
    assert_eq!(ask(who(Some("threat"), Some("T-1")), "4978: call 4978"), NO, "another's session");
    assert_eq!(ask(caller("4977").claiming_for_test(Some("threat"), Some("T-1")), "4977: call 4978"), NO);
}

#[test]
fn conferences() {
    let policy = with("conferences.cedar");
    let ask = |who: &str, purpose: Option<&str>, what: &str| {
        decide(&policy, caller(who).claiming_for_test(purpose, None), download(what), arrival())
    };
    for what in ["4977: conference", "4977: chat"] {
        assert_eq!(ask("4977 inspector inspects=*", Some("complaint"), what), "conferences-and-chats");
        assert_eq!(ask("4977 inspector inspects=*", None, what), NO);
        assert_eq!(ask("4977 inspector inspects=4978", Some("complaint"), what), NO);
    }
    assert_eq!(ask("4977 inspector inspects=*", Some("complaint"), "4977: call"), "own");
}
