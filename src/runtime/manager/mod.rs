//! What a sealing thread asks of the sector manager, and the two managers that answer.
//!
//! A `Call` is submitted and its answer polled, so that a step of a worker never waits for a network.
//! `embedded` and `remote` are asynchronous `Manager`s; `Bridge` makes a `SectorManager` of either, `served` gives one to
//! workers elsewhere.
//!
//! **Every call is safe to repeat**, because a crash may lie between an answer and its journal entry, and because a network
//! may lose an answer or carry a question twice:
//!
//! | call | why repeating is safe |
//! | --- | --- |
//! | AllocateSector | an unreported number is a gap, not a loss; the journal keeps the one that was taken |
//! | AcquireDeals | a manager answers the deals that it gave the sector |
//! | AssignTicket | a manager answers the sector's first ticket again |
//! | SubmitPreCommit, SubmitProof | the same content again is `DuplicateSubmit`, which counts as accepted |
//! | StoreReserveSpace, SubmitPersistedEx | idempotent by sector |
//! | ReportFinalized, ReportAborted | idempotent by sector; a remote manager answers `SectorNotFound` to a repetition, because the sector has moved to the ended ones: the worker then lets go of a sector that is Finished or Aborted |
//! | ReportState, WorkerPing | the latest one counts |
//! | WaitSeed, StoreBasicInfo and the polls | read only |

pub mod bridge;
pub mod embedded;
pub mod remote;
pub mod served;
pub mod wire;

use std::future::Future;
use wire::*;

/// One request. The variants' names are the methods' names after `Venus.`.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    StoreBasicInfo { instance: String },
    AllocateSector(AllocateSectorSpec),
    AcquireDeals(SectorId, AcquireDealsSpec),
    AssignTicket(SectorId),
    SubmitPreCommit { sector: AllocatedSector, info: PreCommitOnChainInfo, reset: bool },
    PollPreCommitState(SectorId),
    StoreReserveSpace { sector: SectorId, size: u64, candidates: Vec<String> },
    SubmitPersistedEx { sector: SectorId, instance: String, is_upgrade: bool },
    WaitSeed(SectorId, #[doc = "sent as its number"] crate::units::SealProof),
    SubmitProof { sector: SectorId, proof: ProofOnChainInfo, reset: bool },
    PollProofState(SectorId),
    ReportState(SectorId, ReportStateReq),
    ReportFinalized(SectorId),
    ReportAborted { sector: SectorId, reason: String },
    WorkerPing(WorkerInfo),
}

/// The answer to the call of the same name; calls that answer null share `Done`.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    StoreBasicInfo(Option<StoreBasicInfo>),
    AllocateSector(Option<AllocatedSector>),
    AcquireDeals(Option<Vec<SectorPiece>>),
    AssignTicket(Ticket),
    SubmitPreCommit(SubmitResp),
    PollPreCommitState(PollStateResp),
    StoreReserveSpace(Option<StoreBasicInfo>),
    SubmitPersistedEx(bool),
    WaitSeed(WaitSeedResp),
    SubmitProof(SubmitResp),
    PollProofState(PollStateResp),
    ReportState(SectorState),
    Done,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ManagerError {
    /// The manager does not know the sector (JSON-RPC code 11001): the sector is aborted, or let go of when it has ended.
    #[error("{method}: the manager does not know this sector: {message}")]
    SectorNotFound { method: &'static str, message: String },
    /// The manager answered with an error: tried again later.
    #[error("{method}: the manager refused: {message} (code {code})")]
    Refused { method: &'static str, code: i64, message: String },
    /// No answer came, or none that could be read: tried again later.
    #[error("{method}: {reason}")]
    Unreachable { method: &'static str, reason: String },
}

impl Call {
    /// The JSON-RPC method.
    pub fn method(&self) -> &'static str {
        match self {
            Self::StoreBasicInfo { .. } => "Venus.StoreBasicInfo",
            Self::AllocateSector(..) => "Venus.AllocateSector",
            Self::AcquireDeals(..) => "Venus.AcquireDeals",
            Self::AssignTicket(..) => "Venus.AssignTicket",
            Self::SubmitPreCommit { .. } => "Venus.SubmitPreCommit",
            Self::PollPreCommitState(..) => "Venus.PollPreCommitState",
            Self::StoreReserveSpace { .. } => "Venus.StoreReserveSpace",
            Self::SubmitPersistedEx { .. } => "Venus.SubmitPersistedEx",
            Self::WaitSeed(..) => "Venus.WaitSeed",
            Self::SubmitProof { .. } => "Venus.SubmitProof",
            Self::PollProofState(..) => "Venus.PollProofState",
            Self::ReportState(..) => "Venus.ReportState",
            Self::ReportFinalized(..) => "Venus.ReportFinalized",
            Self::ReportAborted { .. } => "Venus.ReportAborted",
            Self::WorkerPing(..) => "Venus.WorkerPing",
        }
    }
}

/// A manager as an asynchronous edge: the embedded one, or a remote one over HTTP.
pub trait Manager: Send + Sync + 'static {
    /// Carries out one call.
    fn call(&self, call: Call) -> impl Future<Output = Result<Answer, ManagerError>> + Send;
}

/// A submitted call whose answer has not been taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallTicket(pub u64);

/// A manager as a worker sees it: submit, then poll. Never blocks.
pub trait SectorManager: Send + Sync {
    /// Starts a call.
    fn submit(&self, call: Call) -> CallTicket;
    /// The answer, once; `None` while there is none. A ticket that was answered or never given is a bug and panics.
    fn poll(&self, ticket: CallTicket) -> Option<Result<Answer, ManagerError>>;
}
