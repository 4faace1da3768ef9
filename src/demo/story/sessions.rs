//! The steps about sessions: a Guid that changes, a session that is lost, and the manners of ccgate at CC-Gateway.

use std::time::Duration;

use tokio::time::Instant;

use super::{Story, expect_file};
use crate::demo::check::{Broken, expect, expect_least};
use crate::demo::client;
use crate::demo::people::{ANNA, CALL, LONG_CALL, LONG_CALL_BYTES, LONG_CALL_RATE, RECORDING_BYTES};
use crate::demo::records::{number, text, time_of_day};
use crate::demo::site::GUID_INTERVAL;
use crate::sim::{Fault, Kind, Scope};

/// The metric that counts new Guids.
const ROTATIONS: &str = "ccgate_session_guid_rotations_total";
/// CC-Gateway holds one poll back for so long, so that it is the download that meets the lost session.
const POLL_HELD: Duration = Duration::from_secs(5);
/// How long that poll may be in coming: polls follow each other within a second, on a busy machine somewhat more.
const POLL_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_LOOK_INTERVAL: Duration = Duration::from_millis(10);

impl Story<'_, '_> {
    pub(super) async fn rotation(&mut self) -> Result<(), Broken> {
        let Self { site, teller, .. } = self;
        let sim = &site.sim;
        teller.step("A slow download, in the middle of which the session gets a new key.")?;
        let seconds = GUID_INTERVAL.as_secs();
        teller.detail(
            "",
            format!("Here CC-Gateway replaces a session's key (Guid) every {seconds} s; ccgate follows."),
        )?;
        let (metric, guid, count) = (site.metric(ROTATIONS).await?, sim.guid_of(ANNA.agent), sim.counts().rotations);
        sim.add_file(LONG_CALL, LONG_CALL_BYTES);
        sim.fault(fault(Kind::Rate(LONG_CALL_RATE), Scope::Download));
        let (target, start) = (ANNA.call(LONG_CALL), Instant::now());
        teller.detail("asks", format!("GET {target}"))?;
        let watch = |bytes: u64| {
            let percent = bytes * 100 / LONG_CALL_BYTES;
            let replaced = sim.counts().rotations.saturating_sub(count);
            // A screen that is gone shows at the next line.
            let _ = teller.progress(format!("{percent:>3} % of the recording, {replaced} new Guids"));
        };
        let answer = client::get(site.addresses.server, &target, Some(site.token(&ANNA)), watch).await;
        let (answer, took) = (answer.map_err(Broken::Client)?, start.elapsed());
        let rotations = site.metric(ROTATIONS).await? - metric;
        teller.detail("gets", format!("{}, {} bytes in {:.1} s", answer.status, answer.bytes, took.as_secs_f64()))?;
        teller.detail("metrics", format!("{ROTATIONS} went up by {rotations}, over all sessions"))?;
        expect_file(&answer, LONG_CALL, LONG_CALL_BYTES)?;
        expect_least("new Guids while the download ran", 1.0, rotations)?;
        expect("whether Anna's Guid is still the same", false, guid == sim.guid_of(ANNA.agent))?;
        Ok(teller.checked("the download came whole, and Anna's session has another key than before")?)
    }

    pub(super) async fn healing(&mut self) -> Result<(), Broken> {
        self.teller.step(format!("CC-Gateway throws {}'s session out; the next download mends it.", ANNA.name))?;
        self.hold_a_poll().await?;
        let before = self.site.sim.counts().sign_ins;
        self.site.sim.throw_out(ANNA.agent);
        let answer = self.ask(&ANNA, &ANNA.call(CALL)).await?;
        self.tell_file(&answer)?;
        let entry = answer.header("ccgate-audit-id");
        expect_file(&answer, CALL, RECORDING_BYTES)?;
        let end = self.site.records().end_of(entry).await?;
        let begin = self.site.records().all(|record| text(record, "/entry") == entry)?;
        let begin = begin.first().map_or(0, |record| number(record, "/seq"));
        let between = begin..number(&end, "/seq");
        let records = self.site.records().all(|record| {
            between.contains(&number(record, "/seq")) && text(record, "/agent") == ANNA.agent.to_string()
        })?;
        let mut events = Vec::new();
        for record in &records {
            let event = text(record, "/event").strip_prefix("session.").unwrap_or_default();
            let why = text(record, "/detail");
            self.teller.detail(event, format!("{} Anna's session ({why})", time_of_day(record)))?;
            events.push(event);
        }
        let told = format!("{} after {} attempts", time_of_day(&end), number(&end, "/attempts"));
        self.teller.detail(text(&end, "/event"), told)?;
        expect("the session's records meanwhile", "lost, signed_in", events.join(", ").as_str())?;
        expect("the attempts that the download took", 2, number(&end, "/attempts"))?;
        expect("sign-ins that it took", 1, self.site.sim.counts().sign_ins - before)?;
        Ok(self.teller.checked("one fresh sign-in; Anna's web app has seen nothing of it")?)
    }

    pub(super) fn rules(&mut self) -> Result<(), Broken> {
        self.teller.step("CC-Gateway has held every request of ccgate against its rules.")?;
        let (counts, broken) = (self.site.sim.counts(), self.site.sim.broken_rules());
        let told = format!("{} requests: {} sign-ins, {} polls", counts.requests, counts.sign_ins, counts.polls);
        self.teller.detail("seen", told)?;
        for rule in broken.iter().take(5) {
            self.teller.detail("broken", rule)?;
        }
        expect("rules that ccgate broke", 0, broken.len())?;
        Ok(self.teller.checked("none was broken")?)
    }

    /// Waits until CC-Gateway holds a poll of Anna's session.
    ///
    /// The poll is seen before its fault is taken, and only those seen after the fault was asked for count: so the one
    /// that this waits for is the one that is held.
    async fn hold_a_poll(&self) -> Result<(), Broken> {
        let polls = || {
            let target = format!("/agentevent/{}", ANNA.agent);
            self.site.sim.requests().iter().filter(|seen| seen.target.ends_with(&target)).count()
        };
        self.site.sim.fault(fault(Kind::DelayHead(POLL_HELD), Scope::Poll));
        let (before, deadline) = (polls(), Instant::now() + POLL_TIMEOUT);
        while polls() == before {
            if Instant::now() >= deadline {
                let (expected, came) = ("one".to_owned(), format!("not there after {} s", POLL_TIMEOUT.as_secs()));
                return Err(Broken::Unexpected { what: "the next poll of Anna's session", expected, came });
            }
            tokio::time::sleep(POLL_LOOK_INTERVAL).await;
        }
        Ok(())
    }
}

/// Once, for Anna.
const fn fault(what: Kind, calls: Scope) -> Fault {
    Fault { what, calls, agent: Some(ANNA.agent), times: 1 }
}
