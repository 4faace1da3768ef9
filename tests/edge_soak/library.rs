//! The recordings of a run: how large each is, and what its bytes must be.

use std::sync::Arc;

use ccgate::sim::{self, Simulator};

use crate::cast;
use crate::plan::Plan;
use crate::world::{call, recording};

/// After so many bytes a simulated recording repeats itself, but for its first such piece.
const BLOCK: usize = 64 * 1024;

const SMALL: usize = 2_000;
const MEDIUM: usize = 600;
const LARGE: usize = 200;
const HUGE: usize = 4;
const MOUNTED_EACH: u32 = 20;

/// One recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// A call id, or a path.
    pub key: Arc<str>,
    pub size: u64,
}

/// Kinds of recordings by size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// From 1 KiB.
    Small,
    /// Up to 1 MiB.
    Medium,
    Large,
    Huge,
}

/// All of them.
pub struct Library {
    shelves: [Vec<File>; 4],
    /// Those that a path names, with the agent in it.
    mounted: Vec<(u32, File)>,
}

impl Library {
    /// Fills one, and the simulator with it.
    pub fn fill(plan: &Plan, random: &mut fastrand::Rng, sim: &Simulator) -> Self {
        let [small, large, huge] = plan.sizes;
        let mut number = 0;
        let mut shelf = |count: usize, from: u64, to: u64, random: &mut fastrand::Rng| -> Vec<File> {
            let mut file = || {
                number += 1;
                // As many between 1 and 2 MiB as between 32 and 64.
                let size = (from as f64 * (to as f64 / from as f64).powf(random.f64())) as u64;
                File { key: format!("1621413752-{number}").into(), size }
            };
            (0..count).map(|_| file()).collect()
        };
        let shelves = [
            shelf(SMALL, 1024, small, random),
            shelf(MEDIUM, small, 1024 * 1024, random),
            shelf(LARGE, 1024 * 1024, large, random),
            shelf(HUGE, large, huge, random),
        ];
        let mounted = cast::CALM.flat_map(|agent| (0..MOUNTED_EACH).map(move |number| (agent, number)));
        let mounted = mounted.map(|(agent, number)| {
            let key = format!("Y:/90/0/20210519/{agent}/{number}.mp4").into();
            (agent, File { key, size: 1024 + u64::from(number) * 5_000 })
        });
        let library = Self { shelves, mounted: mounted.collect() };
        for file in library.shelves.iter().flatten().chain(library.mounted.iter().map(|(_, file)| file)) {
            sim.add_file(&file.key, file.size);
        }
        library
    }

    /// One of a shelf.
    pub fn any(&self, shelf: Shelf, random: &mut fastrand::Rng) -> &File {
        let files = &self.shelves[shelf as usize];
        &files[random.usize(..files.len())]
    }

    /// One that a path names, and the agent whose it is.
    pub fn any_mounted(&self, random: &mut fastrand::Rng) -> (u32, &File) {
        let (agent, file) = &self.mounted[random.usize(..self.mounted.len())];
        (*agent, file)
    }
}

impl File {
    /// What asks for it in an agent's session.
    pub fn target(&self, agent: u32) -> String {
        if self.key.contains('/') { recording(agent, &self.key) } else { call(agent, &self.key) }
    }
}

/// Compares what comes with what must come, byte for byte, and keeps none of it.
pub struct Expected {
    first: Vec<u8>,
    block: Vec<u8>,
    size: u64,
    at: u64,
}

impl Expected {
    /// From this byte of the file on.
    pub fn of(file: &File, from: u64) -> Self {
        let block_bytes = BLOCK as u64;
        let first = sim::body_bytes(&file.key, 0, BLOCK, file.size);
        let block =
            if file.size > block_bytes { sim::body_bytes(&file.key, block_bytes, BLOCK, u64::MAX) } else { vec![] };
        Self { first, block, size: file.size, at: from }
    }

    /// Takes the next piece. `Err`: where in the file it is another byte, or more than there are.
    pub fn take(&mut self, mut piece: &[u8]) -> Result<(), u64> {
        while !piece.is_empty() {
            let (block, within) = (self.at / BLOCK as u64, usize::try_from(self.at % BLOCK as u64).unwrap());
            let source = if block == 0 { &self.first } else { &self.block };
            let left = usize::try_from(self.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
            let count = piece.len().min(BLOCK - within).min(left);
            if count == 0 {
                return Err(self.at);
            }
            let wanted = source.get(within..within + count).unwrap_or_default();
            if piece[..count] != *wanted {
                let same = piece[..count].iter().zip(wanted).take_while(|(is, should)| is == should).count();
                return Err(self.at + same as u64);
            }
            self.at += count as u64;
            piece = &piece[count..];
        }
        Ok(())
    }
}

#[test]
fn what_must_come_is_what_the_simulator_sends() {
    for size in [1, 70, 65_536, 65_537, 300_000] {
        let file = File { key: "1621413752-1".into(), size };
        for from in [0, 1, 60, 65_535, 65_536, 131_072, 200_001] {
            let whole = sim::body_bytes(&file.key, from, usize::MAX, size);
            for piece in [1, 1000, 65_536, 1 << 20] {
                let mut expected = Expected::of(&file, from);
                assert!(whole.chunks(piece).all(|bytes| expected.take(bytes).is_ok()), "{size} from {from} by {piece}");
                assert_eq!(expected.take(b"x"), Err(size.max(from)), "one too many");
            }
            if let Some(last) = whole.len().checked_sub(1) {
                let mut wrong = whole;
                wrong[last] ^= 1;
                assert_eq!(Expected::of(&file, from).take(&wrong), Err(size - 1));
            }
        }
    }
}
