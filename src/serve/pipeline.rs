//! The flow: one request, one function. Each step consumes what the step before made; none can be left out or swapped.

use http::Response;
use http::request::Parts;
use tokio::time::Instant;

use super::Live;
use super::failure::Failure;
use super::spans::{Step, Steps};
use crate::audit::{By, Class, Delivery, End, EntryId, OpenEntry, Outcome, Refusal, SessionUse};
use crate::authn::{self, Caller, Decision};
use crate::budget::{Budgeted, Refused};
use crate::cc::{Kind, Meaning};
use crate::policy::Authorized;
use crate::relay::{self, RelayBody};
use crate::room::Place;
use crate::route::{self, Arrival, Download, Seat, TraceParent};
use crate::session::{Lease, LossCause};
use crate::upstream::{self, Answer};

/// A file on its way to the client.
pub(super) struct Served {
    pub(super) response: Response<RelayBody>,
    pub(super) permit: Place,
}

/// What is known of a request that ended in a failure or a file: for the head's `Ccgate-Audit-Id` and the access line.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trail {
    pub(super) entry: Option<EntryId>,
    pub(super) agent: Option<crate::cc::AgentId>,
    pub(super) steps: Steps,
    /// Whether the steps are told to anybody.
    traced: bool,
}

/// What a request asks for, for the record of a token that is refused.
#[derive(Clone, Copy)]
pub(super) enum Asked<'a> {
    Download(&'a Download),
    Seat(Seat),
}

impl Trail {
    /// The step is over. Only where that is told the clock is looked at.
    fn over(&mut self, step: Step, start: Instant) {
        if self.traced {
            self.steps.over(step, start.elapsed());
        }
    }
}

impl Live {
    /// Answers one request with a file, or says why not.
    ///
    /// Cancel safe: when the client goes, an open entry ends as `aborted`, and a sign-in under way goes on for others.
    pub(super) async fn download(
        &self,
        head: &Parts,
        arrival: Arrival,
        start: Instant,
        trail: &mut Trail,
    ) -> Result<Served, Failure> {
        let download = route::parse(head.version, &head.method, &head.uri, &head.headers)?;
        trail.agent = Some(download.agent());
        trail.traced = self.tracing.is_some() && arrival.trace.as_ref().is_some_and(TraceParent::is_sampled);
        let caller = self.caller(head, &arrival, Asked::Download(&download)).await?;
        trail.over(Step::Authenticate, start);
        let authorized = self.authorize(caller, download, arrival).await?;
        trail.over(Step::Authorize, start);
        let budgeted = self.reserve(authorized).await?;
        let (permit, lease) = match self.means(budgeted.authorized()).await {
            Ok(means) => means,
            Err(failure) => return Err(self.refuse(budgeted.authorized(), failure).await),
        };
        trail.over(Step::Session, start);
        let mut entry = self.audit.open(budgeted, used(&lease)).await?;
        trail.over(Step::Audit, start);
        trail.entry = Some(*entry.id());
        entry.asking(self.relay.stop.clone());
        let asking = Asking::new(&self.relay.metrics, entry.download().file().kind());
        let fetched = self.fetch(&mut entry, lease).await;
        trail.over(Step::Upstream, start);
        match fetched {
            Ok((Answer::File(file), lease)) => {
                asking.answered();
                Ok(Served { response: self.relay.response(entry, file, lease.hold(), start), permit })
            }
            Ok((Answer::RangeNotSatisfiable(range), _lease)) => {
                Err(asking.failed(entry, start, Failure::RangeNotSatisfiable(range)))
            }
            Err(failure) => Err(asking.failed(entry, start, failure)),
        }
    }

    pub(super) async fn caller(&self, head: &Parts, arrival: &Arrival, asked: Asked<'_>) -> Result<Caller, Failure> {
        let error = match self.authenticator.authenticate(&head.headers, arrival.source.certificate.as_deref()).await {
            Ok(caller) => return Ok(caller),
            Err(error) => error,
        };
        if !matches!(error, authn::Error::Missing) {
            let (download, seat) = match asked {
                Asked::Download(download) => (Some(download), None),
                Asked::Seat(seat) => (None, Some(seat)),
            };
            let code = error.code();
            let (limit, retcode) = (None, None);
            let refusal = Refusal { arrival, caller: None, download, seat, authorized: None, code, limit, retcode };
            self.audit.refused(refusal).await;
        }
        Err(error.into())
    }

    async fn authorize(&self, caller: Caller, download: Download, arrival: Arrival) -> Result<Authorized, Failure> {
        match self.policy.authorize(caller, download, arrival) {
            Ok(authorized) => {
                self.decisions.decision(Decision::Allow, "permitted");
                Ok(authorized)
            }
            Err(denied) => {
                self.decisions.decision(Decision::Deny, denied.reason().label());
                self.audit.denied(&denied).await;
                Err(Failure::Denied(Box::new(denied)))
            }
        }
    }

    /// Room in the caller's budgets, and among the downloads at once: before the session, so that nobody is signed in for a
    /// download that has to wait, and held while one is awaited.
    async fn reserve(&self, authorized: Authorized) -> Result<Budgeted, Failure> {
        match self.budgets.reserve(authorized) {
            Ok(budgeted) => Ok(budgeted),
            Err(Refused { authorized, exceeded }) => Err(self.refuse(&authorized, exceeded.into()).await),
        }
    }

    /// What a download needs beside the permission: a session, and a place among the open ones. In this order, so that
    /// those who wait for one agent's slow sign-in take no place from the others.
    async fn means(&self, authorized: &Authorized) -> Result<(Place, Lease), Failure> {
        let lease = self.sessions.lease(authorized.agent()).await?.at(&self.upstream)?;
        let permit = self.downloads.try_enter().ok_or(Failure::Overloaded)?;
        Ok((permit, lease))
    }

    /// Records a refusal that comes after a yes of the policy.
    async fn refuse(&self, authorized: &Authorized, failure: Failure) -> Failure {
        let retcode = failure.retcode();
        let refusal = Refusal {
            arrival: authorized.arrival(),
            caller: Some(authorized.caller()),
            download: Some(authorized.download()),
            seat: None,
            authorized: Some(authorized),
            code: failure.code(),
            limit: failure.limit(),
            retcode: retcode.as_ref(),
        };
        self.audit.refused(refusal).await;
        failure
    }

    /// Asks the upstream; once more with a fresh session where this one was lost, once more before that where only its
    /// Guid had been replaced meanwhile, and once more over another connection where this one closed before a whole head
    /// of an answer. The same entry covers all.
    async fn fetch(&self, entry: &mut OpenEntry, mut lease: Lease) -> Result<(Answer, Lease), Failure> {
        let (mut fresh_session, mut newer_guid, mut fresh_connection) = (false, false, false);
        loop {
            if !lease.is_fresh() {
                let tag = lease.tag();
                lease = lease.renewed().await?.at(&self.upstream)?;
                if lease.tag() != tag {
                    entry.session_replaced(SessionUse {
                        agent: lease.agent(),
                        tag: lease.tag(),
                        kind: lease.kind().as_str(),
                    });
                }
            }
            let error = match self.gateway.download(entry, lease.guid()).await {
                Ok(downloaded) => {
                    if let Some(guid) = downloaded.guid {
                        lease.learned(guid);
                    }
                    return Ok((downloaded.answer, lease));
                }
                Err(error) => error,
            };
            if error.may_retry() && !fresh_connection {
                fresh_connection = true;
                continue;
            }
            let Some(cause) = error.retcode().and_then(LossCause::of) else { return Err(error.into()) };
            if fresh_session {
                return Err(lost_again(error));
            }
            let (sign_in, tag) = (lease.sign_in(), lease.tag());
            lease = lease.reject(cause).await?.at(&self.upstream)?;
            // A newer Guid of the same sign-in says nothing about whether the session is gone.
            let rotated = lease.sign_in() == sign_in && lease.tag() != tag;
            fresh_session = newer_guid || !rotated;
            newer_guid = true;
            entry.session_replaced(used(&lease));
        }
    }
}

/// In whose session a download is made, for its records.
fn used(lease: &Lease) -> SessionUse {
    SessionUse { agent: lease.agent(), tag: lease.tag(), kind: lease.kind().as_str() }
}

/// Counts a download that ends before there is a body, which counts its own end.
struct Asking<'a> {
    metrics: &'a relay::Metrics,
    kind: Kind,
    /// What is counted when this is dropped: until there is an answer, the client's leaving.
    outcome: Option<&'static str>,
}

impl<'a> Asking<'a> {
    fn new(metrics: &'a relay::Metrics, kind: Kind) -> Self {
        Self { metrics, kind, outcome: Some(Outcome::Aborted { by: By::Client }.as_str()) }
    }

    /// The body has it from here.
    fn answered(mut self) {
        self.outcome = None;
    }

    /// Gives an entry its end where no byte was handed over.
    fn failed(mut self, entry: OpenEntry, start: Instant, failure: Failure) -> Failure {
        let range = entry.download().range().map(|range| range.to_string());
        let delivery = Delivery { class: Class::Error, range, ..Delivery::nothing(start.elapsed()) };
        let outcome = failure.outcome();
        self.outcome = Some(outcome.as_str());
        entry.close(End { outcome, upstream: failure.upstream_answer(), delivery });
        failure
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome {
            // As the entry's own end says after a panic.
            let outcome = if std::thread::panicking() { "failed" } else { outcome };
            self.metrics.ended(self.kind, outcome);
        }
    }
}

/// The same answer in a fresh session: `000-003` then means that the right is really missing.
fn lost_again(error: upstream::Error) -> Failure {
    match error {
        upstream::Error::Refused { retcode, message } if retcode.meaning() == Meaning::SessionOrRight => {
            tracing::warn!(
                %retcode,
                "refused in a fresh session: no right, or this site wants `sessions.sign_in: full` for downloads"
            );
            Failure::NoRight { retcode, message }
        }
        other => other.into(),
    }
}
