//! Takes the bearer token out of a request's headers. It never looks anywhere else for one, and never decodes it.

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::{Error, Malformed};

/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// An undecoded token: three parts of base64url characters. It can't be printed.
#[derive(Clone, Copy)]
pub(super) struct Bearer<'h> {
    token: &'h str,
}

impl<'h> Bearer<'h> {
    /// The token of the one `Authorization` header (RFC 6750 section 2.1).
    pub(super) fn from_headers(headers: &'h HeaderMap) -> Result<Self, Error> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Error::Missing)?;
        if values.next().is_some() {
            return Err(Error::Malformed(Malformed::Repeated));
        }
        let text = value.to_str().map_err(|_| Error::Malformed(Malformed::Scheme))?;
        let (scheme, token) = text.split_once(' ').ok_or(Error::Malformed(Malformed::Scheme))?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.starts_with(' ') {
            return Err(Error::Malformed(Malformed::Scheme));
        }
        Self::check(token).map_err(Error::Malformed)
    }

    /// The token as it was sent.
    pub(super) fn expose(self) -> &'h str {
        self.token
    }

    /// SHA-256 of the whole token.
    pub(super) fn digest(self) -> [u8; 32] {
        sha256(&[self.token.as_bytes()])
    }

    fn check(token: &'h str) -> Result<Self, Malformed> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        let base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let part = |part: &str| !part.is_empty() && part.bytes().all(base64url);
        if token.split('.').count() == 3 && token.split('.').all(part) {
            Ok(Self { token })
        } else {
            Err(Malformed::Encoding)
        }
    }
}

impl fmt::Debug for Bearer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer([redacted])")
    }
}

/// SHA-256 of the parts, one after the other.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    digest
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<String, Error> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).expect("a header value"));
        }
        Bearer::from_headers(&headers).map(|bearer| bearer.expose().to_owned())
    }

    #[test]
    fn one_header_one_scheme_one_space() {
        for good in ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c"] {
            assert_eq!(read(&[good.as_bytes()]).as_deref(), Ok("a.b.c"), "{good}");
        }
        assert_eq!(read(&[]), Err(Error::Missing));
        assert_eq!(read(&[b"Bearer a.b.c", b"Bearer a.b.c"]), Err(Error::Malformed(Malformed::Repeated)));
        assert_eq!(read(&[b"Bearer a.b.c", b""]), Err(Error::Malformed(Malformed::Repeated)));
        for bad in
            ["", " ", "Bearer", "Bearer ", "a.b.c", "Basic a.b.c", "Bearer  a.b.c", " Bearer a.b.c", "Bearer\ta.b.c"]
        {
            assert_eq!(read(&[bad.as_bytes()]), Err(Error::Malformed(Malformed::Scheme)), "{bad:?}");
        }
        assert_eq!(read(&[b"Bearer a.b.\xff"]), Err(Error::Malformed(Malformed::Scheme)));
    }

    #[test]
    fn three_parts_of_base64url() {
        for bad in
            ["a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "a.b.c, Bearer a.b.c", "a.b.c=", "a.b.c ", "a+.b.c", "a/.b.c"]
        {
            let header = format!("Bearer {bad}");
            assert_eq!(read(&[header.as_bytes()]), Err(Error::Malformed(Malformed::Encoding)), "{bad:?}");
        }
    }

    #[test]
    fn the_length_is_checked_before_anything_is_decoded() {
        let token = |len: usize| format!("Bearer a.b.{}", "c".repeat(len - 4));
        assert!(read(&[token(TOKEN_BYTES_MAX).as_bytes()]).is_ok());
        assert_eq!(read(&[token(TOKEN_BYTES_MAX + 1).as_bytes()]), Err(Error::Malformed(Malformed::TooLong)));
    }

    #[test]
    fn r17_a_token_cannot_be_printed() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer aaaa.bbbb.cccc"));
        let bearer = Bearer::from_headers(&headers).expect("well formed");
        assert!(!format!("{bearer:?}").contains("bbbb"));
    }
}
