//! What is counted of the transfers.

use prometheus::{IntCounterVec, Opts, Registry};

use crate::cc::Kind;

/// How a download ended, in metrics.
const OUTCOMES: [&str; 3] = ["finished", "aborted", "failed"];

/// Counts of the downloads.
#[derive(Debug)]
pub struct Metrics {
    downloads: IntCounterVec,
}

impl Metrics {
    /// Registers `ccgate_downloads_total`, with every series at zero so that a rate sees the first download.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let downloads = IntCounterVec::new(
            Opts::new("ccgate_downloads_total", "Downloads for which an audit entry was opened, by how they ended."),
            &["kind", "outcome"],
        )?;
        for kind in Kind::ALL {
            for outcome in OUTCOMES {
                downloads.with_label_values(&[kind.as_str(), outcome]).inc_by(0);
            }
        }
        registry.register(Box::new(downloads.clone()))?;
        Ok(Self { downloads })
    }

    /// Counts a download that has ended.
    pub fn ended(&self, kind: Kind, outcome: &'static str) {
        self.downloads.with_label_values(&[kind.as_str(), outcome]).inc();
    }
}
