//! The story, step by step. A step tells only what it has seen happen, and every promise in it is checked.

mod proof;
mod sessions;

use std::path::Path;

pub(super) use proof::FORGED;

use super::Error;
use super::check::{Broken, expect};
use super::client::{self, Answer, hex};
use super::people::{ANNA, BEN, BENS_RECORDING, CALL, INES, PEOPLE, Person, RECORDING_BYTES};
use super::records::{number, text, time_of_day};
use super::site::{Left, Site};
use super::teller::Teller;
use crate::sim;

/// Tells who is on the stage.
pub(super) fn introduce(site: &Site, folder: &Path, teller: &mut Teller<'_>) -> Result<(), Error> {
    let (ccgate, admin) = (site.addresses.server, site.addresses.admin);
    teller.heading("On the stage")?;
    teller.detail("CC-Gateway", format!("{}   simulated: holds the recordings, knows agents only", site.sim.url()))?;
    teller.detail("issuer", format!("{}    signs the tokens; ccgate fetches its keys", site.issuer.name()))?;
    teller.detail("ccgate", format!("http://{ccgate}    decides, records, streams"))?;
    teller.detail("admin", format!("http://{admin}/   ccgate's other port: status page, metrics, readiness"))?;
    teller.detail("files", format!("{}   its configuration and audit log, the tokens", folder.display()))?;
    Ok(())
}

/// Tells all steps; the first that does not happen ends the story.
pub(super) async fn tell(site: &Site, teller: &mut Teller<'_>) -> Result<(), Error> {
    let mut story = Story { site, teller };
    let told = story.tell().await;
    told.map_err(|source| Error::Step { number: story.teller.number(), source })
}

/// The last step: what ccgate left behind when it ended.
pub(super) fn ending(left: &Left, teller: &mut Teller<'_>) -> Result<(), Error> {
    let told = tell_ending(left, teller);
    told.map_err(|source| Error::Step { number: teller.number(), source })
}

struct Story<'s, 'o> {
    site: &'s Site,
    teller: &'s mut Teller<'o>,
}

impl Story<'_, '_> {
    async fn tell(&mut self) -> Result<(), Broken> {
        let first = self.own_call().await?;
        self.audit_records(&first)?;
        self.refusal().await?;
        self.inspection().await?;
        self.rotation().await?;
        self.healing().await?;
        self.rules()?;
        self.proof().await
    }

    async fn own_call(&mut self) -> Result<Answer, Broken> {
        self.teller.step(format!("{}, agent {}, fetches a recording of her own.", ANNA.name, ANNA.agent))?;
        let answer = self.ask(&ANNA, &ANNA.call(CALL)).await?;
        self.tell_file(&answer)?;
        expect_file(&answer, CALL, RECORDING_BYTES)?;
        let end = self.site.records().end_of(answer.header("ccgate-audit-id")).await?;
        expect("the last record of the download", "finished", text(&end, "/event"))?;
        expect("the SHA-256 in the audit log", answer.sha256.as_str(), text(&end, "/delivery/sha256"))?;
        self.teller.checked("whole, the very bytes that CC-Gateway sent; the audit log has the same SHA-256")?;
        Ok(answer)
    }

    fn audit_records(&mut self, answer: &Answer) -> Result<(), Broken> {
        self.teller.step("The audit log has two records of that, under the id that the answer carried.")?;
        let entry = answer.header("ccgate-audit-id");
        let records = self.site.records().all(|record| text(record, "/entry") == entry)?;
        let events: Vec<_> = records.iter().map(|record| text(record, "/event")).collect();
        expect("the records of the download", "authorized, finished", events.join(", ").as_str())?;
        for record in &records {
            let told = match text(record, "/event") {
                "authorized" => format!(
                    "{} of {} may have {}, says the rule `{}`",
                    text(record, "/who/subject"),
                    text(record, "/who/issuer"),
                    text(record, "/what/reference"),
                    text(record, "/decision/rule"),
                ),
                _ => format!(
                    "{} bytes handed over, SHA-256 {}...",
                    number(record, "/delivery/client_bytes"),
                    text(record, "/delivery/sha256").get(..16).unwrap_or_default(),
                ),
            };
            self.teller.detail(text(record, "/event"), format!("{} {told}", time_of_day(record)))?;
        }
        expect(
            "the rule that let Anna have it",
            "own",
            records.first().map_or("", |first| text(first, "/decision/rule")),
        )?;
        Ok(self.teller.checked("in this order; the first is on disk before CC-Gateway is asked at all")?)
    }

    async fn refusal(&mut self) -> Result<(), Broken> {
        self.teller.step(format!("{} asks for a call of agent {BEN}.", ANNA.name))?;
        let before = self.downloads_asked_for();
        let answer = self.ask(&ANNA, &ANNA.recording(BENS_RECORDING)).await?;
        let problem = answer.json();
        self.teller.detail("gets", format!("{} {}", answer.status, text(&problem, "/code")))?;
        self.teller.detail("", text(&problem, "/detail"))?;
        expect("the status", 403, answer.status)?;
        expect("the content type", "application/problem+json", answer.header("content-type"))?;
        expect("the code of the problem", "not_your_recording", text(&problem, "/code"))?;
        expect("downloads that CC-Gateway was asked for", before, self.downloads_asked_for())?;
        let request = answer.header("x-request-id");
        let denied =
            |record: &serde_json::Value| text(record, "/event") == "denied" && text(record, "/request_id") == request;
        let denied = self.site.records().wait("the record of the refusal", denied).await?;
        let told = format!("{} {}: {}", time_of_day(&denied), text(&denied, "/who/subject"), text(&denied, "/code"));
        self.teller.detail("denied", told)?;
        expect("the reason in the audit log", "not_your_recording", text(&denied, "/code"))?;
        Ok(self.teller.checked("CC-Gateway was not asked; the audit log has the attempt")?)
    }

    async fn inspection(&mut self) -> Result<(), Broken> {
        self.teller.step(format!("{}, an inspector of agent {BEN}, asks for the same call.", INES.name))?;
        let answer = self.ask(&INES, &INES.recording(BENS_RECORDING)).await?;
        self.tell_file(&answer)?;
        expect_file(&answer, BENS_RECORDING, RECORDING_BYTES)?;
        let entry = answer.header("ccgate-audit-id");
        let authorized =
            |record: &serde_json::Value| text(record, "/event") == "authorized" && text(record, "/entry") == entry;
        let record = self.site.records().wait("the record of the permission", authorized).await?;
        let told = format!(
            "{} {} may have {} of agent {}, says the rule `{}`",
            time_of_day(&record),
            text(&record, "/who/subject"),
            text(&record, "/what/reference"),
            text(&record, "/what/owner"),
            text(&record, "/decision/rule"),
        );
        self.teller.detail("authorized", told)?;
        expect("the rule that let Ines have it", "inspect", text(&record, "/decision/rule"))?;
        expect("the agent whose call it is", BEN.to_string().as_str(), text(&record, "/what/owner"))?;
        Ok(self.teller.checked("her token names that agent, and the record names her, the agent and the rule")?)
    }

    /// A GET, told.
    async fn ask(&mut self, person: &Person, target: &str) -> Result<Answer, Broken> {
        self.teller.detail("asks", format!("GET {target}"))?;
        let token = Some(self.site.token(person));
        client::get(self.site.addresses.server, target, token, |_bytes| {}).await.map_err(Broken::Client)
    }

    fn tell_file(&mut self, answer: &Answer) -> Result<(), Broken> {
        self.teller
            .detail("gets", format!("{} {}, {} bytes", answer.status, answer.header("content-type"), answer.bytes))?;
        Ok(self.teller.detail("SHA-256", &answer.sha256)?)
    }

    fn downloads_asked_for(&self) -> usize {
        self.site.sim.requests().iter().filter(|seen| seen.target.contains("/recordfile/")).count()
    }
}

/// Demands the whole recording of this key.
fn expect_file(answer: &Answer, key: &str, bytes: u64) -> Result<(), Broken> {
    expect("the status", 200, answer.status)?;
    expect("whether the body ended in order", true, answer.whole)?;
    expect("the length in bytes", bytes, answer.bytes)?;
    expect("the SHA-256 of what came", hex(&sim::body_sha256(key, bytes)).as_str(), answer.sha256.as_str())
}

fn tell_ending(left: &Left, teller: &mut Teller<'_>) -> Result<(), Broken> {
    teller.step("ccgate is told to end (SIGTERM would do the same).")?;
    let last_of = |agent: u32, records: &[serde_json::Value]| {
        let own = |record: &&serde_json::Value| {
            text(record, "/event").starts_with("session.") && text(record, "/agent") == agent.to_string()
        };
        records.iter().rev().find(own).cloned().unwrap_or_default()
    };
    let records = left.records().read()?;
    for person in &PEOPLE {
        let record = last_of(person.agent, &records);
        let label = text(&record, "/event").strip_prefix("session.").unwrap_or_default();
        teller
            .detail(label, format!("{} agent {}: {}", time_of_day(&record), person.agent, text(&record, "/detail")))?;
    }
    let last = records.last().cloned().unwrap_or_default();
    teller.detail(text(&last, "/event"), format!("{} the last record", time_of_day(&last)))?;
    let report = proof::verified(left.audit())?;
    teller.detail("verified", proof::told_of(&report))?;
    expect("the last record", "stopped", text(&last, "/event"))?;
    expect("downloads without an end in the audit log", 0, number(&last, "/entries_open"))?;
    expect("whether ccgate ended in order", true, left.ended.is_some_and(|ended| ended.every_entry_closed))?;
    expect("agents still signed in at CC-Gateway", 0, left.signed_in)?;
    proof::expect_sound(&report)?;
    expect("records that nobody signed", 0, report.counts.unsigned)?;
    Ok(teller
        .checked("nobody is left signed in at CC-Gateway; every download has its end in the log, and all is signed")?)
}
