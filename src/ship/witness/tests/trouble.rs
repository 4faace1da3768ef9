//! Witnesses that are away, forget or lie, and logs that are not what was witnessed.

use super::fake::Mood;
use super::*;

#[tokio::test]
async fn a_witness_that_is_down_for_a_while_is_asked_until_it_is_back() {
    for mood in [Mood::Down, Mood::Silent] {
        let mut fake = Fake::start("witness.example/w1").await;
        fake.timeout = Duration::from_millis(150);
        let world = World::new(std::slice::from_ref(&fake)).await;
        world.write(10).await;
        world.witnessed().await;
        fake.is(mood);
        world.until("it is told", |world| world.metric("ccgate_audit_witness_up") == 0.0).await;
        let last = world.metric("ccgate_audit_witness_last_success_timestamp_seconds");
        world.write(300).await;
        assert!(last > 0.0 && world.metric("ccgate_audit_witnessed_size") < world.size() as f64);
        assert_eq!(world.metric("ccgate_audit_witness_refused"), 0.0, "to be away is no refusal");
        fake.is(Mood::Good);
        world.witnessed().await;
        assert_eq!(world.verify().damages, []);
    }
}

#[tokio::test]
async fn the_log_ends_in_time_while_a_witness_is_silent() {
    let fake = Fake::start("witness.example/w1").await;
    fake.is(Mood::Silent);
    let mut world = World::new(&[fake]).await;
    world.write(10).await;
    let before = Instant::now();
    world.stop().await;
    assert!(before.elapsed() < super::super::LAST_TIMEOUT + Duration::from_secs(2));
}

#[tokio::test]
async fn a_witness_with_an_older_size_gets_a_proof_from_there() {
    let fake = Fake::start("witness.example/w1").await;
    let world = World::new(std::slice::from_ref(&fake)).await;
    world.write(300).await;
    world.witnessed().await;
    let older = fake.latest();
    world.write(300).await;
    world.witnessed().await;
    for to in [older, None] {
        let before = fake.answers(409);
        fake.put_back(to);
        world.until("it is told", |_| fake.answers(409) > before).await;
        world.until("it knows all again", |_| fake.latest().is_some_and(|(size, _)| size == world.size())).await;
        let told = fake.requests();
        let conflict = told.iter().rposition(|(_, status, _)| *status == 409).expect("a conflict");
        let (again, status, old) = told[conflict + 1];
        assert_eq!((status, old), (200, to.map_or(0, |(size, _)| size)));
        assert!(again - told[conflict].0 < INTERVAL, "at once");
    }
    assert_eq!(world.metric("ccgate_audit_witness_refused"), 0.0);
}

#[tokio::test]
async fn a_lost_file_of_cosigned_notes_costs_one_question() {
    let fake = Fake::start("witness.example/w1").await;
    let mut world = World::new(std::slice::from_ref(&fake)).await;
    world.write(300).await;
    world.witnessed().await;
    world.stop().await;
    world = world.restart(|dir| std::fs::remove_file(dir.join(WITNESSED_FILE)).expect("removed")).await;
    world.write(10).await;
    world.witnessed().await;
    assert_eq!(fake.answers(409), 1, "{:?}", fake.requests());
    assert_eq!(world.verify().damages, []);
}

/// Everything is made anew with the log's own key, but for what is kept. What verify says then.
async fn rewritten(records: u64, keep: &[&str]) -> (World, Fake, Vec<&'static str>) {
    let fake = Fake::start("witness.example/w1").await;
    let mut world = World::new(std::slice::from_ref(&fake)).await;
    world.write(300).await;
    world.witnessed().await;
    world.stop().await;
    let cosigned = world.size();
    let old = fake.latest();
    let mut world = world.restart(|dir| forget(dir, keep)).await;
    world.write(records).await;
    world.until("it is told", |world| world.metric("ccgate_audit_witness_refused") == 1.0).await;
    assert_eq!(world.metric("ccgate_audit_witness_up"), 0.0);
    assert_eq!(fake.latest(), old, "and nothing of it is cosigned");
    // The other end of the same thing: the log as it lies there.
    world.stop().await;
    let report = world.verify();
    if let Some(damage) = report.damages.first().filter(|damage| damage.kind.name() == "rewritten") {
        assert!(
            damage.detail.starts_with("it is signed by the log's key and by witness.example/w1, and "),
            "{damage:?}"
        );
        assert!(damage.between.is_some_and(|between| between.bad <= cosigned));
    }
    let kinds = report.damages.iter().map(|damage| damage.kind.name()).collect();
    (world, fake, kinds)
}

#[tokio::test]
async fn a_log_that_was_written_anew_with_its_own_key_is_refused_and_told() {
    let (_world, fake, kinds) = rewritten(500, &[WITNESSED_FILE]).await;
    assert_eq!(kinds, ["rewritten"]);
    assert!(fake.answers(422) > 0, "{:?}", fake.requests());
}

#[tokio::test]
async fn a_log_that_was_put_back_is_refused_and_told() {
    let (_world, _fake, kinds) = rewritten(50, &[WITNESSED_FILE]).await;
    assert_eq!(kinds, ["rewritten"]);
}

#[tokio::test]
async fn a_log_that_was_written_anew_together_with_what_was_cosigned_is_refused_by_the_witness_alone() {
    for records in [50, 500] {
        let (world, _fake, kinds) = rewritten(records, &[]).await;
        assert_eq!(kinds, ["unwitnessed"]);
        assert_eq!(world.lines(), []);
    }
}

#[tokio::test]
async fn a_witness_that_does_not_know_the_log_or_its_key_is_asked_again_when_it_does() {
    let fake = Fake::start("witness.example/w1").await;
    let world = World::new(std::slice::from_ref(&fake)).await;
    world.write(10).await;
    world.witnessed().await;
    for status in [404, 403] {
        fake.change_logs(|logs| match status {
            404 => logs.clear(),
            _ => logs.values_mut().for_each(|keys| *keys = vec![[3; 32]]),
        });
        world.until("it is told", |_| fake.answers(status) > 1).await;
        assert_eq!(world.metric("ccgate_audit_witness_up"), 0.0);
        fake.know(&world.key());
        world.witnessed().await;
    }
    assert_eq!(world.metric("ccgate_audit_witness_refused"), 0.0);
}

#[tokio::test]
async fn what_does_not_verify_is_not_kept() {
    let fake = Fake::start("witness.example/w1").await;
    fake.is(Mood::Forging);
    let world = World::new(std::slice::from_ref(&fake)).await;
    world.write(10).await;
    world.until("it has answered", |_| fake.answers(200) > 1 || fake.answers(409) > 1).await;
    assert_eq!((world.lines(), world.metric("ccgate_audit_witness_up")), (Vec::new(), 0.0));
    assert_eq!(world.metric("ccgate_audit_witnessed_size"), 0.0);
}
