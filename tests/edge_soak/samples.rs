//! Memory and descriptors of the processes, once a second. It judges nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::gate::Gate;
use crate::usage::Usage;

/// Between two samples of a process.
const EVERY: Duration = Duration::from_secs(1);

/// What a process used at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub gate: usize,
    pub life: u32,
    /// Since the run's beginning.
    pub at: Duration,
    /// Since its process was started.
    pub age: Duration,
    /// Resident bytes.
    pub rss: f64,
    /// Open descriptors, but for one for each session that is kept: that of its poll. Sessions move to whoever has run longest.
    pub fds: f64,
}

/// Takes samples until it is dropped.
pub async fn take(gates: [Arc<Gate>; 2], begun: Instant, samples: Arc<Mutex<Vec<Sample>>>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for gate in &gates {
            // One that drains has less and less to do.
            let Some(live) = gate.live().filter(|live| !live.is_leaving && gate.is_ready()) else { continue };
            let Some(sessions) = gate.metric("ccgate_sessions{state=\"active\"}").await else { continue };
            let Ok(fds) = std::fs::read_dir(format!("/proc/{}/fd", live.pid)) else { continue };
            let sample = Sample {
                gate: gate.number,
                life: live.life,
                at: begun.elapsed(),
                age: live.since.elapsed(),
                rss: Usage::of(live.pid).rss as f64,
                fds: fds.count() as f64 - sessions,
            };
            samples.lock().unwrap().push(sample);
        }
    }
}
