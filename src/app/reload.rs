//! Takes a changed configuration up while running: all of it or nothing. What it makes is built completely before anything is
//! changed, and each attempt is told in the audit log, the program's own log and the metrics.

mod board;
mod build;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log_level::LogLevel;
use super::parts::{Ground, Parts};
use crate::admin::TlsSwap;
use crate::audit::{ConfigChange, Event, NotePlace};
use crate::authn::Authenticator;
use crate::config::{Contents, Loaded, Named, Salt, Source};
use crate::serve;

pub(super) use board::Board;
use build::{Built, Refusal};

/// A change that is seen by looking is taken up when the files have been the same for so long: whoever writes them has
/// finished, most likely.
const SETTLED: Duration = Duration::from_millis(200);
/// Looks at files that keep changing before they are taken as they are.
const SETTLING_MAX: usize = 10;
/// After so long a configuration that was refused for what may pass is tried again.
const AGAIN: Duration = Duration::from_mins(1);

/// What is in force.
pub(super) struct InForce {
    pub(super) loaded: Arc<Loaded>,
    pub(super) contents: Contents,
    pub(super) parts: Arc<Parts>,
    pub(super) generation: u64,
}

/// Where a configuration is put in force.
pub(super) struct Places {
    pub(super) ground: Ground,
    pub(super) server: serve::Swap,
    pub(super) admin_tls: TlsSwap,
    pub(super) log_level: Arc<LogLevel>,
    /// The configuration, for whoever asks for it.
    pub(super) loaded: Arc<ArcSwap<Loaded>>,
    pub(super) board: Arc<Board>,
}

/// Watches the files and puts what they say in force.
pub(super) struct Reloader {
    source: Source,
    salt: Salt,
    now: InForce,
    places: Places,
    /// The files that are looked at: those of what is in force, and of what was refused last.
    watched: Vec<Named>,
    /// What they held when it was decided about them.
    seen: Contents,
    /// When what was refused for what may pass is tried again.
    again_at: Option<Instant>,
    refused: bool,
    keys: Refreshing,
}

/// The task that keeps the issuers' keys fresh.
struct Refreshing {
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Reloader {
    /// Begins with what is in force. `salt` is that of its contents.
    pub(super) fn new(now: InForce, salt: Salt, places: Places) -> Self {
        let (source, watched) = (now.loaded.source().clone(), now.loaded.named());
        let keys = Refreshing { stop: CancellationToken::new(), task: JoinSet::new() };
        let (seen, again_at) = (now.contents.clone(), None);
        Self { source, salt, now, places, watched, seen, again_at, refused: false, keys }
    }

    /// Looks at the files in intervals and when `asked`, until `stop`; keeps the issuers' keys fresh meanwhile.
    pub(super) async fn run(mut self, asked: Arc<Notify>, stop: CancellationToken) {
        self.keys = Refreshing::start(&self.now.parts.authenticator);
        loop {
            let by_hand = tokio::select! {
                () = stop.cancelled() => break,
                () = asked.notified() => true,
                () = interval(self.now.loaded.config.reload.interval) => false,
            };
            tokio::select! {
                // What is being built is dropped: nothing has been changed.
                () = stop.cancelled() => break,
                () = self.look(by_hand) => {}
            }
        }
        self.keys.end().await;
    }

    /// One look. Cancel safe for a process that ends: all waits come before the first change, but for the keys' task.
    async fn look(&mut self, by_hand: bool) {
        let mut held = self.held().await;
        let due = self.again_at.is_some_and(|at| at <= Instant::now());
        if held == self.seen && !due {
            if !by_hand {
                return;
            }
            if !self.refused {
                tracing::info!("SIGHUP: no file of the configuration has changed");
                return;
            }
        }
        for _ in 0..SETTLING_MAX {
            if by_hand {
                break;
            }
            tokio::time::sleep(SETTLED).await;
            let later = self.held().await;
            if std::mem::replace(&mut held, later) == held {
                break;
            }
        }
        self.attempt(by_hand).await;
    }

    /// What the watched files hold now.
    async fn held(&self) -> Contents {
        let (path, named, salt) = (self.source.path().to_owned(), self.watched.clone(), self.salt.clone());
        let read = tokio::task::spawn_blocking(move || Contents::now(&path, &named, &salt)).await;
        // A panic in there would be a defect; taking nothing up is all that can be done about it.
        read.unwrap_or_else(|_panic| self.seen.clone())
    }

    async fn attempt(&mut self, by_hand: bool) {
        let trigger = if by_hand { "SIGHUP" } else { "files" };
        let order = build::Order {
            source: self.source.clone(),
            salt: self.salt.clone(),
            before: Arc::clone(&self.now.loaded),
            contents: self.now.contents.clone(),
            parts: Arc::clone(&self.now.parts),
            ground: self.places.ground.clone(),
        };
        let built = tokio::task::spawn_blocking(move || order.build()).await;
        let built = match built.unwrap_or_else(|_panic| Err(Box::new(self.defect()))) {
            Ok(built) => built,
            Err(refusal) => return self.refuse(*refusal, trigger),
        };
        let missing = built.parts.authenticator.load_new().await;
        if !missing.is_empty() {
            let refusal = built.without_keys(&missing);
            return self.refuse(refusal, trigger);
        }
        // Taken before anything is changed: its record must not be the one that finds the queue full.
        match self.places.ground.audit.note_place().await {
            Ok(place) => self.put(*built, place, trigger).await,
            Err(error) => {
                let refusal = built.without_record(error);
                self.refuse(refusal, trigger);
            }
        }
    }

    /// Puts it in force.
    async fn put(&mut self, built: Built, record: NotePlace, trigger: &'static str) {
        let Built { loaded, contents, parts, server } = built;
        let (config, generation) = (&loaded.config, self.now.generation.saturating_add(1));
        let changed = self.changed(&loaded, &contents);
        let waits = build::at_next_start(&loaded, &contents, self.places.board.at_start());
        for warning in &loaded.warnings {
            tracing::warn!(%warning, "configuration");
        }
        let Places { ground, server: place, admin_tls, log_level, loaded: current, board } = &self.places;
        // Queued before anything is decided by it: in the log every such record comes later.
        let hash = contents.hash().to_owned();
        let change = ConfigChange::Loaded;
        record.note(Event::Config { change, hash: hash.clone(), generation, reason: None });
        ground.audit.resize(config.audit.entries_max);
        ground.downloads.resize(config.server.max_downloads);
        // Only now: one that is built and then refused must not speak for the one that goes on.
        parts.gateway.follow(&self.now.parts.gateway);
        ground.sessions.reconfigure(parts.sessions.clone(), parts.gateway.clone());
        place.put(server);
        admin_tls.put(parts.admin_tls.clone());
        log_level.configure(config.log.level);
        let at = ground.clock.now();
        if !waits.is_empty() {
            tracing::warn!(keys = waits.join(", "), "files of these keys have changed, which waits for a start");
        }
        board.in_force(board::shown(&loaded, &hash, generation, at, waits));
        let loaded = Arc::new(loaded);
        current.store(Arc::clone(&loaded));
        (self.watched, self.seen) = (loaded.named(), contents.clone());
        (self.again_at, self.refused) = (None, false);
        let before = std::mem::replace(&mut self.now, InForce { loaded, contents, parts: Arc::new(parts), generation });
        self.refresh(&before.parts.authenticator).await;
        tracing::info!(generation, hash, trigger, changed, "the configuration is in force");
        // Last, so that whoever sees the generation finds all of it in force.
        let certificates = &self.now.parts.ends;
        self.places.ground.metrics.process.in_force(&hash, generation, at.as_second(), certificates);
    }

    /// Keeps the keys of another authenticator fresh, where it is another. Dropped in here it leaves no task behind, nor is
    /// there any need for one: the process ends.
    async fn refresh(&mut self, before: &Arc<Authenticator>) {
        let next = &self.now.parts.authenticator;
        if !Arc::ptr_eq(before, next) {
            self.keys.end().await;
            next.take_up();
            self.keys = Refreshing::start(next);
        }
    }

    /// Keeps what is in force.
    fn refuse(&mut self, refusal: Refusal, trigger: &'static str) {
        let Refusal { reason, told, hash, seen, watched, may_pass } = refusal;
        let Places { ground, board, .. } = &self.places;
        let generation = self.now.generation;
        tracing::error!(
            generation,
            hash,
            trigger,
            "the configuration is refused, the one before stays in force: {told}"
        );
        ground.metrics.process.refused();
        board.refused(&hash, ground.clock.now(), &reason);
        let change = ConfigChange::Refused;
        ground.audit.note(Event::Config { change, hash, generation, reason: Some(reason) });
        (self.watched, self.seen, self.refused) = (watched, seen, true);
        self.again_at = may_pass.then(|| Instant::now() + AGAIN);
    }

    /// The keys that differ, and those whose files do; no value.
    fn changed(&self, next: &Loaded, contents: &Contents) -> String {
        let touched = build::touched(next, contents, &self.now.contents);
        let keys: BTreeSet<String> = self.now.loaded.differs(next).into_iter().chain(touched.keys).collect();
        keys.into_iter().collect::<Vec<_>>().join(", ")
    }

    fn defect(&self) -> Refusal {
        let reason = "a defect of ccgate: please report it, with the lines of the log before this one".to_owned();
        let (hash, seen, watched) = (self.seen.hash().to_owned(), self.seen.clone(), self.watched.clone());
        Refusal { told: reason.clone(), reason, hash, seen, watched, may_pass: false }
    }
}

impl Refreshing {
    fn start(authenticator: &Arc<Authenticator>) -> Self {
        let (stop, mut task) = (CancellationToken::new(), JoinSet::new());
        let (authenticator, stopped) = (Arc::clone(authenticator), stop.clone());
        task.spawn(async move { authenticator.refresh(stopped).await });
        Self { stop, task }
    }

    async fn end(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.task.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "keeping the keys fresh ended by a panic");
            }
        }
    }
}

async fn interval(interval: Option<Duration>) {
    match interval {
        Some(interval) => tokio::time::sleep(interval).await,
        None => std::future::pending().await,
    }
}
