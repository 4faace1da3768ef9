//! What holds for any bytes as the files of an audit log that is asked questions: no line of it, damaged or made up, ends
//! the reader, and the numbers of the answer fit each other.

use std::convert::Infallible;
use std::ops::ControlFlow;

use ccgate::trail::{
    Access, Accesses, CountedLines, Counting, Events, Filter, Found, Report, Role, Scan, Tail, Wanted,
};

use super::log_dir::LogDir;

/// Far above what one input can hold.
const LINES_MAX: u64 = 100_000;

/// The input is a log's files. Says whether somebody's access is told of.
pub fn check(data: &[u8]) -> bool {
    let Some(dir) = LogDir::new(data) else { return false };
    let all = Filter { events: Events::All, ..Filter::default() };
    let (report, accesses) = ask(&dir, &all);
    assert!(report.total.accesses <= accesses.len() as u64, "{report:?}");
    assert_eq!(ask(&dir, &all), (report.clone(), accesses.clone()), "the same log, asked again");
    for access in &accesses {
        assert!(serde_json::to_string(access).is_ok());
    }
    // A narrower question has no other answers.
    let alice = Filter { subject: Some(Wanted::text("alice")), ..Filter::default() };
    let (few, _accesses) = ask(&dir, &alice);
    assert!(few.total.requests <= report.total.requests, "{few:?} of {report:?}");
    if let Ok((mut tail, last)) = Tail::begin(dir.path(), 3) {
        assert!(last.len() <= 3);
        let _ = tail.look();
    }
    !accesses.is_empty()
}

fn ask(dir: &LogDir, filter: &Filter) -> (Report, Vec<Access>) {
    let (mut counting, mut grouping, mut accesses) = (Counting::default(), Accesses::default(), Vec::new());
    let mut keep = |access: Access| -> Result<(), Infallible> {
        accesses.push(access);
        Ok(())
    };
    let Ok(log) = CountedLines::open(dir.path()) else { return (counting.report(), accesses) };
    let lines = Scan::new(vec![log], filter).run(|found| {
        match found {
            Found::Record(found) if found.role == Role::Other => counting.event(&found.record),
            Found::Record(found) => grouping.take(&found, &mut keep)?,
            Found::Unreadable(_) | Found::Tick(..) => {}
        }
        Ok::<_, Infallible>(ControlFlow::Continue(()))
    });
    let Ok(lines) = lines;
    assert!(lines <= LINES_MAX, "{lines} lines");
    let Ok(_cut) = grouping.finish(&mut keep);
    for access in &accesses {
        counting.access(access);
    }
    (counting.report(), accesses)
}
