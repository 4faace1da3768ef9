//! The decisions of the built-in rules, row by row.

mod examples;
mod explaining;
mod loading;
mod properties;
mod remembering;

use crate::authn::Inspects;
use crate::cc::{AgentId, FileRef};
use crate::route::{RequestId, Source as From};

use super::*;

/// A caller: `4977 inspector inspects=4978,* teams=sales`, or `-` for one without an agent.
fn caller(text: &str) -> Caller {
    let mut words = text.split_whitespace();
    let agent = words.next().filter(|agent| *agent != "-").map(|agent| agent.parse().expect("an agent"));
    let (mut roles, mut inspects, mut teams) = (Vec::new(), Inspects::default(), Vec::new());
    for word in words {
        match word.split_once('=') {
            Some(("inspects", "*")) => inspects.all = true,
            Some(("inspects", list)) => {
                inspects.agents = list.split(',').map(|agent| agent.parse().expect("an agent")).collect();
            }
            Some(("teams", list)) => teams.extend(list.split(',')),
            _ => roles.push(word),
        }
    }
    Caller::for_test(agent, &roles, inspects, &teams)
}

/// A recording: `call`, `call 4978` (with `workNo`), `call <path>`, `file <path>`, `video <path>`, `conference`, `chat`.
fn file(text: &str) -> FileRef {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    let path = || rest.parse().unwrap_or_else(|error| panic!("{rest}: {error}"));
    let uuid: crate::cc::Uuid = "279fe21d-2caa-4437-84c3-ab9e9dae20f5".parse().expect("a UUID");
    match kind {
        "call" => FileRef::RecordingEx {
            call_id: "1621413752-2011".parse().expect("a call id"),
            file: rest.contains(['/', '\\']).then(path),
            work_no: rest.parse().ok(),
        },
        "file" => FileRef::Recording { record: path(), file_type: None, location: None },
        "video" => FileRef::VideoEx { record: path(), location: None },
        "conference" => {
            FileRef::Video { conference: uuid.clone(), record: uuid, file_type: "mp4".parse().expect("a type") }
        }
        "chat" => FileRef::Chat {
            start: None,
            end: None,
            file_type: None,
            file_name: "a.zip".parse().expect("a name"),
            zone_offset: None,
        },
        _ => panic!("{text}"),
    }
}

/// A request through the session of an agent: `4977: call 4978`.
fn download(text: &str) -> Download {
    let (agent, recording) = text.split_once(": ").expect("a session and a recording");
    Download::for_test(agent.parse().expect("an agent"), file(recording), None)
}

fn arrival() -> Arrival {
    let peer = "10.20.1.7:40000".parse().expect("an address");
    Arrival {
        at: "2021-06-18T08:00:00Z".parse().expect("a time"),
        source: From { peer, forwarded: None, certificate: None },
        request_id: RequestId::random(),
        trace: None,
    }
}

/// The built-in rules with the teams of `config/policy/examples/teams.yaml`: sales 4977 4978, support 4979.
fn with_teams() -> Policy {
    let entities_file = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/config/policy/examples/teams.yaml").into());
    Policy::load(&Config { dir: None, entities_file }).expect("the built-in rules")
}

/// The rule that permits, else the reason of the refusal, with the rule behind it where one made it.
fn decide(policy: &Policy, who: Caller, what: Download, how: Arrival) -> String {
    match policy.authorize(who, what, how) {
        Ok(authorized) => authorized.rule().to_string(),
        Err(denied) => match denied.rule() {
            Some(rule) => format!("{} by {rule}", denied.reason()),
            None => denied.reason().to_string(),
        },
    }
}

fn check(policy: &Policy, who: &str, what: &str, expected: &str) {
    assert_eq!(decide(policy, caller(who), download(what), arrival()), expected, "{who} asks for {what}");
}

const NO: &str = "not_your_recording";

#[test]
fn the_built_in_rules_decide_as_documented() {
    const MINE: &str = "Y:/90/0/20210519/4977/1.mp4";
    const THEIRS: &str = "Y:/90/0/20210519/4978/1.mp4";
    const SUPPORT: &str = "Y:/90/0/20210519/4979/1.mp4";
    const NOBODY: &str = "Y:/90/record/20210519/1.wav";
    const THIRD: &str = "Y:/3rdfile/90/record/20210519/4978/1.wav";
    let of = |kind: &str, path: &str| format!("4977: {kind} {path}");
    let policy = with_teams();
    let rows: &[(&str, &str, &str)] = &[
        // An agent's own calls, in the own session.
        ("4977", "4977: call", "own"),
        ("4977", "4977: call 4977", "own"),
        ("4977", &of("call", MINE), "own"),
        ("4977", &of("file", MINE), "own"),
        ("4977", &of("video", MINE), "own"),
        // Others' calls, nobody's, and what names no owner.
        ("4977", "4977: call 4978", NO),
        ("4977", &of("call", THEIRS), NO),
        ("4977", &of("file", THEIRS), NO),
        ("4977", &of("video", THEIRS), NO),
        ("4977", &of("file", THIRD), NO),
        ("4977", &of("file", NOBODY), NO),
        ("4977", &of("call", NOBODY), NO),
        ("4977", "4977: conference", NO),
        ("4977", "4977: chat", NO),
        // Through another agent's session nothing goes, not even the own call.
        ("4977", "4978: call", NO),
        ("4977", "4978: call 4977", NO),
        ("4977", "4978: call 4978", NO),
        ("4977 inspector inspects=*", "4978: call 4978", NO),
        ("4977 inspector inspects=*", "4978: call 4979", NO),
        // Without an agent nothing goes.
        ("-", "4977: call", NO),
        ("- inspector inspects=*", "4977: call 4978", NO),
        ("- inspector inspects=4978 teams=sales", "4977: call 4978", NO),
        // Inspectors: by agent.
        ("4977 inspector inspects=4978", "4977: call 4978", "inspect"),
        ("4977 inspector inspects=4978", &of("call", THEIRS), "inspect"),
        ("4977 inspector inspects=4978", &of("file", THEIRS), "inspect"),
        ("4977 inspector inspects=4978", &of("video", THEIRS), "inspect"),
        ("4977 inspector inspects=4978", &of("file", THIRD), "inspect"),
        ("4977 inspector inspects=4979", "4977: call 4978", NO),
        ("4977 inspector", "4977: call 4978", NO),
        // By everyone.
        ("4977 inspector inspects=*", "4977: call 4978", "inspect"),
        ("4977 inspector inspects=*", &of("file", NOBODY), "inspect"),
        ("4977 inspector inspects=*", &of("call", NOBODY), "inspect"),
        ("4977 inspector inspects=4978 teams=sales", &of("file", NOBODY), NO),
        // By team.
        ("4977 inspector teams=support", &of("file", SUPPORT), "inspect"),
        ("4977 inspector teams=sales,support", &of("file", SUPPORT), "inspect"),
        ("4977 inspector teams=sales", &of("file", SUPPORT), NO),
        ("4977 inspector teams=sales", &of("file", THEIRS), "inspect"),
        ("4977 inspector teams=Support", &of("file", SUPPORT), NO),
        ("4977 inspector teams=4979", &of("file", SUPPORT), NO),
        // The role is asked for, exactly.
        ("4977 inspects=4978", "4977: call 4978", NO),
        ("4977 inspects=*", "4977: call 4978", NO),
        ("4977 teams=support", &of("file", SUPPORT), NO),
        ("4977 Inspector inspects=*", "4977: call 4978", NO),
        ("4977 inspectors inspects=*", "4977: call 4978", NO),
        // What names no owner stays closed to inspectors too, but for their own session's calls.
        ("4977 inspector inspects=*", "4977: conference", NO),
        ("4977 inspector inspects=*", "4977: chat", NO),
        ("4977 inspector inspects=4978", "4977: call", "own"),
        // An inspector's own call is no inspection.
        ("4977 inspector inspects=* teams=sales", &of("file", MINE), "own"),
    ];
    for (who, what, expected) in rows {
        check(&policy, who, what, expected);
    }
}

#[test]
fn without_an_entities_file_nobody_is_in_a_team() {
    let policy = Policy::builtin().expect("the built-in rules");
    check(&policy, "4977 inspector teams=sales,support", "4977: call 4978", NO);
    check(&policy, "4977 inspector inspects=4978", "4977: call 4978", "inspect");
}

#[test]
fn r08_aliases_of_a_path_get_one_decision() {
    let policy = with_teams();
    for path in [
        "Y:/90/0/20210519/4978/1.mp4",
        "y:/90/0/20210519/4978/1.mp4",
        r"Y:\90\0\20210519\4978\1.mp4",
        r"y:\90/0\20210519/4978\1.mp4",
    ] {
        for kind in ["call", "file", "video"] {
            check(&policy, "4978", &format!("4978: {kind} {path}"), "own");
            check(&policy, "4977", &format!("4977: {kind} {path}"), NO);
            check(&policy, "4977 inspector inspects=4978", &format!("4977: {kind} {path}"), "inspect");
        }
    }
}

#[test]
fn r24_a_number_in_another_place_is_no_agent() {
    let policy = with_teams();
    // The subject, a role and a team of that name are not the agent.
    check(&policy, "- 4978", "4978: call 4978", NO);
    check(&policy, "4977 inspector 4978 teams=4978", "4977: call 4978", NO);
    // The VDN's or the file's number is not the owner.
    check(&policy, "4977", "4977: file Y:/4977/0/20210519/4978/4977", NO);
    check(&policy, "4977", "4977: file Y:/4977/record/20210519/4977", NO);
}

#[test]
fn r19_what_no_rule_permits_is_refused_and_names_no_rule() {
    let policy = with_teams();
    let denied = policy.authorize(caller("4977"), download("4977: call 4978"), arrival()).expect_err("not the owner");
    assert_eq!((denied.reason(), denied.rule()), (&Reason::NotYourRecording, None));
    assert_eq!(denied.policy_hash(), policy.hash());
    assert_eq!(denied.download().agent().get(), 4977);
}

#[test]
fn a_permission_names_its_rule_and_policy() {
    let policy = with_teams();
    let authorized = policy.authorize(caller("4977"), download("4977: call"), arrival()).expect("an own call");
    assert_eq!((authorized.rule().as_str(), authorized.policy_hash()), ("own", policy.hash()));
    assert_eq!(authorized.agent(), AgentId::try_from(4977).expect("an agent"));
    assert_eq!(policy.hash().len(), 64);
}

#[test]
fn the_tokens_purpose_goes_before_the_headers() {
    let policy = with_teams();
    let ask = |claim: Option<&str>, header: Option<&str>| {
        let who = caller("4977").claiming_for_test(claim, claim.map(|_| "T-1"));
        let header = header.map(|text| text.parse().expect("a purpose"));
        let what = Download::for_test(AgentId::try_from(4977).expect("an agent"), file("call"), header);
        let authorized = policy.authorize(who, what, arrival()).expect("an own call");
        let text = authorized.purpose().map(|purpose| purpose.as_str().to_owned());
        (text, authorized.ticket().map(|ticket| ticket.as_str().to_owned()))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(ask(Some("claim"), Some("header")), (some("claim"), some("T-1")));
    assert_eq!(ask(None, Some("header")), (some("header"), None));
    assert_eq!(ask(None, None), (None, None));
    // A claim that is no printable line counts as absent.
    assert_eq!(ask(Some("a\nb"), Some("header")), (some("header"), some("T-1")));
    assert_eq!(ask(Some(""), None), (None, some("T-1")));
}
