//! Every row of the table of statuses, each by its real cause: what the caller is told, to the byte, what is recorded, and
//! what is not said.

use ccgate::sim::{Fault, Kind, Scope};
use serde_json::{Value, json};

use crate::client;
use crate::issuer::{ISSUER, Issuer, seconds};
use crate::world::{Builder, CALL, World, call, recording, until};

mod complete;
mod golden;
mod row;
mod seats;

use row::{Recorded, Row, table};

/// A recording of another agent than 1001.
const FOREIGN: &str = "Y:/90/0/20210519/4977/1642329.V3";

fn good(issuer: &Issuer, mut claims: Value) -> String {
    claims["agent_id"] = "1001".into();
    issuer.token(&claims)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens() {
    let foreign_key = |_: &Issuer| Issuer::new("k1").agent(1001);
    let rows = [
        Row { recorded: Recorded::Nothing, ..Row::token("no token", "token_missing", |_| String::new()) },
        Row::token("no token at all", "token_malformed", |_| "junk".to_owned()),
        Row::token("times as texts", "token_malformed", |issuer| good(issuer, json!({ "exp": "4000000000" }))),
        Row::token("longer than 8 KiB", "token_malformed", |issuer| good(issuer, json!({ "x": "x".repeat(8192) }))),
        Row::token("expired", "token_expired", |issuer| {
            good(issuer, json!({ "exp": seconds() - 60, "iat": seconds() - 90 }))
        }),
        Row::token("another's key", "token_untrusted", foreign_key),
        Row::token("another issuer", "token_untrusted", |issuer| {
            good(issuer, json!({ "iss": "https://idp.example/" }))
        }),
        Row::token("another audience", "token_untrusted", |issuer| good(issuer, json!({ "aud": ["other"] }))),
        Row::token("a number as agent", "token_claims", |issuer| issuer.token(&json!({ "agent_id": 1001 }))),
        Row::token("not yet valid", "token_claims", |issuer| good(issuer, json!({ "nbf": seconds() + 600 }))),
        Row::token("bound to a certificate", "token_binding", |issuer| {
            good(issuer, json!({ "cnf": { "x5t#S256": "A".repeat(43) } }))
        }),
        Row::token("too long a life", "token_claims", |issuer| good(issuer, json!({ "exp": seconds() + 90_000 }))),
        Row { ready: false, status: 503, ..Row::token("no keys yet", "keys_unavailable", |issuer| issuer.agent(1001)) }
            .retry_after()
            .build(|world| {
                world.config(|config| {
                    let issuer = config["auth"]["issuers"][0].as_object_mut().unwrap();
                    issuer.remove("jwks_file");
                    issuer.insert("jwks_url".to_owned(), format!("http://127.0.0.1:{}/jwks", closed_port()).into());
                })
            }),
    ];
    table("tokens", rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policy() {
    const OWN: &str = include_str!("../../config/policy/own.cedar");
    const INSPECT: &str = include_str!("../../config/policy/inspect.cedar");
    let with_rules = |world: Builder| {
        let world = world.config(|config| config["policy"] = json!({ "dir": "policy" }));
        world
            .file("policy/own.cedar", OWN)
            .file("policy/inspect.cedar", INSPECT)
            .file("policy/purpose.cedar", include_str!("../../config/policy/examples/purpose.cedar"))
            .file("policy/age.cedar", "@id(\"age\")\n@reason(\"outside_window\")\nforbid (principal, action == Action::\"download\", resource) when { resource has age_days && resource.age_days > 90 };\n")
            .file("policy/vdn.cedar", "@id(\"closed\")\n@reason(\"closed_centre\")\nforbid (principal, action == Action::\"download\", resource) when { resource has vdn && resource.vdn == 7 };\n")
    };
    let foreign = recording(1001, "Y:/90/0/20991231/4977/1642329.V3");
    let inspector = |issuer: &Issuer| issuer.inspector(1001, &["4977"]);
    let rows = [
        Row::policy("another's recording", "not_your_recording", recording(1001, FOREIGN)),
        Row::policy("in another's session", "not_your_recording", call(1002, CALL)),
        Row::policy("an IVR message", "not_your_recording", recording(1001, "Y:/90/record/20210519/1.wav")),
        Row {
            token: |issuer| issuer.token(&json!({})),
            ..Row::policy("no agent", "not_your_recording", call(1001, CALL))
        },
        Row { token: inspector, ..Row::policy("without a purpose", "purpose_required", foreign) }.build(with_rules),
        Row {
            token: inspector,
            headers: &[("ccgate-purpose", "complaint")],
            ..Row::policy("too old", "outside_window", recording(1001, FOREIGN))
        }
        .build(with_rules),
        Row::policy("a word of the site's own", "closed_centre", recording(1001, "Y:/7/0/20991231/1001/1.V3"))
            .build(with_rules),
        Row::policy("a rule that cannot be evaluated", "policy_error", recording(1001, "Y:/7/0/20991231/1001/1.V3"))
            .build(|world| {
                let world = world.config(|config| config["policy"] = json!({ "dir": "policy" }));
                let overflow = "@id(\"overflow\")\nforbid (principal, action == Action::\"download\", resource) when { resource has vdn && resource.vdn * 9223372036854775807 > 0 };\n";
                world.file("policy/own.cedar", OWN).file("policy/overflow.cedar", overflow)
            }),
    ];
    table("policy", rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads() {
    let base = call(1001, CALL);
    let with = |more: &str| format!("{base}{more}");
    let rows = [
        Row::head("no such path", 404, "not_found", "/agentgateway/resource/recordfile/1001/other"),
        Row::head("an admin path", 404, "not_found", "/metrics"),
        Row::head("an escaped path", 400, "bad_request", "/agentgateway/resource/recordfile/1001%2f"),
        Row::head("no agent id", 400, "bad_request", "/agentgateway/resource/recordfile/0101?recordId=x"),
        Row::head("empty parts", 400, "bad_request", "//agentgateway"),
        Row::head(
            "a parameter too few",
            400,
            "parameter_missing",
            "/agentgateway/resource/recordfile/1001/recordfiledownloadEx",
        ),
        Row::head("a parameter twice", 400, "parameter_repeated", &with("&callId=1")),
        Row::head("in another case", 400, "parameter_repeated", &with("&CALLID=1")),
        Row::head("an unknown parameter", 400, "parameter_unknown", &with("&x=1")),
        Row::head("an empty parameter", 400, "parameter_invalid", &with("&workNo=")),
        Row::head("a path that climbs", 400, "parameter_invalid", &recording(1001, "Y:/90/0/20210519/../1.V3")),
        Row::head("two owners", 400, "parameter_invalid", &with("&workNo=4978&hwFileName=Y:/90/0/20210519/4977/1.mp4")),
        Row { method: "POST", ..Row::head("another method", 405, "method_not_allowed", &base) },
        Row { method: "HEAD", ..Row::head("only the head", 405, "method_not_allowed", &base) },
        Row { method: "OPTIONS", ..Row::head("a preflight where there is no CORS", 405, "method_not_allowed", &base) },
        Row { headers: &[("expect", "100-continue")], ..Row::head("an expectation", 417, "expectation_failed", &base) },
        Row {
            headers: &[("ccgate-purpose", "a"), ("ccgate-purpose", "b")],
            ..Row::head("two purposes", 400, "bad_request", &base)
        },
    ];
    table("heads", rows).await;
}

/// There is no request yet, so the id is ours, and nothing is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_not_read_to_their_end() {
    let world = World::new().start().await;
    let (long, target) = ("x".repeat(40_000), call(1001, CALL));
    let field = client::get(world.server(), &target, &[("x-long", &long)]).await;
    assert_eq!((field.status.as_u16(), field.code().as_str()), (431, "head_too_large"));
    let line = client::get(world.server(), &format!("{target}&x={long}"), &[]).await;
    assert_eq!((line.status.as_u16(), line.code().as_str()), (414, "target_too_long"));
    golden::compare(
        "unread-heads",
        &[
            golden::answer("a field of 40,000 bytes", "GET a recording", &field),
            golden::answer("a target of 40,000 bytes", "GET a recording", &line),
        ],
    );
    assert_eq!((world.sim.counts().requests, world.events("denied").len()), (0, 0));
}

/// A fault in every sign-in.
fn sign_in(world: &World, what: Kind) {
    world.sim.fault(Fault { what, calls: Scope::SignIn, agent: None, times: 9 });
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions() {
    let rows = [
        Row {
            token: |issuer| issuer.agent(1003),
            target: call(1003, CALL),
            asks_upstream: false,
            ..Row::new("no account", 503, "account_missing")
        },
        Row { asks_upstream: false, ..Row::new("a broken account", 503, "account_unusable") }
            .build(|world| world.file("accounts/1001.yaml", "pasword: x\n")),
        Row {
            prepare: |world| world.sim.set_password(1001, "changed"),
            ..Row::new("a wrong password", 503, "account_rejected").retcode("100-004")
        },
        Row {
            prepare: |world| sign_in(world, Kind::Retcode("100-013".to_owned())),
            ..Row::new("a bad phone number", 503, "account_rejected").retcode("100-013")
        },
        Row::new("a password to be changed", 503, "account_rejected")
            .build(|world| world.sim(|sim| sim.must_change = true)),
        Row {
            prepare: |world| world.sim.hold_elsewhere(1001),
            ..Row::new("signed in elsewhere", 409, "agent_busy").retcode("100-002")
        },
        Row {
            prepare: |world| sign_in(world, Kind::Retcode("100-003".to_owned())),
            ..Row::new("no resource", 503, "upstream_switching").retcode("100-003")
        },
        Row {
            prepare: |world| sign_in(world, Kind::Retcode("000-004".to_owned())),
            ..Row::new("switching over", 503, "upstream_switching").retcode("000-004")
        },
        Row {
            prepare: |world| sign_in(world, Kind::Retcode("100-007".to_owned())),
            ..Row::new("refused otherwise", 502, "upstream_refused")
        }
        .retcode("100-007"),
        Row {
            prepare: |world| sign_in(world, Kind::Http(500)),
            ..Row::new("a sign-in answered with 500", 502, "upstream_protocol")
        },
        Row { prepare: |world| sign_in(world, Kind::HtmlPage), ..Row::new("a page", 502, "upstream_protocol") },
        Row {
            prepare: |world| sign_in(world, Kind::HangBeforeHead),
            ..Row::new("a sign-in that hangs", 504, "upstream_timeout")
        }
        .build(hasty),
        Row { asks_upstream: false, ..Row::new("nobody there", 502, "upstream_unreachable") }.build(|world| {
            world.config(|config| config["upstream"]["url"] = format!("https://127.0.0.1:{}", closed_port()).into())
        }),
        Row { asks_upstream: false, ..Row::new("another name", 502, "upstream_untrusted") }
            .build(|world| world.config(|config| config["upstream"]["server_name"] = "other.example".into())),
        Row { asks_upstream: false, ..Row::new("another key", 502, "upstream_untrusted") }
            .build(|world| world.config(|config| config["upstream"]["pin_sha256"] = json!(["00".repeat(32)]))),
    ];
    let rows = rows.into_iter().map(Row::retry_after);
    let slow = Row::new("no session in time", 504, "upstream_timeout").build(|world| {
        let world = world.config(|config| config["sessions"]["lease_timeout"] = "200ms".into());
        world.sim(|sim| sim.sign_in_delay = std::time::Duration::from_secs(2))
    });
    table("sessions", rows.chain([slow])).await;
}

/// Short deadlines of the upstream.
fn hasty(world: Builder) -> Builder {
    world.config(|config| {
        config["upstream"]["connect_timeout"] = "3s".into();
        config["upstream"]["response_timeout"] = "1s".into();
    })
}

/// A port of this machine where nobody listens.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A fault in downloads, so often.
fn download(world: &World, what: Kind, times: u32) {
    world.sim.fault(Fault { what, calls: Scope::Download, agent: None, times });
}

fn refuse(world: &World, retcode: &str, times: u32) {
    download(world, Kind::Retcode(retcode.to_owned()), times);
}

#[tokio::test(flavor = "multi_thread")]
async fn result_codes() {
    let rows = [
        Row::download("no right", 403, "upstream_forbidden", "upstream_refused", |world| refuse(world, "104-002", 1))
            .retcode("104-002"),
        Row::download("no right, twice", 403, "upstream_forbidden", "upstream_refused", |world| {
            refuse(world, "000-003", 2);
        })
        .retcode("000-003"),
        Row::download("a session lost twice", 502, "upstream_refused", "session_lost", |world| {
            refuse(world, "000-003", 1);
            refuse(world, "100-006", 1);
        })
        .retcode("100-006"),
        Row::download("parameters", 400, "upstream_bad_request", "upstream_refused", |world| {
            refuse(world, "000-002", 1);
        })
        .retcode("000-002"),
        Row::download("inspects oneself", 400, "upstream_bad_request", "upstream_refused", |world| {
            refuse(world, "000-005", 1);
        })
        .retcode("000-005"),
        Row::download("message parameters", 400, "upstream_bad_request", "upstream_refused", |world| {
            refuse(world, "000-006", 1);
        })
        .retcode("000-006"),
        Row::download("does not exist", 404, "recording_not_found", "upstream_refused", |world| {
            world.sim.add_missing(CALL);
        })
        .retcode("104-005"),
        Row::download("switching over", 503, "upstream_switching", "upstream_refused", |world| {
            refuse(world, "000-004", 1);
        })
        .retcode("000-004")
        .retry_after(),
        Row::download("not enabled", 502, "upstream_refused", "upstream_refused", |_| {})
            .retcode("104-001")
            .build(|world| world.sim(|sim| sim.download_enabled = false)),
        Row::download("a code of tomorrow", 502, "upstream_refused", "upstream_refused", |world| {
            refuse(world, "999-Z", 1);
        })
        .retcode("999-Z"),
        Row::download("in a file's clothes", 404, "recording_not_found", "upstream_refused", |world| {
            download(world, Kind::JsonAsFile("104-005".to_owned()), 1);
        })
        .retcode("104-005"),
        Row::download("no code at all", 502, "upstream_protocol", "upstream_protocol", |world| {
            refuse(world, "0\r\nx: y", 1);
        }),
    ];
    table("result-codes", rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_answers_that_are_not_understood() {
    let protocol = |name, prepare| Row::download(name, 502, "upstream_protocol", "upstream_protocol", prepare);
    let rows = [
        protocol("status 500", |world| download(world, Kind::Http(500), 1)),
        protocol("status 404", |world| download(world, Kind::Http(404), 1)),
        protocol("a redirect", |world| download(world, Kind::Http(302), 1)),
        protocol("a page", |world| download(world, Kind::HtmlPage, 1)),
        protocol("another type", |world| download(world, Kind::ContentType("multipart/mixed".to_owned()), 1)),
        protocol("no HTTP", |world| download(world, Kind::GarbageHead, 9)),
        protocol("a head of 1 MiB", |world| download(world, Kind::HugeHead, 9)),
        protocol("101", |world| download(world, Kind::Switching101, 9)),
        protocol("length and chunks", |world| download(world, Kind::BothFramings, 9)),
        protocol("two lengths", |world| download(world, Kind::TwoLengths, 9)),
        protocol("chunked, identity", |world| {
            download(world, Kind::TransferEncoding("chunked, identity".to_owned()), 9);
        }),
        protocol("gzip, chunked", |world| download(world, Kind::TransferEncoding("gzip, chunked".to_owned()), 9)),
        protocol("an end that cannot be told from a cut", |world| download(world, Kind::CloseDelimited, 9)),
        Row::download("reset", 502, "upstream_unreachable", "upstream_unreachable", |world| {
            download(world, Kind::Reset, 9);
        }),
        Row::download("silence", 504, "upstream_timeout", "upstream_timeout", |world| {
            download(world, Kind::HangBeforeHead, 9);
        })
        .build(hasty),
    ];
    table("answers", rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_does_not_exist() {
    let world = World::new().start().await;
    let headers = [("range", "bytes=99999999-"), ("x-request-id", "row-1")];
    let answer = world.get_with(&call(1001, CALL), &world.issuer.agent(1001), &headers).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (416, "range_not_satisfiable"));
    golden::compare("range", &[golden::answer("a part that does not exist", "GET a recording", &answer)]);
    assert_eq!(answer.header("content-range"), "bytes */65536");
    let end = world.end_of(answer.header("ccgate-audit-id")).await;
    assert_eq!((&end["event"], &end["reason"]), (&json!("failed"), &json!("range_not_satisfiable")));
    assert_eq!((&end["upstream"]["status"], &end["delivery"]["range"]), (&json!(416), &json!("bytes=99999999-")));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_downloads_as_may_be_open() {
    let world = World::new().config(|config| config["server"]["max_downloads"] = 1.into()).start().await;
    download(&world, Kind::StallAt(100), 1);
    let token = world.issuer.agent(1001);
    let mut first = world.open(&call(1001, CALL), &token, &[]).await;
    assert!(first.piece().await.unwrap().is_ok());
    let refused = world.get_with(&call(1001, CALL), &token, &[("x-request-id", "row-1")]).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "overloaded"));
    golden::compare(
        "overloaded",
        &[golden::answer("as many downloads are open as may be", "GET a recording", &refused)],
    );
    assert_eq!(refused.header("retry-after"), "5");
    let denied = world.events("denied");
    assert_eq!((denied.len(), &denied[0]["code"]), (1, &json!("overloaded")));
    drop(first);
    until("a place", || async { world.get(&call(1001, CALL), &token).await.status == 200 }).await;
}

/// Of two agents, where one may have a session, the other has none.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_agents_as_may_have_sessions() {
    let world = World::new().config(|config| config["sessions"]["max_agents"] = 1.into()).start().await;
    assert_eq!(world.get(&call(1001, CALL), &world.issuer.agent(1001)).await.status, 200);
    let headers = [("x-request-id", "row-1")];
    let answer = world.get_with(&call(1002, CALL), &world.issuer.agent(1002), &headers).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "sessions_exhausted"));
    golden::compare("agents", &[golden::answer("as many agents have sessions as may", "GET a recording", &answer)]);
    assert_eq!(world.events("denied")[0]["code"], "sessions_exhausted");
}

/// Trap 14: a log whose folder is deleted takes nothing, gives nothing out, and recovers by itself.
#[tokio::test(flavor = "multi_thread")]
async fn r14_without_a_log_there_is_no_recording() {
    let world = World::new().start().await;
    let token = world.issuer.agent(1001);
    assert_eq!(world.get(&call(1001, CALL), &token).await.status, 200);
    let folder = world.dir().join("audit");
    std::fs::remove_dir_all(&folder).unwrap();
    let answer = world.get_with(&call(1001, CALL), &token, &[("x-request-id", "row-1")]).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "audit_unavailable"));
    golden::compare("audit", &[golden::answer("the log's folder is gone", "GET a recording", &answer)]);
    assert_eq!((answer.header("retry-after"), answer.header("x-request-id")), ("5", "row-1"));
    assert_eq!((answer.header("ccgate-audit-id"), world.sim.counts().downloads), ("", 1));
    assert_eq!(client::get(world.admin(), "/readyz", &[]).await.status, 503);
    std::fs::create_dir(&folder).unwrap();
    until("recovery", || async { world.get(&call(1001, CALL), &token).await.status == 200 }).await;
    let gap = world.records().into_iter().find(|record| record["event"] == "audit.gap");
    assert!(gap.is_some(), "the loss is in the log: {:?}", world.records());
    assert_eq!(ISSUER, world.events("authorized")[0]["who"]["issuer"]);
}
