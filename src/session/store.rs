//! Who owns an agent's session, and what all replicas know of it. It says what is kept and by which rules it changes,
//! never how an agent is signed in.
//!
//! An agent has at most one owner: the process that alone may sign it in, keep it alive, take new Guids from its
//! keep-alives and sign it out. The others borrow the Guid. Ownership is given by [`Store::seek`] together with a
//! *fence*, a number that grows with each seek; every later write names it, and the store itself refuses one that is not
//! the newest. A process keeps what it owns for as long as its [`Tenure`] lasts, which it renews for all its agents at
//! once; whoever seeks an agent whose owner's tenure has ended becomes the owner and finds what the other left.
//!
//! Times inside an [`Entry`] are durations, never moments: no two processes' clocks are compared.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accounts::Fingerprint;
use super::journal::{BarCause, LossCause};
use crate::cc::{AgentId, Guid, Retcode, SignInForm};

mod form;
pub mod memory;
mod metrics;
pub mod redis;
pub mod seal;

pub use self::redis::Redis;
pub use memory::{Memory, StateFile};
pub use metrics::Metrics;
pub use seal::Keys;

/// Orders the Guids of an agent: by the sign-in or takeover they came from, then by how often they were replaced since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The fence under which the session is owned.
    pub fence: u64,
    /// How often the Guid was replaced under that fence.
    pub rotation: u64,
}

/// For how long this process keeps what it owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    /// Until then nobody else becomes owner of what is owned here; `None`: for ever, as there is no other process.
    pub until: Option<Instant>,
    /// Grows whenever the tenure had ended, or the store had forgotten it, before it was renewed: whatever is owned from
    /// an older generation must be written again ([`Store::write`]) before it is believed to be owned.
    pub generation: u64,
}

impl Tenure {
    /// The tenure of the only process.
    pub const ALONE: Self = Self { until: None, generation: 0 };

    /// Whether what was owned in `generation` is owned now.
    pub fn holds(&self, generation: u64, now: Instant) -> bool {
        self.generation == generation && self.until.is_none_or(|until| now < until)
    }
}

/// What a seek finds.
#[derive(Debug)]
pub enum Found {
    /// The agent is this process's from now on, or still, under a new fence.
    Owned {
        /// Names the ownership in every later call.
        fence: u64,
        /// What the owner before left, where that was another process. A process that seeks its own agent finds `None`, but
        /// for what it was told before and has not answered by a write.
        left: Option<Left>,
    },
    /// Another process owns the agent.
    Theirs {
        /// Under which fence.
        fence: u64,
        /// What it wrote last; `None`: nothing since it became the owner, so it is about to sign in or out.
        entry: Option<Left>,
    },
}

/// An entry and its age.
#[derive(Debug)]
pub struct Left {
    /// What was written; `None`: nothing by an owner that may have been signing in or out, or nothing that can be read.
    pub entry: Option<Entry>,
    /// How long ago it was written, or, without an entry, since when it was owned; by the store's clock, never negative.
    pub age: Duration,
}

/// What an owner lets others know of an agent.
#[derive(Debug, Clone)]
pub enum Entry {
    /// The agent is being signed in or out: others wait. Left behind, it says that the call may be unanswered yet, and
    /// that a sign-in may have worked whose answer nobody has.
    SigningIn,
    /// A session that lives.
    Live(Live),
    /// No session, and none is tried for a while.
    Cooling(Cooling),
    /// No session, and none is tried before the account's file changes.
    Barred {
        /// What is wrong with the account.
        cause: BarCause,
        /// Of the account's file as it was.
        fingerprint: Fingerprint,
    },
}

impl Entry {
    /// Whether it stays after a release: it tells why there is no session.
    pub const fn stays(&self) -> bool {
        !matches!(self, Self::Live(_) | Self::SigningIn)
    }
}

/// A session that lives.
#[derive(Debug, Clone)]
pub struct Live {
    /// Its newest Guid.
    pub guid: Guid,
    /// How often the Guid was replaced under this fence.
    pub rotation: u64,
    /// In which way it was signed in.
    pub form: SignInForm,
    /// Who signed it in.
    pub kind: Kind,
    /// It is the fresh session after a `000-003`: another `000-003` is about the right.
    pub decides: bool,
    /// When it was written: how long ago the gateway had last answered that the session lives.
    pub alive_ago: Duration,
    /// When it was written: how long ago the Guid was issued.
    pub issued_ago: Duration,
    /// Shortest time seen between two Guids; `None`: no replacement was seen.
    pub rotates_every: Option<Duration>,
    /// Longest time that a quiet poll took; zero in push mode. A new owner waits so long before its first poll, as the
    /// old one's may still be unanswered.
    pub poll_takes: Duration,
}

/// Who signed a session in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// ccgate did, with the account's password; it keeps the session alive.
    Own,
    /// The agent's own app did, through ccgate, and keeps it alive.
    Desk,
}

impl Kind {
    /// The word for it in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Desk => "desk",
        }
    }
}

/// No session for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cooling {
    /// Why.
    pub trouble: Trouble,
    /// From its writing on.
    pub lasts: Duration,
    /// From its writing on: whoever is signed in as the agent may be we ourselves, so nobody is forced out.
    pub doubt_lasts: Duration,
}

/// Why a sign-in failed that may work later, as far as other replicas need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// `100-002`.
    AgentBusy,
    /// `000-004`, `100-003`.
    Switching(Retcode),
    /// Any other result code.
    Refused(Retcode),
    /// The gateway could not be reached.
    Unreachable,
    /// Its certificate is not trusted.
    Untrusted,
    /// It did not answer in time.
    Timeout,
    /// It answered what cannot be read.
    Protocol,
}

/// What a retiring owner is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retired {
    /// Nobody else uses the session: sign it out, then [`Store::release`] it.
    Unused,
    /// Another replica used it so long ago. After [`Retire::Idle`] it stays owned; after [`Retire::Stop`] it is handed
    /// over: no longer owned, to be taken by whoever seeks next.
    InUse {
        /// How long ago.
        ago: Duration,
    },
}

/// Why an owner wants to sign a session out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retire {
    /// Nobody used it here for this long.
    Idle {
        /// A use elsewhere within this time keeps it.
        within: Duration,
    },
    /// The process ends.
    Stop,
}

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, did not answer in time, or is not to be believed yet after it came back.
    #[error("the session store is not available: {why}")]
    Unavailable {
        /// In a few words, without addresses and secrets.
        why: &'static str,
        /// What the store's client said.
        #[source]
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// Another process owns the agent by now, or nobody: the fence is not the newest.
    #[error("the agent has another owner by now")]
    Superseded,
}

/// Where ownership and entries are kept. Each call is bounded in time by the store.
///
/// # Cancel safety
///
/// A dropped call may have had its effect. [`Store::seek`] can be repeated.
pub trait Store: Send + Sync + 'static {
    /// For how long this process keeps what it owns. Cheap: read at every event.
    fn tenure(&self) -> Tenure;

    /// How long a tenure lasts after its renewal; `None`: for ever.
    fn lease(&self) -> Option<Duration>;

    /// Becomes the owner where there is none whose tenure lasts, else tells what the owner lets know. The new fence is
    /// greater than `floor` (the greatest that the caller knows of) and than every earlier one of the agent. What the
    /// owner before wrote is handed out as what it left until the new one writes: a seek can be repeated.
    /// It counts as a use of the session.
    fn seek(&self, agent: AgentId, floor: u64) -> BoxFuture<'_, Result<Found, Error>>;

    /// Becomes the owner of what `fence` names though its owner's tenure may last, because the agent's own app comes through
    /// this process now. Where `fence` is not the newest any more it is a seek. The owner before is told by
    /// [`Watcher::changed`]; its writes are refused from then on.
    fn take(&self, agent: AgentId, fence: u64) -> BoxFuture<'_, Result<Found, Error>>;

    /// Lets the others know. Refused ([`Error::Superseded`]) unless `fence` is the agent's newest and its owner this
    /// process; or, just after the store came back empty, unless it knows nothing of the agent.
    fn write(&self, agent: AgentId, fence: u64, entry: Entry) -> BoxFuture<'_, Result<(), Error>>;

    /// Asks whether a session can be signed out. With [`Retired::Unused`] its entry is gone: others wait.
    fn retire(&self, agent: AgentId, fence: u64, why: Retire) -> BoxFuture<'_, Result<Retired, Error>>;

    /// Ends the ownership. A [`Entry::Live`] goes; one that tells why there is no session stays, for whoever seeks next.
    fn release(&self, agent: AgentId, fence: u64) -> BoxFuture<'_, Result<(), Error>>;

    /// Tells the owner, through its [`Watcher::rejected`], that the gateway refused a Guid which it lets others use.
    fn reject(&self, agent: AgentId, version: Version, cause: LossCause) -> BoxFuture<'_, Result<(), Error>>;

    /// Takes one of the sign-ins that all replicas may make together in this second; otherwise tells how long to wait.
    fn admit_sign_in(&self) -> BoxFuture<'_, Result<Option<Duration>, Error>>;

    /// Renews the tenure and tells the watcher what changes, until `stop`.
    fn run(self: Arc<Self>, watcher: Arc<dyn Watcher>, stop: CancellationToken) -> BoxFuture<'static, ()>;
}

/// Is told by a store what others did. Called from the store's task, so it must not block.
pub trait Watcher: Send + Sync {
    /// Another process wrote, handed over or released an agent: what was borrowed is to be sought again.
    fn changed(&self, agent: AgentId);

    /// Changes may have been missed: nothing that was borrowed is to be believed.
    fn lost_sight(&self);

    /// The tenure's generation has grown, or the store answers again: what is owned and not written under this tenure is to be
    /// written, and at once.
    fn reconfirm(&self);

    /// A borrower was refused with a Guid of this process.
    fn rejected(&self, agent: AgentId, version: Version, cause: LossCause);
}

impl fmt::Debug for dyn Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}
