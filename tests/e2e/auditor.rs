//! The audit log as a privacy officer uses it, beside a running gateway and without one: `ccgate audit`.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::client;
use crate::world::{CALL, World, call, until};

/// Exit code, standard output and standard error of `ccgate audit`.
async fn audit(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccgate"));
    command.arg("audit").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_mins(1), command.output()).await.expect("an end in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

/// The answer of a command that has nothing to complain of.
async fn answer(arguments: &[&str]) -> String {
    let (code, out, err) = audit(arguments).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}: {out}");
    out
}

/// A process, with a download of agent 1001 and a refusal of agent 1002.
async fn world() -> (World, String) {
    let world = World::new().start_process().await;
    let answer = world.get(&call(1001, CALL), &world.issuer.agent(1001)).await;
    assert_eq!(answer.status, 200, "{}", answer.code());
    let entry = answer.headers["ccgate-audit-id"].to_str().unwrap().to_owned();
    world.end_of(&entry).await;
    assert_eq!(world.get(&call(1001, CALL), &world.issuer.agent(1002)).await.status, 403);
    (world, entry)
}

/// A request to the admin plane with a body, as any program on this machine can send it.
async fn post(world: &World, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
    let head: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = head.concat();
    let host = world.admin();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n{head}\r\n{body}"
    );
    let (answer, _closed) = client::raw(host, request.as_bytes(), Duration::from_secs(5)).await;
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status")
}

async fn verified(world: &World) -> Value {
    let dir = world.dir().join("audit");
    let out =
        answer(&["verify", "--json", "--key", dir.join("audit.pub").to_str().unwrap(), dir.to_str().unwrap()]).await;
    serde_json::from_str(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_beside_a_running_gateway_are_answered_and_each_is_recorded_first() {
    let (mut world, entry) = world().await;
    let admin = format!("http://{}", world.admin());
    let dir = world.dir().join("audit").to_str().unwrap().to_owned();
    let asked = ["--dir", dir.as_str(), "--admin", admin.as_str(), "--name", "anna"];
    let ask = |words: &[&str]| {
        let line: Vec<String> = words.iter().chain(&asked).map(|word| (*word).to_owned()).collect();
        async move { answer(&line.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let accesses = ask(&["query", "--agent", "1001", "--json"]).await;
    assert!(accesses.contains(&entry), "{accesses}");
    let who = ask(&["who-accessed", &format!("call:{CALL}"), "--json"]).await;
    assert_eq!(who.lines().count(), 2, "who took it, and who was refused: {who}");
    let month = &world.records()[0]["ts"].as_str().unwrap()[..7].to_owned();
    assert!(ask(&["report", "--month", month]).await.contains("not_your_recording"));
    assert!(ask(&["tail", "-n", "3", "--json"]).await.contains("audit.read"), "its own record is the last");
    // Signed by then, so it can be proved; the proof needs no log.
    let covers = |note: String| note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0) >= 5_u64;
    let note = world.dir().join("audit/checkpoint");
    until("a checkpoint", || async { fs::read_to_string(&note).is_ok_and(covers) }).await;
    let proof = ask(&["prove", &entry]).await;
    let file = world.dir().join("proof");
    fs::write(&file, &proof).unwrap();
    let key = format!("{dir}/audit.pub");
    answer(&["verify-proof", file.to_str().unwrap(), "--key", &key]).await;
    fs::write(&file, proof.replacen("index ", "index 1", 1)).unwrap();
    assert_eq!(audit(&["verify-proof", file.to_str().unwrap(), "--key", &key]).await.0, Some(1));

    let readings = world.events("audit.read");
    let commands: Vec<_> = readings.iter().map(|record| record["command"].as_str().unwrap()).collect();
    assert_eq!(commands, ["query", "who-accessed", "report", "tail", "prove"]);
    for reading in &readings {
        assert_eq!(reading["by"]["name"], "anna");
        assert!(reading["by"]["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{reading}");
    }
    assert!(readings[0]["arguments"].as_str().unwrap().starts_with("query --agent 1001 --json --dir "));
    assert!(world.shut_down().await);
    assert_eq!(verified(&world).await["sound"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_the_gateway_does_not_record_shows_nothing() {
    let (world, entry) = world().await;
    let dir = world.dir().join("audit").to_str().unwrap().to_owned();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, out, err) = audit(&["query", "--dir", &dir, "--admin", &format!("http://{nobody}")]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("a gateway runs on this log, and it has not done this") && !err.contains(&entry), "{err}");
    // Who is not this machine's, or comes over a proxy or from a page, is refused before.
    let body = json!({ "origin": "o", "command": "query", "arguments": "" }).to_string();
    for headers in
        [&[][..], &[("ccgate-admin", "1"), ("origin", "https://evil.example")], &[("ccgate-admin", "1"), ("via", "x")]]
    {
        let answer = post(&world, "POST", "/audit/reads", headers, &body).await;
        assert_eq!(answer, 403, "{headers:?}");
    }
    let ours = &[("ccgate-admin", "1")];
    for (method, path, body, status) in [
        ("POST", "/audit/reads", "garbage", 400),
        ("POST", "/audit/reads", r#"{"command":"q","arguments":"","more":1}"#, 400),
        ("GET", "/audit/reads", "", 405),
        ("POST", "/audit/other", "{}", 404),
        ("POST", "/audit/reads", &body, 409),
        ("POST", "/audit/erasures", r#"{"origin":"o","file":"order-x.json"}"#, 409),
    ] {
        let answer = post(&world, method, path, ours, body).await;
        assert_eq!(answer, status, "{method} {path} {body}");
    }
    assert_eq!(world.events("audit.read").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_erased_beside_a_running_gateway_and_without_one() {
    let (mut world, entry) = world().await;
    let admin = format!("http://{}", world.admin());
    let dir = world.dir().join("audit").to_str().unwrap().to_owned();
    let out = answer(&["erase", "--entry", &entry, "--reason", "request 7", "--dir", &dir, "--admin", &admin]).await;
    assert!(out.starts_with("erased 2 records; record "), "{out}");
    let left = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file());
    assert!(left.into_iter().all(|path| !fs::read_to_string(path).unwrap().contains(&entry)), "nowhere any more");
    let order = world.events("audit.erased").remove(0);
    assert_eq!((&order["reason"], order["erased"].as_array().unwrap().len()), (&"request 7".into(), 2));
    let denied = world.events("denied").remove(0)["seq"].to_string();
    assert!(world.shut_down().await);

    let config = world.config_file().to_str().unwrap().to_owned();
    let (code, _, err) = audit(&["erase", "--seq", &denied, "--reason", "again", "--dir", &dir]).await;
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("name its configuration with --config"), "{err}");
    assert_eq!(audit(&["erase", "--seq", &denied, "--reason", " ", "--config", &config]).await.0, Some(2), "no reason");
    answer(&["erase", "--seq", &denied, "--reason", "request 8", "--config", &config, "--name", "anna"]).await;
    let order = world.events("audit.erased").remove(1);
    assert_eq!(order["by"]["name"], "anna");
    assert!(order["by"]["uid"].is_number() && order["by"].get("peer").is_none(), "{order}");
    assert!(world.events("denied").is_empty());
    // A question with the configuration is recorded by the command itself; of a directory alone it says that it is not.
    answer(&["query", "--config", &config]).await;
    assert_eq!(world.events("audit.read").len(), 1);
    let (code, _, err) = audit(&["query", "--dir", &dir]).await;
    assert_eq!(code, Some(0));
    assert!(err.contains("so this reading is not in that log"), "{err}");
    let report = verified(&world).await;
    assert_eq!((&report["sound"], &report["damages"]), (&true.into(), &0.into()));
    world.run_process().await;
    world.until_ready().await;
    assert!(world.shut_down().await);
    assert_eq!(verified(&world).await["sound"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_records_starts_when_the_loss_is_accepted_and_says_so_for_ever() {
    let (mut world, _) = world().await;
    assert!(world.shut_down().await);
    let dir = world.dir().join("audit");
    let segment = ccgate::trail::segments(&dir).unwrap().remove(0).path;
    let text = fs::read_to_string(&segment).unwrap();
    let kept: Vec<&str> = text.lines().take(3).collect();
    fs::write(&segment, kept.join("\n") + "\n").unwrap();
    let (code, told) = world.refused_start().await;
    assert_eq!(code, Some(2));
    assert!(told.contains("the last one that is there is 3") && told.contains("ccgate audit accept-loss"), "{told}");
    let (code, out, _) = audit(&["verify", dir.to_str().unwrap()]).await;
    assert!(code == Some(1) && out.contains("DAMAGE"), "{out}");
    let config = world.config_file().to_str().unwrap().to_owned();
    let out = answer(&["accept-loss", "--config", &config, "--reason", "the disk broke", "--name", "anna"]).await;
    assert!(out.contains(&format!("records 4 to {} are gone", text.lines().count())), "{out}");
    assert!(answer(&["accept-loss", "--config", &config, "--reason", "again"]).await.contains("nothing is lost"));
    world.run_process().await;
    world.until_ready().await;
    let (code, _, err) = audit(&["accept-loss", "--config", &config, "--reason", "again"]).await;
    assert!(code == Some(1) && err.contains("is locked by another process"), "{err}");
    assert!(world.shut_down().await);
    let report = verified(&world).await;
    assert_eq!(report["sound"], true);
    assert_eq!(report["logs"][0]["accepted"].as_array().unwrap().len(), 1, "{report}");
}
