//! Reads YAML into types. It never quotes the text it reads: a neighbouring line may hold a secret.

use serde::de::DeserializeOwned;

/// Why a text was not read: what is wrong and where, without any of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Path of the value, as in `upstream.url`; empty at the top.
    pub path: String,
    /// Line, counted from 1; `None` where the parser does not say.
    pub line: Option<u64>,
    /// What is wrong.
    pub message: String,
}

/// Reads one YAML document. Unknown keys are refused where the type denies them, duplicate keys always.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        Error {
            path: String::new(),
            line: error.location().map(|location| location.line()),
            message: error.to_string(),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read to be refused")]
    struct Sample {
        name: String,
        password: String,
    }

    #[test]
    fn r17_an_error_names_the_line_and_quotes_no_neighbour() {
        let text = "name: a\nnmae: b\npassword: hunter2\n";
        let error = from_str::<Sample>(text).expect_err("an unknown key");
        assert_eq!(error.line, Some(2));
        assert!(error.message.contains("nmae"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        assert!(from_str::<Sample>("name: a\nname: b\npassword: c\n").is_err());
    }
}
