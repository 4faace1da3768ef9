//! Keys over real HTTP from a server on loopback that misbehaves as told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Uri;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::issuer::{ISSUER, OTHER_P256, P256, Signer, claims_with, header, raw, set};
use super::world::{World, config, issuer};
use crate::authn::{Algorithm, Error, KeySource, Timing, Untrusted};

const QUICK: Timing = Timing {
    refresh_interval: Duration::from_millis(50),
    jitter: Duration::ZERO,
    cooldown: Duration::from_millis(20),
    fetch_timeout: Duration::from_millis(300),
    wait_max: Duration::from_secs(2),
    stale_max: Duration::from_hours(1),
    retry_min: Duration::from_millis(20),
    retry_max: Duration::from_millis(40),
};

/// Whole answers by path; the paths that were asked for.
#[derive(Clone, Default)]
struct Site {
    answers: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

struct Server {
    origin: String,
    site: Site,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (site, mut tasks) = (Site::default(), JoinSet::new());
        let served = site.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(served.clone().answer(stream));
            }
        });
        Self { origin, site, _tasks: tasks }
    }

    fn url(&self, path: &str) -> Uri {
        format!("{}{path}", self.origin).parse().unwrap()
    }

    fn put(&self, path: &str, status: &str, more: &str, body: &str) {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n", body.len());
        self.put_raw(path, format!("{head}{body}").into_bytes());
    }

    fn put_raw(&self, path: &str, answer: Vec<u8>) {
        self.site.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    fn asked(&self, path: &str) -> usize {
        self.site.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }

    /// Waits until this path has been asked for some more times.
    async fn asked_again(&self, path: &str) {
        let before = self.asked(path);
        until(|| self.asked(path) >= before + 2).await;
    }
}

impl Site {
    async fn answer(self, mut stream: TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        let path = String::from_utf8(request).unwrap().split(' ').nth(1).unwrap().to_owned();
        self.asked.lock().unwrap().push(path.clone());
        let answer = self.answers.lock().unwrap().get(&path).cloned();
        match answer {
            // The client may have left already.
            Some(answer) => drop(stream.write_all(&answer).await),
            None => sleep(Duration::from_mins(1)).await,
        }
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 5 s");
}

fn by(signer: &Signer, kid: &str, issuer: &str) -> String {
    let claims = claims_with(&json!({ "iss": issuer })).to_string();
    raw(signer, Algorithm::ES256, &header("ES256", kid).to_string(), &claims)
}

fn world_of(issuer_name: &str, keys: KeySource) -> World {
    let mut world = World::with_timing(&config(vec![issuer(issuer_name, keys)]), QUICK).expect("a good config");
    world.start();
    world
}

#[tokio::test]
async fn keys_come_from_an_address_and_rotate() {
    let server = Server::start().await;
    server.put("/jwks", "200 OK", "", &set(&[P256.jwk("k1")]));
    let world = world_of(ISSUER, KeySource::Url(server.url("/jwks")));
    until(|| world.not_ready().is_none()).await;
    assert!(world.check(&by(&P256, "k1", ISSUER)).await.is_ok());
    server.put("/jwks", "200 OK", "", &set(&[OTHER_P256.jwk("k2")]));
    server.asked_again("/jwks").await;
    assert!(world.check(&by(&OTHER_P256, "k2", ISSUER)).await.is_ok());
    assert_eq!(world.refusal(&by(&P256, "k1", ISSUER)).await, Error::Untrusted(Untrusted::Key));
}

#[tokio::test]
async fn r05_answers_that_are_no_key_set_leave_the_last_good_one() {
    let server = Server::start().await;
    server.put("/jwks", "200 OK", "", &set(&[P256.jwk("k1")]));
    let world = world_of(ISSUER, KeySource::Url(server.url("/jwks")));
    until(|| world.not_ready().is_none()).await;
    let other = set(&[OTHER_P256.jwk("k1")]);
    server.put("/moved", "200 OK", "", &other);
    let still_good = async |what: &str| {
        server.asked_again("/jwks").await;
        assert!(world.check(&by(&P256, "k1", ISSUER)).await.is_ok(), "{what}");
        let refused = world.refusal(&by(&OTHER_P256, "k1", ISSUER)).await;
        assert_eq!(refused, Error::Untrusted(Untrusted::Signature), "{what}");
        assert_eq!(world.not_ready(), None, "{what}");
    };
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        server.put("/jwks", status, &format!("Location: {}/moved\r\n", server.origin), &other);
        still_good(status).await;
    }
    assert_eq!(server.asked("/moved"), 0, "no redirect is followed");
    for status in ["500 Internal Server Error", "404 Not Found", "204 No Content", "206 Partial Content"] {
        server.put("/jwks", status, "", &other);
        still_good(status).await;
    }
    server.put("/jwks", "200 OK", "", &format!("{other}{}", " ".repeat(256 * 1024)));
    still_good("too long").await;
    let cut = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", other.len(), &other[..other.len() - 1]);
    server.put_raw("/jwks", cut.into_bytes());
    still_good("cut off").await;
    server.put_raw("/jwks", b"\x16\x03\x01\x00\x00".to_vec());
    still_good("no HTTP").await;
    server.site.answers.lock().unwrap().remove("/jwks");
    still_good("silence").await;
}

#[tokio::test]
async fn keys_come_by_discovery() {
    let server = Server::start().await;
    let name = format!("{}/realms/a", server.origin);
    let document = json!({"issuer": name, "jwks_uri": format!("{}/certs", server.origin), "claims_supported": ["sub"]});
    server.put("/realms/a/.well-known/openid-configuration", "200 OK", "", &document.to_string());
    server.put("/certs", "200 OK", "", &set(&[P256.jwk("k1")]));
    let world = world_of(&name, KeySource::Discovery);
    until(|| world.not_ready().is_none()).await;
    assert!(world.check(&by(&P256, "k1", &name)).await.is_ok());
}

#[tokio::test]
async fn r03_discovery_for_another_issuer_gives_no_keys() {
    let server = Server::start().await;
    let path = "/.well-known/openid-configuration";
    server.put("/certs", "200 OK", "", &set(&[P256.jwk("k1")]));
    let certs = format!("{}/certs", server.origin);
    let world = world_of(&server.origin, KeySource::Discovery);
    for (issuer, jwks_uri) in [
        ("https://evil.example", certs.as_str()),
        (&format!("{}/", server.origin), &certs),
        (&server.origin, "http://192.0.2.1/certs"),
        (&server.origin, "/certs"),
    ] {
        server.put(path, "200 OK", "", &json!({"issuer": issuer, "jwks_uri": jwks_uri}).to_string());
        server.asked_again(path).await;
        let reason = format!("{}: the discovery document cannot be used", server.origin);
        until(|| world.not_ready().as_deref() == Some(&reason)).await;
        let refused = world.refusal(&by(&P256, "k1", &server.origin)).await;
        assert!(matches!(refused, Error::KeysUnavailable { .. }), "{refused:?}");
    }
    assert_eq!(server.asked("/certs"), 0);
}
