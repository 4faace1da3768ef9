//! Lost sessions that may still live: how long they stand in the way of the next one.

use super::*;

fn resting() -> Arc<upstream::Error> {
    Arc::new(upstream::Error::Resting { why: upstream::Rest::Unanswered, retry_after: Duration::from_secs(30) })
}

/// The one that cannot be signed out is not asked away for ever: the gateway has forgotten it by itself.
#[test]
fn a_ghost_that_cannot_be_signed_out_is_given_up_though_somebody_always_asks() {
    let timeout = || Arc::new(upstream::Error::Timeout);
    for (error, lost) in [
        (unreachable as fn() -> _, LossCause::Silent),
        (resting, LossCause::Silent),
        (timeout, LossCause::Silent),
        (unreachable, LossCause::Refused),
    ] {
        let mut bench = Bench::active();
        if lost == LossCause::Silent {
            while bench.wake() != ["record Lost { cause: Silent }"] {}
        } else {
            bench.reject(1, 0, lost);
            bench.step(Event::SignOutAnswered(Err(error())));
        }
        let (since, mut tries) = (bench.now, 0);
        let read_at = loop {
            bench.after(Duration::from_secs(10));
            match bench.want().as_slice() {
                [effect] if effect == "read" => break bench.now,
                [effect] if effect == "sign out" => {
                    tries += 1;
                    let failed = bench.step(Event::SignOutAnswered(Err(error())));
                    assert!(failed[1].starts_with("refuse upstream"), "{failed:?}");
                }
                cooling => assert!(cooling[0].starts_with("refuse upstream"), "{cooling:?}"),
            }
            assert!(bench.now - since < 2 * MAXTIME, "{:?} after {tries} tries: {lost:?}", error());
        };
        assert!(read_at - since >= MAXTIME, "not while it may live: {:?}", read_at - since);
        assert!(tries >= 2, "{tries}");
    }
}
