//! Tests of the downloads' parameters and rights.

use super::super::config::Config;
use super::*;

const CONFERENCE: &str = "0e1f2a3b-0000-4000-8000-0123456789ab";

fn world() -> World {
    World::new(Config { inspectors: vec![200], ..Config::default() })
}

/// The key, or the result code.
fn find(agent: u32, download: Download, query: &str) -> Result<String, Retcode> {
    let world = world();
    Query::parse(&world, agent, download, query)?.recording(download, agent, world.is_inspector(agent))
}

#[test]
fn raw_and_encoded_paths_are_one_recording() {
    let raw = find(4977, Download::Extended, "callId=1-2&hwFileName=y:/90/0/20210519/4977/1642329.mp4");
    let encoded = find(4977, Download::Extended, "callId=1-2&hwFileName=Y%3A%2F90%2F0%2F20210519%2F4977%2F1642329.mp4");
    assert_eq!(raw, Ok("Y:/90/0/20210519/4977/1642329.mp4".to_owned()));
    assert_eq!(raw, encoded);
}

#[test]
fn call_ids_have_a_grammar() {
    assert_eq!(find(101, Download::Extended, "callId=1621413752-2011"), Ok("1621413752-2011".to_owned()));
    let long = format!("callId={}", "1".repeat(65));
    for bad in ["", "callId=", "callId=a.b", "callId=%zz", "callId=%ff", &long, "hwFileName=Y:/90/0/20210519/101/1.mp4"]
    {
        assert_eq!(find(101, Download::Extended, bad), Err("000-002"), "{bad}");
    }
}

#[test]
fn an_inspector_says_whom() {
    assert_eq!(find(200, Download::Extended, "callId=1"), Err("000-002"));
    assert_eq!(find(200, Download::Extended, "callId=1&workNo=200"), Err("000-005"));
    assert_eq!(find(200, Download::Extended, "callId=1&workNo=101"), Ok("1".to_owned()));
    assert!(find(200, Download::Extended, "callId=1&hwFileName=Y:/90/0/20210519/101/1.mp4").is_ok());
}

#[test]
fn others_are_not_listened_to_without_the_right() {
    assert_eq!(find(101, Download::Extended, "callId=1&workNo=102"), Err("104-002"));
    assert_eq!(find(101, Download::Extended, "callId=1&workNo=101"), Ok("1".to_owned()));
    assert_eq!(find(101, Download::Extended, "callId=1&hwFileName=Y:/90/0/20210519/102/1.mp4"), Err("104-002"));
    assert_eq!(find(101, Download::Mounted, "recordId=y:/1/0/20181217/102/1524488.V3"), Err("104-002"));
    assert_eq!(find(101, Download::VideoExtended, "recordId=y:/3rdfile/1/record/20181217/102/1.V3"), Err("104-002"));
    assert!(find(200, Download::Mounted, "recordId=y:/1/0/20181217/102/1524488.V3&filetype=1&locationId=2").is_ok());
}

#[test]
fn the_three_forms_of_a_path_and_no_other() {
    for good in ["y:/1/0/20181217/101/1.V3", "Y:/1/record/20181217/hello.wav", "Z:/3rdfile/1/record/20181217/101/1.V3"]
    {
        let key = find(101, Download::Mounted, &format!("recordId={good}"));
        assert_eq!(key.map(|key| key.to_ascii_lowercase()), Ok(good.to_ascii_lowercase()));
    }
    for bad in [
        "1/0/20181217/101/1.V3",
        "yy:/1/0/20181217/101/1.V3",
        "y:/1/0/20181217/101",
        "y:/1/0/2018/101/1.V3",
        "y:/1/0/20181217/x/1.V3",
        "y:/1/../20181217/101/1.V3",
        "y:/1//20181217/101/1.V3",
        "y:\\1\\0\\20181217\\101\\1.V3",
        "y:/1/0/20181217/101/a%00b",
        "y:/1/record/20181217/hello.exe",
    ] {
        assert_eq!(find(101, Download::Mounted, &format!("recordId={bad}")), Err("000-002"), "{bad}");
    }
}

#[test]
fn other_parameters_are_held_to_their_form() {
    let path = "recordId=y:/1/0/20181217/101/1.V3";
    assert_eq!(find(101, Download::Mounted, &format!("{path}&filetype=3")), Err("000-002"));
    assert_eq!(find(101, Download::VideoExtended, &format!("{path}&locationId=x")), Err("000-002"));
    let conference = format!("conferenceId={CONFERENCE}&fileType=mp4");
    assert_eq!(find(101, Download::Conference, &conference), Ok(CONFERENCE.to_owned()));
    let both = format!("{conference}&recordId={CONFERENCE}");
    assert_eq!(find(101, Download::Conference, &both), Ok(format!("{CONFERENCE}/{CONFERENCE}")));
    assert_eq!(find(101, Download::Conference, &format!("conferenceId={CONFERENCE}")), Err("000-002"));
    assert_eq!(find(101, Download::Conference, "conferenceId=1&fileType=mp4"), Err("000-002"));
    let chat = "startDate=2021-05-19&endDate=20210520&fileType=zip&fileName=a.zip";
    assert_eq!(find(101, Download::Chat, &format!("{chat}&zoneOffset=%2B8")), Ok("a.zip".to_owned()));
    assert_eq!(find(101, Download::Chat, &format!("{chat}&zoneOffset=+8")), Err("000-002"));
    assert_eq!(find(101, Download::Chat, "fileName=a%2Fb.zip"), Err("000-002"));
}

#[test]
fn repeated_and_foreign_parameters_break_rules() {
    for (query, rule) in [
        ("callId=1&callId=1", Rule::RepeatedParameter),
        ("callId=1&CallID=2", Rule::RepeatedParameter),
        ("callId=1&locationId=2", Rule::UnknownParameter),
    ] {
        let world = world();
        assert!(Query::parse(&world, 101, Download::Extended, query).is_err());
        assert_eq!(world.rules.list().iter().map(|broken| broken.rule).collect::<Vec<_>>(), [rule], "{query}");
    }
}
