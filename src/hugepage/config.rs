//! An order for every pc1 processor of a worker.toml: folder, node, files, sizes.
//!
//! ```text
//! [[processors.pc1]]
//! envs = { HUGEPAGE_FILES_PATH = "/mnt/huge_1g/pc1_1" }   the folder, …_PATTERN before …_PATH
//! numa_preferred = 0                                        the node; else the one node of cgroup.cpuset
//! concurrent = 2                                            two files for each task at once
//! sealing.allowed_sizes = ["32GiB"]                         of this size
//! ```
//!
//! Pure: the machine's nodes are an argument.

use super::{
    error::{Refusal, list},
    request::{Pattern, Target},
};
use crate::{
    units::{Bytes, CpuList, NodeId},
    worker_config::{Processor, StageName, WorkerConfig},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

const PATTERN: &str = "HUGEPAGE_FILES_PATH_PATTERN";
const PATH: &str = "HUGEPAGE_FILES_PATH";
/// A PC1 task takes one block for the layer it makes, and one for the layer before.
const FILES_PER_TASK: u64 = 2;

/// The targets of a whole machine, and what was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromConfig {
    pub targets: Vec<Target>,
    pub notes: Vec<String>,
}

/// Reads the targets off a configuration. `sizes`, where given, is what sectors there will be.
pub fn targets(
    config: &WorkerConfig,
    cpus: &BTreeMap<NodeId, CpuList>,
    sizes: Option<Bytes>,
) -> Result<FromConfig, Refusal> {
    let mut found = FromConfig { targets: Vec::new(), notes: Vec::new() };
    let mut folders: BTreeMap<Pattern, usize> = BTreeMap::new();
    let processors = config.processors.stages.get(&StageName::Pc1).map(Vec::as_slice).unwrap_or_default();
    for (index, processor) in processors.iter().enumerate() {
        let name = format!("processors.pc1[{index}]");
        let Some(pattern) = pattern(processor).map_err(|error| Refusal::Config(format!("{name}: {error}")))? else {
            found.notes.push(format!("{name}: sets neither {PATH} nor {PATTERN}: nothing is made for it"));
            continue;
        };
        if let Some(other) = folders.insert(pattern.clone(), index) {
            return Err(Refusal::Config(format!(
                "processors.pc1[{other}] and {name} have the same folder {}: each would take the files the other is using, \
                 and spoil its sectors; give each a folder of its own",
                pattern.folder(NodeId(0)).parent().unwrap_or(Path::new("/")).display()
            )));
        }
        let node = node(processor, cpus).map_err(|why| Refusal::Config(format!("{name}: {why}")))?;
        let Some(concurrent) = processor.concurrent else {
            return Err(Refusal::Config(format!(
                "{name}: has no concurrent, so nobody knows how many files it needs; set it"
            )));
        };
        for file_bytes in sector_sizes(config, sizes)? {
            let files = u64::from(concurrent) * FILES_PER_TASK;
            found.targets.push(Target { node, folder: pattern.folder(node), files, file_bytes });
        }
    }
    if found.targets.is_empty() {
        return Err(Refusal::Config(format!("no pc1 processor sets {PATH} or {PATTERN}: there is nothing to make")));
    }
    Ok(found)
}

fn pattern(processor: &Processor) -> Result<Option<Pattern>, Refusal> {
    match (processor.envs.get(PATTERN), processor.envs.get(PATH)) {
        (Some(pattern), _) => Pattern::parse(pattern).map(Some),
        (None, Some(path)) => Pattern::of_path(Path::new(path)).map(Some),
        (None, None) => Ok(None),
    }
}

/// PC1 takes the files of the node that its CPU belongs to, so a processor without a node of its own would need files on each.
fn node(processor: &Processor, cpus: &BTreeMap<NodeId, CpuList>) -> Result<NodeId, String> {
    let nodes: BTreeSet<NodeId> = match &processor.cgroup.cpuset {
        Some(set) => cpus.iter().filter(|(_, cpus)| !cpus.and(set).is_empty()).map(|(node, _)| *node).collect(),
        None => cpus.iter().filter(|(_, cpus)| !cpus.is_empty()).map(|(node, _)| *node).collect(),
    };
    let mut there = nodes.iter();
    match (processor.numa_preferred, there.next(), there.next()) {
        (Some(preferred), ..) if processor.cgroup.cpuset.is_some() && !nodes.contains(&preferred) => Err(format!(
            "numa_preferred is {preferred}, but its cpuset has CPUs of {} only: PC1 takes files of the node it runs on",
            match nodes.is_empty() {
                true => "no node".to_owned(),
                false => format!("node {}", list(&nodes)),
            }
        )),
        (Some(preferred), ..) => Ok(preferred),
        (None, Some(node), None) => Ok(*node),
        (None, None, _) => Err("its cpuset has no CPU of this machine".to_owned()),
        (None, Some(_), Some(_)) => {
            Err(format!("it may run on the nodes {}; set numa_preferred, and a cpuset of that node", list(&nodes)))
        }
    }
}

fn sector_sizes(config: &WorkerConfig, given: Option<Bytes>) -> Result<BTreeSet<Bytes>, Refusal> {
    if let Some(given) = given {
        return Ok(BTreeSet::from([given]));
    }
    let threads = config.sealing_thread.iter().map(|thread| &thread.sealing.allowed_sizes);
    let mut sizes = BTreeSet::new();
    for allowed in threads {
        if allowed.is_empty() {
            return Err(Refusal::Config(
                "sealing.allowed_sizes allows sectors of any size, so nobody knows how large the files must be; set it, or say --size".into(),
            ));
        }
        sizes.extend(allowed.iter().map(|size| size.bytes()));
    }
    Ok(sizes)
}
