//! Two and more processes on a real server, which is stopped, killed, wiped and replaced meanwhile.

use std::net::TcpListener;

use super::*;
use crate::cc::{Guid, SignInForm};
use crate::session::store::{Kind, Live};

mod budgets;
mod left;
mod server;
mod taking;

use server::{
    GUID, LEASE, OTHER_KEY, Process, Server, TIMEOUT, Told, UPSTREAM, agent, condition, connect, eventually, free_port,
    is_live, live,
};

fn why(error: Error) -> &'static str {
    match error {
        Error::Unavailable { why, .. } => why,
        Error::Superseded => panic!("superseded"),
    }
}

#[tokio::test]
async fn r18_of_many_who_seek_at_once_one_becomes_the_owner_and_the_others_read_what_it_writes() {
    let server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    let seeks = (0..40).map(|n| if n % 2 == 0 { &one } else { &two }).map(|process| process.store.seek(agent(1001), 0));
    let found = futures_util::future::join_all(seeks).await;
    let owned: Vec<bool> = found.iter().map(|found| matches!(found, Ok(Found::Owned { .. }))).collect();
    let by_one = owned.iter().step_by(2).filter(|owned| **owned).count();
    let by_two = owned.iter().skip(1).step_by(2).filter(|owned| **owned).count();
    assert!((by_one == 20 && by_two == 0) || (by_one == 0 && by_two == 20), "{by_one} and {by_two}");

    let (owner, other) = if by_one > 0 { (&one, &two) } else { (&two, &one) };
    assert!(other.borrows(1001).await.1.is_none(), "nothing written yet");
    other.forget();
    let fence = owner.writes(1001).await;
    other.hears(Told::Changed(agent(1001))).await;
    let (theirs, entry) = other.borrows(1001).await;
    assert_eq!(theirs, fence);
    assert!(is_live(entry.as_ref()));
    assert!(!owner.told().contains(&Told::Changed(agent(1001))), "no news to itself");
}

#[tokio::test]
async fn fences_grow_with_every_seek_over_floors_and_after_a_release() {
    let server = Server::start();
    let one = server.process().await;
    let (first, left) = one.owns(1001).await;
    assert!(left.is_none());
    let (second, left) = one.owns(1001).await;
    assert!(second > first && left.is_none());
    assert!(matches!(one.store.write(agent(1001), first, live()).await, Err(Error::Superseded)));
    let floor = second + 1_000_000_000;
    let Ok(Found::Owned { fence, .. }) = one.store.seek(agent(1001), floor).await else { panic!("owned") };
    assert_eq!(fence, floor + 1);
    one.store.release(agent(1001), fence).await.expect("released");
    assert!(matches!(one.store.write(agent(1001), fence, live()).await, Err(Error::Superseded)));
    let two = server.process().await;
    let (third, left) = two.owns(1001).await;
    assert!(third > fence && left.is_none());
}

#[tokio::test]
async fn who_crashed_is_followed_within_the_lease_and_a_second_with_what_it_left() {
    let server = Server::start();
    let (mut one, two) = (server.process().await, server.process().await);
    let fence = one.writes(1001).await;
    one.crash().await;
    let crashed = Instant::now();
    assert!(is_live(two.borrows(1001).await.1.as_ref()), "the lease lasts");
    let mut taken = None;
    eventually("taken over", async || {
        if let Found::Owned { fence, left } = two.store.seek(agent(1001), 0).await.expect("found") {
            taken = Some((fence, left));
        }
        taken.is_some()
    })
    .await;
    assert!(crashed.elapsed() < LEASE + Duration::from_secs(1), "{:?}", crashed.elapsed());
    let (newer, left) = taken.expect("taken");
    assert!(newer > fence && is_live(left.as_ref()));

    // The one before was only paused, and wakes.
    assert!(!one.store.tenure().holds(one.store.tenure().generation, Instant::now()));
    let late = one.store.write(agent(1001), fence, live()).await;
    assert!(matches!(late, Err(Error::Superseded)), "{late:?}");
    assert!(matches!(one.store.release(agent(1001), fence).await, Err(Error::Superseded)));
    // With its tenure gone it does not become an owner either, until it beats again.
    assert_eq!(why(one.store.seek(agent(1002), 0).await.expect_err("refused")), "this process's tenure has just ended");
    let one = Process::start(Arc::clone(&one.store));
    one.hears(Told::Reconfirm).await;
    assert_eq!(one.store.tenure().generation, 1);
    one.owns(1002).await;
}

#[tokio::test]
async fn who_ends_is_followed_at_once() {
    let server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    one.writes(1001).await;
    let start = Instant::now();
    one.end().await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(is_live(two.owns(1001).await.1.as_ref()));
}

#[tokio::test]
async fn what_was_left_is_handed_out_again_until_the_new_owner_writes() {
    let server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    one.writes(1001).await;
    one.end().await;
    let (first, left) = two.owns(1001).await;
    assert!(is_live(left.as_ref()));
    let (fence, left) = two.owns(1001).await;
    assert!(fence > first && is_live(left.as_ref()), "the answer may have been lost");
    two.store.write(agent(1001), fence, live()).await.expect("written");
    assert!(two.owns(1001).await.1.is_none(), "its own");
}

#[tokio::test]
async fn a_record_that_its_owner_has_not_written_again_after_the_store_settled_is_nobodys() {
    let server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    let fence = one.writes(1001).await;
    server.command(&["HSET", "{test}:agent:1001", "epoch", "1"]).await;
    let (newer, left) = two.owns(1001).await;
    assert!(newer > fence && is_live(left.as_ref()));
    assert!(matches!(one.store.write(agent(1001), fence, live()).await, Err(Error::Superseded)));
}

#[tokio::test]
async fn a_session_that_another_uses_is_kept_or_handed_over() {
    let server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    let within = Duration::from_mins(1);
    let fence = one.writes(1001).await;
    two.borrows(1001).await;
    let idle = one.store.retire(agent(1001), fence, Retire::Idle { within }).await.expect("retired");
    assert!(matches!(idle, Retired::InUse { .. }), "{idle:?}");
    one.store.write(agent(1001), fence, live()).await.expect("still owned");
    let stop = one.store.retire(agent(1001), fence, Retire::Stop).await.expect("retired");
    assert!(matches!(stop, Retired::InUse { .. }), "{stop:?}");
    two.hears(Told::Changed(agent(1001))).await;
    assert!(matches!(one.store.write(agent(1001), fence, live()).await, Err(Error::Superseded)));
    let (fence, left) = two.owns(1001).await;
    assert!(is_live(left.as_ref()));

    // Its own use before is none elsewhere.
    two.store.write(agent(1001), fence, live()).await.expect("written");
    let unused = two.store.retire(agent(1001), fence, Retire::Idle { within }).await.expect("retired");
    assert_eq!(unused, Retired::Unused);
    assert!(one.borrows(1001).await.1.is_none(), "it is about to sign out");

    // A use by one who is gone does not keep it at the end.
    let fence = two.writes(1002).await;
    one.borrows(1002).await;
    one.end().await;
    assert_eq!(two.store.retire(agent(1002), fence, Retire::Stop).await.expect("retired"), Retired::Unused);
}

#[tokio::test]
async fn a_refused_guid_is_told_to_its_owner_alone() {
    let server = Server::start();
    let (one, two, three) = (server.process().await, server.process().await, server.process().await);
    let version = Version { fence: one.writes(1001).await, rotation: 3 };
    two.store.reject(agent(1001), version, LossCause::Forgotten).await.expect("told");
    one.hears(Told::Rejected(agent(1001), version, LossCause::Forgotten)).await;
    let old = Version { fence: version.fence - 1, rotation: 0 };
    two.store.reject(agent(1001), old, LossCause::Refused).await.expect("passed over");
    tokio::time::sleep(LEASE / 2).await;
    let rejected = |process: &Process| process.told().iter().filter(|told| matches!(told, Told::Rejected(..))).count();
    assert_eq!((rejected(&one), rejected(&two), rejected(&three)), (1, 0, 0));
}

#[tokio::test]
async fn after_a_wipe_owners_write_theirs_again_before_anybody_becomes_one() {
    let server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    let fence = one.writes(1001).await;
    let lost = one.writes(1002).await;
    server.command(&["FLUSHALL"]).await;
    let refused = two.store.seek(agent(1001), 0).await.expect_err("not to be believed");
    assert!(matches!(&refused, Error::Unavailable { retry_after, .. } if *retry_after <= LEASE), "{refused:?}");
    one.hears(Told::Reconfirm).await;
    assert_eq!(one.store.tenure().generation, 1);
    one.store.write(agent(1001), fence, live()).await.expect("taken, though it is not known");
    assert!(is_live(two.borrows(1001).await.1.as_ref()), "believed as soon as it is written again");
    assert!(matches!(two.store.write(agent(1001), fence, live()).await, Err(Error::Superseded)), "of another");

    server.settled(&two).await;
    assert_eq!(two.borrows(1001).await.0, fence);
    // What nobody wrote again is free; the fence has grown all the same, and its owner before finds that out.
    let (newer, left) = two.owns(1002).await;
    assert!(newer > lost && left.is_none());
    assert!(matches!(one.store.write(agent(1002), lost, live()).await, Err(Error::Superseded)));
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_seen_and_fences_do_not_go_backwards() {
    let mut server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    let fence = one.writes(1001).await;
    server.kill();
    two.hears(Told::LostSight).await;
    two.forget();
    let start = Instant::now();
    let error = two.store.seek(agent(1001), 0).await.expect_err("it is down");
    assert!(matches!(error, Error::Unavailable { .. }) && start.elapsed() < TIMEOUT * 2, "{error:?}");
    server.restart();
    one.hears(Told::Reconfirm).await;
    one.store.write(agent(1001), fence, live()).await.expect("taken");
    two.hears(Told::LostSight).await;
    server.settled(&two).await;
    assert_eq!(two.borrows(1001).await.0, fence);
    assert!(two.owns(1002).await.0 > fence);
    one.store.release(agent(1001), fence).await.expect("released");
    assert!(two.owns(1001).await.0 > fence);
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_timeout_each_then_nothing_until_it_answers() {
    let server = Server::start();
    let one = server.process().await;
    let fence = one.writes(1001).await;
    server.signal("STOP");
    for _ in 0..4 {
        let start = Instant::now();
        assert!(matches!(one.store.seek(agent(1001), 0).await, Err(Error::Unavailable { .. })));
        assert!(start.elapsed() < TIMEOUT + Duration::from_millis(400), "{:?}", start.elapsed());
    }
    let start = Instant::now();
    let answers = (0..200).map(|_| one.store.seek(agent(1001), 0));
    let failed = futures_util::future::join_all(answers).await.iter().filter(|answer| answer.is_err()).count();
    assert_eq!(failed, 200);
    assert!(start.elapsed() < TIMEOUT * 2, "{:?}: they do not queue up", start.elapsed());
    server.signal("CONT");
    eventually("it answers again", async || one.store.write(agent(1001), fence, live()).await.is_ok()).await;
}

#[tokio::test]
async fn what_was_given_up_is_not_done_later() {
    let server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    let fence = one.writes(1001).await;
    server.signal("STOP");
    assert!(one.store.seek(agent(1001), 0).await.is_err());
    assert!(one.store.release(agent(1001), fence).await.is_err());
    assert!(two.store.seek(agent(1002), 0).await.is_err());
    server.signal("CONT");
    eventually("it answers again", async || one.store.write(agent(1001), fence, live()).await.is_ok()).await;
    server.settled(&one).await;
    one.owns(1002).await;
}

#[tokio::test]
async fn a_process_ends_in_time_though_the_server_hangs() {
    let server = Server::start();
    let one = server.process().await;
    server.signal("STOP");
    let start = Instant::now();
    one.end().await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_unavailable_until_it_does() {
    let (primary, server) = (Server::start(), Server::start());
    let one = server.process().await;
    let fence = one.writes(1001).await;
    server.command(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]).await;
    eventually("it says so", async || match one.store.seek(agent(1001), 0).await {
        Err(error) => why(error) == "it takes no writes",
        Ok(_) => false,
    })
    .await;
    // Its copy of the record is gone by now; even so nothing says that the agent has another owner.
    assert!(matches!(one.store.write(agent(1001), fence, live()).await, Err(Error::Unavailable { .. })));
    server.command(&["REPLICAOF", "NO", "ONE"]).await;
    eventually("it takes writes again", async || one.store.write(agent(1001), fence, live()).await.is_ok()).await;
}

#[tokio::test]
async fn what_answers_nonsense_or_nothing_or_is_not_there_stops_the_start_in_time() {
    let server = Server::start();
    let babbler = TcpListener::bind("127.0.0.1:0").expect("a port");
    let babbling = babbler.local_addr().expect("a port").port();
    babbler.set_nonblocking(true).expect("set");
    let babbler = tokio::net::TcpListener::from_std(babbler).expect("a listener");
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        use tokio::io::AsyncWriteExt;
        loop {
            let (mut socket, _) = babbler.accept().await.expect("accepted");
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n\x00\xff$-7\r\n*99999999\r\n").await;
        }
    });
    // Accepts by its backlog and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    for port in [babbling, silent.local_addr().expect("a port").port(), free_port()] {
        std::fs::write(server.file("url"), format!("redis://planted:secret@127.0.0.1:{port}")).expect("written");
        let start = Instant::now();
        let error = connect(&server.config()).await.expect_err("no server");
        assert!(matches!(error, ConnectError::Unavailable(_)), "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("planted") && !shown.contains("127.0.0.1"), "{shown}");
    }
}

#[tokio::test]
async fn keys_of_another_type_are_unavailable_and_nobodys() {
    let server = Server::start();
    let one = server.process().await;
    let fence = one.writes(1001).await;
    server.command(&["SET", "{test}:agent:1001", "garbage"]).await;
    assert_eq!(why(one.store.seek(agent(1001), 0).await.expect_err("refused")), "one of its keys is not ours");
    assert_eq!(
        why(one.store.write(agent(1001), fence, live()).await.expect_err("refused")),
        "one of its keys is not ours"
    );
    server.command(&["HSET", "{test}:agent:1002", "fence", "x", "owner", "y", "at", "z", "entry", "v1.a.b"]).await;
    let (_, left) = one.owns(1002).await;
    assert!(left.is_some_and(|left| left.entry.is_none()), "garbage is not used");
    server.command(&["RPUSH", &format!("{{test}}:inbox:{}", one.store.id), "", "1 2", "101 -1 x y", "\u{ff}"]).await;
    server.command(&["PUBLISH", "{test}:events", "changed nobody x"]).await;
    server.command(&["PUBLISH", "{test}:events", "changed 1003 x"]).await;
    one.hears(Told::Changed(agent(1003))).await;
}

#[tokio::test]
async fn a_record_under_another_key_is_not_used_and_a_wrong_start_says_why() {
    let server = Server::start();
    let one = server.process().await;
    one.writes(1001).await;
    std::fs::write(server.file("key"), OTHER_KEY).expect("written");
    let two = server.process().await;
    let (_, entry) = two.borrows(1001).await;
    assert!(entry.is_some_and(|left| left.entry.is_none()));

    let start = |change: fn(&mut Config)| {
        let mut config = server.config();
        change(&mut config);
        async move { connect(&config).await.expect_err("refused") }
    };
    assert!(matches!(start(|config| config.key_file = "/nowhere/key".into()).await, ConnectError::Keys(_)));
    assert!(matches!(start(|config| config.url_file = "/nowhere/url".into()).await, ConnectError::Unreadable { .. }));
    assert!(matches!(start(|config| config.prefix = "a b".into()).await, ConnectError::Prefix));
    let plain = start(|config| config.ca_file = Some("/etc/hostname".into())).await;
    assert!(plain.to_string().contains("rediss://"), "{plain}");

    let metrics = Metrics::register(&prometheus::Registry::new()).expect("metrics");
    let foreign = Redis::connect(&server.config(), "elsewhere:8043", metrics, condition()).await.expect_err("refused");
    let text = foreign.to_string();
    assert!(text.contains(UPSTREAM) && text.contains("elsewhere:8043"), "{text}");
}

#[tokio::test]
async fn r17_a_dump_of_the_server_holds_no_guid_in_clear() {
    let server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    let version = Version { fence: one.writes(1001).await, rotation: 3 };
    two.borrows(1001).await;
    let mut one = one;
    one.crash().await;
    two.store.reject(agent(1001), version, LossCause::Refused).await.expect("told");
    let ::redis::Value::Array(keys) = server.command(&["KEYS", "*"]).await else { panic!("keys") };
    let mut dump = Vec::new();
    for key in keys {
        let ::redis::Value::BulkString(key) = key else { panic!("a key") };
        let key = String::from_utf8(key).expect("text");
        let ::redis::Value::SimpleString(kind) = server.command(&["TYPE", &key]).await else { panic!("a type") };
        let value = match kind.as_str() {
            "hash" => server.command(&["HGETALL", &key]).await,
            "list" => server.command(&["LRANGE", &key, "0", "-1"]).await,
            _ => server.command(&["GET", &key]).await,
        };
        dump.push(format!("{key} {value:?}"));
    }
    let dump = dump.join("\n");
    for there in ["{test}:agent:1001", "{test}:inbox:", "{test}:replica:", "v1.", UPSTREAM] {
        assert!(dump.contains(there), "{there} in {dump}");
    }
    let part = GUID.split('-').next().expect("a part");
    assert!(!dump.contains(part), "{dump}");
}

#[tokio::test]
async fn a_clock_that_jumps_makes_no_second_owner_and_one_set_back_keeps_no_dead_one() {
    let server = Server::start();
    let (mut one, two) = (server.process().await, server.process().await);
    one.writes(1001).await;
    // As if the server's clock had run ahead by a minute since the last beat: tenures may have expired too early.
    if let Some((millis, _)) = &mut two.store.pulse().clock {
        *millis -= 60_000;
    }
    let refused = two.store.seek(agent(1002), 0).await.expect_err("not to be believed");
    assert!(why(refused).contains("came back"));
    server.settled(&two).await;

    // As if it had been set back by an hour: the keys would last so much longer.
    one.writes(1003).await;
    one.crash().await;
    server.command(&["PEXPIRE", &format!("{{test}}:replica:{}", one.store.id), "3600000"]).await;
    two.borrows(1003).await;
    eventually("taken over", async || {
        matches!(two.store.seek(agent(1003), 0).await, Ok(Found::Owned { left, .. }) if is_live(left.as_ref()))
    })
    .await;
}

#[tokio::test]
async fn all_replicas_together_sign_in_no_more_often_than_allowed() {
    let server = Server::start();
    let (one, two) = (server.process().await, server.process().await);
    let asks = (0..30).map(|n| if n % 2 == 0 { &one } else { &two }).map(|process| process.store.admit_sign_in());
    let answers = futures_util::future::join_all(asks).await;
    let waits: Vec<Duration> = answers.into_iter().filter_map(|answer| answer.expect("answered")).collect();
    // The burst can fall into two seconds.
    assert!((20..=25).contains(&waits.len()), "{} wait", waits.len());
    let longest = waits.iter().max().expect("a wait");
    assert!(*longest <= Duration::from_secs(5) && *longest > Duration::from_secs(1), "{longest:?}");
}

#[tokio::test]
async fn the_store_is_counted_and_shown_as_up_or_down() {
    let mut server = Server::start();
    let registry = prometheus::Registry::new();
    let metrics = Metrics::register(&registry).expect("metrics");
    let store = Redis::connect(&server.config(), UPSTREAM, metrics.clone(), condition()).await.expect("connected");
    assert!(metrics.is_up());
    server.kill();
    for _ in 0..5 {
        assert!(store.admit_sign_in().await.is_err());
    }
    assert!(!metrics.is_up());
    let shown = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
    for line in [
        r#"requests_total{operation="beat",outcome="ok"} 1"#,
        r#"requests_total{operation="admit_sign_in",outcome="skipped"}"#,
        "ccgate_session_store_up 0",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
}

#[cfg(feature = "demo")]
#[tokio::test]
async fn tls_is_checked_against_the_ca_file_and_a_password_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let pem = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    };
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (pem("cert", made.cert.pem()), pem("key", made.signing_key.serialize_pem()));
    let port = free_port();
    let words = ["--port", "0", "--tls-port", &port.to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key];
    let words = words.into_iter().chain(["--tls-auth-clients", "no", "--requirepass", "p#a"]).map(str::to_owned);
    let server = Server::start_with(port, words.collect());
    std::fs::write(server.file("url"), format!("rediss://:p%23a@localhost:{port}")).expect("written");

    let good = Config { ca_file: Some(cert.into()), ..server.config() };
    connect(&good).await.expect("connected");
    let bad = Config { ca_file: Some(pem("other", other.cert.pem()).into()), ..server.config() };
    let error = connect(&bad).await.expect_err("another CA");
    assert!(error.to_string().contains("not trusted"), "{error}");
    std::fs::write(server.file("url"), format!("rediss://:wrong@localhost:{port}")).expect("written");
    let error = connect(&good).await.expect_err("a wrong password");
    assert!(error.to_string().contains("password"), "{error}");
}
