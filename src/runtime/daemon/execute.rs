//! Which function does which stage's work inside this process.

use crate::{
    runtime::{
        limit::Limits,
        processor::{
            Output, RestoreReplicaTask, Task,
            in_process::{Flaw, InProcess},
        },
        proofs,
        store::transfer::transfer,
    },
    worker_config::Processors,
};

/// The daemon's executor under the configuration's limits.
pub(super) fn executor(processors: &Processors) -> InProcess {
    InProcess::new(limits(processors), Box::new(perform))
}

/// A stage may run as often as `limitation` says, and no more often than its processors together would.
fn limits(processors: &Processors) -> Limits {
    let mut concurrent = processors.limitation.concurrent.clone();
    for (stage, processors) in &processors.stages {
        if let Some(together) = processors.iter().map(|processor| processor.concurrent).sum::<Option<u32>>() {
            let most = concurrent.entry(*stage).or_insert(together);
            *most = together.min(*most);
        }
    }
    let concurrent = concurrent.into_iter().map(|(stage, most)| (stage.to_string(), most)).collect();
    let staggered = processors.limitation.staggered.iter().map(|(stage, gap)| (stage.to_string(), gap.0)).collect();
    Limits::new(concurrent, staggered)
}

fn perform(task: Task) -> Result<Output, Flaw> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker_config::{Processor, StageName};
    use std::{collections::BTreeMap, time::Instant};

    #[test]
    fn what_processors_may_do_together_bounds_their_stage_here_too() {
        let processor = |concurrent| Processor { concurrent, ..Processor::default() };
        let room = |processors: &Processors| {
            let mut limits = limits(processors);
            (0..9).take_while(|_| limits.try_start("pc1", Instant::now())).count()
        };
        let stages = BTreeMap::from([(StageName::Pc1, vec![processor(Some(2)), processor(Some(1))])]);
        let mut processors = Processors { stages, ..Processors::default() };
        assert_eq!(room(&processors), 3);
        processors.limitation.concurrent.insert(StageName::Pc1, 2);
        assert_eq!(room(&processors), 2);
        processors.stages.insert(StageName::Pc1, vec![processor(Some(1)), processor(None)]);
        assert_eq!(room(&processors), 2, "one without a number of its own does not bound");
    }
}
