//! Which URL is asked, and when another one is: with URLs that say what they are told to, and no network.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use http::StatusCode;
use http::uri::Authority;
use prometheus::Registry;

use super::metrics::Operation;
use super::reach::Ask;
use super::{Config, Error, Gateway, Metrics};
use crate::cc::{Guid, NodeName, Retcode};
use crate::net;

const TIMEOUT: Duration = Duration::from_secs(6);
const A: &str = "a.example:8043";
const B: &str = "b.example:8043";
const C: &str = "c.example:8043";
const UUID: &str = "279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0";
const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef.AgentGateway1";

const fn unknown_issuer() -> rustls::Error {
    rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)
}

/// What a URL says.
#[derive(Debug, Clone, Copy)]
enum Says {
    Ok,
    Unreachable,
    /// After so many seconds.
    UnreachableAfter(u64),
    /// After so many seconds.
    TimeoutAfter(u64),
    Untrusted,
    /// After the handshake, so perhaps after the request.
    Alert,
    Timeout,
    Closed,
    Code(&'static str),
    Status(u16),
}

impl Says {
    fn answer(self) -> Result<(), Error> {
        let unreachable = || net::Error::Unreachable("no route".into());
        Err(match self {
            Self::Ok => return Ok(()),
            Self::Unreachable | Self::UnreachableAfter(_) => unreachable().into(),
            Self::Untrusted => net::Error::Untrusted(unknown_issuer().into()).into(),
            Self::Alert => {
                let alert = rustls::AlertDescription::CertificateRequired;
                net::Error::Untrusted(rustls::Error::AlertReceived(alert).into()).into()
            }
            Self::Timeout | Self::TimeoutAfter(_) => Error::Timeout,
            Self::Closed => Error::Closed { source: "reset".into(), stale: true },
            Self::Code(code) => Error::Refused { retcode: Retcode::parse(code).unwrap(), message: String::new() },
            Self::Status(status) => Error::Status(StatusCode::from_u16(status).unwrap()),
        })
    }
}

/// One call, and whom it was made to, with how much time for connecting.
struct Scripted {
    operation: Operation,
    guid: Option<Guid>,
    says: HashMap<&'static str, Says>,
    asked: Mutex<Vec<(String, Duration)>>,
    /// An agent's own app makes it.
    by_app: bool,
}

impl Ask for Scripted {
    type Answer = ();

    fn operation(&self) -> Operation {
        self.operation
    }

    fn guid(&self) -> Option<&Guid> {
        self.guid.as_ref()
    }

    fn is_judged(&self) -> bool {
        !self.by_app
    }

    async fn ask(&self, _gateway: &Gateway, at: &Authority, connect: Duration) -> Result<(), Error> {
        self.asked.lock().unwrap().push((at.to_string(), connect));
        let says = self.says[at.as_str()];
        if let Says::UnreachableAfter(seconds) | Says::TimeoutAfter(seconds) = says {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        says.answer()
    }

    fn brought((): &()) -> Option<Guid> {
        None
    }
}

struct Site {
    gateway: Gateway,
    registry: Registry,
}

fn site(urls: &[&str], nodes: &[(&str, &str)]) -> Site {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let gateway = gateway(urls, nodes, metrics);
    gateway.show();
    Site { gateway, registry }
}

fn gateway(urls: &[&str], nodes: &[(&str, &str)], metrics: Metrics) -> Gateway {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, certificate.pem()).unwrap();
    let tls = net::ClientTls { ca_file: Some(ca_file), ..net::ClientTls::default() };
    let config = Config {
        urls: urls.iter().map(|url| url.parse().unwrap()).collect(),
        nodes: nodes.iter().map(|(name, url)| (NodeName::parse(name).unwrap(), url.parse().unwrap())).collect(),
        client: net::ClientConfig { tls, connect_timeout: TIMEOUT, response_timeout: TIMEOUT },
        idle_timeout: TIMEOUT,
    };
    Gateway::new(&config, metrics).unwrap()
}

impl Site {
    /// Makes a call: how it ended, and who was asked.
    async fn call(
        &self,
        operation: Operation,
        guid: Option<&str>,
        says: &[(&'static str, Says)],
    ) -> (Result<(), Error>, Vec<String>) {
        self.call_by(false, operation, guid, says).await
    }

    async fn call_by(
        &self,
        by_app: bool,
        operation: Operation,
        guid: Option<&str>,
        says: &[(&'static str, Says)],
    ) -> (Result<(), Error>, Vec<String>) {
        let guid = guid.map(|guid| Guid::from_text(guid).unwrap());
        let call = Scripted { operation, guid, says: says.iter().copied().collect(), asked: Mutex::default(), by_app };
        let answer = self.gateway.reach(&call).await;
        (answer, call.asked.into_inner().unwrap().into_iter().map(|(at, _)| at).collect())
    }

    async fn in_session(&self, guid: &str, says: &[(&'static str, Says)]) -> (Result<(), Error>, Vec<String>) {
        self.call(Operation::Download, Some(guid), says).await
    }

    fn gauge(&self, name: &str) -> Vec<i64> {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        #[allow(clippy::cast_possible_truncation, reason = "0 and 1")]
        family.get_metric().iter().map(|metric| metric.get_gauge().get_value() as i64).collect()
    }
}

fn retcode(answer: &Result<(), Error>) -> Option<&str> {
    answer.as_ref().err().and_then(|error| error.retcode()).map(Retcode::as_str)
}

#[tokio::test]
async fn sign_ins_take_turns() {
    let site = site(&[A, B, C], &[]);
    let says = [(A, Says::Ok), (B, Says::Ok), (C, Says::Ok)];
    let mut counts = BTreeMap::new();
    for _ in 0..9 {
        let (answer, asked) = site.call(Operation::SignIn, None, &says).await;
        assert!(answer.is_ok() && asked.len() == 1, "{asked:?}");
        *counts.entry(asked[0].clone()).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [3, 3, 3]);
}

#[tokio::test]
async fn only_what_was_not_sent_is_asked_elsewhere() {
    for (says, elsewhere) in [
        (Says::Unreachable, true),
        (Says::Untrusted, true),
        (Says::Alert, false),
        (Says::Timeout, false),
        (Says::Closed, false),
        (Says::Status(503), false),
        (Says::Code("000-003"), false),
        (Says::Code("000-004"), false),
        (Says::Code("100-002"), false),
        (Says::Code("100-006"), false),
    ] {
        let site = site(&[A, B], &[]);
        for _ in 0..2 {
            let (answer, asked) = site.call(Operation::SignIn, None, &[(A, says), (B, Says::Ok)]).await;
            let first_was_b = asked[0] == B;
            assert_eq!(answer.is_ok(), elsewhere || first_was_b, "{says:?}");
            assert_eq!(asked.len(), if elsewhere && !first_was_b { 2 } else { 1 }, "{says:?}: {asked:?}");
        }
    }
}

#[tokio::test]
async fn a_session_of_a_mapped_node_is_asked_for_there_and_nowhere_else() {
    let site = site(&[A, B], &[("AgentGateway0", B), ("AgentGateway1", C)]);
    let all = |at_b, at_c| [(A, Says::Ok), (B, at_b), (C, at_c)];
    for (guid, node) in [(UUID, B), (HEX, C)] {
        for operation in [Operation::Download, Operation::Poll, Operation::Heartbeat, Operation::SignOut] {
            for says in [Says::Ok, Says::Unreachable, Says::Code("100-006"), Says::Code("000-003"), Says::Timeout] {
                let (answer, asked) = site.call(operation, Some(guid), &all(says, says)).await;
                assert_eq!(asked, [node], "{operation:?} {says:?}");
                assert_eq!(answer.is_ok(), matches!(says, Says::Ok));
            }
        }
    }
    // Of a node that is not mapped, any may know.
    let unknown = "279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway7";
    let (_, asked) = site.in_session(unknown, &all(Says::Code("100-006"), Says::Ok)).await;
    assert_eq!(asked, [A], "and those that are only nodes take no part");
}

#[tokio::test]
async fn a_session_whose_home_is_not_known_is_gone_where_all_say_so() {
    let lost = Says::Code("100-006");
    let site = site(&[A, B], &[]);
    let (answer, asked) = site.in_session(UUID, &[(A, lost), (B, lost)]).await;
    assert_eq!((retcode(&answer), asked.len()), (Some("100-006"), 2));
    for unknown in [Says::Unreachable, Says::Untrusted] {
        let (answer, asked) = site.in_session(UUID, &[(A, lost), (B, unknown)]).await;
        assert!(answer.is_err() && retcode(&answer).is_none(), "it may live at B: {answer:?}");
        assert_eq!(asked, [A, B]);
        let (answer, _) = site.in_session(UUID, &[(A, unknown), (B, lost)]).await;
        assert!(answer.is_err() && retcode(&answer).is_none(), "it may live at A: {answer:?}");
    }
    let (answer, asked) = site.in_session(UUID, &[(A, lost), (B, Says::Ok)]).await;
    assert_eq!((answer.is_ok(), asked), (true, vec![A.to_owned(), B.to_owned()]));
    let (answer, asked) = site.in_session(UUID, &[(A, Says::Ok), (B, lost)]).await;
    assert_eq!((retcode(&answer), asked), (Some("100-006"), vec![B.to_owned()]), "its home's word alone counts");
}

#[tokio::test(start_paused = true)]
async fn a_home_that_is_not_reached_is_not_taken_for_one_that_has_forgotten() {
    let site = site(&[A, B], &[]);
    assert!(site.in_session(UUID, &[(A, Says::Ok), (B, Says::Ok)]).await.0.is_ok());
    let at_a =
        site.gateway.servers.way(Operation::Poll, Guid::from_text(UUID).ok().as_ref(), tokio::time::Instant::now());
    assert_eq!(at_a.home, Some(A.parse().unwrap()));
    for code in ["100-006", "100-008", "000-003"] {
        for operation in [Operation::Poll, Operation::Download, Operation::SignOut] {
            let says = [(A, Says::Unreachable), (B, Says::Code(code))];
            let (answer, asked) = site.call(operation, Some(UUID), &says).await;
            // Five of them make A rest, and then B is asked before it.
            assert!(matches!(&answer, Err(Error::Unreachable { .. } | Error::Resting { .. })), "{code}: {answer:?}");
            assert!(asked.contains(&B.to_owned()));
            tokio::time::advance(Duration::from_secs(30)).await;
        }
    }
    // A load balancer that has taken over serves the session, and is its home from then on.
    let (answer, _) = site.in_session(UUID, &[(A, Says::Unreachable), (B, Says::Ok)]).await;
    assert!(answer.is_ok());
    let (answer, asked) = site.in_session(UUID, &[(A, Says::Ok), (B, Says::Code("100-006"))]).await;
    assert_eq!((retcode(&answer), asked), (Some("100-006"), vec![B.to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn connecting_is_bounded_over_all_urls() {
    let site = site(&[A, B, C], &[]);
    let says = [A, B, C].map(|at| (at, Says::UnreachableAfter(2)));
    let call = Scripted {
        operation: Operation::Download,
        guid: Guid::from_text(UUID).ok(),
        says: says.into_iter().collect(),
        asked: Mutex::default(),
        by_app: false,
    };
    assert!(matches!(site.gateway.reach(&call).await, Err(Error::Unreachable { .. })));
    let shares: Vec<_> = call.asked.into_inner().unwrap().into_iter().map(|(_, connect)| connect.as_secs()).collect();
    assert_eq!(shares, [2, 2, 2], "a third, half of what is left, the rest");
    let many: Vec<String> = (0..16).map(|number| format!("n{number}.example:8043")).collect();
    let many: Vec<&'static str> = many.into_iter().map(|url| &*url.leak()).collect();
    let crowd = self::site(&many, &[]);
    let says: Vec<_> = many.iter().map(|at| (*at, Says::Unreachable)).collect();
    let (_, asked) = crowd.call(Operation::SignIn, None, &says).await;
    assert_eq!(asked.len(), 3, "no more than three connections in vain for one call");
}

#[tokio::test(start_paused = true)]
async fn one_url_rests_alone_and_all_together() {
    let site = site(&[A, B], &[]);
    let says = [(A, Says::Unreachable), (B, Says::Ok)];
    for _ in 0..12 {
        assert!(site.call(Operation::SignIn, None, &says).await.0.is_ok());
    }
    assert_eq!(site.gauge("ccgate_upstream_healthy"), [0, 1]);
    assert_eq!(site.gauge("ccgate_upstream_breaker_open"), [0, 0], "it is not left alone as a whole");
    let (_, asked) = site.call(Operation::SignIn, None, &says).await;
    assert_eq!(asked, [B], "not asked while it rests");
    let gone = [(A, Says::Unreachable), (B, Says::Unreachable)];
    let mut last = Ok(());
    for _ in 0..6 {
        last = site.call(Operation::SignIn, None, &gone).await.0;
    }
    assert!(matches!(last, Err(Error::Resting { .. })), "{last:?}");
    assert_eq!(site.gauge("ccgate_upstream_healthy"), [0, 0]);
    assert_eq!(site.gauge("ccgate_upstream_breaker_open").iter().sum::<i64>(), 1);
    tokio::time::advance(Duration::from_secs(31)).await;
    let back = [(A, Says::Ok), (B, Says::Ok)];
    for _ in 0..4 {
        assert!(site.call(Operation::SignIn, None, &back).await.0.is_ok());
    }
    assert_eq!(site.gauge("ccgate_upstream_healthy"), [1, 1], "each is tried in its turn");
    assert_eq!(site.gauge("ccgate_upstream_breaker_open"), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_switch_over_at_one_url_sends_sign_ins_to_the_other() {
    let site = site(&[A, B], &[]);
    let says = [(A, Says::Code("000-004")), (B, Says::Ok)];
    for _ in 0..8 {
        let _ = site.call(Operation::SignIn, None, &says).await;
    }
    for _ in 0..4 {
        let (answer, asked) = site.call(Operation::SignIn, None, &says).await;
        assert_eq!((answer.is_ok(), asked), (true, vec![B.to_owned()]));
    }
    assert_eq!(site.gauge("ccgate_upstream_healthy"), [1, 1], "sessions at A go on");
}

#[tokio::test(start_paused = true)]
async fn what_was_found_out_survives_a_reload() {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let site = Site { gateway: gateway(&[A, B, C], &[], metrics.clone()), registry };
    site.gateway.show();
    assert!(site.in_session(UUID, &[(A, Says::Code("100-006")), (B, Says::Ok)]).await.0.is_ok());
    let says = [(A, Says::Unreachable), (B, Says::Ok), (C, Says::Ok)];
    for _ in 0..18 {
        let _ = site.call(Operation::SignIn, None, &says).await;
    }
    // Built and never put in force.
    let _refused = gateway(&[A], &[], metrics.clone());
    assert_eq!(site.gauge("ccgate_upstream_healthy"), [0, 1, 1], "the one in force is shown");
    let before = site;
    let site = Site { gateway: gateway(&[B, A], &[], metrics), registry: before.registry.clone() };
    site.gateway.follow(&before.gateway);
    assert_eq!(site.gauge("ccgate_upstream_healthy"), [1, 0], "A rests on, at its new place, and C is shown no more");
    let (_, asked) = site.call(Operation::SignIn, None, &says).await;
    assert_eq!(asked, [B]);
    let (answer, asked) = site.in_session(UUID, &[(A, Says::Ok), (B, Says::Code("100-006"))]).await;
    assert_eq!((retcode(&answer), asked), (Some("100-006"), vec![B.to_owned()]), "and B is still the session's home");
    tokio::time::advance(Duration::from_secs(31)).await;
    let back = [(A, Says::Ok), (B, Says::Ok), (C, Says::Ok)];
    for _ in 0..4 {
        assert!(before.call(Operation::SignIn, None, &back).await.0.is_ok());
    }
    assert_eq!(site.gauge("ccgate_upstream_healthy"), [1, 0], "what ends at the old one is not shown");
}

#[tokio::test(start_paused = true)]
async fn r18_a_session_whose_url_was_taken_out_is_not_taken_for_lost_by_the_others_word() {
    let lost = Says::Code("100-006");
    for (before, urls) in
        [(vec![A, B], vec![B]), (vec![A, B, C], vec![B, C]), (vec![A], vec![B]), (vec![A], vec![B, C])]
    {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let old = Site { gateway: gateway(&before, &[], metrics.clone()), registry: registry.clone() };
        let says = [(A, Says::Ok), (B, lost), (C, lost)];
        assert!(old.in_session(UUID, &says).await.0.is_ok());
        let site = Site { gateway: gateway(&urls, &[], metrics.clone()), registry: registry.clone() };
        site.gateway.follow(&old.gateway);
        for operation in [Operation::Poll, Operation::Download] {
            let (answer, asked) = site.call(operation, Some(UUID), &says).await;
            assert!(matches!(&answer, Err(Error::Unreachable { .. })), "{before:?} {urls:?}: {answer:?}");
            assert_eq!(asked, urls);
            tokio::time::advance(Duration::from_secs(30)).await;
        }
        let (answer, _) = site.in_session(HEX, &says).await;
        assert_eq!(retcode(&answer), Some("100-006"), "of one that nobody knew they may say so");
        let of_its_node = "11111111-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0";
        let (answer, _) = site.in_session(of_its_node, &says).await;
        assert!(matches!(&answer, Err(Error::Unreachable { .. })), "another replica signed it in there: {answer:?}");
        // Named as a node's it stays the session's home.
        let drained = Site { gateway: gateway(&urls, &[("AgentGateway0", A)], metrics), registry };
        drained.gateway.follow(&site.gateway);
        let (answer, asked) = drained.in_session(UUID, &says).await;
        assert_eq!((answer.is_ok(), asked), (true, vec![A.to_owned()]));
        // One that leads to all sessions is their home as soon as it has answered.
        let all = [(B, Says::Ok), (C, Says::Ok)];
        assert!(site.in_session(UUID, &all).await.0.is_ok());
        let (answer, _) = site.in_session(UUID, &says).await;
        assert_eq!(retcode(&answer), Some("100-006"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_url_that_leaves_only_apps_without_an_answer_rests_too() {
    let site = site(&[A, B], &[]);
    let hangs = [(A, Says::TimeoutAfter(5)), (B, Says::Ok)];
    assert!(site.call_by(true, Operation::Poll, Some(UUID), &[(A, Says::Ok)]).await.0.is_ok());
    for _ in 0..5 {
        let (answer, asked) = site.call_by(true, Operation::Poll, Some(UUID), &hangs).await;
        assert_eq!((answer.is_err(), asked), (true, vec![A.to_owned()]));
    }
    assert_eq!(site.gauge("ccgate_upstream_healthy"), [0, 1]);
    for _ in 0..4 {
        let (answer, asked) = site.call_by(true, Operation::SignIn, None, &hangs).await;
        assert_eq!((answer.is_ok(), asked), (true, vec![B.to_owned()]), "people are not sent there");
    }
    let only_a = self::site(&[A], &[]);
    for _ in 0..9 {
        let (_, asked) = only_a.call_by(true, Operation::Poll, Some(UUID), &hangs).await;
        assert_eq!(asked, [A], "an app's call is made in any case");
    }
    // Its rest is over: one of them finds out whether it is back.
    tokio::time::advance(Duration::from_secs(31)).await;
    let crowd = (0..8).map(|_| site.call_by(true, Operation::SignIn, None, &hangs));
    let asked = futures_util::future::join_all(crowd).await.into_iter().flat_map(|(_, asked)| asked);
    assert_eq!(asked.filter(|at| at == A).count(), 1);
    tokio::time::advance(Duration::from_secs(31)).await;
    let back = [(A, Says::Ok), (B, Says::Ok)];
    for _ in 0..2 {
        assert!(site.call_by(true, Operation::SignIn, None, &back).await.0.is_ok());
    }
    assert_eq!(site.gauge("ccgate_upstream_healthy"), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn sessions_of_a_gateway_that_is_gone_do_not_flood_the_one_that_knows_none_of_them() {
    let site = site(&[A, B, C], &[]);
    let lost = Says::Code("100-006");
    assert!(site.in_session(UUID, &[(A, Says::Ok)]).await.0.is_ok());
    let says = [(A, Says::Unreachable), (B, lost), (C, lost)];
    let mut elsewhere = 0;
    for _ in 0..24 {
        let (answer, asked) = site.call(Operation::Poll, Some(UUID), &says).await;
        assert!(matches!(&answer, Err(Error::Unreachable { .. } | Error::Resting { .. })), "{answer:?}");
        elsewhere += asked.iter().filter(|at| *at != A).count();
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    assert_eq!(elsewhere, 8, "both, every 30 s of the two minutes: a load balancer may have taken over");
    let (answer, asked) = site.in_session(UUID, &[(A, Says::Ok), (B, Says::Ok), (C, lost)]).await;
    assert_eq!((answer.is_ok(), asked.len()), (true, 1));
    // One of the others could not be asked: it may lead there.
    let site = self::site(&[A, B, C], &[]);
    assert!(site.in_session(UUID, &[(A, Says::Ok)]).await.0.is_ok());
    let says = [(A, Says::Unreachable), (B, lost), (C, Says::Unreachable)];
    for _ in 0..3 {
        let (_, asked) = site.in_session(UUID, &says).await;
        assert_eq!(asked.len(), 3);
    }
    let (answer, _) = site.in_session(UUID, &[(A, Says::Unreachable), (B, lost), (C, Says::Ok)]).await;
    assert!(answer.is_ok());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_or_blamed_without_time_to_connect() {
    let site = site(&[A, B], &[]);
    assert!(site.in_session(UUID, &[(A, Says::Ok)]).await.0.is_ok());
    for _ in 0..6 {
        let says = [(A, Says::UnreachableAfter(7)), (B, Says::Unreachable)];
        let (answer, asked) = site.in_session(UUID, &says).await;
        assert!(matches!(answer, Err(Error::Unreachable { .. })), "{answer:?}");
        assert!(asked == [A] || asked == [B, A], "{asked:?}");
    }
    assert_eq!(site.gauge("ccgate_upstream_healthy"), [0, 1]);
}
