//! `ccgate run`: the gateway, until a signal.

use std::io::{self, Write};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::TaskTracker;

use super::{Exit, RunArgs};
use crate::app::{App, Signals};
use crate::clock::Clock;
use crate::telemetry;

/// Runs the gateway: SIGTERM or SIGINT drains it, a second one hurries; SIGHUP takes a changed configuration up.
///
/// # Errors
/// What is wrong with the configuration or the start goes to `err`; the error itself means that `err` is gone.
pub async fn run(args: &RunArgs, err: &mut dyn Write) -> io::Result<Exit> {
    let loaded = match args.config.load() {
        Ok(loaded) => loaded,
        Err(errors) => {
            writeln!(err, "{errors}")?;
            return Ok(Exit::Usage);
        }
    };
    let levels = match telemetry::init(loaded.config.log) {
        Ok(levels) => levels,
        Err(error) => {
            tell(err, &error)?;
            return Ok(Exit::Usage);
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration");
    }
    // From now on, as it would end the process: whoever changes a file while a long log is read means the files. The others
    // may end a start.
    let hangup = signal(SignalKind::hangup())?;
    let app = match App::start(&loaded, Clock::system()).await {
        Ok(app) => app.with_log(levels),
        Err(error) => {
            tell(err, &error)?;
            return Ok(Exit::Usage);
        }
    };
    let signals = Signals::default();
    let tasks = TaskTracker::new();
    let listening = tasks
        .spawn(listen([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, hangup], signals.clone()));
    let ended = app.run(signals).await;
    listening.abort();
    if ended.every_entry_closed {
        return Ok(Exit::Ok);
    }
    writeln!(err, "ccgate: not every audit entry got its end; the next start writes `unknown` for the others")?;
    Ok(Exit::Failed)
}

/// The first signal drains, each further one hurries. SIGHUP has the configuration's files looked at.
async fn listen([mut terminate, mut interrupt, mut hangup]: [Signal; 3], signals: Signals) {
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {
                tracing::info!("SIGHUP: looking at the files of the configuration");
                signals.reload.notify_one();
                continue;
            }
        }
        if signals.drain.is_cancelled() {
            signals.hurry.cancel();
        }
        signals.drain.cancel();
    }
}

/// Prints an error with all its causes, one a line.
pub(super) fn tell(err: &mut dyn Write, error: &dyn std::error::Error) -> io::Result<()> {
    writeln!(err, "ccgate: {error}")?;
    let mut cause = error.source();
    while let Some(error) = cause {
        writeln!(err, "  because {error}")?;
        cause = error.source();
    }
    Ok(())
}
