//! The connection to Redis. Every call is bounded in time, and none waits for a server that has just failed. What the
//! client says is passed on without addresses, secrets or the server's words.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, ErrorKind, RedisError, ScriptInvocation, ServerErrorKind};
use tokio::time::Instant;

use super::scripts::Answer;
use crate::session::store::metrics::{Metrics, Operation, Outcome};

/// After so many failures in a row calls fail at once for a while.
const FAILURES_MAX: u32 = 3;

/// Why Redis did not do what it was asked, in words that hold no address and no secret. The server's own words are left
/// out: an error of it can quote the command, and so the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}{}", code.map(|code| format!(" ({code})")).unwrap_or_default())]
pub struct Fault {
    why: &'static str,
    /// Of the error that the server gave, where it is a known one.
    code: Option<&'static str>,
    outcome: Class,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Timeout,
    Unreachable,
    Refused,
    Skipped,
}

impl Fault {
    const TIMEOUT: Self = Self::new("it did not answer in time", Class::Timeout);
    /// It was not asked.
    pub(super) const OURS: Self = Self::new("it was not asked", Class::Skipped);
    const GARBLED: Self = Self::new("it answered with something else than was asked for", Class::Refused);

    const fn new(why: &'static str, outcome: Class) -> Self {
        Self { why, code: None, outcome }
    }

    /// The same again, without having asked.
    const fn skipped(self) -> Self {
        Self { outcome: Class::Skipped, ..self }
    }

    /// In a few words.
    pub(super) const fn why(&self) -> &'static str {
        self.why
    }

    const fn outcome(self) -> Outcome {
        match self.outcome {
            Class::Timeout => Outcome::Timeout,
            Class::Unreachable => Outcome::Unreachable,
            Class::Refused => Outcome::Refused,
            Class::Skipped => Outcome::Skipped,
        }
    }

    fn of(error: &RedisError) -> Self {
        let coded = |why, code| Self { why, code: Some(code), outcome: Class::Refused };
        match error.kind() {
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::ReadOnly => coded("it takes no writes", "READONLY"),
                ServerErrorKind::BusyLoading => coded("it is loading its data", "LOADING"),
                ServerErrorKind::MasterDown => coded("its primary is down", "MASTERDOWN"),
                ServerErrorKind::Moved => coded("it is one node of a cluster, and not the right one", "MOVED"),
                ServerErrorKind::Ask => coded("it is one node of a cluster, and not the right one", "ASK"),
                ServerErrorKind::CrossSlot => coded("it is a cluster", "CROSSSLOT"),
                ServerErrorKind::ClusterDown => coded("its cluster is down", "CLUSTERDOWN"),
                ServerErrorKind::NoPerm => coded("the user may not do it", "NOPERM"),
                _ => Self::new("it answered with an error", Class::Refused),
            },
            ErrorKind::AuthenticationFailed => Self::new("it refuses the user or the password", Class::Refused),
            ErrorKind::Extension => match error.code() {
                Some("NOAUTH") => coded("it wants a password", "NOAUTH"),
                Some("WRONGPASS") => coded("it refuses the user or the password", "WRONGPASS"),
                Some("WRONGTYPE") => coded("one of its keys is not ours", "WRONGTYPE"),
                Some("OOM") => coded("its memory is full", "OOM"),
                Some("MISCONF") => coded("it cannot save its data", "MISCONF"),
                Some("NOREPLICAS") => coded("it has too few replicas", "NOREPLICAS"),
                _ => Self::new("it answered with an error", Class::Refused),
            },
            ErrorKind::Io if error.is_timeout() => Self::TIMEOUT,
            ErrorKind::Io if error.is_connection_refusal() => Self::new("it refuses connections", Class::Unreachable),
            ErrorKind::Io if is_untrusted(error) => Self::new("its certificate is not trusted", Class::Unreachable),
            ErrorKind::Io => Self::new("it cannot be reached", Class::Unreachable),
            _ => Self::GARBLED,
        }
    }
}

/// Whether the TLS library refused the server's certificate.
fn is_untrusted(error: &RedisError) -> bool {
    type Shared = Arc<dyn std::error::Error + Send + Sync>;
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Shared>());
    let inner = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>()).and_then(std::io::Error::get_ref);
    matches!(inner.and_then(|inner| inner.downcast_ref()), Some(rustls::Error::InvalidCertificate(_)))
}

/// Calls scripts, one deadline each, with a breaker.
pub(super) struct Link {
    client: Client,
    manager: Mutex<ConnectionManager>,
    breaker: Mutex<Breaker>,
    timeout: Duration,
    pause: Duration,
    metrics: Metrics,
}

impl Link {
    /// Connects with the first call. To be called inside a runtime.
    pub(super) fn new(client: Client, timeout: Duration, pause: Duration, metrics: Metrics) -> Result<Self, Fault> {
        let manager = Mutex::new(manage(&client, timeout)?);
        Ok(Self { client, manager, breaker: Mutex::default(), timeout, pause, metrics })
    }

    /// For a connection beside, which shares nothing with this one.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// The deadline of each call.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long calls fail at once after several failures in a row.
    pub(super) const fn pause(&self) -> Duration {
        self.pause
    }

    pub(super) fn count(&self, operation: Operation, outcome: Outcome) {
        self.metrics.asked(operation, outcome);
    }

    /// Runs a script. Counts failures alone: what an answer means the caller knows.
    ///
    /// # Cancel safety
    ///
    /// The script may have run.
    pub(super) async fn call(&self, operation: Operation, script: &ScriptInvocation<'_>) -> Result<Answer, Fault> {
        let entered = self.breaker().enter(Instant::now());
        let result = match entered {
            Ok(probing) => {
                let probe = Probe { link: self, probing };
                let result = self.call_now(script).await;
                drop(probe);
                self.ended(result.as_ref().err().copied());
                result
            }
            Err(last) => Err(last.skipped()),
        };
        if let Err(fault) = &result {
            self.count(operation, fault.outcome());
        }
        result
    }

    async fn call_now(&self, script: &ScriptInvocation<'_>) -> Result<Answer, Fault> {
        let mut manager = lock(&self.manager).clone();
        // The manager's callers wait for its reconnecting, which its own timeouts do not cover.
        match tokio::time::timeout(self.timeout, script.invoke_async(&mut manager)).await {
            Ok(Ok(value)) => Answer::read(value).map_err(|_| Fault::GARBLED),
            Ok(Err(error)) => Err(Fault::of(&error)),
            Err(_elapsed) => Err(Fault::TIMEOUT),
        }
    }

    fn ended(&self, fault: Option<Fault>) {
        let opened = self.breaker().leave(fault, Instant::now() + self.pause);
        self.metrics.up(fault.is_none());
        if opened {
            // A connection whose packets vanish, or a log-in that failed, the manager would keep for ever.
            if let Ok(fresh) = manage(&self.client, self.timeout) {
                *lock(&self.manager) = fresh;
            }
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        lock(&self.breaker)
    }
}

fn manage(client: &Client, timeout: Duration) -> Result<ConnectionManager, Fault> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(timeout))
        // Ours covers it, and this one would not replace the connection.
        .set_response_timeout(None)
        .set_number_of_retries(2)
        .set_min_delay(Duration::from_millis(20))
        .set_max_delay(Duration::from_millis(200));
    client.get_connection_manager_lazy(config).map_err(|error| Fault::of(&error))
}

/// Ends a probe whose caller has gone.
struct Probe<'a> {
    link: &'a Link,
    probing: bool,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if self.probing {
            self.link.breaker().probing = false;
        }
    }
}

#[derive(Default)]
struct Breaker {
    failures: u32,
    /// The last failure, and until when calls are told it at once.
    open: Option<(Fault, Instant)>,
    /// One call finds out whether it works again.
    probing: bool,
}

impl Breaker {
    /// Whether the call is the probe; or the failure that it is spared.
    fn enter(&mut self, now: Instant) -> Result<bool, Fault> {
        let Some((fault, until)) = self.open else { return Ok(false) };
        if self.probing || now < until {
            return Err(fault);
        }
        self.probing = true;
        Ok(true)
    }

    /// Whether it is open from now on.
    fn leave(&mut self, fault: Option<Fault>, until: Instant) -> bool {
        self.failures = if fault.is_some() { self.failures.saturating_add(1) } else { 0 };
        self.open = fault.filter(|_| self.failures >= FAILURES_MAX).map(|fault| (fault, until));
        self.open.is_some()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks is one assignment or a few of plain numbers.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_three_failures_one_call_at_a_time_probes_after_the_pause() {
        let start = Instant::now();
        let pause = Duration::from_secs(1);
        let mut breaker = Breaker::default();
        for failure in 1..=3 {
            assert!(matches!(breaker.enter(start), Ok(false)));
            assert_eq!(breaker.leave(Some(Fault::TIMEOUT), start + pause), failure == 3);
        }
        assert!(breaker.enter(start).is_err());
        assert!(matches!(breaker.enter(start + pause), Ok(true)));
        assert!(breaker.enter(start + pause).is_err(), "one probe at a time");
        breaker.probing = false;
        assert!(breaker.leave(Some(Fault::TIMEOUT), start + pause * 2));
        assert!(breaker.enter(start + pause).is_err(), "the probe failed");
        assert!(matches!(breaker.enter(start + pause * 2), Ok(true)));
        breaker.probing = false;
        assert!(!breaker.leave(None, start));
        assert!(matches!(breaker.enter(start), Ok(false)));
    }

    #[test]
    fn r17_the_servers_words_are_not_passed_on() {
        let error = RedisError::from((ErrorKind::Extension, "ERR unknown command", "AUTH planted-secret".to_owned()));
        let fault = Fault::of(&error);
        assert!(!format!("{fault} {fault:?}").contains("planted"), "{fault:?}");
    }
}
