//! The embedded manager's deals: which of the offered pieces a sector gets. Pure.
//!
//! A deal is a file of the folder `sector_manager.embedded.pieces`, offered to one sector at a time.

use crate::{
    runtime::{
        manager::wire::{AcquireDealsSpec, CidJson, DealInfoV2, PieceInfoV2, SectorPiece},
        stage::{
            PieceInfo,
            layout::{lay_out, unpadded, zero_commitment},
        },
    },
    units::{PieceCid, SectorSize},
};

/// An offered piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deal {
    /// Its number, from 1.
    pub id: u64,
    /// The file's name in the folder.
    pub file: String,
    /// The file that was looked at: another one of the name is another deal.
    pub identity: crate::runtime::proofs::FileIdentity,
    pub cid: PieceCid,
    /// Padded bytes. The file's length is the payload.
    pub size: u64,
    /// The number of the sector that has it.
    pub sector: Option<u64>,
}

/// The deals that a sector of `size` gets of those that are free: the largest first, as many as it holds and the worker
/// wants. None when they do not fill what the worker demands.
pub fn choose(free: &[Deal], size: SectorSize, spec: &AcquireDealsSpec) -> Vec<Deal> {
    let mut by_size: Vec<_> = free.iter().collect();
    by_size.sort_by_key(|deal| (std::cmp::Reverse(deal.size), deal.id));
    let (mut chosen, mut used) = (Vec::new(), 0u64);
    for deal in by_size {
        // Each size divides those before it, so nothing is lost to alignment.
        if used.saturating_add(deal.size) <= size.bytes().0 && spec.max_deals.is_none_or(|most| chosen.len() < most) {
            used += deal.size;
            chosen.push(deal.clone());
        }
    }
    let least = spec.min_used_space.unwrap_or(0) as u64;
    if used < least { Vec::new() } else { chosen }
}

/// What a worker is told of a sector's deals: filled up with pieces of zeros, as the field's managers do it.
pub fn answer(deals: &[Deal], size: SectorSize) -> Vec<SectorPiece> {
    let sizes: Vec<_> = deals.iter().map(|deal| deal.size).collect();
    let placed = lay_out(&sizes, size.bytes().0).expect("deals of a sector were chosen to fit it");
    let piece = |place: &crate::runtime::stage::layout::Placed| {
        let deal = place.entry.map(|entry| &deals[entry]);
        let cid = deal.map_or_else(|| PieceCid(zero_commitment(place.size)), |deal| deal.cid);
        SectorPiece {
            piece: PieceInfoV2 { size: place.size, piece_cid: CidJson { cid: cid.to_string() } },
            deal_info: DealInfoV2 {
                deal_id: deal.map_or(0, |deal| deal.id),
                allocation_id: 0,
                payload_size: deal.map_or_else(|| unpadded(place.size), |deal| deal.identity.bytes),
                is_builtin_market: deal.is_some(),
            },
        }
    };
    placed.iter().map(piece).collect()
}

/// The pieces of such an answer as the proofs library counts them.
pub fn infos(deals: &[Deal], size: SectorSize) -> Vec<PieceInfo> {
    let info = |piece: SectorPiece| PieceInfo {
        commitment: piece.piece.piece_cid.cid.parse::<PieceCid>().expect("it was printed just now").0,
        size: unpadded(piece.piece.size),
    };
    answer(deals, size).into_iter().map(info).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::proofs::FileIdentity;

    fn deal(id: u64, size: u64) -> Deal {
        let identity = FileIdentity { bytes: unpadded(size), modified_ns: 0, inode: id };
        Deal { id, file: format!("f{id}"), identity, cid: PieceCid([7; 32]), size, sector: None }
    }

    fn chosen(sizes: &[u64], max_deals: Option<usize>, min_used_space: Option<usize>) -> Vec<u64> {
        let free: Vec<_> = sizes.iter().zip(1..).map(|(size, id)| deal(id, *size)).collect();
        let spec = AcquireDealsSpec { max_deals, min_used_space };
        choose(&free, SectorSize::KiB2, &spec).iter().map(|deal| deal.id).collect()
    }

    #[test]
    fn a_sector_gets_what_it_holds_the_largest_first() {
        assert_eq!(chosen(&[128, 1024, 4096, 512, 1024], None, None), [2, 5]);
        assert_eq!(chosen(&[128, 1024, 512], None, None), [2, 3, 1]);
        assert_eq!(chosen(&[], None, None), [] as [u64; 0]);
    }

    #[test]
    fn what_the_worker_wants_is_kept_to() {
        assert_eq!(chosen(&[128, 128, 128], Some(2), None), [1, 2]);
        assert_eq!(chosen(&[128, 128], None, Some(256)), [1, 2]);
        assert_eq!(chosen(&[128, 128], None, Some(257)), [] as [u64; 0]);
        assert_eq!(chosen(&[128, 128], Some(1), Some(256)), [] as [u64; 0]);
    }

    #[test]
    fn the_answer_fills_the_sector_and_only_deals_have_numbers() {
        let pieces = answer(&[deal(3, 1024), deal(4, 512)], SectorSize::KiB2);
        let told: Vec<_> = pieces.iter().map(|piece| (piece.piece.size, piece.deal_info.deal_id)).collect();
        assert_eq!(told, [(1024, 3), (512, 4), (512, 0)]);
        assert_eq!(infos(&[deal(3, 1024)], SectorSize::KiB2)[1].commitment, zero_commitment(1024));
    }
}
