//! How many may be in at once, where that number can change meanwhile. Nobody who is in is ever put out.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bound on how many are in at once; clones share it.
///
/// Made smaller with more in than fit, nobody gets in before enough have left: the bound holds over a change, which two
/// bounds one after the other would not do.
#[derive(Clone)]
pub struct Room {
    shared: Arc<Shared>,
}

struct Shared {
    places: Arc<Semaphore>,
    size: Mutex<Size>,
}

#[derive(Clone, Copy)]
struct Size {
    places: usize,
    /// Places that are to go and are still taken.
    owed: usize,
}

/// A place in a [`Room`]. Dropping it gives it back.
#[must_use = "the place is given back when this is dropped"]
pub struct Place {
    permit: Option<OwnedSemaphorePermit>,
    shared: Arc<Shared>,
}

impl Room {
    /// Most places.
    pub const PLACES_MAX: usize = 1 << 24;

    /// A room with so many places, at least one and at most [`Room::PLACES_MAX`].
    pub fn new(places: usize) -> Self {
        let places = places.clamp(1, Self::PLACES_MAX);
        let shared = Shared { places: Arc::new(Semaphore::new(places)), size: Mutex::new(Size { places, owed: 0 }) };
        Self { shared: Arc::new(shared) }
    }

    /// A place, where one is free.
    pub fn try_enter(&self) -> Option<Place> {
        let permit = Arc::clone(&self.shared.places).try_acquire_owned().ok()?;
        Some(Place { permit: Some(permit), shared: Arc::clone(&self.shared) })
    }

    /// Waits for a place; first come, first served.
    ///
    /// # Cancel safety
    ///
    /// Dropping it takes no place.
    pub async fn enter(&self) -> Place {
        // It is never closed, so there always is one.
        let permit = Arc::clone(&self.shared.places).acquire_owned().await.ok();
        Place { permit, shared: Arc::clone(&self.shared) }
    }

    /// From now on there are so many places, at least one and at most [`Room::PLACES_MAX`].
    pub fn resize(&self, places: usize) {
        let places = places.clamp(1, Self::PLACES_MAX);
        let mut size = self.shared.size();
        if places > size.places {
            let more = places - size.places;
            let kept = more.min(size.owed);
            size.owed -= kept;
            self.shared.places.add_permits(more - kept);
        } else {
            let fewer = size.places - places;
            size.owed += fewer - self.shared.places.forget_permits(fewer);
        }
        size.places = places;
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        self.shared.size().places
    }

    /// Waits until nobody is in. Whoever wants to come in meanwhile waits behind.
    ///
    /// # Cancel safety
    ///
    /// Dropping it lets the others in.
    pub async fn empty(&self) {
        let all = u32::try_from(self.places()).unwrap_or(u32::MAX);
        // An error: it is closed, which it never is.
        drop(self.shared.places.acquire_many(all).await);
    }
}

impl Shared {
    fn size(&self) -> MutexGuard<'_, Size> {
        // Nothing panics while the lock is held; each change is whole.
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let mut size = self.shared.size();
        if size.owed > 0 {
            size.owed -= 1;
            permit.forget();
        } else {
            // Under the lock: between the look and the return the room could become smaller.
            drop(permit);
        }
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = *self.shared.size();
        f.debug_struct("Room").field("places", &size.places).field("owed", &size.owed).finish()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_smaller_room_lets_nobody_in_before_enough_have_left() {
        let room = Room::new(3);
        let mut inside: Vec<_> = (0..3).filter_map(|_| room.try_enter()).collect();
        assert!(room.try_enter().is_none());
        room.resize(1);
        inside.pop();
        assert!(room.try_enter().is_none(), "two are in, one may be");
        inside.pop();
        assert!(room.try_enter().is_none(), "one is in");
        inside.pop();
        let one = room.try_enter();
        assert!(one.is_some() && room.try_enter().is_none());
    }

    #[test]
    fn a_larger_room_takes_back_what_it_wanted_to_give_up_first() {
        let room = Room::new(4);
        let inside: Vec<_> = (0..4).filter_map(|_| room.try_enter()).collect();
        room.resize(1);
        room.resize(5);
        let fifth = room.try_enter();
        assert!(fifth.is_some() && room.try_enter().is_none(), "five, not eight");
        drop(inside);
        let again: Vec<_> = (0..9).filter_map(|_| room.try_enter()).collect();
        assert_eq!(again.len(), 4);
    }

    #[test]
    fn nobody_is_in_when_all_have_left() {
        let room = Room::new(2);
        let one = room.try_enter();
        assert!(room.empty().now_or_never().is_none());
        room.resize(1);
        assert!(room.empty().now_or_never().is_none());
        drop(one);
        assert!(room.empty().now_or_never().is_some());
        assert!(room.enter().now_or_never().is_some(), "and it can be used again");
    }

    #[test]
    fn there_is_always_room_for_one() {
        assert_eq!((Room::new(0).places(), Room::new(usize::MAX).places()), (1, Room::PLACES_MAX));
    }

    proptest! {
        /// Against a count: whoever comes gets in exactly where fewer are in than may be.
        #[test]
        fn it_is_a_count_with_a_bound(steps in prop::collection::vec((0_u8..3, 1_usize..9), 1..200)) {
            let room = Room::new(4);
            let (mut inside, mut bound) = (Vec::new(), 4);
            for (step, size) in steps {
                match step {
                    0 => {
                        let place = room.try_enter();
                        prop_assert_eq!(place.is_some(), inside.len() < bound, "{} of {}", inside.len(), bound);
                        inside.extend(place);
                    }
                    1 => drop(inside.pop()),
                    _ => {
                        room.resize(size);
                        bound = size;
                    }
                }
            }
        }
    }
}
