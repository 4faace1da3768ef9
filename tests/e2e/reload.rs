//! A configuration that changes while ccgate runs: real files, swapped as people, editors and Kubernetes swap them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::client;
use crate::world::{Builder, World, until};

mod access;
mod control;
mod limits;
mod refused;
mod tls;

/// A world that looks at its files often.
fn watching() -> Builder {
    World::new().config(|c| c["reload"]["interval"] = "100ms".into())
}

/// Changes the configuration's file, as `mv` does: whole.
fn change(world: &World, change: impl FnOnce(&mut Value)) {
    let text = fs::read_to_string(world.config_file()).unwrap();
    let mut config = serde_json::from_str(&text).unwrap();
    change(&mut config);
    put(world.config_file(), &serde_json::to_string_pretty(&config).unwrap());
}

/// Puts another file in a file's place, whole.
fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

/// Waits until so many configurations have been in force.
async fn until_generation(world: &World, generation: u32) {
    let metric = || world.metric("ccgate_config_generation");
    until("another generation", || async { metric().await.is_some_and(|now| now >= f64::from(generation)) }).await;
    assert_eq!(metric().await, Some(f64::from(generation)), "and no further one");
    assert_eq!(world.metric("ccgate_config_last_reload_successful").await, Some(1.0));
}

/// Waits until a configuration has been refused, so many all in all: the newest reason.
async fn until_refused(world: &World, times: usize) -> String {
    until("a refusal", || async { world.events("config.refused").len() >= times }).await;
    let refused = world.events("config.refused");
    assert_eq!(refused.len(), times, "one for each content");
    assert_eq!(world.metric("ccgate_config_last_reload_successful").await, Some(0.0));
    refused[times - 1]["reason"].as_str().unwrap().to_owned()
}

/// A volume as Kubernetes mounts one: names that lead through `..data` to one generation of all files.
struct Volume {
    folder: PathBuf,
    generation: u32,
}

impl Volume {
    fn new(folder: PathBuf, files: &[(&str, &str)]) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let mut volume = Self { folder, generation: 0 };
        volume.swap(files);
        for (name, _) in files {
            std::os::unix::fs::symlink(format!("..data/{name}"), volume.folder.join(name)).unwrap();
        }
        volume
    }

    /// All files at once, by one rename.
    fn swap(&mut self, files: &[(&str, &str)]) {
        self.generation += 1;
        let name = format!("..generation_{}", self.generation);
        let next = self.folder.join(&name);
        fs::create_dir(&next).unwrap();
        for (file, text) in files {
            fs::write(next.join(file), text).unwrap();
        }
        std::os::unix::fs::symlink(&name, self.folder.join("..data_tmp")).unwrap();
        fs::rename(self.folder.join("..data_tmp"), self.folder.join("..data")).unwrap();
        if self.generation > 1 {
            fs::remove_dir_all(self.folder.join(format!("..generation_{}", self.generation - 1))).unwrap();
        }
    }
}

const OURS: (&str, &str) = ("ccgate-admin", "1");

/// What an operator is told of the configuration.
async fn shown(world: &World) -> Value {
    let answer = client::get(world.admin(), "/config", &[OURS]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_takes_a_change_up_at_once_and_nothing_else_does_where_that_is_asked_for() {
    let mut world = World::new().config(|c| c["reload"]["interval"] = "0s".into()).start_process().await;
    let log = world.process().log_handle();
    let told = |what: &str| log.lock().unwrap().contains(what);
    world.signal("HUP");
    until("it is told", || async { told("SIGHUP: no file of the configuration has changed") }).await;
    change(&world, |c| c["server"]["max_downloads"] = 7.into());
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(world.metric("ccgate_config_generation").await, Some(1.0), "nobody asked");
    world.signal("HUP");
    until_generation(&world, 2).await;
    assert_eq!(world.metric("ccgate_audit_open_entries_max").await, Some(7.0));
    until("it is told", || async { told("the configuration is in force") }).await;
    let lines = world.process().log();
    let line = lines.lines().find(|line| line.contains("the configuration is in force")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["changed"], &line["trigger"]), (&json!("server.max_downloads"), &json!("SIGHUP")), "{line}");
    assert!(world.shut_down().await);
    let (started, loaded) = (world.events("started"), world.events("config.loaded"));
    assert_eq!((loaded.len(), &loaded[0]["generation"]), (1, &json!(2)));
    assert_eq!(loaded[0]["config_hash"], line["hash"]);
    assert_ne!(loaded[0]["config_hash"], started[0]["config_hash"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_metrics_has_one_configuration() {
    let world = watching().start().await;
    for generation in 2..5 {
        change(&world, |c| c["server"]["max_downloads"] = generation.into());
        until_generation(&world, generation).await;
    }
    let page = client::get(world.admin(), "/metrics", &[]).await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let infos: Vec<_> = page.lines().filter(|line| line.starts_with("ccgate_config_info{")).collect();
    let hash = shown(&world).await["hash"].as_str().unwrap().to_owned();
    assert_eq!(infos, [format!("ccgate_config_info{{hash=\"{hash}\"}} 1")]);
    let at = world.metric("ccgate_config_last_reload_success_timestamp_seconds").await.unwrap();
    #[allow(clippy::cast_precision_loss, reason = "seconds since the epoch are far below 2^52")]
    let age = crate::issuer::seconds() as f64 - at;
    assert!((0.0..60.0).contains(&age), "{age}");
}
