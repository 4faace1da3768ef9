//! What goes into the state machine and what comes out of it. Words only: nothing here decides.

use std::sync::Arc;

pub(in crate::session) use super::desk::{DeskEffect, DeskEvent};
use crate::cc::{Guid, SignInForm};
use crate::session::accounts::Account;
use crate::session::journal::{LossCause, SessionEvent};
pub(in crate::session) use crate::session::store::Version;
use crate::session::store::{self, Entry, Found, Retire, Retired};
use crate::session::{Error, upstream};

/// A Guid that the gateway refused.
#[derive(Debug, Clone)]
pub(in crate::session) struct Rejected {
    pub(in crate::session) version: Version,
    pub(in crate::session) guid: Arc<Guid>,
    pub(in crate::session) cause: LossCause,
}

/// What happened.
#[derive(Debug)]
pub(in crate::session) enum Event {
    /// Somebody waits for a session, maybe because a Guid was refused.
    Want { rejected: Option<Rejected> },
    /// The seek answered.
    Sought(Result<Found, store::Error>),
    /// The account was read, or why not.
    AccountRead(Result<Arc<Account>, Error>),
    /// The sign-in was not made: it was not admitted in time, or the agent was no longer ours to sign in.
    SignInNotMade(Error),
    /// The sign-in answered.
    SignInAnswered(Result<Fresh, Arc<upstream::Error>>),
    /// The store told whether a session can be signed out.
    Retired(Result<Retired, store::Error>),
    /// The sign-out answered.
    SignOutAnswered(Result<(), Arc<upstream::Error>>),
    /// A keep-alive that was sent with the Guid of `version` answered.
    KeepAliveAnswered { version: Version, result: Result<Option<Guid>, Arc<upstream::Error>> },
    /// The answer to a request that was sent with the Guid of `version` brought a new one.
    Learned { version: Version, guid: Guid },
    /// What was last sent to the store was answered.
    Stored(Result<(), store::Error>),
    /// Another process changed what the store knows of the agent.
    Changed,
    /// Changes may have been missed: nothing borrowed is to be believed.
    LostSight,
    /// The tenure's generation has grown.
    Reconfirm,
    /// A borrower was refused with the Guid of `version`.
    BorrowerRefused { version: Version, cause: LossCause },
    /// All who waited for a session have gone.
    Unwanted,
    /// The operator wants the session signed out.
    SignOutAsked,
    /// The last who used the session is gone.
    Released,
    /// The time that `wake_at` named has come.
    Tick,
    /// The agent's own app does something.
    Desk(DeskEvent),
    /// The process ends.
    Stop,
}

/// A sign-in that worked.
#[derive(Debug)]
pub(in crate::session) struct Fresh {
    pub(in crate::session) guid: Guid,
    pub(in crate::session) must_change_password: bool,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub(in crate::session) enum Effect {
    Seek {
        floor: u64,
    },
    /// As a seek, but what this fence names becomes ours though its owner's tenure lasts.
    Take {
        fence: u64,
    },
    ReadAccount,
    SignIn {
        account: Arc<Account>,
        form: SignInForm,
        /// Of the tenure under which the agent is owned: not to be made once that has ended.
        generation: u64,
    },
    Retire {
        fence: u64,
        why: Retire,
    },
    SignOut {
        guid: Arc<Guid>,
    },
    KeepAlive {
        guid: Arc<Guid>,
        version: Version,
    },
    /// The keep-alive in flight is to be given up: it is no longer ours to make.
    DropKeepAlive,
    /// To the store; the next one comes when this one was answered.
    Store(Out),
    /// All who wait get the current session.
    Grant(Granted),
    /// All who wait get this error.
    Refuse(Error),
    Record(SessionEvent),
    /// For the agent's own app.
    Desk(DeskEffect),
}

/// A session as it is handed out.
#[derive(Debug, Clone)]
pub(in crate::session) struct Granted {
    pub(in crate::session) guid: Arc<Guid>,
    pub(in crate::session) version: Version,
    pub(in crate::session) kind: store::Kind,
    /// Whoever has not sent the Guid by then asks again first: another process may have replaced it.
    pub(in crate::session) fresh_until: Option<tokio::time::Instant>,
}

/// What is told to the store.
#[derive(Debug, Clone)]
pub(in crate::session) enum Out {
    Write { fence: u64, entry: Entry },
    Release { fence: u64 },
    Tell { version: Version, cause: LossCause },
}
