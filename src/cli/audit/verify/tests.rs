//! The command as a person sees it.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::trail::sample::Sample;

fn run(args: &VerifyArgs) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = verify(args, false, &mut out, &mut err).expect("written");
    (exit, String::from_utf8(out).expect("UTF-8"), String::from_utf8(err).expect("UTF-8"))
}

fn args(dirs: &[&Path]) -> VerifyArgs {
    let dirs = dirs.iter().map(|dir| dir.to_path_buf()).collect();
    VerifyArgs { key: Vec::new(), witness: Vec::new(), cosigned: Vec::new(), json: false, dirs }
}

fn edit(dir: &Path) {
    let path = dir.join("audit-00000000000000000001.jsonl");
    let text = std::fs::read_to_string(&path).expect("a segment").replacen("alice", "malice", 1);
    std::fs::write(path, text).expect("written");
}

#[test]
fn a_sound_log_is_told_in_some_lines() {
    let dir = tempfile::tempdir().expect("a directory");
    let sample = Sample::write(dir.path(), 600, 512, 100);
    let key = sample.verifier();
    let id = key.split('+').nth(1).expect("an id");
    let (exit, out, err) = run(&args(&[dir.path()]));
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    let wanted = format!(
        "DIR: sound\n  origin   ccgate.example/audit\n  keys     {id}\n  records  600, numbers 1 to 600, in 2 segments\n  \
         signed   1 to 600, at 2026-11-22T12:01:00Z (6 checkpoints)\n  warning  the key is the one in the same directory: \
         whoever changed the log could change it too; give --key\n"
    );
    assert_eq!(out.replace(&dir.path().display().to_string(), "DIR"), wanted);
    let (exit, out, _) = run(&VerifyArgs { key: vec![key], ..args(&[dir.path()]) });
    assert_eq!(exit, Exit::Ok);
    assert!(!out.contains("warning"), "{out}");
}

#[test]
fn a_damage_has_its_place_and_a_next_step_and_several_logs_a_total() {
    let (good, bad) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let _ = Sample::write(good.path(), 300, 512, 100);
    let _ = Sample::write(bad.path(), 300, 512, 100);
    edit(bad.path());
    let (exit, out, err) = run(&args(&[good.path(), bad.path()]));
    assert_eq!((exit, err.as_str()), (Exit::Failed, ""));
    assert!(
        out.contains(
            "  DAMAGE   edited: audit-00000000000000000001.jsonl, line 3, number 3: the line is not the one that was signed\n           next: "
        ),
        "{out}"
    );
    assert!(out.ends_with("2 logs, 600 records: 1 damaged, 1 damage\n"), "{out}");
}

#[test]
fn json_says_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let _ = Sample::write(dir.path(), 300, 512, 100);
    edit(dir.path());
    let (exit, out, _) = run(&VerifyArgs { json: true, ..args(&[dir.path()]) });
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(exit, Exit::Failed);
    assert_eq!((&json["sound"], &json["damages"]), (&false.into(), &1.into()));
    let damage = &json["logs"][0]["damages"][0];
    assert_eq!((&damage["kind"], &damage["lines"]["first"]), (&"edited".into(), &3.into()));
    assert_eq!(json["logs"][0]["keys_from_log"], true);
}

#[test]
fn a_witness_is_told_with_what_it_has_cosigned() {
    let dir = tempfile::tempdir().expect("a directory");
    let _ = Sample::write(dir.path(), 300, 512, 100);
    let (name, pair) = ("witness.example/w1", Ed25519KeyPair::generate().expect("a key"));
    let public = pair.public_key().as_ref();
    let id = digest(&SHA256, &[name.as_bytes(), b"\n\x04", public].concat()).as_ref()[..4].to_vec();
    let hex = u32::from_be_bytes(id.clone().try_into().expect("4 bytes"));
    let key = format!("{name}+{hex:08x}+{}", STANDARD.encode([&[4], public].concat()));
    let note = std::fs::read_to_string(dir.path().join("checkpoint")).expect("a note");
    let text = note.split_once("\n\n").expect("a note").0;
    let signature = pair.sign(format!("cosignature/v1\ntime 1795348900\n{text}\n").as_bytes());
    let signature = STANDARD.encode([&id, &1_795_348_900_u64.to_be_bytes()[..], signature.as_ref()].concat());
    let kept = dir.path().join("kept");
    std::fs::write(&kept, format!("{note}\u{2014} {name} {signature}\n")).expect("written");
    let keys = dir.path().join("keys.txt");
    std::fs::write(&keys, format!("# ours\n{key}\n")).expect("written");

    let with = |cosigned: &[&Path], witness: &str, json| VerifyArgs {
        witness: vec![witness.to_owned()],
        cosigned: cosigned.iter().map(|path| path.to_path_buf()).collect(),
        json,
        ..args(&[dir.path()])
    };
    for witness in [key.as_str(), &keys.display().to_string()] {
        let (exit, out, err) = run(&with(&[&kept], witness, false));
        assert_eq!((exit, err.as_str()), (Exit::Ok, ""), "{out}");
        assert!(
            out.contains("  witness  witness.example/w1: 1 to 300, at 2026-11-22T12:01:40Z (1 checkpoint)\n"),
            "{out}"
        );
    }
    let (_, out, _) = run(&with(&[&kept], &key, true));
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["logs"][0]["witnesses"][0]["size"], 300);
    let (exit, out, _) = run(&with(&[], &key, false));
    assert_eq!(exit, Exit::Failed);
    assert!(
        out.contains("  DAMAGE   unwitnessed: no checkpoint of the log is cosigned by witness.example/w1\n"),
        "{out}"
    );
    // A note of another log proves nothing of this one, and must not look as if it did.
    let other = tempfile::tempdir().expect("a directory");
    let foreign = other.path().join("note");
    std::fs::write(&foreign, note.replace("ccgate.example/audit", "other.example/audit")).expect("written");
    let (exit, out, err) = run(&with(&[&kept, &foreign], &key, false));
    assert_eq!(
        (exit, out.as_str(), err),
        (Exit::Usage, "", format!("ccgate: {} holds no note of the log\n", foreign.display()))
    );
    let (exit, _, err) = run(&with(&[&other.path().join("none")], &key, false));
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("none cannot be read: "), "{err}");
    let (exit, _, err) = run(&with(&[], "/nowhere/witness", false));
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("/nowhere/witness cannot be read: "), "{err}");
}

#[test]
fn what_cannot_be_verified_is_usage() {
    let dir = tempfile::tempdir().expect("a directory");
    let (exit, out, err) = run(&args(&[dir.path()]));
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains("holds no audit log"), "{err}");
    let missing = VerifyArgs { key: vec!["/nowhere/key".to_owned()], ..args(&[dir.path()]) };
    let (exit, _, err) = run(&missing);
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("/nowhere/key cannot be read: "), "{err}");
}

#[test]
fn r16_text_of_a_forged_log_commands_no_terminal() {
    assert_eq!(shown("a\u{1b}[2Jb\rc\u{9b}d"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
}
