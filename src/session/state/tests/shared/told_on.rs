//! Whoever becomes the owner takes from the store what stood there, and where nothing comes of it, tells it on.

use super::*;

/// What the store is told from now on, up to the release.
fn told(shared: &mut Shared, mut effects: Vec<Effect>) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        let Some(out) = effects.drain(..).find_map(|effect| match effect {
            Effect::Store(out) => Some(out),
            _ => None,
        }) else {
            panic!("never released: {entries:?}");
        };
        match out {
            Out::Write { entry, .. } => entries.push(entry),
            Out::Release { .. } => return entries,
            Out::Tell { .. } => {}
        }
        effects = shared.effects(Event::Stored(Ok(())));
    }
}

const DOUBT: Duration = Duration::from_secs(100);

#[allow(clippy::unnecessary_wraps, reason = "as the store hands it out")]
fn left(entry: Option<Entry>) -> Option<Left> {
    Some(Left { entry, age: Duration::ZERO })
}

fn doubt() -> Option<Left> {
    let cooling = Cooling { trouble: Trouble::Timeout, lasts: Duration::ZERO, doubt_lasts: DOUBT };
    left(Some(Entry::Cooling(cooling)))
}

fn bar() -> Option<Left> {
    let fingerprint = Fingerprint::of(b"a");
    left(Some(Entry::Barred { cause: BarCause::WrongPassword, fingerprint }))
}

/// A machine that has become the owner of what another left and reads the account.
fn reading(left: Option<Left>) -> Shared {
    let mut shared = Shared::new();
    shared.want();
    assert_eq!(shared.owned(FENCE, left), ["read"]);
    shared
}

fn is_told(entries: &[Entry], bar: bool) {
    match entries.last() {
        Some(Entry::Barred { .. }) if bar => {}
        Some(Entry::Cooling(cooling)) if !bar => {
            assert!(cooling.doubt_lasts > DOUBT.saturating_sub(LEASE * 2), "{cooling:?}");
            assert!(cooling.lasts.is_zero(), "whoever comes next can try: {cooling:?}");
        }
        _ => panic!("{entries:?}, with a bar: {bar}"),
    }
}

#[test]
fn a_try_that_is_not_made_wipes_neither_a_doubt_nor_a_bar() {
    for with_bar in [false, true] {
        let left = || if with_bar { bar() } else { doubt() };
        // The account cannot be read.
        let mut shared = reading(left());
        let effects = shared.effects(Event::AccountRead(Err(Error::AccountMissing)));
        is_told(&told(&mut shared, effects), with_bar);
        // The tenure ends meanwhile, or the process.
        let mut shared = reading(left());
        let effects = shared.after(LEASE).effects(Event::AccountRead(Ok(account("b", true))));
        is_told(&told(&mut shared, effects), with_bar);
        let mut shared = reading(left());
        shared.step(Event::Stop);
        let effects = shared.effects(Event::AccountRead(Ok(account("b", true))));
        is_told(&told(&mut shared, effects), with_bar);
        // No turn at the sign-ins, and a gateway that is left alone.
        let mut shared = reading(left());
        shared.step(Event::AccountRead(Ok(account("b", true))));
        let effects = shared.effects(Event::SignInNotMade(Error::Timeout));
        is_told(&told(&mut shared, effects), with_bar);
        let mut shared = reading(left());
        shared.step(Event::AccountRead(Ok(account("b", true))));
        let why = upstream::Rest::Unanswered;
        let resting = Arc::new(upstream::Error::Resting { why, retry_after: Duration::from_secs(5) });
        let effects = shared.effects(Event::SignInAnswered(Err(resting)));
        is_told(&told(&mut shared, effects), with_bar);
        assert_eq!(shared.want(), ["refuse upstream_unreachable"], "here it cools down");
    }
}

/// The owner before may have been signing in when it ended.
#[test]
fn whoever_ends_before_it_goes_on_leaves_the_doubt_it_found() {
    for entry in [None, Some(Entry::SigningIn)] {
        let mut shared = Shared::new();
        shared.want();
        shared.step(Event::Stop);
        let effects = shared.effects(Event::Sought(Ok(Found::Owned { fence: FENCE, left: left(entry) })));
        let entries = told(&mut shared, effects);
        let Some(Entry::Cooling(cooling)) = entries.last() else { panic!("{entries:?}") };
        assert_eq!((cooling.lasts, cooling.doubt_lasts), (DOUBT_COOLING, MAXTIME));
    }
}

#[test]
fn a_sign_out_that_nobody_waits_for_leaves_the_doubt() {
    let mut shared = Shared::new();
    shared.want();
    let live = Live { alive_ago: DOUBT, ..entry(5, 0) };
    shared.owned(FENCE, left(Some(Entry::Live(live))));
    shared.session.doubt_for(DOUBT, shared.now);
    shared.step(Event::Stored(Ok(())));
    shared.step(Event::SignOutAsked);
    let effects = shared.effects(Event::SignOutAnswered(Ok(())));
    is_told(&told(&mut shared, effects), false);
}
