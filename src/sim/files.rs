//! Contents of the simulated recordings: a function of key and size, addressable at any offset. Holds no file.

use aws_lc_rs::digest;

/// Length of the piece that a recording repeats.
pub(super) const BLOCK: usize = 64 * 1024;

/// The bytes of the recording `key` of `size` bytes from `offset` on, at most `len` of them, less at the end.
pub fn body_bytes(key: &str, offset: u64, len: usize, size: u64) -> Vec<u8> {
    let body = Recording::new(key, size);
    let mut bytes = Vec::with_capacity(len.min(BLOCK));
    let mut at = offset;
    while bytes.len() < len {
        let piece = body.piece(at, len - bytes.len());
        if piece.is_empty() {
            break;
        }
        at += piece.len() as u64;
        bytes.extend_from_slice(piece);
    }
    bytes
}

/// SHA-256 of the whole recording `key` of `size` bytes.
pub fn body_sha256(key: &str, size: u64) -> [u8; 32] {
    let body = Recording::new(key, size);
    let mut context = digest::Context::new(&digest::SHA256);
    let mut at = 0;
    while at < size {
        let piece = body.piece(at, BLOCK);
        context.update(piece);
        at += piece.len() as u64;
    }
    let mut sum = [0; 32];
    sum.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    sum
}

/// One recording's content: a header that fits its kind, then a block of 64 KiB over and over.
pub(super) struct Recording {
    /// The first block, which starts with the header.
    first: Vec<u8>,
    /// Every later one.
    block: Vec<u8>,
    size: u64,
}

impl Recording {
    pub(super) fn new(key: &str, size: u64) -> Self {
        let block = noise(seed(key));
        let mut first = block.clone();
        let head = match Media::of(key) {
            Media::Audio => wave_head(size),
            Media::Video => movie_head(size),
            Media::Plain => Vec::new(),
        };
        first.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        Self { first, block, size }
    }

    /// Up to `max` bytes from `at` on, never past the end of a block; empty only at the recording's end (or for `max` 0).
    pub(super) fn piece(&self, at: u64, max: usize) -> &[u8] {
        let Some(left) = self.size.checked_sub(at) else {
            return &[];
        };
        let source = if at < BLOCK as u64 { &self.first } else { &self.block };
        let start = usize::try_from(at % BLOCK as u64).unwrap_or_default();
        let end = start.saturating_add(max.min(usize::try_from(left).unwrap_or(usize::MAX))).min(BLOCK);
        source.get(start..end).unwrap_or_default()
    }
}

/// `ETag` of a recording, quotes included.
pub(super) fn etag(key: &str, size: u64) -> String {
    format!("\"{:016x}-{size:x}\"", seed(key))
}

/// What a key says about the file's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Audio,
    Video,
    Plain,
}

impl Media {
    fn of(key: &str) -> Self {
        let lower = key.to_ascii_lowercase();
        let conference = key.len() >= 36 && key.bytes().take(36).filter(|byte| *byte == b'-').count() == 4;
        match lower.rsplit_once('.').map(|(_, extension)| extension) {
            Some("mp4") => Self::Video,
            Some("wav" | "v3") => Self::Audio,
            Some(_) => Self::Plain,
            None if conference => Self::Video,
            None => Self::Audio,
        }
    }
}

/// RIFF/WAVE with format 6 (G.711 A-law), 8 kHz, mono, 58 bytes. Lengths beyond 32 bits say 4 GiB - 1.
fn wave_head(size: u64) -> Vec<u8> {
    const LENGTH: u64 = 58;
    let bounded = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let samples = bounded(size.saturating_sub(LENGTH));
    [
        b"RIFF".as_slice(),
        &bounded(size.saturating_sub(8)),
        b"WAVEfmt ",
        &18_u32.to_le_bytes(),
        &6_u16.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &8_000_u32.to_le_bytes(),
        &8_000_u32.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &8_u16.to_le_bytes(),
        &0_u16.to_le_bytes(),
        b"fact",
        &4_u32.to_le_bytes(),
        &samples,
        b"data",
        &samples,
    ]
    .concat()
}

/// `ftyp` and the start of an `mdat` with a 64-bit length, 40 bytes.
fn movie_head(size: u64) -> Vec<u8> {
    [
        24_u32.to_be_bytes().as_slice(),
        b"ftypisom",
        &512_u32.to_be_bytes(),
        b"isommp41",
        &1_u32.to_be_bytes(),
        b"mdat",
        &size.saturating_sub(24).to_be_bytes(),
    ]
    .concat()
}

/// FNV-1a, 64 bits.
fn seed(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// One block of `SplitMix64`.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut block = Vec::with_capacity(BLOCK);
    while block.len() < BLOCK {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        block.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "1621413752-2011";

    #[test]
    fn audio_is_a_law_at_8_khz_mono() {
        let bytes = body_bytes(KEY, 0, 100, 1_000);
        assert_eq!(&bytes[..4], b"RIFF");
        assert_eq!(u32::from_le_bytes(bytes[4..8].try_into().unwrap()), 992);
        assert_eq!(&bytes[8..16], b"WAVEfmt ");
        assert_eq!(u16::from_le_bytes(bytes[20..22].try_into().unwrap()), 6);
        assert_eq!(u16::from_le_bytes(bytes[22..24].try_into().unwrap()), 1);
        assert_eq!(u32::from_le_bytes(bytes[24..28].try_into().unwrap()), 8_000);
        assert_eq!(&bytes[50..54], b"data");
        assert_eq!(u32::from_le_bytes(bytes[54..58].try_into().unwrap()), 942);
    }

    #[test]
    fn video_starts_like_mp4_and_other_files_like_nothing() {
        for key in ["Y:/90/0/20210519/4977/1642329.mp4", "0e1f2a3b-0000-4000-8000-0123456789ab"] {
            let bytes = body_bytes(key, 0, 40, 1 << 33);
            assert_eq!((&bytes[4..12], &bytes[28..32]), (b"ftypisom".as_slice(), b"mdat".as_slice()));
            assert_eq!(u64::from_be_bytes(bytes[32..40].try_into().unwrap()), (1 << 33) - 24);
        }
        assert_eq!(Media::of("y:/1/0/20181217/120/1524488.V3"), Media::Audio);
        assert_eq!(Media::of("chats.zip"), Media::Plain);
    }

    #[test]
    fn any_part_is_the_same_part() {
        let size = 3 * BLOCK as u64 + 17;
        let whole = body_bytes(KEY, 0, usize::MAX, size);
        assert_eq!(whole.len() as u64, size);
        for offset in [0, 1, 57, 65_535, 65_536, 65_537, 196_600, size - 1] {
            let from = usize::try_from(offset).unwrap();
            let part = body_bytes(KEY, offset, 70_000, size);
            assert_eq!(part, whole[from..whole.len().min(from + 70_000)], "offset {offset}");
        }
        assert!(body_bytes(KEY, size, 10, size).is_empty());
        assert!(body_bytes(KEY, size + 1, 10, size).is_empty());
        assert_eq!(body_sha256(KEY, size).as_slice(), digest::digest(&digest::SHA256, &whole).as_ref());
    }

    #[test]
    fn far_offsets_cost_nothing_and_keys_differ() {
        let far = 4 * (1 << 30) + 5;
        assert_eq!(body_bytes(KEY, far, 10, u64::MAX), body_bytes(KEY, (1 << 16) + 5, 10, 1 << 20));
        assert_ne!(body_bytes("a", 100, 16, 1_000), body_bytes("b", 100, 16, 1_000));
        assert_ne!(etag("a", 5), etag("a", 6));
    }

    #[test]
    fn tiny_recordings_are_cut_off_heads() {
        assert_eq!(body_bytes(KEY, 0, 10, 3), b"RIF");
        assert!(body_bytes(KEY, 0, 10, 0).is_empty());
    }
}
