//! Proofs that a leaf is in a tree, and that one tree continues another (RFC 6962 sections 2.1.1 and 2.1.2), and how they
//! are verified (RFC 9162 sections 2.1.3.2 and 2.1.4.2).

use super::hash::{Hash, node_hash};
use super::tile::{TILE_WIDTH, Tile, TileId};

/// Where hashes of a tree come from: its tiles.
pub trait Hashes {
    /// Why there is none.
    type Error;

    /// A tile of the tree.
    ///
    /// # Errors
    /// It is not there, or has too few hashes.
    fn tile(&self, id: TileId) -> Result<Tile, Self::Error>;
}

/// A proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no such leaf in a tree of that size, or an older tree is larger than a newer one.
    #[error("there is no such leaf or tree")]
    Range,
    /// It has more or fewer hashes than a proof of that place has.
    #[error("the proof has the wrong length")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// The root of the first `size` leaves.
///
/// # Errors
/// What `hashes` fails with.
pub fn root<H: Hashes>(hashes: &H, size: u64) -> Result<Hash, H::Error> {
    if size == 0 { Ok(Hash::empty_root()) } else { range(hashes, size, 0, size) }
}

/// The proof that the leaf with this index, from 0, is among the first `size` leaves; empty where it is not, and where it
/// is the only one.
///
/// # Errors
/// What `hashes` fails with.
pub fn inclusion_proof<H: Hashes>(hashes: &H, index: u64, size: u64) -> Result<Vec<Hash>, H::Error> {
    let (mut first, mut end, mut proof) = (0, size, Vec::new());
    while index < size && end - first > 1 {
        let middle = first + split(end - first);
        if index < middle {
            proof.push(range(hashes, size, middle, end)?);
            end = middle;
        } else {
            proof.push(range(hashes, size, first, middle)?);
            first = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the first `old` leaves of the first `new` ones are what they were. Empty where both are the same, or `old`
/// is 0 or larger.
///
/// # Errors
/// What `hashes` fails with.
pub fn consistency_proof<H: Hashes>(hashes: &H, old: u64, new: u64) -> Result<Vec<Hash>, H::Error> {
    if old == 0 || old >= new {
        return Ok(Vec::new());
    }
    // SUBPROOF of RFC 6962: the part between `first` and `end` of which the old tree has those before `old`.
    let (mut first, mut end, mut proof) = (0, new, Vec::new());
    while old < end {
        let middle = first + split(end - first);
        if old <= middle {
            proof.push(range(hashes, new, middle, end)?);
            end = middle;
        } else {
            proof.push(range(hashes, new, first, middle)?);
            first = middle;
        }
    }
    if first > 0 {
        proof.push(range(hashes, new, first, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that `leaf` is the one with this index in the tree with this size and root.
///
/// # Errors
/// It does not.
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, root: Hash, proof: &[Hash]) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Range);
    }
    let (mut place, mut last, mut hash) = (index, size - 1, leaf);
    for beside in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(beside, &hash);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, beside);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    match last {
        0 if hash == root => Ok(()),
        0 => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}

/// Whether `proof` shows that the newer tree continues the older one.
///
/// # Errors
/// It does not.
pub fn verify_consistency(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> Result<(), ProofError> {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size > new_size {
        return Err(ProofError::Range);
    }
    if old_size == 0 || old_size == new_size {
        let same = old_size == 0 || old_root == new_root;
        return if !proof.is_empty() {
            Err(ProofError::Length)
        } else if same {
            Ok(())
        } else {
            Err(ProofError::Root)
        };
    }
    let whole = old_size.is_power_of_two().then_some(&old_root);
    let mut hashes = whole.into_iter().chain(proof);
    let (mut place, mut last) = (old_size - 1, new_size - 1);
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    let start = hashes.next().ok_or(ProofError::Length)?;
    let (mut older, mut newer) = (*start, *start);
    for beside in hashes {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if place & 1 == 1 || place == last {
            (older, newer) = (node_hash(beside, &older), node_hash(beside, &newer));
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            newer = node_hash(&newer, beside);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    match last {
        0 if older == old_root && newer == new_root => Ok(()),
        0 => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}

/// The largest power of two below `count`, which is at least 2.
const fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The hash over the leaves from `first` up to `end`, a node's of a tree with `size` leaves.
fn range<H: Hashes>(hashes: &H, size: u64, first: u64, end: u64) -> Result<Hash, H::Error> {
    let count = end - first;
    if count.is_power_of_two() {
        return subtree(hashes, size, count.trailing_zeros(), first >> count.trailing_zeros());
    }
    let middle = first + split(count);
    Ok(node_hash(&range(hashes, size, first, middle)?, &range(hashes, size, middle, end)?))
}

/// The hash over `1 << height` leaves, the `index`-th such part.
fn subtree<H: Hashes>(hashes: &H, size: u64, height: u32, index: u64) -> Result<Hash, H::Error> {
    // A tile holds the hashes of its own level; those of the seven levels above are made of them.
    let (level, above) = (height / 8, height % 8);
    let first = index << above;
    let (tile, within) = (first / u64::from(TILE_WIDTH), index % (u64::from(TILE_WIDTH) >> above));
    let there = (size >> (8 * level)).saturating_sub(tile * u64::from(TILE_WIDTH));
    let width = u16::try_from(there).unwrap_or(TILE_WIDTH).clamp(1, TILE_WIDTH);
    let id = TileId { level: u8::try_from(level).unwrap_or(u8::MAX), index: tile, width };
    let tile = hashes.tile(id)?;
    // The part lies within the width: the leaves up to `end` are in the tree, so its hashes are in the tile.
    Ok(tile.subtree(u8::try_from(above).unwrap_or_default(), within).unwrap_or_else(Hash::empty_root))
}
