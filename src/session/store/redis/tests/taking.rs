//! Sessions that are taken from owners that live, for the agents' own apps.

use super::*;

#[tokio::test]
async fn what_lives_is_taken_from_an_owner_that_lives_while_its_fence_is_the_newest() {
    let server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    let fence = one.writes(1001).await;
    one.forget();
    let take = async |process: &Process, fence: u64| process.store.take(agent(1001), fence).await.expect("an answer");
    let Found::Owned { fence: first, left } = take(&two, fence).await else { panic!("not taken") };
    assert!(first > fence && is_live(left.as_ref()));
    one.hears(Told::Changed(agent(1001))).await;
    assert!(matches!(one.store.write(agent(1001), fence, live()).await, Err(Error::Superseded)));
    // The answer may have been lost: what was left is told until the new owner writes.
    let Found::Owned { fence: second, left } = take(&two, fence).await else { panic!("not taken again") };
    assert!(second > first && is_live(left.as_ref()));
    two.store.write(agent(1001), second, live()).await.expect("written");
    // Whoever comes late is told whose it is.
    let Found::Theirs { fence: newest, entry } = take(&one, fence).await else { panic!("taken with an old fence") };
    assert!(newest == second && is_live(entry.as_ref()));
    two.store.release(agent(1001), second).await.expect("released");
    let Found::Owned { left, .. } = take(&one, second).await else { panic!("nobody's") };
    assert!(left.is_none());
}

#[tokio::test]
async fn nothing_is_taken_while_the_store_settles() {
    let server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    let fence = one.writes(1001).await;
    server.command(&["FLUSHALL"]).await;
    assert!(matches!(two.store.take(agent(1001), fence).await, Err(Error::Unavailable { .. })));
}
