//! Sums against plain ones.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A minute of November 2026, at the beginning of a slot of both spans.
const START: u32 = 29_900_010 / 30 * 30;

fn spans() -> impl Strategy<Value = Span> {
    prop_oneof![Just(HOUR), Just(DAY)]
}

const fn minutes(span: Span) -> u32 {
    span.slot * span.slots
}

#[test]
fn an_amount_leaves_one_window_after_the_end_of_its_slot() {
    for (span, last) in [(HOUR, 60), (DAY, 48 * 30 + 29)] {
        let mut window = Window::new(span);
        window.add(START, 7);
        window.roll(START + last);
        assert_eq!(window.total(), 7, "{span:?}");
        assert_eq!(free_again(&[&window], 0, 7, START + last), START + last + 1);
        window.roll(START + last + 1);
        assert_eq!((window.total(), window.is_empty()), (0, true), "{span:?}");
    }
}

#[test]
fn a_clock_that_is_set_back_forgets_nothing_and_keeps_nothing_for_longer_than_a_window() {
    let mut window = Window::new(HOUR);
    window.add(START + 10_000, 5);
    window.add(START, 2);
    window.roll(START);
    assert_eq!(window.total(), 7);
    assert_eq!(window.amounts().collect::<Vec<_>>(), [(START, 7)]);
    window.roll(START + 61);
    assert_eq!(window.total(), 0);
}

#[test]
fn what_runs_counts_as_of_now() {
    let mut window = Window::new(HOUR);
    window.add(START, 1);
    assert_eq!(free_again(&[&window], 1, 2, START + 30), START + 61, "the finished one leaves first");
    assert_eq!(free_again(&[&window], 2, 2, START + 30), START + 91, "those that run leave last");
}

proptest! {
    /// Whatever was counted within the last hour or day is in the sum, and nothing that is older by more than a slot.
    #[test]
    fn a_window_is_never_short_and_never_long_by_more_than_a_slot(
        span in spans(),
        events in prop::collection::vec((0_u32..4_000, 1_u64..1_000), 0..200),
    ) {
        let mut events = events;
        events.sort_unstable();
        let mut window = Window::new(span);
        for (place, (at, amount)) in events.iter().enumerate() {
            window.roll(START + at);
            window.add(START + at, *amount);
            let so_far = events.iter().take(place + 1);
            let within = |age: u32| -> u64 {
                so_far.clone().filter(|(then, _)| at - then < age).map(|(_, amount)| amount).sum()
            };
            prop_assert!(window.total() >= within(minutes(span)));
            prop_assert!(window.total() <= within(minutes(span) + span.slot));
            prop_assert!(window.amounts().count() <= span.slots as usize + 1);
        }
    }

    /// The minute that is told is the first one with room: not the one before it.
    #[test]
    fn the_end_of_a_refusal_is_exact(
        span in spans(),
        events in prop::collection::vec((0_u32..3_000, 1_u64..100), 1..100),
        others in prop::collection::vec((0_u32..3_000, 1_u64..100), 0..100),
        limit in 1_u64..500,
    ) {
        let now = START + 3_000;
        let filled = |events: &[(u32, u64)]| {
            let mut window = Window::new(span);
            for (at, amount) in events {
                window.add(START + at, *amount);
            }
            window.roll(now);
            window
        };
        let (mut own, mut other) = (filled(&events), filled(&others));
        prop_assume!(own.total() + other.total() >= limit);
        let free = free_again(&[&own, &other], 0, limit, now);
        prop_assert!(free > now);
        own.roll(free - 1);
        other.roll(free - 1);
        prop_assert!(own.total() + other.total() >= limit);
        own.roll(free);
        other.roll(free);
        prop_assert!(own.total() + other.total() < limit);
    }

    /// Any order of adding and taking back leaves what a plain sum by slot says.
    #[test]
    fn it_sums_as_a_plain_map_does(
        steps in prop::collection::vec((0_u32..60, 1_u64..100, any::<bool>()), 0..200),
    ) {
        let (mut window, mut plain) = (Window::new(HOUR), BTreeMap::<u32, u64>::new());
        for (at, amount, add) in steps {
            let sum = plain.entry(START + at).or_default();
            if add {
                window.add(START + at, amount);
                *sum += amount;
            } else {
                window.remove(START + at, amount);
                *sum = sum.saturating_sub(amount);
            }
        }
        let plain: Vec<_> = plain.into_iter().filter(|(_, sum)| *sum > 0).collect();
        prop_assert_eq!(window.total(), plain.iter().map(|(_, sum)| sum).sum::<u64>());
        prop_assert_eq!(window.amounts().collect::<Vec<_>>(), plain);
    }
}
