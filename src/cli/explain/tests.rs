//! The command as a person types it: a configuration, somebody, a URL; exit code and what is printed.

use std::net::{SocketAddr, TcpListener};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser as _;
use serde_json::{Value, json};

use super::*;
use crate::cli::{Cli, Command, PolicyCommand};

const OWN: &str = "/agentgateway/resource/recordfile/4977/recordfiledownloadEx?callId=1621413752-2011";
const OTHERS: &str = "/agentgateway/resource/recordfile/4977?recordId=Y:/90/0/20210519/4978/1642329.V3";

/// A configuration whose issuer signs with a key of our own.
struct Setup {
    dir: tempfile::TempDir,
    key: EcdsaKeyPair,
}

impl Setup {
    /// `keys` is a line of the issuer; an empty one: the key set is in a file.
    fn new(keys: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let setup = Self { dir, key };
        setup.write("jwks.json", &setup.key_set());
        let keys = if keys.is_empty() { "jwks_file: jwks.json" } else { keys };
        let issuer = format!("{{issuer: 'https://idp.example', audiences: [ccgate], algorithms: [ES256], {keys}}}");
        setup.write(
            "ccgate.yaml",
            &format!(
                "version: 1\nupstream: {{url: 'https://10.244.154.23:8043'}}\nauth: {{issuers: [{issuer}]}}\n\
                 sessions: {{accounts_dir: accounts}}\naudit: {{dir: audit}}\n"
            ),
        );
        setup
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).expect("written");
    }

    fn key_set(&self) -> String {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let key = json!({"kty": "EC", "crv": "P-256", "kid": "k1", "x": encoded(x), "y": encoded(y)});
        json!({ "keys": [key] }).to_string()
    }

    /// A token of agent 4977 that ends so many seconds from now.
    fn token(&self, ends_in: i64) -> String {
        self.token_with(ends_in, "note", &json!(0))
    }

    fn token_with(&self, ends_in: i64, claim: &str, value: &Value) -> String {
        let now = Clock::system().now().as_second();
        let claims = json!({
            "iss": "https://idp.example", "aud": "ccgate", "sub": "alice", "agent_id": "4977",
            "iat": now - 3600, "exp": now + ends_in, claim: value,
        });
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": "k1"});
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
        format!("{signed}.{}", encoded(signature))
    }

    /// Exit code, standard output, standard error.
    async fn explain(&self, arguments: &[&str]) -> (Exit, String, String) {
        let config = self.dir.path().join("ccgate.yaml");
        let mut line = vec!["ccgate", "policy", "explain", "--config", config.to_str().expect("UTF-8")];
        line.extend(arguments);
        let Command::Policy { command: PolicyCommand::Explain(args) } = Cli::parse_from(line).command else {
            panic!("another command");
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = explain(&args, &mut out, &mut err).await.expect("written");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (exit, text(out), text(err).replace(&self.dir.path().display().to_string(), "DIR"))
    }

    /// The same for claims in a file.
    async fn suppose(&self, claims: &Value, arguments: &[&str]) -> (Exit, String, String) {
        self.write("claims.json", &claims.to_string());
        let file = self.dir.path().join("claims.json");
        self.explain(&[&["--claims", file.to_str().expect("UTF-8")], arguments].concat()).await
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A server that gives this to one client.
fn serve_once(document: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).expect("a request") > 0);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", document.len());
        stream.write_all((head + &document).as_bytes()).expect("written");
    });
    address
}

#[tokio::test]
async fn a_token_is_verified_and_the_decision_is_the_exit_code() {
    let setup = Setup::new("");
    let token = setup.token(300);
    let (exit, out, err) = setup.explain(&["--token", &token, OWN]).await;
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    assert!(out.starts_with("decision  permitted\nrule      own (own.cedar"), "{out}");
    for url in [OTHERS, &format!("https://records.example:8443{OTHERS}")] {
        let (exit, out, err) = setup.explain(&["--token", &token, url]).await;
        assert_eq!((exit, err.as_str()), (Exit::Failed, ""));
        assert!(out.starts_with("decision  refused: not_your_recording\nrule      none permits it\n"), "{out}");
        assert!(out.contains("It would be permitted if"), "{out}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_accepted_reaches_no_rule_and_is_not_printed() {
    let (setup, stranger) = (Setup::new(""), Setup::new(""));
    for (token, told) in [
        (setup.token(-300), "decision  refused: token_expired\nrule      none was asked: the token has expired\n"),
        (
            stranger.token(300),
            "decision  refused: token_untrusted\nrule      none was asked: the token is not trusted\n          \
             the signature does not verify\n",
        ),
        (
            "e30.e30".to_owned(),
            "decision  refused: token_malformed\nrule      none was asked: the bearer token is malformed\n          \
             the token is not three parts of base64url\n",
        ),
    ] {
        let (exit, out, err) = setup.explain(&["--token", &token, OWN]).await;
        assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Failed, told, ""));
    }
    let (exit, _, err) = setup.explain(&["--token", "hunter2\n", OWN]).await;
    assert_eq!((exit, err.as_str()), (Exit::Usage, "ccgate: --token holds characters that no header can hold\n"));
}

#[tokio::test]
async fn keys_from_the_network_are_fetched_once() {
    let keys = Setup::new("");
    let address = serve_once(keys.key_set());
    let mut setup = Setup::new(&format!("jwks_url: 'http://{address}/keys', ca_file: ca.pem"));
    let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    setup.write("ca.pem", &ca.cert.pem());
    setup.key = keys.key;
    let token = setup.token(300);
    let (exit, out, err) = setup.explain(&["--token", &token, OWN]).await;
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""), "{out}");
    // The server has gone.
    let (exit, out, err) = setup.explain(&["--token", &token, OWN]).await;
    assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
    assert!(err.starts_with("https://idp.example:\nccgate: cannot get the key set\n  because "), "{err}");
    // Claims need no keys.
    assert_eq!(setup.suppose(&json!({"sub": "alice", "agent_id": "4977"}), &[OWN]).await.0, Exit::Ok);
}

#[tokio::test]
async fn claims_are_taken_as_verified() {
    let setup = Setup::new("");
    let inspector = json!({"sub": "ines", "agent_id": "4977", "roles": ["inspector"], "inspects": ["4978"], "exp": 1});
    let why = ["--purpose", "Beschwerde 4711", "--ticket", "T-1", "--peer", "10.1.2.3", OTHERS];
    let (exit, out, err) = setup.suppose(&inspector, &why).await;
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    for line in [
        "decision  permitted",
        "who       ines of https://idp.example, agent 4977",
        "why       purpose \"Beschwerde 4711\", ticket \"T-1\"",
    ] {
        assert!(out.lines().any(|told| told == line), "no line `{line}` in:\n{out}");
    }
    assert!(out.contains("Z from 10.1.2.3\n"), "{out}");
    let (exit, out, _) = setup.suppose(&json!({"sub": "a", "agent_id": 4977}), &[OWN]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(out.starts_with("decision  refused: token_claims\n"), "{out}");
}

#[tokio::test]
async fn bad_input_is_a_usage_error_and_says_what_is_wrong() {
    let setup = Setup::new("");
    let alice = json!({"sub": "alice", "agent_id": "4977"});
    for (arguments, told) in [
        (&["http://"][..], "ccgate: the URL cannot be read\n"),
        (&["/metrics"], "ccgate: this is no request for a download\n  because there is nothing at this path\n"),
        (&[OWN.trim_end_matches("1621413752-2011")], "ccgate: this is no request for a download\n"),
        (&["--purpose", "a\nb", OWN], "ccgate: --purpose holds characters that no header can hold\n"),
        (&["--purpose", "", OWN], "ccgate: this is no request for a download\n"),
    ] {
        let (exit, out, err) = setup.suppose(&alice, arguments).await;
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{arguments:?}");
        assert!(err.starts_with(told), "{arguments:?}: {err}");
    }
    let (exit, _, err) = setup.suppose(&json!([]), &[OWN]).await;
    assert_eq!(exit, Exit::Usage);
    assert!(err.starts_with("ccgate: DIR/claims.json does not hold claims\n  because "), "{err}");
    let (exit, _, err) = setup.suppose(&json!({"sub": "a".repeat(9000)}), &[OWN]).await;
    assert_eq!((exit, err.as_str()), (Exit::Usage, "ccgate: DIR/claims.json is longer than 8192 bytes\n"));
    let (exit, _, err) = setup.explain(&["--claims", "/nonexistent/claims.json", OWN]).await;
    assert_eq!(exit, Exit::Usage);
    assert!(err.starts_with("ccgate: /nonexistent/claims.json cannot be read\n  because "), "{err}");
    setup.write("ccgate.yaml", "version: 2\n");
    let (exit, _, err) = setup.suppose(&alice, &[OWN]).await;
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("version"), "{err}");
}

#[tokio::test]
async fn a_bound_token_is_explained_with_its_certificate() {
    let setup = Setup::new("");
    let certificate = rcgen::generate_simple_self_signed(vec!["web.example".to_owned()]).expect("a certificate").cert;
    setup.write("client.pem", &certificate.pem());
    let print = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der());
    let token = setup.token_with(60, "cnf", &json!({ "x5t#S256": encoded(print) }));
    let (exit, out, _) = setup.explain(&["--token", &token, OWN]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(out.contains("refused: token_binding") && out.contains("none was shown"), "{out}");
    let path = setup.dir.path().join("client.pem").display().to_string();
    let (exit, out, err) = setup.explain(&["--token", &token, "--certificate", &path, OWN]).await;
    assert_eq!(exit, Exit::Ok, "{out}{err}");
    let (exit, _, err) = setup.explain(&["--token", &token, "--certificate", "none.pem", OWN]).await;
    assert_eq!((exit, err.contains("--certificate cannot be used")), (Exit::Usage, true), "{err}");
}
