//! Who gets a place, and who is asked to go.

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn crowd(per_peer: usize) -> Arc<Crowd> {
    Crowd::new(per_peer, vec!["10.0.0.0/24".parse().expect("a network")])
}

#[tokio::test]
async fn a_peer_has_so_many_places_and_no_more() {
    let crowd = crowd(2);
    for (first, second, third, other) in [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
        // One client is given a whole network of 64 bits.
        ("2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::", "2001:db8:0:1::1"),
    ] {
        let kept = [crowd.enter(address(first)), crowd.enter(address(second))];
        assert!(kept.iter().all(Option::is_some));
        assert!(crowd.enter(address(third)).is_none(), "{third}");
        assert!(crowd.enter(address(other)).is_some(), "{other}");
        let [one, _two] = kept;
        drop(one);
        assert!(crowd.enter(address(third)).is_some(), "a place is free again");
    }
    let inside = crowd.lock();
    assert_eq!((inside.all.len(), inside.of_peer.len()), (0, 0), "nothing is kept of those who went");
}

#[tokio::test]
async fn who_stands_for_many_is_not_counted() {
    let crowd = crowd(1);
    for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.0.0.7", "::ffff:10.0.0.7"] {
        let places: Vec<_> = (0..5).map(|_| crowd.enter(address(peer))).collect();
        assert!(places.iter().all(Option::is_some), "{peer}");
    }
    let _one = crowd.enter(address("10.0.1.7")).expect("a place");
    assert!(crowd.enter(address("10.0.1.7")).is_none(), "beside the proxies' network");
}

/// A crowd of places that began to wait one after the other.
async fn waiting(crowd: &Arc<Crowd>, count: usize) -> Vec<Place> {
    let mut places = Vec::new();
    for _ in 0..count {
        tokio::time::advance(std::time::Duration::from_millis(10)).await;
        let place = crowd.enter(address("127.0.0.1")).expect("a place");
        place.waits();
        places.push(place);
    }
    places
}

fn asked(places: &[Place]) -> Vec<usize> {
    let asked = |place: &Place| place.progress.asked.load(Ordering::Relaxed);
    places.iter().enumerate().filter(|(_, place)| asked(place)).map(|(at, _)| at).collect()
}

#[tokio::test(start_paused = true)]
async fn room_is_made_by_who_waits_longest_and_was_never_served() {
    let crowd = crowd(9);
    let places = waiting(&crowd, 4).await;
    places[0].served();
    let _turn = places[1].turn(false);
    for expected in [&[2][..], &[2, 3], &[0, 2, 3]] {
        assert_eq!(crowd.make_room(), 1);
        assert_eq!(asked(&places), expected);
    }
    assert_eq!(crowd.make_room(), 0, "a request under way is nobody's room");
    tokio::time::timeout(std::time::Duration::from_secs(1), places[2].wanted()).await.expect("told");
}

#[tokio::test]
async fn who_is_not_let_in_yet_is_nobodys_room() {
    let crowd = crowd(9);
    let place = crowd.enter(address("127.0.0.1")).expect("a place");
    assert_eq!((crowd.make_room(), place.progress.goes()), (0, false));
    place.waits();
    assert_eq!(crowd.make_room(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_go_at_once_where_many_wait() {
    let crowd = crowd(9);
    let places = waiting(&crowd, 3 * ROOM_SHARE).await;
    assert_eq!((crowd.make_room(), asked(&places)), (3, vec![0, 1, 2]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_cut_before_it_is_written_and_a_refusal_may_be() {
    let crowd = crowd(9);
    let places = waiting(&crowd, 2).await;
    drop(places[0].turn(false).answered(true));
    drop(places[1].turn(false));
    assert!(!places[0].progress.goes() && places[0].progress.has_answered());
    assert_eq!((crowd.make_room(), asked(&places)), (1, vec![1]));
    places[0].waits();
    assert_eq!((crowd.make_room(), asked(&places)), (1, vec![0, 1]));
    let _turn = places[1].turn(true);
    assert!(!places[1].progress.goes(), "it asked for something before it went");
    assert!(places[1].progress.leaves_unread());
}

#[tokio::test(start_paused = true)]
async fn who_was_served_goes_alone_however_many_wait() {
    for (strangers, gone) in [(0, 1), (1, 1), (2, 2), (9, 3)] {
        let crowd = crowd(9);
        let places = waiting(&crowd, 3 * ROOM_SHARE).await;
        for place in &places[strangers..] {
            place.served();
        }
        assert_eq!((crowd.make_room(), asked(&places)), (gone, (0..gone).collect()), "{strangers}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_stayed_for_a_request_may_be_asked_again_once_it_is_refused() {
    let crowd = crowd(9);
    let places = waiting(&crowd, 1).await;
    assert_eq!(crowd.make_room(), 1);
    let turn = places[0].turn(false);
    assert_eq!((crowd.make_room(), places[0].progress.goes()), (0, false));
    // Its client reads nothing, so it does not wait again.
    drop(turn);
    assert_eq!((crowd.make_room(), places[0].progress.goes()), (1, true));
}
