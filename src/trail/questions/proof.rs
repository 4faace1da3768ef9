//! Proofs in files.

use super::super::made_log::{ALICE, MadeLog, signer};
use super::super::{CHECKPOINT_FILE, KEYS_FILE, PROOF_LINE, ProofFile, ProveError, Untrue, proofs, read_keys};
use crate::tlog::{Note, VerifierKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const ORIGIN: &str = "ccgate.example/audit";

fn log(records: u32) -> (MadeLog, Vec<String>) {
    let mut log = MadeLog::new();
    for number in 1..=records {
        log.begin(i64::from(number), number, ALICE);
    }
    let text = std::fs::read_to_string(log.write().join("audit-00000000000000000001.jsonl")).expect("read");
    (log, text.lines().map(str::to_owned).collect())
}

fn keys() -> Vec<VerifierKey> {
    vec![signer(ORIGIN).verifier().clone()]
}

fn make(log: &MadeLog, seq: u64, line: &str) -> Result<ProofFile, ProveError> {
    let note = std::fs::read_to_string(log.path().join(CHECKPOINT_FILE)).expect("read");
    let keys = read_keys(&log.path().join(KEYS_FILE)).expect("keys");
    ProofFile::make(log.path(), seq, line.as_bytes(), &Note::parse(&note).expect("a note"), &keys)
}

#[test]
fn every_record_is_proved_by_its_file_alone() {
    for records in [1, 2, 3, 255, 256, 257, 600] {
        let (log, lines) = log(records);
        log.sign(ORIGIN, lines.len());
        for (seq, line) in (1..).zip(&lines).step_by(7) {
            let text = make(&log, seq, line).expect("a proof").to_string();
            assert!(text.starts_with(&format!("{PROOF_LINE}\nextra {}\nindex {}\n", STANDARD.encode(line), seq - 1)));
            let proof = ProofFile::parse(&text).expect("of the form");
            let keys = keys();
            let proved = proof.verify(&keys).expect("good");
            assert_eq!((proved.seq, proved.erased, proved.checkpoint.size), (seq, false, u64::from(records)));
            assert_eq!((proof.to_string(), proof.line.as_slice()), (text, line.as_bytes()));
        }
    }
}

#[test]
fn a_record_behind_the_checkpoint_is_not_proved_yet() {
    let (log, lines) = log(9);
    log.sign(ORIGIN, 5);
    assert!(make(&log, 5, &lines[4]).is_ok());
    assert!(matches!(make(&log, 6, &lines[5]), Err(ProveError::NotSigned { seq: 6, size: 5 })));
}

#[test]
fn a_log_that_contradicts_itself_gives_no_proof() {
    let (log, lines) = log(9);
    log.sign(ORIGIN, 9);
    let edited = lines[2].replace("alice", "malice");
    let refused = make(&log, 3, &edited).expect_err("edited");
    assert!(matches!(refused, ProveError::Contradiction { seq: 3, source: Untrue::Proof(_) }), "{refused}");
    std::fs::remove_dir_all(log.path().join("tile")).expect("removed");
    assert!(matches!(make(&log, 3, &lines[2]), Err(ProveError::Tile(_))));
}

#[test]
fn no_field_of_a_proof_can_be_changed() {
    let (log, lines) = log(300);
    log.sign(ORIGIN, 300);
    let text = make(&log, 43, &lines[42]).expect("a proof").to_string();
    let keys = keys();
    let judge = |text: &str| ProofFile::parse(text).and_then(|proof| proof.verify(&keys).map(|proved| proved.seq));
    assert_eq!(judge(&text), Ok(43));
    // Every character of every line, changed to another of its kind.
    for (at, old) in text.char_indices() {
        let new = match old {
            'A' => 'B',
            '0' => '1',
            '\n' => ' ',
            _ if old.is_ascii_digit() => '0',
            _ => 'A',
        };
        let mut changed = text.clone();
        changed.replace_range(at..at + old.len_utf8(), &new.to_string());
        // Base64 has spellings that differ in bits nobody reads; the strict reader knows one.
        assert!(judge(&changed).is_err(), "{at}: {old:?} became {new:?}");
    }
    let swap = |from: &str, to: &str| judge(&text.replacen(from, to, 1));
    assert_eq!(swap("index 42", "index 41"), Err(Untrue::Record));
    assert_eq!(swap("index 42", "index 042"), Err(Untrue::Form(3)));
    assert_eq!(swap("@v1", "@v2"), Err(Untrue::Form(1)));
    let other = lines[42].replace("alice", "malice");
    assert!(matches!(swap(&STANDARD.encode(&lines[42]), &STANDARD.encode(other)), Err(Untrue::Proof(_))));
    assert!(matches!(swap(&STANDARD.encode(&lines[42]), &STANDARD.encode(&lines[41])), Err(Untrue::Record)));
    let mut short: Vec<&str> = text.split('\n').collect();
    short.remove(5);
    assert!(matches!(judge(&short.join("\n")), Err(Untrue::Proof(_))));
    let stranger = [signer("stranger.example").verifier().clone()];
    let proof = ProofFile::parse(&text).expect("of the form");
    assert!(matches!(proof.verify(&stranger), Err(Untrue::Checkpoint(_))));
    for cut in 0..text.len() {
        assert!(text.get(..cut).is_none_or(|text| judge(text).is_err()), "cut at {cut}");
    }
}

#[test]
fn a_number_that_never_counted_and_an_erased_record_are_not_taken_for_a_record() {
    let mut log = MadeLog::new();
    log.begin(0, 1, ALICE);
    log.raw(super::super::void_line(2));
    log.raw(format!(r#"{{"seq":3,"erased":true,"leaf":"{}"}}"#, "ab".repeat(32)));
    log.sign(ORIGIN, 3);
    let refused = make(&log, 2, &super::super::void_line(2)).expect_err("void");
    assert!(matches!(refused, ProveError::Contradiction { source: Untrue::Record, .. }), "{refused}");
    let erased = make(&log, 3, &format!(r#"{{"seq":3,"erased":true,"leaf":"{}"}}"#, "ab".repeat(32))).expect("a proof");
    assert!(erased.verify(&keys()).expect("good").erased);
    // It says its leaf and nothing else, as only that is proved.
    for (from, to) in [("true,", r#"true,"who":"bob","#), (":true", ": true")] {
        let line = String::from_utf8(erased.line.clone()).expect("text").replacen(from, to, 1);
        let more = ProofFile { line: line.into_bytes(), ..erased.clone() };
        assert!(matches!(more.verify(&keys()), Err(Untrue::Record)), "{to}");
    }
}

#[test]
fn several_proofs_in_a_file_are_told_apart() {
    let (log, lines) = log(20);
    log.sign(ORIGIN, 20);
    let made: Vec<String> = [3, 4, 20]
        .map(|seq: u64| make(&log, seq, &lines[usize::try_from(seq).expect("small") - 1]).expect("a proof").to_string())
        .into();
    assert_eq!(proofs(&made.join("\n")).collect::<Vec<_>>(), made);
    assert_eq!(proofs(&made[0]).collect::<Vec<_>>(), made[..1]);
    assert_eq!(proofs("").collect::<Vec<_>>(), [""]);
}
