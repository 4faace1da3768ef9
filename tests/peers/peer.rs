//! nginx and HAProxy of the system, each as a plain reverse proxy before a simulated CC-Gateway. Their defaults are left
//! as they are, where they say nothing about the job.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::world::{World, until};

/// A running server.
pub struct Peer {
    pub address: SocketAddr,
    pub version: String,
    world: World,
    _dir: TempDir,
    _child: Child,
}

impl Peer {
    pub async fn nginx() -> Self {
        let version = said("nginx", "-v").await;
        Self::start(version.trim_start_matches("nginx version: ").replace('/', " "), |dir, listen, upstream| {
            let folder = dir.display();
            let config = format!(
                "daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\n\
                 events {{ worker_connections 1024; }}\n\
                 http {{\n  access_log off;\n  client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  \
                 fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n  \
                 server {{\n    listen {listen};\n    location / {{\n      proxy_pass https://{upstream};\n      \
                 proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n    }}\n  }}\n}}\n"
            );
            std::fs::write(dir.join("nginx.conf"), config).unwrap();
            let mut command = Command::new("nginx");
            command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf"));
            command
        })
        .await
    }

    pub async fn haproxy() -> Self {
        let version = said("haproxy", "-v").await;
        let version: Vec<_> = version.split_whitespace().take(3).collect();
        let version = version.join(" ").replace(" version", "");
        Self::start(version, |dir, listen, upstream| {
            let config = format!(
                "global\n  maxconn 1024\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 10s\n  \
                 timeout server 30s\nfrontend front\n  bind {listen}\n  default_backend back\n\
                 backend back\n  server upstream {upstream} ssl verify none\n"
            );
            std::fs::write(dir.join("haproxy.cfg"), config).unwrap();
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(dir.join("haproxy.cfg"));
            command
        })
        .await
    }

    /// Neither verifies the simulator's certificate: that is no part of what is compared.
    async fn start(version: String, command: impl Fn(&Path, SocketAddr, SocketAddr) -> Command) -> Self {
        let world = World::new().without_gateway().await;
        let dir = TempDir::new().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = command(dir.path(), address, world.sim.address());
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().unwrap_or_else(|error| panic!("{version}: {error}"));
        until(&version, || async { tokio::net::TcpStream::connect(address).await.is_ok() }).await;
        Self { address, version, world, _dir: dir, _child: child }
    }

    /// How many requests have come to its upstream.
    pub fn asked(&self) -> u64 {
        self.world.sim.counts().requests
    }
}

/// A server's word about its version.
async fn said(program: &str, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output().await;
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap().lines().next().unwrap().to_owned()
}
