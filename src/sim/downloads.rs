//! The five downloads: parameters, rights, and which recording is meant. Knows nothing of sessions but the agent's.

use super::{
    answer::{Answer, Asked},
    rules::Rule,
    world::World,
};

/// Which download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Download {
    /// `recordfiledownloadEx`.
    Extended,
    /// `/recordfile/{agentid}`.
    Mounted,
    /// `videofiledownload`.
    Conference,
    /// `videofiledownloadEx`.
    VideoExtended,
    /// `webmsgrecordfiledownloadex`.
    Chat,
}

/// A result code.
type Retcode = &'static str;

impl Download {
    const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Extended => &["callId", "hwFileName", "workNo"],
            Self::Mounted => &["recordId", "filetype", "locationId"],
            Self::Conference => &["conferenceId", "recordId", "fileType"],
            Self::VideoExtended => &["recordId", "locationId"],
            Self::Chat => &["startDate", "endDate", "fileType", "fileName", "zoneOffset"],
        }
    }
}

/// Answers a download for `agent`, whose Guid was taken.
pub(super) fn answer(world: &World, agent: u32, download: Download, query: Option<&str>, asked: Asked<'_>) -> Answer {
    if !world.config.download_enabled {
        return Answer::refused("104-001");
    }
    let found = Query::parse(world, agent, download, query.unwrap_or_default())
        .and_then(|query| query.recording(download, agent, world.is_inspector(agent)));
    let key = match found {
        Ok(key) => key,
        Err(retcode) => return Answer::refused(retcode),
    };
    match world.size_of(&key) {
        None => Answer::refused("104-005"),
        Some(size) => Answer::file(&key, size, &file_name(&key), world.config.ranges.then_some(asked)),
    }
}

fn file_name(key: &str) -> String {
    let last = key.rsplit('/').next().unwrap_or(key);
    if last.contains('.') { last.to_owned() } else { format!("{last}.{}", if key.len() >= 36 { "mp4" } else { "wav" }) }
}

/// The parameters of a query string, each decoded once.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(world: &World, agent: u32, download: Download, query: &str) -> Result<Self, Retcode> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if pairs.iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(&name)) {
                world.rules.broke(Rule::RepeatedParameter, Some(agent), name);
                return Err("000-002");
            }
            if !download.parameters().contains(&name.as_str()) {
                world.rules.broke(Rule::UnknownParameter, Some(agent), name.chars().take(64).collect::<String>());
                return Err("000-002");
            }
            if value.is_empty() {
                return Err("000-002");
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that must fit where it is given.
    fn fitting(&self, name: &str, fits: impl Fn(&str) -> bool) -> Result<Option<&str>, Retcode> {
        match self.get(name) {
            Some(value) if !fits(value) => Err("000-002"),
            other => Ok(other),
        }
    }

    /// The key of the recording that is meant, when the agent may have it.
    fn recording(&self, download: Download, agent: u32, inspector: bool) -> Result<String, Retcode> {
        match download {
            Download::Extended => self.extended(agent, inspector),
            Download::Mounted => {
                self.fitting("filetype", |value| ["1", "2"].contains(&value))?;
                self.fitting("locationId", is_number)?;
                self.mounted(agent, inspector)
            }
            Download::VideoExtended => {
                self.fitting("locationId", is_number)?;
                self.mounted(agent, inspector)
            }
            Download::Conference => {
                self.fitting("fileType", is_word)?.ok_or("000-002")?;
                let conference = self.fitting("conferenceId", is_uuid)?.ok_or("000-002")?;
                let record = self.fitting("recordId", is_uuid)?;
                Ok(record.map_or_else(|| conference.to_owned(), |record| format!("{conference}/{record}")))
            }
            Download::Chat => {
                for name in ["startDate", "endDate"] {
                    self.fitting(name, |value| {
                        value.bytes().all(|byte| byte.is_ascii_digit() || b"-: T".contains(&byte))
                    })?;
                }
                self.fitting("fileType", is_word)?;
                self.fitting("zoneOffset", |value| is_number(value.strip_prefix(['+', '-']).unwrap_or(value)))?;
                let one_element = |value: &str| !value.contains(['/', '\\']) && value != "." && value != "..";
                Ok(self.fitting("fileName", one_element)?.ok_or("000-002")?.to_owned())
            }
        }
    }

    fn extended(&self, agent: u32, inspector: bool) -> Result<String, Retcode> {
        let call = self.fitting("callId", is_call_id)?.ok_or("000-002")?;
        let inspected = self
            .fitting("workNo", is_number)?
            .map(|number| number.parse::<u32>().map_err(|_| "000-002"))
            .transpose()?;
        if inspector && inspected == Some(agent) {
            return Err("000-005");
        }
        if !inspector && inspected.is_some_and(|inspected| inspected != agent) {
            return Err("104-002");
        }
        match self.get("hwFileName") {
            Some(path) => FilePath::parse(path)?.for_agent(agent, inspector),
            None if inspector && inspected.is_none() => Err("000-002"),
            None => Ok(call.to_owned()),
        }
    }

    fn mounted(&self, agent: u32, inspector: bool) -> Result<String, Retcode> {
        FilePath::parse(self.get("recordId").ok_or("000-002")?)?.for_agent(agent, inspector)
    }
}

/// A path in one of the vendor's three forms.
struct FilePath {
    /// With an upper-case drive letter.
    key: String,
    /// The agent whose call it is; a message of an IVR has none.
    owner: Option<u32>,
}

impl FilePath {
    fn parse(path: &str) -> Result<Self, Retcode> {
        let (drive, rest) = path.split_once(":/").ok_or("000-002")?;
        let parts: Vec<&str> = rest.split('/').collect();
        let plain = |part: &&str| !part.is_empty() && !part.contains(['\\', ':']) && **part != *"." && **part != *"..";
        let is_drive = drive.len() == 1 && drive.bytes().all(|letter| letter.is_ascii_alphabetic());
        if !is_drive || !parts.iter().all(plain) || path.chars().any(char::is_control) {
            return Err("000-002");
        }
        let owner = match parts.as_slice() {
            ["3rdfile", vdn, "record", date, agent, _] | [vdn, _, date, agent, _]
                if is_number(vdn) && is_date(date) =>
            {
                Some(agent.parse().map_err(|_| "000-002")?)
            }
            [vdn, "record", date, file]
                if is_number(vdn) && is_date(date) && file.to_ascii_lowercase().ends_with(".wav") =>
            {
                None
            }
            _ => return Err("000-002"),
        };
        Ok(Self { key: format!("{}:/{rest}", drive.to_ascii_uppercase()), owner })
    }

    fn for_agent(self, agent: u32, inspector: bool) -> Result<String, Retcode> {
        match self.owner {
            Some(owner) if owner != agent && !inspector => Err("104-002"),
            _ => Ok(self.key),
        }
    }
}

/// Decodes as the servlet container does: `+` is a space, escapes once, UTF-8.
fn decode(text: &str) -> Result<String, Retcode> {
    let escapes_are_whole =
        text.split('%').skip(1).all(|rest| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2);
    if !escapes_are_whole {
        return Err("000-002");
    }
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| "000-002")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_date(text: &str) -> bool {
    text.len() == 8 && is_number(text)
}

fn is_word(text: &str) -> bool {
    text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_call_id(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

#[cfg(test)]
mod tests;
