//! What operators see of the configuration, and the log's level while ccgate runs.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{OURS, change, put, shown, until_generation, watching};
use crate::client;
use crate::world::{CALL, World, call, hex_sha256, until};

/// Status and text of a request with a body.
async fn ask(admin: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let stream = TcpStream::connect(admin).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", admin.to_string()).header(OURS.0, OURS.1);
    let answer = sender.send_request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(text.to_vec()).unwrap())
}

async fn level(world: &World) -> Value {
    let answer = client::get(world.admin(), "/log-level", &[OURS]).await;
    assert_eq!(answer.status, 200);
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_level_is_set_for_a_while_and_comes_back() {
    let world = watching().config(|c| c["log"]["level"] = "info".into());
    let mut world = world.start_process().await;
    let admin = world.admin();
    let log = world.process().log_handle();
    let lines = |level: &str| log.lock().unwrap().matches(&format!("\"level\":\"{level}\"")).count();
    assert_eq!(lines("DEBUG"), 0);
    let (status, text) = ask(admin, "PUT", "/log-level", r#"{"level":"debug","for":"2s"}"#).await;
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &told["level"], &told["configured"]), (200, &json!("debug"), &json!("info")), "{text}");
    assert!(told["until"].is_string(), "{text}");
    // A refusal is told at that level.
    until("a line", || async {
        world.get("/nowhere", &world.issuer.agent(1001)).await;
        lines("DEBUG") > 0
    })
    .await;
    until("it is over", || async { level(&world).await["level"] == "info" }).await;
    let before = lines("DEBUG");
    world.get("/nowhere", &world.issuer.agent(1001)).await;
    world.get(&call(1001, CALL), &world.issuer.agent(1001)).await;
    assert_eq!(lines("DEBUG"), before);
    // The file sets it as well, also over what somebody has asked for.
    assert_eq!(ask(admin, "PUT", "/log-level", r#"{"level":"error"}"#).await.0, 200);
    assert_eq!(level(&world).await, json!({ "level": "error", "configured": "info", "filter": false }));
    change(&world, |c| c["log"]["level"] = "debug".into());
    until_generation(&world, 2).await;
    assert_eq!(level(&world).await, json!({ "level": "debug", "configured": "debug", "filter": false }));
    assert_eq!(ask(admin, "PUT", "/log-level", r#"{"level":"warn"}"#).await.0, 200);
    assert_eq!(ask(admin, "DELETE", "/log-level", "").await.0, 200);
    assert_eq!(level(&world).await["level"], "debug");
    for (body, told) in [
        (r#"{"level":"loud"}"#, "level is none of error, warn, info, debug, trace"),
        (r#"{"level":"debug","for":"3d"}"#, "for is not from 1s to 24h"),
        (r#"{"level":"debug","until":"3d"}"#, "unknown field"),
        ("debug", "expected value"),
    ] {
        let (status, text) = ask(admin, "PUT", "/log-level", body).await;
        assert!(status == 400 && text.contains(told), "{body}: {text}");
    }
    assert_eq!(ask(admin, "POST", "/log-level", "").await.0, 405);
    assert!(world.shut_down().await);
    let recorded = world.events("admin.log_level");
    let levels: Vec<_> = recorded.iter().map(|record| record["level"].as_str()).collect();
    let refused: Vec<_> = recorded.iter().map(|record| record["refused"] == true).collect();
    assert!(levels.contains(&Some("error")) && levels.contains(&Some("warn")) && levels.contains(&None), "{levels:?}");
    assert!(levels.iter().zip(&refused).all(|(level, refused)| level.is_none() == *refused), "{recorded:?}");
    assert!(world.events("admin.log_level")[0]["from"]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_page_nor_a_proxy_sees_the_configuration() {
    let world = World::new().start().await;
    for path in ["/config", "/log-level"] {
        for headers in [&[][..], &[OURS, ("origin", "https://evil.example")], &[OURS, ("x-forwarded-for", "127.0.0.1")]]
        {
            let answer = client::get(world.admin(), path, headers).await;
            assert_eq!(answer.status, 403, "{path} {headers:?}");
            assert!(answer.body.starts_with(b"forbidden: "));
        }
    }
    assert_eq!(client::get(world.admin(), "/configs", &[OURS]).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_what_is_in_force_and_what_waits_for_a_start() {
    let world = watching().file("names", &format!("{}=\n", "A".repeat(43)));
    let world = world.config(|c| c["audit"]["pseudonym_key_file"] = "names".into()).start().await;
    let first = shown(&world).await;
    assert_eq!((&first["generation"], &first["at_next_start"]), (&json!(1), &json!([])));
    assert_eq!(first["config"]["server"]["max_connections"], 4096, "defaults are told");
    assert_eq!(first["config"]["audit"]["signing_key_file"], "audit.key", "names of files are");
    assert_eq!(first["hash"].as_str().unwrap().len(), 64);
    until("it is written", || async { !world.events("started").is_empty() }).await;
    assert_eq!(world.events("started")[0]["config_hash"], first["hash"]);
    let key = std::fs::read_to_string(world.dir().join("audit.key")).unwrap();
    let text = first.to_string();
    assert!(!text.contains(key.lines().nth(1).unwrap()) && !text.contains(&hex_sha256(key.as_bytes())), "{text}");
    // A key of a part that waits for a start: told, and no reason to refuse anything.
    put(&world.dir().join("names"), &format!("{}=\n", "B".repeat(42) + "A"));
    until_generation(&world, 2).await;
    let now = shown(&world).await;
    assert_eq!((&now["at_next_start"], &now["hash"]), (&json!(["audit.pseudonym_key_file"]), &first["hash"]));
    change(&world, |c| c["server"]["header_timeout"] = "9s".into());
    until_generation(&world, 3).await;
    let now = shown(&world).await;
    assert_eq!(now["at_next_start"], json!(["audit.pseudonym_key_file"]), "still");
    assert_eq!(now["config"]["server"]["header_timeout"], "9s");
    assert_ne!(now["hash"], first["hash"]);
}
