//! Whatever the sink does, each record reaches it, in order, and the log does not notice.

use super::*;
use crate::ship::WINDOW;

#[tokio::test]
async fn every_record_is_shipped_once_in_order_over_rotations() {
    let mut world = World::with(Fake::default(), |config| config.segment_bytes_max = 4_096);
    for _ in 0..20 {
        world.write(50).await;
    }
    world.shipped().await;
    world.stop().await;
    world.assert_complete();
    let seqs = world.fake.seqs();
    assert_eq!(seqs, (1..=world.durable()).collect::<Vec<_>>(), "once each");
    assert!(crate::trail::segments(world.dir.path()).expect("segments").len() >= 4, "rotated");
    let cursor = std::fs::read_to_string(world.dir.path().join("ship.cursor")).expect("a cursor");
    assert_eq!(cursor, format!("{{\"origin\":\"{ORIGIN}\",\"seq\":{}}}\n", world.durable()));
    let records = "ccgate_audit_shipped_records_total";
    assert_eq!(world.metric(records, "acknowledged"), seqs.len() as f64);
    assert_eq!(world.metric("ccgate_audit_ship_lag_records", ""), 0.0);
}

#[tokio::test]
async fn acknowledgements_that_are_dropped_lead_to_a_second_sending_and_to_nothing_missing() {
    let mut world = World::new(Fake::with(|script| {
        script.acks_left = Some(100);
        script.patience = Some(Duration::from_secs(1));
    }));
    world.write(1_000).await;
    world.shipped().await;
    world.stop().await;
    world.assert_complete();
    let again = world.fake.seqs().len() as u64 - world.durable();
    assert!((1..=WINDOW as u64).contains(&again), "{again} were sent again");
    assert_eq!(world.metric("ccgate_audit_shipped_records_total", "duplicate"), again as f64);
    assert_eq!(world.metric("ccgate_audit_shipped_records_total", "failed"), again as f64);
    assert_eq!(world.fake.script().connected, 2);
}

#[tokio::test]
async fn a_sink_that_refuses_is_asked_again_and_each_reason_is_shown() {
    let connects = ["no.stream", "no.stream", "ok"];
    let mut world = World::new(Fake::with(|script| {
        script.connects = connects.into();
        script.taken_left = Some(10);
    }));
    world.write(30).await;
    world.shipped().await;
    world.stop().await;
    world.assert_complete();
    assert_eq!(world.fake.script().connected, 4, "twice in vain, once until it refused, once to the end");
}

#[tokio::test]
async fn a_slow_sink_is_not_lost_while_it_goes_on() {
    let world = World::new(Fake::with(|script| {
        script.delay = Duration::from_millis(100);
        script.patience = Some(Duration::from_secs(1));
    }));
    world.write(30).await;
    world.shipped().await;
    assert_eq!(world.fake.script().connected, 1);
    assert_eq!(world.fake.seqs().len() as u64, world.durable(), "once each");
}

#[tokio::test]
async fn no_more_than_a_window_is_sent_without_acknowledgement() {
    let world = World::new(Fake::with(|script| script.delay = Duration::from_hours(1)));
    world.write(1_000).await;
    let sent = |world: &World| world.fake.script().items.len();
    world.until("a full window", |world| sent(world) == WINDOW).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(sent(&world), WINDOW, "and no more");
    world.until("the lag is told", |world| world.metric("ccgate_audit_ship_lag_records", "") >= 1_000.0).await;
    world.until("and its age", |world| world.metric("ccgate_audit_ship_lag_seconds", "") > 0.3).await;
    assert_eq!(world.metric("ccgate_audit_ship_last_ack_timestamp_seconds", ""), 0.0);
}

#[tokio::test]
async fn a_shipper_that_is_killed_begins_where_its_cursor_is() {
    let mut world = World::with(Fake::default(), |config| config.segment_bytes_max = 4_096);
    for round in 0..8 {
        world.write(300).await;
        if round % 2 == 0 {
            world.shipped().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        world.kill_shipping();
        world.write(10).await;
        world.ship();
    }
    world.shipped().await;
    world.stop().await;
    world.assert_complete();
    let again = world.fake.seqs().len() as u64 - world.durable();
    assert!(again < 4 * 310, "{again} sent again: the cursor was of no use");
}

#[tokio::test]
async fn a_process_that_is_killed_goes_on_shipping() {
    let mut world = World::new(Fake::default());
    for _ in 0..4 {
        world.write(100).await;
        world = world.kill().await;
    }
    world.shipped().await;
    world.stop().await;
    world.assert_complete();
}

#[tokio::test]
async fn what_is_left_is_shipped_at_the_end_and_an_end_without_a_sink_is_bounded() {
    let mut world = World::new(Fake::with(|script| script.delay = Duration::from_millis(3)));
    world.write(600).await;
    world.stop().await;
    world.assert_complete();

    let mut world = World::new(Fake::with(|script| {
        script.hangs = true;
        script.patience = Some(PATIENCE);
    }));
    world.write(10).await;
    let begun = Instant::now();
    world.stop().await;
    let took = begun.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(10)).contains(&took), "{took:?}");
    assert!(!world.dir.path().join("ship.cursor").exists());
}

#[tokio::test]
async fn checkpoints_are_shipped_behind_the_records_that_they_are_over() {
    let mut world = World::new(Fake::default());
    let sign = |world: &World, size: u64| {
        world.log.signed_for_test(audit::Signed { size, note: format!("{ORIGIN}\n{size}\n").into() });
    };
    let at = |world: &World, size: u64| {
        let items = &world.fake.script().items;
        let id = format!("{ORIGIN}/checkpoint/{size}");
        let found: Vec<_> = (0..).zip(items).filter(|(_, item)| item.id(ORIGIN) == id).map(|(at, _)| at).collect();
        (
            found.len(),
            items
                .iter()
                .take(found.first().copied().unwrap_or(0))
                .any(|item| item.id(ORIGIN) == format!("{ORIGIN}/{size}")),
        )
    };
    world.write(10).await;
    sign(&world, 5);
    world.until("the first", |world| at(world, 5) == (1, true)).await;
    world.write(1_000).await;
    let last = world.durable();
    sign(&world, last);
    world.until("the second", |world| at(world, last) == (1, true)).await;
    world.kill_shipping();
    world.ship();
    world.until("the newest again, which a stream knows by its id", |world| at(world, last).0 == 2).await;
    world.log.shut_down(Duration::from_secs(5)).await;
    let end = world.durable();
    sign(&world, end);
    world.shipping.take().expect("shipping").stop().await;
    assert_eq!((at(&world, end), at(&world, 5).0), ((1, true), 1), "the last one, too");
    world.assert_complete();
}
