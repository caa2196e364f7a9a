//! All that is known of the sector in a store. The journal can rebuild it from nothing.

use super::{Failure, State};
use crate::runtime::{
    manager::wire::{AllocatedSector, B64Bytes, SectorId, SectorPiece, Seed, StoreBasicInfo, Ticket},
    stage::{Commitment, Opaque, Pc2Output, PieceInfo, SealClaim, prover_id},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::SystemTime};

/// A sector's record. The durable part is what `apply` derives from journaled events; `reserved`,
/// `retries`, `hold` and `paused` live and die with the process: a restart is an operator's "try again".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub state: State,
    pub sector: Option<AllocatedSector>,
    /// The simulated chain that the sector belongs to; none for a real manager.
    pub chain: Option<String>,
    /// What the manager gave, in its order; none for an empty sector.
    #[serde(default)]
    pub deals: Vec<SectorPiece>,
    pub pieces: Vec<PieceInfo>,
    pub ticket: Option<Ticket>,
    /// pc1's answer.
    pub pc1: Option<Opaque>,
    /// pc2 was started and has not been undone: the sealed file may be half encoded.
    pub pc2_dirty: bool,
    pub pc2: Option<Pc2Output>,
    /// The next submission replaces a failed message.
    pub reset: bool,
    /// An operator sent the sector back to where it is: what was made after this state is to be removed first.
    #[serde(default)]
    pub undone: bool,
    /// A pre-commit was submitted, or began to be: the chain may have seen this replica's commitment.
    #[serde(default)]
    pub pre_commit_sent: bool,
    /// The same of the proof.
    #[serde(default)]
    pub proof_sent: bool,
    /// The pre-commit is on the chain: it is not submitted again.
    #[serde(default)]
    pub pre_commit_landed: bool,
    /// The persistent store that has the files.
    pub persisted_in: Option<String>,
    pub seed: Option<Seed>,
    /// Digest of c1's answer, which lies in a file of its own: it is tens of MB at 32 GiB.
    pub c1_digest: Option<String>,
    pub proof: Option<B64Bytes>,
    pub abort_reason: Option<String>,
    /// Seconds that each stage took when it succeeded.
    pub seconds: BTreeMap<String, f64>,
    /// Starts of each stage, repeated ones included.
    pub starts: BTreeMap<String, u32>,
    /// Where the files may go.
    #[serde(skip)]
    pub reserved: Option<StoreBasicInfo>,
    /// Temporary failures in a row: no good answer between them.
    #[serde(skip)]
    pub retries: u32,
    /// Nothing is tried before this moment.
    #[serde(skip)]
    pub hold: Option<SystemTime>,
    /// Why the thread waits for an operator.
    #[serde(skip)]
    pub paused: Option<Failure>,
}

impl Record {
    /// The sector's id, once there is one.
    pub fn id(&self) -> Option<SectorId> {
        self.sector.map(|sector| sector.id)
    }

    /// The prover id of the sector's miner.
    pub fn prover_id(&self) -> Option<[u8; 32]> {
        self.id().map(|id| prover_id(id.miner))
    }

    /// What a verifier must be told, once seed and commitments are known.
    pub fn claim(&self) -> Option<SealClaim> {
        let (sector, pc2) = (self.sector?, self.pc2.as_ref()?);
        Some(SealClaim {
            registered_proof: sector.proof_type,
            comm_r: pc2.comm_r,
            comm_d: pc2.comm_d,
            prover_id: prover_id(sector.id.miner),
            sector_id: sector.id.number,
            ticket: self.ticket?.ticket.0,
            seed: self.seed?.seed.0,
        })
    }

    /// comm_r and comm_d, once pc2 is done.
    pub fn commitments(&self) -> Option<(Commitment, Commitment)> {
        self.pc2.as_ref().map(|pc2| (pc2.comm_r, pc2.comm_d))
    }
}
