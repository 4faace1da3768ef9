//! What holds for every request: the types fit the schema, and nobody gets what no claim covers.

use std::collections::BTreeSet;

use cedar_policy::{Context, Entities, Schema};
use proptest::prelude::*;

use crate::cc::Owner;

use super::*;

/// Few numbers, so that they meet: in claims, paths and sessions alike.
const AGENTS: [u32; 4] = [4977, 4978, 4979, 101];

fn agent() -> impl Strategy<Value = AgentId> {
    prop::sample::select(AGENTS.to_vec()).prop_map(|number| AgentId::try_from(number).expect("an agent"))
}

pub(super) fn any_caller() -> impl Strategy<Value = Caller> {
    let roles = prop::sample::subsequence(vec!["inspector", "agent", "Inspector", "a \"quoted\\ role", ""], 0..=3);
    let teams = prop::sample::subsequence(vec!["sales", "support", "4978", "é"], 0..=3);
    let inspects = (prop::bool::weighted(0.2), prop::collection::btree_set(agent(), 0..3));
    let claims = (prop::option::of("\\PC{0,12}"), prop::option::of("[a-z]{1,3}"));
    (prop::option::weighted(0.8, agent()), roles, inspects, teams, claims).prop_map(
        |(agent, roles, reach, teams, claims)| {
            let inspects = Inspects { all: reach.0, agents: reach.1 };
            Caller::for_test(agent, &roles, inspects, &teams)
                .claiming_for_test(claims.0.as_deref(), claims.1.as_deref())
        },
    )
}

pub(super) fn any_download() -> impl Strategy<Value = Download> {
    let path =
        (agent(), "[A-Za-z]", 0..100_u32, 0..4_u8, prop::sample::select(vec!["00000101", "20210519", "99991231"]))
            .prop_map(|(agent, drive, vdn, shape, day)| match shape {
                0 => format!("{drive}:/{vdn}/record/{day}/1.wav"),
                1 => format!("{drive}:/3rdfile/{vdn}/record/{day}/{agent}/1.wav"),
                _ => format!("{drive}:/{vdn}/0/{day}/{agent}/1.mp4"),
            });
    let what = (0..7_u8, agent(), path).prop_map(|(kind, agent, path)| match kind {
        0 => "call".to_owned(),
        1 => format!("call {agent}"),
        2 => format!("call {path}"),
        3 => format!("file {path}"),
        4 => format!("video {path}"),
        5 => "conference".to_owned(),
        _ => "chat".to_owned(),
    });
    let purpose = prop::option::of("[a-z]{1,5}").prop_map(|text| text.and_then(|text| text.parse().ok()));
    (agent(), what, purpose).prop_map(|(session, what, purpose)| Download::for_test(session, file(&what), purpose))
}

pub(super) fn any_arrival() -> impl Strategy<Value = Arrival> {
    let time = prop::sample::select(vec![
        "1970-01-01T00:00:00.0000001Z",
        "2021-05-19T23:59:59.999999Z",
        "9999-12-30T00:00:00Z",
    ]);
    let odd = ["::ffff:10.20.1.7", "::10.20.1.7", "64:ff9b::a14:107", "::", "fe80::1", "255.255.255.255"];
    let odd = prop::sample::select(odd.to_vec()).prop_map(|text| text.parse::<std::net::IpAddr>().expect("an address"));
    (time, prop_oneof![any::<std::net::IpAddr>(), odd]).prop_map(|(time, address)| {
        let source = From { forwarded: Some(address), ..arrival().source };
        Arrival { at: time.parse().expect("a time"), source, ..arrival() }
    })
}

/// The same question with the schema's check on, so that a name or type that does not fit shows.
fn checked(policy: &Policy, schema: &Schema, request: &Request) -> bool {
    let question = policy.words.question(&Facts::of(request), &policy.teams).expect("a question");
    let entities = Entities::from_entities(question.entities, Some(schema)).expect("entities that fit the schema");
    let request = &question.request;
    let context: Context = request.context().expect("a context").clone();
    let uid = |uid: Option<&cedar_policy::EntityUid>| uid.expect("an entity").clone();
    let (who, what, of) = (uid(request.principal()), uid(request.action()), uid(request.resource()));
    let request = cedar_policy::Request::new(who, what, of, context, Some(schema)).expect("a request that fits");
    let answer = policy.authorizer.is_authorized(&request, &policy.rules.set, &entities);
    Verdict::of(&answer, &policy.rules).permits()
}

/// The built-in rules once more, in Rust, from the product's description.
fn by_the_book(caller: &Caller, download: &Download) -> Option<&'static str> {
    let me = caller.agent().filter(|agent| *agent == download.agent())?;
    let inspector = caller.roles().contains("inspector");
    let all = caller.inspects().all;
    match download.file().owner() {
        Owner::Agent(owner) if owner == me => Some("own"),
        Owner::Unknown if download.file().call_id().is_some() => Some("own"),
        Owner::Unknown => None,
        Owner::Nobody => (inspector && all).then_some("inspect"),
        Owner::Agent(owner) => {
            let team = match owner.get() {
                4977 | 4978 => "sales",
                4979 => "support",
                _ => "nobody's team",
            };
            let reach = all || caller.inspects().agents.contains(&owner) || caller.teams().contains(team);
            (inspector && reach).then_some("inspect")
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn decisions_are_those_of_the_book_with_and_without_the_schemas_check(
        cases in prop::collection::vec((any_caller(), any_download(), any_arrival()), 8)
    ) {
        // Loading costs more than a hundred decisions.
        static POLICY: std::sync::LazyLock<(Policy, Schema)> =
            std::sync::LazyLock::new(|| (with_teams(), rules::schema().expect("the schema")));
        let (policy, schema) = &*POLICY;
        for (caller, download, arrival) in cases {
            let book = by_the_book(&caller, &download);
            let request = Request::new(caller, download, arrival);
            prop_assert_eq!(checked(policy, schema, &request), book.is_some());
            let Request { caller, download, arrival, .. } = request;
            let decided = policy.authorize(caller, download, arrival);
            prop_assert_eq!(decided.as_ref().ok().map(|authorized| authorized.rule().as_str()), book);
        }
    }

    #[test]
    fn without_matching_claims_nothing_is_permitted(caller in any_caller(), download in any_download()) {
        let agents: BTreeSet<_> = caller.agent().into_iter().collect();
        if !agents.contains(&download.agent()) {
            static POLICY: std::sync::LazyLock<Policy> = std::sync::LazyLock::new(with_teams);
            prop_assert!(POLICY.authorize(caller, download, arrival()).is_err());
        }
    }

    #[test]
    fn no_text_panics_as_a_policy(text in "\\PC{0,40}", word in "[a-z(){}@\"!&|. ]{0,40}") {
        for text in [text, word] {
            prop_assert!(Rules::parse(&[Source::new("a.cedar", &text)]).is_err());
        }
    }
}
