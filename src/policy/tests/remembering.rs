//! What is remembered of a person changes no decision. It is asked of policies that look at this and at that.

use std::fs;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::properties::{any_arrival, any_caller, any_download};
use super::*;
use crate::policy::known::PERMITTED_MAX;

/// The built-in rules and these.
fn with(rules: &str) -> Policy {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in BUILT_IN.into_iter().chain([("more.cedar", rules)]) {
        fs::write(dir.path().join(name), text).expect("a file");
    }
    let entities_file = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/config/policy/examples/teams.yaml").into());
    let config = Config { dir: Some(dir.path().to_owned()), entities_file };
    Policy::load(&config).unwrap_or_else(|error| panic!("{rules}: {error}"))
}

fn forbid(condition: &str) -> String {
    format!("@id(\"more\") forbid (principal, action, resource) when {{ {condition} }};")
}

/// How many permits a policy remembers of a caller's person; `None` where it is another one's memory.
fn remembered(policy: &Policy, who: &Caller) -> Option<usize> {
    let known = who.person().memory().get::<Known>()?;
    known.is_of(&policy.hash).then(|| known.remembered())
}

fn ask(policy: &Policy, who: &Caller, what: &str) -> String {
    decide(policy, who.clone(), download(what), arrival())
}

#[test]
fn a_persons_own_recordings_are_decided_once() {
    let (policy, me) = (with_teams(), caller("4977"));
    for number in 1..50 {
        assert_eq!(ask(&policy, &me, &format!("4977: file Y:/90/0/20210519/4977/{number}.mp4")), "own");
    }
    assert_eq!(remembered(&policy, &me), Some(1));
    assert_eq!(ask(&policy, &me, "4977: file Y:/90/0/20210519/4978/1.mp4"), NO);
    assert_eq!(ask(&policy, &me, "4978: file Y:/90/0/20210519/4977/1.mp4"), NO);
    assert_eq!(ask(&policy, &me, "4977: chat"), NO);
    assert_eq!(remembered(&policy, &me), Some(1), "refusals are not remembered");
    let inspector = caller("4977 inspector teams=sales");
    assert_eq!(ask(&policy, &inspector, "4977: call 4978"), "inspect");
    assert_eq!(ask(&policy, &inspector, "4977: call 4978"), "inspect", "the same rule again");
}

#[test]
fn what_is_remembered_of_one_person_is_not_of_another() {
    let policy = with_teams();
    let (inspector, agent) = (caller("4977 inspector inspects=4978"), caller("4977"));
    for _ in 0..2 {
        assert_eq!(ask(&policy, &inspector, "4977: call 4978"), "inspect");
        assert_eq!(ask(&policy, &agent, "4977: call 4978"), NO);
    }
    assert_eq!((remembered(&policy, &inspector), remembered(&policy, &agent)), (Some(1), Some(0)));
}

#[test]
fn another_policy_begins_anew() {
    let (before, me) = (with_teams(), caller("4977"));
    let (same, after) = (with_teams(), with(&forbid("resource.kind == Kind::\"audio\"")));
    assert_eq!(ask(&before, &me, "4977: call"), "own");
    assert_eq!(remembered(&before, &me), Some(1));
    assert_eq!(remembered(&same, &me), None, "of the same text, and loaded again");
    assert_eq!(ask(&after, &me, "4977: call"), format!("{NO} by more"));
    assert_eq!((remembered(&after, &me), remembered(&before, &me)), (Some(0), None));
    // Requests of before and after may take turns for a while.
    for _ in 0..3 {
        assert_eq!(ask(&before, &me, "4977: call"), "own");
        assert_eq!(ask(&after, &me, "4977: call"), format!("{NO} by more"));
    }
}

#[test]
fn what_depends_on_the_time_is_not_remembered() {
    let at = |time: &str| Arrival { at: time.parse().expect("a time"), ..arrival() };
    let (policy, me) = (with(&forbid("context.now.toTime() >= duration(\"20h\")")), caller("4977"));
    let ask = |time| decide(&policy, me.clone(), download("4977: call"), at(time));
    assert_eq!(ask("2021-06-18T19:59:59.999Z"), "own");
    assert_eq!(remembered(&policy, &me), Some(0));
    assert_eq!(ask("2021-06-18T20:00:00Z"), format!("{NO} by more"));

    let (policy, me) = (with(&forbid("resource has age_days && resource.age_days > 90")), caller("4977"));
    let ask = |time| decide(&policy, me.clone(), download("4977: file Y:/90/0/20210519/4977/1.mp4"), at(time));
    assert_eq!(ask("2021-08-17T23:59:59Z"), "own", "90 days");
    assert_eq!(remembered(&policy, &me), Some(1));
    assert_eq!(ask("2021-08-18T00:00:00Z"), format!("{NO} by more"), "91 days");
}

#[test]
fn a_time_that_the_engine_refuses_refuses_whatever_is_remembered() {
    let (policy, me) = (with_teams(), caller("4977"));
    assert_eq!(ask(&policy, &me, "4977: call"), "own");
    let before_all_years = Arrival { at: jiff::Timestamp::MIN, ..arrival() };
    assert_eq!(decide(&policy, me, download("4977: call"), before_all_years), "policy_error");
}

#[test]
fn a_purpose_that_a_rule_reads_is_compared() {
    let me = caller("4977");
    let check = |rule: &str, rows: &[(Option<&str>, bool)], count| {
        let policy = with(&forbid(rule));
        for _ in 0..2 {
            for (purpose, yes) in rows {
                let claiming = me.clone().claiming_for_test(*purpose, None);
                let decided = decide(&policy, claiming, download("4977: call"), arrival());
                assert_eq!(decided == "own", *yes, "{rule} {purpose:?}");
            }
        }
        assert_eq!(remembered(&policy, &me), Some(count), "{rule}");
    };
    let rows = [(Some("a"), true), (Some("nosy"), false), (Some("b"), true), (None, true)];
    check("context has purpose && context.purpose == \"nosy\"", &rows, 3);
    check("!(context has purpose)", &[(Some("a"), true), (Some("b"), true), (None, false)], 1);
    // Whether one is given is compared even where no rule asks.
    check("resource has vdn && resource.vdn == 7", &[(Some("a"), true), (Some("b"), true), (None, true)], 2);
}

#[test]
fn the_latest_few_are_remembered_and_no_long_texts() {
    let (policy, me) = (with(&forbid("context has ticket && context.ticket == \"x\"")), caller("4977"));
    let ask = |ticket: &str| {
        let claiming = me.clone().claiming_for_test(None, Some(ticket));
        assert_eq!(decide(&policy, claiming, download("4977: call"), arrival()), "own");
    };
    for number in 0..3 * PERMITTED_MAX {
        ask(&number.to_string());
        assert_eq!(remembered(&policy, &me), Some(PERMITTED_MAX.min(number + 1)));
    }
    let (policy, me) = (with(&forbid("resource.reference == \"call:1-1\"")), caller("4977"));
    let long = format!("4977: file Y:/90/0/20210519/4977/{}.mp4", "1".repeat(229));
    assert!(file(long.split_once(": ").expect("two parts").1).reference().len() > 256);
    assert_eq!(decide(&policy, me.clone(), download(&long), arrival()), "own");
    assert_eq!(remembered(&policy, &me), Some(0));
}

/// Policies that look at each word, and each at some of them only.
static POLICIES: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    let conditions = [
        "resource has vdn && resource.vdn > 50",
        "resource has age_days && resource.age_days < 100",
        "resource has recorded_on && resource.recorded_on < datetime(\"2021-01-01\")",
        "context.now < datetime(\"2021-05-20\")",
        "context.peer.isIpv4()",
        "context.peer.isInRange(ip(\"10.0.0.0/8\"))",
        "context has purpose",
        "context has purpose && context.purpose == \"a\"",
        "context has ticket && context.ticket like \"a*\"",
        "resource.reference like \"file:A*\"",
        "resource == Recording::\"call:1621413752-2011\"",
        "resource has call_id && resource.call_id == \"1621413752-2011\" && resource.kind == Kind::\"video\"",
        "resource.belongs_to_nobody || resource.operation == Operation::\"recordfile\"",
        "resource has owner && resource.owner in Team::\"sales\"",
        "(if resource has vdn then resource.vdn else 1) + 9223372036854775757 > 0",
        "principal.roles.contains(\"agent\") && resource.session_agent == Agent::\"4977\"",
    ];
    let more = |condition: &str| {
        let permit = "@id(\"all\") permit (principal, action, resource) unless { resource.owner_unknown };";
        vec![with(&forbid(condition)), with(&format!("{permit}\n{}", forbid(condition)))]
    };
    conditions.into_iter().flat_map(more).chain([with_teams()]).collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn decisions_are_the_same_with_and_without_memory(
        caller in any_caller(),
        claims in prop::collection::vec((prop::option::of("[ab]{1,2}"), prop::option::of("[ab]{1,2}")), 1..4),
        downloads in prop::collection::vec(any_download(), 1..5),
        arrivals in prop::collection::vec(any_arrival(), 1..4),
        policies in prop::collection::vec(0..100_usize, 1..3),
        order in prop::collection::vec(any::<[u8; 4]>(), 60),
    ) {
        for [claim, download, arrival, policy] in order {
            let (purpose, ticket) = &claims[usize::from(claim) % claims.len()];
            let caller = caller.clone().claiming_for_test(purpose.as_deref(), ticket.as_deref());
            let download = downloads[usize::from(download) % downloads.len()].clone();
            let arrival = arrivals[usize::from(arrival) % arrivals.len()].clone();
            // Mostly one policy, so that it remembers; sometimes another one, as in a reload.
            let policy = policies[usize::from(policy > 250) % policies.len()] % POLICIES.len();
            let policy = &POLICIES[policy];
            let request = Request::new(caller, download, arrival);
            let anew = policy.decide(&Facts::of(&request));
            prop_assert_eq!(policy.verdict(&request), anew.clone());
            prop_assert_eq!(policy.verdict(&request), anew, "and at once again");
        }
    }
}
