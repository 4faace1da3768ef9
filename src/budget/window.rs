//! Sums over a rolling window, in slots. It asks no clock and never counts less than the window holds.
//!
//! A window of n slots sums the slot that runs and the n before it, so it reaches back between one window and one window
//! and a slot: what it holds leaves up to one slot late, never early. Slots are numbered from the epoch, so replicas whose
//! clocks agree have the same ones.

use std::collections::VecDeque;

/// How far a window reaches back, and in which steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Length of a slot, in minutes.
    slot: u32,
    /// Slots beside the one that runs.
    slots: u32,
}

/// 60 slots of a minute.
pub(super) const HOUR: Span = Span { slot: 1, slots: 60 };
/// 48 slots of half an hour.
pub(super) const DAY: Span = Span { slot: 30, slots: 48 };

impl Span {
    /// The slot that a minute is in.
    pub(super) const fn slot_of(self, minute: u32) -> u32 {
        minute / self.slot
    }

    /// The oldest slot that counts in this minute.
    const fn oldest(self, minute: u32) -> u32 {
        self.slot_of(minute).saturating_sub(self.slots)
    }

    /// Whether what was counted in the minute `at` still counts in the minute `now`.
    pub(super) const fn holds(self, at: u32, now: u32) -> bool {
        self.slot_of(at) >= self.oldest(now)
    }

    /// The oldest minute that counts.
    pub(super) const fn oldest_minute(self, now: u32) -> u32 {
        self.oldest(now) * self.slot
    }

    /// Slots that can be filled at once.
    pub(super) const fn slots_max(self) -> usize {
        self.slots as usize + 1
    }

    /// The minute in which a slot no longer counts.
    pub(super) const fn end_of(self, slot: u32) -> u32 {
        slot.saturating_add(self.slots).saturating_add(1).saturating_mul(self.slot)
    }
}

/// Amounts by slot. At most one for each slot of the span and the one that runs: 61 or 49.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    span: Span,
    /// Ascending by slot; none is 0.
    amounts: VecDeque<(u32, u64)>,
    total: u64,
    /// The minute of the last [`Window::roll`].
    now: u32,
}

impl Window {
    pub(super) const fn new(span: Span) -> Self {
        Self { span, amounts: VecDeque::new(), total: 0, now: 0 }
    }

    pub(super) const fn span(&self) -> Span {
        self.span
    }

    /// What is in the window, as of the last [`Window::roll`].
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// The minute of the last [`Window::roll`].
    pub(super) const fn now(&self) -> u32 {
        self.now
    }

    /// By slot, ascending.
    pub(super) fn amounts(&self) -> impl Iterator<Item = (u32, u64)> {
        self.amounts.iter().copied()
    }

    /// Goes to a minute. What is older leaves; what lies ahead, as the clock was set back, counts as of now, so that it
    /// leaves one window from now at the latest.
    pub(super) fn roll(&mut self, now: u32) {
        self.now = now;
        let (oldest, newest) = (self.span.oldest(now), self.span.slot_of(now));
        while let Some((_, amount)) = self.amounts.pop_front_if(|(slot, _)| *slot < oldest) {
            self.total = self.total.saturating_sub(amount);
        }
        let mut ahead = 0_u64;
        while let Some((_, amount)) = self.amounts.pop_back_if(|(slot, _)| *slot > newest) {
            ahead = ahead.saturating_add(amount);
            self.total = self.total.saturating_sub(amount);
        }
        self.add_to(newest, ahead);
    }

    /// Counts an amount in a minute that need not be the newest.
    pub(super) fn add(&mut self, minute: u32, amount: u64) {
        self.add_to(self.span.slot_of(minute), amount);
    }

    /// Counts an amount in a slot; nothing where that has left already.
    pub(super) fn add_to(&mut self, slot: u32, amount: u64) {
        if amount == 0 || slot < self.span.oldest(self.now) {
            return;
        }
        let place = self.amounts.partition_point(|(other, _)| *other < slot);
        match self.amounts.get_mut(place).filter(|(other, _)| *other == slot) {
            Some((_, sum)) => *sum = sum.saturating_add(amount),
            None => self.amounts.insert(place, (slot, amount)),
        }
        self.total = self.total.saturating_add(amount);
    }

    /// Takes back what was counted in a minute; what has left meanwhile is no longer there to be taken.
    pub(super) fn remove(&mut self, minute: u32, amount: u64) {
        let slot = self.span.slot_of(minute);
        let Ok(place) = self.amounts.binary_search_by_key(&slot, |(slot, _)| *slot) else { return };
        let Some((_, sum)) = self.amounts.get_mut(place) else { return };
        let taken = amount.min(*sum);
        *sum -= taken;
        if *sum == 0 {
            self.amounts.remove(place);
        }
        self.total = self.total.saturating_sub(taken);
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.amounts.is_empty()
    }
}

/// The first minute in which the windows, all of one span, and `running`, which counts as of now, sum to less than `limit`.
pub(super) fn free_again(windows: &[&Window], running: u64, limit: u64, now: u32) -> u32 {
    let Some(span) = windows.first().map(|window| window.span) else { return now };
    let mut sum = windows.iter().fold(running, |sum, window| sum.saturating_add(window.total));
    let mut amounts: Vec<_> = windows.iter().flat_map(|window| window.amounts()).collect();
    amounts.sort_unstable();
    for (slot, amount) in amounts {
        sum = sum.saturating_sub(amount);
        if sum < limit {
            return span.end_of(slot);
        }
    }
    span.end_of(span.slot_of(now))
}

#[cfg(test)]
mod tests;
