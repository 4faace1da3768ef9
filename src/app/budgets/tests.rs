//! Logs of the last day, and what is counted of them.

use std::path::Path;
use std::sync::Mutex;

use secrecy::zeroize::Zeroizing;

use super::*;
use crate::budget::{Alert, Budget, Journal, Limits};

const NOW: &str = "2026-11-22T12:00:00Z";

/// A log that names nobody.
#[derive(Default)]
struct Silent(Mutex<Vec<Alert>>);

impl Journal for Silent {
    fn subject(&self, issuer: &str, subject: &str) -> (String, String) {
        (issuer.to_owned(), subject.to_owned())
    }

    fn recording(&self, reference: &str) -> String {
        reference.to_owned()
    }

    fn alert(&self, alert: Alert) {
        self.0.lock().expect("a list").push(alert);
    }
}

fn counting(limits: Limits) -> Budgets {
    let clock = Clock::fixed(NOW.parse().expect("a time"));
    let metrics = budget::Metrics::register(&Registry::new()).expect("metrics");
    Budgets::new(limits, budget::Key::shared(Zeroizing::new([1; 32])), Arc::new(Silent::default()), clock, metrics)
}

fn limits() -> Limits {
    Limits { recordings_per_day: Some(100_000), bytes_per_day: Some(1 << 50), ..Limits::default() }
}

/// A record's line as the log writes it.
fn line(seq: u64, ts: &str, event: &str, fields: &str) -> String {
    format!(r#"{{"v":1,"seq":{seq},"ts":"{ts}","salt":"{seq:032x}","event":"{event}",{fields}}}"#) + "\n"
}

fn end(seq: u64, ts: &str, subject: &str, call: u64, bytes: u64) -> String {
    let fields = format!(
        r#""entry":"{seq:032x}","issuer":"https://idp.example","subject":"{subject}","agent":"1001","reference":"call:{call}","session":{{"agent":"1001","guid_tag":"ab","kind":"own"}},"attempts":1,"outcome":"finished","delivery":{{"class":"media","upstream_bytes":{bytes},"client_bytes":{bytes},"complete":true,"duration_us":1}}"#
    );
    line(seq, ts, "finished", &fields)
}

fn segment(dir: &Path, first: u64, lines: &[String]) {
    std::fs::write(dir.join(trail::segment_name(first)), lines.concat()).expect("written");
}

fn read(dir: &Path, budgets: &Budgets, bytes_max: u64) -> Recalled {
    recall(budgets, dir, NOW.parse().expect("a time"), bytes_max).expect("read")
}

/// What is used of a budget, by a person.
fn used(budgets: &Budgets, subject: &str, budget: Budget) -> u64 {
    budgets.used_for_test("https://idp.example", subject, budget)
}

#[tokio::test(start_paused = true)]
async fn the_last_day_of_a_log_is_counted_and_nothing_else() {
    let dir = tempfile::TempDir::new().expect("a folder");
    segment(dir.path(), 1, &[end(1, "2026-11-20T09:00:00.000000Z", "alice", 1, 1_000)]);
    let (yesterday, today) = ("2026-11-21T13:00:00.000000Z", "2026-11-22T11:59:00.000000Z");
    let denied = r#""who":{"issuer":"https://idp.example","subject":"alice","roles":[]},"what":{"operation":"recordfile","reference":"call:9"},"code":"budget_exceeded","limit":"recordings_per_day""#;
    let unknown = r#""entry":"00000000000000000000000000000001","issuer":"https://idp.example","subject":"alice","agent":"1001","reference":"call:4""#;
    let alert = r#""issuer":"https://idp.example","subject":"alice","limit":"bytes_per_day","used":9,"allowed":10"#;
    segment(
        dir.path(),
        2,
        &[
            end(2, "2026-11-21T09:00:00.000000Z", "alice", 2, 1_000),
            end(3, yesterday, "alice", 2, 100),
            end(4, yesterday, "bob", 2, 7),
            line(5, yesterday, "denied", denied),
            "no record\n".to_owned(),
        ],
    );
    let rest = [
        end(6, today, "alice", 2, 100),
        end(7, today, "alice", 3, 0),
        line(8, today, "unknown", unknown),
        line(9, today, "budget.alert", alert),
        r#"{"seq":10,"erased":true,"leaf":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#.to_owned() + "\n",
        end(11, today, "alice", 5, 100).chars().take(60).collect(),
    ];
    segment(dir.path(), 6, &rest);

    let budgets = counting(limits());
    let recalled = read(dir.path(), &budgets, u64::MAX);
    assert_eq!(recalled, Recalled { downloads: 6, whole: true });
    assert_eq!(budgets.subjects(), 2);
    let of = |subject: &str| Budget::ALL.map(|budget| used(&budgets, subject, budget));
    assert_eq!(of("alice"), [2, 2, 100, 200], "2 and 4 are recordings of hers; 3 gave nothing");
    assert_eq!(of("bob"), [0, 1, 0, 7]);

    // A log that is longer than is read counts from its end.
    let short = counting(limits());
    assert_eq!(read(dir.path(), &short, 1), Recalled { downloads: 3, whole: false });
    assert_eq!(used(&short, "alice", Budget::BytesPerDay), 100);
}

#[tokio::test(start_paused = true)]
async fn numbers_that_never_counted_are_not_counted() {
    let dir = tempfile::TempDir::new().expect("a folder");
    let at = "2026-11-22T11:00:00.000000Z";
    segment(dir.path(), 1, &[end(1, at, "alice", 1, 10), end(2, at, "alice", 2, 10)]);
    let gap = line(3, at, "audit.gap", r#""reason":"x","void":{"first":2,"last":2}"#);
    segment(dir.path(), 3, &[gap, end(4, at, "alice", 2, 10)]);
    let budgets = counting(limits());
    assert_eq!(read(dir.path(), &budgets, u64::MAX).downloads, 2);
    assert_eq!(used(&budgets, "alice", Budget::BytesPerDay), 20);
}
