//! A whole ccgate whose records are shipped.

use std::path::Path;

use serde_json::json;

use crate::ONE_AT_A_TIME;
use crate::nats::{Nats, without_duplicates};
use crate::world::{Builder, World, call, until};

const CALL: &str = "1621413752-1";

/// Gives the log a name.
fn named(world: Builder) -> Builder {
    world.config(|config| config["audit"]["origin"] = "ccgate.audit/test".into())
}

fn lines(dir: &Path) -> Vec<String> {
    let segments = ccgate::trail::segments(&dir.join("audit")).unwrap();
    let text = segments.iter().map(|segment| std::fs::read_to_string(&segment.path).unwrap());
    text.collect::<String>().lines().map(str::to_owned).collect()
}

/// With `shipped` nothing is downloaded that the stream does not know of; the stream goes, comes back, and so does ccgate.
#[tokio::test(flavor = "multi_thread")]
async fn r14_shipped_downloads_stop_with_the_stream_and_go_on_with_it() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut nats = Nats::start().await;
    nats.create_stream().await;
    let url_file = nats.url_file("");
    let world = named(World::new()).config(|config| {
        config["audit"]["durability"] = "shipped".into();
        config["audit"]["write_timeout"] = "1s".into();
        config["audit"]["ship"] = json!({"nats": {"url_file": url_file, "timeout": "1s"}});
    });
    let mut world = world.start_process().await;
    let token = world.issuer.agent(1001);
    let answer = world.get(&call(1001, CALL), &token).await;
    assert_eq!(answer.status, 200);
    let entry = answer.header("ccgate-audit-id").to_owned();
    let (kept, _) = without_duplicates(&nats.messages().await);
    assert!(
        kept.values().any(|line| line.contains(&entry) && line.contains("authorized")),
        "shipped before the answer"
    );

    nats.kill();
    until("not ready", || async { crate::client::get(world.admin(), "/readyz", &[]).await.status == 503 }).await;
    let why = crate::client::get(world.admin(), "/readyz", &[]).await;
    let why = String::from_utf8(why.body.to_vec()).unwrap();
    assert!(why.contains("the audit log cannot be shipped to nats"), "{why}");
    let asked = world.asked();
    for _ in 0..3 {
        let begun = tokio::time::Instant::now();
        let answer = world.get(&call(1001, CALL), &token).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.code(), "audit_unavailable");
        assert!(begun.elapsed().as_millis() < 1_500, "{:?}", begun.elapsed());
    }
    assert_eq!(world.asked(), asked, "nothing was asked of the gateway");
    assert_eq!(world.metric("ccgate_audit_ship_up{sink=\"nats\"}").await, Some(0.0));

    nats.restart().await;
    world.until_ready().await;
    until("goes on by itself", || async { world.get(&call(1001, CALL), &token).await.status == 200 }).await;
    world.kill().await;
    world.run_process().await;
    world.until_ready().await;
    // Another agent: the gateway still knows the first one's session, which died with the process.
    let token = world.issuer.agent(1002);
    assert_eq!(world.get(&call(1002, CALL), &token).await.status, 200);
    assert!(world.shut_down().await);
    let (kept, _) = without_duplicates(&nats.messages().await);
    let (kept, lines) = (kept.into_values().collect::<Vec<_>>(), lines(world.dir()));
    assert_eq!(kept, lines, "every record is in the stream, the last one included");
    assert!(lines.last().unwrap().contains("\"stopped\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_local_downloads_go_on_without_the_stream() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut nats = Nats::start().await;
    let url_file = nats.url_file("");
    nats.kill();
    let world = named(World::new()).config(|config| {
        config["audit"]["ship"] = json!({"nats": {"url_file": url_file, "timeout": "1s"}});
    });
    let mut world = world.start_process().await;
    let token = world.issuer.agent(1001);
    for _ in 0..20 {
        assert_eq!(world.get(&call(1001, CALL), &token).await.status, 200);
    }
    until("the lag is told", || async {
        world.metric("ccgate_audit_ship_lag_records").await.is_some_and(|lag| lag > 40.0)
    })
    .await;
    assert_eq!(world.metric("ccgate_audit_ship_up{sink=\"nats\"}").await, Some(0.0));
    nats.restart().await;
    nats.create_stream().await;
    until("shipped", || async { world.metric("ccgate_audit_ship_lag_records").await == Some(0.0) }).await;
    assert!(world.shut_down().await);
    let (kept, twice) = without_duplicates(&nats.messages().await);
    assert_eq!((kept.into_values().collect::<Vec<_>>(), twice), (lines(world.dir()), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_standard_output_stand_the_records_and_nothing_else() {
    let world = named(World::new()).config(|config| config["audit"]["ship"] = "stdout".into());
    let mut world = world.without_gateway().await;
    let file = world.dir().join("stdout");
    let into = format!("exec \"$0\" \"$@\" > {}", file.display());
    world.run_process_under(&["sh", "-c", &into]).await;
    world.until_ready().await;
    let token = world.issuer.agent(1001);
    for _ in 0..5 {
        assert_eq!(world.get(&call(1001, CALL), &token).await.status, 200);
    }
    assert!(world.shut_down().await);
    let written = std::fs::read_to_string(&file).unwrap();
    let records: Vec<_> = written.lines().filter(|line| !line.contains("\"event\":\"checkpoint\"")).collect();
    assert_eq!(records, lines(world.dir()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_online_is_whether_the_stream_is_there() {
    let nats = Nats::start().await;
    let url_file = nats.url_file("");
    let world = named(World::new()).config(|config| {
        config["audit"]["ship"] = json!({"nats": {"url_file": url_file}});
    });
    let world = world.without_gateway().await;
    let check = || async {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_ccgate"));
        let ended = command.args(["check", "--online", "--config"]).arg(world.config_file()).output().await.unwrap();
        (ended.status.code(), String::from_utf8(ended.stdout).unwrap())
    };
    let (code, told) = check().await;
    let problem = "problem  audit.ship.nats: no stream takes the subject ccgate.audit: create one";
    assert!(code == Some(1) && told.contains(problem), "{code:?} {told}");
    nats.create_stream().await;
    let (code, told) = check().await;
    assert!(code == Some(0) && told.contains("ok       audit.ship.nats: "), "{code:?} {told}");
}
