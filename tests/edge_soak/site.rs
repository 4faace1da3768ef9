//! What a run takes place in: one simulated gateway, one Redis, two processes, and what their clients trust.

use std::sync::Arc;
use std::time::Duration;

use ccgate::sim::{Fault, GuidMode, Kind, Scope};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::authority::Authority;
use crate::cast;
use crate::gate::Gate;
use crate::library::Library;
use crate::plan::Plan;
use crate::redis::Redis;
use crate::world::World;

/// What a request may wait for the simulator's head, and for more of a body.
const PATIENCE: &str = "8s";

pub struct Site {
    pub plan: Plan,
    pub world: Arc<World>,
    pub library: Library,
    pub gates: [Arc<Gate>; 2],
    /// What clients need to trust both processes, whichever of their certificates they show.
    pub tls: Arc<rustls::ClientConfig>,
    _redis: Redis,
}

impl Site {
    /// Starts everything but the processes.
    pub async fn start(plan: Plan, random: &mut fastrand::Rng) -> Self {
        let world = World::new().agents(cast::everybody()).sim(|sim| {
            sim.guid_mode = GuidMode::Dynamic { interval: Duration::from_secs(6), timeout: Duration::from_secs(12) };
            sim.poll_wait = Duration::from_secs(1);
            sim.chunked = cast::chunked();
            sim.inspectors = vec![cast::INSPECTOR];
            sim.forbid_force = true;
            sim.control = Some("127.0.0.1:0".parse().unwrap());
        });
        let world = world.config(|config| {
            for (name, value) in [("connect_timeout", "5s"), ("response_timeout", PATIENCE), ("idle_timeout", PATIENCE)]
            {
                config["upstream"][name] = value.into();
            }
            config["server"]["drain"] = json!({ "delay": "3s", "timeout": "60s" });
            config["server"]["tls"] = json!({ "cert_file": "tls/tls.crt", "key_file": "tls/tls.key" });
            config["sessions"]["idle_sign_out"] = format!("{}s", plan.idle_sign_out.as_secs()).into();
            config["policy"] = json!({ "dir": "policy" });
            config["audit"]["segment_size"] = "4MiB".into();
            config["reload"] = json!({ "interval": "1s" });
            config["log"]["level"] = "info".into();
        });
        let (world, redis) = (Arc::new(world.without_gateway().await), Redis::start());
        world.sim.hold_elsewhere(cast::HUMAN);
        let library = Library::fill(&plan, random, &world.sim);
        let authority = Arc::new(Authority::new());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
        // Each new connection shows the certificate that is in force.
        tls.resumption = rustls::client::Resumption::disabled();
        let gates =
            [0, 1].map(|number| Arc::new(Gate::prepare(number, &world, redis.address(), Arc::clone(&authority))));
        Self { plan, world, library, gates, tls: Arc::new(tls), _redis: redis }
    }

    /// Asks for a fault in one call of an agent.
    pub fn fault(&self, what: Kind, calls: Scope, agent: u32) {
        self.world.sim.fault(Fault { what, calls, agent: Some(agent), times: 1 });
    }
}
