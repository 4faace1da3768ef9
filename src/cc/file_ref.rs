//! What can be downloaded: the five downloads of the manual, each with its own parameters.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use super::file_path::compact_date;
use super::{AgentId, FilePath};

/// One recording, as one of the manual's five downloads names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FileRef {
    /// `recordfiledownloadEx`: by call id; with a file it is a video, without an audio recording.
    RecordingEx {
        /// `callId`.
        call_id: CallId,
        /// `hwFileName`.
        file: Option<FilePath>,
        /// `workNo`: the inspected agent.
        work_no: Option<AgentId>,
    },
    /// `recordfile`: from the mounted file server.
    Recording {
        /// `recordId`.
        record: FilePath,
        /// `filetype`: 1 an agent's call, 2 an IVR or third-party message.
        file_type: Option<FileType>,
        /// `locationId`.
        location: Option<LocationId>,
    },
    /// `videofiledownload`: an MCU recording. Without `recordId` the gateway sends the conference's first file.
    Video {
        /// `conferenceId`.
        conference: Uuid,
        /// `recordId`.
        record: Uuid,
        /// `fileType`.
        file_type: FileType,
    },
    /// `videofiledownloadEx`.
    VideoEx {
        /// `recordId`.
        record: FilePath,
        /// `locationId`.
        location: Option<LocationId>,
    },
    /// `webmsgrecordfiledownloadex`: chat records.
    Chat {
        /// `startDate`.
        start: Option<ChatDate>,
        /// `endDate`.
        end: Option<ChatDate>,
        /// `fileType`.
        file_type: Option<FileType>,
        /// `fileName`.
        file_name: FileName,
        /// `zoneOffset`.
        zone_offset: Option<ZoneOffset>,
    },
}

/// Which of the five downloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `recordfiledownloadEx`.
    RecordingEx,
    /// `recordfile`.
    Recording,
    /// `videofiledownload`.
    Video,
    /// `videofiledownloadEx`.
    VideoEx,
    /// `webmsgrecordfiledownloadex`.
    Chat,
}

/// What kind of recording it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A call or message to listen to.
    Audio,
    /// A call to watch.
    Video,
    /// A written conversation.
    Chat,
}

/// Whose call a recording is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// This agent's.
    Agent(AgentId),
    /// Nobody's: a path with no agent in it, an IVR message.
    Nobody,
    /// The request does not say.
    Unknown,
}

impl FileRef {
    /// Which download it is.
    pub const fn operation(&self) -> Operation {
        match self {
            Self::RecordingEx { .. } => Operation::RecordingEx,
            Self::Recording { .. } => Operation::Recording,
            Self::Video { .. } => Operation::Video,
            Self::VideoEx { .. } => Operation::VideoEx,
            Self::Chat { .. } => Operation::Chat,
        }
    }

    /// Audio, video or chat. `recordfiledownloadEx` is a video exactly when it names a file. What the file server gives
    /// is told by the file's name, and what is not surely audio counts as the more delicate video.
    pub fn kind(&self) -> Kind {
        match self {
            Self::RecordingEx { file: None, .. } => Kind::Audio,
            Self::Recording { record, .. } if record.is_audio() => Kind::Audio,
            Self::RecordingEx { .. } | Self::Recording { .. } | Self::Video { .. } | Self::VideoEx { .. } => {
                Kind::Video
            }
            Self::Chat { .. } => Kind::Chat,
        }
    }

    /// The file's path, where the request names one.
    pub const fn path(&self) -> Option<&FilePath> {
        match self {
            Self::RecordingEx { file, .. } => file.as_ref(),
            Self::Recording { record, .. } | Self::VideoEx { record, .. } => Some(record),
            Self::Video { .. } | Self::Chat { .. } => None,
        }
    }

    /// Whose call it is: from the path's agent part, else `workNo`, else unknown.
    pub fn owner(&self) -> Owner {
        match (self.path(), self) {
            (Some(path), _) => path.agent().map_or(Owner::Nobody, Owner::Agent),
            (None, Self::RecordingEx { work_no: Some(agent), .. }) => Owner::Agent(*agent),
            (None, _) => Owner::Unknown,
        }
    }

    /// The call id, where the request names one.
    pub const fn call_id(&self) -> Option<&CallId> {
        match self {
            Self::RecordingEx { call_id, .. } => Some(call_id),
            _ => None,
        }
    }

    /// The virtual call centre, where a path names it.
    pub fn vdn(&self) -> Option<u32> {
        self.path().map(FilePath::vdn)
    }

    /// The day it was recorded: from the path, else from a call id that starts with its time.
    pub fn recorded_on(&self) -> Option<Date> {
        self.path().map(FilePath::date).or_else(|| self.call_id().and_then(CallId::date))
    }

    /// The canonical reference: what is decided about and recorded, one text for one recording.
    pub fn reference(&self) -> String {
        let at = |location: &Option<LocationId>| location.as_ref().map(|id| format!("@{id}")).unwrap_or_default();
        match self {
            Self::RecordingEx { call_id, file: None, .. } => format!("call:{call_id}"),
            Self::RecordingEx { file: Some(path), .. } => format!("file:{path}"),
            Self::Recording { record, location, .. } | Self::VideoEx { record, location } => {
                format!("file:{record}{}", at(location))
            }
            Self::Video { conference, record, file_type } => format!("conference:{conference}/{record}.{file_type}"),
            Self::Chat { start, end, file_type, file_name, zone_offset } => {
                let part = |part: Option<&dyn fmt::Display>| part.map_or("*".to_owned(), ToString::to_string);
                let (start, end) = (part(start.as_ref().map(|it| it as _)), part(end.as_ref().map(|it| it as _)));
                let (kind, zone) =
                    (part(file_type.as_ref().map(|it| it as _)), part(zone_offset.as_ref().map(|it| it as _)));
                format!("chat:{file_name}?{start}..{end}&type={kind}&zone={zone}")
            }
        }
    }
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::RecordingEx, Self::Recording, Self::Video, Self::VideoEx, Self::Chat];

    /// The name in metrics and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RecordingEx => "recordfiledownloadEx",
            Self::Recording => "recordfile",
            Self::Video => "videofiledownload",
            Self::VideoEx => "videofiledownloadEx",
            Self::Chat => "webmsgrecordfiledownloadex",
        }
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Audio, Self::Video, Self::Chat];

    /// The name in metrics, policies and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Chat => "chat",
        }
    }
}

/// A parameter's value is not of its grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct FieldError(&'static str);

/// Declares a text of a fixed grammar: made only by `FromStr`, printed as it came.
macro_rules! field {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $fits:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = FieldError;

            fn from_str(text: &str) -> Result<Self, FieldError> {
                let fits: fn(&str) -> bool = $fits;
                if fits(text) { Ok(Self(text.to_owned())) } else { Err(FieldError($expected)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

field! {
    /// A call's id, as in `1621413752-2011`: opaque, but for its start, which is usually the call's time.
    CallId, "a call id: 1 to 64 characters of letters, digits, '_' and '-'",
    |text| bounded(text, 64, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
field! {
    /// A file type: a number or an extension.
    FileType, "a file type: 1 to 8 letters or digits",
    |text| bounded(text, 8, |byte| byte.is_ascii_alphanumeric())
}
field! {
    /// The number of a storage node.
    LocationId, "a node number: 1 to 9 digits without a leading zero",
    |text| bounded(text, 9, |byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}
field! {
    /// A chat record's file name: one path element.
    FileName, "a file name: 1 to 128 letters, digits, '.', '_' and '-', not starting or ending with a dot",
    |text| bounded(text, 128, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && !text.starts_with('.') && !text.ends_with('.')
}
field! {
    /// A time zone's offset: a signed number.
    ZoneOffset, "a zone offset: a number of 1 to 6 digits, optionally with a sign",
    |text| bounded(text.strip_prefix(['+', '-']).unwrap_or(text), 6, |byte| byte.is_ascii_digit())
}
field! {
    /// A day, optionally with a time: `yyyy-mm-dd` or `yyyymmdd`, then optionally `hh:mm:ss` behind a space or `T`.
    ChatDate, "a date: yyyy-mm-dd or yyyymmdd, optionally followed by a space or T and hh:mm:ss",
    is_chat_date
}
field! {
    /// A UUID in its usual spelling, lower case.
    Uuid, "a UUID",
    |text| text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

impl Uuid {
    /// Reads a UUID in any case of letters into its one spelling.
    pub fn any_case(text: &str) -> Result<Self, FieldError> {
        text.to_ascii_lowercase().parse()
    }
}

impl CallId {
    /// The day of the call in UTC, where the id starts with epoch seconds and a dash.
    pub fn date(&self) -> Option<Date> {
        let (seconds, _number) = self.0.split_once('-')?;
        // Ten digits: 2001-09-09 to 2286-11-20. Anything else is no time.
        if seconds.len() != 10 {
            return None;
        }
        let at = jiff::Timestamp::from_second(seconds.parse().ok()?).ok()?;
        Some(jiff::tz::Offset::UTC.to_datetime(at).date())
    }
}

fn bounded(text: &str, chars_max: usize, known: fn(u8) -> bool) -> bool {
    !text.is_empty() && text.len() <= chars_max && text.bytes().all(known)
}

fn is_chat_date(text: &str) -> bool {
    let (day, time) = match text.split_once([' ', 'T']) {
        Some((day, time)) => (day, Some(time)),
        None => (text, None),
    };
    let day = if day.len() == 10 { day.parse::<Date>().ok() } else { compact_date(day) };
    let time = time.is_none_or(|time| time.len() == 8 && time.parse::<jiff::civil::Time>().is_ok());
    day.is_some() && time
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FilePath {
        text.parse().expect("a path")
    }

    fn call(file: Option<&str>, work_no: Option<&str>) -> FileRef {
        FileRef::RecordingEx {
            call_id: "1621413752-2011".parse().expect("a call id"),
            file: file.map(path),
            work_no: work_no.map(|agent| agent.parse().expect("an agent")),
        }
    }

    #[test]
    fn the_owner_comes_from_the_path_then_from_work_no() {
        let agent = |number| Owner::Agent(AgentId::try_from(number).expect("an agent"));
        assert_eq!(call(Some("Y:/90/0/20210519/4977/1.mp4"), Some("4978")).owner(), agent(4977));
        assert_eq!(call(Some("Y:/90/record/20210519/1.wav"), Some("4978")).owner(), Owner::Nobody);
        assert_eq!(call(None, Some("4978")).owner(), agent(4978));
        assert_eq!(call(None, None).owner(), Owner::Unknown);
    }

    #[test]
    fn a_call_without_a_file_is_audio_and_dated_by_its_id() {
        let audio = call(None, None);
        assert_eq!((audio.kind(), audio.operation()), (Kind::Audio, Operation::RecordingEx));
        assert_eq!(audio.recorded_on().expect("a day").to_string(), "2021-05-19");
        assert_eq!(audio.reference(), "call:1621413752-2011");
        let video = call(Some("y:/90/0/20210520/4977/1.mp4"), None);
        assert_eq!((video.kind(), video.vdn()), (Kind::Video, Some(90)));
        assert_eq!(video.recorded_on().expect("a day").to_string(), "2021-05-20");
        assert_eq!(video.reference(), "file:Y:/90/0/20210520/4977/1.mp4");
    }

    #[test]
    fn r08_the_file_servers_recordings_are_of_the_kind_that_their_names_say() {
        for (name, kind) in [
            ("1.V3", Kind::Audio),
            ("1.wav", Kind::Audio),
            ("1.WAV", Kind::Audio),
            ("1.mp3", Kind::Audio),
            ("1.mp4", Kind::Video),
            ("1.wav.mp4", Kind::Video),
            ("1", Kind::Video),
            ("wav", Kind::Video),
        ] {
            let record = path(&format!("Y:/90/0/20210519/4977/{name}"));
            assert_eq!(FileRef::Recording { record, file_type: None, location: None }.kind(), kind, "{name}");
        }
    }

    #[test]
    fn a_chat_reference_says_of_which_days_it_is() {
        let chat = |start: &str| FileRef::Chat {
            start: Some(start.parse().expect("a date")),
            end: None,
            file_type: None,
            file_name: "x.zip".parse().expect("a name"),
            zone_offset: Some("-8".parse().expect("an offset")),
        };
        assert_eq!(chat("2021-01-01").reference(), "chat:x.zip?2021-01-01..*&type=*&zone=-8");
        assert_ne!(chat("2021-01-01").reference(), chat("2021-02-01").reference());
    }

    #[test]
    fn each_field_has_its_grammar() {
        assert!(
            "16-a_B".parse::<CallId>().is_ok() && "a b".parse::<CallId>().is_err() && "".parse::<CallId>().is_err()
        );
        assert!("x".repeat(65).parse::<CallId>().is_err());
        assert!(
            "mp4".parse::<FileType>().is_ok()
                && "m.4".parse::<FileType>().is_err()
                && "123456789".parse::<FileType>().is_err()
        );
        assert!(
            "12".parse::<LocationId>().is_ok()
                && "0".parse::<LocationId>().is_ok()
                && "-1".parse::<LocationId>().is_err()
                && "012".parse::<LocationId>().is_err()
        );
        for (name, good) in
            [("a.zip", true), ("..", false), (".a", false), ("a/b", false), ("a\\b", false), ("a.", false)]
        {
            assert_eq!(name.parse::<FileName>().is_ok(), good, "{name}");
        }
        for (offset, good) in [("8", true), ("-480", true), ("+8", true), ("", false), ("--8", false), ("8h", false)] {
            assert_eq!(offset.parse::<ZoneOffset>().is_ok(), good, "{offset}");
        }
        for (date, good) in [
            ("2021-05-19", true),
            ("20210519", true),
            ("2021-05-19 08:00:00", true),
            ("20210519T08:00:00", true),
            ("2021-02-30", false),
            ("2021-5-19", false),
            ("2021-05-19 8", false),
            ("2021-05-19 25:00:00", false),
            ("", false),
        ] {
            assert_eq!(date.parse::<ChatDate>().is_ok(), good, "{date}");
        }
        let upper = "279FE21D-2caa-4437-84c3-ab9e9dae20f5";
        assert_eq!(Uuid::any_case(upper).expect("a UUID").as_str(), upper.to_ascii_lowercase());
        assert!(Uuid::any_case("279fe21d2caa443784c3ab9e9dae20f5").is_err());
    }
}
