//! What happened. Durable events are journaled and rebuild the record; the others steer this process only.

use super::{Failure, State};
use crate::runtime::{
    manager::wire::{AllocatedSector, B64Bytes, SectorPiece, Seed, StoreBasicInfo, Ticket},
    stage::{Opaque, Pc2Output, PieceInfo, Stage},
};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// Something that changes a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Allocated {
        sector: AllocatedSector,
        /// The simulated chain that it belongs to; none for a real manager.
        chain: Option<String>,
    },
    /// No deals: the sector is filled with zeros.
    DealsAcquired,
    /// These deals, as the manager gave them.
    DealsTaken {
        deals: Vec<SectorPiece>,
    },
    /// The intent: a stage is about to begin.
    StageStarted {
        stage: Stage,
    },
    PiecesAdded {
        pieces: Vec<PieceInfo>,
        seconds: f64,
    },
    TreeDBuilt {
        seconds: f64,
    },
    /// The first ticket, or a younger one as long as nothing was made from it.
    TicketAssigned(Ticket),
    Pc1Done {
        output: Opaque,
        seconds: f64,
    },
    /// The sealed file is the staged one again and pc2's other files are gone.
    ReplicaRestored,
    Pc2Done {
        output: Pc2Output,
        seconds: f64,
    },
    /// The intent: a message of this state is about to be submitted. From here on the chain may have seen it.
    Submitting,
    PreCommitSubmitted,
    PreCommitLanded,
    /// The message failed on chain: submit again.
    PreCommitFailed {
        reason: String,
    },
    Persisted {
        /// The persistent store that has the files.
        store: String,
        seconds: f64,
    },
    PersistenceSubmitted,
    SeedAssigned(Seed),
    C1Done {
        digest: String,
        seconds: f64,
    },
    /// c1's answer is not what was journaled: made again.
    C1Lost {
        reason: String,
    },
    C2Done {
        proof: B64Bytes,
        seconds: f64,
    },
    ProofSubmitted,
    /// The message failed on chain: submit again.
    ProofFailed {
        reason: String,
    },
    ProofLanded,
    Aborted {
        reason: String,
    },
    /// The manager was told and the files are gone.
    Dropped,
    /// An operator sent the sector back.
    SetBack {
        to: State,
    },
    /// What the undone stages had made is gone from the store.
    UndoneRemoved,

    /// Not durable: where the files may go. Asked again after a restart or a failed transfer.
    SpaceReserved(StoreBasicInfo),
    /// Not durable: all is well, and there is nothing to do before `until`.
    Held {
        until: SystemTime,
    },
    /// Not durable: something went wrong at `now`.
    Failed {
        failure: Failure,
        now: SystemTime,
    },
    /// Not durable: an operator lets a paused thread go on.
    Resumed,
}

impl Event {
    /// Whether the event belongs in the journal.
    pub fn is_durable(&self) -> bool {
        !matches!(self, Self::SpaceReserved(_) | Self::Held { .. } | Self::Failed { .. } | Self::Resumed)
    }

    /// The event's name, for reports and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Allocated { .. } => "Allocated",
            Self::DealsAcquired | Self::DealsTaken { .. } => "DealsAcquired",
            Self::StageStarted { .. } => "StageStarted",
            Self::PiecesAdded { .. } => "PiecesAdded",
            Self::TreeDBuilt { .. } => "TreeDBuilt",
            Self::TicketAssigned(_) => "TicketAssigned",
            Self::Pc1Done { .. } => "PC1Done",
            Self::ReplicaRestored => "ReplicaRestored",
            Self::Pc2Done { .. } => "PC2Done",
            Self::Submitting => "Submitting",
            Self::PreCommitSubmitted => "PreCommitSubmitted",
            Self::PreCommitLanded => "PreCommitLanded",
            Self::PreCommitFailed { .. } => "PreCommitFailed",
            Self::SpaceReserved(_) => "SpaceReserved",
            Self::Persisted { .. } => "Persisted",
            Self::PersistenceSubmitted => "PersistenceSubmitted",
            Self::SeedAssigned(_) => "SeedAssigned",
            Self::C1Done { .. } => "C1Done",
            Self::C1Lost { .. } => "C1Lost",
            Self::C2Done { .. } => "C2Done",
            Self::ProofSubmitted => "ProofSubmitted",
            Self::ProofFailed { .. } => "ProofFailed",
            Self::ProofLanded => "ProofLanded",
            Self::Aborted { .. } => "Aborted",
            Self::Dropped => "Dropped",
            Self::SetBack { .. } => "SetBack",
            Self::UndoneRemoved => "UndoneRemoved",
            Self::Held { .. } => "Held",
            Self::Failed { .. } => "Failed",
            Self::Resumed => "Resumed",
        }
    }
}
