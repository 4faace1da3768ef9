//! What stands in the audit log after hostile requests, and what does not stand there where pseudonyms are on.

use std::path::Path;
use std::time::Duration;

use ccgate::audit::Pseudonyms;
use ccgate::sim::{Fault, Kind, Scope};
use serde_json::{Value, json};

use crate::client;
use crate::issuer::{AUDIENCE, ISSUER, seconds};
use crate::world::{CALL, World, call, recording, records_in};

/// The base64 of 32 bytes.
const KEY: &str = "UGxhbnRlZC1Qc2V1ZG9ueW0tS2V5LU9mLTMyLUJ5dGU=";

/// What a text can hold that ends a line, commands a terminal, turns a line around or is no text at all.
const HOSTILE: [&[u8]; 12] = [
    b"\r",
    b"\n",
    b"\r\n\t",
    b"\x1b[2J",
    b"\0",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xa9",
    b"\xe2\x80\xae",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xed\xa0\x80",
];

/// Every byte of every file of the audit folder, file by file.
fn audit_files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| (path.display().to_string(), std::fs::read(path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_hostile_bytes_in_headers_and_claims_are_one_object_a_line() {
    let mut world = World::new().start().await;
    let (target, token) = (call(1001, CALL), world.issuer.agent(1001));
    let mut sent = 0;
    for header in ["Ccgate-Purpose", "Ccgate-Ticket", "X-Request-Id", "traceparent", "User-Agent", "Range", "If-Range"]
    {
        for hostile in HOSTILE {
            let head =
                format!("GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n");
            let request = [head.as_bytes(), header.as_bytes(), b": a", hostile, b"{\"forged\":1}\r\n\r\n"].concat();
            let (answer, closed) = client::raw(world.server(), &request, Duration::from_secs(20)).await;
            assert!(closed && answer.starts_with(b"HTTP/1.1 "), "{header} {hostile:?}");
            sent += 1;
        }
    }
    // JSON writes what UTF-8 cannot: half a surrogate pair is no text, in any claim.
    let now = seconds();
    for claim in ["sub", "client_id", "jti", "agent_id"] {
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "agent_id": "1001", "iat": now, "exp": now + 600,
            "jti": "a", "client_id": "web",
        });
        for escape in [r"\ud800", r"\udc00", r"\ud800\u0041"] {
            let mut claims = claims.clone();
            claims[claim] = "PLACE".into();
            let text = claims.to_string().replace("PLACE", escape);
            let token = world.issuer.sign_text(r#"{"alg":"ES256","typ":"JWT","kid":"k1"}"#, &text);
            let answer = world.get(&target, &token).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "token_malformed"), "{claim} {escape}");
        }
        for escape in [r"\r\n", r"\u001b[2J", r"\u0000", r"\u0085", r"\u2028", r"\u2029", r"\ufeff"] {
            let mut claims = claims.clone();
            claims[claim] = "PLACE".into();
            let text = claims.to_string().replace("PLACE", escape);
            let token = world.issuer.sign_text(r#"{"alg":"ES256","typ":"JWT","kid":"k1"}"#, &text);
            // A token's id is not recorded, only a hash of it.
            let expected = if claim == "jti" { 200 } else { 401 };
            assert_eq!(world.get(&target, &token).await.status.as_u16(), expected, "{claim} {escape}");
        }
    }
    assert!(world.shut_down().await);
    for (name, bytes) in audit_files(&world.dir().join("audit")) {
        if !crate::world::is_segment(&name) {
            continue;
        }
        let text = String::from_utf8(bytes).expect("UTF-8");
        let ends = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}' | '\u{feff}');
        for line in text.strip_suffix('\n').expect("a line feed").split('\n') {
            assert!(!line.contains(ends), "{name}: {line:?}");
            let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
            assert!(record.is_object() && record.get("forged").is_none(), "{record}");
        }
    }
    // Those that are served have their records: none was lost, none became two.
    let records = records_in(&world.dir().join("audit"));
    let asked = records.iter().filter(|record| ["authorized", "denied"].iter().any(|event| record["event"] == *event));
    assert!(asked.count() > sent / 3);
    let purposes = records.iter().filter_map(|record| record["why"]["purpose"].as_str());
    assert!(purposes.into_iter().any(|purpose| purpose.contains("forged")), "kept as a text");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_pseudonym_key_the_log_names_no_person_and_no_recording() {
    const SUBJECT: &str = "planted.subject@example";
    const OWN: &str = "Y:/90/0/20210519/1001/7654321.V3";
    const PATH: &str = "Y:/90/0/20210519/4977/1642329.V3";
    let mut world = World::new()
        .file("names.key", KEY)
        .config(|config| config["audit"]["pseudonym_key_file"] = "names.key".into())
        .start()
        .await;
    let token = |more: Value| {
        let mut claims = json!({ "sub": SUBJECT, "client_id": SUBJECT, "agent_id": "1001" });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.issuer.token(&claims)
    };
    assert_eq!(world.get(&call(1001, CALL), &token(json!({}))).await.status, 200);
    assert_eq!(world.get(&recording(1001, OWN), &token(json!({}))).await.status, 200);
    assert_eq!(world.get(&recording(1001, PATH), &token(json!({}))).await.status, 403);
    let message = format!("{SUBJECT} asked for {PATH} and {CALL}");
    let what = Kind::Message { retcode: "104-002".to_owned(), message };
    world.sim.fault(Fault { what, calls: Scope::Download, agent: None, times: 1 });
    assert_eq!(world.get(&call(1001, CALL), &token(json!({}))).await.status, 403);
    assert!(world.shut_down().await);

    let folder = world.dir().join("audit");
    for (name, bytes) in audit_files(&folder) {
        for planted in [SUBJECT, "7654321.V3", "1642329.V3", CALL, KEY] {
            assert!(!bytes.windows(planted.len()).any(|part| part == planted.as_bytes()), "{planted} in {name}");
        }
    }
    let names = Pseudonyms::parse(KEY.as_bytes()).unwrap();
    let records = records_in(&folder);
    let of = |event: &str| records.iter().filter(|record| record["event"] == event).collect::<Vec<_>>();
    assert_eq!((of("authorized").len(), of("finished").len(), of("failed").len(), of("denied").len()), (3, 2, 1, 1));
    let subject = names.subject(ISSUER, SUBJECT);
    for record in [of("authorized"), of("denied")].concat() {
        assert_eq!((&record["who"]["subject"], &record["who"]["issuer"]), (&json!(subject), &json!(ISSUER)));
    }
    assert_eq!(of("authorized")[0]["what"]["reference"], names.reference(&format!("call:{CALL}")));
    assert_eq!(of("authorized")[0]["what"]["call_id"], names.call(CALL));
    assert_eq!(of("denied")[0]["what"]["reference"], names.reference(&format!("file:{PATH}")));
    assert_eq!(of("failed")[0]["cut"], json!(["upstream.message"]));
}
