//! Where work is done on a machine of a type: each processor of its configuration with its cores, its node and its GPU.

use super::{Host, MachineType, Played};
use crate::{
    planner::{Placement, fleet::Role},
    profile::Stage,
    units::{Bytes, CpuList, NodeId},
    worker_config::{Processor, StageName, WorkerConfig},
};
use std::collections::BTreeMap;

/// A processor, or the daemon itself where stages run inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `pc1-0`, also its container's name.
    pub name: String,
    pub stage: String,
    pub tasks: u32,
    /// None where it is not bound to any, or works elsewhere.
    pub cpus: Option<CpuList>,
    pub node: Option<NodeId>,
    pub gpu: Option<usize>,
    pub lock: Option<String>,
    /// Of all its tasks at once, where that is known.
    pub memory: Option<Bytes>,
    pub envs: BTreeMap<String, String>,
    /// The program that hands its work to somebody else.
    pub program: Option<String>,
}

impl Place {
    /// The places of a type, in the order of a sector's life; none where nothing tells them.
    pub fn all(one: &MachineType, played: Option<&Played>) -> Vec<Self> {
        match (&one.host, played) {
            (Some(host), Some(played)) => of_config(host, &played.config),
            _ => of_work(one),
        }
    }
}

fn of_config(host: &Host, config: &WorkerConfig) -> Vec<Place> {
    let placement = host.plan.as_ref().and_then(|plan| plan.placement.as_ref());
    let mut places = Vec::new();
    for stage in StageName::ALL {
        let listed = config.processors.stages.get(&stage).into_iter().flatten();
        for (i, processor) in listed.enumerate() {
            places.push(of_processor(stage, i, processor, placement));
        }
    }
    if places.is_empty() {
        places.push(Place {
            name: "daemon".to_owned(),
            stage: "all stages".to_owned(),
            tasks: config.sealing_thread.len() as u32,
            cpus: Some(host.machine.allowed_cpus.and(&host.machine.cpus())),
            node: None,
            gpu: None,
            lock: None,
            memory: host.plan.as_ref().map(|plan| plan.capacity.tasks_memory_bytes),
            envs: BTreeMap::new(),
            program: None,
        });
    }
    places
}

fn of_processor(stage: StageName, i: usize, processor: &Processor, placement: Option<&Placement>) -> Place {
    let gpu = processor.envs.get("CUDA_VISIBLE_DEVICES").and_then(|list| list.parse().ok());
    Place {
        name: format!("{stage}-{i}").replace('_', "-"),
        stage: stage.to_string(),
        tasks: processor.concurrent.unwrap_or(1),
        cpus: processor.cgroup.cpuset.clone(),
        node: processor.numa_preferred,
        gpu,
        lock: processor.locks.first().cloned(),
        memory: placement.and_then(|placement| memory(placement, stage, i)),
        envs: processor.envs.clone(),
        program: processor.bin.as_ref().map(|bin| bin.display().to_string()),
    }
}

/// The placement has the processors of a stage in the order of the file.
fn memory(placement: &Placement, stage: StageName, i: usize) -> Option<Bytes> {
    let of = |stage: Stage| {
        let mut of_stage = placement.processors.iter().filter(move |one| one.stage == stage);
        of_stage.nth(i).map(|one| one.memory)
    };
    match stage {
        StageName::Pc1 => placement.pc1.get(i).map(|one| one.memory),
        StageName::Pc2 => of(Stage::Pc2),
        StageName::C2 => of(Stage::C2),
        _ => None,
    }
}

/// From the fleet's table: what a machine does that only serves C2, or of which only stage times are known.
fn of_work(one: &MachineType) -> Vec<Place> {
    let mut counts: BTreeMap<Stage, u32> = BTreeMap::new();
    one.work
        .iter()
        .map(|work| {
            let number = counts.entry(work.stage).or_default();
            let name = format!("{}-{number}", work.stage).replace('_', "-");
            *number += 1;
            Place {
                name,
                stage: work.stage.to_string(),
                tasks: work.tasks,
                cpus: if one.role == Role::C2 { work.cores.parse().ok() } else { None },
                node: None,
                gpu: work.gpu,
                lock: None,
                memory: None,
                envs: BTreeMap::new(),
                program: None,
            }
        })
        .collect()
}
