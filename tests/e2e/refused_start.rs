//! Starts that are refused: exit code 2, and a message that names all that is wrong and what to do.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::mount::Mount;
use crate::world::World;

const AUDIT: &str = "ccgate: the audit log cannot be used (audit.dir)\n  because ";
const POLICY: &str = "ccgate: the policy cannot be used\n  because the policy is refused\n  ";
const UPSTREAM: &str = "ccgate: the connection to the upstream cannot be set up\n  because ";

const BAD_CONFIGURATION: &str = "DIR/ccgate.yaml: 5 problems
  line 6: server.drain.delay: \"soon\" is not a duration: a whole number and ms, s, m, h or d, as in 250ms, 30s, 5m, 24h, 90d
  line 9: server.max_downloads: 0 is not a whole number from 1 to 65536
  line 15: upstream.url: \"http://10.0.0.1\" is not https: the gateway is never asked without TLS
  line 22: auth.issuers[0].audiences: empty; name at least one audience: a token for somebody else must not get in
  line 36: audit.dirr: unknown key; did you mean dir?";

async fn refused(world: &World, expected: &str) {
    let (code, told) = world.refused_start().await;
    assert_eq!((code, told.as_str()), (Some(2), expected), "\n{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_told_all_at_once() {
    let world = World::new().config(|c| {
        c["server"]["max_downloads"] = 0.into();
        c["server"]["drain"]["delay"] = "soon".into();
        c["upstream"]["url"] = "http://10.0.0.1".into();
        c["auth"]["issuers"][0]["audiences"] = json!([]);
        c["audit"]["dirr"] = "x".into();
    });
    let world = world.without_gateway().await;
    refused(&world, BAD_CONFIGURATION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_or_malformed_ca_is_named() {
    let world = World::new().without_gateway().await;
    let ca = world.dir().join("upstream-ca.pem");
    fs::write(&ca, "garbage").unwrap();
    refused(&world, &format!("{UPSTREAM}DIR/upstream-ca.pem: no usable certificate in it")).await;
    fs::remove_file(ca).unwrap();
    let told = format!("{UPSTREAM}cannot read DIR/upstream-ca.pem\n  because No such file or directory (os error 2)");
    refused(&world, &told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_that_is_none_is_named() {
    let world = World::new().without_gateway().await;
    let key = world.dir().join("audit.key");
    let next = "`openssl genpkey -algorithm ed25519 -out FILE` makes one";
    for text in ["", "garbage"] {
        fs::write(&key, text).unwrap();
        let cause = "it is no Ed25519 private key in PKCS#8";
        let told = format!(
            "{AUDIT}audit.signing_key_file DIR/audit.key cannot sign: it must be an Ed25519 key (PKCS#8, PEM); {next}\n  because {cause}"
        );
        refused(&world, &told).await;
    }
    fs::remove_file(key).unwrap();
    let cause = "No such file or directory (os error 2)";
    let told = format!(
        "{AUDIT}audit.signing_key_file DIR/audit.key cannot be read: it must be there, for this user to read; {next}\n  because {cause}"
    );
    refused(&world, &told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pseudonym_keys_that_are_none_are_named_by_line() {
    let world = World::new().config(|c| c["audit"]["pseudonym_key_file"] = "names".into()).without_gateway().await;
    let told = "ccgate: audit.pseudonym_key_file cannot be used\n  because ";
    let missing = format!("{told}DIR/names cannot be read\n  because No such file or directory (os error 2)");
    refused(&world, &missing).await;
    fs::write(world.dir().join("names"), "garbage").unwrap();
    refused(&world, &format!("{told}line 1 of the file is not the base64 of 32 bytes")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_without_rules_or_with_a_type_error_is_named() {
    let world = World::new().config(|c| c["policy"]["dir"] = "policy".into()).without_gateway().await;
    fs::create_dir(world.dir().join("policy")).unwrap();
    refused(
        &world,
        &format!("{POLICY}DIR/policy: holds no *.cedar file; leave policy.dir out to use the built-in rules"),
    )
    .await;
    // Both errors of one comparison; the words after the rule's name are the policy engine's.
    let told = format!(
        "{POLICY}own.cedar:3:8: rule own: the types Long and Agent are not compatible; for policy `own`, both operands to \
         a `==` expression must have compatible types. Types must be exactly equal to be compatible\n  \
         own.cedar:3:8: rule own: unable to guarantee safety of access to optional attribute `agent` on entity type \
         `Caller`; try testing for the attribute's presence with `e has agent && ..`"
    );
    let rule = "@id(\"own\")\npermit (principal, action, resource)\nwhen { principal.agent == 7 };\n";
    fs::write(world.dir().join("policy/own.cedar"), rule).unwrap();
    refused(&world, &told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_directory_that_is_missing_is_not_made() {
    let world = World::new().without_gateway().await;
    fs::remove_dir_all(world.dir().join("audit")).unwrap();
    refused(&world, &format!("{AUDIT}audit directory DIR/audit does not exist: create it, or mount the volume there"))
        .await;
    assert!(!world.dir().join("audit").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_directory_that_is_read_only_is_named() {
    let world = World::new().without_gateway().await;
    let audit = world.dir().join("audit");
    fs::set_permissions(&audit, fs::Permissions::from_mode(0o555)).unwrap();
    let root_writes_anywhere = fs::write(audit.join("probe"), "").is_ok();
    let _mount = if root_writes_anywhere {
        let Some(mount) = Mount::tmpfs(&audit, "ro") else { return };
        Some(mount)
    } else {
        None
    };
    let cause =
        if root_writes_anywhere { "Read-only file system (os error 30)" } else { "Permission denied (os error 13)" };
    let told = format!(
        "{AUDIT}DIR/audit is read-only for this process: mount the volume writable and check its owner\n  because {cause}"
    );
    refused(&world, &told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_directory_of_another_process_is_left_alone() {
    let world = World::new().start_process().await;
    let told = format!(
        "{AUDIT}DIR/audit/audit.lock is locked by another process: stop it, or give each replica its own audit.dir"
    );
    refused(&world, &told).await;
    // The first process may still write; the second one has not begun to.
    let opened = world.records().iter().filter(|record| record["event"] == "audit.opened").count();
    assert_eq!(opened, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_the_audit_log_is_named_and_left_as_it_is() {
    let world = World::new().without_gateway().await;
    let segment = world.dir().join("audit/audit-00000000000000000001.jsonl");
    fs::write(&segment, "garbage\n").unwrap();
    let told = format!(
        "{AUDIT}the checkpoints of the log in DIR/audit are gone: restore the directory from a copy, or accept the loss with \
         `ccgate audit accept-loss --config FILE --reason TEXT`, which says so in the log"
    );
    refused(&world, &told).await;
    assert_eq!(fs::read_to_string(segment).unwrap(), "garbage\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for plane in ["server", "admin"] {
        let world = World::new().config(|c| c[plane]["listen"] = address.clone().into()).without_gateway().await;
        let told = match plane {
            "server" => format!(
                "ccgate: the data plane (server) cannot be set up\n  because cannot listen on {address}\n  \
                 because Address already in use (os error 98)"
            ),
            _ => format!(
                "ccgate: cannot listen on admin.listen {address}\n  because Address already in use (os error 98)"
            ),
        };
        refused(&world, &told).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_does_not_end_a_start_that_takes_its_time() {
    // A store that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}\n", silent.local_addr().unwrap());
    let world = World::new()
        .file("url", &url)
        .file("key", &format!("{}=\n", "A".repeat(43)))
        .config(|c| {
            c["sessions"]["store"] = json!({ "redis": { "url_file": "url", "key_file": "key", "timeout": "1s" } });
        })
        .without_gateway()
        .await;
    let mut child = world.starting();
    let (_connection, _) = silent.accept().await.unwrap();
    let pid = child.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    let ended = tokio::time::timeout(std::time::Duration::from_mins(1), child.wait()).await.expect("an end").unwrap();
    assert_eq!(ended.code(), Some(2), "it went on and found no store: {ended}");
}
