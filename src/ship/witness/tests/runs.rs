//! A log that grows, stops and starts again is witnessed all the way.

use super::*;
use crate::tlog::{Checkpoint, Note};

#[tokio::test]
async fn every_checkpoint_in_its_turn_is_cosigned_over_restarts() {
    let fake = Fake::start("witness.example/w1").await;
    let mut world = World::new(std::slice::from_ref(&fake)).await;
    for round in 0..6_u64 {
        world.write(40 + 100 * round).await;
        world.witnessed().await;
        assert_eq!(fake.latest().map(|(size, _)| size), Some(world.size()));
        if round % 2 == 1 {
            world.stop().await;
            world = world.restart(|_| {}).await;
        }
    }
    world.stop().await;
    assert_eq!(fake.latest().map(|(size, _)| size), Some(world.size()), "the last one, too");
    let (ok, all) = (fake.answers(200), fake.requests().len());
    assert_eq!(ok, all, "it knows what the witness knows, over restarts: {:?}", fake.requests());
    let (lines, key) = (world.lines(), fake.key().parse::<crate::tlog::WitnessKey>().expect("a key"));
    assert!(lines.is_sorted_by(|a, b| a.size < b.size), "one line a size");
    let keys = read_keys(&world.path(KEYS_FILE)).expect("keys");
    for line in &lines {
        let note = Note::parse(&line.note).expect("a note");
        assert!(key.cosigned(&note).is_ok());
        let (checkpoint, _) = Checkpoint::open(&note, &keys).expect("the log's, too");
        assert_eq!((checkpoint.size, line.witness.as_str()), (line.size, "witness.example/w1"));
    }
    let report = world.verify();
    assert_eq!(report.damages, []);
    let [found] = report.witnesses.as_slice() else { panic!("one witness") };
    assert_eq!((found.checkpoints, found.size), (lines.len() as u64, world.size()));
    assert!(found.ts.is_some());
}

#[tokio::test]
async fn a_witness_is_asked_once_an_interval_while_nothing_happens_too() {
    let fake = Fake::start("witness.example/w1").await;
    let world = World::new(std::slice::from_ref(&fake)).await;
    world.write(10).await;
    world.witnessed().await;
    let lines = world.lines().len();
    let before = fake.requests().len();
    world.until("it is asked again", |_| fake.requests().len() > before + 4).await;
    let requests = fake.requests();
    for pair in requests.windows(2) {
        // The time is taken at the other end of a connection.
        assert!(pair[1].0 - pair[0].0 > INTERVAL / 2, "{requests:?}");
    }
    assert_eq!(world.lines().len(), lines, "and nothing is written for that");
    assert_eq!(world.metric("ccgate_audit_witness_refused"), 0.0);
    assert!(world.metric("ccgate_audit_witness_last_success_timestamp_seconds") > 1.7e9);
}

#[tokio::test]
async fn several_witnesses_are_as_good_as_the_worst_of_them() {
    let (one, two) = (Fake::start("witness.example/w1").await, Fake::start("witness.example/w2").await);
    two.is(fake::Mood::Down);
    let world = World::new(&[one.clone(), two.clone()]).await;
    world.write(10).await;
    world.until("the first cosigns", |_| one.latest().is_some_and(|(size, _)| size >= 10)).await;
    let metrics = |name: &str| world.metric(&format!("ccgate_audit_{name}"));
    assert_eq!((metrics("witness_up"), metrics("witnessed_size")), (0.0, 0.0));
    assert_eq!(metrics("witness_last_success_timestamp_seconds"), 0.0);
    let kinds: Vec<_> = world.verify().damages.iter().map(|damage| damage.kind.name()).collect();
    assert_eq!(kinds, ["unwitnessed"], "the second has cosigned nothing");
    two.is(fake::Mood::Good);
    world.witnessed().await;
    assert_eq!(world.verify().damages, []);
}

#[tokio::test]
async fn a_torn_last_line_is_not_the_log_s_end() {
    let fake = Fake::start("witness.example/w1").await;
    let mut world = World::new(std::slice::from_ref(&fake)).await;
    world.write(10).await;
    world.witnessed().await;
    world.stop().await;
    let lines = world.lines().len();
    world = world
        .restart(|dir| {
            let path = dir.join(WITNESSED_FILE);
            let text = std::fs::read_to_string(&path).expect("text");
            std::fs::write(&path, format!("{text}{}", text.chars().take(100).collect::<String>())).expect("written");
        })
        .await;
    assert_eq!(world.verify().damages, [], "a line that is not whole is not there yet");
    world.write(10).await;
    world.witnessed().await;
    assert!(world.lines().len() > lines);
    assert_eq!(fake.answers(409), 0, "the line before is known");
}
