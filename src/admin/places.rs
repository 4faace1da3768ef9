//! Places for connections to the admin plane. When all are taken, who has waited longest without asking for anything goes: a
//! crowd of silent connections must not keep the probes out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

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
    /// In the order in which they came.
    all: BTreeMap<u64, Arc<Visit>>,
}

/// What a connection is doing.
#[derive(Debug, Default)]
pub(super) struct Visit {
    /// Requests under way.
    asking: AtomicUsize,
    leave: CancellationToken,
}

/// One connection's place. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    id: u64,
    visit: Arc<Visit>,
    _room: room::Place,
}

/// A request is under way. Until this is dropped its connection stays.
#[derive(Debug)]
pub(super) struct Asking(Arc<Visit>);

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { room: Room::new(most), taken: Arc::default() }
    }

    /// Waits for a place; where all are taken and somebody only waits, at once.
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
        let visit = Arc::<Visit>::default();
        let mut taken = self.taken();
        let id = taken.next;
        taken.next += 1;
        taken.all.insert(id, Arc::clone(&visit));
        drop(taken);
        Place { places: self.clone(), id, visit, _room: room }
    }

    fn make_room(&self) {
        let taken = self.taken();
        let silent = |visit: &&Arc<Visit>| visit.asking.load(Ordering::Relaxed) == 0 && !visit.leave.is_cancelled();
        if let Some(longest) = taken.all.values().find(silent) {
            longest.leave.cancel();
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
    /// A request has been read.
    pub(super) fn asks(self: &Arc<Self>) -> Asking {
        self.asking.fetch_add(1, Ordering::Relaxed);
        Asking(Arc::clone(self))
    }

    /// Returns when the place is needed and no request is under way.
    pub(super) async fn wanted(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Ordering::Relaxed);
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

    #[tokio::test(start_paused = true)]
    async fn who_waited_longest_goes_and_nobody_who_asked() {
        let places = Places::new(3);
        let (asking, silent, newer) = (places.enter().await, places.enter().await, places.enter().await);
        let request = asking.visit().asks();
        let entering = places.enter();
        tokio::pin!(entering);
        assert!(tokio::time::timeout(PAUSE / 2, &mut entering).await.is_err());
        silent.visit().wanted().await;
        assert!(!asking.visit.leave.is_cancelled() && !newer.visit.leave.is_cancelled());
        drop(silent);
        let entered = entering.await;
        drop((request, newer, entered, asking));
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
            place.visit().wanted().await;
            drop(place);
        });
    }
}
