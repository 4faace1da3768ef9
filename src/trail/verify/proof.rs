//! The tree over the log, compared with every checkpoint. Where a line and its hash tile differ, two trees go on until the
//! next checkpoint says which of them is right.

use std::path::Path;

use super::super::{Range, TileDir};
use super::cosigned::Cosigned;
use super::leaves::{Leaves, width};
use super::report::{Damage, Kind, Report, Signed as Fitting};
use super::signed::{Entry, Signed};
use crate::tlog::{Hash, Hashes as _, TILE_WIDTH, Tile, TileId, Tree};

/// Lines that differ from their tile and wait for a checkpoint; further ones are counted only.
const SUSPECTS_MAX: usize = 10_000;

/// Tiles that wait for a checkpoint, of 8 KiB each; further ones are not looked at.
const TILES_WAITING_MAX: usize = 1_024;

/// A damage if the tiles are right.
#[derive(Debug)]
pub(super) struct Suspect(pub(super) Damage);

/// The tree and what it is compared with.
pub(super) struct Proof<'d> {
    dir: &'d Path,
    leaves: Leaves<'d>,
    signed: Signed<'d>,
    /// What others remember.
    cosigned: &'d mut Cosigned,
    /// The tree, with the tile's leaf where line and tile differ. `None`: a leaf is not known.
    tree: Option<Tree>,
    fork: Option<Fork>,
    size: u64,
    /// The size of the last checkpoint that fits.
    good: u64,
    /// What checkpoints claim to cover: tiles up to there have to be there.
    claimed: u64,
    misfit: Option<Entry>,
    misfits: u64,
}

/// Line and tile differ since the last checkpoint.
struct Fork {
    /// The tree with the line's leaf.
    by_lines: Tree,
    suspects: Vec<Suspect>,
    line_tiles: Vec<Tile>,
    tiles: Vec<Tile>,
}

impl<'d> Proof<'d> {
    pub(super) fn new(dir: &'d Path, signed: Signed<'d>, cosigned: &'d mut Cosigned, claimed: u64) -> Self {
        Self {
            dir,
            leaves: Leaves::new(dir),
            signed,
            cosigned,
            tree: Some(Tree::new()),
            fork: None,
            size: 0,
            good: 0,
            claimed,
            misfit: None,
            misfits: 0,
        }
    }

    /// Numbers in the tree.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// The size of the last checkpoint that fits.
    pub(super) const fn good(&self) -> u64 {
        self.good
    }

    /// The size of the newest checkpoint that a known key has signed.
    pub(super) const fn claimed(&self) -> u64 {
        self.claimed
    }

    /// Whether the list of checkpoints ends within a line.
    pub(super) const fn list_is_torn(&self) -> bool {
        self.signed.is_torn()
    }

    /// The leaf of the next number, as its tile says.
    pub(super) fn leaf_of_next(&mut self) -> Option<Hash> {
        self.leaves.next(self.size.saturating_add(1))
    }

    /// The leaf of any number, as its tile says.
    pub(super) fn leaf_of(&mut self, seq: u64) -> Option<Hash> {
        self.leaves.any(seq)
    }

    /// Compares the checkpoints of an empty log.
    pub(super) fn begin(&mut self, report: &mut Report) {
        self.compare(report);
    }

    /// The next number has this leaf by its line and that one by its tile. `suspect` is the damage if the tile is right.
    pub(super) fn push(
        &mut self,
        line: Hash,
        tile: Option<Hash>,
        suspect: impl FnOnce() -> Suspect,
        report: &mut Report,
    ) {
        let by_tile = tile.unwrap_or(line);
        if by_tile != line {
            self.suspect(suspect(), report);
        }
        let mut full = Vec::new();
        if let Some(tree) = &mut self.tree {
            tree.push(by_tile, &mut full);
        }
        match &mut self.fork {
            Some(fork) => {
                fork.by_lines.push(line, &mut fork.line_tiles);
                fork.tiles.append(&mut full);
                fork.line_tiles.truncate(TILES_WAITING_MAX);
                fork.tiles.truncate(TILES_WAITING_MAX);
            }
            None => self.check_tiles(&full, report),
        }
        self.size = self.size.saturating_add(1);
        self.compare(report);
    }

    /// There are no lines up to this number: the tiles have to tell their leaves.
    pub(super) fn absent(&mut self, last: u64, report: &mut Report) {
        while self.size < last {
            if self.tree.is_some()
                && let Some(leaf) = self.leaf_of_next()
            {
                self.push(leaf, Some(leaf), || Suspect(Damage::new(Kind::Edited, "")), report);
                continue;
            }
            self.give_up_tree(report);
            let next = self.signed.peek(&mut |damage| report.damage(damage)).map(|entry| entry.checkpoint.size);
            self.size = next.filter(|next| *next > self.size).map_or(last, |next| next.min(last));
            self.compare(report);
        }
    }

    /// All lines were read. Tells what only the end shows.
    pub(super) fn finish(&mut self, report: &mut Report) {
        let lines = self.size;
        if self.tree.is_some()
            && let Some(last) = self.last_tile_leaf()
        {
            let detail = "the tiles have hashes of records that are not in the log";
            report.damage(Damage::new(Kind::Truncated, detail).of(lines.saturating_add(1), last));
            self.absent(last, report);
        }
        let mut end = None;
        while let Some(entry) = self.signed.peek(&mut |damage| report.damage(damage)) {
            let size = entry.checkpoint.size;
            end = end.max((size > lines).then_some(size));
            self.absent(size, report);
            self.compare(report);
        }
        if let Some(end) = end {
            let there = report.damages.iter_mut().find(|damage| {
                damage.kind == Kind::Truncated && damage.seqs.is_some_and(|seqs| seqs.first == lines.saturating_add(1))
            });
            if let Some(there) = there {
                there.seqs = there.seqs.map(|seqs| Range { last: seqs.last.max(end), ..seqs });
            } else {
                let detail = "checkpoints are over more records than the log has";
                report.damage(Damage::new(Kind::Truncated, detail).of(lines.saturating_add(1), end));
            }
        }
        self.misfit_stays(report);
        self.cosigned.settle(None);
        match self.fork.take() {
            Some(fork) => {
                for Suspect(mut damage) in fork.suspects {
                    damage.detail.push_str("; neither is signed yet");
                    report.damage(damage);
                }
            }
            None => self.check_edge(report),
        }
    }

    /// The last number that a tile has a leaf of, if that is behind the lines.
    fn last_tile_leaf(&mut self) -> Option<u64> {
        self.leaf_of_next()?;
        let mut index = self.size / u64::from(TILE_WIDTH);
        let mut wide = width(self.dir, 0, index);
        while wide >= u64::from(TILE_WIDTH) {
            let next = width(self.dir, 0, index.saturating_add(1));
            if next == 0 {
                break;
            }
            (index, wide) = (index.saturating_add(1), next);
        }
        Some(index.saturating_mul(u64::from(TILE_WIDTH)).saturating_add(wide.min(u64::from(TILE_WIDTH))))
    }

    fn suspect(&mut self, suspect: Suspect, report: &mut Report) {
        let Some(tree) = &self.tree else {
            // No root will say which of the two is right.
            report.damage(suspect.0);
            return;
        };
        let fork = self.fork.get_or_insert_with(|| Fork {
            by_lines: tree.clone(),
            suspects: Vec::new(),
            line_tiles: Vec::new(),
            tiles: Vec::new(),
        });
        if fork.suspects.len() < SUSPECTS_MAX {
            fork.suspects.push(suspect);
        }
    }

    /// Neither line nor tile tells the next leaf: the lines up to the next checkpoint are not proved.
    fn give_up_tree(&mut self, report: &mut Report) {
        self.cosigned.settle(None);
        let next = self.size.saturating_add(1);
        if self.tree.take().is_some() && next <= self.claimed {
            let detail =
                format!("it has not the hash of record {next}, whose line is gone: the next ones are not proved");
            let tile = TileId::full(0, self.size / u64::from(TILE_WIDTH)).path();
            report.damage(Damage::new(Kind::Tile, detail).in_file(tile.display().to_string()));
        }
        if let Some(fork) = self.fork.take() {
            self.tell_suspects(fork.suspects, None, report);
        }
    }

    /// Passes over numbers that no checkpoint is over.
    pub(super) fn pass_unsigned(&mut self, last: u64, report: &mut Report) {
        self.tree = None;
        if let Some(fork) = self.fork.take() {
            self.tell_suspects(fork.suspects, None, report);
        }
        self.size = self.size.max(last);
    }

    fn tell_suspects(&self, suspects: Vec<Suspect>, bad: Option<u64>, report: &mut Report) {
        for Suspect(damage) in suspects {
            report.damage(match bad {
                Some(bad) => damage.between(self.good, bad),
                None => damage,
            });
        }
    }

    /// Compares all checkpoints of the tree's size, and what others remember of it.
    fn compare(&mut self, report: &mut Report) {
        let size = self.size;
        let (tree, fork) = (&self.tree, &self.fork);
        let by_lines = || fork.as_ref().map(|fork| fork.by_lines.root());
        self.cosigned.reached(size, || (tree.as_ref().map(Tree::root), by_lines()));
        loop {
            let entry = self.signed.peek(&mut |damage| report.damage(damage));
            if entry.is_none_or(|entry| entry.checkpoint.size > size) {
                return;
            }
            let Some(entry) = self.signed.pop() else { return };
            self.judge(entry, report);
        }
    }

    fn judge(&mut self, entry: Entry, report: &mut Report) {
        let root = entry.checkpoint.root;
        let fits = self.tree.as_ref().is_some_and(|tree| tree.root() == root);
        let lines_fit = !fits && self.fork.as_ref().is_some_and(|fork| fork.by_lines.root() == root);
        if fits || lines_fit {
            self.cosigned.settle(Some(lines_fit));
            let fork = self.fork.take();
            match fork {
                Some(fork) if lines_fit => {
                    self.check_tiles(&fork.line_tiles, report);
                    self.tree = Some(fork.by_lines);
                }
                Some(fork) => {
                    self.check_tiles(&fork.tiles, report);
                    self.tell_suspects(fork.suspects, None, report);
                }
                None => {}
            }
            self.misfit_alone(report);
            self.is_good(entry, report);
            return;
        }
        match self.tree_by_tiles(&entry) {
            Some(tree) => {
                self.cosigned.settle(Some(false));
                if let Some(fork) = self.fork.take() {
                    let bad = self.misfit.as_ref().unwrap_or(&entry).checkpoint.size;
                    self.tell_suspects(fork.suspects, Some(bad), report);
                }
                // The tree was known, so lines or tiles are not what was signed, whatever else was told of them.
                if self.tree.is_some() {
                    self.misfit.get_or_insert_with(|| entry.clone());
                }
                self.misfit_stays(report);
                self.tree = Some(tree);
                self.is_good(entry, report);
            }
            None if self.tree.is_none() => {
                report.counts.checkpoints_not_compared = report.counts.checkpoints_not_compared.saturating_add(1);
            }
            None => {
                self.misfits = self.misfits.saturating_add(1);
                self.misfit.get_or_insert(entry);
            }
        }
    }

    /// The tree of a checkpoint's size as its tiles have it, if that is the signed one.
    fn tree_by_tiles(&self, entry: &Entry) -> Option<Tree> {
        let tiles = TileDir::new(self.dir);
        let tree = Tree::load(entry.checkpoint.size, |id| tiles.tile(id)).ok()?;
        (tree.root() == entry.checkpoint.root).then_some(tree)
    }

    fn is_good(&mut self, entry: Entry, report: &mut Report) {
        let Entry { checkpoint, key, ts, .. } = entry;
        report.counts.checkpoints = report.counts.checkpoints.saturating_add(1);
        if !report.keys.contains(&key) {
            report.keys.push(key);
        }
        self.good = checkpoint.size;
        report.signed = Some(Fitting { size: checkpoint.size, root: checkpoint.root, ts });
        report.origin.get_or_insert(checkpoint.origin);
        if self.size == self.claimed
            && let Some(tree) = &self.tree
        {
            let edge: Vec<_> = tree.partial_tiles();
            self.check_tiles(&edge, report);
        }
    }

    /// A later checkpoint fits: the ones before it that do not are over something else.
    fn misfit_alone(&mut self, report: &mut Report) {
        if let Some(entry) = self.misfit.take() {
            let more = match std::mem::take(&mut self.misfits) {
                0 | 1 => String::new(),
                more => format!(", nor do {} after it", more - 1),
            };
            let detail = format!("it is signed but does not fit the lines, which a later one does fit{more}");
            let damage = Damage::new(Kind::Checkpoint, detail).in_file(entry.file);
            report.damage(entry.line.map_or(damage.clone(), |line| damage.at_line(line)));
        }
        self.misfits = 0;
    }

    /// No later checkpoint fits the lines: they were changed before the first that does not.
    fn misfit_stays(&mut self, report: &mut Report) {
        if let Some(entry) = self.misfit.take() {
            let bad = entry.checkpoint.size;
            let detail = "the lines are not those that were signed; which of them, the tiles cannot tell";
            let damage = Damage::new(Kind::Edited, detail).of(self.good.saturating_add(1), bad.max(1));
            report.damage(damage.between(self.good, bad));
        }
        self.misfits = 0;
    }

    /// Compares tiles on disk with those of the tree.
    fn check_tiles(&self, tiles: &[Tile], report: &mut Report) {
        for tile in tiles {
            let leaves = 256_u64.saturating_pow(u32::from(tile.id.level));
            let through = tile.id.index.saturating_mul(256).saturating_add(u64::from(tile.id.width));
            let needed = through.saturating_mul(leaves) <= self.claimed;
            for damage in self.leaves.check(tile, needed) {
                // A partial tile can be looked at more than once.
                if !report.damages.contains(&damage) {
                    report.damage(damage);
                }
            }
        }
    }

    /// Compares the unfinished tiles, which can be wider than those of the last checkpoint.
    fn check_edge(&self, report: &mut Report) {
        if let Some(tree) = self.tree.as_ref().filter(|tree| tree.size() == self.size) {
            let edge = tree.partial_tiles();
            for tile in edge {
                for damage in self.leaves.check(&tile, false) {
                    if !report.damages.contains(&damage) {
                        report.damage(damage);
                    }
                }
            }
        }
    }
}
