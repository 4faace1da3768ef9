//! The parameters of a download: each known, none twice, none empty, each escaped at most once.

use std::borrow::Cow;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::Error;

/// The parameters of one request, decoded.
pub(super) struct Parameters<'q> {
    values: Vec<(&'static str, Cow<'q, str>)>,
}

impl<'q> Parameters<'q> {
    /// Splits a query into the parameters that a download knows. `listed` is their list for a person.
    pub(super) fn read(query: &'q str, known: &[&'static str], listed: &'static str) -> Result<Self, Error> {
        let mut values: Vec<(&'static str, Cow<'q, str>)> = Vec::with_capacity(known.len());
        for pair in query.split('&').filter(|_| !query.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(Error::Unknown(listed))?;
            // A name in another case of letters is a second spelling of the same parameter for some servers and an
            // unknown one for others, so it is neither here.
            let same = |candidate: &&&'static str| candidate.eq_ignore_ascii_case(name);
            let known = *known.iter().find(same).ok_or(Error::Unknown(listed))?;
            if values.iter().any(|(earlier, _)| *earlier == known) {
                return Err(Error::Repeated(known));
            }
            if known != name {
                return Err(Error::Unknown(listed));
            }
            values.push((known, decode(known, value)?));
        }
        Ok(Self { values })
    }

    /// A parameter that may be left out.
    pub(super) fn optional<T>(&self, name: &'static str) -> Result<Option<T>, Error>
    where
        T: FromStr<Err: ToString>,
    {
        let Some((_name, value)) = self.values.iter().find(|(known, _)| *known == name) else { return Ok(None) };
        value.parse().map(Some).map_err(|error: T::Err| Error::Value { name, expected: error.to_string() })
    }

    /// A parameter that must be there.
    pub(super) fn required<T>(&self, name: &'static str) -> Result<T, Error>
    where
        T: FromStr<Err: ToString>,
    {
        self.optional(name)?.ok_or(Error::Missing(name))
    }
}

/// Decodes once. What is escaped twice still holds a `%` then, which no parameter's grammar lets through.
fn decode<'q>(name: &'static str, value: &'q str) -> Result<Cow<'q, str>, Error> {
    let invalid = |expected: &str| Error::Value { name, expected: expected.to_owned() };
    if value.is_empty() {
        return Err(invalid("it is empty"));
    }
    let mut rest = value;
    while let Some((_before, escaped)) = rest.split_once('%') {
        let hex = escaped.get(..2).is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if !hex {
            return Err(invalid("a % is not followed by two hex digits"));
        }
        rest = escaped.get(2..).unwrap_or_default();
    }
    let decoded = percent_decode_str(value).decode_utf8().map_err(|_| invalid("it is not UTF-8"))?;
    if decoded.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        Ok(decoded)
    } else {
        Err(invalid("it holds characters that are not printable ASCII"))
    }
}
