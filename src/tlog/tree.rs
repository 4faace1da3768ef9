//! A tree that grows at its right edge. It keeps that edge only: at most 255 hashes for each level of tiles.

use super::hash::{Hash, node_hash};
use super::tile::{TILE_WIDTH, Tile, TileId, fold};

/// The right edge of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// The unfinished tile of each level, the leaves' first.
    edge: Vec<Vec<Hash>>,
}

impl Tree {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the right edge of a tree of `size` leaves from its tiles. Whether they are the right ones, its root tells.
    ///
    /// # Errors
    /// What `read` fails with. It is to give as many hashes as the tile's width.
    pub fn load<E>(size: u64, mut read: impl FnMut(TileId) -> Result<Tile, E>) -> Result<Self, E> {
        let mut edge = Vec::new();
        let (mut level, mut count) = (0, size);
        while count > 0 {
            let (index, width) = (count / u64::from(TILE_WIDTH), count % u64::from(TILE_WIDTH));
            let width = u16::try_from(width).unwrap_or_default();
            edge.push(if width == 0 { Vec::new() } else { read(TileId { level, index, width })?.hashes });
            (level, count) = (level + 1, index);
        }
        Ok(Self { size, edge })
    }

    /// Leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf. Tiles that it fills go to `full`.
    pub fn push(&mut self, leaf: Hash, full: &mut Vec<Tile>) {
        self.size = self.size.saturating_add(1);
        let (mut hash, mut count) = (leaf, self.size);
        for level in 0..=u8::MAX {
            let place = usize::from(level);
            if self.edge.len() <= place {
                self.edge.push(Vec::with_capacity(usize::from(TILE_WIDTH)));
            }
            let Some(hashes) = self.edge.get_mut(place) else { return };
            hashes.push(hash);
            if hashes.len() < usize::from(TILE_WIDTH) {
                return;
            }
            let hashes = std::mem::take(hashes);
            let Some(above) = fold(&hashes) else { return };
            count /= u64::from(TILE_WIDTH);
            full.push(Tile { id: TileId::full(level, count.saturating_sub(1)), hashes });
            hash = above;
        }
    }

    /// The root (RFC 6962 section 2.1).
    pub fn root(&self) -> Hash {
        let mut root: Option<Hash> = None;
        for hashes in &self.edge {
            // From right to left: the smallest complete subtrees first.
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                let count = 1_usize << rest.len().trailing_zeros();
                let (before, last) = rest.split_at(rest.len() - count);
                if let Some(left) = fold(last) {
                    root = Some(root.map_or(left, |right| node_hash(&left, &right)));
                }
                rest = before;
            }
        }
        root.unwrap_or_else(Hash::empty_root)
    }

    /// The unfinished tiles, of which a reader needs those that have hashes.
    pub fn partial_tiles(&self) -> Vec<Tile> {
        let (mut tiles, mut count) = (Vec::new(), self.size);
        for (level, hashes) in (0_u8..).zip(&self.edge) {
            count /= u64::from(TILE_WIDTH);
            let width = u16::try_from(hashes.len()).unwrap_or_default();
            if width > 0 {
                tiles.push(Tile { id: TileId { level, index: count, width }, hashes: hashes.clone() });
            }
        }
        tiles
    }
}
