//! Configurations that would let everybody in, or nobody: refused at the start, with these words.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::World;

/// What is done to a good configuration.
type Change = fn(&mut Value);

/// Starts the real binary with a changed configuration: its exit code and what it says.
async fn start_refused(change: impl FnOnce(&mut Value)) -> (i32, String) {
    let world =
        World::new().file("empty/readme", "").file("none.json", "{\"keys\":[]}").config(change).without_gateway().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccgate"));
    command.args(["run", "--config"]).arg(world.config_file()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(30), command.output()).await.expect("it ends").unwrap();
    let text = String::from_utf8(output.stderr).unwrap().replace(&world.dir().display().to_string(), "DIR");
    (output.status.code().unwrap(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn r19_nothing_starts_that_would_let_everybody_in() {
    fn issuer(config: &mut Value) -> &mut serde_json::Map<String, Value> {
        config["auth"]["issuers"][0].as_object_mut().unwrap()
    }
    const AUDIENCES: &str = "name at least one audience: a token for somebody else must not get in";
    const ALGORITHMS: &str = "ES256, ES384, RS256, RS384, RS512, PS256, PS384, PS512, EdDSA";
    // What is said where the file itself is at fault: one problem, after its line.
    let cases: [(Change, String); 12] = [
        (
            |config| drop(config.as_object_mut().unwrap().remove("auth")),
            "auth.issuers: missing; name at least one issuer: without one nobody gets in".to_owned(),
        ),
        (
            |config| config["auth"]["issuers"] = json!([]),
            "auth.issuers: empty; name at least one issuer: without one nobody gets in".to_owned(),
        ),
        (
            |config| drop(issuer(config).remove("issuer")),
            "auth.issuers[0].issuer: missing; the exact `iss` claim of its tokens".to_owned(),
        ),
        (|config| config["auth"]["issuers"][0]["issuer"] = "".into(), "auth.issuers[0].issuer: empty".to_owned()),
        (|config| drop(issuer(config).remove("audiences")), format!("auth.issuers[0].audiences: missing; {AUDIENCES}")),
        (
            |config| config["auth"]["issuers"][0]["audiences"] = json!([]),
            format!("auth.issuers[0].audiences: empty; {AUDIENCES}"),
        ),
        (
            |config| config["auth"]["issuers"][0]["audiences"] = json!([""]),
            "auth.issuers[0].audiences[0]: \"\" is empty: a token without an audience must not get in".to_owned(),
        ),
        (
            |config| config["auth"]["issuers"][0]["algorithms"] = json!([]),
            "auth.issuers[0].algorithms: empty; name at least one signature algorithm, as in [ES256, RS256, EdDSA]"
                .to_owned(),
        ),
        (
            |config| config["auth"]["issuers"][0]["algorithms"] = json!(["none"]),
            format!("auth.issuers[0].algorithms[0]: \"none\" is none of {ALGORITHMS}"),
        ),
        (
            |config| config["auth"]["issuers"][0]["algorithms"] = json!(["HS256"]),
            format!("auth.issuers[0].algorithms[0]: \"HS256\" is none of {ALGORITHMS}; did you mean ES256?"),
        ),
        (
            |config| config["auth"]["optional"] = true.into(),
            "auth.optional: unknown key; known here: leeway, max_token_lifetime, issuers".to_owned(),
        ),
        (|config| config["auth"]["leeway"] = "6m".into(), "auth.leeway: 6m is not from 0s to 5m".to_owned()),
    ];
    for (change, expected) in cases {
        let (code, said) = start_refused(change).await;
        let problem =
            said.trim_end().strip_prefix("DIR/ccgate.yaml: 1 problem\n  ").unwrap_or_else(|| panic!("{said}"));
        let problem = problem.strip_prefix("line ").map_or(problem, |rest| rest.split_once(": ").unwrap().1);
        assert_eq!((code, problem), (2, expected.as_str()));
    }
    let no_keys = "ccgate: tokens cannot be verified (auth)\n  because issuer https://idp.example: the key file cannot be used\n  \
         because the key set cannot be used\n  because the key set holds no usable key: a public signature key with a kid, of an \
         accepted algorithm and size\n";
    let no_rules = "ccgate: the policy cannot be used\n  because the policy is refused\n  \
         DIR/empty: holds no *.cedar file; leave policy.dir out to use the built-in rules\n";
    let keys = start_refused(|config| config["auth"]["issuers"][0]["jwks_file"] = "none.json".into()).await;
    assert_eq!(keys, (2, no_keys.to_owned()));
    let rules = start_refused(|config| config["policy"] = json!({ "dir": "empty" })).await;
    assert_eq!(rules, (2, no_rules.to_owned()));
}
