//! Files that change while they are read.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::config::{Overrides, load};

const GOOD: &str = "version: 1\nupstream: {url: 'https://10.244.154.23:8043'}\npolicy: {entities_file: teams.yaml}\n\
    auth: {issuers: [{issuer: 'https://idp.example', audiences: [ccgate], algorithms: [ES256], jwks_file: jwks.json}]}\n";

struct Site {
    dir: TempDir,
    salt: Salt,
    before: Loaded,
    reads: Cell<usize>,
}

impl Site {
    fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        for (name, text) in [("ccgate.yaml", GOOD), ("jwks.json", "keys"), ("teams.yaml", "all")] {
            fs::write(dir.path().join(name), text).expect("written");
        }
        let before = load(&dir.path().join("ccgate.yaml"), &Overrides::default());
        let before = before.unwrap_or_else(|errors| panic!("{errors}"));
        Self { dir, salt: Salt::random(), before, reads: Cell::new(0) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn now(&self, watched: &[Named]) -> Contents {
        Contents::now(self.before.source().path(), watched, &self.salt)
    }

    /// Reads; what is made of it is the text of the teams' file, which is wrong where it is half. `meanwhile` happens after
    /// that, with the number of the reading.
    fn read(&self, meanwhile: impl Fn(usize)) -> Result<Read<String>, Box<Refusal>> {
        still(self.before.source(), &self.before, &self.salt, |_loaded, _contents| {
            let text = fs::read_to_string(self.path("teams.yaml")).expect("text");
            self.reads.set(self.reads.get() + 1);
            meanwhile(self.reads.get());
            if text.starts_with("half") { Err(Cause::Start(StartError::Origin)) } else { Ok(text) }
        })
    }
}

#[test]
fn a_file_that_was_completed_while_its_half_was_refused_is_read_again() {
    let site = Site::new();
    site.put("teams.yaml", "half");
    let read = site.read(|reads| {
        if reads == 1 {
            site.put("teams.yaml", "whole");
        }
    });
    let read = read.expect("the second half has come");
    assert_eq!((read.made.as_str(), site.reads.get()), ("whole", 2));
    assert_eq!(read.contents, site.now(&read.loaded.named()));
}

#[test]
fn what_is_refused_is_what_was_judged_and_not_what_came_later() {
    let site = Site::new();
    site.put("teams.yaml", "half");
    let refusal = site.read(|_| {}).expect_err("half");
    assert_eq!((site.reads.get(), refusal.may_pass), (1, false), "nothing changed meanwhile");
    assert_eq!(refusal.seen, site.now(&refusal.watched));
    let refusal = site.read(|reads| site.put("teams.yaml", &format!("half {reads}"))).expect_err("half");
    assert!(refusal.may_pass && refusal.reason.contains("changed while they were read"), "{}", refusal.reason);
    site.put("teams.yaml", "whole");
    assert_ne!(refusal.seen, site.now(&refusal.watched), "so it is looked at again");
}

#[test]
fn a_mixture_of_two_states_is_not_put_in_force() {
    let site = Site::new();
    let refusal = site.read(|reads| site.put("jwks.json", &reads.to_string())).expect_err("it never stands still");
    assert_eq!((site.reads.get(), refusal.may_pass), (READS_MAX, true));
    assert!(refusal.reason.contains("changed while they were read"), "{}", refusal.reason);
    assert_ne!(refusal.seen, site.now(&refusal.watched));
    assert!(site.read(|_| {}).is_ok());
}

#[test]
fn the_hash_of_what_is_refused_covers_its_own_files_alone() {
    let site = Site::new();
    let other = GOOD.replace("policy: {entities_file: teams.yaml}", "policy: {}");
    site.put("ccgate.yaml", &other);
    let refuse = || {
        let read = still(site.before.source(), &site.before, &site.salt, |_, _| {
            Err::<(), _>(Cause::Start(StartError::Origin))
        });
        read.expect_err("refused")
    };
    let refusal = refuse();
    site.put("teams.yaml", "something else, which only what is in force names");
    let again = refuse();
    assert_eq!(refusal.hash, again.hash);
    assert_ne!(refusal.seen, again.seen, "though it is watched");
    site.put("jwks.json", "others");
    assert_ne!(refuse().hash, refusal.hash);
}

#[test]
fn what_could_not_be_read_is_tried_again_and_what_is_wrong_is_not() {
    let io = || std::io::Error::from_raw_os_error(24);
    let dir = TempDir::new().expect("a folder");
    fs::create_dir(dir.path().join("own.cedar")).expect("a folder");
    let config = |dir: PathBuf| policy::Config { dir: Some(dir), ..policy::Config::default() };
    let policy = |dir: PathBuf| StartError::Policy(policy::Policy::load(&config(dir)).expect_err("no policy"));
    let key = "auth.issuers[0].jwks_file".to_owned();
    let keys = KeysError::Read { path: key.clone().into(), source: io() };
    for (error, may_pass) in [
        (StartError::Accounts { path: "accounts".into(), source: io() }, true),
        (StartError::Auth(crate::authn::ConfigError::Keys { issuer: key, source: keys }), true),
        (policy(dir.path().join("away")), true),
        (policy(dir.path().to_owned()), false),
        (StartError::Auth(crate::authn::ConfigError::NoIssuer), false),
    ] {
        assert_eq!(Cause::Start(error).may_pass(), may_pass);
    }
}
