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
