//! What is counted of the transfers.

use prometheus::{Opts, Registry};

use crate::cc::Kind;
use crate::series::Counters;

/// How a download ended, in metrics.
const OUTCOMES: [&str; 3] = ["finished", "aborted", "failed"];

/// Counts of the downloads.
#[derive(Debug)]
pub struct Metrics {
    downloads: Counters<2>,
}

impl Metrics {
    /// Registers `ccgate_downloads_total`, with every series at zero so that a rate sees the first download.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let downloads = Counters::register(
            registry,
            Opts::new("ccgate_downloads_total", "Downloads for which an audit entry was opened, by how they ended."),
            ["kind", "outcome"],
        )?;
        for kind in Kind::ALL {
            for outcome in OUTCOMES {
                downloads.show([kind.as_str(), outcome]);
            }
        }
        Ok(Self { downloads })
    }

    /// Counts a download that has ended.
    pub fn ended(&self, kind: Kind, outcome: &'static str) {
        self.downloads.inc([kind.as_str(), outcome]);
    }
}
