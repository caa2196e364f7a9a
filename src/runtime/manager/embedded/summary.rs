//! A sector of the embedded manager as others may see it.

use super::{
    chain::seed_epoch,
    sector::{End, Persisted, Sector},
};
use crate::{
    runtime::{manager::wire::ReportStateReq, stage::Commitment},
    units::SealProof,
};
use std::fmt;

/// How far a sector has come, for its manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SectorStatus {
    Allocated,
    TicketAssigned,
    PreCommitted,
    /// Its proof was verified and accepted.
    Proven,
    Finalized,
    Aborted,
}

impl fmt::Display for SectorStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allocated => "allocated",
            Self::TicketAssigned => "ticket assigned",
            Self::PreCommitted => "pre-committed",
            Self::Proven => "proven",
            Self::Finalized => "finalized",
            Self::Aborted => "aborted",
        })
    }
}

/// What the embedded manager knows of a sector.
#[derive(Clone, Debug, PartialEq)]
pub struct SectorSummary {
    pub miner: u64,
    pub number: u64,
    pub proof_type: SealProof,
    pub status: SectorStatus,
    pub ticket_epoch: Option<i64>,
    /// Known once the pre-commit is sent; the seed itself comes at that epoch.
    pub seed_epoch: Option<i64>,
    pub comm_r: Option<Commitment>,
    pub comm_d: Option<Commitment>,
    /// The persistent store that holds its files.
    pub instance: Option<String>,
    /// Why the latest look at its persisted files failed.
    pub persist_refusal: Option<String>,
    pub proof: Option<Vec<u8>>,
    /// Whether the verifier said yes to the proof. No other proof is ever kept.
    pub verified: bool,
    pub abort_reason: Option<String>,
    /// The worker's latest report.
    pub report: Option<ReportStateReq>,
}

impl From<Sector> for SectorSummary {
    fn from(sector: Sector) -> Self {
        let status = status(&sector);
        let (instance, persist_refusal) = match sector.persisted {
            Some(Persisted::In(store)) => (Some(store), None),
            Some(Persisted::Refused(reason)) => (None, Some(reason)),
            None => (None, None),
        };
        let abort_reason = match sector.end {
            Some(End::Aborted(reason)) => Some(reason),
            Some(End::Finalized) | None => None,
        };
        Self {
            miner: sector.id.miner,
            number: sector.id.number,
            proof_type: sector.proof_type,
            status,
            ticket_epoch: sector.ticket.map(|it| it.epoch),
            seed_epoch: sector.pre_commit.map(|it| seed_epoch(it.sent)),
            comm_r: sector.pre_commit.map(|it| it.comm_r),
            comm_d: sector.pre_commit.map(|it| it.comm_d),
            instance,
            persist_refusal,
            verified: sector.proof.is_some(),
            proof: sector.proof.map(|it| it.bytes),
            abort_reason,
            report: sector.report,
        }
    }
}

fn status(sector: &Sector) -> SectorStatus {
    match sector {
        Sector { end: Some(End::Finalized), .. } => SectorStatus::Finalized,
        Sector { end: Some(End::Aborted(_)), .. } => SectorStatus::Aborted,
        Sector { proof: Some(_), .. } => SectorStatus::Proven,
        Sector { pre_commit: Some(_), .. } => SectorStatus::PreCommitted,
        Sector { ticket: Some(_), .. } => SectorStatus::TicketAssigned,
        _ => SectorStatus::Allocated,
    }
}
