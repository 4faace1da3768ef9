//! Two configurations, and files that change between two looks.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::config::{Loaded, load};

const SMALLEST: &str = "version: 1\nupstream: {url: 'https://10.244.154.23:8043'}\n\
    auth: {issuers: [{issuer: 'https://idp.example', audiences: [ccgate], algorithms: [ES256], jwks_file: jwks.json}]}\n";

struct Site {
    dir: TempDir,
    salt: Salt,
}

impl Site {
    fn new() -> Self {
        let site = Self { dir: TempDir::new().expect("a folder"), salt: Salt::random() };
        site.put("jwks.json", "keys");
        site
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("written");
    }

    /// The smallest good file and more.
    fn load(&self, more: &str) -> Loaded {
        self.put("ccgate.yaml", &format!("{SMALLEST}{more}"));
        load(&self.dir.path().join("ccgate.yaml"), &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn now(&self, loaded: &Loaded) -> Contents {
        Contents::now(loaded.source().path(), &loaded.named(), &self.salt)
    }
}

/// What `next` is refused for in the place of `before`, by key.
fn refused(before: &str, next: &str) -> Vec<String> {
    let site = Site::new();
    let (before, next) = (site.load(before), site.load(next));
    before.admits(&next).err().into_iter().flat_map(|errors| errors.problems).map(|problem| problem.path).collect()
}

#[test]
fn what_waits_for_a_start_refuses_the_whole_and_names_each_key() {
    for (next, keys) in [
        ("server: {listen: '127.0.0.1:8081', max_downloads: 7}", &["server.listen"][..]),
        ("server: {tls: {cert_file: a, key_file: b}}", &["server.tls"]),
        ("admin: {listen: '127.0.0.1:9091', tls: {cert_file: a, key_file: b}}", &["admin.listen", "admin.tls"]),
        ("sessions: {store: {redis: {url_file: u, key_file: k}}}", &["sessions.store"]),
        ("sessions: {state_file: s, state_key_file: k}", &["sessions.state_file", "sessions.state_key_file"]),
        ("sessions: {sign_ins: {per_second: 1, at_once: 1}}", &["sessions.sign_ins.per_second"]),
        (
            "audit: {write_timeout: 3s, ship: stdout, retention: 30d}",
            &["audit.retention", "audit.ship", "audit.write_timeout"],
        ),
        ("log: {format: text, level: debug}", &["log.format"]),
    ] {
        assert_eq!(refused("", next), keys, "{next}");
    }
}

#[test]
fn everything_else_is_live() {
    for next in [
        "server: {max_downloads: 7, max_connections: 9, header_timeout: 1s, drain: {delay: 1s}, trusted_proxies: [10.0.0.0/8]}",
        "server: {cors: {allowed_origins: ['https://app.example']}}",
        "sessions: {accounts_dir: elsewhere, sign_in: full, idle_sign_out: 1m, max_agents: 5, pass_through: true}",
        "policy: {dir: policy}",
        "log: {level: debug}",
        "reload: {interval: 1s}",
    ] {
        assert_eq!(refused("", next), Vec::<String>::new(), "{next}");
    }
    let tls = |more: &str| format!("server: {{tls: {{cert_file: a, key_file: b{more}}}}}");
    assert_eq!(refused(&tls(""), &tls(", client_ca_file: c")), Vec::<String>::new(), "what is in it may change");
    assert_eq!(refused(&tls(""), ""), ["server.tls"], "and it may not go");
}

#[test]
fn where_sessions_outlive_the_process_the_gateway_stays() {
    let other = |text: &str| text.replace("10.244.154.23", "10.244.154.24");
    let refused = |kept: &str| {
        let site = Site::new();
        let before = site.load(kept);
        site.put("ccgate.yaml", &other(&format!("{SMALLEST}{kept}")));
        let next = before.source().read().expect("a good file");
        before.admits(&next).err().map(|errors| errors.to_string())
    };
    assert_eq!(refused(""), None);
    let told = refused("sessions: {state_file: s, state_key_file: k}").expect("refused");
    assert!(told.contains("line 2: upstream.url: changed from \"https://10.244.154.23:8043\" to"), "{told}");
    assert!(told.contains("restart ccgate"), "{told}");
}

#[test]
fn r17_a_refusal_shows_no_value_of_a_secrets_key() {
    let site = Site::new();
    let keys = |secret: &str| format!("audit: {{signing_key_file: {secret}, dir: /old}}");
    let (before, next) = (site.load(&keys("hunter2")), site.load(&keys("hunter3").replace("/old", "/new")));
    let told = before.admits(&next).expect_err("refused").to_string();
    assert!(!told.contains("hunter"), "{told}");
    assert!(
        told.contains("audit.signing_key_file: changed while running") && told.contains("\"/old\" to \"/new\""),
        "{told}"
    );
}

#[test]
fn the_effective_configuration_has_defaults_and_no_secret() {
    let site = Site::new();
    let loaded = site.load(
        "sessions: {keep_alive: heartbeat, callback: {uri: 'https://h/e?token=hunter2', service_token_file: token}}",
    );
    let shown = loaded.effective();
    assert_eq!(shown["server"]["max_downloads"], 1024);
    assert_eq!(shown["sessions"]["callback"]["service_token_file"], "token");
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
}

#[test]
fn every_file_that_a_key_names_belongs_to_it() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/ccgate.reference.yaml");
    let site = Site::new();
    let loaded = site.load(
        "server: {tls: {cert_file: a, key_file: /b, client_ca_file: c}}\npolicy: {dir: p, entities_file: e}\n\
         sessions: {state_file: s, state_key_file: k}",
    );
    let of = |key: &str| loaded.named().into_iter().find(|named| named.key == key);
    let at = |name: &str| site.dir.path().join(name);
    let expected = [
        ("server.tls.cert_file", at("a"), false, false, false),
        ("server.tls.key_file", PathBuf::from("/b"), false, true, false),
        ("auth.issuers[0].jwks_file", at("jwks.json"), false, false, false),
        ("policy.dir", at("p"), true, false, false),
        ("policy.entities_file", at("e"), false, false, false),
        ("sessions.state_key_file", at("k"), false, true, true),
        ("audit.signing_key_file", PathBuf::from("/etc/ccgate/audit.key"), false, true, true),
    ];
    for (key, path, folder, secret, start_only) in expected {
        let key = key.to_owned();
        assert_eq!(of(&key), Some(Named { key, path, folder, secret, start_only }));
    }
    assert_eq!(of("sessions.state_file"), None, "we write it");
    // A key that names a file is called so, else it would be overlooked.
    let text = fs::read_to_string(reference).expect("the reference");
    let names = text
        .lines()
        .filter(|line| line.contains(": /etc/ccgate/"))
        .map(|line| line.trim_start_matches(['#', ' ', '-']));
    for name in names.filter_map(|line| line.split(':').next()) {
        assert!(name.ends_with("_file") || ["dir", "accounts_dir"].contains(&name), "{name}");
    }
}

#[test]
fn any_byte_of_any_file_makes_a_difference() {
    let site = Site::new();
    site.put("p/a.cedar", "one");
    site.put("tls.key", "secret");
    let loaded = site.load("server: {tls: {cert_file: tls.crt, key_file: tls.key}}\npolicy: {dir: p}");
    site.put("tls.crt", "certificate");
    let mut before = site.now(&loaded);
    assert_eq!(before, site.now(&loaded), "and none where there is none");
    assert_eq!(before, Contents::of(&loaded, &site.salt));
    for (name, text) in [("p/a.cedar", "two"), ("p/b.cedar", ""), ("tls.crt", "certificatE"), ("jwks.json", "keyS")] {
        site.put(name, text);
        let after = site.now(&loaded);
        assert_eq!(after.changed(&before).len(), 1, "{name}");
        assert_ne!(after.hash(), before.hash(), "{name}");
        before = after;
    }
    fs::rename(site.dir.path().join("p/b.cedar"), site.dir.path().join("p/c.cedar")).expect("renamed");
    assert_ne!(site.now(&loaded), before, "a name");
    site.put("ccgate.yaml", "version: 1");
    assert_ne!(site.now(&loaded).hash(), before.hash());
}

#[test]
fn r17_the_hash_that_is_told_knows_no_secret() {
    let site = Site::new();
    let loaded = site.load("server: {tls: {cert_file: tls.crt, key_file: tls.key}}");
    site.put("tls.crt", "certificate");
    site.put("tls.key", "one");
    let before = site.now(&loaded);
    site.put("tls.key", "two");
    let after = site.now(&loaded);
    assert_eq!(before.hash(), after.hash());
    assert_eq!(after.changed(&before).into_iter().collect::<Vec<_>>(), [site.dir.path().join("tls.key")]);
    let other = Contents::now(loaded.source().path(), &loaded.named(), &Salt::random());
    assert_eq!(other.hash(), after.hash(), "another replica has the same");
    assert_ne!(other, after, "and other hashes of secrets");
}

#[test]
fn a_volume_whose_link_goes_elsewhere_has_changed() {
    let site = Site::new();
    site.put("v/..1/own.cedar", "one");
    site.put("v/..2/own.cedar", "two");
    let (volume, data) = (site.dir.path().join("v"), site.dir.path().join("v/..data"));
    symlink("..1", &data).expect("a link");
    symlink("..data/own.cedar", volume.join("own.cedar")).expect("a link");
    let loaded = site.load("policy: {dir: v}");
    let before = site.now(&loaded);
    symlink("..2", volume.join("..tmp")).expect("a link");
    fs::rename(volume.join("..tmp"), &data).expect("swapped");
    assert_eq!(site.now(&loaded).changed(&before).into_iter().collect::<Vec<_>>(), [volume]);
}

#[test]
fn what_is_missing_is_named_by_key_and_a_pipe_is_not_opened() {
    let site = Site::new();
    let loaded = site.load("server: {tls: {cert_file: tls.crt, key_file: pipe}}");
    assert!(std::process::Command::new("mkfifo").arg(site.dir.path().join("pipe")).status().expect("mkfifo").success());
    let problems = site.now(&loaded).problems(&loaded.named());
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let missing = format!("server.tls.cert_file: {}: it is not there", site.dir.path().join("tls.crt").display());
    // The audit key is missing as well, and waits for a start.
    assert_eq!(told, [missing, "server.tls.key_file: the file that it names: not a regular file".to_owned()]);
}

#[test]
fn what_lies_beside_the_rules_hides_no_change_of_them() {
    let site = Site::new();
    site.put("p/a.cedar", "one");
    let loaded = site.load("policy: {dir: p}");
    let alone = site.now(&loaded);
    let problems =
        |now: &Contents| now.problems(&loaded.named()).into_iter().filter(|it| it.path == "policy.dir").count();
    site.put("p/README.md", &"x".repeat(5 << 20));
    symlink("nowhere", site.dir.path().join("p/dangling")).expect("a link");
    for number in 0..600 {
        site.put(&format!("p/{number}.bak"), "");
    }
    let beside = site.now(&loaded);
    assert_eq!((beside.changed(&alone).len(), beside.hash(), problems(&beside)), (0, alone.hash(), 0));
    site.put("p/a.cedar", "two");
    assert_eq!(site.now(&loaded).changed(&beside).len(), 1);
    site.put("p/a.cedar", &"x".repeat(5 << 20));
    assert_eq!(problems(&site.now(&loaded)), 1);
}

#[test]
fn what_is_read_with_each_connection_waits_for_no_start() {
    let site = Site::new();
    let loaded = site.load("audit: {ship: {nats: {url_file: u, ca_file: c, subject: s}}}");
    let waits: Vec<_> = loaded.named().into_iter().filter(Named::waits).map(|named| named.key).collect();
    assert_eq!(waits, ["audit.signing_key_file"]);
    assert!(loaded.named().iter().any(|named| named.key == "audit.ship.nats.url_file" && named.start_only));
}
