//! What a person writes about changes of the configuration; the rules of `raw` hold here too.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::Duration;

/// How changes of this file, and of the files that it names, are taken up.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Reload {
    /// How often all these files are looked at for another content; SIGHUP has them looked at at once. 0s: at SIGHUP only; else at least 100ms.
    #[schemars(extend("x-min" = "0s", "x-max" = "5m"))]
    pub(in crate::config) interval: Duration,
}

impl Default for Reload {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5) }
    }
}
