//! What holds for any `Authorization` header: nobody is let through without our signature over exactly that text, and
//! whoever is let through is whom the text names.

use std::error::Error as _;
use std::io::Write as _;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ccgate::authn::{
    Algorithm, Authenticator, Caller, Claims, Config, Error, IssuerConfig, KeySource, Metrics, Timing,
};
use ccgate::clock::Clock;
use ccgate::ready::Ready;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};

const ISSUER: &str = "https://idp.example";
/// The time at which every process begins; the seeds' tokens hold for a day from here.
const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

thread_local! {
    static WORLD: World = World::new();
}

/// The input is `sign`, then a line with the token's header and the rest as its payload, which are signed here; anything
/// else is the value of one or more `Authorization` headers, a line each, which nobody has signed. Says whether somebody is let
/// through.
pub fn check(data: &[u8]) -> bool {
    WORLD.with(|world| match data.strip_prefix(b"sign\n") {
        Some(parts) => world.check_signed(parts),
        None => world.check_forged(data),
    })
}

struct World {
    authenticator: Authenticator,
    runtime: tokio::runtime::Runtime,
    key: Ed25519KeyPair,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        // The second key is RFC 7515's (appendix A.3): for tokens that name an algorithm that is not their key's.
        let set = json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": URL_SAFE_NO_PAD.encode(key.public_key())},
            {"kty": "EC", "crv": "P-256", "kid": "k2", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
             "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        ]});
        file.write_all(set.to_string().as_bytes()).expect("written");
        let keys = KeySource::File(file.path().to_owned());
        let authenticator = runtime.block_on(async { authenticator(keys) }).expect("a good configuration");
        Self { authenticator, runtime, key }
    }

    fn ask(&self, values: &[&[u8]]) -> Result<Caller, Error> {
        let mut headers = HeaderMap::new();
        for value in values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok()) {
            headers.append("authorization", value);
        }
        let answer = self.runtime.block_on(self.authenticator.authenticate(&headers, None));
        if let Err(error) = &answer {
            check_error(error, values);
        }
        answer
    }

    fn check_forged(&self, data: &[u8]) -> bool {
        let values: Vec<_> = data.split(|byte| *byte == b'\n').take(4).collect();
        let answer = self.ask(&values);
        assert!(answer.is_err(), "nobody has signed this: {answer:?}");
        false
    }

    fn check_signed(&self, parts: &[u8]) -> bool {
        let at = parts.iter().position(|byte| *byte == b'\n').unwrap_or(parts.len());
        let (header, payload) = (&parts[..at], parts.get(at + 1..).unwrap_or_default());
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        let token = format!("{signed}.{signature}");
        let Ok(caller) = self.ask(&[format!("Bearer {token}").as_bytes()]) else { return false };
        check_caller(&caller, header, payload);
        // The same again, from what is remembered; and with anything else in its place.
        let again = self.ask(&[format!("bearer {token}").as_bytes()]).expect("the same token");
        assert_eq!(format!("{again:?}"), format!("{caller:?}"));
        for neighbour in neighbours(&token, parts.len()) {
            let answer = self.ask(&[format!("Bearer {neighbour}").as_bytes()]);
            assert!(answer.is_err(), "nobody has signed {neighbour}");
        }
        true
    }
}

fn authenticator(keys: KeySource) -> Result<Authenticator, ccgate::authn::ConfigError> {
    let issuer = IssuerConfig {
        issuer: ISSUER.to_owned(),
        audiences: vec!["ccgate".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        keys,
        ca_file: None,
        certificate_bound: false,
        claims: Claims {
            purpose: Some("/purpose".parse().expect("a pointer")),
            ticket: Some("/ticket".parse().expect("a pointer")),
            ..Claims::default()
        },
    };
    let config =
        Config { leeway: Duration::from_secs(30), max_token_lifetime: Duration::from_hours(48), issuers: vec![issuer] };
    let ages = Duration::from_hours(24 * 365);
    // The keys never grow old and nobody waits for others.
    let timing = Timing { cooldown: ages, stale_max: ages, wait_max: Duration::ZERO, ..Timing::default() };
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("metrics");
    let clock = Clock::fixed(Timestamp::from_second(NOW).expect("a time"));
    Authenticator::with_timing(&config, clock, &Ready::new(), metrics, timing)
}

/// What the token says, read by other code than the one that is checked.
fn check_caller(caller: &Caller, header: &[u8], payload: &[u8]) {
    let header: Value = serde_json::from_slice(header).expect("JSON");
    let payload: Value = serde_json::from_slice(payload).expect("JSON");
    assert_eq!((&header["alg"], &header["kid"]), (&json!("EdDSA"), &json!("k1")));
    for name in ["crit", "b64", "jku", "x5u", "jwk", "x5c", "zip", "enc"] {
        assert_eq!(header.get(name), None);
    }
    let typ = header["typ"].as_str().expect("a type").to_ascii_lowercase();
    assert!(["jwt", "at+jwt", "application/at+jwt"].contains(&typ.as_str()), "{typ}");
    assert_eq!((caller.issuer(), &payload["iss"]), (ISSUER, &json!(ISSUER)));
    assert_eq!(payload["sub"], json!(caller.subject()));
    let ours = json!("ccgate");
    assert!(payload["aud"] == ours || payload["aud"].as_array().is_some_and(|all| all.contains(&ours)));
    let expires = payload["exp"].as_i64().expect("seconds");
    assert_eq!(caller.expires().as_second(), expires);
    // Fuzzing for a day is as long as a seed lives.
    assert!((NOW - 30..NOW + 4 * DAY).contains(&expires), "{expires}");
    for name in ["nbf", "iat"] {
        assert!(payload[name].as_i64().is_none_or(|at| at <= NOW + 2 * DAY), "{name}");
    }
    let agent = payload.get("agent_id").map(|agent| agent.as_str().expect("a text").to_owned());
    assert_eq!(caller.agent().map(|agent| agent.to_string()), agent);
    let texts = |name: &str| -> Vec<String> {
        let list = payload.get(name).map(|list| list.as_array().expect("a list").clone()).unwrap_or_default();
        list.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
    };
    assert!(caller.roles().iter().eq(texts("roles").into_iter().collect::<std::collections::BTreeSet<_>>().iter()));
    assert!(caller.teams().iter().eq(texts("teams").into_iter().collect::<std::collections::BTreeSet<_>>().iter()));
    assert_eq!(caller.inspects().all, texts("inspects").iter().any(|one| one == "*"));
    for agent in &caller.inspects().agents {
        assert!(texts("inspects").contains(&agent.to_string()), "{agent}");
    }
}

/// Texts that differ from a good token in one character, or lack its signature.
fn neighbours(token: &str, seed: usize) -> Vec<String> {
    let mut all = Vec::new();
    let last = token.len() - 1;
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    for at in [last, seed % last, seed.wrapping_mul(31) % last, signed.len() + 1 + seed % signature.len()] {
        let old = token.as_bytes()[at];
        for new in ['A', 'B', '_', '.', '='] {
            if old != new as u8 {
                all.push(format!("{}{new}{}", &token[..at], &token[at + 1..]));
            }
        }
    }
    all.push(format!("{signed}."));
    all.push(signed.to_owned());
    all.push(format!("{token}="));
    all.push(format!("{token}.{signature}"));
    all
}

/// No level of a refusal tells anything of what was sent.
fn check_error(error: &Error, values: &[&[u8]]) {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    let text = format!("{error}: {cause} {error:?}");
    for value in values.iter().filter(|value| value.len() > 40) {
        assert!(!text.contains(&*String::from_utf8_lossy(value)), "{text}");
    }
    assert!(!text.contains("hunter2") && text.len() < 400, "{text}");
}
