//! What else is recorded: refusals, sessions, configuration, the process itself. Nothing here can hold a secret.

use std::net::SocketAddr;

use crate::authn::Caller;
use crate::budget::Alert;
use crate::cc::{AgentId, GuidTag, Retcode};
use crate::policy::Authorized;
use crate::route::{Arrival, Download, Seat};

/// A request that was refused after a token was seen, for another reason than the policy's.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// How the request came in.
    pub arrival: &'a Arrival,
    /// Who asked, where the token was verified.
    pub caller: Option<&'a Caller>,
    /// What was asked for, where the request was well formed.
    pub download: Option<&'a Download>,
    /// What was asked for, where it was a call about a seat.
    pub seat: Option<Seat>,
    /// The policy's yes, where it had come to that. It stands in for `caller` and `download`.
    pub authorized: Option<&'a Authorized>,
    /// The problem's `code`.
    pub code: &'static str,
    /// Which limit was reached, where that is why.
    pub limit: Option<&'static str>,
    /// The result code that the gateway gave.
    pub retcode: Option<&'a Retcode>,
}

/// Something that is no download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The process serves.
    Started {
        /// Version of ccgate.
        version: &'static str,
        /// SHA-256 of the configuration, in hex.
        config_hash: String,
    },
    /// A session changed.
    Session {
        /// Whose session.
        agent: AgentId,
        /// What happened to it.
        change: SessionChange,
        /// The fingerprint of its Guid, where there is one.
        guid: Option<GuidTag>,
        /// The result code that the gateway gave.
        retcode: Option<Retcode>,
        /// A word on the circumstances: the form of a sign-in, the cause of a loss.
        detail: Option<&'static str>,
    },
    /// An operator looks at sessions, or is about to end one, or has changed the log level. What becomes of a session is a record
    /// of its own.
    Admin {
        /// What is asked for.
        deed: AdminDeed,
        /// Whose session; `None`: all.
        agent: Option<AgentId>,
        /// The other end of the connection.
        peer: SocketAddr,
        /// SHA-256 of the certificate that it showed, in hex.
        certificate: Option<String>,
    },
    /// Somebody reads the log.
    Read {
        /// With which command.
        command: String,
        /// What was asked for, as it was typed.
        arguments: String,
        /// Who.
        by: Person,
    },
    /// Somebody is about to use a budget up.
    Budget(Alert),
    /// The configuration changed, or should have.
    Config {
        /// What happened to it.
        change: ConfigChange,
        /// SHA-256 of the configuration, in hex.
        hash: String,
        /// How many configurations have been in force, this one included.
        generation: u64,
        /// Why it was refused. Never a value of it.
        reason: Option<String>,
    },
}

/// Who does something to the log, as far as it can be known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Person {
    /// The name that they give; nobody vouches for it.
    pub name: Option<String>,
    /// The user id of the process that writes the record itself.
    pub uid: Option<u32>,
    /// The other end of the connection, where they came through the admin plane.
    pub peer: Option<SocketAddr>,
    /// SHA-256 of the certificate that they showed there, in hex.
    pub certificate: Option<String>,
}

/// What happened to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionChange {
    /// The agent was signed in.
    SignedIn,
    /// A sign-in that throws out whoever holds the agent is about to be sent.
    Forced,
    /// A sign-in or sign-out failed, or the gateway refuses what the session is used for.
    Refused,
    /// The account is not tried again before its configuration changes.
    Barred,
    /// The gateway replaced the Guid.
    Rotated,
    /// The gateway has forgotten the session.
    Lost,
    /// The agent was signed out.
    SignedOut,
    /// The agent's own app signed it in.
    DeskSignedIn,
    /// The agent's own app signed it out.
    DeskSignedOut,
    /// A session was found that lives: no sign-in was needed.
    Resumed,
    /// The session went to another process.
    HandedOver,
}

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminDeed {
    /// To see sessions.
    SessionsRead,
    /// To sign an agent out.
    SessionSignOut,
    /// To have more or less of the program's own log: the level that is set now; `None`: it was refused.
    LogLevel(Option<&'static str>),
}

/// What happened to the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigChange {
    /// It is in force.
    Loaded,
    /// It was refused; the one before stays in force.
    Refused,
}

impl Event {
    /// The event's name in its record.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Session { change, .. } => match change {
                SessionChange::SignedIn => "session.signed_in",
                SessionChange::Forced => "session.forced",
                SessionChange::Refused => "session.refused",
                SessionChange::Barred => "session.barred",
                SessionChange::Rotated => "session.rotated",
                SessionChange::Lost => "session.lost",
                SessionChange::SignedOut => "session.signed_out",
                SessionChange::Resumed => "session.resumed",
                SessionChange::HandedOver => "session.handed_over",
                SessionChange::DeskSignedIn => "session.desk_signed_in",
                SessionChange::DeskSignedOut => "session.desk_signed_out",
            },
            Self::Admin { deed: AdminDeed::SessionsRead, .. } => "admin.sessions_read",
            Self::Admin { deed: AdminDeed::SessionSignOut, .. } => "admin.session_sign_out",
            Self::Admin { deed: AdminDeed::LogLevel(_), .. } => "admin.log_level",
            Self::Read { .. } => "audit.read",
            Self::Budget(_) => "budget.alert",
            Self::Config { change: ConfigChange::Loaded, .. } => "config.loaded",
            Self::Config { change: ConfigChange::Refused, .. } => "config.refused",
        }
    }
}
