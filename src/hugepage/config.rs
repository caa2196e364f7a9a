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
    request::{FILES_MAX, Pattern, Target},
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

/// Where a processor runs, as far as hugepages go.
struct Home {
    node: NodeId,
    note: Option<String>,
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
                pattern.shown().display()
            )));
        }
        let Home { node, note } = home(processor, cpus).map_err(|why| Refusal::Config(format!("{name}: {why}")))?;
        found.notes.extend(note.map(|note| format!("{name}: {note}")));
        let Some(concurrent) = processor.concurrent else {
            return Err(Refusal::Config(format!(
                "{name}: has no concurrent, so nobody knows how many files it needs; set it"
            )));
        };
        for file_bytes in sector_sizes(config, sizes)? {
            let files = u64::from(concurrent) * FILES_PER_TASK;
            if files > FILES_MAX {
                return Err(Refusal::Config(format!(
                    "{name}: concurrent = {concurrent} asks for {files} files, and {FILES_MAX} are made at most; lower it"
                )));
            }
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
fn home(processor: &Processor, cpus: &BTreeMap<NodeId, CpuList>) -> Result<Home, String> {
    let set = processor.cgroup.cpuset.as_ref();
    let may_run_on = |cpus: &CpuList| set.map_or(!cpus.is_empty(), |set| !cpus.and(set).is_empty());
    let nodes: BTreeSet<NodeId> = cpus.iter().filter(|(_, cpus)| may_run_on(cpus)).map(|(node, _)| *node).collect();
    let several = || format!("it may run on the nodes {}", list(&nodes));
    match (processor.numa_preferred, nodes.first()) {
        (_, None) => Err("its cpuset has no CPU of this machine".to_owned()),
        (Some(preferred), Some(_)) if !nodes.contains(&preferred) => {
            let found = list(&nodes);
            Err(format!(
                "numa_preferred is {preferred}, but it may run on the CPUs of {found} only: PC1 takes files of the node it runs on"
            ))
        }
        (Some(node), _) if nodes.len() == 1 => Ok(Home { node, note: None }),
        (Some(node), _) => {
            let why = format!("{}, and finds files on node {node} only: give it a cpuset of that node", several());
            Ok(Home { node, note: Some(why) })
        }
        (None, Some(node)) if nodes.len() == 1 => Ok(Home { node: *node, note: None }),
        (None, Some(_)) => Err(format!("{}; set numa_preferred, and a cpuset of that node", several())),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker_config;

    fn machine() -> BTreeMap<NodeId, CpuList> {
        [(0, "0-3"), (1, "4-7"), (2, "")].map(|(node, cpus)| (NodeId(node), cpus.parse().unwrap())).into()
    }

    fn read(processors: &str, sizes: &str) -> Result<FromConfig, Refusal> {
        let text = format!(
            "[sector_manager]\nrpc_client.addr = \"embedded\"\n[sealing]\nallowed_sizes = {sizes}\n\
             [[sealing_thread]]\nlocation = \"./s\"\n[[attached]]\nlocation = \"./p\"\n{processors}"
        );
        let loaded = worker_config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
        targets(&loaded.config, &machine(), None)
    }

    fn pc1(folder: &str, rest: &str) -> String {
        format!("[[processors.pc1]]\nenvs = {{ HUGEPAGE_FILES_PATH = {folder:?} }}\n{rest}\n")
    }

    fn refused(processors: &str) -> String {
        read(processors, "[\"32GiB\"]").unwrap_err().to_string()
    }

    #[test]
    fn every_processor_gets_two_files_a_task_on_its_own_node() {
        let processors = pc1("/h/a", "concurrent = 2\nnuma_preferred = 0\ncgroup.cpuset = \"0-3\"")
            + &pc1("/h/b/", "concurrent = 3\ncgroup.cpuset = \"4-6\"")
            + "[[processors.pc1]]\nconcurrent = 1\n";
        let found = read(&processors, "[\"32GiB\", \"64GiB\"]").unwrap();
        let told: Vec<_> = found
            .targets
            .iter()
            .map(|target| format!("{} {} {} {}", target.node, target.folder.display(), target.files, target.file_bytes))
            .collect();
        assert_eq!(
            told,
            ["0 /h/a/numa_0 4 32GiB", "0 /h/a/numa_0 4 64GiB", "1 /h/b/numa_1 6 32GiB", "1 /h/b/numa_1 6 64GiB"]
        );
        assert!(found.notes.len() == 1 && found.notes[0].starts_with("processors.pc1[2]: sets neither"), "{found:?}");
    }

    #[test]
    fn the_pattern_goes_before_the_path() {
        let both = "[[processors.pc1]]\nconcurrent = 1\nnuma_preferred = 1\ncgroup.cpuset = \"4\"\n\
            envs = { HUGEPAGE_FILES_PATH = \"/h/a\", HUGEPAGE_FILES_PATH_PATTERN = \"/n$NUMA_NODE_INDEX/b\" }\n";
        assert_eq!(read(both, "[\"32GiB\"]").unwrap().targets[0].folder, Path::new("/n1/b"));
        assert!(refused(&both.replace("$NUMA_NODE_INDEX", "x")).contains("no $NUMA_NODE_INDEX"));
    }

    #[test]
    fn two_processors_in_one_folder_would_spoil_each_others_sectors() {
        let on = |node: u32, folder: &str| pc1(folder, &format!("concurrent = 1\ncgroup.cpuset = \"{}\"", node * 4));
        let text = refused(&(on(0, "/h/a") + &on(0, "/h//a/")));
        assert!(text.contains("processors.pc1[0] and processors.pc1[1] have the same folder /h/a/numa_N:"), "{text}");
        let by_pattern = (on(0, "/h/n$NUMA_NODE_INDEX/x") + &on(0, "/h/n$NUMA_NODE_INDEX/x"))
            .replace("HUGEPAGE_FILES_PATH", "HUGEPAGE_FILES_PATH_PATTERN");
        assert!(refused(&by_pattern).contains("have the same folder /h/n$NUMA_NODE_INDEX/x:"));
        read(&(on(0, "/h/a") + &on(1, "/h/b")), "[\"32GiB\"]").unwrap();
    }

    #[test]
    fn what_is_not_known_is_asked_for() {
        assert!(refused(&pc1("/h/a", "concurrent = 1")).contains("it may run on the nodes 0,1; set numa_preferred"));
        assert!(refused(&pc1("/h/a", "concurrent = 1\ncgroup.cpuset = \"9\"")).contains("no CPU of this machine"));
        assert!(
            refused(&pc1("/h/a", "numa_preferred = 1\ncgroup.cpuset = \"0\"\nconcurrent = 1"))
                .contains("CPUs of 0 only")
        );
        assert!(refused(&pc1("/h/a", "numa_preferred = 0")).contains("concurrent"));
        assert!(refused("").contains("there is nothing to make"));
        assert!(
            refused(&pc1("/h/a", "numa_preferred = 0\nconcurrent = 4294967295"))
                .contains("asks for 8589934590 files, and 100000 are made at most")
        );
        let any = read(&pc1("/h/a", "concurrent = 1\nnuma_preferred = 0"), "[]").unwrap_err().to_string();
        assert!(any.contains("sealing.allowed_sizes") && any.contains("--size"), "{any}");
    }

    #[test]
    fn a_processor_that_may_run_elsewhere_is_told_so() {
        let found = read(&pc1("/h/a", "concurrent = 1\nnuma_preferred = 1"), "[\"32GiB\"]").unwrap();
        assert!(found.notes[0].contains("may run on the nodes 0,1, and finds files on node 1 only"), "{found:?}");
    }
}
