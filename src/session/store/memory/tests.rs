//! Fences, and what a process finds in the state file of the one before.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::Timestamp;

use super::*;
use crate::cc::{Guid, SignInForm};
use crate::session::store::{Cooling, Kind, Live, Trouble};

const GUID: &str = "279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0";
const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const OTHER_KEY: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
const START: i64 = 1_700_000_000;

struct Nobody;

impl Watcher for Nobody {
    fn changed(&self, _agent: AgentId) {}
    fn lost_sight(&self) {}
    fn reconfirm(&self) {}
    fn rejected(&self, _agent: AgentId, _version: Version, _cause: LossCause) {}
}

fn agent(number: u32) -> AgentId {
    AgentId::try_from(number).expect("an agent")
}

fn clock(seconds: i64) -> Clock {
    Clock::fixed(Timestamp::from_second(START + seconds).expect("a time"))
}

fn live() -> Entry {
    live_of(Kind::Own)
}

fn live_of(kind: Kind) -> Entry {
    Entry::Live(Live {
        guid: Guid::from_text(GUID).expect("a Guid"),
        rotation: 0,
        form: SignInForm::Platform,
        kind,
        decides: false,
        alive_ago: Duration::ZERO,
        issued_ago: Duration::ZERO,
        rotates_every: None,
        poll_takes: Duration::ZERO,
    })
}

fn cooling() -> Entry {
    let lasts = Duration::from_mins(10);
    Entry::Cooling(Cooling { trouble: Trouble::AgentBusy, lasts, doubt_lasts: Duration::ZERO })
}

fn open(folder: &Path, seconds: i64, key: &str, context: &str) -> Result<Arc<Memory>, StateFileError> {
    let key_file = folder.join("key");
    fs::write(&key_file, key).expect("written");
    let keys = Keys::read(&key_file).expect("keys");
    Memory::with_file(clock(seconds), 10, StateFile { path: folder.join("state"), keys }, context)
}

fn restart(folder: &Path, seconds: i64) -> Arc<Memory> {
    open(folder, seconds, KEY, "gateway:8043").expect("a store")
}

async fn owned(store: &Memory, number: u32) -> (u64, Option<Left>) {
    match store.seek(agent(number), 0).await.expect("found") {
        Found::Owned { fence, left } => (fence, left),
        Found::Theirs { .. } => panic!("there is nobody else"),
    }
}

async fn write(store: &Memory, number: u32, entry: Entry) -> u64 {
    let (fence, _) = owned(store, number).await;
    store.write(agent(number), fence, entry).await.expect("written");
    fence
}

#[tokio::test(start_paused = true)]
async fn fences_grow_over_floors_seeks_and_restarts_and_an_old_one_is_refused() {
    let store = Memory::new(clock(0), 10);
    let (first, _) = owned(&store, 1001).await;
    let (second, left) = owned(&store, 1001).await;
    assert!(second > first && left.is_none());
    assert!(matches!(store.write(agent(1001), first, live()).await, Err(Error::Superseded)));
    assert!(matches!(store.release(agent(1001), first).await, Err(Error::Superseded)));
    store.write(agent(1001), second, live()).await.expect("written");

    let floor = second + 1_000_000_000;
    let Found::Owned { fence, .. } = store.seek(agent(1002), floor).await.expect("found") else { panic!("owned") };
    assert_eq!(fence, floor + 1);
    let (later, _) = owned(&store, 1003).await;
    assert!(later > fence, "of any agent");
    assert!(owned(&Memory::new(clock(1), 10), 1001).await.0 > second, "after a restart a second later");
    store.release(agent(1001), second).await.expect("released");
    assert!(matches!(store.write(agent(1001), second, live()).await, Err(Error::Superseded)));
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_session_is_found_once_with_its_age_and_not_in_clear() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = restart(folder.path(), 0);
    let fence = write(&store, 1001, live()).await;
    let released = write(&store, 1002, live()).await;
    store.flush().await;
    store.release(agent(1002), released).await.expect("released");
    store.flush().await;
    drop(store);

    let text = fs::read_to_string(folder.path().join("state")).expect("a file");
    assert!(!text.contains("279fe21d") && text.contains(&format!("1001 {fence} ")), "{text}");
    let mode = fs::metadata(folder.path().join("state")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let store = restart(folder.path(), 30);
    let (newer, left) = owned(&store, 1001).await;
    assert!(newer > fence);
    let left = left.expect("left");
    let Some(Entry::Live(found)) = left.entry else { panic!("a session") };
    assert!(found.guid.same_as(&Guid::from_text(GUID).expect("a Guid")));
    assert_eq!(left.age, Duration::from_secs(30));
    assert!(owned(&store, 1001).await.1.is_none(), "once");
    assert!(owned(&store, 1002).await.1.is_none(), "released");
    // Sought but not written again: a second crash finds it still.
    drop(store);
    assert!(owned(&restart(folder.path(), 40), 1001).await.1.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_old_session_is_left_out_a_cooling_is_not_and_a_clock_set_back_makes_no_negative_age() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = restart(folder.path(), 0);
    write(&store, 1001, live()).await;
    write(&store, 1002, cooling()).await;
    write(&store, 1003, live_of(Kind::Desk)).await;
    store.flush().await;
    let fence = owned(&store, 1001).await.0;

    let early = restart(folder.path(), -3_600);
    let (grown, left) = owned(&early, 1001).await;
    assert!(left.is_some_and(|left| left.age == Duration::ZERO));
    assert!(grown + 2 > fence, "{grown} is about {fence}, though the clock was set back by an hour");

    let late = restart(folder.path(), 121);
    assert!(owned(&late, 1001).await.1.is_none());
    assert_eq!(owned(&late, 1002).await.1.expect("left").age, Duration::from_secs(121));
    // Its app may have kept it alive without an answer that came back.
    assert_eq!(owned(&late, 1003).await.1.expect("left").age, Duration::from_secs(121));
    assert!(owned(&restart(folder.path(), 301), 1003).await.1.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_foreign_or_garbage_file_or_line_is_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let store = restart(folder.path(), 0);
    write(&store, 1001, live()).await;
    write(&store, 1002, live()).await;
    store.flush().await;
    let good = fs::read_to_string(&path).expect("a file");

    let found = |store: Arc<Memory>| async move { owned(&store, 1001).await.1.is_some() };
    let with = |text: &str| fs::write(&path, text).expect("written");
    assert!(found(restart(folder.path(), 1)).await);
    with(&good);
    assert!(!found(open(folder.path(), 1, KEY, "elsewhere:8043").expect("a store")).await, "another upstream");
    with(&good);
    assert!(!found(open(folder.path(), 1, OTHER_KEY, "gateway:8043").expect("a store")).await, "another key");
    // Agents changed in the lines: each is refused for the other.
    with(&good.replace("\n1001 ", "\n9999 ").replace("\n1002 ", "\n1001 "));
    assert!(!found(restart(folder.path(), 1)).await, "another agent");
    let long = "x".repeat(100_000);
    with(&good.replace("\n1002 ", &format!("\n\n7 7 7 7\n{long}\n1002 -5 1 ")));
    assert!(found(restart(folder.path(), 1)).await, "garbage lines beside it");
    with(&format!("{good}1001 99 1"));
    assert!(found(restart(folder.path(), 1)).await, "a torn last line");
    for garbage in ["", "\n", "ccgate-sessions v9 x\n", "\u{1}\u{2}"] {
        with(garbage);
        assert!(!found(restart(folder.path(), 1)).await, "{garbage:?}");
    }
    fs::write(&path, [0xff, 0xfe, b'\n', 0xff]).expect("written");
    assert!(!found(restart(folder.path(), 1)).await);
    let aside = fs::read(folder.path().join("state.unused")).expect("kept aside");
    assert_eq!(aside, [0xff, 0xfe, b'\n', 0xff], "it may be something else of somebody's");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_a_start_error() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("state")).expect("a folder in its place");
    let error = open(folder.path(), 0, KEY, "gateway:8043").err().expect("an error");
    assert!(error.to_string().contains("cannot be written"), "{error}");
}

#[tokio::test]
async fn changes_are_written_by_themselves_and_at_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = restart(folder.path(), 0);
    let stop = CancellationToken::new();
    let running = Arc::clone(&store).run(Arc::new(Nobody), stop.clone());
    let lines = || fs::read_to_string(folder.path().join("state")).expect("a file").lines().count() - 1;
    let story = async {
        write(&store, 1001, live()).await;
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if lines() == 1 {
                break;
            }
        }
        assert_eq!(lines(), 1, "at once");
        write(&store, 1002, live()).await;
        stop.cancel();
    };
    tokio::join!(running, story);
    assert_eq!(lines(), 2, "at the end");
}

#[tokio::test(start_paused = true)]
async fn the_file_stays_as_long_as_its_agents_however_often_they_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = restart(folder.path(), 0);
    let fence = write(&store, 1001, live()).await;
    for round in 0..30_u32 {
        for number in 0..100 {
            write(&store, 2000 + number, cooling()).await;
        }
        store.write(agent(1001), fence, live()).await.expect("written");
        store.flush().await;
        let lines = fs::read_to_string(folder.path().join("state")).expect("a file").lines().count();
        assert!(lines < 1_400, "{lines} lines in round {round}");
    }
    assert!(owned(&restart(folder.path(), 1), 1001).await.1.is_some());
}

#[tokio::test]
async fn taking_is_seeking_where_there_is_nobody_to_take_from() {
    let store = Memory::new(clock(0), 10);
    let fence = write(&store, 1001, live()).await;
    let Ok(Found::Owned { fence: taken, left: None }) = store.take(agent(1001), fence).await else { panic!("owned") };
    assert!(taken > fence);
}
