//! Changes of the configuration while a process runs, and what must become of each: taken up as a whole, or refused with
//! what was in force staying.

use std::fs;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::gate::{Files, Gate, Inside, put};
use crate::visit::Line;

const SUCCESSFUL: &str = "ccgate_config_last_reload_successful";
const GENERATION: &str = "ccgate_config_generation";

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Limits,
    Policy,
    LogLevel,
    Certificate,
    /// How the gateway is asked.
    Upstream,
    /// How tokens are judged: every one is verified anew.
    Auth,
    /// Something that must be refused.
    Broken,
}

/// In this order, again and again.
pub const CHANGES: [Change; 10] = [
    Change::Limits,
    Change::Policy,
    Change::Broken,
    Change::LogLevel,
    Change::Certificate,
    Change::Broken,
    Change::Upstream,
    Change::Policy,
    Change::Auth,
    Change::Broken,
];

/// Makes a change and waits until it is in force, or refused and mended.
pub async fn make(
    gate: &Gate,
    inside: &mut Inside,
    change: Change,
    random: &mut fastrand::Rng,
    tls: &Arc<rustls::ClientConfig>,
) {
    let folder = &gate.folder;
    let files = &mut inside.files;
    match change {
        Change::Limits => {
            files.config["server"]["max_downloads"] = random.u32(900..1_024).into();
            files.config["server"]["max_connections"] = random.u32(2_000..4_096).into();
            files.config["server"]["header_timeout"] = format!("{}s", random.u32(10..20)).into();
            files.write_config(folder);
        }
        Change::Policy => {
            gate.policy_changes(None);
            files.is_closed = !files.is_closed;
            put(&folder.join("policy/closed.cedar"), Files::closed_text(files.is_closed));
        }
        Change::LogLevel => {
            let next = if files.config["log"]["level"] == "info" { "debug" } else { "info" };
            files.config["log"]["level"] = next.into();
            files.write_config(folder);
        }
        Change::Certificate => {
            files.certificate = files.authority.issue();
            let pair = files.certificate.clone();
            files.swap_certificate(folder, &pair);
        }
        Change::Upstream => {
            files.config["upstream"]["connect_timeout"] = format!("{}ms", random.u32(5_000..6_000)).into();
            files.write_config(folder);
        }
        Change::Auth => {
            files.config["auth"]["leeway"] = format!("{}ms", random.u32(20_000..30_000)).into();
            files.write_config(folder);
        }
        Change::Broken => return refused(gate, inside, random).await,
    }
    if random.bool() {
        inside.signal("HUP");
    }
    taken_up(gate, inside, change).await;
    match change {
        Change::Policy => gate.policy_changes(Some(inside.files.is_closed)),
        Change::Certificate => shows(gate, &inside.files.certificate.0, tls).await,
        _ => {}
    }
}

async fn taken_up(gate: &Gate, inside: &mut Inside, change: Change) {
    inside.generation += 1;
    inside.taken_up += 1;
    let generation = f64::from(inside.generation);
    gate.within(&format!("{change:?} is generation {generation}"), async || {
        gate.metric(GENERATION).await >= Some(generation)
    })
    .await;
    let told = (gate.metric(GENERATION).await, gate.metric(SUCCESSFUL).await);
    assert_eq!(told, (Some(generation), Some(1.0)), "gate {}: {change:?}", gate.number);
}

/// A new connection is shown the certificate that is in force.
async fn shows(gate: &Gate, certificate: &str, tls: &Arc<rustls::ClientConfig>) {
    let wanted = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let server = gate.live().expect("a process").server;
    let line = Line::open(server, tls, false).await.expect("a connection");
    assert_eq!(line.certificate, wanted, "gate {} shows another certificate", gate.number);
}

/// Breaks something, waits for the refusal, and mends it.
async fn refused(gate: &Gate, inside: &mut Inside, random: &mut fastrand::Rng) {
    let (folder, files) = (&gate.folder, &mut inside.files);
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let flaw = random.u32(..7);
    let mend: Box<dyn FnOnce(&mut Files)> = match flaw {
        0..4 => {
            let mut config = files.config.clone();
            match flaw {
                0 => config["server"]["max_download"] = 7.into(),
                1 => config["admin"]["listen"] = "127.0.0.1:1".into(),
                2 => config["policy"]["dir"] = "nowhere".into(),
                _ => config["audit"]["segment_size"] = "5MiB".into(),
            }
            let broken = serde_json::to_string_pretty(&config).unwrap();
            // Cut off, it is not even YAML.
            let broken = if random.u32(..4) == 0 { &broken[..broken.len() / 2] } else { &broken };
            put(&folder.join("ccgate.yaml"), broken);
            Box::new(|files| files.write_config(folder))
        }
        4 => {
            let (good, key) = files.certificate.clone();
            let (other, _) = files.authority.issue();
            files.swap_certificate(folder, &(other, key.clone()));
            Box::new(move |files| files.swap_certificate(folder, &(good, key)))
        }
        5 | 6 => {
            let (name, broken) =
                if flaw == 5 { ("policy/own.cedar", "permit (nonsense);\n") } else { ("jwks.json", "{") };
            let good = text(name);
            put(&folder.join(name), broken);
            Box::new(move |_| put(&folder.join(name), &good))
        }
        _ => unreachable!("seven flaws"),
    };
    inside.refused += 1;
    gate.within(&format!("flaw {flaw} is refused"), async || gate.metric(SUCCESSFUL).await == Some(0.0)).await;
    assert_eq!(gate.metric(GENERATION).await, Some(f64::from(inside.generation)), "what was in force stays");
    mend(&mut inside.files);
    // By looking alone: a signal would have had the broken one tried again.
    taken_up(gate, inside, Change::Broken).await;
}
