//! Several URLs: load balancers before one gateway, or gateways that share nothing. Some are dead, some die.

use std::time::Duration;

use ccgate::sim::{self, GuidShape, Kind, Scope, Simulator};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::Command;

use crate::client::Answer;
use crate::desk::app::App;
use crate::politeness::Line;
use crate::world::{Builder, CALL, PASSWORD, World, call, until};

const AGENTS: std::ops::Range<u32> = 2001..2013;

/// Runs ccgate with these URLs and nodes; it trusts these simulators' certificates beside that of the world's own.
async fn run(mut world: World, urls: &[String], nodes: &Value, others: &[&Simulator]) -> World {
    let mut config: Value = serde_json::from_slice(&std::fs::read(world.config_file()).unwrap()).unwrap();
    let upstream = config["upstream"].as_object_mut().unwrap();
    upstream.remove("url");
    upstream.insert("urls".to_owned(), json!(urls));
    upstream.insert("nodes".to_owned(), nodes.clone());
    std::fs::write(world.config_file(), config.to_string()).unwrap();
    let trusted: String = std::iter::once(&world.sim).chain(others.iter().copied()).map(Simulator::ca_pem).collect();
    std::fs::write(world.dir().join("upstream-ca.pem"), trusted).unwrap();
    world.run_here().await;
    world.until_ready().await;
    world
}

/// Two load balancers before the world's gateway.
async fn balanced(world: Builder) -> (World, [Line; 2]) {
    let lines = [Line::away().await, Line::away().await];
    let world = world.without_gateway().await;
    for line in &lines {
        line.leads_to_address(world.sim.address());
    }
    (run(world, &lines.each_ref().map(Line::url), &json!({}), &[]).await, lines)
}

/// Another gateway on the same site, with the other shape of Guids. It shares no session with the first.
async fn another() -> Simulator {
    let config = sim::Config {
        agents: sim::AgentSource::Any { password: PASSWORD.to_owned() },
        node: "AgentGateway1".to_owned(),
        guid_shape: GuidShape::Hex48,
        ranges: true,
        forbid_idle: false,
        poll_wait: Duration::from_millis(200),
        ..sim::Config::default()
    };
    Simulator::start(config).await.unwrap()
}

async fn get(world: &World, agent: u32) -> Answer {
    world.get(&call(agent, CALL), &world.issuer.agent(agent)).await
}

async fn all_served(world: &World) {
    for answer in join_all(AGENTS.map(|agent| get(world, agent))).await {
        assert_eq!((answer.status.as_u16(), answer.whole), (200, true), "{answer:?}");
    }
}

async fn healthy(world: &World, index: usize) -> Option<f64> {
    world.metric(&format!("ccgate_upstream_healthy{{upstream=\"{index}\"}}")).await
}

fn downloads(sim: &Simulator) -> usize {
    sim.requests().iter().filter(|seen| seen.target.contains("recordfile")).count()
}

/// A URL at which nobody listens.
async fn nobody() -> String {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("https://{}", free.local_addr().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_dead_from_the_start_costs_nobody_anything() {
    let world = World::new().agents(AGENTS).without_gateway().await;
    let urls = [nobody().await, world.sim.url()];
    let world = run(world, &urls, &json!({}), &[]).await;
    assert_eq!((healthy(&world, 0).await, healthy(&world, 1).await), (Some(1.0), Some(1.0)));
    all_served(&world).await;
    all_served(&world).await;
    assert_eq!((world.sim.counts().sign_in_calls, world.sim.counts().sign_ins), (12, 12));
    assert_eq!((healthy(&world, 0).await, healthy(&world, 1).await), (Some(0.0), Some(1.0)), "six sign-ins in vain");
    for reason in ["unanswered", "switching"] {
        let name = format!("ccgate_upstream_breaker_open{{reason=\"{reason}\"}}");
        assert_eq!(world.metric(&name).await, Some(0.0), "the gateway is there");
    }
    assert_eq!((world.events("session.sign_in_failed").len(), world.sim.broken_rules()), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_swallows_every_connection_delays_and_fails_nobody() {
    // Its queue is full, so the system answers no knock any more.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let hole = socket.listen(0).unwrap();
    let address = hole.local_addr().unwrap();
    let knocks =
        join_all((0..4).map(|_| tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)))).await;
    assert!(knocks.iter().any(Result::is_err), "the queue is full");
    let world = World::new().agents(AGENTS).config(|config| config["upstream"]["connect_timeout"] = "4s".into());
    let world = world.without_gateway().await;
    let urls = [format!("https://{address}"), world.sim.url()];
    let world = run(world, &urls, &json!({}), &[]).await;
    all_served(&world).await;
    assert_eq!((world.sim.counts().sign_in_calls, world.sim.broken_rules()), (12, vec![]));
    assert_eq!(healthy(&world, 0).await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_that_dies_takes_no_session_with_it() {
    let others = 3001..3100;
    let world = World::new().agents(AGENTS.chain(others.clone())).sim(|sim| sim.poll_wait = Duration::from_millis(300));
    let (world, lines) = balanced(world).await;
    all_served(&world).await;
    let mut others = others.into_iter();
    let mut signed_in = 12;
    for dies in &lines {
        dies.leave();
        let polls = world.sim.counts().polls;
        for _ in 0..3 {
            all_served(&world).await;
        }
        until("every session polls on", || async { world.sim.counts().polls > polls + 36 }).await;
        assert_eq!(world.sim.counts().sign_in_calls, signed_in, "nobody is signed in anew");
        dies.leads_to_address(world.sim.address());
        // A sign-in whose turn it is tries it out.
        while !(healthy(&world, 0).await == Some(1.0) && healthy(&world, 1).await == Some(1.0)) {
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(get(&world, others.next().expect("back in time")).await.status, 200);
            signed_in += 1;
        }
    }
    assert_eq!((world.events("session.lost").len(), world.sim.counts().forced), (0, 0));
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_share_nothing_are_asked_for_their_own_sessions_only() {
    for nodes in [true, false] {
        let other = another().await;
        let here = World::new().agents(AGENTS).sim(|sim| sim.poll_wait = Duration::from_millis(200));
        let world = here.without_gateway().await;
        let map =
            if nodes { json!({ "AgentGateway0": world.sim.url(), "AgentGateway1": other.url() }) } else { json!({}) };
        let urls = [world.sim.url(), other.url()];
        let world = run(world, &urls, &map, &[&other]).await;
        for _ in 0..3 {
            all_served(&world).await;
        }
        let (a, b) = (world.sim.counts(), other.counts());
        assert_eq!((a.sign_in_calls, b.sign_in_calls), (6, 6), "in turn, each agent once");
        assert_eq!((downloads(&world.sim), downloads(&other)), (18, 18), "no call went to the wrong one");
        until("they poll", || async { world.sim.counts().polls > 12 && other.counts().polls > 12 }).await;
        assert_eq!(
            (world.events("session.lost").len(), world.sim.broken_rules(), other.broken_rules()),
            (0, vec![], vec![])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_was_sent_is_not_sent_elsewhere() {
    for fault in [Kind::Reset, Kind::Http(503), Kind::HangBeforeHead, Kind::GarbageHead, Kind::CutAt(5)] {
        let other = another().await;
        let world = World::new().config(|config| {
            config["upstream"]["response_timeout"] = "500ms".into();
            config["upstream"]["connect_timeout"] = "3s".into();
        });
        let world = world.without_gateway().await;
        let urls = [world.sim.url(), other.url()];
        let world = run(world, &urls, &json!({}), &[&other]).await;
        world.fault(fault.clone(), Scope::SignIn, 1);
        other.fault(sim::Fault { what: fault.clone(), calls: Scope::SignIn, agent: None, times: 1 });
        let answer = get(&world, 1001).await;
        assert!([502, 504].contains(&answer.status.as_u16()), "{fault:?}: {answer:?}");
        let sent = world.sim.counts().sign_in_calls + other.counts().sign_in_calls;
        assert_eq!(sent, 1, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_thrown_off_a_desk_whose_gateway_is_not_reached() {
    for nodes in [true, false] {
        let (other, one, two) = (another().await, Line::away().await, Line::away().await);
        let account = format!("password: {PASSWORD}\nphone_number: \"40038\"\ntakeover: true\n");
        let world = World::new().file("accounts/1001.yaml", &account).config(|config| {
            config["sessions"]["pass_through"] = true.into();
            config["upstream"]["connect_timeout"] = "2s".into();
        });
        let world = world.sim(|sim| (sim.forbid_idle, sim.poll_wait) = (false, Duration::from_millis(200)));
        let map = if nodes { json!({ "AgentGateway0": one.url(), "AgentGateway1": two.url() }) } else { json!({}) };
        let world = run(world.without_gateway().await, &[one.url(), two.url()], &map, &[&other]).await;
        one.leads_to_address(world.sim.address());
        two.leads_to_address(other.address());
        let app = App::new(&world, 1001);
        assert_eq!(app.sign_in("").await.retcode(), "0");
        let at_one = world.sim.signed_in(1001).is_some();
        let (home, line) = if at_one { (&world.sim, &one) } else { (&other, &two) };
        let back_to = home.address();
        let guid = home.guid_of(1001).unwrap();
        assert_eq!(get(&world, 1001).await.status, 200);
        line.leave();
        // The other gateway would say that there is no such session, and let the agent be signed in.
        for _ in 0..4 {
            let (answer, polled) = (get(&world, 1001).await, app.poll().await);
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "upstream_unreachable"), "{nodes}");
            assert_eq!(polled.refused(), (502, "upstream_unreachable".to_owned()), "{nodes}");
        }
        line.leads_to_address(back_to);
        until("the desk is served again", || async { app.poll().await.status == 200 }).await;
        assert_eq!(get(&world, 1001).await.status, 200);
        assert_eq!(home.guid_of(1001), Some(guid), "the same session as before");
        for sim in [&world.sim, &other] {
            let counts = sim.counts();
            assert_eq!((counts.forced, counts.sign_in_calls), (0, u64::from(std::ptr::eq(sim, home))), "{nodes}");
        }
        assert_eq!((world.events("session.lost").len(), world.events("session.forced").len()), (0, 0));
        assert_eq!(app.sign_out().await.retcode(), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_whose_node_dies_is_cut_recorded_and_not_resumed_elsewhere() {
    let (world, lines) = balanced(World::new().sim(|sim| sim.default_size = 8 << 20)).await;
    assert_eq!(get(&world, 1001).await.status, 200);
    let asked = downloads(&world.sim);
    world.fault(Kind::Rate(1 << 20), Scope::Download, 1);
    let mut open = world.open(&call(1001, CALL), &world.issuer.agent(1001), &[]).await;
    assert_eq!(open.status, 200);
    let entry = open.headers["ccgate-audit-id"].to_str().unwrap().to_owned();
    assert!(open.piece().await.unwrap().is_ok());
    // Whichever it comes through: the other one is there.
    for line in &lines {
        line.leave();
        tokio::time::sleep(Duration::from_millis(300)).await;
        line.leads_to_address(world.sim.address());
    }
    let read = tokio::time::timeout(Duration::from_mins(1), open.read(Duration::ZERO)).await.expect("an end");
    assert!(!read.whole, "{read:?}");
    let end = world.end_of(&entry).await;
    assert_eq!((&end["event"], &end["reason"]), (&json!("failed"), &json!("upstream_truncated")));
    assert_eq!(end["delivery"]["complete"], false);
    assert_eq!(downloads(&world.sim), asked + 1, "never asked for again");
    let answer = get(&world, 1001).await;
    assert_eq!((answer.status.as_u16(), answer.whole, answer.body.len()), (200, true, 8 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_online_asks_every_url() {
    let world = World::new().without_gateway().await;
    let dead = nobody().await;
    let urls = [world.sim.url(), dead.clone()];
    let node = nobody().await;
    let world = run(world, &urls, &json!({ "AgentGateway7": node }), &[]).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccgate"));
    command.args(["check", "--online", "--config"]).arg(world.config_file()).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_mins(1), command.output()).await.expect("an end").unwrap();
    let told = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{told}");
    let at = |url: &str| url.strip_prefix("https://").unwrap().to_owned();
    for line in [
        format!("ok       upstream.urls[0]: {} is trusted and answers as CC-Gateway does", at(&world.sim.url())),
        format!("problem  upstream.urls[1]: {}: the gateway cannot be reached", at(&dead)),
        format!("problem  upstream.nodes.AgentGateway7: {}: the gateway cannot be reached", at(&node)),
    ] {
        assert!(told.contains(&line), "{line:?} is not in\n{told}");
    }
}

/// Changes a running ccgate's `upstream`, and waits until it counts.
async fn reload(world: &World, generation: u32, key: &str, value: &Value) {
    let mut config: Value = serde_json::from_slice(&std::fs::read(world.config_file()).unwrap()).unwrap();
    config["upstream"][key] = value.clone();
    let beside = world.config_file().with_extension("new");
    std::fs::write(&beside, config.to_string()).unwrap();
    std::fs::rename(beside, world.config_file()).unwrap();
    let now = || world.metric("ccgate_config_generation");
    until("the change counts", || async { now().await == Some(f64::from(generation)) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_thrown_off_a_desk_whose_gateway_is_taken_out() {
    let other = another().await;
    let account = format!("password: {PASSWORD}\nphone_number: \"40038\"\ntakeover: true\n");
    let world = World::new().agents([1001, 1002]);
    let world = world.file("accounts/1001.yaml", &account).file("accounts/1002.yaml", &account).config(|config| {
        config["sessions"]["pass_through"] = true.into();
        config["reload"]["interval"] = "100ms".into();
    });
    let world = world.sim(|sim| (sim.forbid_idle, sim.poll_wait) = (false, Duration::from_millis(200)));
    let world = world.without_gateway().await;
    let urls = [world.sim.url(), other.url()];
    let world = run(world, &urls, &json!({}), &[&other]).await;
    // In turn: one of them lives at each.
    for agent in [1001, 1002] {
        assert_eq!(App::new(&world, agent).sign_in("").await.retcode(), "0");
        assert_eq!(get(&world, agent).await.status, 200);
    }
    let agent = if other.signed_in(1001).is_some() { 1001 } else { 1002 };
    let (app, guid) = (App::new(&world, agent), other.guid_of(agent).unwrap());
    reload(&world, 2, "urls", &json!([world.sim.url()])).await;
    for _ in 0..3 {
        let (answer, polled) = (get(&world, agent).await, app.poll().await);
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "upstream_unreachable"));
        assert_eq!(polled.refused(), (502, "upstream_unreachable".to_owned()));
    }
    // Its node is named: it takes no sign-in any more, and its sessions live on.
    reload(&world, 3, "nodes", &json!({ "AgentGateway1": other.url() })).await;
    assert_eq!((app.poll().await.retcode(), get(&world, agent).await.status.as_u16()), ("0".to_owned(), 200));
    assert_eq!(other.guid_of(agent), Some(guid), "the same session as before");
    assert_eq!((world.sim.counts().forced, other.counts().forced), (0, 0));
    assert_eq!((world.events("session.lost").len(), world.events("session.forced").len()), (0, 0));
}
