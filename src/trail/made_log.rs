//! Small logs for tests, written as text: the form of each record is that of the golden ones, nothing else of the writer is used.

use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jiff::{SignedDuration, Timestamp};

use super::{CHECKPOINT_FILE, Head, KEYS_FILE, leaf_of, segment_name};
use crate::tlog::{Checkpoint, Signer, Tile, Tree, leaf_hash};

/// The moment that seconds are counted from.
pub(crate) const NOON: &str = "2026-11-22T12:00:00Z";

/// A log in a folder that goes with it.
#[derive(Debug)]
pub(crate) struct MadeLog {
    dir: tempfile::TempDir,
    /// First number and lines of each segment.
    segments: Vec<(u64, Vec<String>)>,
    next: u64,
}

/// A request, with what most tests don't care about filled in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) teams: &'a str,
    pub(crate) session: &'a str,
    pub(crate) recording: &'a str,
    pub(crate) call: &'a str,
    pub(crate) owner: &'a str,
    pub(crate) rule: &'a str,
    pub(crate) purpose: &'a str,
}

pub(crate) const ALICE: Asked<'_> = Asked {
    issuer: "https://idp.example",
    subject: "alice",
    agent: "4977",
    teams: "north",
    session: "4977",
    recording: "file:Y:/90/0/20210519/4977/1642329.mp4",
    call: "1621413752-2011",
    owner: "4977",
    rule: "own",
    purpose: "complaint 4711",
};

impl MadeLog {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder"), segments: vec![(1, Vec::new())], next: 1 }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Adds a record, with its fields as JSON; gives its number.
    pub(crate) fn add(&mut self, seconds: i64, event: &str, fields: &str) -> u64 {
        let at = NOON.parse::<Timestamp>().expect("a time") + SignedDuration::from_secs(seconds);
        let (seq, comma) = (self.next, if fields.is_empty() { "" } else { "," });
        self.raw(format!(
            r#"{{"v":1,"seq":{seq},"ts":"{at:.6}","salt":"{seq:032x}","event":"{event}"{comma}{fields}}}"#
        ));
        self.next += 1;
        seq
    }

    /// Adds a line as it is.
    pub(crate) fn raw(&mut self, line: String) {
        self.segments.last_mut().expect("a segment").1.push(line);
    }

    pub(crate) fn begin(&mut self, seconds: i64, entry: u32, asked: Asked<'_>) -> u64 {
        let session = asked.session;
        let fields = format!(
            r#""entry":"{entry:032x}","request_id":"req-{entry}",{},"decision":{{"effect":"allow","rule":"{}","policy_hash":"ab"}},"session":{{"agent":"{session}","guid_tag":"00","kind":"own"}}"#,
            fields(asked),
            asked.rule
        );
        self.add(seconds, "authorized", &fields)
    }

    pub(crate) fn end(&mut self, seconds: i64, entry: u32, asked: Asked<'_>, (event, bytes): (&str, u64)) -> u64 {
        let Asked { issuer, subject, session, recording, .. } = asked;
        let reason = if event == "finished" { "" } else { r#","reason":"client""# };
        let fields = format!(
            r#""entry":"{entry:032x}","request_id":"req-{entry}","issuer":"{issuer}","subject":"{subject}","agent":"{session}","reference":"{recording}","outcome":"{event}"{reason},"delivery":{{"class":"media","upstream_bytes":{bytes},"client_bytes":{bytes},"complete":true,"duration_us":5}}"#
        );
        self.add(seconds, event, &fields)
    }

    /// A download of a second.
    pub(crate) fn download(&mut self, seconds: i64, entry: u32, asked: Asked<'_>) {
        self.begin(seconds, entry, asked);
        self.end(seconds + 1, entry, asked, ("finished", 1_000));
    }

    pub(crate) fn refusal(&mut self, seconds: i64, code: &str, asked: Asked<'_>) -> u64 {
        let decision = format!(r#""decision":{{"effect":"deny","reason":"{code}","policy_hash":"ab"}}"#);
        let fields = format!(r#""request_id":"req",{},{decision},"code":"{code}""#, fields(asked));
        self.add(seconds, "denied", &fields)
    }

    /// Goes on in a new segment.
    pub(crate) fn rotate(&mut self) {
        self.segments.push((self.next, Vec::new()));
    }

    /// Leaves out numbers.
    pub(crate) fn skip(&mut self, count: u64) {
        self.next += count;
    }

    /// Writes the segments.
    pub(crate) fn write(&self) -> PathBuf {
        for (first, lines) in &self.segments {
            let text = lines.iter().fold(String::new(), |text, line| text + line + "\n");
            std::fs::write(self.path().join(segment_name(*first)), text).expect("written");
        }
        self.path().to_path_buf()
    }

    /// Writes the segments, the tree over the first `size` lines, and a checkpoint of it. The key is the same for the same name.
    pub(crate) fn sign(&self, origin: &str, size: usize) -> PathBuf {
        let dir = self.write();
        let (mut tree, mut full) = (Tree::new(), Vec::new());
        for line in self.segments.iter().flat_map(|(_, lines)| lines).take(size) {
            let head = serde_json::from_str::<Head<'_>>(line);
            tree.push(
                head.map_or_else(|_| leaf_hash(line.as_bytes()), |head| leaf_of(line.as_bytes(), &head)),
                &mut full,
            );
        }
        for tile in full.iter().chain(&tree.partial_tiles()) {
            write_tile(&dir, tile);
        }
        let signer = signer(origin);
        let note = Checkpoint { origin: origin.to_owned(), size: tree.size(), root: tree.root() }.sign(&signer);
        std::fs::write(dir.join(CHECKPOINT_FILE), note.to_string()).expect("written");
        std::fs::write(dir.join(KEYS_FILE), format!("{}\n", signer.verifier())).expect("written");
        dir
    }
}

/// What `authorized` and `denied` share.
fn fields(asked: Asked<'_>) -> String {
    let Asked { issuer, subject, agent, teams, session, recording, call, owner, purpose, .. } = asked;
    let why = if purpose.is_empty() { String::new() } else { format!(r#","why":{{"purpose":"{purpose}"}}"#) };
    let quoted = |text: &str| if text.is_empty() { String::new() } else { format!("\"{text}\"") };
    format!(
        r#""from":{{"peer":"10.1.2.3:40000"}},"who":{{"issuer":"{issuer}","subject":"{subject}","client_id":"web","agent":"{agent}","roles":["agent"],"teams":[{}]}},"what":{{"operation":"recordfiledownloadEx","kind":"video","agent":"{session}","reference":"{recording}","call_id":"{call}","owner":"{owner}"}}{why}"#,
        quoted(teams)
    )
}

fn write_tile(dir: &Path, tile: &Tile) {
    let path = dir.join(tile.id.path());
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, tile.encode()).expect("written");
}

/// A key that is the same for the same name, so that output that shows it can be held against a file.
pub(crate) fn signer(origin: &str) -> Signer {
    let mut seed = [7; 32];
    seed.iter_mut().zip(origin.bytes()).for_each(|(to, from)| *to = from);
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a key");
    assert_eq!(pair.public_key().as_ref().len(), 32);
    let der = [&b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..], &seed].concat();
    Signer::from_pkcs8(origin, &der).expect("a key")
}
