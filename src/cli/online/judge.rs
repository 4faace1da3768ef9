//! From what was seen of one session to what it says about the settings. Pure: it asks nobody.

use std::time::Duration;

use super::report::{Finding, causes};
use crate::cc::{Meaning, Retcode};
use crate::config::{KeepAlive, Sessions};
use crate::upstream;

/// After so long without a request the gateway signs an agent out (`MAXTIME`, `EVENT_PUSH_HANDSHAKE_MAXTIME`; their default).
const TIME_OUT: Duration = Duration::from_mins(2);
/// A poll that is answered sooner than this, with nothing to tell, does not wait.
const POLL_WAITS: Duration = Duration::from_secs(1);
/// A poll that takes longer leaves no room for a second one before the time-out.
const POLL_MAX: Duration = Duration::from_mins(1);
/// The default of `GUIDINTERVAL`, with some room: who watches for less cannot tell.
const TELLING: Duration = Duration::from_secs(65);

/// What was seen of one session.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How long it was watched.
    pub(super) watched: Duration,
    /// Keep-alives that were answered.
    pub(super) answers: u32,
    /// The longest of them.
    pub(super) longest: Duration,
    /// Guids that replaced another one.
    pub(super) replacements: u32,
    /// The shortest time between two of them.
    pub(super) shortest_life: Option<Duration>,
    /// When and why keep-alives failed in the end.
    pub(super) failed: Option<(Duration, upstream::Error)>,
    /// A signal ended the watching.
    pub(super) interrupted: bool,
}

impl Seen {
    pub(super) fn answered(&mut self, took: Duration) {
        self.answers += 1;
        self.longest = self.longest.max(took);
    }

    pub(super) fn replaced(&mut self, lived: Duration) {
        self.replacements += 1;
        self.shortest_life = Some(self.shortest_life.map_or(lived, |shortest| shortest.min(lived)));
    }
}

/// What it says about the settings.
pub(super) fn judge(sessions: &Sessions, seen: &Seen) -> Vec<Finding> {
    let mode = name(sessions.keep_alive);
    let mut found = Vec::new();
    match &seen.failed {
        Some((at, error)) => found.push(failure(sessions, *at, error)),
        None if seen.answers == 0 => {
            found.push(Finding::warning("--watch", "ended before a keep-alive was answered", "watch longer"));
        }
        None => found.push(Finding::ok("sessions.keep_alive", format!("{mode} is taken, {} answers", seen.answers))),
    }
    if seen.answers == 0 {
        return found;
    }
    if seen.interrupted {
        found.push(Finding::warning("--watch", format!("ended by a signal after {}", secs(seen.watched)), ""));
    }
    match sessions.keep_alive {
        KeepAlive::Poll => found.push(poll(seen)),
        KeepAlive::Heartbeat if seen.failed.is_none() => found.push(heartbeat(sessions.keep_alive_interval, seen)),
        KeepAlive::Heartbeat => {}
    }
    found.push(guid(seen));
    found
}

/// The word in the configuration.
const fn name(mode: KeepAlive) -> &'static str {
    match mode {
        KeepAlive::Poll => "poll",
        KeepAlive::Heartbeat => "heartbeat",
    }
}

/// What to set where the gateway refuses a mode.
pub(super) const fn other_mode(mode: KeepAlive) -> &'static str {
    match mode {
        KeepAlive::Poll => "set keep_alive: heartbeat, with sessions.callback",
        KeepAlive::Heartbeat => "set keep_alive: poll",
    }
}

fn failure(sessions: &Sessions, at: Duration, error: &upstream::Error) -> Finding {
    let mode = name(sessions.keep_alive);
    match error.retcode().map(Retcode::meaning) {
        Some(Meaning::WrongKeepAlive) => {
            let what = format!("{mode} is refused (000-001): the gateway fetches events the other way");
            Finding::problem("sessions.keep_alive", what, other_mode(sessions.keep_alive))
        }
        Some(Meaning::SessionLost | Meaning::SessionOrRight) => {
            let what = format!("the session was gone after {}: {}", secs(at), causes(error));
            match sessions.keep_alive {
                KeepAlive::Poll => {
                    let next =
                        "did somebody else sign the agent in? Else look at GUIDTIMEOUT and MAXTIME of the gateway";
                    Finding::problem("sessions.keep_alive", what, next)
                }
                KeepAlive::Heartbeat => {
                    let interval = secs(sessions.keep_alive_interval);
                    let next =
                        format!("{interval} is too long for its GUIDTIMEOUT or EVENT_PUSH_HANDSHAKE_MAXTIME: lower it");
                    Finding::problem("sessions.keep_alive_interval", what, next)
                }
            }
        }
        _ => Finding::problem("upstream.url", format!("keep-alives fail: {}", causes(error)), ""),
    }
}

fn poll(seen: &Seen) -> Finding {
    let (key, longest) = ("sessions.keep_alive", secs(seen.longest));
    if seen.longest > POLL_MAX {
        let what = format!("a poll took {longest}; two must fit into the time-out of {}", secs(TIME_OUT));
        return Finding::problem(key, what, "lower AGENT_POLL_WAIT_TIMES at the gateway");
    }
    if seen.longest < POLL_WAITS && seen.answers > 2 {
        let what = format!("polls are answered within {longest}: each signed-in agent costs some two calls a second");
        return Finding::warning(key, what, "set AGENT_POLL_WAIT_FLAG at the gateway");
    }
    Finding::ok(key, format!("a poll takes up to {longest}; two fit into the time-out of {}", secs(TIME_OUT)))
}

/// New Guids come on heartbeats alone, so each must come before the Guid that it brings is replaced, and dead, itself.
fn heartbeat(interval: Duration, seen: &Seen) -> Finding {
    let (key, shown) = ("sessions.keep_alive_interval", secs(interval));
    // The first heartbeat follows the sign-in at once and brings nothing.
    if seen.replacements > 0 && seen.replacements + 1 >= seen.answers {
        let what = format!("{shown} is no shorter than the gateway's GUIDINTERVAL: every heartbeat brings a new Guid");
        return Finding::warning(key, what, "lower it to half of GUIDINTERVAL, so that a late one loses nothing");
    }
    let life = seen.shortest_life.map(|life| format!(", and into the {} of a Guid", secs(life)));
    Finding::ok(key, format!("{shown} fits twice into the time-out of {}{}", secs(TIME_OUT), life.unwrap_or_default()))
}

fn guid(seen: &Seen) -> Finding {
    let key = "upstream.url";
    match seen.shortest_life {
        Some(life) => {
            let count = seen.replacements;
            Finding::ok(key, format!("dynamic Guids (AUTHMODE 2): {count} replaced, the shortest after {}", secs(life)))
        }
        None if seen.watched < TELLING => {
            let what = format!(
                "no new Guid within {}: static Guids (AUTHMODE 1), or a longer GUIDINTERVAL",
                secs(seen.watched)
            );
            Finding::ok(key, format!("{what}; --watch 75s tells"))
        }
        None => Finding::ok(key, format!("static Guids (AUTHMODE 1): none was replaced within {}", secs(seen.watched))),
    }
}

/// Seconds with one digit behind the point.
fn secs(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(answers: u32, longest: u64, replacements: u32, watched: u64) -> Seen {
        let shortest_life = (replacements > 0).then_some(Duration::from_mins(1));
        let (longest, watched) = (Duration::from_millis(longest), Duration::from_secs(watched));
        Seen { watched, answers, longest, replacements, shortest_life, failed: None, interrupted: false }
    }

    #[test]
    fn polls_must_wait_and_must_not_wait_too_long() {
        for (longest, wanted) in [
            (10_050, "ok       sessions.keep_alive: a poll takes up to 10.1s; two fit into the time-out of 120.0s"),
            (40, "warning  sessions.keep_alive: polls are answered within 0.0s: each signed-in agent"),
            (61_000, "problem  sessions.keep_alive: a poll took 61.0s; two must fit into the time-out of 120.0s"),
        ] {
            let found = poll(&seen(7, longest, 0, 75)).to_string();
            assert!(found.starts_with(wanted), "{found}");
        }
        assert!(poll(&seen(2, 40, 0, 1)).is_ok(), "two answers tell nothing: an event may have come");
    }

    #[test]
    fn a_heartbeat_is_shorter_than_a_guid_lives() {
        let of = |seen: &Seen| heartbeat(Duration::from_secs(30), seen).to_string();
        assert!(of(&seen(3, 5, 1, 75)).starts_with("ok "), "one Guid in three heartbeats");
        assert!(of(&seen(3, 5, 0, 75)).starts_with("ok "), "static");
        let found = of(&seen(3, 5, 2, 75));
        assert!(found.starts_with("warning  sessions.keep_alive_interval: 30.0s is no shorter than"), "{found}");
    }

    #[test]
    fn static_guids_are_believed_only_after_long_enough() {
        assert!(
            guid(&seen(7, 5, 0, 75)).to_string().contains("static Guids (AUTHMODE 1): none was replaced within 75.0s")
        );
        assert!(guid(&seen(7, 5, 0, 64)).to_string().contains("or a longer GUIDINTERVAL"));
        let found = guid(&seen(7, 5, 1, 64)).to_string();
        assert_eq!(found, "ok       upstream.url: dynamic Guids (AUTHMODE 2): 1 replaced, the shortest after 60.0s");
    }
}
