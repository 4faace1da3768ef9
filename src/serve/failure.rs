//! Every way in which a request does not become a file, or a call about a seat an envelope.

use http::HeaderValue;

use super::seat::BodyError;
use crate::budget::Exceeded;
use crate::cc::{Meaning, Retcode};
use crate::policy::Denied;
use crate::{audit, authn, route, session, upstream};

/// Why a request is answered with a problem instead of a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the request is not well formed")]
    Route(#[from] route::Error),
    #[error("the caller is not known")]
    Caller(#[from] authn::Error),
    #[error("the policy refuses: {}", .0.reason())]
    Denied(Box<Denied>),
    #[error("the seat is another agent's")]
    NotYourSeat,
    #[error("the body of a sign-in was not read")]
    Body(#[from] BodyError),
    #[error("the body is no sign-in")]
    SignIn(#[from] upstream::DeskSignInError),
    #[error("there is no room")]
    Budget(#[from] Exceeded),
    #[error("as many downloads are open as may be")]
    Overloaded,
    #[error("there is no session")]
    Session(#[from] session::Error),
    #[error("the audit log cannot write")]
    Audit(#[from] audit::Error),
    #[error("the upstream gives no file")]
    Upstream(#[from] upstream::Error),
    /// `000-003` in a session that was fresh: the right is really missing.
    #[error("the upstream gives this agent no right")]
    NoRight { retcode: Retcode, message: String },
    #[error("the part that was asked for does not exist")]
    RangeNotSatisfiable(Option<HeaderValue>),
    #[error("the request panicked")]
    Panic,
}

impl Failure {
    /// The code of a refusal that comes after a yes of the policy and before an entry is opened.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::Budget(exceeded) => exceeded.limit.code(),
            Self::Session(error) => error.code(),
            _ => "refused",
        }
    }

    /// Which limit was reached, where that is why.
    pub(super) const fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Budget(exceeded) => Some(exceeded.limit.as_str()),
            _ => None,
        }
    }

    /// The gateway's result code, where it gave one.
    pub(super) fn retcode(&self) -> Option<Retcode> {
        match self {
            Self::Upstream(error) => error.retcode().cloned(),
            Self::NoRight { retcode, .. } => Some(retcode.clone()),
            Self::Session(error) => error.retcode(),
            _ => None,
        }
    }

    /// What the gateway answered, for the entry's end.
    pub(super) fn upstream_answer(&self) -> Option<audit::UpstreamAnswer> {
        let answer = |status, retcode: Option<&Retcode>, message: &str| audit::UpstreamAnswer {
            status,
            retcode: retcode.cloned(),
            message: message.to_owned(),
        };
        match self {
            Self::Upstream(upstream::Error::Refused { retcode, message }) | Self::NoRight { retcode, message } => {
                Some(answer(200, Some(retcode), message))
            }
            Self::Upstream(upstream::Error::Status(status)) => Some(answer(status.as_u16(), None, "")),
            Self::RangeNotSatisfiable(_) => Some(answer(416, None, "")),
            _ => None,
        }
    }

    /// How an entry ends that was opened for this request.
    pub(super) fn outcome(&self) -> audit::Outcome {
        use audit::FailReason;
        let reason = match self {
            Self::Upstream(error) => match error {
                upstream::Error::Unreachable { .. }
                | upstream::Error::Closed { .. }
                | upstream::Error::Resting { .. } => FailReason::UpstreamUnreachable,
                upstream::Error::Untrusted { .. } => FailReason::UpstreamUntrusted,
                upstream::Error::Timeout => FailReason::UpstreamTimeout,
                upstream::Error::Truncated { .. } => FailReason::UpstreamTruncated,
                upstream::Error::Protocol(_) | upstream::Error::Status(_) => FailReason::UpstreamProtocol,
                upstream::Error::Refused { retcode, .. } if retcode.meaning() == Meaning::SessionLost => {
                    FailReason::SessionLost
                }
                upstream::Error::Refused { .. } => FailReason::UpstreamRefused,
            },
            Self::NoRight { .. } => FailReason::UpstreamRefused,
            Self::RangeNotSatisfiable(_) => FailReason::RangeNotSatisfiable,
            Self::Panic => FailReason::Panic,
            Self::Session(_) => FailReason::SessionUnavailable,
            // Nothing of this happens after an entry was opened.
            Self::Route(_)
            | Self::Caller(_)
            | Self::Denied(_)
            | Self::NotYourSeat
            | Self::Body(_)
            | Self::SignIn(_)
            | Self::Budget(_)
            | Self::Overloaded
            | Self::Audit(_) => FailReason::Dropped,
        };
        audit::Outcome::Failed { reason }
    }
}
