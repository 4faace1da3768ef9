//! What a killed process leaves, and what the next start makes of it.

use std::fs;

use super::super::faulty::Form;
use super::*;

/// A log with an open entry, a finished one and a refusal, as a killed process leaves it.
async fn written() -> (Arc<TempDir>, Config, String) {
    let world = World::new();
    let open = world.open().await.expect("an entry");
    world.open().await.expect("an entry").close(finished());
    world
        .log
        .refused(crate::audit::Refusal {
            arrival: &arrival("req-2"),
            caller: None,
            download: None,
            seat: None,
            authorized: None,
            code: "token_expired",
            limit: None,
            retcode: None,
        })
        .await;
    let text = segments(world.dir.path()).remove(&1).expect("a segment");
    drop(open);
    (Arc::clone(&world.dir), world.config.clone(), text)
}

/// Thousands of starts: in memory where the system has such a place, as it is not durability that is tested by them.
fn in_memory() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a directory")
}

#[tokio::test]
async fn recovery_reads_a_log_cut_at_every_byte() {
    let (_dir, _config, text) = written().await;
    let text = text.as_bytes();
    for end in 0..=text.len() {
        let dir = in_memory();
        fs::write(dir.path().join(segment_name(1)), &text[..end]).expect("a prefix");
        let recovered = found(dir.path()).expect("it is read");
        let whole = text[..end].split(|byte| *byte == b'\n').count() as u64 - 1;
        assert_eq!(recovered.next_seq, whole + 1, "at byte {end}");
        let torn = end > 0 && text[end - 1] != b'\n';
        assert_eq!(recovered.moved.len(), usize::from(torn), "at byte {end}");
        let left: String = segments(dir.path()).into_values().collect();
        let kept = text[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        assert_eq!(left.as_bytes(), &text[..kept], "at byte {end}");
        // A second start finds nothing more to repair.
        let again = found(dir.path()).expect("it is read");
        assert_eq!((again.next_seq, again.moved.len(), again.open.len()), (whole + 1, 0, recovered.open.len()));
    }
}

#[tokio::test]
async fn each_prefix_of_a_log_starts_and_every_entry_in_it_has_one_end() {
    let (_dir, config, text) = written().await;
    for end in (0..=text.len()).step_by(41) {
        let dir = Arc::new(in_memory());
        fs::write(dir.path().join(segment_name(1)), &text.as_bytes()[..end]).expect("a prefix");
        begun(dir.path());
        let config = Config { dir: dir.path().to_path_buf(), ..config.clone() };
        let world = World::start(Arc::clone(&dir), config, Plan::never()).expect("it starts");
        world.open().await.expect("an entry").close(finished());
        assert_eq!(world.stop().await, Ended { entries_without_end: 0, complete: true }, "at byte {end}");
        check(&world.lines());
    }
}

#[tokio::test]
async fn a_start_that_failed_halfway_is_finished_by_the_next() {
    let (_dir, config, text) = written().await;
    for form in [Form::Fail(std::io::ErrorKind::Other), Form::FailButPersist, Form::FailHalfway] {
        for first in 1.. {
            let dir = Arc::new(in_memory());
            fs::write(dir.path().join(segment_name(1)), &text).expect("a log");
            begun(dir.path());
            let config = Config { dir: dir.path().to_path_buf(), ..config.clone() };
            let plan = Plan::new(form, first, 1);
            let failed = World::start(Arc::clone(&dir), config.clone(), Arc::clone(&plan)).is_err();
            assert!(failed || plan.is_unused(), "{form:?} {first}");
            if !failed {
                break;
            }
            let world = World::start(Arc::clone(&dir), config, Plan::never()).expect("it starts");
            check(&world.lines());
        }
    }
}

/// Each start finds what the one before has not ended, although that one has signed what it found.
#[tokio::test]
async fn an_entry_gets_its_end_wherever_the_start_before_was_killed() {
    let world = World::new();
    for _ in 0..300 {
        world.open().await.expect("an entry").close(finished());
    }
    let held = world.open().await.expect("an entry");
    for _ in 0..300 {
        world.open().await.expect("an entry").close(finished());
    }
    let (dir, config) = (Arc::clone(&world.dir), world.config.clone());
    world.until("all ends", |world| world.metric("ccgate_audit_open_entries") < 1.5).await;
    let copy = |from: &Path| {
        let to = Arc::new(in_memory());
        let done = std::process::Command::new("cp").arg("-r").arg(from.join(".")).arg(to.path()).status();
        assert!(done.expect("copied").success());
        to
    };
    // As a killed process leaves it: the entry is open, and much later records are signed.
    let left = copy(dir.path());
    drop((held, world));
    for first in 1.. {
        let killed = copy(left.path());
        let plan = Plan::new(Form::Fail(std::io::ErrorKind::Other), first, usize::MAX / 2);
        let config = Config { dir: killed.path().to_path_buf(), ..config.clone() };
        let failed = World::start(Arc::clone(&killed), config.clone(), Arc::clone(&plan)).is_err();
        let again = copy(killed.path());
        let world =
            World::start(Arc::clone(&again), Config { dir: again.path().to_path_buf(), ..config }, Plan::never());
        check(&world.expect("it starts").lines());
        if !failed {
            break;
        }
    }
}

#[tokio::test]
async fn an_entry_that_a_crash_left_open_gets_an_unknown_end() {
    let (_dir, config, text) = written().await;
    let dir = Arc::new(TempDir::new().expect("a directory"));
    fs::write(dir.path().join(segment_name(1)), format!("{text}{{\"v\":1,\"se")).expect("a torn log");
    begun(dir.path());
    let world = World::start(Arc::clone(&dir), Config { dir: dir.path().to_path_buf(), ..config }, Plan::never());
    let world = world.expect("it starts");
    let lines = world.lines();
    check(&lines);
    let unknown = lines.iter().find(|line| line["event"] == "unknown").expect("an end");
    let opened = lines.iter().find(|line| line["event"] == "authorized").expect("the first entry");
    assert_eq!(unknown["entry"], opened["entry"]);
    assert_eq!(unknown["subject"], "alice");
    assert_eq!(unknown["agent"], "4977");
    assert_eq!(unknown["reference"], "file:Y:/90/0/20210519/4977/1642329.mp4");
    assert_eq!(unknown["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(unknown["recovered_at"].as_str().is_some_and(|at| at.ends_with('Z')));
    let repair = lines.iter().find(|line| line["event"] == "audit.recovered").expect("it says so");
    assert_eq!(repair["moved"][0]["bytes"], 10);
    let torn = dir.path().join(repair["moved"][0]["kept_in"].as_str().expect("a name"));
    assert_eq!(fs::read_to_string(torn).expect("the torn bytes"), "{\"v\":1,\"se");
}

#[tokio::test]
async fn a_line_that_is_no_record_stops_the_start_with_its_place() {
    let (_dir, _config, text) = written().await;
    let text: Vec<&str> = text.split_inclusive('\n').collect();
    let table = [
        ([text[0], "not json\n", text[1]].concat(), 2, "this is no record"),
        ([text[0], text[2]].concat(), 2, "records before this line are missing"),
        ([text[0], text[1], text[1]].concat(), 3, "the sequence number was used before"),
        ([text[1], text[2]].concat(), 1, "not the one that the file is named after"),
        (text[0].replace("\"v\":1", "\"v\":2"), 1, "newer version"),
        (["x".repeat(70_000).as_str(), "\n", text[0]].concat(), 1, "too long"),
    ];
    for (text, line, expected) in table {
        let dir = TempDir::new().expect("a directory");
        fs::write(dir.path().join(segment_name(1)), text).expect("a damaged log");
        let error = found(dir.path()).expect_err("it is refused").to_string();
        assert!(error.contains(&format!("line {line}: ")) && error.contains(expected), "{error}");
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_tail_of_zeros_is_a_torn_tail_and_a_missing_segment_is_noticed() {
    let (_dir, _config, text) = written().await;
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join(segment_name(1));
    fs::write(&path, [text.as_bytes(), vec![0; 200_000].as_slice()].concat()).expect("a padded log");
    let recovered = found(dir.path()).expect("it is read");
    assert_eq!(recovered.moved.len(), 1);
    assert_eq!(fs::read_to_string(&path).expect("text"), text);
    let next = text.lines().last().expect("a line").replace("\"seq\":5", "\"seq\":7");
    fs::write(dir.path().join(segment_name(7)), next + "\n").expect("a later segment");
    let error = found(dir.path()).expect_err("a hole").to_string();
    assert!(error.contains("no gap record says why"), "{error}");
}

fn line(seq: u64, fields: &str) -> String {
    format!("{{\"v\":1,\"seq\":{seq}{fields}}}\n")
}

#[test]
fn lines_that_a_gap_record_voids_do_not_count_and_are_moved_aside() {
    let entry = format!(",\"entry\":\"{}\"", "ab".repeat(16));
    let head = [line(1, ",\"event\":\"audit.opened\""), line(2, &format!(",\"event\":\"authorized\"{entry}"))].concat();
    let end = line(3, &format!(",\"event\":\"finished\"{entry}"));
    let gap = |void: &str| line(6, &format!(",\"event\":\"audit.gap\",\"void\":{void}"));
    // The failed batch left a whole end, an end and a torn line, half a page of nothing, or no trace.
    for left in [end.clone(), format!("{end}{{\"v\""), format!("\0\0\n{end}"), String::new()] {
        let dir = in_memory();
        fs::write(dir.path().join(segment_name(1)), format!("{head}{left}")).expect("a segment");
        let gap = gap("{\"first\":3,\"last\":5}");
        fs::write(dir.path().join(segment_name(6)), &gap).expect("a segment");
        let recovered = found(dir.path()).expect("it is read");
        assert_eq!(recovered.open.len(), 1, "the end in {left:?} does not count");
        assert_eq!((recovered.next_seq, recovered.moved.len()), (7, usize::from(!left.is_empty())));
        assert_eq!(segments(dir.path()).into_values().collect::<String>(), format!("{head}{gap}"));
    }
    // A gap record that tells of other numbers explains nothing.
    for void in ["{\"first\":4,\"last\":5}", "{\"first\":3,\"last\":4}"] {
        let dir = in_memory();
        fs::write(dir.path().join(segment_name(1)), &head).expect("a segment");
        fs::write(dir.path().join(segment_name(6)), gap(void)).expect("a segment");
        let error = found(dir.path()).expect_err("a hole").to_string();
        assert!(error.contains("no gap record says why"), "{error}");
    }
}
