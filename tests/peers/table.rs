//! The table in docs/edge.md, and the notes that it must have.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::seen::Seen;
use crate::vectors::Vector;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/edge.md");
const BEGIN: &str = "<!-- peers: written by `make peers` -->\n";
const END: &str = "<!-- peers: end -->";

/// One vector and what came of it: at ccgate, nginx and HAProxy.
pub struct Row<'v> {
    pub vector: &'v Vector,
    pub seen: [Seen; 3],
}

impl Row<'_> {
    /// Who refuses what ccgate lets through.
    fn stricter(&self) -> Vec<&'static str> {
        let [ours, nginx, haproxy] = &self.seen;
        let others = [("nginx", nginx), ("HAProxy", haproxy)].into_iter();
        others.filter(|(_, other)| !ours.is_refused() && other.is_refused()).map(|(name, _)| name).collect()
    }
}

/// Writes the table; the vectors at which ccgate is laxer than another and no note says why.
pub fn write(rows: &[Row<'_>], versions: [&str; 2]) -> Vec<String> {
    let notes = notes();
    let mut unexplained = Vec::new();
    let mut told = Vec::new();
    let mut text = format!("Seen with {} and {}.\n", versions[0], versions[1]);
    let mut group = "";
    for row in rows {
        if row.vector.group != group {
            group = &row.vector.group;
            write!(text, "\n{group}\n\n| sent | ccgate | nginx | HAProxy |\n| --- | --- | --- | --- |\n").unwrap();
        }
        let mark = match (row.stricter().is_empty(), notes.get(row.vector.name.as_str())) {
            (true, _) => String::new(),
            (false, None) => {
                unexplained.push(format!("{}: {:?} {:?}", row.vector.name, row.stricter(), row.seen));
                " **laxer**".to_owned()
            }
            (false, Some(note)) => {
                let at = told.iter().position(|known| known == note).unwrap_or_else(|| {
                    told.push(*note);
                    told.len() - 1
                });
                format!(" ({})", at + 1)
            }
        };
        let [ours, nginx, haproxy] = row.seen.each_ref().map(Seen::cell);
        writeln!(text, "| {} | {ours}{mark} | {nginx} | {haproxy} |", row.vector.name).unwrap();
    }
    text.push_str("\nWhere another refuses what ccgate lets through:\n\n");
    for (at, note) in told.iter().enumerate() {
        writeln!(text, "{}. {note}", at + 1).unwrap();
    }
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = document.split_once(BEGIN).expect("the table's beginning");
    let (_old, after) = rest.split_once(END).expect("the table's end");
    std::fs::write(DOCUMENT, format!("{before}{BEGIN}\n{text}{END}{after}")).unwrap();
    unexplained
}

/// `notes.tsv`: a vector's name, and why ccgate lets it through.
fn notes() -> BTreeMap<&'static str, &'static str> {
    let lines = include_str!("notes.tsv").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once('\t').expect("two fields")).collect()
}
