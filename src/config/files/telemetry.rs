//! The files of the collector. It asks nobody.

use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Check, Shown};
use crate::config::sections::Otlp;

/// Header fields of `telemetry.otlp.headers_file`.
const HEADERS_MAX: usize = 16;

/// A file with header fields can't be used. Nothing of its text is told: it may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum HeadersError {
    /// The file can't be read.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is something else, or one too many.
    #[error("{}, line {line}: not `Name: value`, or one of more than 16", .path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
}

/// Reads header fields, one `Name: value` a line; empty lines and those with `#` in front are left out. Values are sensitive.
///
/// # Errors
/// Which line is none.
pub fn read_headers(path: &Path) -> Result<HeaderMap, HeadersError> {
    let bytes = super::read(path).map_err(|source| HeadersError::Read { path: path.to_owned(), source })?;
    let mut headers = HeaderMap::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        match field(line) {
            Some((name, value)) if headers.len() < HEADERS_MAX => headers.append(name, value),
            _ => return Err(HeadersError::Line { path: path.to_owned(), line: index + 1 }),
        };
    }
    Ok(headers)
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
    let mut value = HeaderValue::from_bytes(value.trim_ascii()).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::from_bytes(name).ok()?, value))
}

impl Check {
    pub(super) fn otlp(&mut self, otlp: &Otlp) {
        self.trusted("telemetry.otlp.ca_file", otlp.ca_file.as_deref());
        let Some(file) = &otlp.headers_file else { return };
        if self.bytes("telemetry.otlp.headers_file", file, Shown::Nothing).is_none() {
            return;
        }
        if let Err(error) = read_headers(file) {
            self.fail("telemetry.otlp.headers_file", error.to_string(), "write one `Name: value` a line");
        }
        self.private("telemetry.otlp.headers_file", file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines_and_what_is_none_is_named_without_its_text() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "# secret\nAuthorization: Bearer a:b\n\nX-Tenant:7\n").expect("written");
        let headers = read_headers(file.path()).expect("headers");
        assert_eq!((headers.len(), &headers["x-tenant"]), (2, &HeaderValue::from_static("7")));
        assert!(headers["authorization"] == "Bearer a:b" && headers["authorization"].is_sensitive());
        let many = "A: b\n".repeat(17);
        for (text, at) in [("Planted", 1), ("A: b\nPlanted Name: x", 2), ("A: \u{1}", 1), (many.as_str(), 17)] {
            std::fs::write(file.path(), text).expect("written");
            let error = read_headers(file.path()).expect_err("no headers");
            assert!(matches!(error, HeadersError::Line { line, .. } if line == at), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("Planted"), "{error:?}");
        }
    }
}
