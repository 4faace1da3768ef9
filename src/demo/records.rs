//! Reads the audit log as anybody with the file could: lines of JSON. It never writes to it.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::check::Broken;
use crate::trail::segments;

/// How long a record may take to reach the file. The writer needs milliseconds; a busy machine more.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often the file is looked at meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The log of one folder.
#[derive(Debug)]
pub(super) struct Records<'d>(pub(super) &'d Path);

impl Records<'_> {
    /// All records that are whole lines by now, in their order.
    pub(super) fn read(&self) -> Result<Vec<Value>, Broken> {
        let text = self.text().map_err(Broken::Records)?;
        let (whole, _torn) = text.rsplit_once('\n').unwrap_or_default();
        let parsed =
            whole.lines().map(|line| serde_json::from_str(line).map_err(|error| Broken::Records(error.into())));
        parsed.collect()
    }

    /// The records that fit.
    pub(super) fn all(&self, fits: impl Fn(&Value) -> bool) -> Result<Vec<Value>, Broken> {
        Ok(self.read()?.into_iter().filter(fits).collect())
    }

    /// The first record that fits; waits for it.
    pub(super) async fn wait(&self, what: &'static str, fits: impl Fn(&Value) -> bool) -> Result<Value, Broken> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            match self.read()?.into_iter().find(&fits) {
                Some(record) => return Ok(record),
                None if Instant::now() < deadline => tokio::time::sleep(LOOK_INTERVAL).await,
                None => {
                    let came = format!("not there after {} s", WAIT_MAX.as_secs());
                    return Err(Broken::Unexpected { what, expected: "a record in the audit log".to_owned(), came });
                }
            }
        }
    }

    /// Waits for the end of an entry.
    pub(super) async fn end_of(&self, entry: &str) -> Result<Value, Broken> {
        let ends = ["finished", "aborted", "failed", "unknown"];
        let is_end = |record: &Value| text(record, "/entry") == entry && ends.contains(&text(record, "/event"));
        self.wait("the end of the download", is_end).await
    }

    fn text(&self) -> std::io::Result<String> {
        segments(self.0)?.iter().map(|segment| std::fs::read_to_string(&segment.path)).collect()
    }
}

/// A text of a record by JSON pointer; empty where there is none.
pub(super) fn text<'r>(record: &'r Value, pointer: &str) -> &'r str {
    record.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number of a record by JSON pointer; 0 where there is none.
pub(super) fn number(record: &Value, pointer: &str) -> u64 {
    record.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// The time of day of a record, to the millisecond.
pub(super) fn time_of_day(record: &Value) -> &str {
    text(record, "/ts").get(11..23).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::segment_name;

    #[tokio::test]
    async fn whole_lines_of_all_segments_are_read_in_their_order() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = "{\"seq\":1,\"event\":\"authorized\",\"entry\":\"e\"}\n";
        let second =
            "{\"seq\":2,\"event\":\"failed\",\"entry\":\"e\",\"ts\":\"2026-11-22T12:00:01.234567Z\"}\n{\"seq\":3";
        std::fs::write(dir.path().join(segment_name(2)), second).expect("written");
        std::fs::write(dir.path().join(segment_name(1)), first).expect("written");
        std::fs::write(dir.path().join("checkpoints.jsonl"), "{\"ts\":\"\"}\n").expect("written");
        let records = Records(dir.path());
        let seqs: Vec<_> = records.read().expect("read").iter().map(|record| number(record, "/seq")).collect();
        assert_eq!(seqs, [1, 2]);
        let end = records.end_of("e").await.expect("there");
        assert_eq!((text(&end, "/event"), time_of_day(&end)), ("failed", "12:00:01.234"));
        assert_eq!((text(&end, "/nothing"), number(&end, "/event")), ("", 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_that_does_not_come_is_a_broken_step() {
        let dir = tempfile::tempdir().expect("a folder");
        let waited = Records(dir.path()).end_of("e").await.expect_err("an empty log");
        let told = "the end of the download: expected a record in the audit log, but it is not there after 10 s";
        assert_eq!(waited.to_string(), told);
        assert!(matches!(Records(Path::new("/nonexistent")).read(), Err(Broken::Records(_))));
    }
}
