//! What a manager's list of deals makes of a sector: pieces in their places, each with the commitment it must have.
//!
//! A piece whose CID is that of zeros is zeros, whatever the list says of it: nothing has to be fetched for it, and no
//! other data has that commitment. So no rule about deal numbers is needed to tell deals from filling, and pieces of
//! deals outside the builtin market, which have number 0, are no special case.

use super::Failure;
use crate::{
    runtime::{
        manager::wire::SectorPiece,
        stage::{
            PieceInfo,
            layout::{lay_out, unpadded, zero_commitment},
        },
    },
    units::{PieceCid, SectorSize},
    worker_config::Sealing,
};

/// A piece of a sector with deals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub cid: PieceCid,
    /// Bytes before bit padding.
    pub size: u64,
    /// Bytes of data; zeros up to `size`. None: all of it is zeros.
    pub payload: Option<u64>,
    /// Whose it is, for people.
    pub name: String,
}

/// Whether a manager's deals may be sealed in a sector of `size` with these settings.
///
/// A list that breaks the rules would be given again to the next sector, so the sector is not given up for it.
pub fn acceptable(deals: &[SectorPiece], size: SectorSize, sealing: &Sealing) -> Result<(), Failure> {
    let pieces = pieces(deals, size).map_err(Failure::permanent)?;
    let count = pieces.iter().filter(|piece| piece.payload.is_some()).count();
    match sealing.max_deals {
        Some(most) if count > most as usize => Err(Failure::permanent(format!(
            "the manager gave {count} deals for one sector: sealing.max_deals is {most}"
        ))),
        _ => Ok(()),
    }
}

/// The padded bytes that are not filling.
pub fn used_bytes(deals: &[SectorPiece]) -> u64 {
    let is_data =
        |deal: &&SectorPiece| deal.piece.piece_cid.cid != PieceCid(zero_commitment(deal.piece.size)).to_string();
    deals.iter().filter(is_data).fold(0, |sum, deal| sum.saturating_add(deal.piece.size))
}

/// All pieces of a sector of `size` with `deals`, in order, with zeros in what is left; none for no deals.
///
/// # Errors
/// What is wrong with which deal.
pub fn pieces(deals: &[SectorPiece], size: SectorSize) -> Result<Vec<Piece>, String> {
    let cids: Vec<PieceCid> = deals.iter().map(cid_of).collect::<Result<_, _>>()?;
    let sizes: Vec<u64> = deals.iter().map(|deal| deal.piece.size).collect();
    let placed =
        lay_out(&sizes, size.bytes().0).map_err(|misfit| format!("{}: {misfit}", described(&deals[misfit.entry()])))?;
    let piece = |place: &crate::runtime::stage::layout::Placed| {
        let zeros = PieceCid(zero_commitment(place.size));
        let size = unpadded(place.size);
        match place.entry.map(|entry| (&deals[entry], cids[entry])) {
            Some((deal, cid)) if cid != zeros => {
                let payload = deal.deal_info.payload_size;
                if payload > size {
                    return Err(format!("{}: {payload} bytes of data in a piece that holds {size}", described(deal)));
                }
                Ok(Piece { cid, size, payload: Some(payload), name: name(deal) })
            }
            _ => Ok(Piece { cid: zeros, size, payload: None, name: "zeros between pieces".into() }),
        }
    };
    placed.iter().map(piece).collect()
}

fn cid_of(deal: &SectorPiece) -> Result<PieceCid, String> {
    deal.piece.piece_cid.cid.parse().map_err(|error| format!("{}: {error}", name(deal)))
}

fn described(deal: &SectorPiece) -> String {
    format!("{}: piece {}", name(deal), deal.piece.piece_cid.cid)
}

/// A deal of the builtin market has a number; others have an allocation, or neither.
fn name(deal: &SectorPiece) -> String {
    let info = &deal.deal_info;
    match (info.deal_id, info.allocation_id) {
        (0, 0) => "a piece without a deal number".into(),
        (0, allocation) => format!("allocation {allocation}"),
        (deal, _) => format!("deal {deal}"),
    }
}

/// Whether what was added is what the deals say. A sector with other data could be proven, and its deals would be lost.
///
/// # Errors
/// The first difference: its place in the list where there is one, and what it is.
pub fn compare(expected: &[Piece], found: &[PieceInfo]) -> Result<(), (Option<usize>, String)> {
    if expected.len() != found.len() {
        return Err((None, format!("{} pieces were added, {} asked for", found.len(), expected.len())));
    }
    for (index, (piece, info)) in expected.iter().zip(found).enumerate() {
        let named = format!("{}: piece {}", piece.name, piece.cid);
        if info.size != piece.size {
            return Err((Some(index), format!("{named}: {} bytes were added, it has {}", info.size, piece.size)));
        }
        if info.commitment != piece.cid.0 {
            let was = PieceCid(info.commitment);
            return Err((Some(index), format!("{named}: what was added is another piece, {was}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::manager::wire::{CidJson, DealInfoV2, PieceInfoV2};

    pub(crate) fn deal(number: u64, size: u64, cid: PieceCid, payload: u64) -> SectorPiece {
        SectorPiece {
            piece: PieceInfoV2 { size, piece_cid: CidJson { cid: cid.to_string() } },
            deal_info: DealInfoV2 {
                deal_id: number,
                allocation_id: 0,
                payload_size: payload,
                is_builtin_market: number > 0,
            },
        }
    }

    const DATA: PieceCid = PieceCid([7; 32]);

    fn zeros(size: u64) -> PieceCid {
        PieceCid(zero_commitment(size))
    }

    #[test]
    fn deals_are_placed_and_what_is_left_is_zeros() {
        let pieces = pieces(&[deal(1, 128, DATA, 100), deal(2, 1024, DATA, 1016)], SectorSize::KiB2).unwrap();
        let told: Vec<_> = pieces.iter().map(|piece| (piece.name.as_str(), piece.size, piece.payload)).collect();
        let between = "zeros between pieces";
        assert_eq!(
            told,
            [
                ("deal 1", 127, Some(100)),
                (between, 127, None),
                (between, 254, None),
                (between, 508, None),
                ("deal 2", 1016, Some(1016))
            ]
        );
        assert_eq!(pieces[2].cid, zeros(256));
        assert_eq!(super::pieces(&[], SectorSize::KiB2), Ok(vec![]));
    }

    #[test]
    fn a_list_that_its_manager_filled_up_stays_as_it_is() {
        let list = [deal(9, 1024, DATA, 1000), deal(0, 1024, zeros(1024), 1016)];
        let pieces = pieces(&list, SectorSize::KiB2).unwrap();
        assert_eq!(pieces.iter().map(|piece| piece.payload).collect::<Vec<_>>(), [Some(1000), None]);
        assert_eq!(used_bytes(&list), 1024);
    }

    #[test]
    fn a_deal_outside_the_builtin_market_is_data_whatever_its_number() {
        let mut outside = deal(0, 2048, DATA, 2000);
        outside.deal_info.allocation_id = 12;
        let pieces = pieces(&[outside], SectorSize::KiB2).unwrap();
        assert_eq!((pieces[0].payload, pieces[0].name.as_str()), (Some(2000), "allocation 12"));
        let pieces = super::pieces(&[deal(0, 2048, DATA, 2000)], SectorSize::KiB2).unwrap();
        assert_eq!(pieces[0].name, "a piece without a deal number");
    }

    #[test]
    fn what_cannot_be_sealed_is_refused_with_deal_and_cid() {
        let of = |deals: &[SectorPiece]| {
            let failure = acceptable(deals, SectorSize::KiB2, &Sealing::default()).unwrap_err();
            assert_eq!(failure.level, super::super::Level::Permanent);
            failure.reason
        };
        let named = format!("deal 3: piece {DATA}: ");
        assert_eq!(
            of(&[deal(3, 4096, DATA, 1)]),
            named.clone() + "it would end at padded byte 4096, beyond the sector's 2048"
        );
        assert!(of(&[deal(3, 1000, DATA, 1)]).starts_with(&(named.clone() + "1000 padded bytes is no piece size")));
        assert_eq!(of(&[deal(3, 128, DATA, 128)]), named + "128 bytes of data in a piece that holds 127");
        let mut odd = deal(3, 128, DATA, 1);
        odd.piece.piece_cid.cid = "bafy".into();
        assert!(of(&[odd]).starts_with("deal 3: \"bafy\" is not a piece CID"));
    }

    #[test]
    fn filling_does_not_count_as_deals() {
        let list = [deal(1, 512, DATA, 1), deal(2, 512, DATA, 1), deal(0, 1024, zeros(1024), 0)];
        let most = |max_deals| acceptable(&list, SectorSize::KiB2, &Sealing { max_deals, ..Sealing::default() });
        assert_eq!(most(Some(2)), Ok(()));
        assert_eq!(most(None), Ok(()));
        let refused = most(Some(1)).unwrap_err().reason;
        assert_eq!(refused, "the manager gave 2 deals for one sector: sealing.max_deals is 1");
    }

    #[test]
    fn another_piece_than_the_deals_is_told_with_both_cids() {
        let expected = pieces(&[deal(5, 2048, DATA, 2000)], SectorSize::KiB2).unwrap();
        let found = |commitment, size| compare(&expected, &[PieceInfo { commitment, size }]);
        assert_eq!(found(DATA.0, 2032), Ok(()));
        let other = PieceCid([8; 32]);
        let told = format!("deal 5: piece {DATA}: what was added is another piece, {other}");
        assert_eq!(found(other.0, 2032), Err((Some(0), told)));
        assert!(found(DATA.0, 1016).unwrap_err().1.contains("1016 bytes were added, it has 2032"));
        assert!(compare(&expected, &[]).unwrap_err().1.contains("0 pieces were added, 1 asked for"));
    }
}
