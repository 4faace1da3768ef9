//! The roots that others remember, compared with the tree while it grows over the lines. Not with the tiles: whoever writes a
//! log anew could leave old tiles lying about.

use std::collections::BTreeMap;

use crate::tlog::Hash;

/// What became of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The log ends before, or what is before it is damaged.
    Open,
    /// The log's root is this one.
    Fits,
    /// The log's root is another.
    Differs,
    /// Line and tile differ before it; this is the root of the lines.
    ByLines,
    /// As before; this is the root of the tiles.
    ByTiles,
}

/// Roots by their size. Some hundred bytes for each.
#[derive(Debug, Default)]
pub(super) struct Cosigned {
    roots: BTreeMap<(u64, Hash), Verdict>,
    /// The smallest size that was not reached yet.
    next: Option<u64>,
    /// Whether some wait for line and tile to be told apart.
    waiting: bool,
}

impl Cosigned {
    pub(super) fn insert(&mut self, size: u64, root: Hash) {
        self.roots.insert((size, root), Verdict::Open);
        self.next = Some(self.next.map_or(size, |next| next.min(size)));
    }

    pub(super) fn verdict(&self, size: u64, root: Hash) -> Option<Verdict> {
        self.roots.get(&(size, root)).copied()
    }

    /// The tree has this size now. `roots`: its root, and where line and tile differ the one by the lines.
    pub(super) fn reached(&mut self, size: u64, roots: impl FnOnce() -> (Option<Hash>, Option<Hash>)) {
        if self.next.is_none_or(|next| size < next) {
            return;
        }
        let (tree, by_lines) = roots();
        let start = (size, Hash::from([0; Hash::BYTES]));
        let mut next = None;
        for ((at, root), verdict) in self.roots.range_mut(start..) {
            if *at > size {
                next = Some(*at);
                break;
            }
            *verdict = match (tree, by_lines) {
                (None, _) => Verdict::Open,
                (Some(tree), Some(lines)) if tree != lines && lines == *root => Verdict::ByLines,
                (Some(tree), Some(lines)) if tree != lines && tree == *root => Verdict::ByTiles,
                (Some(tree), _) if tree == *root => Verdict::Fits,
                (Some(_), _) => Verdict::Differs,
            };
            self.waiting |= matches!(verdict, Verdict::ByLines | Verdict::ByTiles);
        }
        self.next = next;
    }

    /// A checkpoint has told whether lines or tiles are right; `None`: none ever will.
    pub(super) fn settle(&mut self, lines_are_right: Option<bool>) {
        if !std::mem::take(&mut self.waiting) {
            return;
        }
        for verdict in self.roots.values_mut() {
            *verdict = match (*verdict, lines_are_right) {
                (Verdict::ByLines | Verdict::ByTiles, None) => Verdict::Open,
                (Verdict::ByLines, Some(true)) | (Verdict::ByTiles, Some(false)) => Verdict::Fits,
                (Verdict::ByLines, Some(false)) | (Verdict::ByTiles, Some(true)) => Verdict::Differs,
                (settled, _) => settled,
            };
        }
    }
}
