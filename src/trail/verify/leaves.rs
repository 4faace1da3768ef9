//! Hash tiles as evidence: what a record's leaf was, and whether a tile is what its leaves make of it. It trusts none: only a
//! signed root says whether a tile or a line is right.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::report::{Damage, Kind};
use crate::tlog::{Hash, TILE_WIDTH, Tile, TileId};

/// Bytes of a full tile.
const TILE_BYTES: usize = TILE_WIDTH as usize * Hash::BYTES;

/// The leaves that a log's tiles say.
#[derive(Debug)]
pub(super) struct Leaves<'d> {
    dir: &'d Path,
    /// The tile that was read last in the order of the log.
    here: Option<(u64, Vec<Hash>)>,
    /// The tile that was read last out of that order.
    elsewhere: Option<(u64, Vec<Hash>)>,
}

impl<'d> Leaves<'d> {
    pub(super) const fn new(dir: &'d Path) -> Self {
        Self { dir, here: None, elsewhere: None }
    }

    /// The leaf of a number, for a reader that goes from the first to the last.
    pub(super) fn next(&mut self, seq: u64) -> Option<Hash> {
        leaf(self.dir, &mut self.here, seq)
    }

    /// The leaf of any number.
    pub(super) fn any(&mut self, seq: u64) -> Option<Hash> {
        leaf(self.dir, &mut self.elsewhere, seq)
    }

    /// What is wrong with a tile, which has the hashes of `tile` if it is sound. A partial one can have grown to `tile`.
    /// Where it is not `needed` it may be absent.
    pub(super) fn check(&self, tile: &Tile, needed: bool) -> Vec<Damage> {
        let bytes = tile.encode();
        let full = TileId::full(tile.id.level, tile.id.index).path();
        let mut found = Vec::new();
        let mut there = false;
        match read(&self.dir.join(&full)) {
            Ok(read) => {
                there = true;
                let same = if tile.id.is_full() { read == bytes } else { read.starts_with(&bytes) };
                found.extend((!same).then(|| damaged(tile, &full, &read)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                there = true;
                found.push(Damage::new(Kind::Tile, error.to_string()).in_file(shown(&full)));
            }
        }
        for (width, path) in partials(self.dir, tile.id) {
            let name = path.strip_prefix(self.dir).unwrap_or(&path);
            let read = read(&path).unwrap_or_default();
            let wanted = usize::from(width) * Hash::BYTES;
            there |= width >= tile.id.width;
            // One that is wider than the tile was made of more lines: that is asked elsewhere.
            let same = match bytes.get(..wanted) {
                Some(bytes) => read == bytes,
                None => read.len() == wanted && read.starts_with(&bytes),
            };
            found.extend((!same).then(|| damaged(tile, name, &read)));
        }
        if needed && !there {
            let path = if tile.id.is_full() { full } else { tile.id.path() };
            found.push(Damage::new(Kind::Tile, "the tile is gone").in_file(shown(&path)));
        }
        found
    }
}

/// The widest tile at a place, in hashes. 0: there is none.
pub(super) fn width(dir: &Path, level: u8, index: u64) -> u64 {
    hashes(dir, level, index).len() as u64
}

fn leaf(dir: &Path, kept: &mut Option<(u64, Vec<Hash>)>, seq: u64) -> Option<Hash> {
    let (index, place) = (seq.checked_sub(1)? / u64::from(TILE_WIDTH), (seq - 1) % u64::from(TILE_WIDTH));
    if kept.as_ref().is_none_or(|(kept, _)| *kept != index) {
        *kept = Some((index, hashes(dir, 0, index)));
    }
    kept.as_ref().and_then(|(_, hashes)| hashes.get(usize::try_from(place).ok()?)).copied()
}

/// All hashes that there are for a tile: of the full one, else of the widest partial one.
fn hashes(dir: &Path, level: u8, index: u64) -> Vec<Hash> {
    let id = TileId::full(level, index);
    let bytes = read(&dir.join(id.path())).ok();
    let bytes = bytes.or_else(|| partials(dir, id).pop().and_then(|(_, path)| read(&path).ok())).unwrap_or_default();
    bytes.as_chunks::<{ Hash::BYTES }>().0.iter().map(|bytes| Hash::from(*bytes)).collect()
}

/// At most a byte more than a full tile has.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(TILE_BYTES + 1);
    File::open(path)?.take(TILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The partial tiles at a place, the widest last.
fn partials(dir: &Path, id: TileId) -> Vec<(u16, PathBuf)> {
    let Some(folder) = TileId { width: 1, ..id }.path().parent().map(|folder| dir.join(folder)) else {
        return Vec::new();
    };
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let widths = entries.filter_map(|entry| {
        let name = entry.file_name();
        let width: u16 = name.to_str()?.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?;
        Some((width, entry.path()))
    });
    let mut found: Vec<_> = widths.collect();
    found.sort();
    found
}

fn damaged(tile: &Tile, path: &Path, read: &[u8]) -> Damage {
    let (there, rest) = read.as_chunks::<{ Hash::BYTES }>();
    let differ = |(_, (hash, there)): &(u64, (&Hash, &[u8; Hash::BYTES]))| hash.as_bytes() != *there;
    let mut wrong = (0..).zip(tile.hashes.iter().zip(there)).filter(differ).map(|(place, _)| place);
    let detail = match (wrong.next(), rest.is_empty()) {
        (Some(_), _) => "hashes in it are not those of the records",
        (None, false) => "it is not of whole hashes",
        (None, true) => "it has more or fewer hashes than its name says",
    };
    Damage::new(Kind::Tile, detail).in_file(shown(path))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
