//! What stands in the account files, and what the gateway says to it.

use std::path::PathBuf;
use std::time::Duration;

use ccgate::sim::{Kind, Scope, SignInForm};
use futures_util::future::join_all;
use serde_json::json;

use crate::client::Answer;
use crate::issuer::seconds;
use crate::world::{CALL, PASSWORD, World, call, until};

async fn get(world: &World, agent: u32) -> Answer {
    world.get(&call(agent, CALL), &world.issuer.agent(agent)).await
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.code())
}

fn account(world: &World, agent: u32) -> PathBuf {
    world.dir().join(format!("accounts/{agent}.yaml"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_signed_in_elsewhere_is_busy_and_never_forced() {
    let world = World::new().sim(|sim| sim.sign_in_delay = Duration::from_millis(500)).start().await;
    world.sim.hold_elsewhere(1001);
    for answer in join_all((0..20).map(|_| get(&world, 1001))).await {
        assert_eq!(refused(&answer), (409, "agent_busy".to_owned()));
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    }
    let counts = world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_ins, counts.forced), (1, 0, 0));
    assert_eq!((world.events("denied").len(), world.events("authorized").len()), (20, 0));
    let told = world.events("session.refused");
    assert_eq!((told.len(), &told[0]["detail"], &told[0]["retcode"]), (1, &json!("agent_busy"), &json!("100-002")));
    world.sim.release(1001);
    until("it is free", || async { get(&world, 1001).await.status == 200 }).await;
    let counts = world.sim.counts();
    assert_eq!((counts.sign_ins, counts.forced), (1, 0));
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn takeover_throws_out_whoever_is_there_and_says_so_first() {
    let text = format!("password: {PASSWORD}\nphone_number: \"88001001\"\ntakeover: true\n");
    let world = World::new().file("accounts/1001.yaml", &text).start().await;
    world.sim.hold_elsewhere(1001);
    assert_eq!(get(&world, 1001).await.status, 200);
    assert_eq!((world.sim.counts().forced, world.sim.counts().sign_ins), (1, 1));
    assert_eq!(world.sim.signed_in(1001).unwrap().form, SignInForm::Forced);
    assert_eq!(world.sim.broken_rules(), []);
    let records = world.records();
    let place = |event: &str| records.iter().position(|record| record["event"] == event);
    assert!(place("session.forced").unwrap() < place("session.signed_in").unwrap(), "{records:?}");
    assert_eq!(records[place("session.signed_in").unwrap()]["detail"], "force");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once_until_the_file_changes() {
    let world = World::new().file("accounts/1001.yaml", "password: wrong\n").start().await;
    assert_eq!(refused(&get(&world, 1001).await), (503, "account_rejected".to_owned()));
    for answer in join_all((0..20).map(|_| get(&world, 1001))).await {
        assert_eq!(refused(&answer), (503, "account_rejected".to_owned()));
    }
    std::fs::write(account(&world, 1001), "password: wrong\n").unwrap();
    assert_eq!(refused(&get(&world, 1001).await), (503, "account_rejected".to_owned()), "the same text is no change");
    assert_eq!(world.sim.counts().sign_in_calls, 1);
    let barred = world.events("session.barred");
    assert_eq!((barred.len(), &barred[0]["retcode"]), (1, &json!("100-004")));

    world.sim.allow_password_retry(1001);
    std::fs::write(account(&world, 1001), format!("password: {PASSWORD}\n")).unwrap();
    assert_eq!(get(&world, 1001).await.status, 200);
    assert_eq!(world.sim.counts().sign_in_calls, 2);
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_account_asks_nobody_and_works_as_soon_as_it_is_there() {
    let world = World::new().start().await;
    assert_eq!(refused(&get(&world, 1003).await), (503, "account_missing".to_owned()));
    assert_eq!(world.sim.counts().requests, 0);
    let denied = world.events("denied");
    assert_eq!(
        (denied.len(), &denied[0]["code"], &denied[0]["decision"]["effect"]),
        (1, &json!("account_missing"), &json!("allow"))
    );
    std::fs::write(account(&world, 1003), format!("password: {PASSWORD}\n")).unwrap();
    assert_eq!(get(&world, 1003).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_account_file_is_a_clear_problem_and_heals_with_the_file() {
    let too_long = format!("password: {}\n", "p".repeat(33));
    let huge = format!("password: {PASSWORD}\n#{}\n", "x".repeat(20_000));
    let texts = [
        "",
        "\n",
        "password\n",
        "password: [1, 2]\n",
        "password: Planted-Passw0rd\nunknown: 1\n",
        "password: Planted-Passw0rd\npassword_file: other\n",
        "password_file: nowhere\n",
        "phone_number: \"1\"\n",
        "password: Planted-Passw0rd\nphone_number: \"12 34\"\n",
        "password: \"Planted-Passw0rd\n",
        "password: \"a\\nb\"\n",
        &too_long,
        &huge,
    ];
    let mut world = World::new();
    for (agent, text) in (3001..).zip(&texts) {
        world = world.file(&format!("accounts/{agent}.yaml"), text);
    }
    let world = world.start().await;
    let last = 3001 + u32::try_from(texts.len()).unwrap();
    // Nobody can read these, not even root: a file that is no text, a folder, a link to itself.
    std::fs::write(account(&world, last), [0xff, 0xfe]).unwrap();
    std::fs::create_dir(account(&world, last + 1)).unwrap();
    std::os::unix::fs::symlink(account(&world, last + 2), account(&world, last + 2)).unwrap();
    for agent in 3001..=last + 2 {
        let answer = get(&world, agent).await;
        assert_eq!(refused(&answer), (503, "account_unusable".to_owned()), "{agent}");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!text.contains(PASSWORD) && !text.contains("accounts/"), "{agent}: {text}");
    }
    assert_eq!(world.sim.counts().requests, 0);
    std::fs::write(account(&world, 3001), format!("password: {PASSWORD}\n")).unwrap();
    assert_eq!(get(&world, 3001).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_must_be_changed_bars_the_account_and_leaves_no_session() {
    let world = World::new().sim(|sim| sim.must_change = true).start().await;
    for answer in join_all((0..20).map(|_| get(&world, 1001))).await {
        assert_eq!(refused(&answer), (503, "account_rejected".to_owned()));
    }
    until("it is signed out", || async { world.sim.counts().sign_outs == 1 }).await;
    assert_eq!(refused(&get(&world, 1001).await), (503, "account_rejected".to_owned()));
    let counts = world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.downloads + counts.download_refusals), (1, 0));
    let barred = world.events("session.barred");
    assert_eq!((barred.len(), &barred[0]["detail"]), (1, &json!("must_change_password")));
    assert_eq!(world.sim.guid_of(1001), None);

    std::fs::write(account(&world, 1001), format!("password: {PASSWORD}\n# changed\n")).unwrap();
    assert_eq!(refused(&get(&world, 1001).await), (503, "account_rejected".to_owned()));
    assert_eq!(world.sim.counts().sign_in_calls, 2);
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_password_to_expire_is_a_metric() {
    const NAME: &str = "ccgate_account_password_expiry_timestamp_seconds";
    let world = World::new().sim(|sim| sim.password_days = Some(5)).start().await;
    assert_eq!(world.metric(NAME).await, None, "nothing is known before a sign-in");
    let before = seconds();
    assert_eq!(get(&world, 1001).await.status, 200);
    let expiry = world.metric(NAME).await.unwrap();
    #[allow(clippy::cast_precision_loss, reason = "seconds since the epoch")]
    let expected = (before + 5 * 86_400) as f64..=(seconds() + 5 * 86_400) as f64;
    assert!(expected.contains(&expiry), "{expiry} {expected:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_wants_a_full_sign_in_is_told_from_a_lost_session() {
    let world = World::new().sim(|sim| sim.full_sign_in_only = true).start().await;
    let answer = get(&world, 1001).await;
    assert_eq!(refused(&answer), (403, "upstream_forbidden".to_owned()));
    assert_eq!(answer.json()["retcode"], "000-003");
    assert!(answer.json()["detail"].as_str().unwrap().contains("sessions.sign_in: full"), "{answer:?}");
    let counts = world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_outs), (2, 1));
    assert_eq!(world.sim.broken_rules(), []);

    let text = format!("password: {PASSWORD}\nphone_number: \"88001001\"\n");
    let world = World::new().file("accounts/1001.yaml", &text).sim(|sim| sim.full_sign_in_only = true);
    let world = world.config(|config| config["sessions"]["sign_in"] = "full".into()).start().await;
    assert_eq!(get(&world, 1001).await.status, 200);
    let signed_in = world.sim.signed_in(1001).unwrap();
    assert_eq!((signed_in.form, signed_in.status, signed_in.auto_enter_idle), (SignInForm::Full, 3, false));
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_switches_over_is_asked_again_later() {
    for retcode in ["000-004", "100-003"] {
        let world = World::new().start().await;
        world.fault(Kind::Retcode(retcode.to_owned()), Scope::SignIn, 1);
        let answer = get(&world, 1001).await;
        assert_eq!(refused(&answer), (503, "upstream_switching".to_owned()), "{retcode}");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        until("it is back", || async { get(&world, 1001).await.status == 200 }).await;
        assert_eq!((world.sim.counts().sign_in_calls, world.sim.broken_rules()), (2, vec![]));
    }
}
