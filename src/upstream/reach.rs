//! One call, at the URL that can serve it. It repeats nothing that may have been acted on: another URL is asked only where
//! nothing was sent, or where the answer was that no such session lives there.

use std::time::Duration;

use http::uri::Authority;
use tokio::time::Instant;

use super::metrics::Operation;
use super::servers::Server;
use super::{Error, Gateway};
use crate::cc::{Guid, Meaning, Retcode};

/// URLs at which one call tries to get a connection. Those that do not let it soon rest, so more would only add delay.
const CONNECTS_MAX: usize = 3;

/// How many URLs share the time for connecting at most.
pub(super) fn sharers(urls: usize) -> u32 {
    u32::try_from(urls.min(CONNECTS_MAX)).unwrap_or(1).max(1)
}

/// All that can be asked say that no such session lives there, and where it lives is no URL of ours any more.
const HOME_TAKEN_OUT: &str = "the session lives at a URL that is no longer configured";

/// A call that can be made at any URL.
pub(super) trait Ask: Sync {
    type Answer: Send;

    /// Which call it is.
    fn operation(&self) -> Operation;

    /// The session that it is made in; `None`: it makes one.
    fn guid(&self) -> Option<&Guid>;

    /// Whether the breaker can keep it from being made: not where a person's own app asks, which has its own pace.
    fn is_judged(&self) -> bool {
        true
    }

    /// Makes the call there, with so much time for having a connection.
    fn ask(
        &self,
        gateway: &Gateway,
        at: &Authority,
        connect: Duration,
    ) -> impl Future<Output = Result<Self::Answer, Error>> + Send;

    /// The result code of an answer, where it can be another than success.
    fn retcode(_answer: &Self::Answer) -> Option<&Retcode> {
        None
    }

    /// The Guid that an answer brought.
    fn brought(answer: &Self::Answer) -> Option<Guid>;
}

/// What one URL's answer means for asking another.
enum Said {
    /// Nothing was sent.
    Unsent,
    /// No such session lives there. Nothing came of the call.
    NoSession,
    Success,
    Else,
}

impl Said {
    fn of<A: Ask>(call: &A, answer: &Result<A::Answer, Error>) -> Self {
        let retcode = match answer {
            Ok(answer) => A::retcode(answer),
            Err(error) if error.is_unsent() => return Self::Unsent,
            Err(error) => error.retcode(),
        };
        match (retcode.map(Retcode::meaning), answer) {
            // Whoever signs in has none: that is refused for good.
            (Some(Meaning::SessionLost | Meaning::SessionOrRight), _) if call.guid().is_some() => Self::NoSession,
            (None | Some(Meaning::Success), Ok(_)) => Self::Success,
            _ => Self::Else,
        }
    }
}

impl Gateway {
    /// Makes a call at the first URL that can serve it ([`Servers::way`](super::servers::Servers::way)).
    ///
    /// Without a home that is known, the session is gone only where every URL says so; one that could not be asked may be
    /// where it lives, and then its error is the answer.
    pub(super) async fn reach<A: Ask>(&self, call: &A) -> Result<A::Answer, Error> {
        let way = self.servers.way(call.operation(), call.guid(), Instant::now());
        let (mut budget, mut connects, mut left) = (self.connect_timeout, CONNECTS_MAX, way.order.len());
        let (mut not_asked, mut no_session, mut refusals): (Option<Error>, _, _) = (None, None, 0);
        for server in &way.order {
            let share = budget / sharers(left.min(connects));
            if share.is_zero() {
                // Whoever was asked before has taken all the time: that says nothing about this one.
                break;
            }
            left -= 1;
            let start = Instant::now();
            let answer = match self.at(server, call, share, start).await {
                Err(error @ Error::Resting { .. }) => {
                    not_asked = Some(sooner(not_asked, error));
                    continue;
                }
                answer => answer,
            };
            match (Said::of(call, &answer), answer) {
                (Said::Unsent, Err(error)) => {
                    tracing::debug!(upstream = %server.authority, %error, "not reached");
                    budget = budget.saturating_sub(start.elapsed());
                    not_asked = Some(error);
                    connects -= 1;
                    if connects == 0 {
                        break;
                    }
                }
                (Said::NoSession, answer) if way.home.as_ref() != Some(&server.authority) => {
                    no_session = Some(answer);
                    refusals += 1;
                }
                (Said::Success, Ok(answer)) => {
                    self.learn::<A>(call.guid(), &answer, server);
                    return Ok(answer);
                }
                (_, answer) => return answer,
            }
        }
        if let (Some(guid), Some(home)) = (call.guid(), &way.home)
            && refusals > 0
            && refusals == way.order.iter().filter(|server| server.authority != *home).count()
        {
            self.servers.keep_to_home(guid, Instant::now());
        }
        match (not_asked, no_session) {
            (Some(error), _) => {
                if matches!(error, Error::Resting { .. }) {
                    self.metrics.left_out(call.operation(), &error);
                }
                Err(error)
            }
            (None, _) if way.home.is_some() => Err(Error::Unreachable { source: HOME_TAKEN_OUT.into() }),
            (None, Some(answer)) => answer,
            (None, None) => Err(Error::Protocol("no URL is known to ask it at")),
        }
    }

    /// Makes a call at one URL, unless that is left alone and the call is one that can wait ([`Error::Resting`]).
    async fn at<A: Ask>(
        &self,
        server: &Server,
        call: &A,
        connect: Duration,
        start: Instant,
    ) -> Result<A::Answer, Error> {
        let (operation, breaker) = (call.operation(), &server.breaker);
        let pass =
            if call.is_judged() { breaker.admit(operation, start)? } else { breaker.let_through(operation, start) };
        let answer = call.ask(self, &server.authority, connect).await;
        let end = Instant::now();
        breaker.settle(pass, &answer, end);
        let outcome = match &answer {
            Ok(answer) if A::retcode(answer).is_none_or(|code| code.meaning() == Meaning::Success) => "ok",
            Ok(_) => "refused",
            Err(error) => error.label(),
        };
        self.metrics.count(operation, end.saturating_duration_since(start), outcome);
        answer
    }

    fn learn<A: Ask>(&self, sent: Option<&Guid>, answer: &A::Answer, server: &Server) {
        let (brought, now) = (A::brought(answer), Instant::now());
        for guid in sent.into_iter().chain(&brought) {
            self.servers.learn(guid, server, now);
        }
        if let (Some(sent), Some(brought)) = (sent, &brought)
            && !sent.same_as(brought)
        {
            self.servers.replaced(sent, now);
        }
    }
}

/// The error to tell: that of a URL that was asked in vain, else the shortest rest.
fn sooner(before: Option<Error>, resting: Error) -> Error {
    let wait = |error: &Error| match error {
        Error::Resting { retry_after, .. } => Some(*retry_after),
        _ => None,
    };
    match before {
        Some(before) if wait(&before) <= wait(&resting) => before,
        _ => resting,
    }
}
