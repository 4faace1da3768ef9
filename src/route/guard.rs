//! What the HTTP library lets through and we do not: ambiguous heads that two servers could read in two ways.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, Uri, Version};

use super::Error;

/// Longest request target, in bytes. The longest download with every value escaped is below 2 KiB.
pub(crate) const TARGET_BYTES_MAX: usize = 4096;

/// Checks what every request must have, whatever its path.
pub(super) fn check(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
    if version != Version::HTTP_11 {
        return Err(Error::Head("only HTTP/1.1 is served here"));
    }
    check_target(uri)?;
    check_host(headers)?;
    if headers.contains_key(UPGRADE) {
        return Err(Error::Head("the Upgrade header is not supported"));
    }
    if headers.contains_key(EXPECT) {
        return Err(Error::ExpectationFailed);
    }
    check_connection(headers)
}

/// What is asked for by `GET` has no body. One that comes along is either a mistake or an attempt at smuggling a second request.
pub(super) fn check_no_body(headers: &HeaderMap) -> Result<(), Error> {
    if headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING) {
        return Err(Error::Head("a GET takes no request body"));
    }
    Ok(())
}

/// The only value of a header that may stand once; an error where it stands more often.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Error> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Error::Head("a header that may be given once is given more than once"));
    }
    let text = value.map(http::HeaderValue::to_str).transpose();
    text.map_err(|_| Error::Head("a header holds characters that are not visible ASCII"))
}

fn check_target(uri: &Uri) -> Result<(), Error> {
    // Absolute form names a second authority, which would have to agree with Host; authority form is for CONNECT.
    if uri.scheme().is_some() || uri.authority().is_some() || !uri.path().starts_with('/') {
        return Err(Error::Head("the request target must be a path that starts with /"));
    }
    let path = uri.path();
    if path.len() + uri.query().map_or(0, str::len) > TARGET_BYTES_MAX {
        return Err(Error::TargetTooLong);
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~');
    let doubtful = |part: &str| part.is_empty() || part == "." || part == "..";
    let (_root, parts) = path.split_at_checked(1).unwrap_or_default();
    let last_is_empty = parts.is_empty() || parts.ends_with('/');
    let parts = parts.strip_suffix('/').unwrap_or(parts);
    let bad_part = !(last_is_empty && parts.is_empty()) && parts.split('/').any(doubtful);
    if !path.bytes().all(known) || bad_part {
        return Err(Error::Head("the path is not canonical: no escapes, no empty parts, no dots alone"));
    }
    Ok(())
}

fn check_host(headers: &HeaderMap) -> Result<(), Error> {
    const EXPECTED: Error = Error::Head("exactly one valid Host header is needed");
    let host = single(headers, &HOST).map_err(|_| EXPECTED)?.ok_or(EXPECTED)?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if host.is_empty() || host.len() > 261 || !host.bytes().all(known) || host.parse::<http::uri::Authority>().is_err()
    {
        return Err(EXPECTED);
    }
    Ok(())
}

/// A client may not nominate headers away (RFC 9110 section 7.6.1): some of them carry its identity.
fn check_connection(headers: &HeaderMap) -> Result<(), Error> {
    const EXPECTED: Error = Error::Head("the Connection header may say close or keep-alive, nothing else");
    for value in headers.get_all(CONNECTION) {
        let value = value.to_str().map_err(|_| EXPECTED)?;
        let known = |token: &str| ["close", "keep-alive", "te"].iter().any(|name| token.eq_ignore_ascii_case(name));
        if !value.split(',').map(str::trim).all(known) {
            return Err(EXPECTED);
        }
    }
    Ok(())
}
