//! Standard output as a sink.

use std::io::{self, Write};
use std::sync::mpsc;

use super::*;
use crate::ship::stdout::Stdout;

/// An output that passes on what is written, and waits for a permit for each flush.
struct Pipe {
    lines: mpsc::Sender<String>,
    permits: Arc<Semaphore>,
    text: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.permits.try_acquire().map(tokio::sync::SemaphorePermit::forget).is_err() {
            if self.permits.is_closed() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        for line in String::from_utf8(std::mem::take(&mut self.text)).expect("text").lines() {
            let _ = self.lines.send(line.to_owned());
        }
        Ok(())
    }
}

fn pipe(permits: usize) -> (Stdout, mpsc::Receiver<String>, Arc<Semaphore>) {
    let (lines, written) = mpsc::channel();
    let permits = Arc::new(Semaphore::new(permits));
    let pipe = Pipe { lines, permits: Arc::clone(&permits), text: Vec::new() };
    (Stdout::over(pipe, ORIGIN, PATIENCE).expect("a thread"), written, permits)
}

fn record(seq: u64) -> Item {
    Item::Record { seq, event: "started".to_owned(), ts: None, line: format!("{{\"seq\":{seq}}}").into() }
}

#[tokio::test]
async fn records_and_checkpoints_are_plain_lines() {
    let (mut stdout, written, _permits) = pipe(100);
    stdout.connect().await.expect("connected");
    let checkpoint = Item::Checkpoint { size: 1, note: "origin\n1\nroot=\n\n— origin sig\n".into() };
    for item in [record(1), checkpoint] {
        assert_eq!(stdout.publish(&item).await.expect("taken").await.expect("written"), Receipt::Kept);
    }
    assert_eq!(written.recv().expect("a line"), "{\"seq\":1}");
    let line: serde_json::Value = serde_json::from_str(&written.recv().expect("a line")).expect("JSON");
    let note = "origin\n1\nroot=\n\n— origin sig\n";
    assert_eq!(line, serde_json::json!({"event": "checkpoint", "origin": ORIGIN, "size": 1, "note": note}));
}

#[tokio::test]
async fn r14_a_blocked_output_is_told_and_goes_on_without_writing_lines_twice() {
    let (mut stdout, written, permits) = pipe(1);
    stdout.connect().await.expect("connected");
    let first = stdout.publish(&record(1)).await.expect("taken");
    // The thread is in its flush now, with the first line; the others are queued behind it.
    tokio::time::sleep(PATIENCE / 4).await;
    let others = [stdout.publish(&record(2)).await.expect("taken"), stdout.publish(&record(3)).await.expect("taken")];
    assert!(tokio::time::timeout(PATIENCE, first).await.is_err(), "blocked");
    drop(others);
    assert!(matches!(stdout.connect().await, Err(Error::Blocked)));
    permits.add_permits(100);
    stdout.connect().await.expect("connected");
    for seq in 1..=3 {
        stdout.publish(&record(seq)).await.expect("taken").await.expect("written");
    }
    let lines: Vec<String> = std::iter::from_fn(|| written.try_recv().ok()).collect();
    // The line that was being written may come twice; those that were given up do not.
    assert_eq!(lines, [1, 1, 2, 3].map(|seq| format!("{{\"seq\":{seq}}}")));
}

#[tokio::test]
async fn a_broken_output_is_told() {
    let (mut stdout, _written, permits) = pipe(1);
    stdout.connect().await.expect("connected");
    permits.close();
    let told = stdout.publish(&record(1)).await.expect("taken").await;
    assert!(matches!(told, Err(Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe));
    assert!(matches!(stdout.connect().await, Err(Error::Write(_))));
}
