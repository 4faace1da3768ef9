//! From a request's head to a [`Download`] or a [`Seat`], strictly. It never looks at identity and never repairs what it reads.

mod arrival;
mod download;
mod guard;
mod query;
mod range;
mod seat;
mod trace;

pub use arrival::{Arrival, Purpose, PurposeError, RequestId, Source, Ticket};
pub use download::Download;
pub(crate) use guard::TARGET_BYTES_MAX;
pub use range::ByteRange;
pub use seat::{Seat, SeatAct, parse_seat, seat_act};
pub use trace::TraceParent;

use http::{HeaderMap, Method, Uri, Version};

use crate::cc::Operation;
pub use crate::net::ClientCertificate;

/// Why a request is refused before anybody is asked who sent it. Its text is for the caller and repeats nothing of
/// the request but names that we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The path is none of those that are served.
    #[error("there is nothing at this path")]
    NotFound,
    /// The path is served; the method is not the one that it is served by.
    #[error("only {0} is served here")]
    MethodNotAllowed(&'static str),
    /// `Expect` is not supported: a download has no body to wait for.
    #[error("the Expect header is not supported")]
    ExpectationFailed,
    /// The request target is longer than any download's.
    #[error("the request target is longer than 4096 bytes")]
    TargetTooLong,
    /// The head or the path is not canonical.
    #[error("{0}")]
    Head(&'static str),
    /// A parameter is missing.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// A parameter is given twice, in whatever case of letters.
    #[error("the parameter {0} is given more than once")]
    Repeated(&'static str),
    /// There is a parameter that this download does not have.
    #[error("there is a parameter that this download does not have; it has: {0}")]
    Unknown(&'static str),
    /// A value is not of its parameter's grammar.
    #[error("the parameter {name} is not valid: {expected}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What is expected.
        expected: String,
    },
    /// Two parameters contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Reads a request's head.
///
/// Only what [`Download`] holds goes on from here; no other byte of the request has an effect. (RFC 9112 sections 3 and
/// 6 on request targets and message bodies, RFC 9110 section 7.2 on Host.)
pub fn parse(version: Version, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Download, Error> {
    guard::check(version, uri, headers)?;
    let (operation, agent) = download::path(uri.path())?;
    if method != Method::GET {
        return Err(Error::MethodNotAllowed("GET"));
    }
    guard::check_no_body(headers)?;
    download::read(operation, agent, uri.query().unwrap_or_default(), headers)
}

/// Which download a path belongs to, for labels; `None` for anything else.
pub fn operation(uri: &Uri) -> Option<Operation> {
    download::path(uri.path()).ok().map(|(operation, _agent)| operation)
}

#[cfg(test)]
mod tests;
