//! The grammar of single values: URLs, names, pins, pointers. Pure; an error is a phrase that stands behind "is".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use rustls::pki_types::ServerName;

use super::parse::is_loopback;
use crate::authn::JsonPointer;
use crate::cc::BASE_PATH;

/// The gateway: https, a host, perhaps a port; no path, or the base path, which is known anyway.
pub(super) fn upstream(text: &str) -> Result<Uri, &'static str> {
    let url = url(text)?;
    if url.scheme_str() != Some("https") {
        return Err("not https: the gateway is never asked without TLS");
    }
    let path = url.path().trim_end_matches('/');
    if !(path.is_empty() || path == BASE_PATH) || url.query().is_some() {
        return Err("more than scheme, host and port: no path but /agentgateway/resource, and no query");
    }
    let authority = url.authority().ok_or("not a URL with a host")?.clone();
    Uri::builder().scheme("https").authority(authority).path_and_query("/").build().map_err(|_| "not a URL")
}

/// Where keys are fetched from: https, or http on this machine.
pub(super) fn key_server(text: &str) -> Result<Uri, &'static str> {
    let url = url(text)?;
    match url.scheme_str() {
        Some("https") => Ok(url),
        Some("http") if is_loopback(&url) => Ok(url),
        _ => Err("not https (http is taken on loopback only): whoever can change the keys can let anybody in"),
    }
}

/// A witness's submission prefix: https, or http on this machine, to which a path can be added.
pub(super) fn witness(text: &str) -> Result<Uri, &'static str> {
    let url = url(text)?;
    match url.scheme_str() {
        _ if url.query().is_some() => Err("with a query (?): it is a prefix that /add-checkpoint is added to"),
        Some("https") => Ok(url),
        Some("http") if is_loopback(&url) => Ok(url),
        _ => Err("not https (http is taken on loopback only)"),
    }
}

/// A collector: https, or http on this machine, to which a path can be added.
pub(super) fn collector(text: &str) -> Result<Uri, &'static str> {
    let url = url(text)?;
    match url.scheme_str() {
        _ if url.query().is_some() => Err("with a query (?): it is a prefix that /v1/traces is added to"),
        Some("https") => Ok(url),
        Some("http") if is_loopback(&url) => Ok(url),
        _ => Err("not https (http is taken on loopback only)"),
    }
}

/// Where the gateway sends events: https or http.
pub(super) fn callback(text: &str) -> Result<Uri, &'static str> {
    let url = url(text)?;
    match url.scheme_str() {
        Some("https" | "http") => Ok(url),
        _ => Err("not an https or http URL"),
    }
}

/// An absolute URL with a host and without user info or fragment.
fn url(text: &str) -> Result<Uri, &'static str> {
    if text.contains('#') {
        return Err("with a fragment (#)");
    }
    let url: Uri = text.parse().map_err(|_| "not a URL")?;
    let authority = url.authority().ok_or("not a URL with scheme and host, as in https://host:8043")?;
    if authority.as_str().contains('@') {
        return Err("with user info (…@): put no name or password into a URL");
    }
    let port = authority.as_str().rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let good = url.scheme().is_some() && !authority.host().is_empty();
    match port {
        Some((_, port)) if port.parse::<u16>().is_err() => Err("with a port that is no number from 0 to 65535"),
        _ if good => Ok(url),
        _ => Err("not a URL with scheme and host, as in https://host:8043"),
    }
}

/// The name in a certificate.
pub(super) fn server_name(text: &str) -> Result<(), &'static str> {
    ServerName::try_from(text).map(|_| ()).map_err(|_| "not a host name or address")
}

/// A pin: SHA-256 in base64 (44 characters) or hex (64 digits).
pub(super) fn pin(text: &str) -> Result<[u8; 32], &'static str> {
    const WRONG: &str = "not a SHA-256: 44 characters of base64 or 64 hex digits";
    let bytes = match text.len() {
        64 => hex(text).ok_or(WRONG)?,
        44 => STANDARD.decode(text).map_err(|_| WRONG)?,
        _ => return Err(WRONG),
    };
    bytes.try_into().map_err(|_| WRONG)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// An `iss` claim: printable, without spaces. (A URL only where keys are discovered from it: some issuers are no URLs.)
pub(super) fn issuer(text: &str) -> Result<String, &'static str> {
    let printable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if printable { Ok(text.to_owned()) } else { Err("not printable ASCII without spaces") }
}

/// An `aud` value.
pub(super) fn audience(text: &str) -> Result<String, &'static str> {
    match text.len() {
        0 => Err("empty: a token without an audience must not get in"),
        1..=256 if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
        _ => Err("not 1 to 256 printable ASCII characters without spaces"),
    }
}

/// A JSON pointer to a claim (RFC 6901): `/a/b`, with `~0` and `~1` as the only escapes. The whole token is no claim.
pub(super) fn pointer(text: &str) -> Result<JsonPointer, &'static str> {
    const EXPECTED: &str = "not a JSON pointer, as in /agent_id or /realm_access/roles";
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if text.starts_with('/') && text.len() > 1 && escapes && !text.contains(char::is_control) {
        text.parse().map_err(|_| EXPECTED)
    } else {
        Err(EXPECTED)
    }
}

/// The first part of every key's name in a store. No braces: they have a meaning in a cluster.
pub(super) fn prefix(text: &str) -> Result<(), &'static str> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    if text.bytes().all(good) { Ok(()) } else { Err("not made of letters, digits, `.`, `_`, `-` and `:`") }
}

/// A subject to publish to: tokens with dots between, no wildcards, nothing of the server's own.
pub(super) fn subject(text: &str) -> Result<(), &'static str> {
    let good = |token: &str| {
        !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    if text.split('.').all(good) { Ok(()) } else { Err("not made of letters, digits, `_` and `-` with dots between") }
}

/// An origin as browsers send it (RFC 6454 section 6.2): scheme, host, port unless it is the scheme's own; lower case.
pub(super) fn origin(text: &str) -> Result<(), &'static str> {
    if text == "*" || text == "null" {
        return Err("any origin: name those that may read recordings");
    }
    let wrong = "not an origin as a browser sends it, as in https://app.example (no path, lower case, no default port)";
    let url = url(text)?;
    let (scheme, authority) = (url.scheme_str().unwrap_or_default(), url.authority().ok_or(wrong)?);
    let default = matches!((scheme, authority.port_u16()), ("https", Some(443)) | ("http", Some(80)));
    let same = format!("{scheme}://{authority}").to_ascii_lowercase() == text;
    if matches!(scheme, "https" | "http") && same && !default { Ok(()) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_https_a_host_and_a_port() {
        for good in
            ["https://10.1.2.3:8043", "https://cc.example/", "https://[::1]:8043/agentgateway/resource", "HTTPS://a"]
        {
            let url = upstream(good).expect(good);
            assert_eq!((url.scheme_str(), url.path()), (Some("https"), "/"), "{good}");
        }
        for bad in [
            "",
            "cc.example",
            "/path",
            "http://cc.example",
            "https://",
            "https://u:p@h",
            "https://u@h",
            "https://h/other",
            "https://h?x=1",
            "https://h#x",
            "https://h:99999",
            "https://h:x",
            "ftp://h",
            "https://h /",
            "https://:8043",
            "https://h/agentgateway/resource/more",
        ] {
            assert!(upstream(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_fetched_over_tls_or_from_this_machine() {
        for good in ["https://idp.example/jwks", "http://127.0.0.1:8001/jwks", "http://localhost/j", "http://[::1]:1/j"]
        {
            assert!(key_server(good).is_ok(), "{good}");
        }
        for bad in
            ["http://idp.example", "http://10.0.0.1/j", "http://127.0.0.1.evil.example/j", "http://localhost@evil/j"]
        {
            assert!(key_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pin_is_base64_or_hex_of_32_bytes() {
        assert_eq!(pin("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=").map(|pin| pin[31]), Ok(1));
        assert_eq!(pin(&"0f".repeat(32)), Ok([15; 32]));
        for bad in ["", "AAAA", &"0g".repeat(32), &"é".repeat(32), &"=".repeat(44)] {
            assert!(pin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for good in ["https://app.example", "http://localhost:3000", "https://a.example:8443", "http://[::1]:3000"] {
            assert!(origin(good).is_ok(), "{good}");
        }
        for bad in [
            "*",
            "null",
            "app.example",
            "https://App.example",
            "https://a/",
            "https://a:443",
            "http://a:80",
            "ws://a",
            "https://a/x",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pointer_names_a_claim() {
        for good in ["/agent_id", "/a/b", "/https:~1~1claims.example~1agent", "/a~0b"] {
            assert!(pointer(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "agent_id", "$.agent", "/a~", "/a~2", "/a\n"] {
            assert!(pointer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn r19_an_audience_is_never_empty() {
        assert!(audience("").is_err() && audience(" ").is_err() && audience("ccgate").is_ok());
    }
}
