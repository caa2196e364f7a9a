//! Which function does which stage's work inside this process.

use crate::{
    runtime::{
        limit::Limits,
        processor::{Output, RestoreReplicaTask, Task, in_process::InProcess},
        proofs,
        store::transfer::transfer,
    },
    worker_config::{Limitation, Processors},
};

/// The daemon's executor under the configuration's limits.
pub(super) fn executor(processors: &Processors) -> InProcess {
    InProcess::new(limits(&processors.limitation), Box::new(perform))
}

fn limits(limitation: &Limitation) -> Limits {
    let concurrent = limitation.concurrent.iter().map(|(stage, most)| (stage.to_string(), *most)).collect();
    let staggered = limitation.staggered.iter().map(|(stage, gap)| (stage.to_string(), gap.0)).collect();
    Limits::new(concurrent, staggered)
}

fn perform(task: Task) -> Result<Output, String> {
    match task {
        Task::AddPieces(task) => proofs::add_pieces(&task).map(Output::AddPieces).map_err(reason),
        Task::TreeD(task) => proofs::tree_d(&task).map(|_| Output::TreeD).map_err(reason),
        Task::Pc1(task) => proofs::pc1(&task).map(Output::Pc1).map_err(reason),
        Task::RestoreReplica(task) => restore_replica(&task).map(|()| Output::RestoreReplica),
        Task::Pc2(task) => proofs::pc2(&task).map(Output::Pc2).map_err(reason),
        Task::C1(task) => proofs::c1(&task).map(Output::C1).map_err(reason),
        Task::C2(task) => proofs::c2(&task).map(Output::C2).map_err(reason),
        Task::Transfer(task) => transfer(&task).map(|()| Output::Transfer).map_err(|e| e.to_string()),
    }
}

/// pc2's files first: a crash in between leaves no tree that belongs to another replica.
fn restore_replica(task: &RestoreReplicaTask) -> Result<(), String> {
    proofs::clean_before_pc2_again(&task.cache_dir).map_err(reason)?;
    proofs::remake_sealed(&task.staged_file, &task.sealed_file, task.registered_proof.sector_size()).map_err(reason)
}

/// Without the stage, which the executor names.
fn reason(error: proofs::ProofsError) -> String {
    error.reason()
}
