//! Where the audit log is shipped, and what depends on it.

use super::*;
use crate::config::{Durability, Ship};

#[test]
fn a_stream_is_whole() {
    let at = "line 4: audit.ship.nats";
    for (nats, wanted) in [
        ("{}", format!("{at}.url_file: missing; name the file with the servers' URLs, tls://user:password@host:4222")),
        ("{url_file: /u, subject: 'a.*'}", subject("a.*")),
        ("{url_file: /u, subject: a..b}", subject("a..b")),
        ("{url_file: /u, subject: a.}", subject("a.")),
        ("{url_file: /u, subject: $SYS.x}", subject("$SYS.x")),
        ("{url_file: /u, timeout: 99ms}", format!("{at}.timeout: 99ms is not from 100ms to 60s")),
        (
            "{url_file: /u, client_key_file: /k}",
            format!("{at}.client_key_file: needs audit.ship.nats.client_cert_file; name both files or none"),
        ),
    ] {
        assert_eq!(problem(&format!("audit: {{ship: {{nats: {nats}}}}}")), wanted);
    }
    let audit = good(&format!("{SMALLEST}audit: {{ship: {{nats: {{url_file: /u}}}}, durability: shipped}}")).audit;
    let Ship::Nats(server) = audit.ship else { panic!("nats") };
    assert_eq!((server.subject.as_str(), server.timeout.as_secs()), ("ccgate.audit", 5));
    assert_eq!((server.url_file, audit.durability), (PathBuf::from("/u"), Durability::Shipped));
    assert_eq!(good(&format!("{SMALLEST}audit: {{ship: stdout}}")).audit.ship, Ship::Stdout);
    let default = good(SMALLEST).audit;
    assert_eq!((default.ship, default.durability), (Ship::None, Durability::Local));
}

fn subject(text: &str) -> String {
    format!("line 4: audit.ship.nats.subject: \"{text}\" is not made of letters, digits, `_` and `-` with dots between")
}

#[test]
fn who_waits_for_shipping_ships() {
    let next = "name where to in audit.ship, or set durability: local";
    assert_eq!(
        problem("audit: {durability: shipped}"),
        format!("line 4: audit.durability: shipped needs audit.ship: nothing is shipped; {next}")
    );
    // Where audit.ship itself is wrong, that is told and nothing else.
    assert!(
        problem("audit: {durability: shipped, ship: kafka}").starts_with("line 4: audit.ship: \"kafka\" is none of")
    );
}

#[test]
fn a_witness_is_whole_and_named_once() {
    let good_key = "witness.example/w1+e75f6532+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    // The same key for notes: type 1.
    let note_key = "witness.example/w1+3218362d+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    let at = "line 4: audit.witnesses[0]";
    let no_key = "is not a key for cosignatures with Ed25519, <name>+<id>+<base64>";
    for (witness, wanted) in [
        (
            format!("{{key: {good_key}}}"),
            format!("{at}.url: missing; the witness's submission prefix, as in https://witness.example"),
        ),
        (
            "{url: 'https://w.example'}".to_owned(),
            format!("{at}.key: missing; the key that its operator tells, <name>+<id>+<base64>"),
        ),
        (
            format!("{{url: 'http://w.example', key: {good_key}}}"),
            format!("{at}.url: \"http://w.example\" is not https (http is taken on loopback only)"),
        ),
        (
            format!("{{url: 'https://w.example/?a', key: {good_key}}}"),
            format!(
                "{at}.url: the value (not shown: it may hold a secret) is with a query (?): it is a prefix that \
                 /add-checkpoint is added to"
            ),
        ),
        (format!("{{url: 'https://w.example', key: {note_key}}}"), format!("{at}.key: \"{note_key}\" {no_key}")),
        (
            format!("{{url: 'https://w.example', key: {good_key}, interval: 500ms}}"),
            format!("{at}.interval: 500ms is not from 1s to 24h"),
        ),
    ] {
        assert_eq!(problem(&format!("audit: {{witnesses: [{witness}]}}")), wanted);
    }
    let witness = format!("{{url: 'https://w.example/log', key: {good_key}}}");
    assert_eq!(
        problem(&format!("audit: {{witnesses: [{witness}, {witness}]}}")),
        "line 4: audit.witnesses[1].key: the name of audit.witnesses[0]; name each witness once"
    );
    let audit = good(&format!("{SMALLEST}audit: {{witnesses: [{witness}]}}")).audit;
    let [witness] = audit.witnesses.as_slice() else { panic!("one") };
    assert_eq!((witness.key.to_string().as_str(), witness.ca_file.as_ref()), (good_key, None));
    assert_eq!((witness.url.to_string().as_str(), witness.interval.as_secs()), ("https://w.example/log", 60));
    assert_eq!(witness.timeout.as_secs(), 10);
    assert!(good(SMALLEST).audit.witnesses.is_empty());
    let plain = good(&format!("{SMALLEST}audit: {{witnesses: [{{url: 'http://127.0.0.1:1', key: {good_key}}}]}}"));
    assert_eq!(plain.audit.witnesses.len(), 1, "on this machine");
}
