//! Where stage work is done: submitted, then polled.
//!
//! A stage takes seconds to hours, so a worker hands it over and comes back. Today one executor exists,
//! `in_process`: a thread of the daemon per task. Child processes will stand behind the same trait.

pub mod in_process;

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

/// A stage that ended without an answer, and the reason as text: all that a child's wire can carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{stage}: {reason}")]
pub struct StageError {
    pub stage: &'static str,
    pub reason: String,
}

impl Task {
    /// The stage's name, as in the configuration and on the wire.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::AddPieces(_) => "add_pieces",
            Self::TreeD(_) => "tree_d",
            Self::Pc1(_) => "pc1",
            Self::RestoreReplica(_) => "restore_replica",
            Self::Pc2(_) => "pc2",
            Self::C1(_) => "c1",
            Self::C2(_) => "c2",
            Self::Transfer(_) => "transfer",
        }
    }
}

/// A submitted task whose answer has not been taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskTicket(pub u64);

/// Where a submitted task stands.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskState {
    /// Waits for a slot of its stage.
    Queued,
    /// Is being worked on.
    Running,
    /// Has ended after running for so long; the ticket is used up.
    Ended(Result<Output, StageError>, Duration),
}

/// Something that does stage work. Never blocks its caller.
pub trait Executor: Send + Sync {
    /// Hands over a task.
    fn submit(&self, task: Task) -> TaskTicket;
    /// Where the task stands; the end is told once.
    fn poll(&self, ticket: TaskTicket) -> TaskState;
}
