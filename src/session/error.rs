//! Why there is no session for a request. It knows stable codes, never HTTP statuses.

use std::sync::Arc;
use std::time::Duration;

use super::store::{self, Trouble};
use super::{BarCause, accounts, pace, upstream};
use crate::cc::Retcode;

/// Why there is no session.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is no account file for the agent.
    #[error("there is no account for the agent")]
    AccountMissing,
    /// There is an account file, but it can't be used.
    #[error("the agent's account file cannot be used")]
    AccountUnusable(#[source] Arc<accounts::Error>),
    /// The gateway refused the account; it is not tried again until its file changes.
    #[error("the account is refused: {cause}")]
    AccountRejected {
        /// What is wrong with it.
        cause: BarCause,
    },
    /// `100-002`: somebody is signed in as the agent. After a crash or a sign-in that timed out this is our own ghost,
    /// which the gateway forgets after its `MAXTIME` (120 s).
    #[error("the agent is signed in elsewhere")]
    AgentBusy {
        /// When the next try is made for whoever asks then.
        retry_after: Duration,
    },
    /// `000-004`, `100-003`: the gateway is switching over or lacks a resource.
    #[error("the upstream is switching over")]
    Switching {
        /// Which of the two.
        retcode: Retcode,
        /// When the next try is made for whoever asks then.
        retry_after: Duration,
    },
    /// The sign-in failed otherwise.
    #[error("signing in failed")]
    Upstream {
        /// What went wrong; shared by all who waited.
        source: Arc<upstream::Error>,
        /// When the next try is made for whoever asks then.
        retry_after: Duration,
    },
    /// The sign-in failed at another replica, which tries again then.
    #[error("signing in failed at another replica")]
    Elsewhere {
        /// What went wrong there.
        trouble: Trouble,
        /// When the next try is made for whoever asks then.
        retry_after: Duration,
    },
    /// Whether the agent is this process's to sign in cannot be known.
    #[error("who owns the agent's session cannot be known")]
    Store {
        /// What the store said.
        #[source]
        source: store::Error,
    },
    /// Too many sign-ins are made at this time, over all replicas.
    #[error("too many sign-ins at this time")]
    TooManySignIns {
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// The gateway did not sign the agent out, or did not say so.
    #[error("the gateway did not sign the agent out")]
    NotSignedOut,
    /// There is no session to sign out here.
    #[error("no session of the agent is owned by this process")]
    NotOwned,
    /// The agent's own app is not signed in through ccgate.
    #[error("the agent's own app is not signed in through here")]
    NoDesk,
    /// A sign-in of the agent's own app is under way, and one at a time is made.
    #[error("a sign-in of the agent's own app is under way")]
    DeskSigningIn,
    /// As many requests wait for a session of this agent as may.
    #[error("too many requests wait for a session of the agent")]
    TooManyWaiters,
    /// As many agents have sessions as may.
    #[error("too many agents have sessions")]
    TooManyAgents,
    /// No session within `lease_timeout`. What is under way goes on, for the next who ask.
    #[error("no session in time")]
    Timeout,
    /// The configuration names another gateway since the request began: the session is there, and the request is not.
    #[error("the agent's session is at another gateway since the request began")]
    Moved,
    /// The agent's task ended without an answer: a defect of ours.
    #[error("the agent's session was interrupted")]
    Interrupted,
    /// The process ends; nothing signs in any more.
    #[error("the process is shutting down")]
    ShuttingDown,
}

impl Error {
    /// This process may not own the agent any more, and the store has not said otherwise.
    pub(super) fn tenure_ended() -> Self {
        let (why, retry_after) = ("it has not renewed this process's tenure in time", Duration::from_secs(1));
        Self::Store { source: store::Error::Unavailable { why, source: None, retry_after } }
    }

    /// The stable, machine-readable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AccountMissing => "account_missing",
            Self::AccountUnusable(_) => "account_unusable",
            Self::AccountRejected { .. } => "account_rejected",
            Self::AgentBusy { .. } => "agent_busy",
            Self::Switching { .. } | Self::Moved => "upstream_switching",
            Self::Upstream { source, .. } => match **source {
                upstream::Error::Resting { why: upstream::Rest::Switching, .. } => "upstream_switching",
                upstream::Error::Unreachable { .. }
                | upstream::Error::Closed { .. }
                | upstream::Error::Resting { .. } => "upstream_unreachable",
                upstream::Error::Untrusted { .. } => "upstream_untrusted",
                upstream::Error::Timeout => "upstream_timeout",
                upstream::Error::Truncated { .. } | upstream::Error::Protocol(_) | upstream::Error::Status(_) => {
                    "upstream_protocol"
                }
                upstream::Error::Refused { .. } => "upstream_refused",
            },
            Self::Elsewhere { trouble, .. } => match trouble {
                Trouble::AgentBusy => "agent_busy",
                Trouble::Switching(_) => "upstream_switching",
                Trouble::Refused(_) => "upstream_refused",
                Trouble::Unreachable => "upstream_unreachable",
                Trouble::Untrusted => "upstream_untrusted",
                Trouble::Timeout => "upstream_timeout",
                Trouble::Protocol => "upstream_protocol",
            },
            Self::Store { .. } => "store_unavailable",
            Self::NotOwned => "session_not_owned",
            Self::NotSignedOut => "sign_out_failed",
            Self::TooManyWaiters | Self::TooManyAgents | Self::TooManySignIns { .. } => "sessions_exhausted",
            Self::NoDesk => "not_signed_in",
            Self::DeskSigningIn => "sign_in_under_way",
            Self::Timeout => "upstream_timeout",
            Self::Interrupted => "internal_error",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// The result code that the gateway gave, now or when the refusal that still stands came about.
    pub fn retcode(&self) -> Option<Retcode> {
        match self {
            Self::AgentBusy { .. } => Retcode::parse("100-002"),
            Self::AccountRejected { cause } => cause.retcode(),
            Self::Switching { retcode, .. } | Self::Elsewhere { trouble: Trouble::Refused(retcode), .. } => {
                Some(retcode.clone())
            }
            Self::Upstream { source, .. } => source.retcode().cloned(),
            Self::Elsewhere { .. }
            | Self::Store { .. }
            | Self::TooManySignIns { .. }
            | Self::NotOwned
            | Self::NotSignedOut
            | Self::AccountMissing
            | Self::AccountUnusable(_)
            | Self::NoDesk
            | Self::DeskSigningIn
            | Self::TooManyWaiters
            | Self::TooManyAgents
            | Self::Timeout
            | Self::Moved
            | Self::Interrupted
            | Self::ShuttingDown => None,
        }
    }

    /// After how long it makes sense to ask again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::AgentBusy { retry_after }
            | Self::Switching { retry_after, .. }
            | Self::Upstream { retry_after, .. }
            | Self::Elsewhere { retry_after, .. }
            | Self::TooManySignIns { retry_after }
            | Self::Store { source: store::Error::Unavailable { retry_after, .. } } => Some(*retry_after),
            // Whoever asks next seeks the agent again, or by the configuration that is in force.
            Self::Store { source: store::Error::Superseded } | Self::Moved => Some(Duration::from_secs(1)),
            Self::NotOwned
            | Self::NotSignedOut
            | Self::AccountMissing
            | Self::AccountUnusable(_)
            | Self::AccountRejected { .. }
            | Self::NoDesk
            | Self::DeskSigningIn
            | Self::TooManyWaiters
            | Self::TooManyAgents
            | Self::Timeout
            | Self::Interrupted
            | Self::ShuttingDown => None,
        }
    }
}

impl From<pace::Error> for Error {
    fn from(error: pace::Error) -> Self {
        match error {
            pace::Error::Late => Self::TooManySignIns { retry_after: Duration::from_secs(5) },
            pace::Error::Store(source) => Self::Store { source },
        }
    }
}
