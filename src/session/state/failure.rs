//! What a failed sign-in means for the next one. It keeps nothing.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::cc::{Meaning, Retcode};
use crate::session::journal::BarCause;
use crate::session::store::{self, Trouble};
use crate::session::{Error, upstream};

/// Why a sign-in failed that may work later.
#[derive(Debug)]
pub(in crate::session) enum Why {
    AgentBusy,
    Switching(Retcode),
    Upstream(Arc<upstream::Error>),
    /// Another replica was told so.
    Elsewhere(Trouble),
    /// Another replica ended while it may have been signing in.
    LeftInDoubt,
}

impl Why {
    pub(super) fn refusal(&self, retry_after: Duration) -> Error {
        match self {
            Self::AgentBusy => Error::AgentBusy { retry_after },
            Self::Switching(retcode) => Error::Switching { retcode: retcode.clone(), retry_after },
            Self::Upstream(source) => Error::Upstream { source: Arc::clone(source), retry_after },
            Self::Elsewhere(trouble) => told(trouble, retry_after),
            Self::LeftInDoubt => Error::Store {
                source: store::Error::Unavailable {
                    why: "the replica that was signing the agent in has ended",
                    source: None,
                    retry_after,
                },
            },
        }
    }

    /// As other replicas are told; `None`: they know.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::AgentBusy => Some(Trouble::AgentBusy),
            Self::Switching(retcode) => Some(Trouble::Switching(retcode.clone())),
            // Each process finds out by itself.
            Self::Upstream(error) if matches!(**error, upstream::Error::Resting { .. }) => None,
            Self::Upstream(error) => Some(trouble(error)),
            Self::Elsewhere(trouble) => Some(trouble.clone()),
            Self::LeftInDoubt => None,
        }
    }
}

/// What another replica's trouble is to whoever asks here.
pub(super) fn told(trouble: &Trouble, retry_after: Duration) -> Error {
    match trouble {
        Trouble::AgentBusy => Error::AgentBusy { retry_after },
        Trouble::Switching(retcode) => Error::Switching { retcode: retcode.clone(), retry_after },
        other => Error::Elsewhere { trouble: other.clone(), retry_after },
    }
}

fn trouble(error: &upstream::Error) -> Trouble {
    match error {
        upstream::Error::Refused { retcode, .. } => Trouble::Refused(retcode.clone()),
        upstream::Error::Unreachable { .. } | upstream::Error::Closed { .. } | upstream::Error::Resting { .. } => {
            Trouble::Unreachable
        }
        upstream::Error::Untrusted { .. } => Trouble::Untrusted,
        upstream::Error::Timeout => Trouble::Timeout,
        upstream::Error::Truncated { .. } | upstream::Error::Protocol(_) | upstream::Error::Status(_) => {
            Trouble::Protocol
        }
    }
}

impl Trouble {
    /// Whether the gateway may have been at a sign-in still when this was told.
    pub(super) const fn is_no_answer(&self) -> bool {
        match self {
            Self::Unreachable | Self::Untrusted | Self::Timeout | Self::Protocol => true,
            Self::AgentBusy | Self::Switching(_) | Self::Refused(_) => false,
        }
    }
}

/// 1 s to 60 s, doubling: a random part of up to the delay itself is added to 1 s, 2 s, … 30 s.
pub(super) fn backoff(seed: u64) -> backon::ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(Duration::from_secs(30))
        .with_jitter()
        .with_jitter_seed(seed)
        .without_max_times()
        .build()
}

pub(super) fn meaning(error: &upstream::Error) -> Option<Meaning> {
    match error {
        upstream::Error::Refused { retcode, .. } => Some(retcode.meaning()),
        _ => None,
    }
}

/// What bars an account; `None` for what may pass.
pub(super) fn bar_cause(error: &upstream::Error) -> Option<BarCause> {
    let upstream::Error::Refused { retcode, .. } = error else { return None };
    match retcode.meaning() {
        Meaning::WrongPassword => Some(BarCause::WrongPassword),
        Meaning::WrongAccount => Some(BarCause::BadParameters(retcode.clone())),
        _ => None,
    }
}

/// Whether the gateway may have signed the agent in, or may still be about to: it was asked and gave no answer of its
/// own that could be read.
pub(super) fn may_have_worked(error: &upstream::Error) -> bool {
    match error {
        upstream::Error::Timeout
        | upstream::Error::Closed { .. }
        | upstream::Error::Truncated { .. }
        | upstream::Error::Protocol(_) => true,
        upstream::Error::Status(status) => status.is_server_error(),
        // An alert can come behind the request.
        upstream::Error::Untrusted { .. } => !error.is_unsent(),
        upstream::Error::Unreachable { .. } | upstream::Error::Refused { .. } | upstream::Error::Resting { .. } => {
            false
        }
    }
}
