//! Places for connections to the admin plane. When all are taken, who has been quiet for longest goes: a crowd that asks for
//! nothing, or does not finish asking, must not keep the probes out. Nobody goes whose request is being answered.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as Read, Frame};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::room::{self, Room};

/// How long somebody who was asked to go has for it before another one is asked.
const PAUSE: Duration = Duration::from_millis(20);

/// All places; clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Places {
    room: Room,
    /// Not held across a wait; bounded by the room.
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    all: BTreeMap<u64, Arc<Visit>>,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Visit {
    /// Not held across a wait.
    doing: Mutex<Doing>,
    /// Something changed that [`Visit::leaves`] goes by.
    changed: Notify,
}

#[derive(Debug)]
struct Doing {
    /// A request is under way.
    asking: bool,
    /// It waits for more of its body.
    waits_for_body: bool,
    /// Since when nothing is under way but the client's own part.
    quiet_since: Instant,
    /// It is to go.
    wanted: bool,
}

impl Doing {
    const fn is_quiet(&self) -> bool {
        !self.asking || self.waits_for_body
    }
}

/// One connection's place. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    id: u64,
    visit: Arc<Visit>,
    _room: room::Place,
}

/// A request is under way, until its answer is made. Until this is dropped its connection stays, but while it waits for its
/// own body.
#[derive(Debug)]
pub(super) struct Asking(Arc<Visit>);

/// A request's body, of which it is known whether it is waited for.
#[derive(Debug)]
pub(super) struct Body {
    incoming: Incoming,
    visit: Arc<Visit>,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { room: Room::new(most), taken: Arc::default() }
    }

    /// Waits for a place; where all are taken and somebody is quiet, for that one to go.
    pub(super) async fn enter(&self) -> Place {
        let room = match self.room.try_enter() {
            Some(room) => room,
            None => loop {
                self.make_room();
                if let Ok(room) = tokio::time::timeout(PAUSE, self.room.enter()).await {
                    break room;
                }
            },
        };
        let visit = Arc::new(Visit::new());
        let mut taken = self.taken();
        let id = taken.next;
        taken.next += 1;
        taken.all.insert(id, Arc::clone(&visit));
        drop(taken);
        Place { places: self.clone(), id, visit, _room: room }
    }

    fn make_room(&self) {
        let taken = self.taken();
        let quiet_since = |visit: &Arc<Visit>| {
            let doing = visit.doing();
            (doing.is_quiet() && !doing.wanted).then_some(doing.quiet_since)
        };
        let quiet = taken.all.values().filter_map(|visit| Some((quiet_since(visit)?, visit)));
        if let Some((_, longest)) = quiet.min_by_key(|(since, _)| *since) {
            longest.shall_leave();
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// What the connection is doing, to be told of it.
    pub(super) fn visit(&self) -> Arc<Visit> {
        Arc::clone(&self.visit)
    }
}

impl Visit {
    fn new() -> Self {
        let doing = Doing { asking: false, waits_for_body: false, quiet_since: Instant::now(), wanted: false };
        Self { doing: Mutex::new(doing), changed: Notify::new() }
    }

    /// A request's head has been read.
    pub(super) fn asks(self: &Arc<Self>) -> Asking {
        self.doing().asking = true;
        Asking(Arc::clone(self))
    }

    /// It is to leave as soon as it is quiet.
    pub(super) fn shall_leave(&self) {
        self.doing().wanted = true;
        self.changed.notify_one();
    }

    /// Returns when it is to leave and is quiet. To be awaited at one place.
    pub(super) async fn leaves(&self) {
        while !self.goes() {
            self.changed.notified().await;
        }
    }

    fn goes(&self) -> bool {
        let doing = self.doing();
        doing.wanted && doing.is_quiet()
    }

    fn waits_for_body(&self, waits: bool) {
        let mut doing = self.doing();
        let begins = waits && !doing.waits_for_body;
        doing.waits_for_body = waits;
        if begins {
            doing.quiet_since = Instant::now();
            self.changed.notify_one();
        }
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asking {
    /// The request's body.
    pub(super) fn body(&self, incoming: Incoming) -> Body {
        Body { incoming, visit: Arc::clone(&self.0) }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut doing = self.0.doing();
        (doing.asking, doing.waits_for_body, doing.quiet_since) = (false, false, Instant::now());
        drop(doing);
        self.0.changed.notify_one();
    }
}

impl Read for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        self.visit.waits_for_body(polled.is_pending());
        polled
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.visit.waits_for_body(false);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().all.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_wanted(place: &Place) -> bool {
        place.visit.doing().wanted
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_quiet_longest_goes_and_nobody_who_asks() {
        let places = Places::new(3);
        let asking = places.enter().await;
        let request = asking.visit().asks();
        let first = places.enter().await;
        tokio::time::advance(PAUSE).await;
        let second = places.enter().await;
        tokio::time::advance(PAUSE).await;
        // It came first, but has asked since.
        drop(first.visit().asks());
        let entering = places.enter();
        tokio::pin!(entering);
        assert!(tokio::time::timeout(PAUSE / 2, &mut entering).await.is_err());
        second.visit().leaves().await;
        assert!(!is_wanted(&asking) && !is_wanted(&first));
        drop(second);
        let entered = entering.await;
        drop((request, first, entered, asking));
        assert!(places.taken().all.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_ask_the_newcomer_waits() {
        let places = Places::new(1);
        let place = places.enter().await;
        let request = place.visit().asks();
        assert!(tokio::time::timeout(PAUSE * 10, places.enter()).await.is_err());
        drop(request);
        let (_entered, ()) = tokio::join!(places.enter(), async {
            place.visit().leaves().await;
            drop(place);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_after_it_was_chosen_is_answered_first() {
        let place = Places::new(1).enter().await;
        let visit = place.visit();
        visit.shall_leave();
        let request = visit.asks();
        let leaves = visit.leaves();
        tokio::pin!(leaves);
        assert!(tokio::time::timeout(PAUSE, &mut leaves).await.is_err());
        visit.waits_for_body(true);
        leaves.await;
        visit.waits_for_body(false);
        assert!(tokio::time::timeout(PAUSE, visit.leaves()).await.is_err(), "the body has come");
        drop(request);
        visit.leaves().await;
    }
}
