//! What a person reads about a decision: the decision itself, and changes that are true.

use std::fs;

use super::*;

fn told(policy: &Policy, who: &str, what: &str) -> String {
    policy.explain(&caller(who), &download(what), &arrival()).to_string()
}

/// The changes alone, one a line; those that belong together joined.
fn changes(policy: &Policy, who: &str, what: &str) -> Vec<String> {
    let told = told(policy, who, what).replace("\n    and ", " and ");
    told.lines().filter_map(|line| line.strip_prefix("  - ")).map(str::to_owned).collect()
}

/// The built-in rules and one more.
fn with_rule(rule: &str) -> Policy {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in BUILT_IN.into_iter().chain([("site.cedar", rule)]) {
        fs::write(dir.path().join(name), text).expect("a file");
    }
    Policy::load(&Config { dir: Some(dir.path().to_owned()), entities_file: None }).expect("a policy")
}

#[test]
fn a_refusal_fits_one_screen() {
    let policy = with_teams();
    let expected = format!(
        "\
decision  refused: not_your_recording
rule      none permits it
who       alice of https://idp.example through web, agent 4977
          roles [inspector], inspects [4978], teams [sales]
what      audio call:1621413752-2011
          in the session of agent 4977; recorded on 2021-05-19, 30 days ago
owner     4979: not in the caller's `inspects` [4978], in none of the caller's teams [sales]
why       purpose none, ticket none
when      2021-06-18T08:00:00Z from 10.20.1.7
policy    rules [inspect, own], SHA-256 {}

It would be permitted if, by any one of these:
  - the token's `inspects` names 4979
  - the token's `teams` names \"support\", a team of 4979
  - the entities file puts 4979 into the caller's team \"sales\"
  - the token's `inspects` holds \"*\"
",
        policy.hash()
    );
    assert_eq!(told(&policy, "4977 inspector inspects=4978 teams=sales", "4977: call 4979"), expected);
}

#[test]
fn a_permission_names_its_rule_its_file_and_what_it_hangs_on() {
    let policy = with_teams();
    let text = told(&policy, "4977 inspector agent inspects=4978", "4977: call 4978");
    assert!(text.starts_with("decision  permitted\nrule      inspect (inspect.cedar:5) permits it\n"), "{text}");
    assert_eq!(
        changes(&policy, "4977 inspector agent inspects=4978", "4977: call 4978"),
        ["the token lacks the role \"inspector\"", "the token's `inspects` is empty"]
    );
    assert!(
        told(&policy, "4977 agent", "4977: call").ends_with("It hangs on no single role, claim, purpose or ticket.\n")
    );
}

#[test]
fn it_decides_as_authorize_does() {
    let policy = with_teams();
    for who in
        ["4977", "4977 inspector inspects=*", "4977 inspector teams=support", "-", "4978 inspector inspects=4977"]
    {
        for what in
            ["4977: call", "4977: call 4979", "4978: call 4977", "4977: chat", "4977: file Y:/1/record/20210519/a"]
        {
            let explained = policy.explain(&caller(who), &download(what), &arrival());
            let decided = policy.authorize(caller(who), download(what), arrival());
            assert_eq!(explained.permitted(), decided.is_ok(), "{who} {what}");
            let (reason, rule) = match &decided {
                Ok(authorized) => (None, Some(authorized.rule())),
                Err(denied) => (Some(denied.reason()), denied.rule()),
            };
            assert_eq!((explained.reason(), explained.rule()), (reason, rule), "{who} {what}");
        }
    }
}

#[test]
fn the_smallest_change_is_told() {
    let policy = with_teams();
    let session = "the path goes through the caller's own session: 4977 in place of 4978";
    assert_eq!(changes(&policy, "-", "4977: call"), ["the token's agent claim is \"4977\""]);
    assert_eq!(changes(&policy, "4977", "4978: call 4977"), [session]);
    assert_eq!(
        changes(&policy, "4977 inspector", "4977: file Y:/90/record/20210519/1.wav"),
        ["the token's `inspects` holds \"*\""]
    );
    let inspector = "the token has the role \"inspector\"";
    assert_eq!(
        changes(&policy, "4977", "4978: call 4978"),
        [
            format!("{session} and {inspector} and the token's `inspects` names 4978"),
            format!("{session} and {inspector} and the token's `teams` names \"sales\", a team of 4978"),
            format!("{session} and {inspector} and the token's `inspects` holds \"*\""),
        ]
    );
}

#[test]
fn where_nothing_helps_it_says_so() {
    let policy = with_teams();
    let text = told(&policy, "4977 inspector inspects=*", "4977: chat");
    assert!(text.contains("No few changes") && !text.contains("  - "), "{text}");
}

#[test]
fn words_of_the_operators_own_rules_are_tried() {
    let policy = with_rule(include_str!("../../../config/policy/examples/break-glass.cedar"));
    let found = changes(&policy, "4977", "4977: conference");
    assert_eq!(
        found,
        [
            "the token has the role \"break-glass\" and a purpose is given (header Ccgate-Purpose, or the token's claim) \
         and a ticket is given (header Ccgate-Ticket, or the token's claim)"
        ]
    );
    let policy = with_rule(
        "@id(\"lan\") @doc(\"Only from the LAN.\") forbid (principal, action, resource)
         unless { context.peer.isInRange(ip(\"192.168.7.0/24\")) };",
    );
    let text = told(&policy, "4977", "4977: call");
    assert!(text.contains("lan (site.cedar:1) forbids it\n          Only from the LAN.\n"), "{text}");
    assert_eq!(
        changes(&policy, "4977", "4977: call"),
        ["the request comes from a network that a rule names, such as 192.168.7.0"]
    );
}

#[test]
fn time_and_age_are_tried() {
    let night = with_rule(
        "@id(\"night\") @reason(\"outside_window\") forbid (principal, action, resource)
         when { context.now.toTime() > duration(\"7h\") };",
    );
    assert_eq!(
        changes(&night, "4977", "4977: call"),
        ["it is asked for at another time (tried: each hour of a week; first 2021-06-19T00:00:00Z)"]
    );
    let young = with_rule(
        "@id(\"young\") forbid (principal, action, resource) unless { resource has age_days && resource.age_days < 30 };",
    );
    assert_eq!(changes(&young, "4977", "4977: call"), ["the recording is younger (tried: of today)"]);
}

#[test]
fn a_rule_that_fails_is_named() {
    let policy = with_rule(
        "@id(\"fails\") forbid (principal, action, resource)
         when { 9223372036854775807 + (if resource.owner_unknown then 1 else 2) > 0 };",
    );
    let text = told(&policy, "4977", "4977: call");
    assert!(text.starts_with("decision  refused: policy_error\nrule      fails (site.cedar:1) could not be"), "{text}");
}
