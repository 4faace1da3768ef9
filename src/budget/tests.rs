//! Downloads against limits, under a clock that the test moves.

use std::sync::Mutex;

use prometheus::Registry;

use super::*;
use crate::authn::{Caller, Inspects};
use crate::cc::{AgentId, FileRef};
use crate::route::{Arrival, Download, RequestId, Source};

mod room;
mod time;

/// A log that only remembers alerts, and names people as they are.
#[derive(Default)]
pub(super) struct Heard(Mutex<Vec<Alert>>);

impl Journal for Heard {
    fn subject(&self, issuer: &str, subject: &str) -> (String, String) {
        (issuer.to_owned(), format!("name of {subject}"))
    }

    fn recording(&self, reference: &str) -> String {
        format!("name of {reference}")
    }

    fn alert(&self, alert: Alert) {
        self.0.lock().expect("a list").push(alert);
    }
}

pub(super) struct World {
    pub(super) budgets: Budgets,
    pub(super) heard: Arc<Heard>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

pub(super) const ISSUER: &str = "https://idp.example";
pub(super) const START: &str = "2026-11-22T12:00:20Z";

impl World {
    /// To be called under a paused clock.
    pub(super) fn new(limits: Limits) -> Self {
        Self::at(limits, Clock::fixed(START.parse().expect("a time")))
    }

    pub(super) fn at(limits: Limits, clock: Clock) -> Self {
        let heard = Arc::new(Heard::default());
        let metrics = Metrics::register(&Registry::new()).expect("metrics");
        let key = Key::shared(secrecy::zeroize::Zeroizing::new([7; 32]));
        let journal = Arc::clone(&heard);
        Self { budgets: Budgets::new(limits, key, journal, clock.clone(), metrics.clone()), heard, clock, metrics }
    }

    pub(super) fn reserve(&self, subject: &str, call: u32) -> Result<Reservation, Exceeded> {
        reserve(&self.budgets, authorized(subject, 4977, call, &["agent"]))
    }

    /// A whole download.
    pub(super) fn take(&self, subject: &str, call: u32, bytes: u64) -> Result<(), Exceeded> {
        self.reserve(subject, call).map(|mut reservation| reservation.handed_over(bytes))
    }

    /// How long a download has to wait, in seconds, and why; `None`: it need not.
    pub(super) fn wait(&self, subject: &str, call: u32) -> Option<(&'static str, u64)> {
        self.reserve(subject, call).err().map(|exceeded| (exceeded.limit.as_str(), exceeded.retry_after.as_secs()))
    }

    /// The alerts so far: whose, of what, and how much was used.
    pub(super) fn alerts(&self) -> Vec<(String, &'static str, u64)> {
        let heard = self.heard.0.lock().expect("a list");
        heard.iter().map(|alert| (alert.subject.clone(), alert.budget.as_str(), alert.used)).collect()
    }
}

pub(super) fn reserve(budgets: &Budgets, authorized: Authorized) -> Result<Reservation, Exceeded> {
    budgets.reserve(authorized).map(|budgeted| budgeted.into_parts().1).map_err(|refused| refused.exceeded)
}

pub(super) fn authorized(subject: &str, agent: u32, call: u32, roles: &[&str]) -> Authorized {
    let agent = AgentId::try_from(agent).expect("an agent");
    let caller = Caller::for_test(Some(agent), roles, Inspects::default(), &[]).named_for_test(ISSUER, subject, "web");
    let call_id = format!("1621413752-{call}").parse().expect("a call id");
    let download = Download::for_test(agent, FileRef::RecordingEx { call_id, file: None, work_no: None }, None);
    let arrival = Arrival {
        at: START.parse().expect("a time"),
        source: Source { peer: "10.1.2.3:40000".parse().expect("an address"), forwarded: None, certificate: None },
        request_id: RequestId::random(),
        trace: None,
    };
    Authorized::for_test(caller, download, arrival)
}

pub(super) async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}
