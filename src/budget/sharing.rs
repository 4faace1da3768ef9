//! What replicas tell each other: each its own bytes, and all the recordings. Nothing waits for it, and without it each goes
//! on with what it knows.
//!
//! A replica writes its own part as a whole and reads the others', so a call that is made twice counts once. It does so
//! once a second for those who have a download or had one in the last minutes. So what one replica does not know of is what
//! the others did in that second and the time of two calls.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::names::{RecordingId, SubjectId};
use super::subjects::Person;
use super::usage::Bytes;
use super::window::{DAY, HOUR};
use super::{Budgets, Shared};

/// How often counts are brought up to date.
const INTERVAL: Duration = Duration::from_secs(1);
/// Persons in one exchange.
const PERSONS_AT_ONCE: usize = 64;
/// Recordings that one exchange may tell and ask for, of all its persons together, but for a person who alone has more. The
/// sessions share the server, which does nothing else meanwhile: so many are some ten milliseconds of it.
const AT_ONCE: usize = 20_000;
/// Recordings of one person that are told in one exchange; the rest follows with the next.
const RECORDINGS_AT_ONCE: usize = 2_000;
/// A person is looked at for so many minutes after the last download.
const LINGER: u32 = 2;
/// Others' recordings of the last so many minutes before the last exchange are read each time; all of them once a minute,
/// each person's in a second of their own. Clocks may differ by less.
const RECENT: u32 = 5;

/// What this replica tells of one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Who.
    pub subject: SubjectId,
    /// All bytes from this replica, by slot, as a text of at most 4 KiB that [`Others::bytes`] brings to the others.
    pub bytes: String,
    /// Recordings that were taken, with the minute; at most 2,000.
    pub recordings: Vec<(RecordingId, u32)>,
    /// Recordings of all replicas from this minute on are asked for.
    pub since: u32,
    /// The oldest minute that still counts anywhere.
    pub oldest: u32,
    /// The minute it is.
    pub now: u32,
    /// At most so many of the newest recordings are asked for.
    pub recordings_max: usize,
}

/// What the other replicas told of the same person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others {
    /// Bytes: the text of each other replica.
    pub bytes: Vec<String>,
    /// Recordings that any replica told, with the minute.
    pub recordings: Vec<(RecordingId, u32)>,
}

/// The others cannot be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other replicas' counts cannot be had")]
pub struct Away;

/// The way to the other replicas.
pub trait Exchange: Send + Sync {
    /// Tells what is this replica's own and gives what is the others', person by person in the same order. Bounded in time.
    ///
    /// # Errors
    /// [`Away`]; what was told may have arrived all the same, and is told again. After several in a row it comes at once.
    ///
    /// # Cancel safety
    /// As after an error.
    fn exchange<'a>(&'a self, own: &'a [Own]) -> BoxFuture<'a, Result<Vec<Others>, Away>>;
}

impl Budgets {
    /// Keeps counts up to date until it is told to stop: bytes of running downloads are booked, alerts told, counts
    /// exchanged, and those forgotten who have taken nothing for a day.
    pub async fn run(self, exchange: Option<Arc<dyn Exchange>>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.shared.look_around();
            if let Some(exchange) = &exchange {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.shared.exchange(exchange.as_ref()) => {}
                }
            }
            self.shared.rest(exchange.is_some());
        }
    }
}

impl Shared {
    /// Books what running downloads have handed over.
    pub(super) fn look_around(&self) {
        let now = self.minute();
        for person in self.subjects.busy() {
            let alerts = {
                let mut state = person.state();
                state.catch_up(person.unbooked(), now);
                state.alerts()
            };
            self.tell(alerts);
        }
        self.subjects.sweep(now, &self.metrics);
    }

    pub(super) async fn exchange(&self, exchange: &dyn Exchange) {
        let second = self.clock.now().as_second().max(0).unsigned_abs();
        let mut busy = self.subjects.busy();
        // Another one begins each second: what fails for some must not always fail before the others' turn.
        let first = usize::try_from(second).unwrap_or(0).checked_rem(busy.len()).unwrap_or(0);
        busy.rotate_left(first);
        for persons in calls(&busy, |person| person.cost(second)) {
            let (now, second) = (self.minute(), self.clock.now().as_second().max(0).unsigned_abs());
            let own: Vec<_> = persons.iter().map(|person| person.own(now, second)).collect();
            // One that fails says nothing of the next; a way that is gone fails at once after a few.
            let mut others = exchange.exchange(&own).await.unwrap_or_default().into_iter();
            for (person, own) in persons.iter().zip(&own) {
                match others.next() {
                    Some(others) => self.tell(person.heard(own, &others, self.minute())),
                    None => person.unheard(own),
                }
            }
        }
    }

    pub(super) fn rest(&self, shares: bool) {
        let now = self.minute();
        self.subjects.rest(|state| {
            let all_told = !shares || (!state.changed && state.usage.recordings.is_all_told());
            let lingers = shares && state.usage.active.saturating_add(LINGER) > now;
            state.usage.running == 0 && all_told && !lingers
        });
    }
}

/// Whose counts go together: at most 64 persons, and no more recordings than one call may bring.
fn calls(persons: &[Arc<Person>], cost: impl Fn(&Person) -> usize) -> Vec<Vec<&Arc<Person>>> {
    let (mut calls, mut sum) = (Vec::<Vec<_>>::new(), 0_usize);
    for person in persons {
        let cost = cost(person);
        sum = sum.saturating_add(cost);
        match calls.last_mut() {
            Some(call) if call.len() < PERSONS_AT_ONCE && sum <= AT_ONCE => call.push(person),
            _ => {
                calls.push(vec![person]);
                sum = cost;
            }
        }
    }
    calls
}

impl Person {
    /// The minute that it is for this person's exchanges as a whole: it begins in a second of the person's own, so that not
    /// all are made at once.
    fn turn(&self, second: u64) -> u64 {
        let own = u64::try_from(self.id.0 % 60).unwrap_or(0);
        second.saturating_add(own) / 60
    }

    /// How many recordings the next exchange is likely to bring, to and fro.
    fn cost(&self, second: u64) -> usize {
        let state = self.state();
        let (recordings, most) = (&state.usage.recordings, state.recordings_max);
        if state.whole == Some(self.turn(second)) {
            recordings.untold().min(RECORDINGS_AT_ONCE).saturating_add(most.min(RECORDINGS_AT_ONCE))
        } else {
            recordings.count().min(RECORDINGS_AT_ONCE).saturating_add(most)
        }
    }

    /// What is to be told.
    fn own(&self, now: u32, second: u64) -> Own {
        let mut state = self.state();
        state.catch_up(self.unbooked(), now);
        // Once a minute all of it, as the others' memory may be lost. Not again before where it fails: it may have been too
        // much, and what was not heard is asked for from the last time on that something was.
        let turn = Some(self.turn(second));
        let whole = std::mem::replace(&mut state.whole, turn) != turn;
        if whole {
            state.usage.recordings.tell_all();
        }
        state.changed = false;
        let heard = state.heard.filter(|_| !whole);
        let oldest = DAY.oldest_minute(now);
        Own {
            subject: self.id,
            bytes: write(&state.usage.bytes),
            recordings: state.usage.recordings.tell(RECORDINGS_AT_ONCE),
            since: heard.map_or(oldest, |heard| heard.min(now).saturating_sub(RECENT).max(oldest)),
            oldest,
            now,
            recordings_max: state.recordings_max,
        }
    }

    fn heard(&self, own: &Own, others: &Others, now: u32) -> Vec<super::Alert> {
        let mut state = self.state();
        state.catch_up(self.unbooked(), now);
        let now = state.usage.now();
        let mut elsewhere = Bytes::new();
        others.bytes.iter().for_each(|text| read_into(&mut elsewhere, text));
        elsewhere.roll(now);
        state.usage.elsewhere = elsewhere;
        for (recording, at) in &others.recordings {
            state.usage.recordings.take(*recording, (*at).min(now), own.recordings_max);
        }
        (state.heard, state.missed) = (Some(own.now), false);
        state.alerts()
    }

    fn unheard(&self, own: &Own) {
        let mut state = self.state();
        if std::mem::replace(&mut state.missed, true) {
            state.usage.recordings.put_back(&own.recordings);
        } else {
            // Whatever keeps the others away may have taken their memory.
            state.usage.recordings.tell_all();
        }
        state.changed = true;
    }
}

/// Each window's slots: `h<slot>=<bytes>` and `d<slot>=<bytes>`, at most 110 of some 30 characters.
fn write(bytes: &Bytes) -> String {
    let hour = bytes.hour.amounts().map(|(slot, amount)| format!("h{slot}={amount}"));
    let day = bytes.day.amounts().map(|(slot, amount)| format!("d{slot}={amount}"));
    hour.chain(day).collect::<Vec<_>>().join(" ")
}

/// Adds what another replica wrote; what cannot be read is passed over.
fn read_into(bytes: &mut Bytes, text: &str) {
    for word in text.split(' ').take(HOUR.slots_max() + DAY.slots_max()) {
        let (Some(kind), Some((slot, amount))) = (word.get(..1), word.get(1..).and_then(|rest| rest.split_once('=')))
        else {
            continue;
        };
        let (Ok(slot), Ok(amount)) = (slot.parse(), amount.parse()) else { continue };
        match kind {
            "h" => bytes.hour.add_to(slot, amount),
            "d" => bytes.day.add_to(slot, amount),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
