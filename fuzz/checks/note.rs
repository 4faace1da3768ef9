//! What holds for any note, key, checkpoint and proof: nothing opens without a signature over exactly that text, and what
//! is read prints the same.

use std::str::FromStr;
use std::sync::LazyLock;

use aws_lc_rs::signature::Ed25519KeyPair;
use ccgate::tlog::{
    Checkpoint, Hash, Note, Signature, Signer, Tile, TileId, VerifierKey, WitnessKey, verify_consistency,
    verify_inclusion,
};
use ccgate::trail::{ProofFile, parse_keys, proofs};

/// The key of the seeds' notes, in PKCS#8 (RFC 8410).
static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    Signer::from_pkcs8("gate.example", &[&head[..], &[7; 32]].concat()).expect("a key")
});

/// The key of the seeds' witness, which is the same but for its name and type (C2SP `tlog-cosignature`).
static WITNESS: LazyLock<(WitnessKey, Ed25519KeyPair)> = LazyLock::new(|| {
    let key = "witness.example+d831bcf1+BOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs".parse().expect("a key");
    (key, Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key"))
});

/// The input is read as each of these; where it is no text, as numbers and hashes. Says whether something is
/// proved by it.
pub fn check(data: &[u8]) -> bool {
    let mut proved = check_arithmetic(data);
    let Ok(text) = std::str::from_utf8(data) else { return proved };
    let keys = [SIGNER.verifier().clone()];
    if let Ok(note) = Note::parse(text) {
        assert_eq!(note.to_string(), text, "a note has one spelling");
        proved |= check_opened(&note, &keys);
        check_cosigned(&note);
    }
    let mut rest = text.len();
    for proof in proofs(text) {
        rest = rest.checked_sub(proof.len()).expect("the proofs are parts of the text");
        if let Ok(read) = ProofFile::parse(proof) {
            assert_eq!(read.to_string(), proof, "a proof has one spelling");
            if let Ok(record) = read.verify(&keys) {
                assert!(check_opened(&read.note, &keys));
                assert_eq!(record.seq, read.index + 1);
                proved = true;
            }
        }
    }
    let _ = parse_keys(text);
    for line in text.lines().take(32) {
        one_spelling::<VerifierKey>(line);
        one_spelling::<WitnessKey>(line);
        if let Some(signature) = Signature::parse(line) {
            assert_eq!(signature.to_string(), line);
            let _ = signature.key();
        }
    }
    if let Some(checkpoint) = Checkpoint::parse(text) {
        assert!(text.starts_with(&checkpoint.to_string()), "{text:?}");
    }
    proved
}

/// The signature is the one that our key makes: Ed25519 makes one only, so any other that opens is a forgery.
fn check_opened(note: &Note, keys: &[VerifierKey]) -> bool {
    let Ok(opened) = note.open(keys) else { return false };
    let own = SIGNER.sign(opened.text.to_owned());
    assert!(own.signatures().iter().all(|signature| note.signatures().contains(signature)), "forged: {note}");
    assert_eq!(opened.text, note.unverified_text());
    if let Ok((checkpoint, key)) = Checkpoint::open(note, keys) {
        assert_eq!(checkpoint.origin, key.name());
        assert!(opened.text.starts_with(&checkpoint.to_string()));
    }
    true
}

/// The same for the witness: what counts as cosigned is what its key makes of that text and time.
fn check_cosigned(note: &Note) {
    let (key, pair) = &*WITNESS;
    let Ok(time) = key.cosigned(note) else { return };
    let signature = pair.sign(format!("cosignature/v1\ntime {time}\n{}", note.unverified_text()).as_bytes());
    let bytes = [&time.to_be_bytes(), signature.as_ref()].concat();
    assert!(note.signatures().iter().any(|made| key.made(made) && made.bytes == bytes), "forged: {note}");
}

fn one_spelling<T: FromStr + ToString>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

/// Proofs and tiles of any numbers: no number overflows, and a proof that holds is not longer than a tree is high.
fn check_arithmetic(data: &[u8]) -> bool {
    let (words, _rest) = data.as_chunks::<8>();
    let [first, second, rest @ ..] = words else { return false };
    let (first, second) = (u64::from_be_bytes(*first), u64::from_be_bytes(*second));
    let (hashes, _rest) = rest.as_flattened().as_chunks::<32>();
    let hashes: Vec<Hash> = hashes.iter().map(|bytes| Hash::from(*bytes)).collect();
    let [leaf, root, proof @ ..] = hashes.as_slice() else { return false };
    let included = verify_inclusion(*leaf, first, second, *root, proof).is_ok();
    assert!(!included || (first < second && proof.len() <= 64), "{first} of {second}");
    let consistent = verify_consistency((first, *leaf), (second, *root), proof).is_ok();
    assert!(!consistent || (first <= second && proof.len() <= 65), "{first} of {second}");
    let [height, level, ..] = first.to_le_bytes();
    let id = TileId { level: level % 8, index: second, width: u16::from(height) + 1 };
    let _ = (id.first_leaf(), id.path());
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
    if let Some(tile) = Tile::decode(id, &bytes) {
        assert_eq!(tile.encode(), bytes[..usize::from(id.width) * Hash::BYTES]);
        let _ = tile.subtree(height, second);
    }
    included || consistent
}
