//! A gateway that is away or switching over is left in peace, and found again when it is back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ccgate::cc::{AgentId, SignInForm};
use ccgate::net::{ClientConfig, ClientTls};
use ccgate::sim::{Kind, Scope};
use ccgate::upstream::{self, Callback, Gateway, SignInRequest};
use futures_util::future::join_all;
use secrecy::SecretString;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::world::{Builder, CALL, PASSWORD, World, call, until};

/// Stands between ccgate and the simulator and can be away: it then drops what it carries, and every connection that is
/// attempted.
pub struct Line {
    address: SocketAddr,
    /// Where it leads; `None`: away.
    leads_to: watch::Sender<Option<SocketAddr>>,
    /// Connections that were attempted while it was away.
    in_vain: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Line {
    pub async fn away() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (leads_to, led) = watch::channel(None);
        let in_vain = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&in_vain);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut carried = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let to = *led.borrow();
                match to {
                    None => drop(count.fetch_add(1, Ordering::Relaxed)),
                    Some(to) => drop(carried.spawn(carry(stream, to, led.clone()))),
                }
            }
        });
        Self { address, leads_to, in_vain, _task: task }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    fn leads_to(&self, world: &World) {
        self.leads_to_address(world.sim.address());
    }

    pub fn leads_to_address(&self, address: SocketAddr) {
        self.leads_to.send_replace(Some(address));
    }

    pub fn leave(&self) {
        self.leads_to.send_replace(None);
    }

    fn in_vain(&self) -> usize {
        self.in_vain.load(Ordering::Relaxed)
    }
}

async fn carry(mut stream: TcpStream, to: SocketAddr, mut led: watch::Receiver<Option<SocketAddr>>) {
    let mut other = TcpStream::connect(to).await.unwrap();
    tokio::select! {
        _ended = tokio::io::copy_bidirectional(&mut stream, &mut other) => {}
        _away = led.wait_for(Option::is_none) => {}
    }
}

fn behind(world: Builder, line: &Line) -> Builder {
    world.config(|config| config["upstream"]["url"] = line.url().into())
}

fn heartbeats(world: Builder, interval: &str) -> Builder {
    let callback = json!({ "uri": "https://ccgate.example/events", "service_token_file": "service-token" });
    world.sim(|sim| sim.push_mode = true).file("service-token", "planted-service-token\n").config(|config| {
        config["sessions"]["keep_alive"] = "heartbeat".into();
        config["sessions"]["callback"] = callback;
        config["sessions"]["keep_alive_interval"] = interval.into();
    })
}

/// Downloads a call in an agent's session: the status, and the code where it is a refusal.
async fn get(world: &World, agent: u32) -> (u16, String) {
    let answer = world.get(&call(agent, CALL), &world.issuer.agent(agent)).await;
    let code = if answer.status == 200 { String::new() } else { answer.code() };
    (answer.status.as_u16(), code)
}

async fn is_open(world: &World, reason: &str) -> Option<bool> {
    world.metric(&format!("ccgate_upstream_breaker_open{{reason=\"{reason}\"}}")).await.map(|open| open > 0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_away_for_3_s_under_200_requests_is_asked_seldom_and_found_again() {
    let line = Line::away().await;
    let agents = 2001..2051;
    let mut world = behind(World::new().agents(agents.clone()), &line).without_gateway().await;
    world.run_here().await;
    world.until_ready().await;
    assert_eq!(is_open(&world, "unanswered").await, Some(false));
    let start = Instant::now();
    for wave in 0..4 {
        tokio::time::sleep_until(start + Duration::from_millis(600) * wave).await;
        for (status, code) in join_all(agents.clone().map(|agent| get(&world, agent))).await {
            assert_eq!((status, code.as_str()), (502, "upstream_unreachable"));
        }
    }
    assert_eq!(is_open(&world, "unanswered").await, Some(true));
    assert_eq!(world.sim.counts().sign_in_calls, 0);
    tokio::time::sleep_until(start + Duration::from_secs(3)).await;
    let in_vain = line.in_vain();
    // At most one each, all at once, before the first has failed; then one tries it out after each rest.
    assert!((5..=55).contains(&in_vain), "{in_vain}");
    line.leads_to(&world);
    let back = Instant::now();
    join_all(agents.clone().map(|agent| until_served(&world, agent))).await;
    let healed = back.elapsed();
    println!("{in_vain} connections in vain in 3 s for 200 requests; served {healed:?} after it was back");
    assert!(healed < Duration::from_secs(5), "{healed:?}");
    let counts = world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_ins, counts.forced), (50, 50, 0));
    assert_eq!(world.sim.broken_rules(), []);
    assert_eq!(is_open(&world, "unanswered").await, Some(false));
}

async fn until_served(world: &World, agent: u32) {
    until("served", || async { get(world, agent).await.0 == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn living_sessions_outlive_an_outage_and_are_not_signed_in_again() {
    let line = Line::away().await;
    let agents = 2001..2021;
    let world = behind(heartbeats(World::new().agents(agents.clone()), "200ms"), &line);
    let mut world = world.without_gateway().await;
    line.leads_to(&world);
    world.run_here().await;
    world.until_ready().await;
    for served in join_all(agents.clone().map(|agent| get(&world, agent))).await {
        assert_eq!(served.0, 200);
    }
    line.leave();
    until("the gateway is left alone", || async { is_open(&world, "unanswered").await == Some(true) }).await;
    let in_vain = line.in_vain();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let tried = line.in_vain() - in_vain;
    assert!(tried <= 20, "those under way, then one after each rest: {tried}");
    let beats = world.sim.counts().heartbeats;
    line.leads_to(&world);
    until("beats again", || async { world.sim.counts().heartbeats >= beats + 40 }).await;
    for served in join_all(agents.clone().map(|agent| get(&world, agent))).await {
        assert_eq!(served.0, 200);
    }
    assert_eq!((world.sim.counts().sign_in_calls, world.events("session.lost").len()), (20, 0));
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_over_lets_sign_ins_rest_and_living_sessions_go_on() {
    let agents = 2001..2021;
    let world = World::new().agents(agents.clone()).sim(|sim| sim.poll_wait = Duration::from_millis(50)).start().await;
    assert_eq!(get(&world, 1001).await.0, 200);
    world.fault(Kind::Retcode("000-004".to_owned()), Scope::SignIn, u32::MAX);
    for agent in agents.clone() {
        assert_eq!(get(&world, agent).await, (503, "upstream_switching".to_owned()), "{agent}");
    }
    let calls = world.sim.counts().sign_in_calls;
    assert!((4..=8).contains(&calls), "three of twenty, and one after each rest: {calls}");
    assert_eq!(is_open(&world, "switching").await, Some(true));
    assert_eq!((is_open(&world, "unanswered").await, get(&world, 1001).await.0), (Some(false), 200));
    let polls = world.sim.counts().polls;
    until("polls go on", || async { world.sim.counts().polls > polls + 1 }).await;
    world.sim.clear_faults();
    join_all(agents.clone().map(|agent| until_served(&world, agent))).await;
    assert_eq!((is_open(&world, "switching").await, world.sim.broken_rules()), (Some(false), vec![]));
    assert_eq!(world.sim.counts().sign_ins, 21);
}

/// The client alone, without sessions.
fn gateway(world: &World, line: &Line) -> Gateway {
    let tls = ClientTls { ca_file: Some(world.dir().join("upstream-ca.pem")), ..ClientTls::default() };
    let config = upstream::Config {
        urls: vec![line.address.to_string().parse().unwrap()],
        nodes: BTreeMap::new(),
        client: ClientConfig { tls, connect_timeout: Duration::from_secs(5), response_timeout: Duration::from_secs(5) },
        idle_timeout: Duration::from_secs(5),
    };
    Gateway::new(&config, upstream::Metrics::register(&prometheus::Registry::new()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alives_of_10_000_agents_cost_no_connection_while_the_gateway_is_away() {
    let line = Line::away().await;
    let world = World::new().sim(|sim| sim.push_mode = true).without_gateway().await;
    line.leads_to(&world);
    let gateway = gateway(&world, &line);
    let (agent, password) = (AgentId::try_from(1001).unwrap(), SecretString::from(PASSWORD));
    let callback =
        Callback { uri: "https://ccgate.example/events".to_owned(), service_token: SecretString::from("token") };
    let form = SignInForm::Platform;
    let request = SignInRequest { form, password: &password, phone_number: None, callback: Some(&callback) };
    let guid = gateway.sign_in(agent, &request).await.unwrap().guid;
    line.leave();
    let mut failed = 0;
    while !matches!(gateway.heartbeat(agent, &guid).await, Err(upstream::Error::Resting { .. })) {
        failed += 1;
    }
    // The first may have found its kept connection closed, which says nothing of the gateway.
    let in_vain = line.in_vain();
    assert!((5..=6).contains(&failed) && in_vain == 5, "{failed}, {in_vain}");
    let beats = join_all((2000..12_000).map(|agent| gateway.heartbeat(AgentId::try_from(agent).unwrap(), &guid))).await;
    let rests = beats.iter().filter(|beat| matches!(beat, Err(upstream::Error::Resting { .. }))).count();
    // All but one where the rest has ended meanwhile.
    assert!(rests >= 9_999 && line.in_vain() <= in_vain + 1, "{rests}, {}", line.in_vain());
    line.leads_to(&world);
    until("the gateway is found again", || async { gateway.heartbeat(agent, &guid).await.is_ok() }).await;
    assert_eq!(world.sim.broken_rules(), []);
}
