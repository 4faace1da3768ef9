//! The log as budgets see it: how it names people and recordings, and the record of an alert.

use super::cut::Cuts;
use super::event::Event;
use super::log::Log;
use crate::budget::{Alert, Journal};

impl Journal for Log {
    fn subject(&self, issuer: &str, subject: &str) -> (String, String) {
        let mut cut = Cuts::default();
        let name = match self.pseudonyms() {
            Some(pseudonyms) => pseudonyms.subject(issuer, subject),
            None => cut.name("subject", subject).into_owned(),
        };
        (cut.name("issuer", issuer).into_owned(), name)
    }

    fn recording(&self, reference: &str) -> String {
        self.pseudonyms().map_or_else(|| reference.to_owned(), |pseudonyms| pseudonyms.reference(reference))
    }

    fn alert(&self, alert: Alert) {
        tracing::warn!(
            limit = alert.budget.as_str(),
            used = alert.used,
            allowed = alert.limit,
            "a person is about to use a budget up: the record budget.alert names them"
        );
        self.note(Event::Budget(alert));
    }
}
