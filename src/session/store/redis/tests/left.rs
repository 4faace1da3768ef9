//! What an owner leaves behind, and to whom it is told.

use super::*;

#[tokio::test]
async fn what_an_owner_left_is_told_again_until_the_next_one_has_written() {
    let server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    one.writes(1001).await;
    one.end().await;
    let (first, left) = two.owns(1001).await;
    assert!(left.is_some_and(|left| matches!(left.entry, Some(Entry::Live(_)))));
    // The answer to the first may have been lost on its way.
    let (second, left) = two.owns(1001).await;
    assert!(left.is_some_and(|left| matches!(left.entry, Some(Entry::Live(_)))), "again");
    assert!(second > first);
    two.store.write(agent(1001), second, live()).await.expect("written");
    let (_, left) = two.owns(1001).await;
    assert!(left.is_none(), "its own is nothing left");
}

#[tokio::test]
async fn why_there_is_no_session_stays_when_its_owner_lets_go_and_a_session_does_not() {
    let server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    let (fence, _) = one.owns(1001).await;
    let cooling = Entry::Cooling(Cooling {
        trouble: crate::session::store::Trouble::AgentBusy,
        lasts: Duration::from_secs(30),
        doubt_lasts: Duration::ZERO,
    });
    one.store.write(agent(1001), fence, cooling).await.expect("written");
    one.store.release(agent(1001), fence).await.expect("released");
    let (_, left) = two.owns(1001).await;
    assert!(left.is_some_and(|left| matches!(left.entry, Some(Entry::Cooling(_)))));
    let fence = one.writes(1002).await;
    one.store.release(agent(1002), fence).await.expect("released");
    assert!(two.owns(1002).await.1.is_none());
}
