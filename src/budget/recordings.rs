//! Which recordings a person has taken, each once in a window however often. It keeps the newest of them only, as many as
//! the limit allows: with those every decision is the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::names::RecordingId;
use super::window::{DAY, HOUR, Span, Window, free_again};

/// Recordings that are remembered of all persons together: four million of some 24 bytes are 100 MB.
const ALL_MAX: usize = 4 << 20;

/// How many recordings are remembered, over all persons.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Arc<AtomicUsize>);

impl Tally {
    pub(super) fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= ALL_MAX
    }
}

/// The recordings of one person.
#[derive(Debug)]
pub(super) struct Recordings {
    /// When each was last taken, in minutes.
    seen: HashMap<RecordingId, u32>,
    /// Of `seen`: how many, by when they were last taken.
    hour: Window,
    day: Window,
    /// Those that are being taken, with the number of downloads. They count as of now, whether or not a byte has come.
    taking: HashMap<RecordingId, u32>,
    /// Of `seen`: what other replicas have not been told.
    untold: HashMap<RecordingId, u32>,
    tally: Tally,
}

impl Recordings {
    pub(super) fn new(tally: Tally) -> Self {
        Self {
            seen: HashMap::new(),
            hour: Window::new(HOUR),
            day: Window::new(DAY),
            taking: HashMap::new(),
            untold: HashMap::new(),
            tally,
        }
    }

    /// Goes to a minute. What was taken more than a day ago is forgotten.
    pub(super) fn roll(&mut self, now: u32) {
        let before = self.day.total();
        let ahead =
            |window: &Window| window.amounts().last().is_some_and(|(slot, _)| slot > window.span().slot_of(now));
        // The hour's window may be empty when the clock is set back; what a restart counts can lie ahead of the first minute.
        if now < self.day.now() || ahead(&self.hour) || ahead(&self.day) {
            self.set_back(now);
        }
        self.hour.roll(now);
        self.day.roll(now);
        if self.day.total() < before {
            self.seen.retain(|_, at| DAY.holds(*at, now));
            self.untold.retain(|_, at| DAY.holds(*at, now));
            self.recount(before);
        }
    }

    /// The clock was set back: what lies ahead counts as of now.
    fn set_back(&mut self, now: u32) {
        (self.hour, self.day) = (Window::new(HOUR), Window::new(DAY));
        for at in self.seen.values_mut() {
            *at = (*at).min(now);
            self.hour.add(*at, 1);
            self.day.add(*at, 1);
        }
        self.untold.values_mut().for_each(|at| *at = (*at).min(now));
    }

    /// How many count in a span, those included that are being taken.
    pub(super) fn used(&self, span: Span, now: u32) -> u64 {
        self.window(span).total().saturating_add(self.running(span, now))
    }

    /// Whether a recording counts in a span already.
    pub(super) fn has(&self, recording: RecordingId, span: Span, now: u32) -> bool {
        self.taking.contains_key(&recording) || self.was_taken(recording, span, now)
    }

    /// The minute in which another recording can be taken within `limit`.
    pub(super) fn free_again(&self, span: Span, limit: u64, now: u32) -> u32 {
        free_again(&[self.window(span)], self.running(span, now), limit, now)
    }

    /// Whether one more can be remembered, or this one is.
    pub(super) fn has_room_for(&self, recording: RecordingId) -> bool {
        self.seen.contains_key(&recording) || !self.tally.is_full()
    }

    /// A download of it begins.
    pub(super) fn begin(&mut self, recording: RecordingId) {
        *self.taking.entry(recording).or_default() += 1;
    }

    /// A download of it ends. It counts from now on where a byte of it was handed over.
    pub(super) fn end(&mut self, recording: RecordingId, taken: bool, now: u32, max: usize) {
        if let Some(count) = self.taking.get_mut(&recording) {
            *count -= 1;
            if *count == 0 {
                self.taking.remove(&recording);
            }
        }
        if taken && self.take(recording, now, max) {
            self.untold.insert(recording, now);
        }
    }

    /// It was taken in a minute, which need not be the newest: whether that is news. Of more than `max` the oldest are
    /// forgotten.
    pub(super) fn take(&mut self, recording: RecordingId, at: u32, max: usize) -> bool {
        let before = self.seen.get(&recording).copied();
        let known = before.is_some_and(|before| before >= at) || !DAY.holds(at, self.day.now());
        if max == 0 || known || (before.is_none() && self.tally.is_full()) {
            return false;
        }
        let length = self.seen.len();
        self.seen.insert(recording, at);
        for window in [&mut self.hour, &mut self.day] {
            if let Some(before) = before {
                window.remove(before, 1);
            }
            window.add(at, 1);
        }
        self.recount(length as u64);
        // A tenth more than is needed, so that few insertions look for the oldest.
        if self.seen.len() > max + max / 10 + 16 {
            self.forget_all_but(max);
        }
        true
    }

    fn forget_all_but(&mut self, max: usize) {
        let length = self.seen.len();
        let mut by_age: Vec<_> = self.seen.iter().map(|(recording, at)| (*at, *recording)).collect();
        let (oldest, ..) = by_age.select_nth_unstable(length.saturating_sub(max));
        for (at, recording) in oldest {
            self.seen.remove(recording);
            self.untold.remove(recording);
            self.hour.remove(*at, 1);
            self.day.remove(*at, 1);
        }
        self.recount(length as u64);
    }

    /// At most so many that other replicas have not been told; they are told now, unless they are put back.
    pub(super) fn tell(&mut self, max: usize) -> Vec<(RecordingId, u32)> {
        let told: Vec<_> = self.untold.iter().take(max).map(|(recording, at)| (*recording, *at)).collect();
        for (recording, _) in &told {
            self.untold.remove(recording);
        }
        told
    }

    /// All are to be told again.
    pub(super) fn tell_all(&mut self) {
        self.untold.clone_from(&self.seen);
    }

    pub(super) fn put_back(&mut self, told: &[(RecordingId, u32)]) {
        for (recording, at) in told {
            self.untold.entry(*recording).or_insert(*at);
        }
    }

    pub(super) fn is_all_told(&self) -> bool {
        self.untold.is_empty()
    }

    /// How many other replicas have not been told.
    pub(super) fn untold(&self) -> usize {
        self.untold.len()
    }

    /// How many are remembered.
    pub(super) fn count(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.taking.is_empty()
    }

    fn window(&self, span: Span) -> &Window {
        if span == HOUR { &self.hour } else { &self.day }
    }

    fn was_taken(&self, recording: RecordingId, span: Span, now: u32) -> bool {
        self.seen.get(&recording).is_some_and(|at| span.holds(*at, now))
    }

    /// Those that are being taken and not counted as taken.
    fn running(&self, span: Span, now: u32) -> u64 {
        self.taking.keys().filter(|recording| !self.was_taken(**recording, span, now)).count() as u64
    }

    fn recount(&self, before: u64) {
        let (before, now) = (usize::try_from(before).unwrap_or(usize::MAX), self.seen.len());
        if now >= before {
            self.tally.0.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.tally.0.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        self.tally.0.fetch_sub(self.seen.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// At the beginning of a slot of both spans.
    const START: u32 = 29_900_010 / 30 * 30;

    fn id(number: u64) -> RecordingId {
        RecordingId(number)
    }

    #[test]
    fn one_that_gave_no_byte_counts_only_while_it_runs() {
        let mut recordings = Recordings::new(Tally::default());
        recordings.roll(START);
        recordings.begin(id(1));
        recordings.begin(id(1));
        assert_eq!((recordings.used(HOUR, START), recordings.has(id(1), HOUR, START)), (1, true));
        recordings.end(id(1), false, START, 10);
        assert_eq!(recordings.used(HOUR, START), 1, "the other one runs");
        recordings.end(id(1), false, START, 10);
        assert_eq!((recordings.used(HOUR, START), recordings.is_empty()), (0, true));
        recordings.begin(id(1));
        recordings.end(id(1), true, START, 10);
        assert_eq!((recordings.used(HOUR, START), recordings.used(DAY, START)), (1, 1));
        assert_eq!(recordings.free_again(HOUR, 1, START), START + 61);
    }

    #[test]
    fn after_a_clock_was_set_back_nothing_is_forgotten_and_nothing_stays_for_ever() {
        let mut recordings = Recordings::new(Tally::default());
        recordings.roll(START + 100_000);
        (0..3).for_each(|number| assert!(recordings.take(id(number), START + 100_000, 10)));
        recordings.roll(START);
        assert_eq!((recordings.used(HOUR, START), recordings.used(DAY, START)), (3, 3));
        assert!(recordings.has(id(2), HOUR, START));
        recordings.roll(START + 61);
        assert_eq!((recordings.used(HOUR, START + 61), recordings.used(DAY, START + 61)), (0, 3));
        recordings.roll(START + 49 * 30);
        assert_eq!((recordings.used(DAY, START + 49 * 30), recordings.is_empty()), (0, true));
    }

    #[test]
    fn after_a_clock_was_set_back_over_an_hour_without_downloads_nothing_stays_for_ever() {
        let mut recordings = Recordings::new(Tally::default());
        recordings.roll(START + 100_000);
        assert!(recordings.take(id(1), START + 100_000, 10));
        recordings.roll(START + 100_090);
        assert_eq!((recordings.used(HOUR, START + 100_090), recordings.used(DAY, START + 100_090)), (0, 1));
        recordings.roll(START);
        assert_eq!(recordings.used(DAY, START), 1, "as of now");
        assert_eq!(recordings.free_again(DAY, 1, START), START + 49 * 30);
        recordings.roll(START + 49 * 30);
        assert_eq!((recordings.used(DAY, START + 49 * 30), recordings.is_empty()), (0, true));
    }

    #[test]
    fn what_is_remembered_is_counted_over_all_persons_and_given_back() {
        let tally = Tally::default();
        let held = |tally: &Tally| tally.0.load(Ordering::Relaxed);
        let mut one = Recordings::new(tally.clone());
        let mut two = Recordings::new(tally.clone());
        (0..100).for_each(|number| assert!(one.take(id(number), START, 10)));
        assert!(two.take(id(1), START, 10) && !two.take(id(1), START, 10));
        let (kept, limit) = (one.seen.len(), 10 + 1 + 16);
        assert!((10..=limit).contains(&kept), "{kept}");
        assert_eq!(held(&tally), kept + 1);
        two.roll(START + 49 * 30);
        assert_eq!(held(&tally), kept);
        drop(one);
        assert_eq!(held(&tally), 0);
    }

    #[test]
    fn what_other_replicas_do_not_know_is_told_once_and_again_where_it_failed() {
        let mut recordings = Recordings::new(Tally::default());
        for number in 0..5 {
            recordings.begin(id(number));
            recordings.end(id(number), true, START, 10);
        }
        let told = recordings.tell(3);
        assert_eq!((told.len(), recordings.is_all_told()), (3, false));
        recordings.put_back(&told);
        assert_eq!(recordings.tell(9).len(), 5);
        assert!(recordings.is_all_told());
        assert!(recordings.take(id(77), START, 10), "from another replica");
        assert!(recordings.is_all_told(), "it comes from there");
        recordings.tell_all();
        assert_eq!(recordings.tell(9).len(), 6);
    }

    proptest! {
        /// Every number is that of a plain list of all downloads; a limit that is kept to needs no more than it allows.
        #[test]
        fn it_counts_as_a_plain_list_does(
            steps in prop::collection::vec((0_u32..100, 0_u64..12), 1..120),
            max in 1_usize..20,
        ) {
            let mut recordings = Recordings::new(Tally::default());
            let mut last = BTreeMap::<u64, u32>::new();
            let mut now = START;
            for (wait, number) in steps {
                now += wait;
                recordings.roll(now);
                recordings.begin(id(number));
                recordings.end(id(number), true, now, max);
                last.insert(number, now);
                for span in [HOUR, DAY] {
                    let plain = last.values().filter(|at| span.holds(**at, now)).count() as u64;
                    let used = recordings.used(span, now);
                    // Beyond what a limit allows the oldest may be forgotten.
                    prop_assert!(used == plain || (used >= max as u64 && plain >= max as u64), "{used} {plain}");
                }
            }
        }
    }
}
