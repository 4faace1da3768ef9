//! Replicas and a board between them that does what the script in Redis does.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;

use super::*;
use crate::budget::tests::{World, pass};
use crate::budget::{Limits, Past};

#[derive(Default)]
struct Board {
    bytes: Mutex<BTreeMap<SubjectId, BTreeMap<&'static str, String>>>,
    recordings: Mutex<BTreeMap<SubjectId, BTreeMap<RecordingId, u32>>>,
    away: AtomicBool,
}

/// A replica's view of it.
struct Seen<'a>(&'a Board, &'static str);

impl Exchange for Seen<'_> {
    fn exchange<'a>(&'a self, own: &'a [Own]) -> BoxFuture<'a, Result<Vec<Others>, Away>> {
        let Self(board, replica) = self;
        let mut all = Vec::new();
        for own in own {
            assert!(own.bytes.len() <= 4_096 && own.recordings.len() <= RECORDINGS_AT_ONCE);
            let (mut bytes, mut recordings) =
                (board.bytes.lock().expect("bytes"), board.recordings.lock().expect("all"));
            let bytes = bytes.entry(own.subject).or_default();
            bytes.insert(replica, own.bytes.clone());
            let known = recordings.entry(own.subject).or_default();
            for (recording, at) in &own.recordings {
                let last = known.entry(*recording).or_default();
                *last = (*last).max(*at);
            }
            let others = bytes.iter().filter(|(name, _)| *name != replica).map(|(_, text)| text.clone()).collect();
            let mut newest: Vec<_> =
                known.iter().map(|(id, at)| (*id, *at)).filter(|(_, at)| *at >= own.since).collect();
            newest.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
            newest.truncate(own.recordings_max);
            all.push(Others { bytes: others, recordings: newest });
        }
        let away = board.away.load(Ordering::Relaxed);
        async move { if away { Err(Away) } else { Ok(all) } }.boxed()
    }
}

/// What a second of a running process does.
async fn tick(world: &World, board: &Board, replica: &'static str) {
    world.budgets.shared.look_around();
    world.budgets.shared.exchange(&Seen(board, replica)).await;
    world.budgets.shared.rest(true);
}

fn limits() -> Limits {
    Limits { recordings_per_hour: Some(2), bytes_per_day: Some(1_000), ..Limits::default() }
}

/// Two replicas under one clock.
fn replicas() -> (World, World, Board) {
    let one = World::new(limits());
    let two = World::at(limits(), one.clock.clone());
    (one, two, Board::default())
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_elsewhere_counts_and_a_recording_of_both_counts_once() {
    let (one, two, board) = replicas();
    one.take("alice", 1, 10).expect("here");
    two.take("alice", 1, 10).expect("the same there");
    two.take("bob", 5, 10).expect("another person");
    for (world, name) in [(&one, "one"), (&two, "two"), (&one, "one")] {
        tick(world, &board, name).await;
    }
    one.take("alice", 2, 10).expect("the second recording");
    assert!(two.reserve("alice", 3).is_ok(), "it has not heard of it yet");
    tick(&one, &board, "one").await;
    tick(&two, &board, "two").await;
    assert!(one.wait("alice", 3).is_some() && two.wait("alice", 3).is_some());
    assert!(two.wait("alice", 2).is_none(), "one that counts already");
    assert!(two.wait("bob", 6).is_none());
}

#[tokio::test(start_paused = true)]
async fn bytes_are_summed_and_leave_when_their_window_ends() {
    let (one, two, board) = replicas();
    one.take("alice", 1, 400).expect("here");
    let mut running = two.reserve("alice", 1).expect("there");
    running.handed_over(599);
    for _ in 0..3 {
        tick(&one, &board, "one").await;
        tick(&two, &board, "two").await;
    }
    assert!(one.wait("alice", 1).is_none(), "told often, counted once: a byte is left");
    running.handed_over(1);
    tick(&two, &board, "two").await;
    tick(&one, &board, "one").await;
    let told = one.wait("alice", 1).expect("used up");
    assert_eq!(told, ("bytes_per_day", 24 * 3_600 + 1_800 - 20));
    drop(running);
    pass(told.1 - 1).await;
    assert!(one.wait("alice", 1).is_some());
    pass(1).await;
    assert!(one.wait("alice", 1).is_none());
}

#[tokio::test(start_paused = true)]
async fn while_the_others_are_away_what_is_known_counts_on_and_is_told_afterwards() {
    let (one, two, board) = replicas();
    one.take("alice", 1, 1).expect("here");
    tick(&one, &board, "one").await;
    two.take("alice", 1, 1).expect("there");
    tick(&two, &board, "two").await;
    board.away.store(true, Ordering::Relaxed);
    two.take("alice", 2, 1).expect("the second");
    tick(&two, &board, "two").await;
    assert!(two.wait("alice", 3).is_some(), "its own and what it heard before");
    one.take("alice", 4, 1).expect("it cannot know");
    // What is told arrives although the answer does not: it is told again and counts once.
    board.away.store(false, Ordering::Relaxed);
    *board.recordings.lock().expect("all") = BTreeMap::default();
    for _ in 0..3 {
        tick(&two, &board, "two").await;
        tick(&one, &board, "one").await;
    }
    let known = board.recordings.lock().expect("all").values().map(BTreeMap::len).sum::<usize>();
    assert_eq!(known, 3, "both told all that they know");
    assert!(one.wait("alice", 3).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_counts_its_past_is_not_counted_twice() {
    let (one, two, board) = replicas();
    one.take("alice", 1, 600).expect("before");
    tick(&one, &board, "one").await;
    let again = World::at(limits(), one.clock.clone());
    let (at, issuer, subject) = (one.clock.now(), crate::budget::tests::ISSUER, "name of alice");
    let recording = "name of call:1621413752-1";
    again.budgets.recall(Past::Taken { at, issuer, subject, recording, bytes: Some(600) });
    again.take("alice", 1, 300).expect("after");
    tick(&again, &board, "one").await;
    two.take("alice", 1, 1).expect("there");
    tick(&two, &board, "two").await;
    tick(&again, &board, "one").await;
    assert!(again.wait("alice", 1).is_none() && two.wait("alice", 1).is_none(), "901 of 1,000");
    again.take("alice", 1, 99).expect("the rest");
    assert!(again.wait("alice", 1).is_some());
}

/// A way to the others that takes down what is asked in each call, and is shut for one person.
struct Watched<'a> {
    board: &'a Board,
    shut_for: Option<SubjectId>,
    calls: Mutex<Vec<Vec<Own>>>,
}

impl Watched<'_> {
    fn new(board: &Board) -> Watched<'_> {
        Watched { board, shut_for: None, calls: Mutex::default() }
    }

    fn calls(&self) -> Vec<Vec<Own>> {
        std::mem::take(&mut self.calls.lock().expect("calls"))
    }
}

impl Exchange for Watched<'_> {
    fn exchange<'a>(&'a self, own: &'a [Own]) -> BoxFuture<'a, Result<Vec<Others>, Away>> {
        self.calls.lock().expect("calls").push(own.to_vec());
        if own.iter().any(|own| Some(own.subject) == self.shut_for) {
            return async { Err(Away) }.boxed();
        }
        async { Seen(self.board, "one").exchange(own).await }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn one_call_brings_no_more_than_so_much_and_one_that_fails_stops_no_other() {
    let one = World::new(Limits { recordings_per_day: Some(15_000), ..Limits::default() });
    let board = Board::default();
    let names = ["alice", "bob", "carol", "dave"];
    let running: Vec<_> = names.iter().map(|name| one.reserve(name, 1).expect("room")).collect();
    let mut way = Watched::new(&board);
    way.shut_for = Some(one.budgets.shared.subjects.busy()[1].id);
    for second in 0..10 {
        one.budgets.shared.exchange(&way).await;
        let calls = way.calls();
        let asked = |own: &[Own]| own.iter().filter(|own| own.since == own.oldest).count();
        if second == 0 {
            assert_eq!(calls.iter().map(|call| asked(call)).collect::<Vec<_>>(), [1, 1, 1, 1], "all of each");
            assert_eq!(board.bytes.lock().expect("bytes").len(), 3, "all but one");
        } else {
            let again =
                calls.iter().flatten().filter(|own| own.since == own.oldest && Some(own.subject) != way.shut_for);
            assert_eq!((calls.iter().map(Vec::len).sum::<usize>(), again.count()), (4, 0), "the newest of each");
        }
    }
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn what_was_too_much_is_asked_for_once_a_minute_and_what_was_missed_is_made_up_for() {
    let one = World::new(limits());
    let board = Board::default();
    let _running = one.reserve("alice", 1).expect("room");
    let mut way = Watched::new(&board);
    one.budgets.shared.exchange(&way).await;
    let heard = way.calls()[0][0].now;
    way.shut_for = Some(one.budgets.shared.subjects.busy()[0].id);
    let mut whole = 0;
    for _ in 0..600 {
        pass(1).await;
        one.budgets.shared.exchange(&way).await;
        let own = way.calls().remove(0).remove(0);
        if own.since == own.oldest {
            whole += 1;
        } else {
            assert_eq!(own.since, heard - RECENT, "from the last time on that something was heard");
        }
    }
    assert_eq!(whole, 10);
}

#[tokio::test(start_paused = true)]
async fn exchanges_of_everything_are_spread_over_the_minute() {
    let one = World::new(limits());
    let board = Board::default();
    let running: Vec<_> = (0..300).map(|name| one.reserve(&name.to_string(), 1).expect("room")).collect();
    let way = Watched::new(&board);
    one.budgets.shared.exchange(&way).await;
    assert_eq!(way.calls().len(), 5, "64 at once");
    let mut by_second = Vec::new();
    for _ in 0..60 {
        pass(1).await;
        one.budgets.shared.exchange(&way).await;
        by_second.push(way.calls().iter().flatten().filter(|own| own.since == own.oldest).count());
    }
    let most = by_second.iter().copied().max().unwrap_or_default();
    assert_eq!(by_second.iter().sum::<usize>(), 300, "each once");
    assert!(most <= 20, "5 in a second are the mean: {by_second:?}");
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_looked_at_for_longer_than_there_is_a_reason() {
    let (one, _two, board) = replicas();
    one.take("alice", 1, 1).expect("here");
    tick(&one, &board, "one").await;
    assert_eq!(one.budgets.shared.subjects.busy().len(), 1, "it lingers");
    pass(180).await;
    tick(&one, &board, "one").await;
    assert_eq!(one.budgets.shared.subjects.busy().len(), 0);
    one.take("alice", 1, 1).expect("again");
    assert_eq!(one.budgets.shared.subjects.busy().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_task_books_tells_and_ends_when_it_is_told_to() {
    let world = World::new(Limits { bytes_per_hour: Some(100), ..Limits::default() });
    let mut running = world.reserve("alice", 1).expect("room");
    running.handed_over(90);
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(world.budgets.clone().run(None, stop.clone()));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(world.alerts(), [("name of alice".to_owned(), "bytes_per_hour", 90)]);
    stop.cancel();
    tasks.join_all().await;
}

#[test]
fn what_another_replica_wrote_is_read_and_nonsense_is_passed_over() {
    let mut bytes = Bytes::new();
    bytes.add(29_900_010, 7);
    bytes.add(29_900_011, u64::MAX / 2);
    let mut read = Bytes::new();
    read_into(&mut read, &write(&bytes));
    assert_eq!(read, bytes);
    for text in ["", " ", "h", "h1", "h=1", "hx=1", "h1=x", "z1=1", "é1=1", "h99999999999=1", "h1=99999999999999999999"]
    {
        let mut read = Bytes::new();
        read_into(&mut read, text);
        assert_eq!(read, Bytes::new(), "{text:?}");
    }
}
