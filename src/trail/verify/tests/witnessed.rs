//! A log against what witnesses have cosigned, whoever wrote it anew and whatever was left lying about.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::super::{SignedLine, WitnessedLine};
use super::*;
use crate::tlog::{Signature, WitnessKey};

const TIME: u64 = 1_795_348_900;

struct Witness {
    name: &'static str,
    pair: Ed25519KeyPair,
}

impl Witness {
    fn new(name: &'static str) -> Self {
        Self { name, pair: Ed25519KeyPair::generate().expect("a key") }
    }

    fn id(&self) -> [u8; 4] {
        let hash = digest(&SHA256, &[self.name.as_bytes(), b"\n\x04", self.pair.public_key().as_ref()].concat());
        hash.as_ref()[..4].try_into().expect("4 bytes")
    }

    fn key(&self) -> WitnessKey {
        let key = STANDARD.encode([&[4], self.pair.public_key().as_ref()].concat());
        format!("{}+{:08x}+{key}", self.name, u32::from_be_bytes(self.id())).parse().expect("a key")
    }

    fn cosign(&self, note: &str) -> String {
        let mut note = crate::tlog::Note::parse(note).expect("a note");
        let message = format!("cosignature/v1\ntime {TIME}\n{}", note.unverified_text());
        let bytes = [&TIME.to_be_bytes()[..], self.pair.sign(message.as_bytes()).as_ref()].concat();
        note.push_signature(Signature { name: self.name.to_owned(), id: self.id(), bytes });
        note.to_string()
    }

    /// Lines for all that a log has signed.
    fn lines(&self, dir: &Path) -> String {
        let notes = signed_notes(dir).into_iter().map(|line| {
            let note = self.cosign(&line.note);
            WitnessedLine { ts: line.ts, witness: self.name.to_owned(), size: line.size, note }
        });
        notes.map(|line| serde_json::to_string(&line).expect("JSON") + "\n").collect()
    }
}

fn signed_notes(dir: &Path) -> Vec<SignedLine> {
    let text = fs::read_to_string(dir.join(CHECKPOINTS_FILE)).expect("checkpoints");
    text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect()
}

fn report(dir: &Path, witnesses: &[&Witness], files: &[PathBuf]) -> Report {
    let keys = read_keys(&dir.join(KEYS_FILE)).expect("keys");
    let keys_of_witnesses = witnesses.iter().map(|witness| witness.key()).collect();
    let witnesses = Witnesses { keys: keys_of_witnesses, files: files.to_vec() };
    verify_witnessed(dir, &keys, &witnesses, &mut |_, _| {}).expect("a log")
}

fn kinds(report: &Report) -> Vec<&'static str> {
    report.damages.iter().map(|damage| damage.kind.name()).collect()
}

/// A log whose first `same` records are those of all others here, the rest its own; a checkpoint for each hundred.
fn grow(mut sample: Sample, same: u64, own: &str, records: u64) -> Sample {
    while sample.size() < records {
        let agent = if sample.size() < same { "4977" } else { own };
        sample.record("session.signed_in", &format!(r#""agent":"{agent}","retcode":"0""#));
        if sample.size().is_multiple_of(100) {
            sample.sign();
        }
    }
    if !records.is_multiple_of(100) {
        sample.sign();
    }
    sample
}

fn witnessed_log(witness: &Witness) -> Log {
    let mut log = Log::begin();
    log.sample = grow(log.sample, 0, "4977", 600);
    fs::write(log.path(WITNESSED_FILE), witness.lines(log.dir.path())).expect("written");
    log
}

/// The same log, written anew from a place on by the holder of its key, with what was cosigned left beside it.
fn rewritten(log: Log, same: u64, records: u64) -> Log {
    let dir = tempfile::tempdir().expect("a directory");
    let Log { dir: old, sample } = log;
    let sample = grow(sample.anew(dir.path(), 7), same, "4978", records);
    fs::copy(old.path().join(WITNESSED_FILE), dir.path().join(WITNESSED_FILE)).expect("copied");
    Log { dir, sample }
}

#[test]
fn a_log_that_was_only_continued_is_sound_and_its_witness_counted() {
    let (one, two) = (Witness::new("witness.example/w1"), Witness::new("witness.example/w2"));
    let log = witnessed_log(&one);
    let dir = log.dir.path();
    let with = report(dir, &[&one], &[]);
    assert_eq!((with.damages.as_slice(), with.notes.as_slice()), (&[][..], &[][..]));
    let [found] = with.witnesses.as_slice() else { panic!("one") };
    assert_eq!((found.witness.as_str(), found.checkpoints, found.size), ("witness.example/w1", 6, 600));
    assert_eq!(found.ts.map(jiff::Timestamp::as_second), Some(1_795_348_900));
    let without = report(dir, &[], &[]);
    assert_eq!(without.damages, []);
    assert!(without.notes.iter().any(|note| note.about == About::Witnesses && note.text.starts_with("6 cosigned")));
    let other = report(dir, &[&one, &two], &[]);
    assert_eq!(kinds(&other), ["unwitnessed"]);
    assert!(other.damages[0].detail.ends_with("is cosigned by witness.example/w2"));
    let later = rewritten(log, 600, 900);
    assert_eq!(report(later.dir.path(), &[&one], &[]).damages, [], "records after those that were cosigned");
}

#[test]
fn a_log_that_the_holder_of_its_key_wrote_anew_is_damaged_from_where_it_differs() {
    let witness = Witness::new("witness.example/w1");
    for (same, good, bad) in [(0, 0, 100), (350, 300, 400), (599, 500, 600)] {
        let log = rewritten(witnessed_log(&witness), same, 700);
        let dir = log.dir.path();
        assert_eq!(
            verify(dir, &[log.sample.verifier().parse().expect("a key")], &mut |_, _| {}).expect("a log").damages,
            []
        );
        let report = report(dir, &[&witness], &[]);
        let damage = one(&report);
        assert_eq!((damage.kind, damage.between), (Kind::Rewritten, Some(Between { good, bad })));
        let told = "it is signed by the log's key and by witness.example/w1, and the first";
        assert!(damage.detail.starts_with(told), "{}", damage.detail);
        let more = 6 - bad / 100;
        assert_eq!(damage.detail.contains(&format!("nor do {more} after it fit")), more > 0, "{}", damage.detail);
        // Without the witness's key the log's own signature tells as much.
        assert_eq!(kinds(&verified(dir)), ["rewritten"]);
    }
}

#[test]
fn a_log_that_was_put_back_is_damaged() {
    let witness = Witness::new("witness.example/w1");
    let log = rewritten(witnessed_log(&witness), 600, 250);
    let report = report(log.dir.path(), &[&witness], &[]);
    let damage = one(&report);
    assert_eq!((damage.kind, damage.between), (Kind::Rewritten, Some(Between { good: 200, bad: 300 })));
    assert!(damage.detail.contains("it is over 300 records, and the log ends with 250; nor do 3 after it fit"));
}

#[test]
fn old_tiles_that_are_left_lying_about_do_not_hide_it() {
    let witness = Witness::new("witness.example/w1");
    let log = witnessed_log(&witness);
    let old = log.dir.path().join("tile/0");
    let tiles: Vec<_> =
        ["000.p/100", "000.p/200", "001.p/44", "001.p/144"].map(|tile| (tile, fs::read(old.join(tile)))).into();
    let log = rewritten(log, 0, 700);
    let mut put = 0;
    for (tile, bytes) in tiles {
        if let Ok(bytes) = bytes {
            let path = log.path("tile/0").join(tile);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, bytes).expect("written");
            put += 1;
        }
    }
    assert!(put > 0);
    let report = report(log.dir.path(), &[&witness], &[]);
    assert!(kinds(&report).contains(&"rewritten"), "{report:#?}");
}

#[test]
fn a_line_that_somebody_without_the_key_edited_is_no_rewriting() {
    let witness = Witness::new("witness.example/w1");
    let log = witnessed_log(&witness);
    let edit = |lines: &mut Vec<String>| lines[149] = lines[149].replace("4977", "4978");
    log.with_lines(1, edit, |found| assert_eq!(kinds(&found), ["edited"]));
}

#[test]
fn notes_that_were_kept_elsewhere_count_as_well() {
    let witness = Witness::new("witness.example/w1");
    let log = witnessed_log(&witness);
    let kept = tempfile::tempdir().expect("a directory");
    let (single, lines, other) =
        (kept.path().join("note"), kept.path().join("lines.jsonl"), kept.path().join("witness.jsonl"));
    let notes = signed_notes(log.dir.path());
    fs::write(&single, witness.cosign(&notes[3].note)).expect("written");
    fs::rename(log.path(WITNESSED_FILE), &lines).expect("moved");
    let nothing = report(log.dir.path(), &[&witness], &[]);
    assert_eq!(kinds(&nothing), ["unwitnessed"]);
    let files = [single.clone(), lines.clone()];
    let sound = report(log.dir.path(), &[&witness], &files);
    assert_eq!((kinds(&sound), sound.given.as_slice()), (vec![], &[1, 6][..]));
    assert_eq!(sound.witnesses[0].checkpoints, 7);
    fs::copy(&lines, log.path(WITNESSED_FILE)).expect("copied");
    let log = rewritten(log, 0, 700);
    fs::remove_file(log.path(WITNESSED_FILE)).expect("removed");
    let found = report(log.dir.path(), &[&witness], &files);
    assert_eq!(kinds(&found), ["rewritten", "rewritten"], "each file");
    assert_eq!(found.damages[0].file.as_deref(), single.to_str());
    // Another log's note says nothing of this one.
    fs::write(&other, fs::read_to_string(&single).expect("text").replacen("ccgate.example", "other.example", 2))
        .expect("written");
    let found = report(log.dir.path(), &[], &[other]);
    assert_eq!((kinds(&found), found.given.as_slice()), (vec![], &[0][..]));
}

#[test]
fn what_nobody_signed_or_was_changed_is_damage() {
    let witness = Witness::new("witness.example/w1");
    let log = witnessed_log(&witness);
    let path = log.path(WITNESSED_FILE);
    let sound = fs::read_to_string(&path).expect("text");
    let first = sound.lines().next().expect("a line");
    let stranger = Witness::new("witness.example/w1");
    let forged = |line: &str, from: &str, to: &str| {
        assert!(line.contains(from), "{line}");
        line.replacen(from, to, 1)
    };
    let by_stranger = stranger.lines(log.dir.path());
    let cosignature = first.split("witness.example/w1 ").nth(1).and_then(|rest| rest.split("\\n").next()).expect("one");
    let mut bytes = STANDARD.decode(cosignature).expect("base64");
    *bytes.last_mut().expect("a byte") ^= 1;
    for (line, wanted) in [
        ("noise".to_owned(), "the line is none of the list"),
        (forged(first, r#""size":100"#, r#""size":101"#), "the line's size is not the signed one"),
        (forged(first, cosignature, &STANDARD.encode(bytes)), "the witness's cosignature is wrong"),
        (forged(first, "audit\\n100\\n", "audit\\n101\\n"), "the line's size is not the signed one"),
        (forged(first, "ccgate.example/audit\\n", "ccgate.example/other\\n"), "it is a checkpoint of another log"),
        (forged(first, "audit\\n100\\n", "audit\\nx\\n"), "it is no checkpoint"),
    ] {
        fs::write(&path, format!("{sound}{line}\n")).expect("written");
        let report = report(log.dir.path(), &[&witness], &[]);
        let damage = one(&report);
        assert_eq!((damage.detail.as_str(), damage.lines), (wanted, Some(Range { first: 7, last: 7 })));
        assert_eq!(damage.file.as_deref(), Some(WITNESSED_FILE));
    }
    // By a key of the same name that nobody knows: the log's own signature is all that counts.
    fs::write(&path, by_stranger).expect("written");
    assert_eq!(kinds(&report(log.dir.path(), &[&witness], &[])), ["unwitnessed"]);
}
