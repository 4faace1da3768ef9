//! What is told of a session: each record with the fingerprint of the Guid that entries carry too.

use super::*;
use crate::cc::GuidTag;

/// The fingerprints that the records among some effects carry.
fn tags(effects: &[Effect]) -> Vec<Option<GuidTag>> {
    let record = |effect: &Effect| match effect {
        Effect::Record(event) => Some(event.tag()),
        _ => None,
    };
    effects.iter().filter_map(record).collect()
}

#[test]
fn records_carry_the_fingerprint_of_the_guid_that_was_current() {
    let mut bench = Bench::new();
    let key = Arc::clone(&bench.session.rules.tag_key);
    let tag = |number| vec![Some(key.tag(&guid(number)))];
    bench.want();
    bench.read("a", false);
    let fresh = Fresh { guid: guid(1), must_change_password: false };
    assert_eq!(tags(&bench.effects(Event::SignInAnswered(Ok(fresh)))), tag(1));
    assert_eq!(tags(&bench.effects(learned(1, 0, 2))), tag(2), "the new one");
    bench.wake();
    let version = Version { fence: 1, rotation: 1 };
    let beat = Event::KeepAliveAnswered { version, result: Ok(Some(guid(3))) };
    assert_eq!(tags(&bench.effects(beat)), tag(3));
    let version = Version { fence: 1, rotation: 2 };
    let rejected =
        Event::Want { rejected: Some(Rejected { version, guid: Arc::new(guid(3)), cause: LossCause::Refused }) };
    assert_eq!(tags(&bench.effects(rejected)), tag(3), "lost");
    assert_eq!(tags(&bench.effects(Event::SignOutAnswered(Ok(())))), tag(3), "signed out");
}

#[test]
fn signed_out_is_told_only_where_the_gateway_took_it() {
    let signed_out = "record SignedOut { why: Lost }".to_owned();
    let failed = |code: &str| format!("record SignOutFailed {{ retcode: Some(Retcode({code:?})) }}");
    for (answer, told) in [
        (Ok(()), signed_out.clone()),
        (Err(refused("100-006")), signed_out.clone()),
        (Err(refused("100-008")), signed_out),
        (Err(refused("100-010")), failed("100-010")),
        (Err(refused("000-003")), failed("000-003")),
    ] {
        let mut bench = Bench::active();
        bench.reject(1, 0, LossCause::Refused);
        assert_eq!(bench.step(Event::SignOutAnswered(answer)), [told.as_str(), "read"], "and goes on");
    }
}

#[test]
fn a_sign_in_that_fails_is_told_once_however_many_wait() {
    let mut bench = Bench::new();
    (0..100).for_each(|_| drop(bench.want()));
    bench.read("a", false);
    let told = bench.sign_in_fails(refused("100-002"));
    assert_eq!(told.iter().filter(|effect| effect.starts_with("record")).count(), 1, "{told:?}");
    (0..100).for_each(|_| assert_eq!(bench.want(), ["refuse agent_busy"]));
}
