//! An identity provider in miniature: one key, its public half over HTTP, and tokens. It asks nobody who they are, so it
//! is for the demo alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Error;
use super::people::Person;
use crate::clock::Clock;

/// Where the key set is.
pub(super) const KEYS_PATH: &str = "/jwks.json";
/// Whom the tokens are for.
pub(super) const AUDIENCE: &str = "ccgate";
/// The key's name.
const KEY_ID: &str = "demo-1";
/// How long a token holds: a working day of trying things out, below the 24 h that ccgate accepts.
const TOKEN_LIFETIME: Duration = Duration::from_hours(12);
/// How long a client may take to ask.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections open at once; further ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 16;

/// A running issuer; dropping it ends it.
pub(super) struct Issuer {
    key: EcdsaKeyPair,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Issuer {
    /// Makes a key and serves its public half on a free port of loopback.
    pub(super) async fn start() -> Result<Self, Error> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_unspecified| Error::Signing)?;
        let keys = Bytes::from(key_set(&key).ok_or(Error::Signing)?.to_string());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Error::Issuer)?;
        let address = listener.local_addr().map_err(Error::Issuer)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, keys));
        Ok(Self { key, address, _tasks: tasks })
    }

    /// Its name, which is also where it is.
    pub(super) fn name(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A token of this person.
    pub(super) fn token(&self, person: &Person, clock: &Clock) -> Result<String, Error> {
        let now = clock.now().as_second();
        let mut claims = json!({
            "iss": self.name(),
            "aud": AUDIENCE,
            "sub": person.subject,
            "iat": now,
            "exp": now.saturating_add_unsigned(TOKEN_LIFETIME.as_secs()),
            "jti": uuid::Uuid::new_v4().to_string(),
        });
        if let (Some(claims), Value::Object(own)) = (claims.as_object_mut(), person.claims()) {
            claims.extend(own);
        }
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": KEY_ID });
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature =
            self.key.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_unspecified| Error::Signing)?;
        Ok(format!("{signed}.{}", encoded(signature)))
    }
}

/// The JWK set (RFC 7517, RFC 7518 section 6.2); `None` where the key is no uncompressed point.
fn key_set(key: &EcdsaKeyPair) -> Option<Value> {
    let point = key.public_key().as_ref().strip_prefix(&[4])?;
    let (x, y) = point.split_at_checked(32)?;
    let key = json!({
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KEY_ID, "x": encoded(x), "y": encoded(y),
    });
    Some(json!({ "keys": [key] }))
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

async fn accept(listener: TcpListener, keys: Bytes) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        tokio::select! {
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(serve(stream, keys.clone()));
                }
                // Out of descriptors: some must be given back first.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
}

async fn serve(stream: TcpStream, keys: Bytes) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &keys);
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).keep_alive(false);
    // A client that has gone needs no answer.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<Incoming>, keys: &Bytes) -> Response<Full<Bytes>> {
    if request.uri().path() != KEYS_PATH {
        let mut missing = Response::new(Full::default());
        *missing.status_mut() = StatusCode::NOT_FOUND;
        return missing;
    }
    let mut answer = Response::new(Full::new(keys.clone()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    answer
}
