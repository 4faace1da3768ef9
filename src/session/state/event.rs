//! What goes into the state machine and what comes out of it. Words only: nothing here decides.

use std::sync::Arc;

use crate::cc::{Guid, SignInForm};
use crate::session::accounts::Account;
use crate::session::journal::{LossCause, SessionEvent};
pub(in crate::session) use crate::session::store::Version;
use crate::session::{Error, upstream};

/// What happened.
#[derive(Debug)]
pub(in crate::session) enum Event {
    /// Somebody waits for a session, maybe because a Guid was refused.
    Want { rejected: Option<(Version, LossCause)> },
    /// The account was read, or why not.
    AccountRead(Result<Arc<Account>, Error>),
    /// The sign-in answered.
    SignInAnswered(Result<Fresh, Arc<upstream::Error>>),
    /// The sign-out answered.
    SignOutAnswered(Result<(), Arc<upstream::Error>>),
    /// A keep-alive that was sent with the Guid of `version` answered.
    KeepAliveAnswered { version: Version, result: Result<Option<Guid>, Arc<upstream::Error>> },
    /// The answer to a request that was sent with the Guid of `version` brought a new one.
    Learned { version: Version, guid: Guid },
    /// The last who used the session is gone.
    Released,
    /// The time that `wake_at` named has come.
    Tick,
    /// The process ends.
    Stop,
}

/// A sign-in that worked.
#[derive(Debug)]
pub(in crate::session) struct Fresh {
    pub(in crate::session) fence: u64,
    pub(in crate::session) guid: Guid,
    pub(in crate::session) must_change_password: bool,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub(in crate::session) enum Effect {
    ReadAccount,
    SignIn {
        account: Arc<Account>,
        form: SignInForm,
    },
    SignOut {
        guid: Arc<Guid>,
    },
    KeepAlive {
        guid: Arc<Guid>,
        version: Version,
    },
    /// All who wait get the current session.
    Grant {
        guid: Arc<Guid>,
        version: Version,
    },
    /// All who wait get this error.
    Refuse(Error),
    Record(SessionEvent),
}
