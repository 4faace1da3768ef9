//! Who is connected: how many from one peer, and who goes first when all places are taken. It never ends a connection
//! itself, and none that a request is under way on.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::refusal::Refused;

/// When all places are taken, this part of those who wait is asked to go at once: with each newcomer a look at everybody
/// would be too much work under a flood.
const ROOM_SHARE: usize = 64;

/// All connections of the listener.
#[derive(Debug)]
pub(super) struct Crowd {
    limits: ArcSwap<Limits>,
    start: Instant,
    /// Not held across an await; bounded by the connections that are open.
    inside: Mutex<Inside>,
}

/// What holds for those who come from now on.
#[derive(Debug)]
struct Limits {
    per_peer: usize,
    proxies: Vec<IpNet>,
}

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    all: HashMap<u64, Arc<Progress>>,
    of_peer: HashMap<IpAddr, usize>,
}

/// One connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    id: u64,
    peer: Option<IpAddr>,
    progress: Arc<Progress>,
}

/// How far a connection has come. Its task alone writes it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// One of the constants of [`Progress`]; 0: not let in yet.
    state: AtomicU8,
    /// Microseconds of the crowd's time at which it began to wait.
    since: AtomicU64,
    /// Whether a request of it was let through.
    served: AtomicBool,
    /// Whether it was asked to go.
    asked: AtomicBool,
    /// Whether a part of the next head has come.
    began: AtomicBool,
    /// Whether bytes of a body will be left unread at its end.
    unread: AtomicBool,
    leave: Notify,
    refused: OnceLock<Refused>,
}

/// A request is under way on a connection, until its body is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    progress: Arc<Progress>,
    good: bool,
}

impl Crowd {
    /// `proxies` stand for many clients each, and so does loopback, where the apps of a pod come from.
    pub(super) fn new(per_peer: usize, proxies: Vec<IpNet>) -> Arc<Self> {
        let limits = ArcSwap::from_pointee(Limits { per_peer, proxies });
        Arc::new(Self { limits, start: Instant::now(), inside: Mutex::default() })
    }

    /// Other limits for those who come from now on. Nobody who is inside is put out.
    pub(super) fn limit(&self, per_peer: usize, proxies: Vec<IpNet>) {
        self.limits.store(Arc::new(Limits { per_peer, proxies }));
    }

    /// A place for a connection from `peer`, outside until [`Place::waits`]; `None`: it has as many as one peer may.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let limits = self.limits.load();
        let peer = limits.counted(peer);
        let progress = Arc::new(Progress::default());
        let mut inside = self.lock();
        if let Some(peer) = peer {
            let count = inside.of_peer.entry(peer).or_default();
            if *count >= limits.per_peer {
                return None;
            }
            *count += 1;
        }
        let id = inside.next;
        inside.next += 1;
        inside.all.insert(id, Arc::clone(&progress));
        drop(inside);
        Some(Place { crowd: Arc::clone(self), id, peer, progress })
    }

    /// Asks some of those to go who wait for nothing but their client: first those that never had a request let through,
    /// of these the ones that have waited longest. Returns how many.
    pub(super) fn make_room(&self) -> usize {
        let inside = self.lock();
        // The keys are read once: a connection that goes on meanwhile must not change the order while it is made.
        let key =
            |progress: &Progress| (progress.served.load(Ordering::Relaxed), progress.since.load(Ordering::Relaxed));
        let waiting = inside.all.values().filter(|progress| progress.may_go());
        let mut waiting: Vec<_> = waiting.map(|progress| (key(progress), Arc::clone(progress))).collect();
        drop(inside);
        if waiting.is_empty() {
            return 0;
        }
        // Who has been served goes alone: a share of those would be too dear for one newcomer.
        let strangers = waiting.iter().filter(|((served, _), _)| !served).count();
        let count = (waiting.len() / ROOM_SHARE).min(strangers).max(1);
        waiting.select_nth_unstable_by_key(count - 1, |(key, _)| *key);
        for (_, progress) in waiting.iter().take(count) {
            progress.asked.store(true, Ordering::Relaxed);
            progress.leave.notify_one();
        }
        count
    }

    fn leave(&self, id: u64, peer: Option<IpAddr>) {
        let mut inside = self.lock();
        inside.all.remove(&id);
        let Some(peer) = peer else { return };
        if let Some(count) = inside.of_peer.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                inside.of_peer.remove(&peer);
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Nothing is half done under this lock at a panic.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limits {
    /// Whom a connection is counted for: an address, an IPv6 network of 64 bits (which one client is given whole), or
    /// nobody.
    fn counted(&self, peer: IpAddr) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        if peer.is_loopback() || self.proxies.iter().any(|net| net.contains(&peer)) {
            return None;
        }
        Some(match peer {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        })
    }
}

impl Place {
    /// How far the connection has come.
    pub(super) const fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Its place is needed. It may still be in the middle of a request by now: see [`Progress::may_go`].
    pub(super) async fn wanted(&self) {
        self.progress.leave.notified().await;
    }

    /// A request has been read. `unread`: it has a body that nobody may read.
    pub(super) fn turn(&self, unread: bool) -> Turn {
        self.progress.state.store(Progress::ASKED, Ordering::Relaxed);
        if unread {
            self.progress.unread.store(true, Ordering::Relaxed);
        }
        Turn { progress: Arc::clone(&self.progress), good: false }
    }

    /// A request was let through.
    pub(super) fn served(&self) {
        self.progress.served.store(true, Ordering::Relaxed);
    }

    /// A part of a head has come.
    pub(super) fn began(&self) {
        self.progress.began.store(true, Ordering::Relaxed);
    }

    /// All that was to be said is with the kernel; the client is to speak next.
    pub(super) fn waits(&self) {
        self.progress.began.store(false, Ordering::Relaxed);
        self.progress.since.store(self.crowd.now(), Ordering::Relaxed);
        self.progress.asked.store(false, Ordering::Relaxed);
        self.progress.state.store(Progress::WAITING, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.leave(self.id, self.peer);
    }
}

impl Progress {
    /// The client is to speak: handshake, first head, next head.
    const WAITING: u8 = 1;
    /// A request is under way.
    const ASKED: u8 = 2;
    /// A refusal was handed over and is perhaps not all written.
    const REFUSED: u8 = 3;
    /// The same with what was asked for.
    const ANSWERED: u8 = 4;

    fn state(&self) -> u8 {
        self.state.load(Ordering::Relaxed)
    }

    /// Whether no request is with us, so that nothing is lost with the connection but the rest of a refusal.
    pub(super) fn may_go(&self) -> bool {
        matches!(self.state(), Self::WAITING | Self::REFUSED) && !self.asked.load(Ordering::Relaxed)
    }

    /// The same for one that was asked to go.
    pub(super) fn goes(&self) -> bool {
        matches!(self.state(), Self::WAITING | Self::REFUSED)
    }

    /// Whether the client is to speak.
    pub(super) fn is_waiting(&self) -> bool {
        self.state() == Self::WAITING
    }

    /// Whether an answer has been handed over and is perhaps not all written.
    pub(super) fn has_answered(&self) -> bool {
        matches!(self.state(), Self::REFUSED | Self::ANSWERED)
    }

    /// Whether a part of the next head has come.
    pub(super) fn has_begun(&self) -> bool {
        self.began.load(Ordering::Relaxed)
    }

    /// Whether bytes of a body are left unread at its end.
    pub(super) fn leaves_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// The refusal of a head that was written in the library's place; there is one at most.
    pub(super) const fn refused(&self) -> &OnceLock<Refused> {
        &self.refused
    }
}

impl Turn {
    /// Says whether the answer is what was asked for, and no refusal: then all of it is written, whoever needs the place.
    pub(super) const fn answered(mut self, good: bool) -> Self {
        self.good = good;
        self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // If it was asked to go before this turn, it stayed, and may be asked again.
        self.progress.asked.store(false, Ordering::Relaxed);
        let state = if self.good { Progress::ANSWERED } else { Progress::REFUSED };
        self.progress.state.store(state, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
