//! A walk over the records in their order, from a place where the tree is known. Memory is bounded by one line, the entries
//! open at once and the tiles that are to be written again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::entry::EntryId;
use super::super::start_error::StartError;
use super::aside::{Moved, move_aside};
use super::losses::{Explained, Losses};
use crate::tlog::{Checkpoint, Hash, Hashes as _, TILE_WIDTH, Tile, TileId, Tree};
use crate::trail::{Erased, ErasedLine, Head, Lines, Piece, Range, Segment, TileDir, leaf_of, void_leaf};

/// What an `unknown` end repeats of its `authorized`.
#[derive(Debug, Serialize)]
pub(in super::super) struct Carried {
    /// The number of the `authorized`.
    #[serde(skip)]
    pub(in super::super) seq: u64,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    issuer: String,
    subject: String,
    agent: String,
    reference: String,
}

/// As much of an `authorized` as its end repeats.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow, default)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    trace_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    who: Option<AskedWho<'a>>,
    #[serde(borrow, default)]
    what: Option<AskedWhat<'a>>,
}

#[derive(Deserialize)]
struct AskedWho<'a> {
    #[serde(borrow)]
    issuer: Cow<'a, str>,
    #[serde(borrow)]
    subject: Cow<'a, str>,
}

#[derive(Deserialize)]
struct AskedWhat<'a> {
    #[serde(borrow)]
    agent: Cow<'a, str>,
    /// A call about a seat has none.
    #[serde(borrow, default)]
    reference: Option<Cow<'a, str>>,
}

/// The walk.
pub(super) struct Scan<'a> {
    pub(super) dir: &'a Path,
    pub(super) tiles: TileDir,
    pub(super) explained: Explained,
    pub(super) signed: Option<&'a Checkpoint>,
    /// Set: what is wrong is written down here instead of ending the walk.
    pub(super) losses: Option<Losses>,
    /// The number of the last line.
    pub(super) last: u64,
    /// Lines up to its size are in it already.
    pub(super) tree: Tree,
    /// Tiles that the disk does not have as they should be.
    pub(super) stale: Vec<Tile>,
    /// Those that it has, and perhaps not durably: a killed process may have written them.
    pub(super) unsynced: Vec<TileId>,
    pub(super) open: BTreeMap<EntryId, Carried>,
    pub(super) moved: Vec<Moved>,
    pub(super) erased: Vec<ErasedLine>,
    /// The last number that retention removed, as records say that were read.
    pub(super) pruned: u64,
}

/// Where a line stands.
struct Place<'a> {
    path: &'a Path,
    line: u64,
}

impl Place<'_> {
    fn wrong(&self, problem: &'static str) -> StartError {
        StartError::Line { path: self.path.to_path_buf(), line: self.line, problem }
    }
}

impl Scan<'_> {
    /// Walks over the segments, oldest first.
    pub(super) fn walk(&mut self, segments: &[Segment]) -> Result<(), StartError> {
        let ends = segments.iter().skip(1).map(|next| next.first).chain([u64::MAX]);
        for (segment, end) in segments.iter().zip(ends) {
            if let Some(offset) = self.segment(segment, end)? {
                let failed = |source| StartError::io(&segment.path, source);
                self.moved.push(move_aside(self.dir, &segment.path, offset).map_err(failed)?);
            }
        }
        let signed = self.signed.map_or(0, |signed| signed.size);
        if self.tree.size() < signed {
            if self.losses.is_none() {
                return Err(StartError::Fewer { path: self.dir.to_path_buf(), signed, found: self.last });
            }
            self.missing_up_to(signed)?;
        }
        Ok(())
    }

    /// Reads one segment, of which lines with a number from `end` on do not count. Returns where the bytes begin that do
    /// not, if there are any.
    fn segment(&mut self, segment: &Segment, end: u64) -> Result<Option<u64>, StartError> {
        let path = &segment.path;
        let failed = |source| StartError::io(path, source);
        let mut lines = Lines::new(File::open(path).map_err(failed)?);
        loop {
            let (offset, number) = (lines.offset_of_next(), lines.number().saturating_add(1));
            let place = Place { path, line: number };
            let expected = self.last.saturating_add(1);
            let line = match lines.next_piece().map_err(failed)? {
                Piece::End => return Ok(None),
                Piece::Torn => return Ok(Some(offset)),
                Piece::TooLong => {
                    let torn = self.is_tail(segment) && is_unwritten(lines.bytes());
                    return if torn { Ok(Some(offset)) } else { Err(place.wrong("the line is too long for a record")) };
                }
                Piece::Line(line) => line,
            };
            let Ok(head) = serde_json::from_slice::<Head<'_>>(line) else {
                // What a failed batch left need not even be whole lines.
                let failed = expected >= end || self.explained.is_void(expected);
                if failed || self.is_tail(segment) && is_unwritten(line) {
                    return Ok(Some(offset));
                }
                self.unreadable(&place)?;
                continue;
            };
            if head.seq >= end || self.explained.is_void(head.seq) {
                // A batch that failed is the last thing in its segment.
                return Ok(Some(offset));
            }
            self.line(line, &head, &place, segment)?;
        }
    }

    /// Whether nobody has signed what comes now, and no segment with records follows.
    fn is_tail(&self, segment: &Segment) -> bool {
        segment.first >= self.explained.last_begun() && self.last >= self.signed.map_or(0, |signed| signed.size)
    }

    fn line(&mut self, line: &[u8], head: &Head<'_>, place: &Place<'_>, segment: &Segment) -> Result<(), StartError> {
        if head.v.is_some_and(|version| version > 1) {
            return Err(place.wrong("the record is of a newer version of ccgate"));
        }
        if head.seq <= self.last {
            // Where losses are accepted, a line that was put in has no place: that of its number is taken.
            let put_in = place.wrong("the sequence number was used before");
            return if self.losses.is_some() { Ok(()) } else { Err(put_in) };
        }
        if place.line == 1 && head.seq != segment.first && self.losses.is_none() {
            return Err(place.wrong("the first record is not the one that the file is named after"));
        }
        self.jump(head, place)?;
        self.last = head.seq;
        if head.event.as_deref() == Some("audit.pruned") {
            self.pruned = serde_json::from_slice::<Range>(line).map_or(0, |range| range.last).max(self.pruned);
        }
        if head.seq > self.tree.size() {
            let leaf = self.leaf(line, head)?;
            self.push(leaf)?;
            self.entry(line, head);
            if let (Some("audit.erased"), Some(Erased::These(lines))) = (head.event.as_deref(), &head.erased) {
                self.erased.extend(lines);
            }
        }
        Ok(())
    }

    /// Numbers between the last line and this one.
    fn jump(&mut self, head: &Head<'_>, place: &Place<'_>) -> Result<(), StartError> {
        let gap = matches!(head.event.as_deref(), Some("audit.gap" | "audit.loss_accepted"));
        for seq in self.last.saturating_add(1)..head.seq {
            let told = gap && head.missing.is_some_and(|missing| missing.contains(seq));
            let leaf = if self.explained.is_void(seq) || gap && head.void.is_some_and(|void| void.contains(seq)) {
                void_leaf(seq)
            } else if told || self.explained.is_accepted(seq) {
                // A gap record that tells of missing records is written when their leaves are signed.
                self.leaf_in_tiles(seq)?
            } else if self.losses.is_some() {
                self.lost_leaf(seq)?
            } else {
                return Err(place.wrong("records before this line are missing, and no gap record says why"));
            };
            if seq > self.tree.size() {
                self.push(leaf)?;
            }
        }
        Ok(())
    }

    fn leaf(&mut self, line: &[u8], head: &Head<'_>) -> Result<Hash, StartError> {
        if self.explained.is_accepted(head.seq) {
            return self.leaf_in_tiles(head.seq);
        }
        let leaf = leaf_of(line, head);
        if self.losses.is_some() && self.signed.is_some_and(|signed| head.seq <= signed.size) {
            let wanted = self.leaf_in_tiles(head.seq)?;
            if leaf != wanted {
                return self.lost_leaf(head.seq);
            }
        }
        Ok(leaf)
    }

    /// A line that is no record.
    fn unreadable(&mut self, place: &Place<'_>) -> Result<(), StartError> {
        let seq = self.last.saturating_add(1);
        let leaf = if self.explained.is_accepted(seq) {
            self.leaf_in_tiles(seq)?
        } else if self.losses.is_some() {
            self.lost_leaf(seq)?
        } else {
            return Err(place.wrong("this is no record"));
        };
        self.last = seq;
        if seq > self.tree.size() { self.push(leaf) } else { Ok(()) }
    }

    /// The records from the last one up to the last that was signed.
    fn missing_up_to(&mut self, signed: u64) -> Result<(), StartError> {
        let first = self.last.saturating_add(1);
        for seq in first..=signed {
            let leaf = self.leaf_in_tiles(seq)?;
            if seq > self.tree.size() {
                self.push(leaf)?;
            }
        }
        self.last = signed;
        if let Some(losses) = &mut self.losses {
            losses.missing_from(first, signed);
        }
        Ok(())
    }

    /// Writes a number down as lost. Its leaf is in the tiles where it was signed; else it never counted.
    fn lost_leaf(&mut self, seq: u64) -> Result<Hash, StartError> {
        if let Some(losses) = &mut self.losses {
            losses.altered(seq);
        }
        if self.signed.is_some_and(|signed| seq <= signed.size) { self.leaf_in_tiles(seq) } else { Ok(void_leaf(seq)) }
    }

    fn leaf_in_tiles(&self, seq: u64) -> Result<Hash, StartError> {
        let index = seq.saturating_sub(1);
        let (tile, place) = (index / u64::from(TILE_WIDTH), index % u64::from(TILE_WIDTH));
        let width = u16::try_from(place).unwrap_or_default().saturating_add(1);
        let found = self.tiles.tile(TileId { level: 0, index: tile, width });
        let failed = |source| StartError::Tile { path: self.dir.to_path_buf(), source };
        let found = found.map_err(failed)?;
        found.hashes.last().copied().ok_or_else(|| StartError::Root { path: self.dir.to_path_buf() })
    }

    fn push(&mut self, leaf: Hash) -> Result<(), StartError> {
        let mut full = Vec::new();
        self.tree.push(leaf, &mut full);
        for tile in full {
            if self.tiles.tile(tile.id).is_ok_and(|found| found == tile) {
                self.unsynced.push(tile.id);
            } else {
                self.stale.push(tile);
            }
        }
        match self.signed {
            Some(signed) if signed.size == self.tree.size() && signed.root != self.tree.root() => {
                Err(StartError::Root { path: self.dir.to_path_buf() })
            }
            _ => Ok(()),
        }
    }

    fn entry(&mut self, line: &[u8], head: &Head<'_>) {
        let entry = head.entry.as_deref().and_then(EntryId::parse);
        match (head.event.as_deref(), entry) {
            (Some("authorized"), Some(entry)) => {
                self.open.insert(entry, Carried::of(head.seq, line));
            }
            (Some("finished" | "aborted" | "failed" | "unknown"), Some(entry)) => {
                self.open.remove(&entry);
            }
            _ => {}
        }
    }
}

/// Whether a part of these bytes never reached the disk: a loss of power leaves zeros there, and no record has one. A batch
/// is begun only when the one before is durable, so nothing behind them was acknowledged either.
fn is_unwritten(bytes: &[u8]) -> bool {
    bytes.contains(&0)
}

impl Carried {
    fn of(seq: u64, line: &[u8]) -> Self {
        let text = |text: Option<&Cow<'_, str>>| text.map(ToString::to_string).unwrap_or_default();
        let asked: Option<Asked<'_>> = serde_json::from_slice(line).ok();
        let asked = asked.as_ref();
        let (who, what) = (asked.and_then(|asked| asked.who.as_ref()), asked.and_then(|asked| asked.what.as_ref()));
        Self {
            seq,
            request_id: text(asked.and_then(|asked| asked.request_id.as_ref())),
            trace_id: asked.and_then(|asked| asked.trace_id.as_ref()).map(ToString::to_string),
            issuer: text(who.map(|who| &who.issuer)),
            subject: text(who.map(|who| &who.subject)),
            agent: text(what.map(|what| &what.agent)),
            reference: text(what.and_then(|what| what.reference.as_ref())),
        }
    }
}
