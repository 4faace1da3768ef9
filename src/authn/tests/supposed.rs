//! Claims that are taken as verified are read as those of a token are.

use serde_json::{Value, json};

use super::issuer::ISSUER;
use super::world::{config, issuer};
use crate::authn::{Caller, ClaimFault, Config, Error, KeySource, Malformed, Untrusted, supposed_caller};

fn one_issuer() -> Config {
    config(vec![issuer(ISSUER, KeySource::Discovery)])
}

fn supposed(claims: &Value) -> Result<Caller, Error> {
    supposed_caller(&one_issuer(), claims.to_string().as_bytes())
}

#[test]
fn a_subject_and_what_the_rules_look_at_are_enough() {
    let caller = supposed(&json!({ "sub": "alice", "agent_id": "4977", "roles": ["inspector"], "inspects": ["*"] }));
    let caller = caller.expect("good claims");
    assert_eq!((caller.issuer(), caller.subject()), (ISSUER, "alice"));
    assert_eq!(caller.agent().map(|agent| agent.to_string()).as_deref(), Some("4977"));
    assert!(caller.inspects().all && caller.roles().contains("inspector"));
    let expired = json!({ "iss": ISSUER, "sub": "alice", "aud": "another", "exp": 1, "nbf": 4_000_000_000_u32 });
    assert!(supposed(&expired).is_ok(), "neither time nor audience is judged");
}

#[test]
fn what_a_token_could_not_claim_is_refused() {
    for (claims, refused) in [
        (json!({}), Error::Malformed(Malformed::Claim("sub"))),
        (json!({ "sub": 1 }), Error::Malformed(Malformed::Claim("sub"))),
        (json!({ "sub": "a", "exp": "soon" }), Error::Malformed(Malformed::Claim("exp"))),
        (json!({ "sub": "a", "iss": "https://other.example" }), Error::Untrusted(Untrusted::Issuer)),
        (json!({ "sub": "a", "agent_id": 4977 }), Error::Claims(ClaimFault::Agent)),
        (json!({ "sub": "a", "inspects": "4977" }), Error::Claims(ClaimFault::Inspects)),
        (json!([]), Error::Malformed(Malformed::Payload)),
    ] {
        assert_eq!(supposed(&claims).map(|_| ()), Err(refused), "{claims}");
    }
    let twice = supposed_caller(&one_issuer(), br#"{"sub": "a", "sub": "b"}"#);
    assert_eq!(twice.map(|_| ()), Err(Error::Malformed(Malformed::Payload)));
}

#[test]
fn with_several_issuers_the_claims_name_one() {
    let second = "https://second.example";
    let two = config(vec![issuer(ISSUER, KeySource::Discovery), issuer(second, KeySource::Discovery)]);
    let unnamed = supposed_caller(&two, br#"{"sub": "a"}"#);
    assert_eq!(unnamed.map(|_| ()), Err(Error::Malformed(Malformed::Claim("iss"))));
    let named = supposed_caller(&two, json!({ "sub": "a", "iss": second }).to_string().as_bytes());
    assert_eq!(named.expect("good claims").issuer(), second);
}
