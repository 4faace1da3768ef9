//! An agent's own app in miniature: it speaks raw HTTP and keeps every byte that it was ever sent.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client;
use crate::world::{PASSWORD, World};

/// Longer than any poll of these tests takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an app gets.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The `retcode` of an envelope under status 200.
    pub fn retcode(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        assert!(self.head.contains("content-type: application/json;charset=utf-8"), "{self:?}");
        self.json()["retcode"].as_str().unwrap().to_owned()
    }

    /// Status and `code` of a refusal of ours.
    pub fn refused(&self) -> (u16, String) {
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        (self.status, self.json()["code"].as_str().unwrap().to_owned())
    }
}

/// The app of one agent.
pub struct App {
    server: SocketAddr,
    agent: u32,
    token: String,
    received: Mutex<Vec<u8>>,
}

/// The body of an honest sign-in.
pub fn body() -> Value {
    json!({ "password": PASSWORD, "phonenum": "40038", "status": "4", "autoanswer": "false" })
}

impl App {
    pub fn new(world: &World, agent: u32) -> Self {
        Self::with_token(world, agent, world.issuer.agent(agent))
    }

    pub fn with_token(world: &World, agent: u32, token: String) -> Self {
        Self::at(world.server(), agent, token)
    }

    /// One that comes through this server.
    pub fn at(server: SocketAddr, agent: u32, token: String) -> Self {
        Self { server, agent, token, received: Mutex::default() }
    }

    /// `form`: empty, `/loginex` or `/forcelogin`.
    pub async fn sign_in(&self, form: &str) -> Told {
        self.sign_in_with(form, &body().to_string()).await
    }

    pub async fn sign_in_with(&self, form: &str, body: &str) -> Told {
        let path = format!("/onlineagent/{}{form}", self.agent);
        self.ask("PUT", &path, &format!("Content-Type: application/json; charset=UTF-8\r\n{}", length(body)), body)
            .await
    }

    pub async fn poll(&self) -> Told {
        // The manual's least pause between two polls.
        tokio::time::sleep(Duration::from_millis(250)).await;
        self.ask("GET", &format!("/agentevent/{}", self.agent), "", "").await
    }

    pub async fn beat(&self) -> Told {
        self.ask("POST", &format!("/onlineagent/{}/handshake", self.agent), "Content-Length: 0\r\n", "").await
    }

    pub async fn sign_out(&self) -> Told {
        self.ask("DELETE", &format!("/onlineagent/{}/logout", self.agent), "", "").await
    }

    /// Every call with what an app, or somebody in its place, could try to have passed on.
    pub async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Told {
        let head = self.head(method, path, headers);
        self.raw(&format!("{head}{body}")).await
    }

    /// The head of a call, for those who send it themselves.
    pub fn head(&self, method: &str, path: &str, headers: &str) -> String {
        format!(
            "{method} /agentgateway/resource{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Connection: close\r\nGuid: planted-guid-of-the-caller\r\nG_uid: x\r\nSet-GUID: JSESSIONID=x\r\n\
             Cookie: JSESSIONID=planted\r\nX-Real-IP: 10.0.0.1\r\n{headers}\r\n",
            self.server, self.token
        )
    }

    pub async fn raw(&self, request: &str) -> Told {
        let (bytes, closed) = client::raw(self.server, request.as_bytes(), PATIENCE).await;
        assert!(closed, "no end: {}", String::from_utf8_lossy(&bytes));
        self.received.lock().unwrap().extend_from_slice(&bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Told { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// Nothing that was ever received holds one of these, or what a Guid comes in.
    pub fn never_saw(&self, guids: &[String]) {
        let received = String::from_utf8(self.received.lock().unwrap().clone()).unwrap().to_ascii_lowercase();
        assert!(!received.is_empty() && !guids.is_empty());
        let secrets = guids.iter().map(|guid| guid.split('.').next().unwrap().to_ascii_lowercase());
        for secret in secrets.chain(["set-guid", "jsessionid", "set-cookie", "agentgateway0"].map(str::to_owned)) {
            assert!(!received.contains(&secret), "{secret} was shown: {received}");
        }
    }
}

fn length(body: &str) -> String {
    format!("Content-Length: {}\r\n", body.len())
}
