//! Deals on their way into a sector: what the manager's answer means, which pieces to add, and whether they were added.

use super::answers::Meaning;
use crate::{
    runtime::{
        manager::wire::{AllocatedSector, SectorPiece},
        pieces::{PieceSource, Shown},
        sector::{
            Event, Failure, Record,
            deals::{self, Piece, acceptable, used_bytes},
        },
        stage::{PieceFile, PieceInfo, PieceToAdd},
    },
    worker_config::Sealing,
};

/// What an answer to AcquireDeals means for `sector`.
pub(super) fn meaning(deals: Option<Vec<SectorPiece>>, sector: AllocatedSector, sealing: &Sealing) -> Meaning {
    let deals = deals.unwrap_or_default();
    if deals.is_empty() {
        // Like an idle thread: asked again until there are some.
        return if sealing.disable_cc {
            Meaning::WaitFor(sealing.recover_interval.0)
        } else {
            Meaning::Event(Event::DealsAcquired)
        };
    }
    match acceptable(&deals, sector.proof_type.sector_size(), sealing) {
        Err(failure) => Meaning::Failed(failure),
        Ok(()) => {
            let used = used_bytes(&deals);
            if let Some(least) = sealing.min_deal_space.filter(|least| least.0 > used) {
                tracing::warn!(used, %least, "the manager's deals fill less than sealing.min_deal_space; sealed all the same");
            }
            Meaning::Event(Event::DealsTaken { deals })
        }
    }
}

/// The pieces of the sector in `record`, each with where its bytes are; none for an empty sector.
pub(super) fn to_add(record: &Record, source: &dyn PieceSource) -> Result<Vec<PieceToAdd>, Failure> {
    let pieces = expected(record).map_err(Failure::critical)?;
    let piece = |piece: &Piece| {
        let (piece_file, payload_size) = match piece.payload {
            None => (PieceFile::Pledge, piece.size),
            // A piece may be brought meanwhile, and a manager come back.
            Some(payload) => match source.find(piece.cid, payload) {
                Ok(file) => (file, payload),
                Err(why) => return Err(Failure::temporary(format!("{}: {why}", piece.name))),
            },
        };
        Ok(PieceToAdd { piece_file, payload_size, piece_size: piece.size })
    };
    pieces.iter().map(piece).collect()
}

/// Whether `found`, which add_pieces answered, are the pieces of the sector's deals. Nothing else is checked of an empty
/// sector: it has no commitment to keep to.
pub(super) fn compare(record: &Record, found: &[PieceInfo], source: &dyn PieceSource) -> Result<(), Failure> {
    let pieces = expected(record).map_err(Failure::critical)?;
    if pieces.is_empty() {
        return Ok(());
    }
    deals::compare(&pieces, found).map_err(|(which, what)| {
        let from = which.and_then(|index| Some((pieces[index].cid, pieces[index].payload?)));
        let from = from.and_then(|(cid, payload)| source.find(cid, payload).ok());
        let from = from.map(|file| format!(" (from {})", Shown(&file))).unwrap_or_default();
        Failure::permanent(format!("add_pieces: {what}{from}: bring the deal's own data there, then resume"))
    })
}

fn expected(record: &Record) -> Result<Vec<Piece>, String> {
    let Some(sector) = record.sector else { return Ok(Vec::new()) };
    deals::pieces(&record.deals, sector.proof_type.sector_size())
        .map_err(|what| format!("the journal has deals that do not fit the sector: {what}"))
}
