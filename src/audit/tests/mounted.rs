//! Volumes that are really full, and files beside the segments that somebody takes away while the log runs.

#![allow(clippy::print_stdout, reason = "a test that leaves itself out says so")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::replay::sound;
use super::*;
use crate::trail::verify::{Kind, Report, verify};
use crate::trail::{CHECKPOINT_FILE, CHECKPOINTS_FILE, KEYS_FILE, read_keys};

/// A file system of 2 MiB in memory on a folder, until it is dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None`, and a line that says so, where this process may not mount.
    fn two_mib(folder: &Path) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2M", "ccgate-test"]).arg(folder).output();
        if mount.as_ref().is_ok_and(|done| done.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        println!("LEFT OUT: nothing can be mounted here: {mount:?}");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a file of it may still be open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Opens and closes entries, a few at a time, until one is refused; each answer comes in time.
async fn until_refused(world: &World) -> Why {
    for _ in 0..10_000 {
        let begun = Instant::now();
        let opened = futures_util::future::join_all((0..32).map(|_| world.open())).await;
        assert!(begun.elapsed() < world.config.write_timeout + Duration::from_secs(2), "{:?}", begun.elapsed());
        let mut why = None;
        for entry in opened {
            match entry {
                Ok(entry) => entry.close(finished()),
                Err(Error::Unavailable(refused)) => why = Some(refused),
            }
        }
        if let Some(why) = why {
            return why;
        }
    }
    panic!("it never fills up")
}

async fn held(world: &World, count: usize) -> Vec<OpenEntry> {
    let opened = futures_util::future::join_all((0..count).map(|_| world.open())).await;
    opened.into_iter().map(|entry| entry.expect("an entry")).collect()
}

fn close(entries: Vec<OpenEntry>) {
    for entry in entries {
        entry.close(finished());
    }
}

fn report(dir: &Path) -> Report {
    let keys = read_keys(&dir.join(KEYS_FILE)).expect("keys");
    verify(dir, &keys, &mut |_, _| {}).expect("a log")
}

/// A world on a volume of 2 MiB, of which a file takes half.
fn small(free_bytes_min: u64) -> Option<(Mount, PathBuf, World)> {
    let dir = Arc::new(TempDir::new().expect("a directory"));
    let mount = Mount::two_mib(dir.path())?;
    let config = Config { free_bytes_min, segment_bytes_max: 256 << 10, ..config(dir.path()) };
    let filler = dir.path().join("filler");
    fs::write(&filler, vec![0; 1 << 20]).expect("a file");
    Some((mount, filler, World::start(dir, config, Plan::never()).expect("it starts")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_the_ends_of_200_entries_fit_into_the_reserve_of_a_full_volume() {
    let Some((_mount, filler, world)) = small(512 << 10) else { return };
    let open = held(&world, 200).await;
    assert_eq!(until_refused(&world).await, Why::DiskLow);
    close(open);
    world.until("all ends are written", |world| world.metric("ccgate_audit_open_entries") < 0.5).await;
    assert_eq!(world.open().await.expect_err("still low"), Error::Unavailable(Why::DiskLow));
    fs::remove_file(filler).expect("room");
    world.until("ready", |world| world.ready.is_ready()).await;
    close(held(&world, 1).await);
    assert_eq!(world.stop().await, Ended { entries_without_end: 0, complete: true });
    check(&world.lines());
    assert!(!events(&world.lines()).contains(&"audit.gap"), "nothing failed");
    sound(world.dir.path(), "a volume that was nearly full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_full_volume_refuses_keeps_the_ends_and_mends_itself() {
    let Some((_mount, filler, world)) = small(0) else { return };
    let open = held(&world, 200).await;
    assert_eq!(until_refused(&world).await, Why::Broken);
    assert!(!world.ready.is_ready());
    close(open);
    tokio::time::sleep(Duration::from_millis(600)).await;
    fs::remove_file(filler).expect("room");
    world.until("ready", |world| world.ready.is_ready()).await;
    close(held(&world, 1).await);
    assert_eq!(world.stop().await, Ended { entries_without_end: 0, complete: true });
    assert!(world.metric("ccgate_audit_records_lost_total").abs() < 0.1);
    sound(world.dir.path(), "a volume that was full");
    let world = world.killed_and_started_again().await;
    world.stop().await;
    let gaps: Vec<_> = world.lines().into_iter().filter(|line| line["event"] == "audit.gap").collect();
    assert!(!gaps.is_empty() && gaps.iter().all(|gap| gap["reason"] == "disk_full"), "{gaps:?}");
    sound(world.dir.path(), "a volume that was full, started again");
}

/// What somebody does to the files beside the segments.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Removes(&'static str),
    /// Puts a file or a folder there, so that nothing can be written in its place, until it is taken away again.
    Blocks(&'static str),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiles_and_checkpoints_that_are_taken_away_or_blocked_stop_no_entry() {
    let table = [
        (Deed::Removes("tile"), &[Kind::Tile][..]),
        (Deed::Removes(CHECKPOINT_FILE), &[]),
        (Deed::Removes(CHECKPOINTS_FILE), &[]),
        (Deed::Blocks("tile"), &[Kind::Tile]),
        (Deed::Blocks(CHECKPOINT_FILE), &[]),
        (Deed::Blocks(CHECKPOINTS_FILE), &[]),
    ];
    for (deed, damages) in table {
        let world = World::new();
        let work = async |count| close(held(&world, count).await);
        work(200).await;
        let signed = |world: &World| {
            let progress = world.log.progress();
            let progress = progress.borrow();
            progress.checkpoint.as_ref().is_some_and(|signed| signed.size == progress.durable)
        };
        world.until("signed", signed).await;
        let (Deed::Removes(name) | Deed::Blocks(name)) = deed;
        let path = world.dir.path().join(name);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("it is gone");
        if matches!(deed, Deed::Blocks(_)) {
            let blocked = if name == "tile" { fs::write(&path, "") } else { fs::create_dir_all(path.join("in")) };
            blocked.expect("it is in the way");
            work(300).await;
            world.until("a failure", |world| world.metric("ccgate_audit_checkpoint_failures_total") > 0.5).await;
            work(10).await;
            assert!(world.log.is_writable() && world.ready.is_ready(), "{deed:?}");
            if name == "tile" { fs::remove_file(&path) } else { fs::remove_dir_all(&path) }
                .expect("it is out of the way");
        } else {
            work(300).await;
        }
        world.until("signed", signed).await;
        assert_eq!(world.stop().await, Ended { entries_without_end: 0, complete: true });
        check(&world.lines());
        // What is gone is named; a start brings back what can be made of the records.
        let found = report(world.dir.path());
        assert!(
            found.damages.iter().all(|damage| damage.kind == Kind::Tile || damage.kind == Kind::Checkpoint),
            "{found:#?}"
        );
        let world = world.killed_and_started_again().await;
        world.open().await.expect("an entry").close(finished());
        assert!(world.stop().await.complete);
        let found = report(world.dir.path());
        assert!(found.damages.iter().all(|damage| damages.contains(&damage.kind)), "{deed:?}: {found:#?}");
    }
}
