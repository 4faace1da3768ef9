//! The step about the audit log itself: it answers, it is the one that was signed, and a word that is changed shows. What it
//! changes is a copy.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::Story;
use crate::demo::check::{Broken, expect, expect_least};
use crate::demo::people::{ANNA, BENS_RECORDING, INES};
use crate::demo::records::{number, text};
use crate::trail::verify::{Report, verify};
use crate::trail::{Access, Accesses, CountedLines, Filter, Found, KEYS_FILE, Scan, Wanted, read_keys, segments};

/// The copy in which a word is changed, beside the log.
pub(in crate::demo) const FORGED: &str = "forged";

/// How long a record may wait for its signature: `audit.checkpoint_interval` is a second; a busy machine needs more.
const SIGNED_WITHIN: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

impl Story<'_, '_> {
    pub(super) async fn proof(&mut self) -> Result<(), Broken> {
        self.teller.step("Who took Ben's call? The audit log answers, and proves that nobody changed it.")?;
        let accesses = accesses_to_bens_call(self.site.audit()).map_err(Broken::Records)?;
        for access in &accesses {
            let (outcome, subject) = (outcome_of(access), access.subject.as_deref().unwrap_or_default());
            let why = access.code.as_deref().or(access.rules.texts.first().map(String::as_str)).unwrap_or_default();
            let agent = access.agent.as_deref().unwrap_or_default();
            self.teller
                .detail(outcome, format!("{subject}, agent {agent}, {} bytes, because `{why}`", access.bytes))?;
        }
        let told: Vec<String> = accesses.iter().map(|access| outcome_of(access).to_owned()).collect();
        expect("the accesses to Ben's call", "denied, finished", told.join(", ").as_str())?;
        let report = self.until_signed().await?;
        self.teller.detail("verified", told_of(&report))?;
        expect_sound(&report)?;
        let line = forge(self.site.audit()).map_err(Broken::Records)?;
        self.teller.detail("forged", format!("line {line} of a copy: {} becomes {}", INES.subject, ANNA.subject))?;
        let report = verified(&forged(self.site.audit()))?;
        let damages: Vec<String> = report.damages.iter().map(place).collect();
        self.teller.detail("found", damages.join("; "))?;
        expect("what is wrong with the copy", format!("edited, line {line}"), damages.join("; "))?;
        Ok(self.teller.checked("the log is the one that was signed; in the copy that very line is named")?)
    }

    /// Waits until all is signed that is there now.
    async fn until_signed(&self) -> Result<Report, Broken> {
        let wanted = self.site.records().read()?.last().map_or(0, |last| number(last, "/seq"));
        let deadline = Instant::now() + SIGNED_WITHIN;
        loop {
            let report = verified(self.site.audit())?;
            let signed = report.signed.map_or(0, |signed| signed.size);
            if signed >= wanted || Instant::now() >= deadline {
                expect_least("the number up to which all records are signed", wanted, signed)?;
                return Ok(report);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

/// Verifies a log with the keys that lie beside it: they are of this very process. Anybody else has them from elsewhere.
pub(super) fn verified(dir: &Path) -> Result<Report, Broken> {
    let keys = read_keys(&dir.join(KEYS_FILE)).map_err(Broken::Keys)?;
    verify(dir, &keys, &mut |_done, _of| {}).map_err(Broken::Verify)
}

/// A verification in a line.
pub(super) fn told_of(report: &Report) -> String {
    let (origin, signed) =
        (report.origin.as_deref().unwrap_or_default(), report.signed.map_or(0, |signed| signed.size));
    let (lines, checkpoints) = (report.counts.lines, report.counts.checkpoints);
    format!(
        "{lines} records; 1 to {signed} signed by {origin}, key {}, {checkpoints} checkpoints",
        report.keys.join(", ")
    )
}

/// Demands that nothing is damaged.
pub(super) fn expect_sound(report: &Report) -> Result<(), Broken> {
    let damages: Vec<String> = report.damages.iter().map(|damage| damage.detail.clone()).collect();
    expect("what is wrong with the audit log", "", damages.join("; ").as_str())
}

fn place(damage: &crate::trail::verify::Damage) -> String {
    let line = damage.lines.map_or_else(String::new, |lines| format!(", line {}", lines.first));
    format!("{}{line}", damage.kind.name())
}

/// As `ccgate audit who-accessed` does it.
fn accesses_to_bens_call(dir: &Path) -> io::Result<Vec<Access>> {
    let recording = Some(Wanted::text(&format!("file:{BENS_RECORDING}")));
    let filter = Filter { recording, ..Filter::default() };
    let (mut accesses, mut told) = (Accesses::default(), Vec::new());
    let mut done = |access| {
        told.push(access);
        Ok::<_, Infallible>(())
    };
    let scanned = Scan::new(vec![CountedLines::open(dir)?], &filter).run(|found| {
        if let Found::Record(record) = found {
            accesses.take(&record, &mut done)?;
        }
        Ok::<_, Infallible>(ControlFlow::Continue(()))
    });
    let (Ok(_lines), Ok(_cut)) = (scanned, accesses.finish(&mut done));
    Ok(told)
}

/// How an access ended, in a word.
fn outcome_of(access: &Access) -> &'static str {
    access.outcomes.named().into_iter().find(|(_, count)| *count > 0).map_or("", |(name, _)| name)
}

fn forged(dir: &Path) -> PathBuf {
    dir.with_file_name(FORGED)
}

/// Copies the log and puts Anna in Ines's place where Ines was let through. Gives the line.
fn forge(dir: &Path) -> io::Result<usize> {
    let copy = forged(dir);
    copy_folder(dir, &copy)?;
    for segment in segments(&copy)? {
        let mut lines: Vec<String> = fs::read_to_string(&segment.path)?.lines().map(str::to_owned).collect();
        let is_hers = |line: &String| {
            let record = serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
            text(&record, "/event") == "authorized" && text(&record, "/who/subject") == INES.subject
        };
        if let Some((place, line)) = lines.iter_mut().enumerate().find(|(_, line)| is_hers(line)) {
            *line = line.replace(&quoted(INES.subject), &quoted(ANNA.subject));
            fs::write(&segment.path, lines.join("\n") + "\n")?;
            return Ok(place + 1);
        }
    }
    Err(io::Error::other("there is no record of the inspection"))
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&path, &copy)?;
        } else {
            fs::copy(&path, &copy)?;
        }
    }
    Ok(())
}
