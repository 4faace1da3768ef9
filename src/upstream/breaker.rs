//! Leaves one URL of the gateway alone that does not answer, and lets one call at a time find out when it is back. It decides only
//! whether a call is made; one that was made is never cut short.
//!
//! Sign-ins, sign-outs and keep-alives ask first ([`Breaker::admit`]): they are made by machines, by thousands at once,
//! and again and again. What an agent's own app calls is made in any case ([`Breaker::let_through`]), as it has its own
//! pace, and is judged like the others: where all agents have apps hardly anything else is called.
//!
//! Downloads are let through always: a person waits for each, it has its own limits and its time-out for connecting, and
//! none is made without a session. But what becomes of them is taken into account: an answer shows that the gateway is back,
//! and a connection that cannot be made that it has gone. That one is slow, closes or fails with 5xx says nothing, as it may
//! be about one recording and the file server behind it.
//!
//! A rest is never longer than 30 s, nor than the trouble has lasted by then (but for the first second): so an outage
//! grows by no more than its own length, and of the 120 s after which the gateway forgets a session, most are left.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::metrics::{Lights, Operation};
use super::{Error, Rest};

#[cfg(test)]
mod tests;

/// Nobody is there: no connection, no answer in time, closed without one, or HTTP 5xx as a load balancer gives it.
const UNANSWERED: Limits =
    Limits { row: 5, shortest: Duration::from_secs(1), longest: Duration::from_secs(30), rest: Rest::Unanswered };

/// The gateway answers sign-ins with `000-004`. Gentle: it is there, and sessions go on.
const SWITCHING: Limits =
    Limits { row: 3, shortest: Duration::from_secs(1), longest: Duration::from_secs(10), rest: Rest::Switching };

/// The code of a gateway that is switching over. `100-003` is not: it can be about one agent's resource.
const SWITCHING_OVER: &str = "000-004";

/// So long a call that tries the gateway out holds back the next: it can hang until its own deadline, or be a poll that
/// waits for events, and living sessions must not wait for that. A sign-in holds back sign-ins until its deadline: each more
/// would be one of a person's that hangs, and leaves a doubt.
const PROBE_HOLDS: Duration = Duration::from_secs(5);

/// What others are told to wait at most while one tries the gateway out.
const WHILE_PROBED: Duration = Duration::from_secs(1);

/// The breaker of one URL. Locked for a few comparisons, never across a wait.
#[derive(Debug)]
pub(super) struct Breaker {
    rules: Mutex<Rules>,
    lights: Arc<Lights>,
    /// Which URL, for [`Lights`].
    index: usize,
    /// Longest time of a sign-in.
    sign_in_takes: Duration,
}

/// How easily a call may go there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ease {
    /// It answers.
    Answers,
    /// It did not, and its rest is over: one call tries it out.
    TryOut,
    /// It is being left alone, or tried out by another call.
    Rests,
}

#[derive(Debug)]
struct Rules {
    /// For all calls.
    answers: Rule,
    /// For sign-ins only.
    sign_ins: Rule,
    jitter: fastrand::Rng,
}

/// A call that was let through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    operation: Operation,
    /// It was asked for, so while the gateway is left alone it tries it out.
    tries_out: bool,
    answers_era: u64,
    sign_ins_era: u64,
}

impl Breaker {
    /// A closed one. `seed` makes its jitter: replicas must not come back in step.
    /// `sign_in_takes` is the longest time of a sign-in.
    pub(super) fn new(lights: Arc<Lights>, index: usize, seed: u64, sign_in_takes: Duration) -> Self {
        let rules = Rules {
            answers: Rule::new(UNANSWERED),
            sign_ins: Rule::new(SWITCHING),
            jitter: fastrand::Rng::with_seed(seed),
        };
        Self { rules: Mutex::new(rules), lights, index, sign_in_takes }
    }

    /// How easily a call may go there now. Holds no place.
    pub(super) fn ease(&self, operation: Operation, now: Instant) -> Ease {
        let rules = self.rules();
        let is_sign_in = matches!(operation, Operation::SignIn);
        let asked = [Some(&rules.answers), Some(&rules.sign_ins).filter(|_| is_sign_in)];
        let ease = |rule: &Rule| match (rule.ask(operation, now), rule.is_open()) {
            (Err(_), _) => Ease::Rests,
            (Ok(()), true) => Ease::TryOut,
            (Ok(()), false) => Ease::Answers,
        };
        asked.into_iter().flatten().map(ease).max().unwrap_or(Ease::Answers)
    }

    /// Goes on where the breaker of the same URL stood before a reload.
    pub(super) fn follow(&self, before: &Self) {
        let (answers, sign_ins) = {
            let before = before.rules();
            (before.answers.clone(), before.sign_ins.clone())
        };
        let mut rules = self.rules();
        self.lights.show(self.index, Rest::Unanswered, answers.is_open());
        self.lights.show(self.index, Rest::Switching, sign_ins.is_open());
        (rules.answers, rules.sign_ins) = (answers, sign_ins);
    }

    /// Lets a call through, or says how long to leave the gateway alone ([`Error::Resting`]). Nothing has been sent then.
    pub(super) fn admit(&self, operation: Operation, now: Instant) -> Result<Pass, Error> {
        let mut rules = self.rules();
        let tries_out = !matches!(operation, Operation::Download);
        if tries_out {
            rules.try_out(operation, now, self.sign_in_takes)?;
        }
        Ok(rules.pass(operation, tries_out))
    }

    /// As [`Breaker::admit`], for a call that is made in any case: where a place to try out is free it takes it.
    pub(super) fn let_through(&self, operation: Operation, now: Instant) -> Pass {
        let mut rules = self.rules();
        let tries_out = rules.try_out(operation, now, self.sign_in_takes).is_ok();
        rules.pass(operation, tries_out)
    }

    /// Takes the outcome of a call into account. A call that is dropped is not settled: it said nothing.
    pub(super) fn settle<T>(&self, pass: Pass, outcome: &Result<T, Error>, now: Instant) {
        let is_download = matches!(pass.operation, Operation::Download);
        let verdict = Verdict::of(outcome, is_download);
        let mut guard = self.rules();
        let rules = &mut *guard;
        let answers = match verdict {
            Verdict::Answered | Verdict::Switching => rules.answers.passed(),
            // Nobody let it through as a try-out: it must not lengthen the rest.
            Verdict::Nobody if !pass.tries_out && rules.answers.is_open() => None,
            Verdict::Nobody => rules.answers.failed(pass.answers_era, now, &mut rules.jitter),
            Verdict::Unknown => None,
        };
        let sign_ins = match verdict {
            _ if !matches!(pass.operation, Operation::SignIn) => None,
            Verdict::Answered => rules.sign_ins.passed(),
            Verdict::Switching if !pass.tries_out && rules.sign_ins.is_open() => None,
            Verdict::Switching => rules.sign_ins.failed(pass.sign_ins_era, now, &mut rules.jitter),
            Verdict::Nobody | Verdict::Unknown => None,
        };
        // Under the lock: two changes must be shown in their order.
        for (rest, change) in [(Rest::Unanswered, &answers), (Rest::Switching, &sign_ins)] {
            if let Some(change) = change {
                self.lights.show(self.index, rest, change.is_open());
            }
        }
        drop(guard);
        for (rest, change) in [(Rest::Unanswered, answers), (Rest::Switching, sign_ins)] {
            tell(self.index, rest, change);
        }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        // Nothing panics while the lock is held; if it did, every state is a valid one.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    fn try_out(&mut self, operation: Operation, now: Instant, sign_in_takes: Duration) -> Result<(), Error> {
        // Both before either is taken: a sign-in that rests must not hold the place of one who tries out.
        self.answers.ask(operation, now)?;
        if matches!(operation, Operation::SignIn) {
            self.sign_ins.ask(operation, now)?;
            self.sign_ins.take(operation, now, sign_in_takes);
        }
        self.answers.take(operation, now, sign_in_takes);
        Ok(())
    }

    const fn pass(&self, operation: Operation, tries_out: bool) -> Pass {
        Pass { operation, tries_out, answers_era: self.answers.era, sign_ins_era: self.sign_ins.era }
    }
}

fn tell(upstream: usize, why: Rest, change: Option<Change>) {
    match change {
        Some(Change::Opened) => tracing::warn!(upstream, %why, "CC-Gateway is left alone until it answers again"),
        Some(Change::Longer(rest)) => tracing::debug!(upstream, %why, ?rest, "CC-Gateway is left alone for longer"),
        Some(Change::Closed) => tracing::info!(upstream, %why, "CC-Gateway answers again"),
        None => {}
    }
}

/// What an outcome says of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Answered,
    Switching,
    Nobody,
    Unknown,
}

impl Verdict {
    fn of<T>(outcome: &Result<T, Error>, is_download: bool) -> Self {
        let Err(error) = outcome else { return Self::Answered };
        match error {
            Error::Timeout | Error::Closed { .. } if is_download => Self::Unknown,
            Error::Status(status) if status.is_server_error() && is_download => Self::Unknown,
            Error::Unreachable { .. } | Error::Timeout | Error::Closed { stale: false, .. } => Self::Nobody,
            Error::Status(status) if status.is_server_error() => Self::Nobody,
            Error::Refused { retcode, .. } if retcode.as_str() == SWITCHING_OVER => Self::Switching,
            // Somebody else's certificate: it shows neither that the gateway is there nor that it has gone.
            // Of an old connection that was closed it shows only that: the next call finds out by a new one.
            Error::Untrusted { .. } | Error::Resting { .. } | Error::Closed { stale: true, .. } => Self::Unknown,
            Error::Truncated { .. } | Error::Protocol(_) | Error::Status(_) | Error::Refused { .. } => Self::Answered,
        }
    }
}

/// Calls that try the gateway out beside each other. A poll is answered after about 10 s, so it holds back polls only.
#[derive(Debug, Clone, Copy)]
enum Lane {
    Quick,
    Slow,
}

impl Lane {
    const fn of(operation: Operation) -> Self {
        match operation {
            Operation::Poll => Self::Slow,
            Operation::SignIn | Operation::Heartbeat | Operation::SignOut | Operation::Download => Self::Quick,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Failures in a row that open it.
    row: u32,
    /// First rest.
    shortest: Duration,
    /// Last rest.
    longest: Duration,
    /// What it is about.
    rest: Rest,
}

/// Counts failures in a row and rests after them.
#[derive(Debug, Clone)]
struct Rule {
    limits: Limits,
    /// Grows whenever the state changes. A failure counts only in the era in which its call was let through: hundreds
    /// that were under way when the gateway went say one thing, not hundreds.
    era: u64,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { row: u32, since: Option<Instant> },
    Open { since: Instant, rest: Duration, until: Instant, held: Held },
}

/// Until when those who try out hold back others.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    quick: Option<Instant>,
    slow: Option<Instant>,
    sign_ins: Option<Instant>,
}

/// A change that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Opened,
    Longer(Duration),
    Closed,
}

impl Change {
    const fn is_open(self) -> bool {
        matches!(self, Self::Opened | Self::Longer(_))
    }
}

impl Rule {
    const fn new(limits: Limits) -> Self {
        Self { limits, era: 0, state: State::Closed { row: 0, since: None } }
    }

    const fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    fn ask(&self, operation: Operation, now: Instant) -> Result<(), Error> {
        let State::Open { until, held, .. } = self.state else { return Ok(()) };
        let resting = |retry_after| Err(Error::Resting { why: self.limits.rest, retry_after });
        if now < until {
            return resting(until - now);
        }
        let held = match (Lane::of(operation), operation) {
            (_, Operation::SignIn) => held.quick.max(held.sign_ins),
            (Lane::Quick, _) => held.quick,
            (Lane::Slow, _) => held.slow,
        };
        match held {
            Some(held) if now < held => resting((held - now).min(WHILE_PROBED)),
            _ => Ok(()),
        }
    }

    /// Marks the call that tries the gateway out, where it is one.
    fn take(&mut self, operation: Operation, now: Instant, sign_in_takes: Duration) {
        let State::Open { held, .. } = &mut self.state else { return };
        match Lane::of(operation) {
            Lane::Quick => held.quick = Some(now + PROBE_HOLDS),
            Lane::Slow => held.slow = Some(now + PROBE_HOLDS),
        }
        if matches!(operation, Operation::SignIn) {
            held.sign_ins = Some(now + sign_in_takes);
        }
    }

    fn passed(&mut self) -> Option<Change> {
        let was_open = self.is_open();
        self.state = State::Closed { row: 0, since: None };
        if was_open {
            self.era += 1;
        }
        was_open.then_some(Change::Closed)
    }

    fn failed(&mut self, era: u64, now: Instant, jitter: &mut fastrand::Rng) -> Option<Change> {
        if era != self.era {
            return None;
        }
        let (since, last) = match self.state {
            State::Closed { row, since } => {
                let (row, since) = (row + 1, since.unwrap_or(now));
                if row < self.limits.row {
                    self.state = State::Closed { row, since: Some(since) };
                    return None;
                }
                (since, None)
            }
            State::Open { since, rest, .. } => (since, Some(rest)),
        };
        let doubled = last.unwrap_or_default().saturating_mul(2);
        let rest = doubled.min(now - since).clamp(self.limits.shortest, self.limits.longest);
        // Sooner, never later: the bound of a rest is a promise.
        let until = now + rest.mul_f64(0.8 + 0.2 * jitter.f64());
        self.era += 1;
        self.state = State::Open { since, rest, until, held: Held::default() };
        Some(if last.is_some() { Change::Longer(rest) } else { Change::Opened })
    }
}
