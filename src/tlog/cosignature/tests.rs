//! Against cosignatures that another implementation of Ed25519 made, by the words of the specification.

use super::super::VerifierKey;
use super::*;

/// The key with the bytes 0 to 31 as its seed.
const KEY: &str = "witness.example/w1+e75f6532+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
/// The same key, for notes.
const NOTE_KEY: &str = "witness.example/w1+3218362d+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
const TEXT: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
const GOOD: &str =
    "519lMgAAAABkGFDLBuRDazBLVac2NE+Y+IjbjQOcXLfF9CSDZVUIoS83rE1nFZsVE8YiWV6Ngr7lV8H6bdoBQGP/l73euDMQ9k+bBQ==";
/// Made in the year 292,277,026,596.
const TOO_LATE: &str =
    "519lMoAAAAAAAAAAExBf3OiX8/sS9ImtY6D954YoSgh9Sh3IL6JR6k7z4mBi31XE3U/gpXVo5+MoNmfROMHNR/r0dO8vii8Bka+tDQ==";
/// Over the text alone, without the header and the time.
const BARE: &str =
    "519lMgAAAABkGFDLVuFr9Xsr7Sc5TI5hZjZ56qQk7RH/x5V0kE/VTqSUnretgcffoCOI1uox5hnnBe00ylgWo5Abiz+KAWucEGncBQ==";

fn key() -> WitnessKey {
    KEY.parse().expect("a key")
}

fn line(bytes: &str) -> Signature {
    Signature::parse(&format!("\u{2014} witness.example/w1 {bytes}")).expect("a line")
}

#[test]
fn a_key_is_of_its_type_and_its_id_is_a_checksum() {
    assert_eq!(key().to_string(), KEY);
    assert_eq!((key().name(), key().id().as_str()), ("witness.example/w1", "e75f6532"));
    assert!(NOTE_KEY.parse::<VerifierKey>().is_ok());
    for wrong in [
        NOTE_KEY,
        &KEY.replace("w1", "w2"),
        &KEY.replace("e75f6532", "e75f6533"),
        &KEY.replace("e75f6532", "3218362d"),
        "witness.example/w1",
        "",
    ] {
        assert_eq!(wrong.parse::<WitnessKey>(), Err(KeyError::Verifier), "{wrong}");
    }
    assert_eq!(KEY.replace("witness.example/w1", "w 1").parse::<WitnessKey>(), Err(KeyError::Name));
    assert_eq!(KEY.parse::<VerifierKey>(), Err(KeyError::Verifier), "a cosigner signs no log");
}

#[test]
fn a_cosignature_is_over_its_time_and_the_whole_text() {
    assert_eq!(key().verify(TEXT, &line(GOOD)), Ok(1_679_315_147));
    assert_eq!(key().verify(&TEXT.replace("20852163", "20852164"), &line(GOOD)), Err(CosignatureError::Signature));
    assert_eq!(key().verify(&format!("{TEXT}more\n"), &line(GOOD)), Err(CosignatureError::Signature));
    assert_eq!(key().verify(TEXT, &line(BARE)), Err(CosignatureError::Signature));
    let mut later = line(GOOD);
    later.bytes[7] ^= 1;
    assert_eq!(key().verify(TEXT, &later), Err(CosignatureError::Signature));
    for length in [1, 8, 71, 73] {
        let mut other = line(GOOD);
        other.bytes.resize(length, 0);
        assert_eq!(key().verify(TEXT, &other), Err(CosignatureError::Malformed), "{length}");
    }
    assert_eq!(key().verify(TEXT, &line(TOO_LATE)), Err(CosignatureError::Malformed));
}

#[test]
fn the_example_of_the_specification_tells_its_time() {
    let line = "\u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1n\
                PZqhf5nNo0xUe+mbIUBkBIfZ+qnA==";
    let signature = Signature::parse(line).expect("a line");
    assert_eq!((signature.id, signature.bytes.len()), ([0x8d, 0x66, 0xcf, 0x3f], 72));
    assert_eq!(signature.bytes.first_chunk().map(|time| u64::from_be_bytes(*time)), Some(1_679_315_147));
    assert_eq!(key().verify(TEXT, &signature), Err(CosignatureError::Missing), "it is somebody else's");
}

#[test]
fn a_note_is_cosigned_among_signatures_of_others_and_none_of_the_keys_own_may_be_wrong() {
    let log = "\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzG\
               ku9nTo+zyWE+xeMcTOAYQ8=";
    let mut note = Note::parse(&format!("{TEXT}\n{log}\n")).expect("a note");
    assert_eq!(key().cosigned(&note), Err(CosignatureError::Missing));
    note.push_signature(line(GOOD));
    assert_eq!(key().cosigned(&note), Ok(1_679_315_147));
    let read = Note::parse(&note.to_string()).expect("a note");
    assert_eq!(key().cosigned(&read), Ok(1_679_315_147));
    note.push_signature(line(BARE));
    assert_eq!(key().cosigned(&note), Err(CosignatureError::Signature));
}
