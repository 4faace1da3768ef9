//! Bounds for the texts of a record that somebody else chose: an issuer, a caller, an operator, the upstream. It never
//! splits a character, and remembers which fields it cut.
//!
//! With these bounds the longest record there can be, each character escaped, is shorter than a line may be; a test holds
//! the sum. A record with cut fields names them: `"cut":["who.roles"]`.
//!
//! Two kinds of text:
//!
//! - *names* tell one person, role, rule or recording from another. One that is too long keeps its first characters and gets
//!   `…sha256:` with the digest of the whole behind them. So two that begin alike stay two, and none that was not cut can
//!   look like one that was: it would be longer than a name may be.
//! - *words* are for people: they keep their first characters.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Serialize, Serializer};

use super::line::escaped_bytes;

/// Characters that a record keeps of a name: issuer, subject, client, recording, rule.
pub(super) const NAME_CHARS_MAX: usize = 512;
/// Characters that a record keeps of a purpose, a ticket, a range, the upstream's message.
pub(super) const WORDS_CHARS_MAX: usize = 200;
/// Characters that a record keeps of why a configuration was refused.
pub(super) const REASON_CHARS_MAX: usize = 1_000;
/// Characters that a record keeps of one role or team.
const ROLE_CHARS_MAX: usize = 128;
/// Bytes that all roles and teams of a record take in a line. A token of 8 KiB, the longest that is read, has room for some
/// 6,000 bytes of them; escaping makes three of one byte at the most. So none of a token is left out.
const ROLES_BYTES_MAX: usize = 24 * 1_024;

/// The fields of one record that were cut, by their paths.
#[derive(Debug)]
pub(super) struct Cuts {
    paths: BTreeSet<&'static str>,
    /// What is left of [`ROLES_BYTES_MAX`].
    room: usize,
}

impl Default for Cuts {
    fn default() -> Self {
        Self { paths: BTreeSet::new(), room: ROLES_BYTES_MAX }
    }
}

impl Cuts {
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// A field that was cut before it came here, or left out.
    pub(super) fn note(&mut self, path: &'static str) {
        self.paths.insert(path);
    }

    /// A name, of at most [`NAME_CHARS_MAX`] characters or cut.
    pub(super) fn name<'a>(&mut self, path: &'static str, text: &'a str) -> Cow<'a, str> {
        self.distinct(path, text, NAME_CHARS_MAX)
    }

    /// The first characters of a text.
    pub(super) fn words<'a>(&mut self, path: &'static str, text: &'a str, chars_max: usize) -> &'a str {
        match head(text, chars_max) {
            Some(head) => {
                self.paths.insert(path);
                head
            }
            None => text,
        }
    }

    /// As many roles or teams, in their order, as still have room, each of at most 128 characters or cut.
    pub(super) fn roles<'a>(&mut self, path: &'static str, roles: &'a BTreeSet<String>) -> Vec<Cow<'a, str>> {
        let mut kept = Vec::with_capacity(roles.len().min(ROLES_BYTES_MAX / 4));
        for role in roles {
            let role = self.distinct(path, role, ROLE_CHARS_MAX);
            // Two quotation marks and a comma.
            let Some(rest) = self.room.checked_sub(escaped_bytes(&role) + 3) else {
                self.paths.insert(path);
                break;
            };
            self.room = rest;
            kept.push(role);
        }
        kept
    }

    fn distinct<'a>(&mut self, path: &'static str, text: &'a str, chars_max: usize) -> Cow<'a, str> {
        let Some(head) = head(text, chars_max) else { return Cow::Borrowed(text) };
        self.paths.insert(path);
        let whole = digest(&SHA256, text.as_bytes());
        let mut text = format!("{head}…sha256:");
        for byte in whole.as_ref() {
            // Writing to a `String` can't fail.
            let _ = write!(text, "{byte:02x}");
        }
        Cow::Owned(text)
    }
}

impl Serialize for Cuts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.paths)
    }
}

/// The first characters of a text that has more.
fn head(text: &str, chars_max: usize) -> Option<&str> {
    // No text has more characters than bytes: most need no counting.
    if text.len() <= chars_max {
        return None;
    }
    text.char_indices().nth(chars_max).and_then(|(at, _)| text.get(..at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_in_whole_characters_and_the_record_says_so() {
        let mut cuts = Cuts::default();
        assert_eq!(cuts.words("a", &"€".repeat(200), 200), "€".repeat(200));
        assert!(cuts.is_empty());
        assert_eq!(cuts.words("b", &"😀".repeat(201), 200), "😀".repeat(200));
        assert_eq!(cuts.words("a", "xyz", 2), "xy");
        assert_eq!(serde_json::to_string(&cuts).expect("JSON"), r#"["a","b"]"#);
    }

    #[test]
    fn two_names_that_begin_alike_stay_two() {
        let mut cuts = Cuts::default();
        let (one, two) = ("x".repeat(600) + "1", "x".repeat(600) + "2");
        let (one_cut, two_cut) = (cuts.name("who.subject", &one), cuts.name("who.subject", &two));
        assert_ne!(one_cut, two_cut);
        assert_eq!(one_cut, cuts.name("who.subject", &one), "and each stays itself");
        assert!(one_cut.starts_with(&("x".repeat(512) + "…sha256:")), "{one_cut}");
        // Somebody whose subject is what another's was cut to is not taken for that other.
        assert_ne!(cuts.name("who.subject", &one_cut), one_cut);
        let mut uncut = Cuts::default();
        assert_eq!(uncut.name("who.subject", &"x".repeat(512)), "x".repeat(512));
        assert!(uncut.is_empty());
    }

    #[test]
    fn as_many_roles_are_kept_as_have_room() {
        let mut cuts = Cuts::default();
        // What a token of 8 KiB can hold at the most: 6 bytes of Base64 are 4.5 of text, each escaped to three.
        let tokens: BTreeSet<_> = (0..1_024).map(|n| format!("{n:02}\u{85}\u{85}")).collect();
        assert_eq!(cuts.roles("who.roles", &tokens).len(), tokens.len());
        assert!(cuts.is_empty());
        let mut cuts = Cuts::default();
        let many: BTreeSet<_> = (0..1_000).map(|n| format!("{n:0100}")).collect();
        assert_eq!(cuts.roles("who.roles", &many).len(), ROLES_BYTES_MAX / 103);
        assert_eq!(cuts.roles("who.teams", &many).len(), 0, "both share the room");
        assert_eq!(serde_json::to_string(&cuts).expect("JSON"), r#"["who.roles","who.teams"]"#);
        let mut cuts = Cuts::default();
        let long = BTreeSet::from(["a".to_owned(), "r".repeat(60_000)]);
        let kept = cuts.roles("who.roles", &long);
        assert_eq!((kept.len(), kept[1].chars().count()), (2, 128 + 1 + 7 + 64));
        assert!(!cuts.is_empty());
    }
}
