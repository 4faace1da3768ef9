//! Sessions on the admin plane: who may see and end them, and `ccgate sessions`.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::authority::Authority;
use crate::client;
use crate::world::{CALL, World, call, until};

const OURS: (&str, &str) = ("ccgate-admin", "1");

async fn world() -> World {
    let world = World::new().start().await;
    let answer = world.get(&call(1001, CALL), &world.issuer.agent(1001)).await;
    assert_eq!(answer.status, 200, "{}", answer.code());
    world
}

async fn ask(admin: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> client::Answer {
    client::whole(client::request(admin, method, path, headers).await).await
}

/// Exit code, standard output and standard error of `ccgate sessions`.
async fn cli(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccgate"));
    command.arg("sessions").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_mins(1), command.output()).await.expect("an end in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_shown_and_ended_and_each_is_recorded() {
    let world = world().await;
    let admin = world.admin();
    let list = ask(admin, "GET", "/sessions", &[OURS]).await;
    assert_eq!(list.status, 200);
    assert_eq!(list.json()[0]["agent"], "1001");
    assert_eq!(list.json()[0]["owned"], true);
    let show = ask(admin, "GET", "/sessions/1001", &[OURS]).await;
    assert_eq!(show.json(), list.json()[0]);
    let ended = ask(admin, "DELETE", "/sessions/1001", &[OURS]).await;
    assert_eq!(ended.status, 200);
    assert!(world.sim.signed_in(1001).is_none(), "signed out at the gateway");
    for (method, path, status) in [
        ("GET", "/sessions/1002", 404),
        ("DELETE", "/sessions/1002", 404),
        ("GET", "/sessions/", 404),
        ("GET", "/sessions/01001", 404),
        ("GET", "/sessions/1001/x", 404),
        ("GET", "/sessionsx", 404),
        ("POST", "/sessions/1001", 405),
        ("DELETE", "/sessions", 405),
    ] {
        assert_eq!(ask(admin, method, path, &[OURS]).await.status, status, "{method} {path}");
    }
    until("recorded", || async { world.events("admin.session_sign_out").len() == 2 }).await;
    let record = &world.events("admin.session_sign_out")[0];
    assert_eq!(record["agent"], "1001");
    assert!(record["from"]["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
    let read: Vec<Value> = world.events("admin.sessions_read").iter().map(|read| read["agent"].clone()).collect();
    assert_eq!(read, [Value::Null, json!("1001"), json!("1002")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_and_a_proxy_see_nothing_and_end_nothing() {
    let world = world().await;
    for headers in [
        &[][..],
        &[("ccgate-admin", "yes")],
        &[OURS, ("origin", "https://evil.example")],
        &[OURS, ("x-forwarded-for", "127.0.0.1")],
    ] {
        for method in ["GET", "DELETE"] {
            let answer = ask(world.admin(), method, "/sessions/1001", headers).await;
            assert_eq!(answer.status, 403, "{method} {headers:?}");
            assert!(answer.body.starts_with(b"forbidden: "), "{headers:?}");
        }
    }
    // A page of another site asks first whether it may send the header.
    let asks = [("origin", "https://evil.example"), ("access-control-request-headers", "ccgate-admin")];
    let preflight = ask(world.admin(), "OPTIONS", "/sessions/1001", &asks).await;
    assert_eq!((preflight.status.as_u16(), preflight.header("access-control-allow-headers")), (403, ""));
    assert!(world.sim.signed_in(1001).is_some(), "the session lives");
    assert!(world.events("admin.session_sign_out").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_tells_tables_json_and_errors() {
    let world = world().await;
    let admin = format!("http://{}", world.admin());
    let (code, out, err) = cli(&["list", "--admin", &admin]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("AGENT  STATE") && out.lines().nth(1).is_some_and(|row| row.starts_with("1001 ")), "{out}");
    let (code, out, _) = cli(&["show", "1001", "--json", "--admin", &admin]).await;
    let row: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &row["agent"]), (Some(0), &json!("1001")));
    let (code, out, err) = cli(&["sign-out", "1001", "--admin", &admin]).await;
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "agent 1001 is signed out\n", ""));
    let (code, out, err) = cli(&["show", "1002", "--admin", &admin]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let told = "refuses with 404 Not Found: nothing is known of agent 1002 here";
    assert!(err.contains(told), "{err}");
    let (code, _, err) = cli(&["list", "--admin", "http://127.0.0.1:9"]).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("http://127.0.0.1:9/sessions does not answer") && err.contains("admin.listen"), "{err}");
    let (code, _, err) = cli(&["list", "--admin", "http://10.0.0.1:9090"]).await;
    assert_eq!((code, err.contains("http is for this machine alone")), (Some(2), true), "{err}");
    let data_plane = format!("http://{}", world.server());
    assert_eq!(cli(&["list", "--admin", &data_plane]).await.0, Some(1), "not the admin plane");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_a_certificate_is_needed_and_recorded() {
    let authority = Authority::new();
    let (server, server_key) = authority.issue();
    let (client, client_key) = authority.issue();
    let files = json!({ "cert_file": "admin.crt", "key_file": "admin.key", "client_ca_file": "admin-ca.pem" });
    let world = World::new()
        .file("admin.crt", &server)
        .file("admin.key", &server_key)
        .file("admin-ca.pem", &authority.pem())
        .file("client.crt", &client)
        .file("client.key", &client_key)
        .config(|c| c["admin"]["tls"] = files);
    let mut world = world.without_gateway().await;
    world.run_here().await;
    let path = |name: &str| world.dir().join(name).display().to_string();
    let (admin, ca) = (format!("https://{}", world.admin()), path("admin-ca.pem"));
    let known = ["--admin", &admin, "--ca-file", &ca];
    let (certificate, key) = (path("client.crt"), path("client.key"));
    let shown = ["--client-cert-file", &certificate, "--client-key-file", &key];
    let (code, out, err) = cli(&[&["list"], &known[..], &shown[..]].concat()).await;
    assert_eq!((code, out.as_str()), (Some(0), "no sessions\n"), "{err}");
    let (code, _, err) = cli(&[&["list"], &known[..]].concat()).await;
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(cli(&["list", "--admin", &admin]).await.0, Some(1), "the server is not trusted");
    assert_eq!(cli(&["list", "--admin", &admin.replace("https", "http")]).await.0, Some(1), "no plain HTTP");
    until("recorded", || async { world.events("admin.sessions_read").len() == 1 }).await;
    let print = world.events("admin.sessions_read")[0]["certificate"].as_str().unwrap().to_owned();
    assert!(print.len() == 64 && print.bytes().all(|byte| byte.is_ascii_hexdigit()), "{print}");
    assert!(world.shut_down().await);
}

/// More than the admin plane takes connect and say nothing, or begin a request and do not finish it.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_keep_the_probes_out() {
    let world = World::new().start().await;
    let begun = "POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n";
    for said in ["", "GET /livez HTTP/1.1\r\nHo", begun] {
        let mut silent = Vec::new();
        for _ in 0..80 {
            let mut stream = tokio::net::TcpStream::connect(world.admin()).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            silent.push(stream);
        }
        let probe = client::get(world.admin(), "/livez", &[]);
        let answer = tokio::time::timeout(Duration::from_secs(5), probe).await.expect("an answer in time");
        assert_eq!(answer.status, 200, "{said}");
    }
}
