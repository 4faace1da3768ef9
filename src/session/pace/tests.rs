//! The turns and the slots, with the clock in hand and a store that says what it is told to.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::store::{Entry, Found, Retire, Retired, Tenure, Version, Watcher};
use super::*;
use crate::cc::AgentId;
use crate::session::LossCause;

/// A store of which only the rate is asked; when its script is used up it admits.
#[derive(Default)]
struct Rate {
    script: Mutex<VecDeque<Result<Option<Duration>, store::Error>>>,
    asked: AtomicUsize,
}

impl Store for Rate {
    fn lease(&self) -> Option<Duration> {
        None
    }

    fn admit_sign_in(&self) -> BoxFuture<'_, Result<Option<Duration>, store::Error>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.script.lock().unwrap().pop_front().unwrap_or(Ok(None));
        async { answer }.boxed()
    }
    fn tenure(&self) -> Tenure {
        Tenure::ALONE
    }
    fn seek(&self, _: AgentId, _: u64) -> BoxFuture<'_, Result<Found, store::Error>> {
        panic!("the gate asks for the rate only")
    }
    fn take(&self, _: AgentId, _: u64) -> BoxFuture<'_, Result<Found, store::Error>> {
        panic!("the gate asks for the rate only")
    }
    fn write(&self, _: AgentId, _: u64, _: Entry) -> BoxFuture<'_, Result<(), store::Error>> {
        panic!("the gate asks for the rate only")
    }
    fn retire(&self, _: AgentId, _: u64, _: Retire) -> BoxFuture<'_, Result<Retired, store::Error>> {
        panic!("the gate asks for the rate only")
    }
    fn release(&self, _: AgentId, _: u64) -> BoxFuture<'_, Result<(), store::Error>> {
        panic!("the gate asks for the rate only")
    }
    fn reject(&self, _: AgentId, _: Version, _: LossCause) -> BoxFuture<'_, Result<(), store::Error>> {
        panic!("the gate asks for the rate only")
    }
    fn run(self: Arc<Self>, _: Arc<dyn Watcher>, _: CancellationToken) -> BoxFuture<'static, ()> {
        panic!("the gate asks for the rate only")
    }
}

fn gate(at_once: usize, script: impl IntoIterator<Item = Result<Option<Duration>, store::Error>>) -> (Gate, Arc<Rate>) {
    let rate = Arc::new(Rate { script: Mutex::new(script.into_iter().collect()), asked: AtomicUsize::new(0) });
    let store: Arc<dyn Store> = Arc::<Rate>::clone(&rate);
    (Gate::new(at_once, store), rate)
}

fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn so_many_at_once_and_in_the_order_they_came() {
    let (gate, _) = gate(3, []);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut sign_ins = JoinSet::new();
    for number in 0..30 {
        let (gate, running, most, order) = (gate.clone(), Arc::clone(&running), Arc::clone(&most), Arc::clone(&order));
        sign_ins.spawn(async move {
            let permit = gate.admit(within(60)).await.unwrap();
            order.lock().unwrap().push(number);
            most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(300)).await;
            running.fetch_sub(1, Ordering::Relaxed);
            drop(permit);
        });
    }
    let start = Instant::now();
    while sign_ins.join_next().await.is_some() {}
    assert_eq!(most.load(Ordering::Relaxed), 3);
    assert_eq!(*order.lock().unwrap(), (0..30).collect::<Vec<_>>());
    let took = start.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_millis(3_100)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn it_waits_what_the_store_says_and_at_most_half_of_it_longer() {
    let waits = [400, 200].map(|wait| Ok(Some(Duration::from_millis(wait))));
    let (gate, rate) = gate(1, waits);
    let start = Instant::now();
    let _permit = gate.admit(within(30)).await.unwrap();
    let took = start.elapsed();
    assert!((Duration::from_millis(600)..=Duration::from_millis(902)).contains(&took), "{took:?}");
    assert_eq!(rate.asked.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn those_who_were_told_the_same_come_back_one_by_one() {
    let (gate, _) = gate(100, (0..100).map(|_| Ok(Some(Duration::from_secs(1)))));
    let start = Instant::now();
    let took = join_all((0..100).map(|_| async {
        let _permit = gate.admit(within(30)).await.unwrap();
        start.elapsed().as_millis() / 100
    }));
    let mut tenths = took.await;
    tenths.sort_unstable();
    tenths.dedup();
    assert!(tenths.len() >= 4, "spread over half a second: {tenths:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_nothing_does_not_spin() {
    let (gate, rate) = gate(1, (0..1_000_000).map(|_| Ok(Some(Duration::ZERO))));
    let late = gate.admit(within(1)).await.unwrap_err();
    assert!(matches!(late, Error::Late));
    assert!(rate.asked.load(Ordering::Relaxed) <= 1_001);
}

#[tokio::test(start_paused = true)]
async fn it_is_late_at_the_deadline_and_sooner_where_the_turn_would_come_later() {
    let (gate, rate) = gate(1, [Ok(None), Ok(Some(Duration::from_secs(10)))]);
    let first = gate.admit(within(5)).await.unwrap();
    let start = Instant::now();
    assert!(matches!(gate.admit(within(5)).await, Err(Error::Late)));
    assert_eq!(start.elapsed().as_secs(), 5, "no place was given back until then");
    drop(first);
    let start = Instant::now();
    assert!(matches!(gate.admit(within(5)).await, Err(Error::Late)));
    assert_eq!(start.elapsed(), Duration::ZERO, "the store says 10 s");
    assert_eq!(rate.asked.load(Ordering::Relaxed), 2);
    assert!(gate.admit(within(5)).await.is_ok(), "whoever was late gave the place back");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_store_is_told_and_gives_the_place_back() {
    let gone = store::Error::Unavailable { why: "no connection", source: None, retry_after: Duration::from_secs(1) };
    let (gate, rate) = gate(1, [Err(gone)]);
    let refused = gate.admit(within(5)).await.unwrap_err();
    assert!(matches!(refused, Error::Store(store::Error::Unavailable { .. })), "{refused:?}");
    assert_eq!(rate.asked.load(Ordering::Relaxed), 1, "no second try");
    assert!(gate.admit(within(5)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_frees_the_place_and_no_more_than_the_places_ask_the_store() {
    let (gate, rate) = gate(2, (0..2).map(|_| Ok(Some(Duration::from_secs(4)))));
    let waiting = join_all((0..10).map(|_| gate.admit(within(30))));
    assert!(tokio::time::timeout(Duration::from_secs(1), waiting).await.is_err());
    assert_eq!(rate.asked.load(Ordering::Relaxed), 2);
    let both = join_all((0..2).map(|_| gate.admit(within(1)))).await;
    assert!(both.iter().all(Result::is_ok), "{both:?}");
}

#[test]
fn a_single_session_does_not_wait() {
    let (pacer, now) = (Pacer::default(), Instant::now());
    assert_eq!(pacer.next(now), Duration::ZERO);
    assert_eq!(pacer.next(now + Duration::from_millis(2)), Duration::ZERO);
    assert_eq!(pacer.next(now + Duration::from_secs(9)), Duration::ZERO);
    assert_eq!(pacer.next(now + Duration::from_secs(9)), Duration::from_millis(2));
}

#[test]
fn ten_thousand_found_at_once_are_spread_over_twenty_seconds() {
    let (pacer, now) = (Pacer::default(), Instant::now());
    let mut by_second = [0; 31];
    for _ in 0..10_000 {
        by_second[usize::try_from(pacer.next(now).as_secs()).unwrap()] += 1;
    }
    assert_eq!(by_second[..20], [500; 20]);
    assert_eq!(by_second[20..], [0; 11]);
}

#[test]
fn nobody_waits_longer_than_half_a_minute_and_those_beyond_are_spread_too() {
    let (pacer, now) = (Pacer::new(NonZeroU32::new(10).unwrap()), Instant::now());
    let mut by_second = [0; 31];
    for _ in 0..3_001 + 30_000 {
        by_second[usize::try_from(pacer.next(now).as_secs()).unwrap()] += 1;
    }
    assert!(by_second[..30].iter().all(|count| (800..1_300).contains(count)), "{by_second:?}");
    assert_eq!(by_second[30], 1, "the last slot is half a minute ahead");
    let later = now + Duration::from_secs(10);
    let wait = (0..50).map(|_| pacer.next(later)).max().unwrap();
    assert!(wait <= Pacer::AHEAD_MAX, "{wait:?}");
}
