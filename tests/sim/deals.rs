//! Deals as the simulated manager gives them, and where their pieces are.

use crate::chain::Chain;
use damocles_worker::{
    runtime::{
        manager::wire::{CidJson, DealInfoV2, PieceInfoV2, SectorPiece},
        pieces::{PieceSource, Pieces},
        stage::{PieceFile, PieceInfo, PieceToAdd, layout::zero_commitment},
    },
    units::PieceCid,
};
use rand::{Rng, rngs::StdRng};
use std::sync::Arc;

/// What the pieces of a sector without deals add up to.
pub const EMPTY: [u8; 32] = [2; 32];
/// Lists that a sector of 2 KiB holds, in padded bytes; 0 after a size: that piece is zeros.
const LISTS: [&[(u64, bool)]; 5] = [
    &[(2048, true)],
    &[(1024, true), (1024, true)],
    &[(256, true), (1024, true)],
    &[(128, true), (512, false), (512, true)],
    &[(512, true)],
];

/// Deals for a sector; now and then more of them than any sector of this size holds.
pub fn random(sector: u64, rng: &mut StdRng, troubled: bool) -> Vec<SectorPiece> {
    if troubled && rng.gen_bool(0.02) {
        return vec![deal(1, 4096, PieceCid([9; 32]))];
    }
    let list = LISTS[rng.gen_range(0..LISTS.len())];
    let piece = |(nth, (size, data)): (usize, &(u64, bool))| {
        let id = sector * 10 + nth as u64;
        let cid = if *data { crate::hands::piece_of(id) } else { zero_commitment(*size) };
        deal(if *data { id } else { 0 }, *size, PieceCid(cid))
    };
    list.iter().enumerate().map(piece).collect()
}

fn deal(deal_id: u64, size: u64, cid: PieceCid) -> SectorPiece {
    SectorPiece {
        piece: PieceInfoV2 { size, piece_cid: CidJson { cid: cid.to_string() } },
        deal_info: DealInfoV2 { deal_id, allocation_id: 0, payload_size: size / 2, is_builtin_market: true },
    }
}

/// The pieces of data among a manager's deals, in order.
pub fn data_of(deals: &[SectorPiece]) -> Vec<[u8; 32]> {
    let data = deals.iter().filter(|deal| deal.deal_info.deal_id != 0);
    data.map(|deal| deal.piece.piece_cid.cid.parse::<PieceCid>().expect("made above").0).collect()
}

/// The pieces of data among what was added, in order.
pub fn data_among(pieces: &[PieceInfo]) -> Vec<[u8; 32]> {
    let is_data = |piece: &&PieceInfo| piece.commitment != zero_commitment(piece.size / 127 * 128);
    pieces.iter().filter(is_data).map(|piece| piece.commitment).collect()
}

/// The commitment of all of a sector's data: what pc2 answers, and what a manager expects of its deals.
pub fn comm_d_of(data: &[[u8; 32]]) -> [u8; 32] {
    if data.is_empty() { EMPTY } else { crate::hands::digest(&data.iter().map(|cid| &cid[..]).collect::<Vec<_>>()) }
}

/// A piece lies in a file of its name, unless the manager that has it is away.
pub fn pieces(chain: Arc<Chain>) -> Arc<dyn PieceSource> {
    let ask = move |cid: PieceCid| (!chain.is_away()).then(|| PieceFile::Local(cid.to_string().into()));
    Arc::new(Pieces::new(Vec::new(), Box::new(ask)))
}

/// What add_pieces finds in those files: `other` where one of them holds something else.
pub fn added(pieces: &[PieceToAdd], other: bool) -> Vec<PieceInfo> {
    let add = |piece: &PieceToAdd| {
        let commitment = match &piece.piece_file {
            PieceFile::Local(_) if other => [8; 32],
            PieceFile::Local(path) => path.to_str().and_then(|name| name.parse::<PieceCid>().ok()).expect("a CID").0,
            PieceFile::Pledge => zero_commitment(piece.piece_size / 127 * 128),
            PieceFile::Url(url) => panic!("{url}"),
        };
        PieceInfo { commitment, size: piece.piece_size }
    };
    pieces.iter().map(add).collect()
}
