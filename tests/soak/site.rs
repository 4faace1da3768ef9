//! `ccgate simulate` as a process of its own, so that what ccgate uses can be told from what the simulator uses.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client;
use crate::world::PASSWORD;

/// Runs what follows with as many descriptors as this user may have.
pub const ALL_DESCRIPTORS: [&str; 3] = ["sh", "-c", r#"ulimit -n "$(ulimit -Hn)" && exec "$0" "$@""#];

/// A simulated site; its process is killed when this is dropped.
pub struct Site {
    child: Child,
    url: String,
    control: std::net::SocketAddr,
}

impl Site {
    /// Starts one that writes its CA to this file, with more options.
    pub async fn start(ca_file: &Path, options: &[&str]) -> Self {
        let [shell, run, script] = ALL_DESCRIPTORS;
        let mut child = Command::new(shell)
            .args([run, script, env!("CARGO_BIN_EXE_ccgate"), "simulate", "--listen", "127.0.0.1:0"])
            .args(["--control", "127.0.0.1:0", "--password", PASSWORD, "--size", "1KiB", "--ca-file"])
            .arg(ca_file)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut url, mut control) = (String::new(), None);
        loop {
            let line = lines.next_line().await.unwrap().expect("a simulator that starts");
            if let Some(address) = line.strip_prefix("simulated CC-Gateway: ") {
                address.strip_suffix("/agentgateway/resource").unwrap().clone_into(&mut url);
            }
            if let Some(address) = line.strip_prefix("control port: http://") {
                control = address.strip_suffix("/state").unwrap().parse().ok();
            }
            // The last line of its greeting.
            if line.starts_with("CA:") {
                return Self { child, url, control: control.unwrap() };
            }
        }
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("running")
    }

    /// Counts, live sessions and the number of broken rules.
    pub async fn state(&self) -> Value {
        client::get(self.control, "/state", &[]).await.json()
    }

    /// The rules that were broken.
    pub async fn rules(&self) -> Value {
        client::get(self.control, "/rules", &[]).await.json()
    }
}
