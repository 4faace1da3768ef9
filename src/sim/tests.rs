//! Tests over real connections, with a client of raw bytes.

use std::{sync::Arc, time::Duration};

use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

mod calls;
mod client;
mod control;
mod faults;
mod manners;

use client::{Client, End, Response};

const AGENT: u32 = 1001;
const BASE: &str = "/agentgateway/resource";
const BUSY: &str = r#"{"password":"simulated","status":3,"autoenteridle":false,"checkInWebm":false}"#;
const CALL: &str = "1621413752-2011";

/// A quick site: polls wait 20 ms.
fn quick() -> Config {
    Config { poll_wait: Duration::from_millis(20), ..Config::default() }
}

async fn start(config: Config) -> Simulator {
    Simulator::start(config).await.unwrap()
}

/// Signs [`AGENT`] in to the platform; the Guid.
async fn sign_in(client: &mut Client) -> String {
    let answer = client.call("PUT", &format!("/onlineagent/{AGENT}/loginex"), None, BUSY).await;
    assert_eq!(answer.retcode(), "0");
    answer.guid().unwrap()
}

fn recording(call: &str) -> String {
    format!("/recordfile/{AGENT}/recordfiledownloadEx?callId={call}")
}

fn rules(simulator: &Simulator) -> Vec<Rule> {
    simulator.broken_rules().into_iter().map(|broken| broken.rule).collect()
}

/// Waits, for at most five seconds, until `holds`.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
