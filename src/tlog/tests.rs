//! The arithmetic, against the definition of RFC 6962 word by word.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// MTH of RFC 6962 section 2.1, as it stands there.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().div_ceil(2).next_power_of_two().min(leaves.len() - 1));
            node_hash(&mth(left), &mth(right))
        }
    }
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
}

/// All tiles of a tree, as they stand on a disk.
struct Shelf(BTreeMap<(u8, u64), Vec<Hash>>);

impl Shelf {
    fn of(leaves: &[Hash]) -> (Tree, Self) {
        let (mut tree, mut full) = (Tree::new(), Vec::new());
        for leaf in leaves {
            tree.push(*leaf, &mut full);
        }
        let tiles = full.into_iter().chain(tree.partial_tiles());
        let shelf = Self(tiles.map(|tile| ((tile.id.level, tile.id.index), tile.hashes)).collect());
        (tree, shelf)
    }
}

impl Hashes for Shelf {
    type Error = TileId;

    fn tile(&self, id: TileId) -> Result<Tile, TileId> {
        let hashes =
            self.0.get(&(id.level, id.index)).and_then(|hashes| hashes.get(..usize::from(id.width))).ok_or(id)?;
        Ok(Tile { id, hashes: hashes.to_vec() })
    }
}

#[test]
fn the_split_of_the_oracle_is_that_of_the_rfc() {
    for (count, expected) in [(2, 1), (3, 2), (4, 2), (5, 4), (7, 4), (8, 4), (9, 8)] {
        let leaves = leaves(count);
        let (left, right) = leaves.split_at(expected);
        assert_eq!(mth(&leaves), node_hash(&mth(left), &mth(right)), "{count}");
    }
}

#[test]
fn hashes_are_those_of_the_published_vectors() {
    // The empty tree and the empty leaf, as RFC 6962 implementations publish them.
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Hash::empty_root().to_string(), empty);
    let leaf = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
    assert_eq!(leaf_hash(b"").to_string(), leaf);
    assert_eq!(leaf.parse(), Ok(leaf_hash(b"")));
    assert_eq!(Hash::from_base64(&leaf_hash(b"").to_base64()), Ok(leaf_hash(b"")));
    for bad in ["", "6e", &leaf.to_uppercase(), &format!("{leaf}00"), &"g".repeat(64)] {
        assert_eq!(bad.parse::<Hash>(), Err(HashError));
    }
}

#[test]
fn roots_of_all_sizes_over_three_levels_edges_are_the_rfcs() {
    let all = leaves(1_100);
    let (mut tree, mut full) = (Tree::new(), Vec::new());
    assert_eq!(tree.root(), Hash::empty_root());
    for (count, leaf) in (1..).zip(&all) {
        tree.push(*leaf, &mut full);
        assert_eq!(tree.root(), mth(&all[..count]), "{count}");
    }
    assert_eq!(full.len(), 4);
    // Over the second level's edge, too.
    let many = leaves(65_536 + 300);
    let (tree, shelf) = Shelf::of(&many);
    assert_eq!(tree.root(), mth(&many));
    for size in [1, 255, 256, 257, 65_535, 65_536, 65_537, many.len() as u64] {
        assert_eq!(root(&shelf, size), Ok(mth(&many[..usize::try_from(size).expect("small")])), "{size}");
        let loaded = Tree::load(size, |id| shelf.tile(id)).expect("all tiles");
        assert_eq!(loaded.root(), mth(&many[..usize::try_from(size).expect("small")]), "{size}");
        assert_eq!(loaded.size(), size);
    }
}

#[test]
fn a_loaded_tree_goes_on_as_if_it_had_never_stopped() {
    let all = leaves(70_000);
    for size in [0, 1, 255, 256, 300, 65_535, 65_536, 65_800] {
        let (_, shelf) = Shelf::of(&all[..size]);
        let mut tree = Tree::load(size as u64, |id| shelf.tile(id)).expect("all tiles");
        let mut full = Vec::new();
        all[size..].iter().for_each(|leaf| tree.push(*leaf, &mut full));
        assert_eq!(tree.root(), mth(&all), "{size}");
        assert!(full.iter().all(|tile| tile.hashes.len() == 256));
    }
}

#[test]
fn proofs_of_all_places_hold_and_no_other_leaf_size_or_root_does() {
    for size in (1..40_u64).chain([255, 256, 257, 600]) {
        let all = leaves(size);
        let (tree, shelf) = Shelf::of(&all);
        for (index, leaf) in (0..).zip(&all) {
            let proof = inclusion_proof(&shelf, index, size).expect("all tiles");
            assert_eq!(verify_inclusion(*leaf, index, size, tree.root(), &proof), Ok(()), "{index} of {size}");
            let other = leaf_hash(b"other");
            assert!(verify_inclusion(other, index, size, tree.root(), &proof).is_err());
            assert!(verify_inclusion(*leaf, index, size, other, &proof).is_err());
            assert!(size == 1 || verify_inclusion(*leaf, (index + 1) % size, size, tree.root(), &proof).is_err());
            let longer: Vec<_> = proof.iter().copied().chain([other]).collect();
            assert!(verify_inclusion(*leaf, index, size, tree.root(), &longer).is_err());
            if let Some((_, shorter)) = proof.split_last() {
                assert!(verify_inclusion(*leaf, index, size, tree.root(), shorter).is_err());
            }
        }
        assert_eq!(verify_inclusion(all[0], size, size, tree.root(), &[]), Err(ProofError::Range));
    }
}

#[test]
fn consistency_of_all_pairs_holds_and_no_other_roots() {
    let all = leaves(300);
    let sizes: Vec<u64> = (0..70).chain([255, 256, 257, 299, 300]).collect();
    let (_, shelf) = Shelf::of(&all);
    let root_of = |size: u64| mth(&all[..usize::try_from(size).expect("small")]);
    for new in &sizes {
        for old in sizes.iter().filter(|old| *old <= new) {
            let proof = consistency_proof(&shelf, *old, *new).expect("all tiles");
            let (older, newer) = ((*old, root_of(*old)), (*new, root_of(*new)));
            assert_eq!(verify_consistency(older, newer, &proof), Ok(()), "{old} {new}");
            if old < new && *old > 0 {
                let other = leaf_hash(b"other");
                assert!(verify_consistency((*old, other), newer, &proof).is_err(), "{old} {new}");
                assert!(verify_consistency(older, (*new, other), &proof).is_err(), "{old} {new}");
                let longer: Vec<_> = proof.iter().copied().chain([other]).collect();
                assert!(verify_consistency(older, newer, &longer).is_err(), "{old} {new}");
                assert!(verify_consistency(older, newer, &proof[1..]).is_err(), "{old} {new}");
            }
        }
    }
}

#[test]
fn tiles_have_the_paths_of_c2sp() {
    let path = |level, index, width| TileId { level, index, width }.path().display().to_string();
    assert_eq!(path(0, 0, 256), "tile/0/000");
    assert_eq!(path(0, 273, 256), "tile/0/273");
    assert_eq!(path(1, 1_234_067, 256), "tile/1/x001/x234/067");
    assert_eq!(path(2, 1_000, 17), "tile/2/x001/000.p/17");
    let tile = Tile { id: TileId { level: 0, index: 0, width: 3 }, hashes: leaves(3) };
    assert_eq!(Tile::decode(tile.id, &tile.encode()), Some(tile.clone()));
    assert_eq!(Tile::decode(TileId::full(0, 0), &tile.encode()), None);
}

fn signer(name: &str) -> Signer {
    let key =
        aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).expect("a key");
    Signer::from_pkcs8(name, key.as_ref()).expect("a signer")
}

#[test]
fn a_checkpoint_is_opened_by_its_key_and_by_no_other() {
    let (ours, theirs) = (signer("ccgate.example/audit"), signer("ccgate.example/audit"));
    let checkpoint = Checkpoint { origin: "ccgate.example/audit".to_owned(), size: 20_852_163, root: leaf_hash(b"x") };
    let text = checkpoint.sign(&ours).to_string();
    let note = Note::parse(&text).expect("a note");
    assert_eq!(note.to_string(), text);
    let keys = [theirs.verifier().clone(), ours.verifier().clone()];
    assert_eq!(Checkpoint::open(&note, &keys), Ok((checkpoint.clone(), &keys[1])));
    let unknown = Checkpoint::open(&note, &keys[..1]);
    assert_eq!(unknown, Err(CheckpointError::Note(NoteError::KeyUnknown)));
    let changed = Note::parse(&text.replace("20852163", "20852164")).expect("a note");
    assert_eq!(Checkpoint::open(&changed, &keys), Err(CheckpointError::Note(NoteError::Signature)));
    let other = Checkpoint { origin: "ccgate.example/other".to_owned(), ..checkpoint }.sign(&ours);
    assert_eq!(Checkpoint::open(&other, &keys), Err(CheckpointError::Origin));
}

#[test]
fn verifier_keys_are_read_as_they_are_written_and_their_id_is_a_checksum() {
    let key = signer("ccgate.example/audit").verifier().clone();
    assert_eq!(key.to_string().parse(), Ok(key.clone()));
    for bad in ["", "a", "a+b", "a+00000000+AAAA", &key.to_string().replace("ccgate", "ccgata")] {
        assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
    }
    assert_eq!(VerifierKey::from_str_named("a b"), Err(KeyError::Name));
}

impl VerifierKey {
    fn from_str_named(name: &str) -> Result<Self, KeyError> {
        let key =
            aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).expect("a key");
        Signer::from_pkcs8(name, key.as_ref()).map(|signer| signer.verifier().clone())
    }
}

#[test]
fn what_is_no_note_or_checkpoint_is_refused() {
    for bad in ["", "text", "text\n\n", "text\n\nline\n", "text\n\n\u{2014} name AAAA", "text\n\n\u{2014} name !\n"] {
        assert_eq!(Note::parse(bad), Err(NoteError::Malformed), "{bad:?}");
    }
    let root = leaf_hash(b"x").to_base64();
    for bad in ["", "o\n", "o\n1\n", &format!("o\n01\n{root}\n"), &format!("o\n-1\n{root}\n"), "o\n1\nAAAA\n"] {
        assert_eq!(Checkpoint::parse(bad), None, "{bad:?}");
    }
    assert!(Checkpoint::parse(&format!("o\n1\n{root}\nextension\n")).is_some(), "extensions are left alone");
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "(\\PC|\n|\u{2014} ){0,200}") {
        let _ = Note::parse(&text);
        let _ = Checkpoint::parse(&text);
        let _ = text.parse::<VerifierKey>();
    }
}
