//! A web app downloads recordings with its token.

use ccgate::sim;
use serde_json::json;

use crate::world::{CALL, World, call, hex, recording};

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_own_recording_arrives_whole_and_is_recorded() {
    let world = World::new().start().await;
    let answer = world.get(&call(1001, CALL), &world.issuer.agent(1001)).await;
    assert_eq!((answer.status.as_u16(), answer.whole), (200, true));
    let size = answer.body.len() as u64;
    let expected = sim::body_sha256(CALL, size);
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &answer.body);
    assert_eq!(sha256.as_ref(), expected);
    let entry = answer.header("ccgate-audit-id");
    let end = world.end_of(entry).await;
    assert_eq!((&end["event"], &end["delivery"]["client_bytes"]), (&json!("finished"), &json!(size)));
    assert_eq!(end["delivery"]["sha256"], hex(&expected));
    let opened = world.events("authorized");
    assert_eq!((opened.len(), &opened[0]["entry"]), (1, &json!(entry)));
    assert_eq!((world.sim.broken_rules(), world.sim.counts().sign_ins), (vec![], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agents_recording_is_refused_recorded_and_not_asked_for() {
    let world = World::new().start().await;
    let answer = world.get(&recording(1001, "Y:/90/0/20210519/4977/1642329.V3"), &world.issuer.agent(1001)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "not_your_recording"));
    let denied = world.events("denied");
    assert_eq!((denied.len(), &denied[0]["who"]["subject"]), (1, &json!("alice")));
    assert_eq!(world.sim.counts().requests, 0);
}
