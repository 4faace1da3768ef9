//! A recording's path on the gateway's drives, in one canonical form. It is refused rather than repaired.
//!
//! The manual's three shapes, all below a drive letter:
//!
//! - agent call: `<drive>:/<vdn>/<directory>/<yyyymmdd>/<agentid>/<file>`;
//! - IVR message: `<drive>:/<vdn>/record/<yyyymmdd>/<file>`, with no agent in it;
//! - third-party message: `<drive>:/3rdfile/<vdn>/record/<yyyymmdd>/<agentid>/<file>`.
//!
//! Canonical: the drive letter in upper case and `/` between the parts. A file server of this kind takes many other
//! spellings of one file (`\`, `.`, `..`, a trailing dot or space, `~1`, a stream behind a second colon); a part is
//! made of `[0-9A-Za-z._-]` and neither starts nor ends with a dot, which leaves none of them.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use super::AgentId;

/// A path as it is decided about, sent and recorded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilePath {
    canonical: String,
    vdn: u32,
    date: Date,
    agent: Option<AgentId>,
}

/// The text is no path of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilePathError {
    /// Longer than [`FilePath::CHARS_MAX`].
    #[error("a path is at most {} characters long", FilePath::CHARS_MAX)]
    TooLong,
    /// Not `<letter>:/…`.
    #[error("a path starts with a drive letter, as in Y:/90/0/20210519/4977/1642329.mp4")]
    NoDrive,
    /// A part is empty, starts or ends with a dot, or holds another character.
    #[error("a part of a path is made of letters, digits, '.', '_' and '-', and neither starts nor ends with a dot")]
    BadPart,
    /// None of the three shapes of the manual.
    #[error("a path is <drive>:/<vdn>/<directory>/<yyyymmdd>/<agentid>/<file> or one of the manual's message paths")]
    UnknownShape,
}

impl FilePath {
    /// Longest path, in characters.
    pub const CHARS_MAX: usize = 255;

    /// The canonical form.
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// The virtual call centre (VDN) whose directory it is.
    pub const fn vdn(&self) -> u32 {
        self.vdn
    }

    /// The day of the recording, from the path.
    pub const fn date(&self) -> Date {
        self.date
    }

    /// Whether the file's name says that it is a sound recording: VoiceCyber's `V3`, or a common audio format.
    pub fn is_audio(&self) -> bool {
        let extension = self.canonical.rsplit_once('/').and_then(|(_folder, file)| file.rsplit_once('.'));
        let known = |extension: &str| ["v3", "wav", "mp3", "ogg"].iter().any(|it| it.eq_ignore_ascii_case(extension));
        extension.is_some_and(|(_name, extension)| known(extension))
    }

    /// The agent whose call it is; `None` for an IVR message.
    pub const fn agent(&self) -> Option<AgentId> {
        self.agent
    }
}

impl FromStr for FilePath {
    type Err = FilePathError;

    fn from_str(text: &str) -> Result<Self, FilePathError> {
        if text.len() > Self::CHARS_MAX {
            return Err(FilePathError::TooLong);
        }
        let mut parts = text.split(['/', '\\']);
        let drive = parts.next().and_then(drive_letter).ok_or(FilePathError::NoDrive)?;
        let parts: Vec<&str> = parts.collect();
        if !parts.iter().all(|part| is_part(part)) {
            return Err(FilePathError::BadPart);
        }
        let (vdn, date, agent) = match parts.as_slice() {
            ["3rdfile", vdn, "record", date, agent, _file] => (vdn, date, Some(agent)),
            // Before the agent's shape: `record` with three parts behind it is an agent's call in that directory.
            [vdn, "record", date, _file] => (vdn, date, None),
            [vdn, _directory, date, agent, _file] => (vdn, date, Some(agent)),
            _ => return Err(FilePathError::UnknownShape),
        };
        let agent = agent.map(|agent| agent.parse()).transpose().map_err(|_| FilePathError::UnknownShape)?;
        Ok(Self {
            vdn: vdn_number(vdn).ok_or(FilePathError::UnknownShape)?,
            date: compact_date(date).ok_or(FilePathError::UnknownShape)?,
            agent,
            canonical: format!("{drive}:/{}", parts.join("/")),
        })
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

fn drive_letter(part: &str) -> Option<char> {
    let mut chars = part.chars();
    let letter = chars.next().filter(char::is_ascii_alphabetic)?;
    (chars.as_str() == ":").then(|| letter.to_ascii_uppercase())
}

fn is_part(part: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && part.bytes().all(known)
}

fn vdn_number(part: &str) -> Option<u32> {
    let number = part.parse::<u32>().ok()?;
    // One spelling for one number: `090` and `+90` are other directories or none.
    (number.to_string() == part).then_some(number)
}

/// Reads `yyyymmdd`, a day that exists.
pub(super) fn compact_date(part: &str) -> Option<Date> {
    if part.len() != 8 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = part.split_at_checked(4)?;
    let (month, day) = rest.split_at_checked(2)?;
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> FilePath {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_manuals_examples_are_read() {
        let call = read("Y:/90/0/20210519/4977/1642329.mp4");
        assert_eq!((call.vdn(), call.agent().map(AgentId::get)), (90, Some(4977)));
        assert_eq!(call.date().to_string(), "2021-05-19");
        let audio = read("y:/1/0/20181217/120/1524488.V3");
        assert_eq!(audio.as_str(), "Y:/1/0/20181217/120/1524488.V3");
        let ivr = read("Y:/90/record/20210519/menu-3.wav");
        assert_eq!((ivr.vdn(), ivr.agent()), (90, None));
        let third = read("D:/3rdfile/90/record/20210519/4977/a.wav");
        assert_eq!((third.vdn(), third.agent().map(AgentId::get)), (90, Some(4977)));
    }

    #[test]
    fn r08_aliases_become_one_form() {
        let aliases = [
            "Y:/90/0/20210519/4977/1.mp4",
            "y:/90/0/20210519/4977/1.mp4",
            r"Y:\90\0\20210519\4977\1.mp4",
            r"y:\90/0\20210519/4977\1.mp4",
        ];
        for alias in aliases {
            assert_eq!(read(alias), read(aliases[0]), "{alias}");
        }
    }

    #[test]
    fn r08_everything_else_is_refused() {
        for bad in [
            "",
            "Y",
            "Y:",
            "Y:/",
            "YY:/90/0/20210519/4977/1.mp4",
            "1:/90/0/20210519/4977/1.mp4",
            "/90/0/20210519/4977/1.mp4",
            "//server/90/0/20210519/4977/1.mp4",
            r"\\server\90\0\20210519\4977\1.mp4",
            "Y:90/0/20210519/4977/1.mp4",
            "Y:/90/0/20210519/4977/../4978/1.mp4",
            "Y:/90/0/20210519/4977/..",
            "Y:/90/0/20210519/./4977/1.mp4",
            "Y:/90/0/20210519/4977//1.mp4",
            "Y:/90/0/20210519/4977/1.mp4/",
            "Y:/90/0/20210519/4977/1.mp4.",
            "Y:/90/0/20210519/4977/1.mp4 ",
            "Y:/90/0/20210519/4977/1.mp4::$DATA",
            "Y:/90/0/20210519/4977/1:2.mp4",
            "Y:/90/0/20210519/4977/PROGRA~1",
            "Y:/90/0/20210519/4977/1\0.mp4",
            "Y:/90/0/20210519/4977/1%2e.mp4",
            "Y:/090/0/20210519/4977/1.mp4",
            "Y:/90/0/20210230/4977/1.mp4",
            "Y:/90/0/2021051/4977/1.mp4",
            "Y:/90/0/20210519/04977/1.mp4",
            "Y:/90/0/20210519/77/1.mp4",
            "Y:/90/0/20210519/1.mp4",
            "Y:/3rdfile/90/record/20210519/1.wav",
            "Y:/90/0/x/20210519/4977/1.mp4",
            "Y:/90/0/20210519/4977/é.mp4",
        ] {
            assert!(bad.parse::<FilePath>().is_err(), "{bad:?}");
        }
        let long = format!("Y:/90/0/20210519/4977/{}", "a".repeat(300));
        assert_eq!(long.parse::<FilePath>(), Err(FilePathError::TooLong));
    }

    proptest! {
        #[test]
        fn r08_canonical_form_is_idempotent(text in "[A-Za-z]:([/\\\\][0-9A-Za-z._~-]{1,8}){3,7}") {
            if let Ok(path) = text.parse::<FilePath>() {
                prop_assert_eq!(&path, &read(path.as_str()));
                prop_assert_eq!(path.as_str().to_ascii_lowercase(), text.replace('\\', "/").to_ascii_lowercase());
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<FilePath>();
        }
    }
}
