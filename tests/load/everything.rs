//! Everything at once, for a while: sizes, tokens, parts, slow readers, clients that leave, and who is let through by no
//! means. Also the load from which the shipped program's profile is taken (`ci/release`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use ccgate::sim;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ONE_AT_A_TIME;
use crate::client::{Keeper, Read};
use crate::issuer::{AUDIENCE, ISSUER, Issuer, encoded, seconds};
use crate::world::{World, call};
use crate::{ledger, plain};

const KIB: u64 = 1024;
const CLIENTS: u32 = 24;
const AGENTS: u32 = 6;
/// This one's bodies come chunked.
const CHUNKED: u32 = 1006;
/// By call id. The second is of more than one read, the last of many.
const RECORDINGS: [(&str, u64); 4] =
    [("tiny", KIB), ("small", 64 * KIB), ("middle", 700 * KIB), ("large", 5 * 1024 * KIB)];
const SLOW_RATE: u64 = 512 * KIB;

/// The world, and what its clients know.
struct Site {
    world: World,
    rsa: RsaKeyPair,
    sums: [[u8; 32]; RECORDINGS.len()],
    until: Instant,
}

/// What the answers to one client were.
#[derive(Default)]
struct Tally {
    /// The entries that they named.
    entries: BTreeSet<String>,
    requests: u32,
    refused: u32,
    denied: u32,
}

/// One client: whose recordings it asks for, and with what.
struct Client {
    site: Arc<Site>,
    random: fastrand::Rng,
    agent: u32,
    token: String,
    kept: Keeper,
    tally: Tally,
}

impl Site {
    async fn start(lasting: Duration) -> Self {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(rsa.public_key());
        let jwk = json!({ "kty": "RSA", "kid": "r1", "n": encoded(&public.n), "e": encoded(&public.e) });
        let issuer = Issuer::new("k1");
        let keys = json!({ "keys": [issuer.jwk(), jwk] }).to_string();
        let world = World::new().issuer(issuer).agents(1001..1001 + AGENTS).file("both.json", &keys).config(|config| {
            config["auth"]["issuers"][0]["jwks_file"] = "both.json".into();
            config["auth"]["issuers"][0]["algorithms"] = json!(["ES256", "RS256"]);
            config["log"]["level"] = "info".into();
        });
        let world = world.sim(|sim| sim.chunked = vec![CHUNKED]).start_process().await;
        for (name, size) in RECORDINGS {
            world.sim.add_file(name, size);
        }
        let sums = RECORDINGS.map(|(name, size)| sim::body_sha256(name, size));
        Self { world, rsa, sums, until: Instant::now() + lasting }
    }

    fn by_rsa(&self, agent: u32) -> String {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "r1" }).to_string();
        let signed = format!("{}.{}", encoded(header.as_bytes()), encoded(claims(agent, 600).to_string().as_bytes()));
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", encoded(&signature))
    }

    fn by_ec(&self, agent: u32, left: i64) -> String {
        self.world.issuer.sign(&json!({ "alg": "ES256", "typ": "JWT", "kid": "k1" }), &claims(agent, left))
    }

    /// A token that nobody may take, in one of several ways.
    fn bad_token(&self, way: u32, agent: u32) -> String {
        let good = self.by_ec(agent, 600);
        match way {
            0 => self.by_ec(agent, -600),
            1 => Issuer::new("k1").agent(agent),
            2 => Issuer::new("k9").agent(agent),
            3 => good[..good.len() / 2].to_owned(),
            4 => good.replace('.', "a"),
            _ => String::from("none"),
        }
    }
}

fn claims(agent: u32, left: i64) -> Value {
    let now = seconds();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now - 900, "exp": now + left, "agent_id": agent.to_string(),
        "jti": ccgate::route::RequestId::random().as_str(),
    })
}

impl Client {
    async fn new(site: Arc<Site>, number: u32) -> Self {
        let agent = 1001 + number % AGENTS;
        let token = if number.is_multiple_of(2) { site.by_ec(agent, 600) } else { site.by_rsa(agent) };
        let kept = Keeper::open(site.world.server()).await;
        let random = fastrand::Rng::with_seed(u64::from(number));
        Self { site, random, agent, token, kept, tally: Tally::default() }
    }

    /// One request after the other, until the time is over.
    async fn run(mut self) -> Tally {
        while Instant::now() < self.site.until {
            self.tally.requests += 1;
            // Most requests are for something small over a connection that is there already, with a token seen before.
            match self.random.u32(0..100) {
                0..45 => self.again(0).await,
                45..60 => self.again(1).await,
                60..66 => self.part().await,
                66..74 => self.fresh().await,
                74..80 => self.new_connection(0, Duration::ZERO).await,
                80..85 => self.new_connection(2, Duration::ZERO).await,
                85..88 => self.new_connection(3, Duration::ZERO).await,
                88..90 => self.new_connection(2, Duration::from_millis(5)).await,
                90..92 => self.slowly().await,
                92..94 => self.leaves().await,
                94..98 => self.refused().await,
                _ => self.denied().await,
            }
        }
        self.tally
    }

    fn named(&mut self, entry: &str) {
        assert!(!entry.is_empty(), "an answer names no entry");
        assert!(self.tally.entries.insert(entry.to_owned()), "{entry} is named twice");
    }

    async fn small(&mut self, which: usize, token: &str) {
        let (name, size) = RECORDINGS[which];
        let bearer = format!("Bearer {token}");
        let answer = self.kept.get(&call(self.agent, name), &[("authorization", &bearer)]).await;
        assert_eq!((answer.status.as_u16(), answer.whole, answer.body.len() as u64), (200, true, size), "{name}");
        assert!(answer.body == sim::body_bytes(name, 0, usize::try_from(size).unwrap(), size), "{name}: other bytes");
        self.named(answer.header("ccgate-audit-id"));
    }

    async fn again(&mut self, which: usize) {
        let token = self.token.clone();
        self.small(which, &token).await;
    }

    async fn fresh(&mut self) {
        let token = if self.random.bool() { self.site.by_ec(self.agent, 600) } else { self.site.by_rsa(self.agent) };
        self.small(0, &token).await;
    }

    async fn part(&mut self) {
        let (name, size) = RECORDINGS[2];
        let first = self.random.u64(0..size);
        let last = self.random.u64(first..size);
        let (bearer, range) = (format!("Bearer {}", self.token), format!("bytes={first}-{last}"));
        let headers = [("authorization", bearer.as_str()), ("range", range.as_str())];
        let answer = self.kept.get(&call(self.agent, name), &headers).await;
        assert_eq!((answer.status.as_u16(), answer.whole), (206, true), "{range}");
        let length = usize::try_from(last - first + 1).unwrap();
        assert!(answer.body == sim::body_bytes(name, first, length, size), "{range}: other bytes");
        self.named(answer.header("ccgate-audit-id"));
    }

    async fn new_connection(&mut self, which: usize, pause: Duration) {
        let (name, bytes) = RECORDINGS[which];
        let open = self.site.world.open(&call(self.agent, name), &self.token, &[]).await;
        let (status, entry) = (open.status.as_u16(), header(&open.headers, "ccgate-audit-id"));
        let read = open.read(pause).await;
        assert_eq!((status, read), (200, Read { bytes, sha256: self.site.sums[which], whole: true }), "{name}");
        self.named(&entry);
    }

    async fn slowly(&mut self) {
        let (name, size) = RECORDINGS[2];
        let arrived = plain::get(self.site.world.server(), &call(self.agent, name), &self.token, Some(SLOW_RATE)).await;
        // A chunked one's length is that of its framing as well.
        assert_eq!(arrived.status, Some(200), "{arrived:?}");
        assert!(arrived.body_bytes == size || self.agent == CHUNKED && arrived.body_bytes > size, "{arrived:?}");
        self.named(&arrived.entry.unwrap_or_default());
    }

    /// Takes a piece and is gone.
    async fn leaves(&mut self) {
        let mut open = self.site.world.open(&call(self.agent, RECORDINGS[3].0), &self.token, &[]).await;
        assert_eq!(open.status, 200);
        assert!(matches!(open.piece().await, Some(Ok(_))));
        self.named(&header(&open.headers, "ccgate-audit-id"));
    }

    async fn refused(&mut self) {
        let way = self.random.u32(0..6);
        let token = self.site.bad_token(way, self.agent);
        let answer = self.site.world.get(&call(self.agent, RECORDINGS[0].0), &token).await;
        assert_eq!(answer.status, 401, "way {way}: {answer:?}");
        self.tally.refused += 1;
    }

    async fn denied(&mut self) {
        let other = 1001 + (self.agent - 1000) % AGENTS;
        let answer = self.site.world.get(&call(other, RECORDINGS[0].0), &self.token).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        self.tally.denied += 1;
    }
}

fn header(headers: &http::HeaderMap, name: &str) -> String {
    headers.get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once_fails_nothing_and_records_all() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let lasting = std::env::var("LOAD_SECONDS").map_or(6, |seconds| seconds.parse().unwrap());
    let site = Arc::new(Site::start(Duration::from_secs(lasting)).await);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let site = Arc::clone(&site);
        clients.spawn(async move { Client::new(site, number).await.run().await });
    }
    let mut all = Tally::default();
    for tally in clients.join_all().await {
        all.requests += tally.requests;
        all.refused += tally.refused;
        all.denied += tally.denied;
        all.entries.extend(tally.entries);
    }
    let mut world = Arc::into_inner(site).expect("its clients are gone").world;
    assert!(world.shut_down().await);

    let records = world.records();
    ledger::check(&records);
    let of = |event: &str| records.iter().filter(|record| record["event"] == event).count();
    let opened = records.iter().filter(|record| record["event"] == "authorized");
    let opened: BTreeSet<String> = opened.map(|record| ledger::entry(record).to_owned()).collect();
    println!(
        "{} requests in {lasting} s: {} served, of which {} were left, {} refused, {} denied",
        all.requests,
        all.entries.len(),
        of("aborted"),
        all.refused,
        all.denied
    );
    assert_eq!(opened, all.entries);
    // A token that does not hold has a record, too, as long as there are few of them.
    let by_policy = |record: &&Value| record["event"] == "denied" && record["code"] == "not_your_recording";
    assert_eq!(records.iter().filter(by_policy).count(), all.denied as usize);
    assert!(of("denied") <= (all.denied + all.refused) as usize);
    assert_eq!((of("failed"), of("unknown")), (0, 0));
    assert_eq!(all.requests as usize, all.entries.len() + (all.refused + all.denied) as usize);
    assert_eq!(world.sim.broken_rules(), []);
    assert!(ledger::verified(&world.dir().join("audit")).is_sound());
}
