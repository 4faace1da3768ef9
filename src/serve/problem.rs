//! The only place that turns our errors into HTTP: one status and one stable code for each, none forgotten.
//!
//! Matches here have no wildcard over our own errors, so a new failure must choose its status.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::failure::Failure;
use super::refusal::Reason as HeadRefused;
use super::seat::BodyError;
use crate::budget::{Budget, Exceeded, Limit};
use crate::cc::{Meaning, Retcode};
use crate::policy::{NotYourSeat, Reason};
use crate::route::RequestId;
use crate::session::store::Trouble;
use crate::upstream::DeskSignInError;
use crate::{authn, route, session, upstream};

/// A wait that we can't know better: long enough not to be a storm, short enough for a person.
const RETRY_SOON: Duration = Duration::from_secs(5);

/// A failure as the caller sees it (RFC 9457). It repeats nothing that the caller or the upstream sent, but for the
/// result code, which has a grammar.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: Cow<'static, str>,
    title: &'static str,
    detail: Cow<'static, str>,
    retcode: Option<Retcode>,
    retry_after: Option<Duration>,
    content_range: Option<HeaderValue>,
    allow: Option<&'static str>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a RequestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    retcode: Option<&'a Retcode>,
}

impl Problem {
    fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (code, detail) = (code.into(), detail.into());
        Self { status, code, title, detail, retcode: None, retry_after: None, content_range: None, allow: None }
    }

    const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The code where it is one of ours; a rule's own word is none.
    pub(super) const fn stable_code(&self) -> &'static str {
        match self.code {
            Cow::Borrowed(code) => code,
            Cow::Owned(_) => "refused",
        }
    }

    /// The answer: `application/problem+json`, never cached.
    pub(super) fn response(&self, request_id: &RequestId) -> Response<Bytes> {
        let document = Document {
            r#type: format!("urn:ccgate:problem:{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: &self.code,
            request_id,
            retcode: self.retcode.as_ref(),
        };
        // Strings and numbers only; an empty body is still an honest status.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if let Some(range) = &self.content_range {
            headers.insert(CONTENT_RANGE, range.clone());
        }
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, self.challenge());
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static(self.allow.unwrap_or("GET")));
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            // A head that is not canonical may be followed by bytes that are not what they seem.
            StatusCode::BAD_REQUEST
            | StatusCode::EXPECTATION_FAILED
            | StatusCode::URI_TOO_LONG
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }

    /// RFC 6750 section 3: no error code where no token came.
    fn challenge(&self) -> HeaderValue {
        if self.code == "token_missing" {
            HeaderValue::from_static("Bearer realm=\"ccgate\"")
        } else {
            HeaderValue::from_static("Bearer realm=\"ccgate\", error=\"invalid_token\"")
        }
    }
}

impl From<&Failure> for Problem {
    fn from(failure: &Failure) -> Self {
        let mut problem = match failure {
            Failure::Route(error) => of_route(error),
            Failure::Caller(error) => of_caller(error),
            Failure::Denied(denied) => of_denied(denied.reason()),
            Failure::NotYourSeat => Self::new(
                StatusCode::FORBIDDEN,
                NotYourSeat::REASON,
                "Not allowed",
                "Only the agent that the token names signs in, polls and signs out at its seat.",
            ),
            Failure::Body(error) => of_body(error),
            Failure::SignIn(error) => of_sign_in(*error),
            Failure::Budget(exceeded) => of_exceeded(*exceeded),
            Failure::Overloaded => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "Too many downloads",
                "As many downloads are open as this gateway allows at once.",
            )
            .retry_after(RETRY_SOON),
            Failure::Session(error) => of_session(error),
            Failure::Audit(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "audit_unavailable",
                "The audit log cannot write",
                "Nothing is delivered without a durable record, and none can be written at the moment.",
            )
            .retry_after(RETRY_SOON),
            Failure::Upstream(error) => of_upstream(error),
            Failure::NoRight { .. } => Self::new(
                StatusCode::FORBIDDEN,
                "upstream_forbidden",
                "The call centre refuses",
                "CC-Gateway gives the agent no right to this, also in a fresh session. If no download works for any agent, \
                 the site may demand a full sign-in (sessions.sign_in: full).",
            ),
            Failure::RangeNotSatisfiable(range) => {
                let mut problem = Self::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "range_not_satisfiable",
                    "No such part",
                    "The recording has no bytes in the range that was asked for.",
                );
                problem.content_range.clone_from(range);
                problem
            }
            Failure::Panic => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Internal error",
                "This is a fault of the gateway. The request id leads to the log.",
            ),
        };
        problem.retcode = failure.retcode();
        problem
    }
}

/// What the HTTP library refuses before there is a request.
impl From<HeadRefused> for Problem {
    fn from(reason: HeadRefused) -> Self {
        let status = reason.status();
        match reason {
            HeadRefused::BadHead => {
                Self::new(status, "bad_request", "Bad request", "the request's head is not HTTP/1.1 (RFC 9112)")
            }
            HeadRefused::HeadTooLarge => {
                let detail = "the request's head has more than 64 fields or more than 32 KiB";
                Self::new(status, "head_too_large", "Head too large", detail)
            }
            HeadRefused::TargetTooLong => of_route(&route::Error::TargetTooLong),
        }
    }
}

fn of_exceeded(exceeded: Exceeded) -> Problem {
    let (status, title, detail) = match exceeded.limit {
        Limit::Budget(budget) => {
            let what = match budget {
                Budget::RecordingsPerHour => "as many recordings as you may in an hour",
                Budget::RecordingsPerDay => "as many recordings as you may in a day",
                Budget::BytesPerHour => "as many bytes as you may in an hour",
                Budget::BytesPerDay => "as many bytes as you may in a day",
            };
            (StatusCode::TOO_MANY_REQUESTS, "Budget used up", format!("You have taken {what} ({}).", budget.as_str()))
        }
        Limit::AtOncePerSubject => {
            let detail = "As many of your downloads run as may at once.".to_owned();
            (StatusCode::TOO_MANY_REQUESTS, "Too many at once", detail)
        }
        Limit::AtOncePerAgent => {
            let detail = "As many downloads run in this agent's session as may at once.".to_owned();
            (StatusCode::TOO_MANY_REQUESTS, "Too many at once", detail)
        }
        Limit::Memory => {
            let detail = "No more people can be counted at the moment.".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, "Too many people", detail)
        }
    };
    Problem::new(status, exceeded.limit.code(), title, detail).retry_after(exceeded.retry_after)
}

fn of_route(error: &route::Error) -> Problem {
    let detail = error.to_string();
    match error {
        route::Error::NotFound => Problem::new(StatusCode::NOT_FOUND, "not_found", "No such path", detail),
        route::Error::MethodNotAllowed(allowed) => {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let problem = Problem::new(status, "method_not_allowed", "Method not allowed", detail);
            Problem { allow: Some(allowed), ..problem }
        }
        route::Error::ExpectationFailed => {
            Problem::new(StatusCode::EXPECTATION_FAILED, "expectation_failed", "Expectation failed", detail)
        }
        route::Error::TargetTooLong => {
            Problem::new(StatusCode::URI_TOO_LONG, "target_too_long", "Target too long", detail)
        }
        route::Error::Head(_) => Problem::new(StatusCode::BAD_REQUEST, "bad_request", "Bad request", detail),
        route::Error::Missing(_) => {
            Problem::new(StatusCode::BAD_REQUEST, "parameter_missing", "Parameter missing", detail)
        }
        route::Error::Repeated(_) => {
            Problem::new(StatusCode::BAD_REQUEST, "parameter_repeated", "Parameter repeated", detail)
        }
        route::Error::Unknown(_) => {
            Problem::new(StatusCode::BAD_REQUEST, "parameter_unknown", "Parameter not known", detail)
        }
        route::Error::Value { .. } | route::Error::Contradiction(_) => {
            Problem::new(StatusCode::BAD_REQUEST, "parameter_invalid", "Parameter not valid", detail)
        }
    }
}

fn of_caller(error: &authn::Error) -> Problem {
    // The next level says which check failed; no level ever holds a part of the token.
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let detail = format!("{error}{cause}");
    let status = match error {
        authn::Error::Missing
        | authn::Error::Malformed(_)
        | authn::Error::Expired
        | authn::Error::Untrusted(_)
        | authn::Error::Claims(_)
        | authn::Error::Binding(_) => StatusCode::UNAUTHORIZED,
        authn::Error::KeysUnavailable { retry_after } => {
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), "Tokens cannot be verified", detail)
                .retry_after(*retry_after);
        }
    };
    Problem::new(status, error.code(), "Not authenticated", detail)
}

fn of_body(error: &BodyError) -> Problem {
    let detail = format!("{error}.");
    match error {
        BodyError::TooLarge => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Body too large", detail),
        BodyError::TooSlow => Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "Body too slow", detail),
        BodyError::Broken => Problem::new(StatusCode::BAD_REQUEST, "bad_request", "Bad request", detail),
    }
}

fn of_sign_in(error: DeskSignInError) -> Problem {
    let (code, title) = match error {
        DeskSignInError::NotJson => ("bad_request", "Bad request"),
        DeskSignInError::Unknown => ("parameter_unknown", "Parameter not known"),
        DeskSignInError::Repeated(_) => ("parameter_repeated", "Parameter repeated"),
        DeskSignInError::Missing(_) => ("parameter_missing", "Parameter missing"),
        DeskSignInError::Value { .. } => ("parameter_invalid", "Parameter not valid"),
        DeskSignInError::Push => ("desk_push_unsupported", "Push mode is not passed through"),
    };
    Problem::new(StatusCode::BAD_REQUEST, code, title, format!("{error}."))
}

fn of_denied(reason: &Reason) -> Problem {
    let (code, detail): (Cow<'static, str>, _) = match reason {
        Reason::NotYourRecording => ("not_your_recording".into(), "No rule gives you this recording."),
        Reason::PurposeRequired => {
            ("purpose_required".into(), "Say why in the Ccgate-Purpose header: 1 to 200 printable characters.")
        }
        Reason::OutsideWindow => {
            ("outside_window".into(), "The recording, or the time of day, is outside the window that the policy sets.")
        }
        Reason::PolicyError => (
            "policy_error".into(),
            "The policy could not be evaluated, so the answer is no. The operator has been told.",
        ),
        Reason::Custom(word) => (word.to_string().into(), "A rule of the operator's policy refuses this."),
    };
    Problem::new(StatusCode::FORBIDDEN, code, "Not allowed", detail)
}

fn of_session(error: &session::Error) -> Problem {
    let wait = error.retry_after().unwrap_or(RETRY_SOON);
    let unavailable = |title, detail: String| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), title, detail).retry_after(wait)
    };
    let detail = format!("{error}.");
    match error {
        session::Error::AccountMissing => unavailable("No account", detail),
        session::Error::AccountUnusable(_) => unavailable("Account not usable", detail),
        session::Error::AccountRejected { .. } => unavailable("Account rejected", detail),
        session::Error::AgentBusy { .. } => {
            Problem::new(StatusCode::CONFLICT, error.code(), "Agent signed in elsewhere", detail).retry_after(wait)
        }
        session::Error::DeskSigningIn => {
            Problem::new(StatusCode::CONFLICT, error.code(), "Sign-in under way", detail).retry_after(wait)
        }
        session::Error::NoDesk => Problem::new(StatusCode::CONFLICT, error.code(), "Not signed in", detail),
        session::Error::Switching { .. } | session::Error::Moved => unavailable("Switching over", detail),
        // Whatever the gateway holds against a sign-in, the caller is not at fault.
        session::Error::Upstream { source, .. } => match Arc::as_ref(source) {
            upstream::Error::Refused { .. } => upstream_refused(format!("{source}.")),
            other => of_upstream(other),
        }
        .retry_after(wait),
        session::Error::Elsewhere { trouble, .. } => of_trouble(trouble, detail).retry_after(wait),
        session::Error::Store { .. } => unavailable("Session store not available", detail),
        session::Error::TooManyWaiters | session::Error::TooManyAgents | session::Error::TooManySignIns { .. } => {
            unavailable("Overloaded", detail)
        }
        session::Error::NotOwned | session::Error::NotSignedOut => unavailable("Session not owned", detail),
        session::Error::Timeout => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, error.code(), "No session in time", detail)
        }
        session::Error::Interrupted => unavailable("Interrupted", detail),
        session::Error::ShuttingDown => unavailable("Shutting down", detail),
    }
}

/// What another replica was told by the gateway, as if it had been told here.
fn of_trouble(trouble: &Trouble, detail: String) -> Problem {
    let bad_gateway = |code, title, detail| Problem::new(StatusCode::BAD_GATEWAY, code, title, detail);
    match trouble {
        Trouble::AgentBusy => Problem::new(StatusCode::CONFLICT, "agent_busy", "Agent signed in elsewhere", detail),
        Trouble::Switching(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "upstream_switching", "Switching over", detail)
        }
        Trouble::Refused(_) => upstream_refused(detail),
        Trouble::Unreachable => bad_gateway("upstream_unreachable", "CC-Gateway not reachable", detail),
        Trouble::Untrusted => bad_gateway("upstream_untrusted", "CC-Gateway not trusted", detail),
        Trouble::Timeout => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "CC-Gateway too slow", detail)
        }
        Trouble::Protocol => bad_gateway("upstream_protocol", "CC-Gateway not understood", detail),
    }
}

fn of_upstream(error: &upstream::Error) -> Problem {
    let detail = format!("{error}.");
    match error {
        upstream::Error::Resting { why: upstream::Rest::Switching, retry_after } => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "upstream_switching", "Switching over", detail)
                .retry_after(*retry_after)
        }
        upstream::Error::Unreachable { .. } | upstream::Error::Closed { .. } | upstream::Error::Resting { .. } => {
            Problem::new(StatusCode::BAD_GATEWAY, "upstream_unreachable", "CC-Gateway not reachable", detail)
        }
        upstream::Error::Untrusted { .. } => {
            Problem::new(StatusCode::BAD_GATEWAY, "upstream_untrusted", "CC-Gateway not trusted", detail)
        }
        upstream::Error::Timeout => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "CC-Gateway too slow", detail)
        }
        upstream::Error::Truncated { .. } | upstream::Error::Protocol(_) | upstream::Error::Status(_) => {
            Problem::new(StatusCode::BAD_GATEWAY, "upstream_protocol", "CC-Gateway not understood", detail)
        }
        upstream::Error::Refused { retcode, .. } => of_retcode(retcode.meaning(), detail),
    }
}

fn of_retcode(meaning: Meaning, detail: String) -> Problem {
    match meaning {
        Meaning::Forbidden => {
            Problem::new(StatusCode::FORBIDDEN, "upstream_forbidden", "The call centre refuses", detail)
        }
        Meaning::NotFound => Problem::new(StatusCode::NOT_FOUND, "recording_not_found", "No such recording", detail),
        Meaning::BadRequest => {
            Problem::new(StatusCode::BAD_REQUEST, "upstream_bad_request", "The call centre does not take this", detail)
        }
        Meaning::TryLater => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "upstream_switching", "Switching over", detail)
                .retry_after(RETRY_SOON)
        }
        Meaning::Success
        | Meaning::SessionLost
        | Meaning::SessionOrRight
        | Meaning::AgentBusy
        | Meaning::WrongPassword
        | Meaning::WrongKeepAlive
        | Meaning::WrongAccount
        | Meaning::Other => upstream_refused(detail),
    }
}

fn upstream_refused(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "upstream_refused", "CC-Gateway refused", detail)
}
