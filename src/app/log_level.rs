//! How much of the program's own log is written: what is configured, or for a while what an operator asks for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{LevelOrder, LevelShown};
use crate::clock::Clock;
use crate::config::{self, Level};
use crate::telemetry::Levels;

/// Shortest time that can be asked for.
const TIME_MIN: Duration = Duration::from_secs(1);
/// Longest; who wants it for longer configures it.
const TIME_MAX: Duration = Duration::from_hours(24);

/// The level of a running log.
pub(super) struct LogLevel {
    /// Locked for a few assignments and for setting a filter, never across a wait.
    state: Mutex<State>,
    /// Another end may come sooner.
    changed: Notify,
    clock: Clock,
}

struct State {
    /// `None`: the log is not this process's own, as in a test.
    levels: Option<Levels>,
    configured: Level,
    asked_for: Option<AskedFor>,
}

#[derive(Clone, Copy)]
struct AskedFor {
    level: Level,
    until: Option<(Instant, Timestamp)>,
}

impl LogLevel {
    pub(super) fn new(configured: Level, clock: Clock) -> Self {
        let state = State { levels: None, configured, asked_for: None };
        Self { state: Mutex::new(state), changed: Notify::new(), clock }
    }

    /// The log whose level it is.
    pub(super) fn attach(&self, levels: Levels) {
        self.state().levels = Some(levels);
    }

    /// A configuration came into force. A level that it changes takes the place of one that was asked for.
    pub(super) fn configure(&self, level: Level) {
        let mut state = self.state();
        if state.configured != level {
            state.configured = level;
            state.asked_for = None;
            if let Err(error) = state.apply() {
                tracing::error!(error, "the log level is not set");
            }
        }
    }

    /// Sets what is asked for, or with `None` what is configured; else why not.
    pub(super) fn set(&self, order: Option<&LevelOrder>) -> Result<LevelShown, String> {
        let asked_for = order.map(|order| self.read(order)).transpose()?;
        let mut state = self.state();
        let before = std::mem::replace(&mut state.asked_for, asked_for);
        if let Err(error) = state.apply() {
            state.asked_for = before;
            return Err(error);
        }
        let shown = state.shown();
        drop(state);
        self.changed.notify_one();
        // At a level that is always written.
        tracing::error!(target: "ccgate::log_level", level = shown.level, until = ?shown.until, "the log level was set");
        Ok(shown)
    }

    pub(super) fn shown(&self) -> LevelShown {
        self.state().shown()
    }

    /// Ends what was asked for when its time is over, until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        loop {
            let until = self.state().asked_for.and_then(|asked| asked.until).map(|(at, _)| at);
            let over = async {
                match until {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = over => self.end(),
            }
        }
    }

    /// Ends what was asked for, unless it has been asked for longer meanwhile.
    fn end(&self) {
        let mut state = self.state();
        let is_over = |asked: &AskedFor| asked.until.is_some_and(|(at, _)| at <= Instant::now());
        if state.asked_for.as_ref().is_some_and(is_over) {
            state.asked_for = None;
            match state.apply() {
                Ok(()) => tracing::info!(level = state.configured.as_str(), "the configured log level is back"),
                Err(error) => tracing::error!(error, "the log level is not set"),
            }
        }
    }

    fn read(&self, order: &LevelOrder) -> Result<AskedFor, String> {
        let level = Level::ALL.into_iter().find(|level| level.as_str() == order.level);
        let level = level.ok_or_else(|| {
            let known = Level::ALL.map(Level::as_str).join(", ");
            format!("level is none of {known}")
        })?;
        let Some(time) = &order.time else { return Ok(AskedFor { level, until: None }) };
        let time = time.parse::<config::Duration>().map_err(|error| format!("for is {error}"))?.get();
        if !(TIME_MIN..=TIME_MAX).contains(&time) {
            return Err("for is not from 1s to 24h".to_owned());
        }
        let span = jiff::SignedDuration::try_from(time).map_err(|error| error.to_string())?;
        let at = self.clock.now().checked_add(span).map_err(|error| error.to_string())?;
        Ok(AskedFor { level, until: Some((Instant::now() + time, at)) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held leaves it whole: each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&self) -> Result<(), String> {
        let levels = self.levels.as_ref().ok_or("this process has no log of its own")?;
        let set = match self.asked_for {
            Some(asked) => levels.set(asked.level),
            None => levels.configured(self.configured),
        };
        set.map_err(|error| error.to_string())
    }

    fn shown(&self) -> LevelShown {
        LevelShown {
            level: self.asked_for.map_or(self.configured, |asked| asked.level).as_str(),
            configured: self.configured.as_str(),
            filter: self.asked_for.is_none() && self.levels.as_ref().is_some_and(Levels::has_filter),
            until: self.asked_for.and_then(|asked| asked.until).map(|(_, at)| at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Format, Log};

    fn order(level: &str, time: Option<&str>) -> LevelOrder {
        LevelOrder { level: level.to_owned(), time: time.map(str::to_owned) }
    }

    /// A level, the log that it is of, and what keeps that log alive.
    fn level() -> (LogLevel, impl Sized) {
        let log = Log { level: Level::Info, format: Format::Json };
        let (subscriber, levels) = crate::telemetry::subscriber(log, None, std::io::sink).expect("a log");
        let level = LogLevel::new(Level::Info, Clock::fixed(Timestamp::UNIX_EPOCH));
        level.attach(levels);
        (level, subscriber)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_ends_when_its_time_is_over_and_not_sooner() {
        let (level, _log) = level();
        let stop = CancellationToken::new();
        let asking = async {
            let shown = level.set(Some(&order("debug", Some("1m")))).expect("set");
            assert_eq!((shown.level, shown.until.map(Timestamp::as_second)), ("debug", Some(60)));
            tokio::time::sleep(Duration::from_secs(50)).await;
            level.set(Some(&order("trace", Some("1m")))).expect("longer");
            tokio::time::sleep(Duration::from_secs(59)).await;
            assert_eq!(level.shown().level, "trace");
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!((level.shown().level, level.shown().until), ("info", None));
            stop.cancel();
        };
        tokio::join!(level.run(stop.clone()), asking);
    }

    #[test]
    fn a_configuration_wins_only_where_it_changes_the_level() {
        let (level, _log) = level();
        level.set(Some(&order("debug", None))).expect("set");
        level.configure(Level::Info);
        assert_eq!(level.shown().level, "debug");
        level.configure(Level::Warn);
        assert_eq!((level.shown().level, level.shown().configured), ("warn", "warn"));
        level.set(Some(&order("error", None))).expect("set");
        assert_eq!(level.set(None).expect("back").level, "warn");
    }

    #[test]
    fn what_is_no_order_changes_nothing_and_is_told_with_its_bound() {
        let (level, _log) = level();
        for (asked, told) in [
            (order("loud", None), "level is none of error, warn, info, debug, trace"),
            (order("debug", Some("0s")), "for is not from 1s to 24h"),
            (order("debug", Some("25h")), "for is not from 1s to 24h"),
        ] {
            assert_eq!(level.set(Some(&asked)).expect_err(told), told);
        }
        assert!(level.set(Some(&order("debug", Some("soon")))).expect_err("no time").contains("for is not a duration"));
        assert_eq!(level.shown().level, "info");
    }
}
