//! Which function does which stage's work, inside this process or in a processor of ours.

use crate::runtime::{
    processor::{
        Flaw, Output, Perform, RestoreReplicaTask, Task,
        rehearse::{self, Script},
    },
    proofs,
    store::transfer::transfer,
};

/// Who does the stages that have no processor.
pub(super) fn performer(rehearsal: Option<&Script>) -> Box<Perform> {
    match rehearsal {
        None => Box::new(perform),
        Some(script) => {
            let pretend = rehearse::performer(script);
            Box::new(move |task| pretend(task))
        }
    }
}

/// Carries out a task with real proofs.
pub fn perform(task: Task) -> Result<Output, Flaw> {
    match task {
        Task::AddPieces(task) => proofs::add_pieces(&task).map(Output::AddPieces).map_err(flaw),
        Task::TreeD(task) => proofs::tree_d(&task).map(|_| Output::TreeD).map_err(flaw),
        Task::Pc1(task) => proofs::pc1(&task).map(Output::Pc1).map_err(flaw),
        Task::RestoreReplica(task) => restore_replica(&task).map(|()| Output::RestoreReplica),
        Task::Pc2(task) => proofs::pc2(&task).map(Output::Pc2).map_err(flaw),
        Task::C1(task) => proofs::c1(&task).map(Output::C1).map_err(flaw),
        Task::C2(task) => proofs::c2(&task).map(Output::C2).map_err(flaw),
        Task::Transfer(task) => transfer(&task)
            .map(|()| Output::Transfer)
            .map_err(|error| Flaw { permanent: error.is_permanent(), reason: error.to_string() }),
    }
}

/// pc2's files first: a crash in between leaves no tree that belongs to another replica.
fn restore_replica(task: &RestoreReplicaTask) -> Result<(), Flaw> {
    proofs::clean_before_pc2_again(&task.cache_dir).map_err(flaw)?;
    proofs::remake_sealed(&task.staged_file, &task.sealed_file, task.registered_proof.sector_size()).map_err(flaw)
}

/// Without the stage, which the executor names.
fn flaw(error: proofs::ProofsError) -> Flaw {
    Flaw { permanent: error.is_permanent(), reason: error.reason() }
}
