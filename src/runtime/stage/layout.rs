//! Where pieces lie in a sector, and the zeros between them. Sizes and places here are padded: powers of two.
//!
//! ```text
//! │ 128 │ 128 zeros │ 256 zeros │     512     │ 1024 zeros            │      2 KiB with pieces of 128 and 512
//! ```
//!
//! A piece lies at a multiple of its size, so that its commitment is a node of the sector's tree-d. What is free before
//! it and up to the end of the sector is pieces of zeros, each as large as its place allows. A list that a manager has
//! filled up itself, as the field's do, stays as it is.

use super::Commitment;
use sha2::{Digest, Sha256};

/// The smallest piece, padded.
pub const PIECE_BYTES_MIN: u64 = 128;

/// A piece of a sector: of which list entry, or zeros that nobody listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The entry of the list; none for zeros between the entries.
    pub entry: Option<usize>,
    /// Where it begins, in padded bytes.
    pub start: u64,
    /// Padded bytes.
    pub size: u64,
}

/// Why pieces do not make a sector: which entry, and what about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("{size} padded bytes is no piece size: a power of two, {PIECE_BYTES_MIN} or more")]
    Size { entry: usize, size: u64 },
    #[error("it would end at padded byte {end}, beyond the sector's {sector}")]
    Beyond { entry: usize, end: u64, sector: u64 },
}

impl Misfit {
    /// The entry that it is about.
    pub fn entry(&self) -> usize {
        match self {
            Self::Size { entry, .. } | Self::Beyond { entry, .. } => *entry,
        }
    }
}

/// Places pieces of `sizes` in this order into a sector of `sector` bytes, with zeros in all that is left.
pub fn lay_out(sizes: &[u64], sector: u64) -> Result<Vec<Placed>, Misfit> {
    let (mut placed, mut at) = (Vec::new(), 0u64);
    for (entry, &size) in sizes.iter().enumerate() {
        if !size.is_power_of_two() || size < PIECE_BYTES_MIN {
            return Err(Misfit::Size { entry, size });
        }
        let end = at.checked_next_multiple_of(size).and_then(|start| start.checked_add(size)).unwrap_or(u64::MAX);
        if end > sector {
            return Err(Misfit::Beyond { entry, end, sector });
        }
        at = fill(&mut placed, at, end - size);
        placed.push(Placed { entry: Some(entry), start: at, size });
        at = end;
    }
    if at > 0 {
        fill(&mut placed, at, sector);
    }
    Ok(placed)
}

/// Zeros from `at` up to `end`. At a place that is 2^n times an odd number the largest piece is 2^n, and the end, the
/// next piece's place or the sector's end, is a multiple of more.
fn fill(placed: &mut Vec<Placed>, mut at: u64, end: u64) -> u64 {
    while at < end {
        let size = 1 << at.trailing_zeros();
        placed.push(Placed { entry: None, start: at, size });
        at += size;
    }
    at
}

/// The commitment of `size` padded bytes of zeros, a power of two.
pub fn zero_commitment(size: u64) -> Commitment {
    let mut commitment = [0; 32];
    let mut covered = 32;
    while covered < size {
        commitment = above(&commitment, &commitment);
        covered *= 2;
    }
    commitment
}

/// The node above two: SHA-256 with the two highest bits cleared, so that it is a field element.
fn above(left: &Commitment, right: &Commitment) -> Commitment {
    let mut node: Commitment = Sha256::new().chain_update(left).chain_update(right).finalize().into();
    node[31] &= 0x3f;
    node
}

/// The padded size of the smallest piece that `payload` bytes fit in.
pub fn smallest_piece(payload: u64) -> Option<u64> {
    let padded = payload.div_ceil(127).checked_mul(128)?;
    padded.max(PIECE_BYTES_MIN).checked_next_power_of_two()
}

/// The bytes of data that a piece or a sector of this padded size holds: 127 of every 128.
pub fn unpadded(size: u64) -> u64 {
    size / 128 * 127
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sizes: &[u64], sector: u64) -> String {
        let one = |piece: &Placed| format!("{}{}", piece.size, if piece.entry.is_some() { "" } else { "z" });
        lay_out(sizes, sector).unwrap().iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_free_is_zeros_in_pieces_as_large_as_they_can_be() {
        assert_eq!(shown(&[128, 512], 2048), "128 128z 256z 512 1024z");
        assert_eq!(shown(&[1024, 1024], 2048), "1024 1024");
        assert_eq!(shown(&[128], 2048), "128 128z 256z 512z 1024z");
        assert_eq!(shown(&[128, 128, 256, 512, 1024], 2048), "128 128 256 512 1024", "filled up already");
        assert_eq!(shown(&[], 2048), "", "an empty sector has no pieces");
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_entry() {
        let refused = |sizes: &[u64]| lay_out(sizes, 2048).unwrap_err();
        assert_eq!(refused(&[128, 100]), Misfit::Size { entry: 1, size: 100 });
        assert_eq!(refused(&[64]), Misfit::Size { entry: 0, size: 64 });
        assert_eq!(refused(&[0]), Misfit::Size { entry: 0, size: 0 });
        assert_eq!(refused(&[128, 1024, 1024]), Misfit::Beyond { entry: 2, end: 3072, sector: 2048 });
        assert_eq!(refused(&[128, 1 << 63]), Misfit::Beyond { entry: 1, end: u64::MAX, sector: 2048 });
        assert_eq!(refused(&[4096]).to_string(), "it would end at padded byte 4096, beyond the sector's 2048");
    }

    #[test]
    fn the_smallest_piece_is_the_next_power_of_two_with_padding() {
        for (payload, size) in [(0, 128), (1, 128), (127, 128), (128, 256), (1016, 1024), (1017, 2048), (2032, 2048)] {
            assert_eq!(smallest_piece(payload), Some(size), "{payload}");
            assert!(unpadded(size) >= payload);
        }
        assert_eq!(smallest_piece(u64::MAX), None);
    }

    #[test]
    fn zeros_have_the_networks_commitments() {
        let first = |size| zero_commitment(size)[..4].to_vec();
        assert_eq!(first(128), [0x37, 0x31, 0xbb, 0x99]);
        assert_eq!(first(2048), [0xfc, 0x7e, 0x92, 0x82]);
        assert_eq!(first(32 << 30), [0x07, 0x7e, 0x5f, 0xde]);
    }
}
