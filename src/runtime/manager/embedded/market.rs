//! Deals of the embedded manager: what lies on the shelf becomes a deal, once, and a deal goes to one sector.

use super::{
    Embedded, Refusal, Trouble, blocking,
    deals::{self, Deal},
    known, shelf,
};
use crate::{
    runtime::{
        manager::wire::{AcquireDealsSpec, SectorId, SectorPiece},
        proofs,
    },
    units::PieceCid,
};
use std::{collections::BTreeSet, path::PathBuf, sync::PoisonError};

impl Embedded {
    /// The deals of a sector: those that it has, or as many of the free ones as it holds and the worker wants. None
    /// without any.
    pub(super) async fn acquire_deals(
        &self,
        id: SectorId,
        spec: &AcquireDealsSpec,
    ) -> Result<Option<Vec<SectorPiece>>, Trouble> {
        let size = self.with_sector(id, |sector, _| Ok(sector.proof_type.sector_size())).await?;
        let there = self.take_stock(true).await?;
        let mut database = self.database.lock().await;
        let mut work = database.begin(self.now_ms()).await?;
        let sector = known(&mut work, id).await?;
        let (taken, free): (Vec<_>, Vec<_>) = work
            .deals()
            .await?
            .into_iter()
            .filter(|deal| deal.sector.is_none_or(|n| n == id.number))
            .partition(|deal| deal.sector.is_some());
        let mut given = deals::choose(&taken, size, &AcquireDealsSpec::default());
        if given.is_empty() && sector.pre_commit.is_none() {
            sector.refuse_if_ended()?;
            let free: Vec<_> = free.into_iter().filter(|deal| there.contains(&deal.id)).collect();
            given = deals::choose(&free, size, spec);
            for deal in &given {
                work.take_deal(deal.id, id.number).await?;
            }
        }
        work.commit().await?;
        Ok((!given.is_empty()).then(|| deals::answer(&given, size)))
    }

    /// What comm_d must be of a sector that has deals.
    pub(super) async fn comm_d_of_deals(&self, id: SectorId) -> Result<Option<[u8; 32]>, Trouble> {
        let mut database = self.database.lock().await;
        let mut work = database.begin(self.now_ms()).await?;
        let sector = known(&mut work, id).await?;
        let taken: Vec<Deal> = work.deals().await?.into_iter().filter(|deal| deal.sector == Some(id.number)).collect();
        work.commit().await?;
        // A rehearsed pc2 answers with a comm_d of its own.
        if taken.is_empty() || self.options.rehearsal {
            return Ok(None);
        }
        let size = sector.proof_type.sector_size();
        let pieces = deals::infos(&deals::choose(&taken, size, &AcquireDealsSpec::default()), size);
        let comm_d = proofs::comm_d(sector.proof_type, &pieces);
        Ok(Some(comm_d.map_err(|error| Refusal(format!("comm_d of the sector's deals: {error}")))?))
    }

    /// Looks at the folder of pieces and says which deals have their file. A file that was not there before is measured
    /// and offered, once, if `offer`; large ones take minutes.
    pub(super) async fn take_stock(&self, offer: bool) -> Result<BTreeSet<u64>, Trouble> {
        let Some(folder) = self.options.pieces.clone() else { return Ok(BTreeSet::new()) };
        // Nobody measures a file that another call measures already.
        let _one = self.stock.lock().await;
        let looked = folder.clone();
        let seen = blocking(move || shelf::look(&looked)).await?;
        let seen = seen.map_err(|error| Refusal(format!("read the folder of pieces {}: {error}", folder.display())))?;
        let mut deals = self.all_deals().await?;
        let is_known = |deals: &[Deal], seen: &shelf::Seen| {
            deals.iter().any(|d| d.file == seen.name && d.identity == seen.identity)
        };
        for file in seen.iter().filter(|_| offer) {
            if is_known(&deals, file) {
                continue;
            }
            let (folder, asked, proof) = (folder.clone(), file.clone(), self.options.proof_type);
            match blocking(move || shelf::measure(&folder, &asked, proof)).await? {
                Ok(Some((cid, size))) => {
                    let id = deals.last().map_or(1, |deal| deal.id + 1);
                    let (file, identity) = (file.name.clone(), file.identity.clone());
                    let deal = Deal { id, file, identity, cid, size, sector: None };
                    tracing::info!(deal = id, file = deal.file, %cid, bytes = size, "offered as a deal");
                    self.add_deal(&deal).await?;
                    deals.push(deal);
                }
                Ok(None) => tracing::info!(file = file.name, "changed while it was measured: not offered yet"),
                Err(why) => tracing::warn!(file = file.name, why, "not offered as a deal"),
            }
        }
        deals.retain(|deal| seen.iter().any(|s| s.name == deal.file && s.identity == deal.identity));
        let there = deals.iter().map(|deal| deal.id).collect();
        let paths = deals.into_iter().map(|deal| (deal.cid, folder.join(deal.file))).collect();
        *self.paths.lock().unwrap_or_else(PoisonError::into_inner) = paths;
        Ok(there)
    }

    async fn all_deals(&self) -> Result<Vec<Deal>, Trouble> {
        let mut database = self.database.lock().await;
        let mut work = database.begin(self.now_ms()).await?;
        let deals = work.deals().await?;
        work.commit().await?;
        Ok(deals)
    }

    async fn add_deal(&self, deal: &Deal) -> Result<(), Trouble> {
        let mut database = self.database.lock().await;
        let mut work = database.begin(self.now_ms()).await?;
        work.add_deal(deal).await?;
        Ok(work.commit().await?)
    }

    /// The file of an offered piece. Its bytes are what they were when the folder was last looked at, or another piece's:
    /// whoever adds them compares.
    pub fn piece(&self, cid: PieceCid) -> Option<PathBuf> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).get(&cid).cloned()
    }
}
