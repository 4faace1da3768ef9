//! The control port: the simulator's own switches as JSON over plain HTTP, loopback only. Never tells a Guid or password.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{
    answer::{Answer, JSON},
    faults::Fault,
    http::{Connection, Error, Request},
    respond::{After, respond},
    world::World,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThrowOut {
    agent: u32,
    #[serde(default)]
    stay: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneAgent {
    agent: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    key: String,
    /// None: the file is missing.
    size: Option<u64>,
}

/// Answers requests until the client goes.
pub(super) async fn serve(world: &Arc<World>, stream: TcpStream) {
    let mut connection = Connection::new(stream);
    loop {
        let (answer, keep) = match connection.request().await {
            Ok(request) => (answer(world, &request), request.keeps_alive()),
            Err(Error::Malformed(why)) => (told(400, &json!({"error": why})), false),
            Err(Error::Gone) => return,
        };
        if respond(&mut connection, world, answer, None).await != After::Next || !keep {
            return;
        }
    }
}

fn told(status: u16, value: &Value) -> Answer {
    let mut text = value.to_string().into_bytes();
    text.push(b'\n');
    Answer::new(status, JSON, text)
}

fn answer(world: &World, request: &Request) -> Answer {
    let (path, _) = request.path_and_query();
    let outcome = match (request.method.as_str(), path) {
        ("GET", "/state") => return told(200, &state(world)),
        ("GET", "/rules") => {
            return told(200, &json!({"total": world.rules.total(), "broken": world.rules.list()}));
        }
        ("GET", "/requests") => return told(200, &json!({"requests": world.seen()})),
        ("DELETE", "/rules") => {
            world.rules.clear();
            Ok(())
        }
        ("DELETE", "/faults") => {
            world.faults.clear();
            Ok(())
        }
        ("POST", "/restart") => {
            world.agents().restart(world.now());
            Ok(())
        }
        ("POST", "/fault") => parse(request).and_then(|fault: Fault| {
            if world.faults.add(fault) { Ok(()) } else { Err("too many faults wait".to_owned()) }
        }),
        ("POST", "/throw-out") => {
            parse(request).map(|asked: ThrowOut| world.agents().throw_out(world.now(), asked.agent, asked.stay))
        }
        ("POST", "/release") => parse(request).map(|asked: OneAgent| world.agents().release(asked.agent)),
        ("POST", "/allow-password-retry") => parse(request).map(|asked: OneAgent| {
            let mut agents = world.agents();
            agents.allow_password_retry(asked.agent);
            agents.unlock(asked.agent);
        }),
        ("POST", "/file") => parse(request).map(|file: File| match file.size {
            Some(size) => world.add_file(&file.key, size),
            None => world.add_missing(&file.key),
        }),
        _ => return told(404, &json!({"error": "no such switch; see GET /state"})),
    };
    world.ring_all();
    match outcome {
        Ok(()) => told(200, &json!({"ok": true})),
        Err(why) => told(400, &json!({"error": why})),
    }
}

fn parse<'a, T: Deserialize<'a>>(request: &'a Request) -> Result<T, String> {
    serde_json::from_slice(&request.body).map_err(|error| error.to_string())
}

fn state(world: &World) -> Value {
    json!({
        "counts": world.counts(),
        "sessions": world.agents().live(world.now()),
        "faults": world.faults.list(),
        "rules_broken": world.rules.total(),
    })
}
