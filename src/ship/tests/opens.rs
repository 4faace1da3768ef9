//! What opening an entry has to do with shipping: nothing where the log's own disk is enough, all where it is not.

use super::*;
use crate::audit::{End, Error as AuditError, Why};

/// Opens and ends so many entries by so many at once; how long it took.
async fn open_and_end(log: &Log, tasks: usize, each: usize) -> Duration {
    let begun = Instant::now();
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let log = log.clone();
        set.spawn(async move {
            for _ in 0..each {
                let entry = log.open(Budgeted::for_test(authorized()), session()).await.expect("open");
                drop(entry);
            }
        });
    }
    while let Some(done) = set.join_next().await {
        done.expect("no panic");
    }
    begun.elapsed()
}

/// A sink that soon takes silence for a loss.
fn impatient(change: impl FnOnce(&mut Script)) -> Fake {
    Fake::with(|script| {
        script.patience = Some(PATIENCE);
        change(script);
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_sink_that_hangs_or_is_dead_costs_local_entries_nothing() {
    let mut without = World::new(Fake::default());
    without.kill_shipping();
    let usual = open_and_end(&without.log, 32, 50).await;
    for fake in [
        impatient(|script| script.hangs = true),
        impatient(|script| script.delay = Duration::from_hours(1)),
        Fake::with(|script| script.connects = vec!["gone"; 10_000].into()),
    ] {
        let world = World::new(fake);
        let took = open_and_end(&world.log, 32, 50).await;
        assert!(took < usual * 3 + Duration::from_millis(500), "{took:?} instead of {usual:?}");
        assert!(world.ready.is_ready(), "{:?}", world.ready.report());
        assert!(world.log.is_writable());
        assert_eq!(*world.log.shipping().borrow(), 0);
    }
}

#[tokio::test]
async fn a_shipped_entry_is_open_when_its_record_is_acknowledged() {
    let slow = Duration::from_millis(60);
    let mut world = World::with(Fake::with(|script| script.delay = slow), |config| {
        config.durability = Durability::Shipped;
    });
    world.until("ready", |world| world.ready.is_ready()).await;
    let begun = Instant::now();
    let entry = world.log.open(Budgeted::for_test(authorized()), session()).await.expect("open");
    assert!(begun.elapsed() >= slow, "{:?}", begun.elapsed());
    let sent = world.fake.kept().into_iter().find(|(_, line)| line.contains(&entry.id().to_string()));
    assert!(sent.is_some_and(|(seq, _)| seq <= *world.log.shipping().borrow()));
    drop(entry);
    world.stop().await;
    world.assert_complete();
}

#[tokio::test]
async fn r14_shipped_entries_are_refused_in_time_while_the_sink_is_away_and_go_on_by_themselves() {
    let fake = impatient(|script| script.hangs = true);
    let mut world = World::with(fake, |config| {
        config.durability = Durability::Shipped;
        config.write_timeout = Duration::from_millis(300);
    });
    for _ in 0..3 {
        let begun = Instant::now();
        let refused = world.log.open(Budgeted::for_test(authorized()), session()).await.expect_err("refused");
        assert_eq!(refused, AuditError::Unavailable(Why::NotShipped));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let report = world.ready.report();
        let (name, reason) = report.first().expect("a condition");
        assert!(*name == "audit" && reason.as_ref().is_some_and(|why| why.contains("the audit log")), "{report:?}");
        tokio::time::sleep(PATIENCE).await;
    }
    world
        .until("why", |world| {
            let report = world.ready.report();
            report.iter().any(|(_, why)| {
                why.as_deref() == Some("the audit log cannot be shipped to nats: no answer within 200ms")
            })
        })
        .await;
    world.fake.script().hangs = false;
    world.until("ready again", |world| world.ready.is_ready()).await;
    world.shipped().await;
    drop(world.log.open(Budgeted::for_test(authorized()), session()).await.expect("open"));
    world.stop().await;
    world.assert_complete();
    assert_one_end_each(world.dir.path());
}

/// The sink takes the record and never says so: the opener is refused, the record has its one end all the same.
#[tokio::test]
async fn an_entry_whose_record_is_not_acknowledged_in_time_gets_its_one_end() {
    let mut world = World::with(impatient(|_| {}), |config| {
        config.durability = Durability::Shipped;
        config.write_timeout = Duration::from_millis(100);
    });
    world.until("ready", |world| world.ready.is_ready()).await;
    world.shipped().await;
    world.fake.script().acks_left = Some(0);
    let refused = world.log.open(Budgeted::for_test(authorized()), session()).await.expect_err("refused");
    assert_eq!(refused, AuditError::Unavailable(Why::NotShipped));
    // And one whose opener leaves meanwhile.
    world.until("ready again", |world| world.ready.is_ready()).await;
    world.shipped().await;
    world.fake.script().acks_left = Some(0);
    let leaving =
        tokio::time::timeout(Duration::from_millis(50), world.log.open(Budgeted::for_test(authorized()), session()))
            .await;
    assert!(leaving.is_err(), "it left");
    world.until("ready once more", |world| world.ready.is_ready()).await;
    world.shipped().await;
    world.stop().await;
    world.assert_complete();
    let ends = assert_one_end_each(world.dir.path());
    assert_eq!(ends, ["failed audit_unavailable", "aborted client"]);
}

/// Each entry's end by outcome and reason, in the order of the ends; there is one for each `authorized`.
fn assert_one_end_each(dir: &Path) -> Vec<String> {
    let lines: Vec<serde_json::Value> =
        lines(dir).iter().map(|line| serde_json::from_str(line).expect("a record")).collect();
    let of = |event: fn(&str) -> bool| {
        let found = lines.iter().filter(move |line| line["event"].as_str().is_some_and(event));
        found.map(|line| line["entry"].as_str().expect("an entry").to_owned()).collect::<Vec<_>>()
    };
    let (mut begun, mut ended) =
        (of(|event| event == "authorized"), of(|event| ["finished", "failed", "aborted", "unknown"].contains(&event)));
    begun.sort();
    ended.sort();
    assert_eq!(begun, ended);
    let ends = lines.iter().filter(|line| line["outcome"].is_string() && line["entry"].is_string());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    ends.map(|line| format!("{} {}", text(&line["outcome"]), text(&line["reason"]))).collect()
}

#[tokio::test]
async fn without_anybody_who_ships_a_shipped_entry_is_refused_at_its_deadline() {
    let mut world = World::with(Fake::default(), |config| {
        config.durability = Durability::Shipped;
        config.write_timeout = Duration::from_millis(100);
    });
    world.until("ready", |world| world.ready.is_ready()).await;
    world.kill_shipping();
    tokio::task::yield_now().await;
    let refused = world.log.open(Budgeted::for_test(authorized()), session()).await.expect_err("refused");
    assert_eq!(refused, AuditError::Unavailable(Why::NotShipped));
    let entry = world.log.open(Budgeted::for_test(authorized()), session());
    let told = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        world.log.shipped(u64::MAX);
    };
    let (entry, ()) = tokio::join!(entry, told);
    let end =
        End { outcome: audit::Outcome::Finished, upstream: None, delivery: audit::Delivery::nothing(Duration::ZERO) };
    entry.expect("open").close(end);
    world.log.shipped(1);
    assert_eq!(*world.log.shipping().borrow(), u64::MAX, "it never goes back");
}
