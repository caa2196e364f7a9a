//! Where stage work is done: submitted, then polled.
//!
//! A stage takes seconds to hours, so a worker hands it over and comes back.
//!
//! ```text
//! worker ─ queue, granted?, start, poll ─► pool ─┬─ in the daemon: a thread per task, `Perform`
//!                                          │     └─ child ═ pipes ═ serve: our processor, or anybody's
//!                         ledger (who, where, when)          └─ `Perform`, or rehearse (it pretends)
//! ```
//!
//! `protocol` is what goes through the pipes, `restart` how long a fallen child stays down, `ledger` what the pool counts, all
//! pure; `scratch` are the children's temporary folders.

pub mod child;
pub mod ledger;
pub mod pool;
pub mod protocol;
pub mod rehearse;
pub mod restart;
pub mod scratch;
pub mod serve;

use super::stage::*;
use crate::units::SealProof;
use std::{path::PathBuf, time::Duration};

/// A stage's work, complete in itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    AddPieces(AddPiecesTask),
    TreeD(TreeDTask),
    Pc1(Pc1Task),
    /// Inside the daemon only: undo an interrupted pc2.
    RestoreReplica(RestoreReplicaTask),
    Pc2(Pc2Task),
    /// Inside the daemon only.
    C1(C1Task),
    C2(C2Task),
    Transfer(TransferTask),
}

/// Make the sealed file from the staged one again and remove what pc2 wrote: pc2 encodes in place, and
/// the library takes any tree file that is there as complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreReplicaTask {
    pub registered_proof: SealProof,
    pub staged_file: PathBuf,
    pub sealed_file: PathBuf,
    pub cache_dir: PathBuf,
}

/// The answer to the task of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    AddPieces(Vec<PieceInfo>),
    TreeD,
    Pc1(Opaque),
    RestoreReplica,
    Pc2(Pc2Output),
    C1(Opaque),
    C2(C2Output),
    Transfer,
}

/// A stage that ended without an answer, and the reason as text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{stage}: {reason}")]
pub struct StageError {
    pub stage: Stage,
    pub reason: String,
    /// Trying the same again cannot help.
    pub permanent: bool,
}

impl Task {
    /// The task's stage.
    pub fn stage(&self) -> Stage {
        match self {
            Self::AddPieces(_) => Stage::AddPieces,
            Self::TreeD(_) => Stage::TreeD,
            Self::Pc1(_) => Stage::Pc1,
            Self::RestoreReplica(_) => Stage::RestoreReplica,
            Self::Pc2(_) => Stage::Pc2,
            Self::C1(_) => Stage::C1,
            Self::C2(_) => Stage::C2,
            Self::Transfer(_) => Stage::Transfer,
        }
    }

    /// The sector it is for, `s-t0<miner>-<number>`: its files have that name.
    pub fn sector(&self) -> Option<String> {
        let file = match self {
            Self::AddPieces(task) => &task.staged_filepath,
            Self::TreeD(task) => &task.staged_file,
            Self::Pc1(task) => &task.in_path,
            Self::RestoreReplica(task) => &task.staged_file,
            Self::Pc2(task) => &task.sealed_file,
            Self::C1(task) => &task.sealed_file,
            Self::Transfer(task) => &task.routes.first()?.src.uri,
            Self::C2(task) => return Some(SectorPaths::new(task.miner_id, task.sector_id).name().to_owned()),
        };
        Some(file.file_name()?.to_string_lossy().into_owned())
    }
}

/// Carries out one task on the calling thread.
pub type Perform = dyn Fn(Task) -> Result<Output, Flaw> + Send + Sync;

/// Why a task could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// For the operator, without the stage's name.
    pub reason: String,
    /// Trying the same again cannot help.
    pub permanent: bool,
}

/// Carries out `task`; a panic is a flaw of that task and of nothing else.
pub fn perform_guarded(perform: &Perform, task: Task) -> Result<Output, Flaw> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| perform(task))).unwrap_or_else(|panic| {
        let reason = format!("panicked: {}", super::words::panic_text(panic.as_ref()));
        Err(Flaw { reason, permanent: false })
    })
}

/// A place in the queue of a stage, later a slot of it, later the task that runs in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u64);

/// How a task ended, and how long it ran.
pub type End = (Result<Output, StageError>, Duration);

/// Something that does stage work, under limits. Never blocks its caller.
///
/// Queueing and starting are two calls, because what a stage needs may age while it waits (a ticket), and
/// because its intent belongs in the journal when it starts, not when it queues.
pub trait Executor: Send + Sync {
    /// Queues for a slot of `stage`.
    fn queue(&self, stage: Stage) -> Slot;
    /// Whether the slot has been granted.
    fn granted(&self, slot: Slot) -> bool;
    /// Starts `task` in a granted slot; anything else is a bug and panics.
    fn start(&self, slot: Slot, task: Task);
    /// The end of the started task, once; the slot is then free again.
    fn poll(&self, slot: Slot) -> Option<End>;
    /// Leaves the queue, or gives a granted slot back in which nothing was started.
    fn give_up(&self, slot: Slot);
}
