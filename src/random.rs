//! Random bytes for ids and salts, drawn from the system's generator in blocks. Never for a key or the nonce of a cipher.
//!
//! One call for 4 KiB costs little more than one for 16 bytes. What is handed out is overwritten in the pool first, so no
//! byte is handed out twice and none can be read there later. A process that forks would hand out the same bytes in both
//! halves; this one never forks.

use std::cell::RefCell;
use std::fmt;

use aws_lc_rs::error::Unspecified;
use secrecy::zeroize::{Zeroize, Zeroizing};

/// Bytes that are drawn at once.
const BLOCK: usize = 4096;

/// The longest that is handed out at once, in bytes. What is left of a block and too short is given up.
const PIECE_MAX: usize = 64;

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// Random bytes of the calling thread's pool, at most 64.
///
/// # Errors
/// The system's generator fails; nothing else stands in for it.
pub fn bytes<const N: usize>() -> Result<[u8; N], Unspecified> {
    // A thread that is ending has no pool any more.
    POOL.try_with(|pool| pool.try_borrow_mut().ok().map(|mut pool| pool.bytes())).ok().flatten().unwrap_or_else(|| {
        let mut piece = [0; N];
        aws_lc_rs::rand::fill(&mut piece).map(|()| piece)
    })
}

/// Random bytes in reserve: those below `left` have not been handed out.
#[derive(Default)]
pub struct Pool {
    block: Zeroizing<Vec<u8>>,
    left: usize,
}

impl Pool {
    /// Random bytes, at most 64.
    ///
    /// # Errors
    /// The system's generator fails. It is asked again the next time.
    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Unspecified> {
        self.draw(aws_lc_rs::rand::fill)
    }

    fn draw<const N: usize>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Unspecified>,
    ) -> Result<[u8; N], Unspecified> {
        const { assert!(N <= PIECE_MAX, "a piece of a block") }
        if self.left < N {
            self.left = 0;
            self.block.resize(BLOCK, 0);
            fill(&mut self.block)?;
            self.left = BLOCK;
        }
        let (piece, left) = (&mut [0; N], self.left - N);
        let reserve = self.block.get_mut(left..self.left).ok_or(Unspecified)?;
        piece.copy_from_slice(reserve);
        reserve.zeroize();
        self.left = left;
        Ok(*piece)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_byte_is_handed_out_twice_and_none_stays_behind() {
        let (mut pool, mut fills) = (Pool::default(), 0_u8);
        // The places of a block are told apart by their numbers, and none is zero.
        let mut fill = |block: &mut [u8]| {
            fills += 1;
            for (two, number) in block.chunks_exact_mut(2).zip(1_u16..) {
                two.copy_from_slice(&(number | u16::from(fills) << 12).to_be_bytes());
            }
            Ok(())
        };
        let mut seen = HashSet::new();
        for _ in 0..=BLOCK / 10 {
            let piece: [u8; 10] = pool.draw(&mut fill).expect("bytes");
            for two in piece.chunks_exact(2) {
                assert!(seen.insert(two.to_owned()), "{two:?} once more");
            }
            let (left, gone) = pool.block.split_at(pool.left);
            assert!(left.chunks_exact(2).all(|two| two != [0, 0]), "what is left is random");
            assert!(gone.iter().take(10).all(|byte| *byte == 0), "what was handed out is overwritten");
        }
        assert_eq!(fills, 2, "one call for a block");
    }

    #[test]
    fn without_the_system_there_is_nothing() {
        let mut pool = Pool::default();
        let half = |block: &mut [u8]| {
            block[..100].fill(7);
            Err(Unspecified)
        };
        for _ in 0..2 {
            assert_eq!(pool.draw::<16>(half), Err(Unspecified));
        }
        let sevens = |block: &mut [u8]| {
            block.fill(9);
            Ok(())
        };
        assert_eq!(pool.draw(sevens), Ok([9; 16]), "and it is asked again");
        assert!(pool.draw::<16>(half).is_ok(), "what it gave before still counts");
    }

    #[test]
    fn threads_have_bytes_of_their_own() {
        let draw = || (0..1000).map(|_| bytes::<16>().expect("bytes")).collect::<Vec<_>>();
        let other = std::thread::spawn(draw);
        let all: HashSet<_> = draw().into_iter().chain(other.join().expect("a thread")).collect();
        assert_eq!(all.len(), 2000);
        assert_eq!(format!("{:?}", Pool::default()), "Pool { left: 0, .. }");
    }
}
