//! What happens to sessions, told to whoever keeps the record. It holds no password, of a Guid its
//! fingerprint only, and writes nothing.

use std::fmt;

use super::store::Kind;
use crate::cc::{AgentId, GuidTag, Meaning, Retcode, SignInForm};

/// Keeps the record of what happened to sessions, as `session.*` in the audit log.
///
/// Called from the agent's actor, so it must not block.
pub trait Journal: Send + Sync {
    /// Takes down one event. A forced sign-in is told before it is made, all others when they have happened.
    fn record(&self, agent: AgentId, event: SessionEvent);
}

/// One event in the life of an agent's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// About to throw out whoever is signed in as this agent.
    Forced {
        /// Who does it: ccgate, as the account says `takeover: true`, or the agent's own app.
        by: Kind,
    },
    /// Signed in.
    SignedIn {
        /// In which way.
        form: SignInForm,
        /// The fingerprint of its Guid.
        guid: GuidTag,
    },
    /// A session was found that lives: another process had signed it in and ended, or this one before it was started
    /// again. No sign-in was needed.
    Resumed {
        /// Who signed it in.
        kind: Kind,
        /// The fingerprint of its Guid.
        guid: GuidTag,
    },
    /// The session is another process's from now on; it lives.
    HandedOver {
        /// The fingerprint of its last Guid here.
        guid: GuidTag,
    },
    /// The agent's own app signed in.
    DeskSignedIn {
        /// In which way.
        form: SignInForm,
        /// The fingerprint of its Guid.
        guid: GuidTag,
    },
    /// The agent's own app signed out.
    DeskSignedOut {
        /// The fingerprint of its last Guid.
        guid: GuidTag,
    },
    /// A sign-in failed in a way that may pass; told once for each call, however many wait for it. What does not pass
    /// is [`SessionEvent::Barred`].
    SignInFailed {
        /// The stable code that those who wait are told.
        code: &'static str,
        /// The result code, where the gateway gave one.
        retcode: Option<Retcode>,
    },
    /// The Guid was replaced.
    Rotated {
        /// How often since the sign-in, from 1.
        count: u64,
        /// The fingerprint of the new one.
        guid: GuidTag,
    },
    /// The session is gone, or must be taken for gone.
    Lost {
        /// How that was seen.
        cause: LossCause,
        /// The fingerprint of its last Guid.
        guid: GuidTag,
    },
    /// Signed out: the gateway took it, or knows no such session, so none lives there.
    SignedOut {
        /// On what ground.
        why: SignOutCause,
        /// The fingerprint of its last Guid.
        guid: GuidTag,
    },
    /// A sign-out was refused or not answered: the session may live on.
    SignOutFailed {
        /// The result code, where the gateway gave one.
        retcode: Option<Retcode>,
        /// The fingerprint of its last Guid.
        guid: GuidTag,
    },
    /// The account is not tried again until its file changes.
    Barred {
        /// What is wrong with it.
        cause: BarCause,
    },
    /// A session that was made afresh after a `000-003` is refused with `000-003` too, so it is the right that is
    /// missing. Told once for each session.
    RightMissing {
        /// In which way it was signed in. Not every site may let a platform sign-in download.
        form: SignInForm,
    },
    /// Keep-alives are refused with `000-001`: `sessions.keep_alive` does not fit what the gateway is set to. The
    /// session ends when the gateway's `MAXTIME` is over.
    WrongKeepAlive,
}

#[cfg(test)]
impl SessionEvent {
    /// As `Debug` shows it, without the fingerprint, whose key is random.
    pub(super) fn shown(&self) -> String {
        let text = format!("{self:?}");
        if let Some((name, _)) = text.split_once(" { guid: ") {
            return name.to_owned();
        }
        text.find(", guid: ").and_then(|at| text.get(..at)).map(|kept| format!("{kept} }}")).unwrap_or(text)
    }

    /// The fingerprint that it carries.
    pub(super) fn tag(&self) -> Option<GuidTag> {
        match self {
            Self::SignedIn { guid, .. }
            | Self::Resumed { guid, .. }
            | Self::HandedOver { guid }
            | Self::DeskSignedIn { guid, .. }
            | Self::DeskSignedOut { guid }
            | Self::Rotated { guid, .. }
            | Self::Lost { guid, .. }
            | Self::SignedOut { guid, .. }
            | Self::SignOutFailed { guid, .. } => Some(*guid),
            _ => None,
        }
    }
}

/// How the loss of a session was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LossCause {
    /// `100-006` or `100-008`: the gateway knows no such session.
    Forgotten,
    /// `000-003`: the session may be gone, or may live without the right. It is signed out before a fresh sign-in.
    Refused,
    /// No keep-alive worked for the gateway's `MAXTIME`.
    Silent,
}

impl LossCause {
    /// What a refusal says about the session; `None` where it says nothing.
    pub fn of(retcode: &Retcode) -> Option<Self> {
        match retcode.meaning() {
            Meaning::SessionLost => Some(Self::Forgotten),
            Meaning::SessionOrRight => Some(Self::Refused),
            _ => None,
        }
    }

    /// The word for it in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forgotten => "forgotten",
            Self::Refused => "refused",
            Self::Silent => "silent",
        }
    }
}

/// On what ground a session was signed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignOutCause {
    /// Nobody used it for `idle_sign_out`.
    Idle,
    /// It was lost and could still live upstream.
    Lost,
    /// The password must be changed before the session can be used.
    MustChangePassword,
    /// The process ends.
    Shutdown,
    /// An operator asked for it.
    Operator,
    /// Another process owns the agent by now and does not know this session.
    Superseded,
    /// The agent's own app signs in, and an agent has one session.
    Desk,
}

impl SignOutCause {
    /// The word for it in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Lost => "lost",
            Self::MustChangePassword => "must_change_password",
            Self::Shutdown => "shutdown",
            Self::Operator => "operator",
            Self::Superseded => "superseded",
            Self::Desk => "desk",
        }
    }
}

/// What is wrong with an account that the gateway has refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BarCause {
    /// `100-004`. Repeated tries would lock the account.
    WrongPassword,
    /// Signed in, but the password must be changed first.
    MustChangePassword,
    /// `100-001`, `100-011` to `100-013`: the sign-in parameters are wrong, the phone number for one.
    BadParameters(Retcode),
}

impl BarCause {
    /// The result code that said so; `None` where the sign-in itself succeeded.
    pub fn retcode(&self) -> Option<Retcode> {
        match self {
            Self::WrongPassword => Retcode::parse("100-004"),
            Self::MustChangePassword => None,
            Self::BadParameters(retcode) => Some(retcode.clone()),
        }
    }
}

impl fmt::Display for BarCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongPassword => f.write_str("wrong user name or password"),
            Self::MustChangePassword => f.write_str("the password must be changed first"),
            Self::BadParameters(retcode) => write!(f, "the sign-in parameters are refused ({retcode})"),
        }
    }
}
