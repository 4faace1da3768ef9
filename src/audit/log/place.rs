//! A place in the queue for a record that must not be left out. It writes nothing by itself.

use tokio::time::{Instant, timeout_at};

use super::{Log, Shared};
use crate::audit::record::Noted;
use crate::audit::writer::Line;
use crate::audit::{Error, Event, Why};
use crate::room::Place;

/// A place for one record among those of [`Log::note`]. Dropping it gives it back.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct NotePlace {
    place: Place,
    log: Log,
}

impl Log {
    /// Takes a place for a record that has to stand before what comes after it, so that [`NotePlace::note`] cannot find the
    /// queue full. A log that is broken has places too, for as long as its queue has room: it writes later.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] with [`Why::Full`], at the latest after the write timeout.
    ///
    /// # Cancel safety
    ///
    /// A dropped call has taken nothing.
    pub async fn note_place(&self) -> Result<NotePlace, Error> {
        let deadline = Instant::now() + self.shared.write_timeout;
        let place = timeout_at(deadline, self.shared.notes.enter()).await;
        let place = place.map_err(|_elapsed| Error::Unavailable(Why::Full))?;
        Ok(NotePlace { place, log: self.clone() })
    }
}

impl NotePlace {
    /// Records an event as [`Log::note`] does. Never waits, and finds room.
    #[allow(clippy::needless_pass_by_value, reason = "an event is told once")]
    pub fn note(self, event: Event) {
        let shared: &Shared = &self.log.shared;
        if let Some(draft) = shared.draft(event.name(), &Noted::from(&event)) {
            shared.send(Line { draft, permit: Some(self.place), ends: None, durable: None });
        }
    }
}
