//! The digest of what is handed to the client, computed piece by piece while the piece is in the cache.

use aws_lc_rs::digest as aws;

use crate::audit::Digest;

/// A digest under way.
pub(super) enum Hasher {
    Sha256(Box<aws::Context>),
    Blake3(Box<blake3::Hasher>),
    None,
}

impl Hasher {
    pub(super) fn new(digest: Digest) -> Self {
        match digest {
            Digest::Sha256 => Self::Sha256(Box::new(aws::Context::new(&aws::SHA256))),
            Digest::Blake3 => Self::Blake3(Box::default()),
            Digest::None => Self::None,
        }
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Sha256(context) => context.update(piece),
            Self::Blake3(hasher) => drop(hasher.update(piece)),
            Self::None => {}
        }
    }

    pub(super) fn finish(self) -> Option<(Digest, [u8; 32])> {
        match self {
            Self::Sha256(context) => {
                let digest = context.finish();
                <[u8; 32]>::try_from(digest.as_ref()).ok().map(|bytes| (Digest::Sha256, bytes))
            }
            Self::Blake3(hasher) => Some((Digest::Blake3, *hasher.finalize().as_bytes())),
            Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_the_common_ones_of_the_whole() {
        let hex = |digest| {
            let mut hasher = Hasher::new(digest);
            hasher.update(b"a");
            hasher.update(b"bc");
            hasher.finish().map(|(_, bytes)| {
                let (high, low) = bytes.split_at(16);
                let half = |half: &[u8]| u128::from_be_bytes(half.try_into().expect("half of it"));
                format!("{:032x}{:032x}", half(high), half(low))
            })
        };
        // FIPS 180-2, appendix B.1; the BLAKE3 reference implementation.
        assert_eq!(
            hex(Digest::Sha256).as_deref(),
            Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        );
        assert_eq!(
            hex(Digest::Blake3).as_deref(),
            Some("6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85")
        );
        assert_eq!(hex(Digest::None), None);
    }
}
