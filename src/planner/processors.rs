//! A placement as `[processors]`: what worker.toml says, and why, line by line.

use super::{C2Place, Placement, Request, inventory::Inventory};
use crate::{
    profile::{Stage, Suite, catalogue},
    units::{Bytes, CpuList, HumanDuration, Prover},
    worker_config::{Cgroup, Limitation, Processor, Processors, StageName},
};
use std::{collections::BTreeMap, time::Duration};

/// One `[[processors.STAGE]]` with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Explained {
    pub stage: StageName,
    pub why: Vec<String>,
    pub processor: Processor,
}

/// Every processor of a placement, in the order of the stages.
pub(super) fn explained(placement: &Placement, inventory: &Inventory, request: &Request) -> Vec<Explained> {
    let mut all = vec![light(placement, StageName::AddPieces, placement.add_pieces)];
    // A link to a ready tree is made inside the daemon.
    if request.choices.static_tree_d.is_none() {
        all.push(light(placement, StageName::TreeD, placement.tree_d));
    }
    all.extend((0..placement.pc1.len()).map(|place| pc1(placement, place, inventory, request)));
    all.extend((0..placement.processors.len()).map(|place| on_gpu(placement, place, inventory, request)));
    if let C2Place::Remote(program) = &request.choices.c2 {
        all.push(Explained {
            stage: StageName::C2,
            why: vec![
                "C2 is done elsewhere: this program hands the tasks on and speaks the processors' protocol.".to_owned(),
                format!("{} of them are under way at once at the expected rate.", placement.c2_remote),
            ],
            processor: Processor {
                bin: Some(program.clone()),
                concurrent: Some(placement.c2_remote),
                ..Processor::default()
            },
        });
    }
    all
}

/// All of `[processors]`.
pub(super) fn processors(placement: &Placement, explained: &[Explained], request: &Request) -> Processors {
    let mut stages: BTreeMap<StageName, Vec<Processor>> = BTreeMap::new();
    for one in explained {
        stages.entry(one.stage).or_default().push(one.processor.clone());
    }
    let staggered = stagger(placement).map(|gap| (StageName::Pc1, gap));
    let tree_d = request.choices.static_tree_d.iter().map(|path| (request.target.sector_size, path.clone()));
    Processors {
        limitation: Limitation {
            concurrent: placement.limits().into_iter().filter_map(|(s, limit)| Some((stage_name(s)?, limit))).collect(),
            staggered: staggered.into_iter().collect(),
        },
        ext_locks: placement.locks().into_iter().map(|lock| (lock.to_owned(), 1)).collect(),
        static_tree_d: tree_d.collect(),
        stages,
        sealing_daemons: Vec::new(),
    }
}

/// A stage's name in worker.toml; c1 has none there.
pub(super) fn stage_name(stage: Stage) -> Option<StageName> {
    Some(match stage {
        Stage::AddPieces => StageName::AddPieces,
        Stage::TreeD => StageName::TreeD,
        Stage::Pc1 => StageName::Pc1,
        Stage::Pc2 => StageName::Pc2,
        Stage::C1 => return None,
        Stage::C2 => StageName::C2,
    })
}

fn stagger(placement: &Placement) -> Option<HumanDuration> {
    let seconds = placement.pc1_gap_seconds;
    (seconds > 0).then(|| HumanDuration(Duration::from_secs(seconds)))
}

fn cgroup(cpuset: &CpuList) -> Cgroup {
    Cgroup { group_name: None, cpuset: Some(cpuset.clone()) }
}

fn envs(list: impl IntoIterator<Item = (&'static str, String)>) -> BTreeMap<String, String> {
    list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// add_pieces and tree_d, on the cores that are kept for the system.
fn light(placement: &Placement, stage: StageName, tasks: u32) -> Explained {
    Explained {
        stage,
        why: vec![format!("Minutes per sector: on the {} CPUs that are kept for the system.", placement.system.len())],
        processor: Processor {
            cgroup: cgroup(&placement.system),
            concurrent: Some(tasks),
            envs: envs([("RAYON_NUM_THREADS", placement.system.len().to_string())]),
            ..Processor::default()
        },
    }
}

fn pc1(placement: &Placement, place: usize, inventory: &Inventory, request: &Request) -> Explained {
    let set = &placement.pc1[place];
    let choices = &request.choices;
    let mut env = Vec::new();
    if choices.prover != Prover::Own {
        env.push(("FIL_PROOFS_USE_MULTICORE_SDR", "1".to_owned()));
        env.push(("FIL_PROOFS_MULTICORE_SDR_PRODUCERS", placement.producers.to_string()));
    }
    let mut why = vec![match placement.producers {
        0 => {
            format!("{} tasks, each hashing on a core of its own, on whole L3 groups of node {}.", set.tasks, set.node)
        }
        producers => format!(
            "{} tasks, each on {} cores of one L3 (one hashes, {producers} reads ahead), on whole L3 groups of node {}.",
            set.tasks,
            producers + 1,
            set.node
        ),
    }];
    if let Some(dir) = &choices.hugepages {
        // A folder for each processor: two that map the same files would write over each other's layers.
        env.push(("HUGEPAGE_FILES_PATH", dir.join(format!("pc1_{}", set.node)).display().to_string()));
        let pages = set.memory.0.div_ceil(Bytes::gib(1).0);
        why.push(format!("{pages} pages of 1 GiB on node {}: two files of a sector's size for each task.", set.node));
    } else {
        let memory = inventory.nodes.iter().find(|node| node.id == set.node).map_or(Bytes(0), |node| node.memory);
        why.push(format!("They hold {} of the node's {}.", set.memory.human(), memory.human()));
    }
    Explained {
        stage: StageName::Pc1,
        why,
        processor: Processor {
            numa_preferred: Some(set.node),
            cgroup: cgroup(&set.cpuset),
            concurrent: Some(set.tasks),
            envs: envs(env),
            ..Processor::default()
        },
    }
}

fn on_gpu(placement: &Placement, place: usize, inventory: &Inventory, request: &Request) -> Explained {
    let one = &placement.processors[place];
    let mut env = vec![("RAYON_NUM_THREADS", one.cores.to_string())];
    match (one.gpu, one.stage) {
        (Some(gpu), stage) => {
            env.push(("CUDA_DEVICE_ORDER", "PCI_BUS_ID".to_owned()));
            env.push(("CUDA_VISIBLE_DEVICES", gpu.to_string()));
            if stage == Stage::Pc2 {
                // The first alone does nothing since 2023; older libraries want both.
                env.push(("FIL_PROOFS_USE_GPU_COLUMN_BUILDER", "1".to_owned()));
                env.push(("FIL_PROOFS_USE_GPU_TREE_BUILDER", "1".to_owned()));
            } else {
                env.extend(c2_on_gpu(&inventory.gpus[gpu].name, request.choices.suite));
            }
        }
        (None, Stage::C2) => env.push(("BELLMAN_NO_GPU", "1".to_owned())),
        (None, _) => {}
    }
    Explained {
        stage: stage_name(one.stage).expect("only PC2 and C2 get processors of their own"),
        why: why_on_gpu(placement, place, inventory),
        processor: Processor {
            numa_preferred: one.numa_preferred,
            cgroup: cgroup(&one.cpuset),
            concurrent: Some(1),
            locks: one.lock.iter().cloned().collect(),
            envs: envs(env),
            ..Processor::default()
        },
    }
}

/// Each GPU its own lock file: with the default one, two processors would take turns on all GPUs of the machine.
fn c2_on_gpu(name: &str, suite: Suite) -> Vec<(&'static str, String)> {
    let mut env = vec![("BELLPERSON_GPUS_PER_LOCK", "1".to_owned())];
    if let (Suite::Stock, Some(model)) = (suite, catalogue::gpu(name)) {
        env.push(("RUST_GPU_TOOLS_CUSTOM_GPU", format!("{name}:{}", model.cores)));
    }
    env
}

fn why_on_gpu(placement: &Placement, place: usize, inventory: &Inventory) -> Vec<String> {
    let one = &placement.processors[place];
    let stage = one.stage.name().to_uppercase();
    let on = match one.gpu {
        Some(gpu) => format!("GPU {gpu} ({})", inventory.gpus[gpu].name),
        None => format!("{} cores, without a GPU", one.cores),
    };
    let mut why = vec![format!("{stage} on {on}: {:.1} min and {} a task.", one.minutes, one.memory.human())];
    if let Some(lock) = &one.lock {
        why.push(format!("{lock} keeps PC2 and C2 of this GPU apart, so they may have the same cores."));
    }
    why
}
