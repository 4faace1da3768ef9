//! How a person names a recording, and what the log then calls it. It reads what it is given as a request is read.

use std::collections::BTreeSet;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use percent_encoding::percent_decode_str;

use crate::cc::{BASE_PATH, CallId, FileName, FilePath, FileRef, LocationId, Operation, Uuid};
use crate::route;

/// References as they stand in the log, and beginnings of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct References {
    pub(super) texts: Vec<String>,
    pub(super) prefixes: Vec<String>,
}

/// What is told where a recording can't be recognised.
pub(super) const EXPECTED: &str = "no recording: a reference as the log writes it (file:Y:/90/0/20210519/4977/1642329.mp4, \
    call:1621413752-2011), the URL or the query of a download, a file's path, or a call id";

/// All spellings of the recording that somebody means: a reference, a download's URL or query, a path, a call id.
///
/// A file without a node (`@3`) stands for that file on every node, a chat's file name for every excerpt of it.
pub(super) fn references(text: &str) -> Option<References> {
    let text = text.trim();
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    match scheme {
        "file" => file(rest),
        "call" => rest.parse::<CallId>().ok().map(|call| exact(format!("call:{call}"))),
        "conference" => conference(rest),
        "chat" => match rest.split_once('?') {
            Some((name, _)) => name.parse::<FileName>().ok().map(|_| exact(text.to_owned())),
            None => rest.parse::<FileName>().ok().map(|name| begun(format!("chat:{name}?"))),
        },
        // A pseudonym, as the log's own records show it.
        "hmac" => rest.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| exact(text.to_owned())),
        "http" | "https" => url(text),
        _ if text.starts_with('/') => url(text),
        _ if text.contains('=') => query(text.trim_start_matches('?')),
        _ => file(text).or_else(|| text.parse::<CallId>().ok().map(|call| exact(format!("call:{call}")))),
    }
}

fn exact(text: String) -> References {
    References { texts: vec![text], prefixes: Vec::new() }
}

fn begun(prefix: String) -> References {
    References { texts: Vec::new(), prefixes: vec![prefix] }
}

fn file(text: &str) -> Option<References> {
    if let Some((path, node)) = text.rsplit_once('@') {
        let (path, node): (FilePath, LocationId) = (path.parse().ok()?, node.parse().ok()?);
        return Some(exact(format!("file:{path}@{node}")));
    }
    let path: FilePath = text.parse().ok()?;
    Some(References { texts: vec![format!("file:{path}")], prefixes: vec![format!("file:{path}@")] })
}

fn conference(text: &str) -> Option<References> {
    let (conference, rest) = text.split_once('/')?;
    let (record, file_type) = rest.split_once('.')?;
    let file = FileRef::Video {
        conference: Uuid::any_case(conference).ok()?,
        record: Uuid::any_case(record).ok()?,
        file_type: file_type.parse().ok()?,
    };
    Some(of(&file))
}

/// A file's path stands for the file wherever it lies; anything else is what it says.
fn of(download: &FileRef) -> References {
    let reference = download.reference();
    reference.strip_prefix("file:").and_then(file).unwrap_or_else(|| exact(reference.clone()))
}

fn url(text: &str) -> Option<References> {
    let url: Uri = text.parse().ok()?;
    request(url.path_and_query()?.as_str()).map(|file| of(&file))
}

/// A download's query. Any of the downloads may be meant; parts of a query stand for the recording that they name.
fn query(text: &str) -> Option<References> {
    let path = |operation| match operation {
        Operation::RecordingEx => "recordfile/101/recordfiledownloadEx",
        Operation::Recording => "recordfile/101",
        Operation::Video => "recordfile/101/videofiledownload",
        Operation::VideoEx => "recordfile/101/videofiledownloadEx",
        Operation::Chat => "filedownload/101/webmsgrecordfiledownloadex",
    };
    // A backslash and a space are no characters of a URL; people copy them all the same.
    let text = text.replace('\\', "%5C").replace(' ', "%20");
    let read = |operation| request(&format!("{BASE_PATH}/{}?{text}", path(operation)));
    let meant: BTreeSet<String> = Operation::ALL.into_iter().filter_map(read).map(|file| file.reference()).collect();
    if let [reference] = Vec::from_iter(meant).as_slice() {
        return references(reference);
    }
    let value = |name: &str| {
        let value = text.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
    };
    let named = value("hwFileName").or_else(|| value("recordId")).map(|path| file(&path));
    named.unwrap_or_else(|| Some(exact(format!("call:{}", value("callId")?.parse::<CallId>().ok()?))))
}

fn request(target: &str) -> Option<FileRef> {
    let uri: Uri = target.parse().ok()?;
    let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
    let download = route::parse(Version::HTTP_11, &Method::GET, &uri, &headers).ok()?;
    Some(download.file().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "file:Y:/90/0/20210519/4977/1642329.mp4";

    #[test]
    fn every_spelling_of_a_recording_is_the_one_in_the_log() {
        let path = "/agentgateway/resource/recordfile/4977";
        for text in [
            FILE,
            "file:y:\\90\\0\\20210519\\4977\\1642329.mp4",
            "y:/90/0/20210519/4977/1642329.mp4",
            "Y:\\90\\0\\20210519\\4977\\1642329.mp4",
            "hwFileName=y:\\90\\0\\20210519\\4977\\1642329.mp4",
            "hwFileName=y%3A%5C90%5C0%5C20210519%5C4977%5C1642329.mp4",
            "?callId=1621413752-2011&hwFileName=y:\\90\\0\\20210519\\4977\\1642329.mp4",
            "recordId=Y:/90/0/20210519/4977/1642329.mp4",
            &format!("{path}/videofiledownloadEx?recordId=Y%3A%2F90%2F0%2F20210519%2F4977%2F1642329.mp4"),
            &format!(
                "https://ccgate.example{path}/recordfiledownloadEx?callId=1621413752-2011\
                 &hwFileName=Y%3A%2F90%2F0%2F20210519%2F4977%2F1642329.mp4"
            ),
        ] {
            let found = references(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                found,
                References { texts: vec![FILE.to_owned()], prefixes: vec![format!("{FILE}@")] },
                "{text}"
            );
        }
        for (text, reference) in [
            ("1621413752-2011", "call:1621413752-2011"),
            ("callId=1621413752-2011", "call:1621413752-2011"),
            ("callId=1621413752-2011&workNo=4977", "call:1621413752-2011"),
            ("call:1621413752-2011", "call:1621413752-2011"),
            ("hmac:0123abcd", "hmac:0123abcd"),
            ("file:y:/90/0/20210519/4977/1642329.mp4@3", "file:Y:/90/0/20210519/4977/1642329.mp4@3"),
            (
                "conference:279FE21D-2caa-4437-84c3-ab9e9dae20f5/379fe21d-2caa-4437-84c3-ab9e9dae20f5.1",
                "conference:279fe21d-2caa-4437-84c3-ab9e9dae20f5/379fe21d-2caa-4437-84c3-ab9e9dae20f5.1",
            ),
        ] {
            assert_eq!(references(text), Some(exact(reference.to_owned())), "{text}");
        }
        assert_eq!(references("chat:a.zip"), Some(begun("chat:a.zip?".to_owned())));
    }

    #[test]
    fn what_is_no_recording_is_told() {
        for text in [
            "",
            "file:",
            "hmac:x",
            "file:Y:/../x",
            "Y:/90",
            "call:a/b",
            "hwFileName=%",
            "http://x/y",
            "conference:1/2.3",
        ] {
            assert_eq!(references(text), None, "{text}");
        }
    }
}
