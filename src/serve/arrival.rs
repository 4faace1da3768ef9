//! The circumstances of a request, and whose word is taken for where it came from.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use jiff::Timestamp;

use super::Tracing;
use crate::route::{Arrival, RequestId, Source, TraceParent};

/// Header with a request's id, both ways.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Stands for a client that trusted proxies do not name.
const UNKNOWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// Longest list of forwarding proxies that is believed.
const FORWARDED_MAX: usize = 16;

/// Reads the circumstances of a request that came in from `peer`.
pub(super) fn arrival(
    at: Timestamp,
    peer: SocketAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
    tracing: Option<&Tracing>,
) -> Arrival {
    let begun = || tracing.map(|tracing| TraceParent::begin(fastrand::f64() < tracing.sample));
    Arrival {
        at,
        source: Source { peer, forwarded: forwarded(peer, headers, trusted) },
        request_id: only(headers, &REQUEST_ID).and_then(RequestId::from_caller).unwrap_or_else(RequestId::random),
        trace: only(headers, &TRACEPARENT).and_then(TraceParent::parse).or_else(begun),
    }
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// The client as trusted proxies report it: from the right, the first address that is no trusted proxy itself. What
/// stands left of it was written by that client and is not looked at.
///
/// Where a trusted proxy reports something malformed, or too long a list of proxies, the client is unknown: that is the
/// unspecified address, which no rule about networks lets in, and never the proxy's own.
fn forwarded(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address.to_canonical()));
    if !is_trusted(peer.ip()) {
        return None;
    }
    let values: Vec<&[u8]> = headers.get_all(FORWARDED_FOR).iter().map(http::HeaderValue::as_bytes).collect();
    if values.iter().all(|value| value.is_empty()) {
        return None;
    }
    let hops = values.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    let mut last = UNKNOWN;
    for hop in hops.take(FORWARDED_MAX) {
        let hop = std::str::from_utf8(hop).ok().and_then(|hop| hop.trim().parse::<IpAddr>().ok());
        let Some(hop) = hop.map(|hop| hop.to_canonical()) else { return Some(UNKNOWN) };
        if !is_trusted(hop) {
            return Some(hop);
        }
        last = hop;
    }
    if values.iter().flat_map(|value| value.split(|byte| *byte == b',')).count() > FORWARDED_MAX {
        return Some(UNKNOWN);
    }
    Some(last)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn from(peer: &str, pairs: &[(&'static str, &'static str)]) -> Arrival {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let trusted = ["10.0.0.0/8".parse().expect("a net"), "::1/128".parse().expect("a net")];
        arrival(Timestamp::UNIX_EPOCH, peer.parse().expect("an address"), &headers, &trusted, None)
    }

    #[test]
    fn r10_only_a_trusted_proxy_is_believed() {
        let address = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
        for (peer, list, expected) in [
            ("192.0.2.9:1", "198.51.100.7", None),
            ("10.0.0.1:1", "198.51.100.7", address("198.51.100.7")),
            ("[::ffff:10.0.0.1]:1", "198.51.100.7", address("198.51.100.7")),
            ("10.0.0.1:1", "203.0.113.5, 198.51.100.7, 10.0.0.2", address("198.51.100.7")),
            ("10.0.0.1:1", "10.0.0.3, 10.0.0.2", address("10.0.0.3")),
            ("10.0.0.1:1", "198.51.100.7, junk", address("0.0.0.0")),
            ("10.0.0.1:1", "junk, 198.51.100.7", address("198.51.100.7")),
            ("10.0.0.1:1", "junk, 10.0.0.2", address("0.0.0.0")),
            (
                "10.0.0.1:1",
                "10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,\
              10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2,10.0.0.2",
                address("0.0.0.0"),
            ),
            ("10.0.0.1:1", "", None),
        ] {
            let source = from(peer, &[("x-forwarded-for", list)]).source;
            assert_eq!(source.forwarded, expected, "{peer} {list}");
            assert_eq!(source.peer, peer.parse().expect("an address"));
        }
    }

    #[test]
    fn r10_no_other_header_says_where_from() {
        for name in
            ["forwarded", "x-real-ip", "x-original-url", "x-forwarded-host", "x-envoy-original-path", "true-client-ip"]
        {
            assert_eq!(from("10.0.0.1:1", &[(name, "198.51.100.7")]).source.forwarded, None, "{name}");
        }
    }

    #[test]
    fn ids_are_taken_over_when_well_formed_and_single() {
        assert_eq!(from("10.0.0.1:1", &[("x-request-id", "web-1")]).request_id.as_str(), "web-1");
        assert_ne!(from("10.0.0.1:1", &[("x-request-id", "a b")]).request_id.as_str(), "a b");
        let twice = from("10.0.0.1:1", &[("x-request-id", "a"), ("x-request-id", "b")]);
        assert_eq!(twice.request_id.as_str().len(), 32);
    }
}
