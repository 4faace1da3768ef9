//! One replica without a store: what its state file saves over a crash.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::fleet::{seal_key, secret};
use crate::secrets::{forms, holds};
use crate::world::{Builder, CALL, World, call};

fn with_state_file(key: &str) -> Builder {
    World::new().file("state.keys", key).config(|c| {
        c["sessions"]["state_file"] = "sessions.state".into();
        c["sessions"]["state_key_file"] = "state.keys".into();
        c["log"]["level"] = "info".into();
    })
}

/// A world whose agent 1001 is signed in.
async fn signed_in(builder: Builder) -> World {
    let mut world = builder.without_gateway().await;
    private(&world);
    world.run_process().await;
    world.until_ready().await;
    assert_eq!(world.get(&call(1001, CALL), &world.issuer.agent(1001)).await.status, 200);
    assert_eq!(world.sim.counts().sign_in_calls, 1);
    world
}

fn private(world: &World) {
    let keys = world.dir().join("state.keys");
    let text = std::fs::read_to_string(&keys).unwrap();
    secret(&keys, &text);
}

fn state_file(world: &World) -> PathBuf {
    world.dir().join("sessions.state")
}

/// Waits until all is in the state file: it is written a second after the last time at the soonest, so what has not
/// changed for longer is whole.
async fn until_written(world: &World) {
    const LONGER: Duration = Duration::from_secs(3);
    let (mut last, mut since) = (Vec::new(), Instant::now());
    while last.is_empty() || since.elapsed() < LONGER {
        let now = std::fs::read(state_file(world)).unwrap_or_default();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Kills ccgate once its state file tells of a session, and starts it again.
async fn crash_and_start(world: &mut World, between: impl FnOnce(&World)) {
    until_written(world).await;
    world.kill().await;
    between(world);
    world.run_process().await;
    world.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_next_download_works_at_once_with_the_same_session() {
    let mut world = signed_in(with_state_file(&seal_key())).await;
    let guid = world.sim.guid_of(1001).unwrap();
    crash_and_start(&mut world, |_| {}).await;
    let answer = world.get(&call(1001, CALL), &world.issuer.agent(1001)).await;
    assert_eq!((answer.status.as_u16(), answer.whole), (200, true), "{answer:?}");
    assert_eq!(world.sim.guid_of(1001), Some(guid));
    let counts = world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_outs), (1, 0));
    assert_eq!(world.events("session.resumed").len(), 1);
    assert_eq!(world.sim.broken_rules(), []);
    assert!(world.shut_down().await);
    // The session was its own to sign out.
    assert_eq!(world.sim.counts().sign_outs, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_holds_no_guid() {
    let world = signed_in(with_state_file(&seal_key())).await;
    let guid = world.sim.guid_of(1001).unwrap();
    until_written(&world).await;
    let state = std::fs::read(state_file(&world)).unwrap();
    assert!(!forms(&guid).iter().any(|form| holds(&state, form)));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(state_file(&world)).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
}

/// A start with a state file that is not to be used: reported, and the next request signs in afresh.
async fn ignored(world: &mut World) {
    let log = world.process().log();
    let told = log.lines().filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\""));
    let told: Vec<_> = told.filter(|line| line.contains("state") || line.contains("kept session")).collect();
    assert!(!told.is_empty(), "nothing about the state file in {log}");
    // The gateway has forgotten the old session, as it does after two minutes.
    world.sim.restart();
    assert_eq!(world.get(&call(1001, CALL), &world.issuer.agent(1001)).await.status, 200);
    assert_eq!(world.sim.counts().sign_in_calls, 2);
    assert_eq!(world.events("session.resumed").len(), 0);
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_under_another_key_is_ignored_and_reported() {
    let mut world = signed_in(with_state_file(&seal_key())).await;
    crash_and_start(&mut world, |world| secret(&world.dir().join("state.keys"), &seal_key())).await;
    ignored(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_under_the_older_of_two_keys_is_used() {
    let old = seal_key();
    let mut world = signed_in(with_state_file(&old)).await;
    crash_and_start(&mut world, |world| secret(&world.dir().join("state.keys"), &format!("{}{old}", seal_key()))).await;
    assert_eq!(world.get(&call(1001, CALL), &world.issuer.agent(1001)).await.status, 200);
    assert_eq!(world.sim.counts().sign_in_calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_of_another_upstream_is_ignored_and_reported() {
    let key = seal_key();
    let mut other = signed_in(with_state_file(&key)).await;
    until_written(&other).await;
    other.kill().await;
    let mut world = signed_in(with_state_file(&key)).await;
    crash_and_start(&mut world, |world| {
        std::fs::copy(state_file(&other), state_file(world)).unwrap();
    })
    .await;
    ignored(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_of_garbage_is_ignored_and_reported() {
    let mut world = signed_in(with_state_file(&seal_key())).await;
    crash_and_start(&mut world, |world| std::fs::write(state_file(world), "garbage\u{0}".repeat(100)).unwrap()).await;
    ignored(&mut world).await;
}
