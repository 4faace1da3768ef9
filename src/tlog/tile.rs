//! Tiles: 256 neighbouring hashes of every eighth level of the tree, with the paths of C2SP `tlog-tiles`.

use std::path::PathBuf;

use super::hash::{Hash, node_hash};

/// Hashes in a full tile.
pub const TILE_WIDTH: u16 = 256;

/// Which tile: the `index`-th of a level of tiles, with so many hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// Level of tiles: 0 holds leaves, 1 the roots of 256 leaves each, and so on. At most 7.
    pub level: u8,
    /// Its place in the level, from 0.
    pub index: u64,
    /// Its hashes: 1 to 256. With fewer it is partial, and its path says so.
    pub width: u16,
}

/// A tile and its hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Which one.
    pub id: TileId,
    /// As many as `id.width`.
    pub hashes: Vec<Hash>,
}

impl TileId {
    /// The full tile at a place.
    pub const fn full(level: u8, index: u64) -> Self {
        Self { level, index, width: TILE_WIDTH }
    }

    /// Whether it has all of its hashes.
    pub const fn is_full(&self) -> bool {
        self.width >= TILE_WIDTH
    }

    /// The index of the first leaf below it.
    pub fn first_leaf(&self) -> u64 {
        let leaves = 1_u64.checked_shl(8 * (u32::from(self.level) + 1)).unwrap_or(0);
        self.index.saturating_mul(leaves)
    }

    /// The path below the log's directory: `tile/<level>/<index>[.p/<width>]`, the index in groups of three digits of which
    /// all but the last begin with `x`.
    pub fn path(&self) -> PathBuf {
        let Self { level, index, width } = self;
        let (mut path, mut rest) = (format!("{:03}", index % 1_000), index / 1_000);
        while rest > 0 {
            path = format!("x{:03}/{path}", rest % 1_000);
            rest /= 1_000;
        }
        let partial = if self.is_full() { String::new() } else { format!(".p/{width}") };
        PathBuf::from(format!("tile/{level}/{path}{partial}"))
    }
}

impl Tile {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.hashes.iter().flat_map(Hash::as_bytes).copied().collect()
    }

    /// Reads a file's bytes. A longer file serves as well: a tile only ever grows. `None`: there are too few.
    pub fn decode(id: TileId, bytes: &[u8]) -> Option<Self> {
        let (hashes, _rest) = bytes.as_chunks::<{ Hash::BYTES }>();
        let hashes: Vec<Hash> = hashes.get(..usize::from(id.width))?.iter().map(|bytes| Hash::from(*bytes)).collect();
        Some(Self { id, hashes })
    }

    /// The hash over all of a part of the tile: of `1 << height` hashes, the `index`-th such part. `None`: not in here.
    pub fn subtree(&self, height: u8, index: u64) -> Option<Hash> {
        let count = 1_usize.checked_shl(u32::from(height))?;
        let first = usize::try_from(index).ok()?.checked_mul(count)?;
        self.hashes.get(first..first.checked_add(count)?).and_then(fold)
    }
}

/// The hash over a power of two of neighbours.
pub(super) fn fold(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [hash] => Some(*hash),
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            Some(node_hash(&fold(left)?, &fold(right)?))
        }
    }
}
