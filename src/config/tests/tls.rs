//! TLS: trust by pins alone, and tokens that are bound to client certificates.

use super::*;
use crate::net::ServerTrust;

const PIN: &str = "'9999999999999999999999999999999999999999999999999999999999999999'";

fn upstream(keys: &str) -> String {
    format!("upstream: {{url: 'https://10.244.154.23:8043', {keys}}}")
}

fn with(section: &str) -> Config {
    let name = section.split(':').next().expect("a section");
    let kept: Vec<_> = SMALLEST.lines().filter(|line| !line.starts_with(name)).chain([section]).collect();
    good(&kept.join("\n"))
}

#[test]
fn pins_alone_are_asked_for_by_name_and_need_a_pin() {
    let tls = |config: Config| config.upstream.client.tls;
    assert_eq!(tls(good(SMALLEST)).trust, ServerTrust::Authorities);
    let pinned = tls(with(&upstream(&format!("trust: pin, pin_sha256: [{PIN}]"))));
    assert_eq!((pinned.trust, pinned.pin_sha256.len()), (ServerTrust::Pins, 1));
    let empty = problem(&upstream("trust: pin"));
    let told = ": upstream.trust: pin, and upstream.pin_sha256 is empty: nobody could be trusted; name";
    assert!(empty.contains(told), "{empty}");
    let beside = problem(&upstream(&format!("trust: pin, pin_sha256: [{PIN}], ca_file: /ca.pem")));
    assert_eq!(
        beside,
        "line 3: upstream.ca_file: given beside upstream.trust: pin, which asks no authority; keep one of the two"
    );
    let named = problem(&upstream(&format!("trust: pin, pin_sha256: [{PIN}], server_name: a.example")));
    assert!(named.starts_with("warning: line 3: upstream.server_name: not verified"), "{named}");
    // A pin that can't be read is told of as that, once.
    let bad = problem(&upstream("trust: pin, pin_sha256: [hunter2]"));
    assert!(bad.starts_with("line 3: upstream.pin_sha256[0]: "), "{bad}");
    for off in ["none", "insecure", "false", "skip"] {
        assert!(problem(&upstream(&format!("trust: {off}"))).starts_with("line 3: upstream.trust: "), "{off}");
    }
}

#[test]
fn bound_tokens_need_client_certificates() {
    let at = "line 3: auth.issuers[0].certificate_bound";
    let told = issuer_problem("certificate_bound: true");
    assert!(told.starts_with(&format!("{at}: true, and no client certificate is asked for")), "{told}");
    let tls = "server: {tls: {cert_file: /a, key_file: /b}}\n";
    let issuer = "auth: {issuers: [{issuer: 'https://idp.example', audiences: [ccgate], algorithms: [ES256], certificate_bound: true}]}";
    let text = |tls: &str| format!("version: 1\nupstream: {{url: 'https://10.244.154.23:8043'}}\n{tls}{issuer}\n");
    assert!(read_text(&text(tls), &Overrides::default()).is_err(), "TLS alone is not enough");
    let config = good(&text(&tls.replace("/b", "/b, client_ca_file: /c")));
    assert!(config.auth.issuers[0].certificate_bound);
    assert!(!good(SMALLEST).auth.issuers[0].certificate_bound);
}
