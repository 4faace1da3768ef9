//! Calls about a seat: an agent's own app signs in, polls, beats and signs out through us. It gets the gateway's
//! envelopes and never a Guid; no byte of its request goes on but what was parsed.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::Live;
use super::failure::Failure;
use super::pipeline::{Asked, Trail};
use super::problem::Problem;
use crate::audit::Refusal;
use crate::authn::{Caller, Decision};
use crate::cc::{Meaning, SignInForm};
use crate::policy::{NotYourSeat, Seated};
use crate::route::{self, Arrival, Seat, SeatAct};
use crate::session::{Lease, LossCause};
use crate::upstream::{DeskAnswer, DeskSignIn};

/// For the whole body of a sign-in to come. It fits into one packet or two.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a sign-in's body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("a sign-in's body has at most {} bytes", DeskSignIn::BYTES_MAX)]
    TooLarge,
    #[error("the body did not come in time")]
    TooSlow,
    #[error("the body broke off or is not framed well")]
    Broken,
}

impl Live {
    /// What a path is asked for about a seat; `None` also where such calls are not passed through.
    pub(super) fn seat_act(&self, uri: &http::Uri) -> Option<SeatAct> {
        if self.pass_through { route::seat_act(uri) } else { None }
    }

    /// Answers one call about a seat with the gateway's envelope, or says why not.
    ///
    /// Cancel safe: when the client goes, a poll or beat upstream ends with it; a sign-in or sign-out goes on in the
    /// agent's actor.
    pub(super) async fn seat(
        &self,
        head: &Parts,
        body: Incoming,
        arrival: Arrival,
        trail: &mut Trail,
    ) -> Result<Bytes, Failure> {
        let seat = route::parse_seat(head.version, &head.method, &head.uri, &head.headers)?;
        trail.agent = Some(seat.agent());
        let caller = self.caller(head, &arrival, Asked::Seat(seat)).await?;
        let seated = self.seated(caller, seat, arrival).await?;
        let answer = match seated.act() {
            SeatAct::SignIn(form) => self.sign_in(&seated, form, body).await,
            SeatAct::SignOut => self.sign_out(&seated).await,
            SeatAct::Handshake => self.handshake(&seated).await,
            SeatAct::Events => self.events(&seated).await,
        };
        Ok(answer?.into_body()?)
    }

    async fn seated(&self, caller: Caller, seat: Seat, arrival: Arrival) -> Result<Seated, Failure> {
        match self.policy.seat(caller, seat, arrival) {
            Ok(seated) => {
                self.decisions.decision(Decision::Allow, "permitted");
                Ok(seated)
            }
            Err(refused) => {
                self.decisions.decision(Decision::Deny, NotYourSeat::REASON);
                self.audit.not_your_seat(&refused).await;
                Err(Failure::NotYourSeat)
            }
        }
    }

    async fn sign_in(&self, seated: &Seated, form: SignInForm, body: Incoming) -> Result<DeskAnswer, Failure> {
        let signing_in = async {
            let sign_in = DeskSignIn::parse(form, &read(body).await?)?;
            Ok(self.sessions.desk_sign_in(seated.agent(), sign_in).await?)
        };
        match signing_in.await {
            Ok(answer) => Ok(answer),
            Err(failure) => Err(self.refuse_seat(seated, failure).await),
        }
    }

    async fn sign_out(&self, seated: &Seated) -> Result<DeskAnswer, Failure> {
        match self.sessions.desk_sign_out(seated.agent()).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.refuse_seat(seated, error.into()).await),
        }
    }

    // A poll or a beat that fails is no record: there is one every few seconds, and nobody was refused anything.

    async fn handshake(&self, seated: &Seated) -> Result<DeskAnswer, Failure> {
        let lease = self.sessions.desk(seated.agent()).await?.at(&self.upstream)?;
        let answer = self.gateway.desk_heartbeat(seated.agent(), lease.guid()).await?;
        Ok(heard(&lease, answer).await)
    }

    async fn events(&self, seated: &Seated) -> Result<DeskAnswer, Failure> {
        let lease = self.sessions.desk(seated.agent()).await?.at(&self.upstream)?;
        let answer = self.gateway.desk_events(seated.agent(), lease.guid()).await?;
        Ok(heard(&lease, answer).await)
    }

    /// Records that a sign-in or sign-out of an agent's own did not come about.
    async fn refuse_seat(&self, seated: &Seated, failure: Failure) -> Failure {
        let retcode = failure.retcode();
        let refusal = Refusal {
            arrival: seated.arrival(),
            caller: Some(seated.caller()),
            download: None,
            seat: Some(seated.seat()),
            authorized: None,
            code: Problem::from(&failure).stable_code(),
            limit: None,
            retcode: retcode.as_ref(),
        };
        self.audit.refused(refusal).await;
        failure
    }
}

/// Tells the session what the answer says about it.
async fn heard(lease: &Lease, mut answer: DeskAnswer) -> DeskAnswer {
    if answer.retcode.meaning() == Meaning::Success {
        lease.alive();
    } else if let Some(cause) = LossCause::of(&answer.retcode) {
        lease.lost(cause);
    }
    if let Some(guid) = answer.guid.take() {
        // The app's next call may come through another process.
        lease.learned_by_all(guid).await;
    }
    answer
}

async fn read(body: Incoming) -> Result<Bytes, BodyError> {
    let whole = Limited::new(body, DeskSignIn::BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIMEOUT, whole).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_broken)) => Err(BodyError::Broken),
        Err(_elapsed) => Err(BodyError::TooSlow),
    }
}
