//! The tree over the records, its tiles and its signed checkpoints. It comes after the acknowledgement: no request waits for
//! it, and a fault of it loses nothing, since all of it but the signatures can be made of the records again.
//!
//! Invariant: what is signed is durable. Invariant: a tile that is not written stays in memory, up to a bound.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::recover::Unlisted;
use super::segment::Storage;
use super::status::Signed;
use crate::tlog::{Checkpoint, Hash, Signer, TILE_WIDTH, Tile, TileId, Tree, leaf_hash};
use crate::trail::{CHECKPOINT_FILE, CHECKPOINTS_FILE, SignedLine, void_leaf};

/// Tiles that wait to be written, at most: 32 MiB, a million records. With more of them no entry is opened.
pub(super) const TILES_WAITING_MAX: usize = 4_096;

/// Tiles that one checkpoint makes durable, at most: each takes as long as a batch of records. What is left is durable with
/// a later one, and a start reads from there.
const SYNCS_AT_ONCE: usize = 16;

/// Tiles that are written and not durable, at most. With more of them a checkpoint takes as long as it takes.
const UNSYNCED_MAX: usize = 1_024;

/// Keeps the tree.
#[derive(Debug)]
pub(super) struct Notary {
    signer: Arc<Signer>,
    tree: Tree,
    /// Full tiles that are not written.
    waiting: VecDeque<Tile>,
    /// Full tiles that are written, and not known to be durable.
    unsynced: VecDeque<TileId>,
    /// The first leaf of the tiles of which a sync failed. It is not tried again: the next start makes them anew.
    doubted: Option<u64>,
    /// Unfinished tiles that may be on the disk. None is forgotten before it is removed: a loss of power can leave it wrong,
    /// and a start that needs its leaves would believe it.
    partial: Vec<TileId>,
    /// Those of them that this process has written, and as durable as they are to be.
    written: Vec<TileId>,
    /// The last number whose leaf is in the tiles alone, as its record is removed or gone: such tiles are durable before
    /// anything builds on it, since nothing could make them anew.
    only_in_tiles: u64,
    /// The last checkpoint, where a crash kept it from the list.
    unlisted: Option<Unlisted>,
    /// Leaves under the last checkpoint.
    signed: Option<u64>,
    signed_at: Timestamp,
    /// The bytes of `checkpoints.jsonl` that count.
    notes_end: u64,
}

/// What a start knows of the tree.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    pub(super) tree: Tree,
    /// Full tiles that may not be on the disk as they should.
    pub(super) tiles: Vec<Tile>,
    /// Full tiles that are there, and perhaps not durable.
    pub(super) unsynced: Vec<TileId>,
    /// Unfinished tiles that are there: those of the last checkpoint, and what a later one left that was not finished.
    pub(super) partial: Vec<TileId>,
    pub(super) signed: Option<u64>,
    pub(super) notes_end: u64,
    /// The last number that has no record any more; 0: none.
    pub(super) only_in_tiles: u64,
    /// A checkpoint that is not on the list yet.
    pub(super) unlisted: Option<Unlisted>,
}

impl Notary {
    pub(super) fn new(signer: Arc<Signer>, beginning: Beginning) -> Self {
        let Beginning { tree, tiles, unsynced, partial, signed, notes_end, only_in_tiles, unlisted } = beginning;
        Self {
            signer,
            tree,
            waiting: tiles.into(),
            unsynced: unsynced.into(),
            doubted: None,
            partial,
            written: Vec::new(),
            only_in_tiles,
            unlisted,
            signed,
            signed_at: Timestamp::UNIX_EPOCH,
            notes_end,
        }
    }

    /// The number of the last record in the tree.
    pub(super) const fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Whether there is any checkpoint.
    pub(super) const fn has_signed(&self) -> bool {
        self.signed.is_some()
    }

    /// Records that no checkpoint is over.
    pub(super) fn unsigned(&self) -> u64 {
        self.size().saturating_sub(self.signed.unwrap_or(0))
    }

    /// Whether so many tiles wait that no more records should come.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() > TILES_WAITING_MAX
    }

    /// Takes durable lines, the first of which has the number `first`. Those that it has are left out; numbers between the
    /// last one and `first` never counted.
    pub(super) fn extend(&mut self, first: u64, lines: &[u8]) {
        while self.size().saturating_add(1) < first {
            self.push(void_leaf(self.size().saturating_add(1)));
        }
        let known = usize::try_from(self.size().saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        let mut begin = 0;
        let pieces = memchr::memchr_iter(b'\n', lines).chain([lines.len()]).map(|end| {
            let line = lines.get(begin..end).unwrap_or_default();
            begin = end + 1;
            line
        });
        for line in pieces.filter(|line| !line.is_empty()).skip(known) {
            self.push(leaf_hash(line));
        }
    }

    fn push(&mut self, leaf: Hash) {
        let mut full = Vec::new();
        self.tree.push(leaf, &mut full);
        self.waiting.extend(full);
    }

    /// Whether a checkpoint is wanted now, at most one in `interval`. A clock that was set back does not stop it.
    pub(super) fn is_due(&self, now: Timestamp, interval: std::time::Duration) -> bool {
        let since = now.duration_since(self.signed_at);
        let waited = since.is_negative() || since.unsigned_abs() >= interval;
        waited && self.signed != Some(self.size())
    }

    /// Writes the tiles and signs what there is. `lowest_open` is the number of the oldest entry without an end.
    ///
    /// A failure leaves everything for the next try; whatever part was done is done again.
    pub(super) fn sign(
        &mut self,
        storage: &mut impl Storage,
        now: Timestamp,
        lowest_open: Option<u64>,
    ) -> io::Result<Option<Signed>> {
        if self.signed == Some(self.size()) {
            return Ok(None);
        }
        // Whatever fails, the next try comes no earlier than usual.
        self.signed_at = now;
        self.write_tiles(storage)?;
        self.sync_tiles(storage);
        let size = self.size();
        let checkpoint = Checkpoint { origin: self.signer.verifier().name().to_owned(), size, root: self.tree.root() };
        let note: Arc<str> = checkpoint.sign(&self.signer).to_string().into();
        // The note is of durable records, so nothing is wrong with it if the process dies at any line below.
        put(storage, Path::new(CHECKPOINT_FILE), note.as_bytes(), true)?;
        self.list_unlisted(storage, now)?;
        let line = SignedLine { ts: now, size, scan_from: self.scan_from(lowest_open), note: note.to_string() };
        self.list_note(storage, &line)?;
        self.signed = Some(size);
        Ok(Some(Signed { size, note }))
    }

    /// Puts a checkpoint on the list that a crash kept from it: that an order was signed before a start is seen there.
    pub(super) fn list_unlisted(&mut self, storage: &mut impl Storage, now: Timestamp) -> io::Result<()> {
        if let Some(Unlisted { size, scan_from, note }) = &self.unlisted {
            let line = SignedLine { ts: now, size: *size, scan_from: *scan_from, note: note.clone() };
            self.list_note(storage, &line)?;
            keep_notes(storage)?;
            self.unlisted = None;
        }
        Ok(())
    }

    /// Not durable at once: the newest note is, and older ones are a history, of which a start leaves out a torn end.
    fn list_note(&mut self, storage: &mut impl Storage, line: &SignedLine) -> io::Result<()> {
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        self.notes_end = storage.splice(Path::new(CHECKPOINTS_FILE), self.notes_end, &line)?;
        Ok(())
    }

    /// Makes the leaves up to a number durable in the tiles, because their records are gone or are about to be removed. From
    /// now on they stay so. 0: those that are gone since before. Returns whether all of them are known to be durable: a tile
    /// that somebody took away is not.
    pub(super) fn keep_leaves(&mut self, storage: &mut impl Storage, last: u64) -> io::Result<bool> {
        if last > self.only_in_tiles {
            self.only_in_tiles = last;
            self.written.clear();
        }
        if self.only_in_tiles == 0 {
            return Ok(true);
        }
        self.write_tiles(storage)?;
        let (needed, rest) = self.unsynced.drain(..).partition(|id| id.first_leaf() < self.only_in_tiles);
        self.unsynced = rest;
        self.sync_all(storage, needed);
        Ok(self.doubted.is_none_or(|doubted| doubted >= self.only_in_tiles))
    }

    /// Whether nothing but this tile has its leaves.
    fn is_needed(&self, id: TileId) -> bool {
        id.level == 0 && id.first_leaf() < self.only_in_tiles
    }

    fn write_tiles(&mut self, storage: &mut impl Storage) -> io::Result<()> {
        while let Some(tile) = self.waiting.front() {
            put(storage, &tile.id.path(), &tile.encode(), self.is_needed(tile.id))?;
            self.unsynced.push_back(tile.id);
            self.waiting.pop_front();
        }
        let tiles = self.tree.partial_tiles();
        for tile in &tiles {
            if !self.partial.contains(&tile.id) {
                self.partial.push(tile.id);
            }
            if !self.written.contains(&tile.id) {
                put(storage, &tile.id.path(), &tile.encode(), self.is_needed(tile.id))?;
                self.written.push(tile.id);
            }
        }
        self.remove_old_partial(storage, &tiles)
    }

    /// Removes all unfinished tiles but these.
    fn remove_old_partial(&mut self, storage: &mut impl Storage, tiles: &[Tile]) -> io::Result<()> {
        let is_old = |id: &TileId| tiles.iter().all(|tile| tile.id != *id);
        while let Some(place) = self.partial.iter().position(is_old) {
            let Some(old) = self.partial.get(place).copied() else { break };
            // A grown one serves in its place, and so does the full one, which has no folder beside it.
            let grown = tiles.iter().any(|tile| (tile.id.level, tile.id.index) == (old.level, old.index));
            let path = old.path();
            let left = if grown { path.as_path() } else { path.parent().unwrap_or(&path) };
            storage.remove(left)?;
            self.partial.swap_remove(place);
        }
        self.written.retain(|id| !is_old(id));
        Ok(())
    }

    fn sync_tiles(&mut self, storage: &mut impl Storage) {
        let count = SYNCS_AT_ONCE.max(self.unsynced.len().saturating_sub(UNSYNCED_MAX)).min(self.unsynced.len());
        let now = self.unsynced.drain(..count).collect();
        self.sync_all(storage, now);
    }

    fn sync_all(&mut self, storage: &mut impl Storage, tiles: VecDeque<TileId>) {
        for id in tiles {
            if storage.sync_file(&id.path()).is_err() {
                self.doubted = Some(self.doubted.map_or(id.first_leaf(), |doubted| doubted.min(id.first_leaf())));
            }
        }
    }

    /// Where a start has to begin to read: at the first record of a tile, so that the tree can be taken from tiles.
    fn scan_from(&self, lowest_open: Option<u64>) -> u64 {
        let torn = self.unsynced.iter().map(TileId::first_leaf).chain(self.doubted).min();
        let open = lowest_open.map(|seq| seq.saturating_sub(1));
        let first = torn.into_iter().chain(open).chain([self.size()]).min().unwrap_or(0);
        let width = u64::from(TILE_WIDTH);
        first / width * width + 1
    }
}

/// Makes the list of checkpoints durable, and the name of the newest one: before what was ordered is carried out. That
/// the order was signed in time is to be seen there for ever.
pub(super) fn keep_notes(storage: &mut impl Storage) -> io::Result<()> {
    storage.sync_file(Path::new(CHECKPOINTS_FILE))?;
    storage.sync_names()
}

/// Writes a file in one step, as a reader sees it.
pub(super) fn put(storage: &mut impl Storage, path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".tmp");
    let draft = PathBuf::from(draft);
    storage.create(&draft, bytes)?;
    if durable {
        // A failed sync leaves a file that nobody reads, and the next try makes another one.
        if let Err(error) = storage.sync_file(&draft) {
            let _ = storage.remove(&draft);
            return Err(error);
        }
    }
    storage.rename(&draft, path)
}
