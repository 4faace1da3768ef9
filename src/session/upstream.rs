//! The face of the gateway's client that sessions need. It calls nobody: the client itself stands in for this file.

use http::StatusCode;
use secrecy::SecretString;

use crate::cc::{self, Guid, Retcode};

/// What a sign-in sends.
pub struct SignInRequest<'a> {
    /// Which of the three ways.
    pub form: cc::SignInForm,
    /// The account's password; can be empty.
    pub password: &'a SecretString,
    /// The phone that the agent is bound to.
    pub phone_number: Option<&'a str>,
    /// Given: push mode; else polling mode.
    pub callback: Option<&'a Callback>,
}

/// Where the gateway pushes events to.
#[derive(Clone)]
pub struct Callback {
    /// Address of the receiver.
    pub uri: String,
    /// What the gateway shows to the receiver.
    pub service_token: SecretString,
}

/// A sign-in that worked.
pub struct SignedIn {
    /// The session's Guid.
    pub guid: Guid,
    /// Days until the password expires; `None`: never.
    pub password_days_left: Option<u16>,
    /// The password must be changed before anything else.
    pub must_change_password: bool,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or one that broke off.
    #[error("the upstream cannot be reached")]
    Unreachable {
        /// What the network said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificate is not trusted.
    #[error("the upstream is not trusted")]
    Untrusted {
        /// What the verification said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("the upstream did not answer in time")]
    Timeout,
    /// The answer is not of the documented form.
    #[error("the upstream broke the protocol: {0}")]
    Protocol(&'static str),
    /// A status other than 200.
    #[error("the upstream answered with status {0}")]
    Status(StatusCode),
    /// A result code other than `0`.
    #[error("the upstream refused with {retcode}")]
    Refused {
        /// The code.
        retcode: Retcode,
        /// Free text: for the log and the audit record only.
        message: String,
    },
}
