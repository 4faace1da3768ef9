//! Whatever lies in the directory: no panic, no endless work.

use proptest::prelude::*;

use super::*;

/// Bytes as an attacker or a broken disk would leave them: noise, and noise that looks like a log's.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![0..600_u64, any::<u64>()];
    let line = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80).boxed(),
        (number.clone(), number.clone(), number, 0..7_usize)
            .prop_map(|(seq, first, last, event)| {
                let event = ["authorized", "finished", "audit.gap", "audit.erased", "audit.pruned", "audit.loss_accepted", "x"]
                    [event];
                let ranges = format!(r#""void":{{"first":{first},"last":{last}}},"missing":{{"first":{last},"last":{first}}}"#);
                format!(r#"{{"v":1,"seq":{seq},"event":"{event}","entry":"{first:032x}","first":{first},"last":{last},{ranges}}}"#)
                    .into_bytes()
            })
            .boxed(),
    ];
    let end = prop_oneof![9 => Just(b"\n".to_vec()), 1 => Just(Vec::new())];
    proptest::collection::vec((line, end), 0..40)
        .prop_map(|lines| lines.into_iter().flat_map(|(line, end)| [line, end].concat()).collect())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        prop_oneof![0..600_u64, any::<u64>()].prop_map(segment_name),
        Just(CHECKPOINT_FILE.to_owned()),
        Just(CHECKPOINTS_FILE.to_owned()),
        Just(WITNESSED_FILE.to_owned()),
        Just("tile/0/000".to_owned()),
        Just("tile/0/000.p/7".to_owned()),
        Just("tile/1/000.p/1".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_directory_makes_it_panic(files in proptest::collection::vec((name(), bytes()), 0..6)) {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, bytes) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, bytes).expect("written");
        }
        let _ = verify_witnessed(dir.path(), &[], &Witnesses::default(), &mut |_, _| {});
    }

    #[test]
    fn no_file_beside_a_sound_log_makes_it_panic(name in name(), bytes in bytes()) {
        let log = Log::of(40);
        let path = log.path(&name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, bytes).expect("written");
        let _ = log.verify();
    }
}

#[test]
fn lines_that_are_too_long_or_not_text_are_told() {
    let log = Log::of(600);
    for bad in [vec![b'x'; 70_000], vec![b'x'; 3_000_000], b"\xff\xfe".to_vec(), Vec::new(), b"[1]".to_vec()] {
        let edit = |bytes: &mut Vec<u8>| {
            let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            *bytes = [lines[..99].concat(), bad.clone(), b"\n".to_vec(), lines[100..].concat()].concat();
        };
        log.with(&segment_name(1), edit, |report| {
            assert_eq!(place(one(&report)), (Kind::Edited, Some((100, 100)), Some((100, 100))), "{}", bad.len());
        });
    }
}

#[test]
fn a_directory_in_a_files_place_is_told() {
    let log = Log::of(2_000);
    let path = log.path(&segment_name(513));
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("made");
    let report = log.verify();
    assert_eq!(report.damages[0].kind, Kind::Unreadable);
    assert_eq!((report.damages[1].kind, place(&report.damages[1]).2), (Kind::Removed, Some((513, 1_024))));
}
