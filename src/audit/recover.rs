//! At start: finds the newest checkpoint, reads the records from where it says, and compares. A log that is not the one
//! that was signed does not start. No network; it changes nothing but what it moves aside and what it makes anew.
//!
//! ```text
//! newest signed note -> tree from tiles -> records from `scan_from` on -> root as signed? -> tail that nobody signed
//!                          | tiles are torn or wrong              | no
//!                          v                                      v
//!                   all records are read              the line is named, or the tiles are made anew
//! ```

mod aside;
mod losses;
mod notes;
mod scan;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

pub(super) use aside::Moved;
use losses::Explained;
pub(super) use losses::Losses;
use notes::Notes;
pub(super) use scan::Carried;
use scan::Scan;

use super::entry::EntryId;
use super::keys::Keys;
use super::notary::Beginning;
use super::record::micros_utc;
use super::segment::sync_dir;
use super::start_error::StartError;
use crate::tlog::{Checkpoint, Hashes as _, TILE_WIDTH, Tile, TileId, Tree};
use crate::trail::{ErasedLine, Segment, TileDir, TileError, leaf_of, segments};

/// What the start found.
#[derive(Debug)]
pub(super) struct Recovered {
    /// The first free sequence number.
    pub(super) next_seq: u64,
    /// Entries without an end.
    pub(super) open: BTreeMap<EntryId, Carried>,
    /// What was moved aside.
    pub(super) moved: Vec<Moved>,
    /// The tree over all of it.
    pub(super) beginning: Beginning,
    /// All tiles had to be made anew.
    pub(super) tiles_made_anew: bool,
    /// Records that are to be erased, as far as records that were read say so.
    pub(super) erased: Vec<ErasedLine>,
    /// What is lost, where that was to be accepted.
    pub(super) losses: Losses,
}

/// The record `audit.opened`: a process has taken the directory.
#[derive(Serialize)]
pub(super) struct Opened<'a> {
    pub(super) segment: &'a str,
    pub(super) origin: &'a str,
    pub(super) key: String,
}

/// The record `audit.recovered`.
#[derive(Serialize)]
pub(super) struct RepairRecord<'a> {
    entries_without_end: usize,
    moved: &'a [Moved],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tiles_made_anew: bool,
}

/// The record `unknown`.
#[derive(Serialize)]
pub(super) struct UnknownEnd<'a> {
    entry: EntryId,
    #[serde(flatten)]
    carried: &'a Carried,
    outcome: &'static str,
    #[serde(serialize_with = "micros_utc")]
    recovered_at: Timestamp,
}

impl Recovered {
    /// The tree, for the one who goes on with it.
    pub(super) fn take_beginning(&mut self) -> Beginning {
        std::mem::take(&mut self.beginning)
    }
}

impl<'a> RepairRecord<'a> {
    /// `None` where nothing was to be repaired.
    pub(super) fn of(recovered: &'a Recovered) -> Option<Self> {
        let Recovered { open, moved, tiles_made_anew, .. } = recovered;
        let repaired = !(open.is_empty() && moved.is_empty()) || *tiles_made_anew;
        repaired.then_some(Self { entries_without_end: open.len(), moved, tiles_made_anew: *tiles_made_anew })
    }
}

impl<'a> UnknownEnd<'a> {
    pub(super) const fn new(entry: EntryId, carried: &'a Carried, recovered_at: Timestamp) -> Self {
        Self { entry, carried, outcome: "unknown", recovered_at }
    }
}

/// Reads and repairs the log in a directory that the caller has locked. With `tolerant`, losses are found instead of ending
/// the start.
pub(super) fn recover(dir: &Path, keys: &Keys, tolerant: bool) -> Result<Recovered, StartError> {
    let segments = segments(dir).map_err(|source| StartError::io(dir, source))?;
    let notes = Notes::read(dir, &keys.trusted, tolerant)?;
    if notes.newest.is_none() && keys.is_known_here() && !segments.is_empty() && !tolerant {
        return Err(StartError::Unsigned { path: dir.to_path_buf() });
    }
    let mut attempt = Attempt { dir, segments: &segments, notes: &notes, tolerant, leaves_alone: tolerant };
    let scan = match attempt.from(notes.scan_from) {
        Err(StartError::Root { .. } | StartError::Tile { .. }) if !tolerant => {
            attempt.leaves_alone = true;
            attempt.from(1)
        }
        scan => scan,
    };
    let tiles_made_anew = attempt.leaves_alone && !tolerant;
    let scan = scan.map_err(|error| attempt.place_of(error))?;
    let Scan { last, tree, stale, unsynced, open, moved, erased, losses, explained, pruned, .. } = scan;
    for Segment { path, .. } in segments.iter().filter(|segment| segment.first >= explained.last_begun()) {
        // What a killed process wrote may not be durable yet, and what is written from now on builds on it.
        let synced = if path.exists() { File::open(path).and_then(|file| file.sync_all()) } else { Ok(()) };
        synced.map_err(|source| StartError::io(path, source))?;
    }
    // Numbers that failed are not used again, even where no line of theirs is left.
    let next_seq = last.max(explained.last()).saturating_add(1);
    remove_empty(dir, &segments, next_seq).map_err(|source| StartError::io(dir, source))?;
    let signed = notes.newest.as_ref().map(|checkpoint| checkpoint.size);
    let mut losses = losses.unwrap_or_default();
    if tolerant {
        let oldest = segments.first().map_or(0, |segment| segment.first);
        losses.add(explained.open(pruned, oldest));
    }
    let removed = segments.first().map_or(0, |first| first.first.saturating_sub(1));
    let only_in_tiles = removed.max(explained.last_without_record()).max(losses.last());
    let partial = partial_tiles(dir, signed.unwrap_or(0), tree.size());
    let beginning = Beginning { tree, tiles: stale, unsynced, partial, signed, notes_end: notes.end, only_in_tiles };
    Ok(Recovered { next_seq, open, moved, beginning, tiles_made_anew, erased, losses })
}

/// Removes segments that were begun and never written. Left there, they would end the segment before at a number that it is
/// still to reach.
fn remove_empty(dir: &Path, segments: &[Segment], next_seq: u64) -> io::Result<()> {
    for Segment { path, first } in segments.iter().rev() {
        match path.metadata() {
            Ok(found) if found.len() > 0 => break,
            Ok(_) if *first != next_seq => std::fs::remove_file(path)?,
            // The next segment has this name, or it was moved aside.
            Ok(_) | Err(_) => {}
        }
    }
    sync_dir(dir)
}

/// The unfinished tiles that checkpoints over at least `signed` and at most `size` records can have left. A tile that can't
/// be found is no tile.
fn partial_tiles(dir: &Path, signed: u64, size: u64) -> Vec<TileId> {
    let mut found = Vec::new();
    for level in 0_u8..8 {
        let tiles = |leaves: u64| leaves.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
        if size.checked_shr(8 * u32::from(level)).unwrap_or(0) == 0 {
            break;
        }
        for index in tiles(signed)..=tiles(size) {
            let path = dir.join(TileId { level, index, width: 1 }.path());
            let files = path.parent().map(std::fs::read_dir).into_iter().flatten().flatten().flatten();
            let widths = files.filter_map(|file| file.file_name().to_str()?.parse().ok());
            found.extend(widths.map(|width| TileId { level, index, width }));
        }
    }
    found
}

/// A reading of the records.
struct Attempt<'a> {
    dir: &'a Path,
    segments: &'a [Segment],
    notes: &'a Notes,
    tolerant: bool,
    /// No tile but those of leaves is believed.
    leaves_alone: bool,
}

impl<'a> Attempt<'a> {
    /// Reads from the first record of the tile that holds `scan_from`.
    fn from(&self, scan_from: u64) -> Result<Scan<'a>, StartError> {
        let tiles = TileDir::new(self.dir);
        let explained = Explained::read(self.segments)?;
        let failed = |source| StartError::Tile { path: self.dir.to_path_buf(), source };
        let width = u64::from(TILE_WIDTH);
        let pruned = self.segments.first().map_or(0, |first| first.first.saturating_sub(1));
        let from = if self.tolerant { 1 } else { scan_from };
        let base = (from.saturating_sub(1) / width * width).max(if pruned > 0 { pruned / width * width } else { 0 });
        let mut tree = Tree::load(base, |id| edge(&tiles, id, self.leaves_alone)).map_err(failed)?;
        // Records between the tile's first and the oldest that is there are known by their leaves alone.
        let mut full = Vec::new();
        for index in base..pruned.max(base) {
            let place = u16::try_from(index % width).unwrap_or_default();
            let tile = tiles.tile(TileId { level: 0, index: index / width, width: place.saturating_add(1) });
            let leaf = tile.map_err(failed)?.hashes.last().copied();
            tree.push(leaf.ok_or_else(|| StartError::Root { path: self.dir.to_path_buf() })?, &mut full);
        }
        let signed = self.notes.newest.as_ref();
        if signed.is_some_and(|signed| signed.size == tree.size() && signed.root != tree.root()) {
            return Err(StartError::Root { path: self.dir.to_path_buf() });
        }
        // The oldest segment that is read is the last one that begins before the first record that is.
        let skipped =
            self.segments.partition_point(|segment| segment.first <= base.saturating_add(1)).saturating_sub(1);
        let read = self.segments.get(skipped..).unwrap_or_default();
        self.check_ends(skipped, &explained)?;
        let last = read.first().map_or(base, |first| first.first.saturating_sub(1));
        let losses = self.tolerant.then(Losses::default);
        let mut scan = Scan {
            dir: self.dir,
            tiles,
            explained,
            signed,
            losses,
            last,
            tree,
            stale: full,
            unsynced: Vec::new(),
            open: BTreeMap::new(),
            moved: Vec::new(),
            erased: Vec::new(),
            pruned: 0,
        };
        scan.walk(read)?;
        Ok(scan)
    }

    /// Whether the segments that are not read join: each ends with the number before the next one's first.
    fn check_ends(&self, count: usize, explained: &Explained) -> Result<(), StartError> {
        for pair in self.segments.windows(2).take(count) {
            let [segment, next] = pair else { continue };
            let failed = |source| StartError::io(&segment.path, source);
            let last = last_number(&segment.path, next.first).map_err(failed)?;
            let told = |seq: u64| explained.is_void(seq) || explained.is_accepted(seq) || explained.is_missing(seq);
            let from = last.map_or(segment.first, |last| last.saturating_add(1));
            if (from..next.first).any(|seq| !told(seq)) {
                return Err(StartError::Between { path: segment.path.clone(), first: from, last: next.first - 1 });
            }
        }
        Ok(())
    }

    /// Makes of a wrong root the line that is not the one that was signed, where the tiles tell.
    fn place_of(&self, error: StartError) -> StartError {
        let (StartError::Root { .. }, Some(signed)) = (&error, &self.notes.newest) else { return error };
        self.altered_line(signed).unwrap_or(error)
    }

    fn altered_line(&self, signed: &Checkpoint) -> Option<StartError> {
        let tiles = TileDir::new(self.dir);
        for segment in self.segments {
            let mut lines = crate::trail::Lines::new(File::open(&segment.path).ok()?);
            while let Ok(crate::trail::Piece::Line(line)) = lines.next_piece() {
                let Ok(head) = serde_json::from_slice::<crate::trail::Head<'_>>(line) else { break };
                let (leaf, index) = (leaf_of(line, &head), head.seq.saturating_sub(1));
                if index >= signed.size {
                    break;
                }
                let place = u16::try_from(index % u64::from(TILE_WIDTH)).unwrap_or_default();
                let id = TileId { level: 0, index: index / u64::from(TILE_WIDTH), width: place.saturating_add(1) };
                if tiles.tile(id).is_ok_and(|tile| tile.hashes.last() != Some(&leaf)) {
                    let problem = "the record is not the one that was signed";
                    return Some(StartError::Line { path: segment.path.clone(), line: lines.number(), problem });
                }
            }
        }
        None
    }
}

/// A tile of the tree's right edge. One that is torn, or not believed, is made of the tiles below it; leaves can't be.
fn edge(tiles: &TileDir, id: TileId, leaves_alone: bool) -> Result<Tile, TileError> {
    let found = tiles.tile(id);
    if id.level == 0 || found.is_ok() && !leaves_alone {
        return found;
    }
    let first = id.index.saturating_mul(u64::from(TILE_WIDTH));
    let below = (first..first.saturating_add(u64::from(id.width))).map(|index| {
        let below = TileId::full(id.level.saturating_sub(1), index);
        edge(tiles, below, leaves_alone).map(|tile| tile.subtree(8, 0))
    });
    let hashes = below.collect::<Result<Option<Vec<_>>, _>>()?;
    hashes.map_or(found, |hashes| Ok(Tile { id, hashes }))
}

/// The last number below `end` in the last 128 KiB of a segment; `None`: there is none.
fn last_number(path: &Path, end: u64) -> io::Result<Option<u64>> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(128 * 1_024);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(128 * 1_024).read_to_end(&mut bytes)?;
    let numbers = bytes.rsplit(|byte| *byte == b'\n').filter_map(|line| {
        let head: crate::trail::Head<'_> = serde_json::from_slice(line).ok()?;
        (head.seq < end).then_some(head.seq)
    });
    Ok(numbers.max())
}
