//! Tiles as they lie below a directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::tlog::{Hashes, TILE_WIDTH, Tile, TileId};

/// Tiles that are kept in memory, of 8 KiB each.
const KEPT_MAX: usize = 64;

/// The tiles below a log's directory. The last few that were read are kept.
#[derive(Debug)]
pub struct TileDir {
    dir: PathBuf,
    kept: Mutex<BTreeMap<TileId, Tile>>,
}

/// Why there is no tile.
#[derive(Debug, thiserror::Error)]
#[error("tile {path} cannot be read", path = path.display())]
pub struct TileError {
    /// Its path below the log's directory.
    pub path: PathBuf,
    /// The system's word; `UnexpectedEof` where it has too few hashes.
    #[source]
    pub source: io::Error,
}

impl TileDir {
    /// The tiles of the log in `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), kept: Mutex::default() }
    }

    fn read(&self, id: TileId) -> Result<Tile, TileError> {
        let wrong = |source| TileError { path: id.path(), source };
        let mut why = io::ErrorKind::NotFound;
        for path in self.candidates(id) {
            match fs::read(&path).map(|bytes| Tile::decode(id, &bytes)) {
                Ok(Some(tile)) => return Ok(tile),
                // A crash tore it, or it is being replaced. Another one can have the hashes, too.
                Ok(None) => why = io::ErrorKind::UnexpectedEof,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(wrong(error)),
            }
        }
        Err(wrong(why.into()))
    }

    /// Where the hashes can be: in the tile itself, in the full one, in a partial one that has grown since.
    fn candidates(&self, id: TileId) -> Vec<PathBuf> {
        let mut paths = vec![self.dir.join(TileId::full(id.level, id.index).path())];
        if !id.is_full() {
            let grown = (id.width..TILE_WIDTH).map(|width| TileId { width, ..id }.path());
            paths.extend(grown.map(|path| self.dir.join(path)).filter(|path| path.exists()));
        }
        paths
    }
}

impl Hashes for TileDir {
    type Error = TileError;

    fn tile(&self, id: TileId) -> Result<Tile, TileError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tile) = kept.get(&id) {
            return Ok(tile.clone());
        }
        let tile = self.read(id)?;
        if kept.len() >= KEPT_MAX {
            kept.pop_first();
        }
        kept.insert(id, tile.clone());
        Ok(tile)
    }
}
