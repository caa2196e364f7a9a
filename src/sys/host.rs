//! What this host says of itself: its name, which CPUs are online and can be looked at, and which each NUMA node
//! calls its own.

use super::root::{ReadError, Root};
use crate::units::{CpuList, NodeId, ParseError};
use nix::unistd::{AccessFlags, access};
use std::{collections::BTreeMap, io};

const NODES: &str = "/sys/devices/system/node";
const CPUS: &str = "/sys/devices/system/cpu";

/// A fact of the host that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("read {path}: {source}")]
    Parse { path: String, source: ParseError },
    /// It was read, and is not what the kernel writes there.
    #[error("read {path}: {reason}")]
    Odd { path: String, reason: String },
}

impl HostError {
    pub(super) fn odd(root: &Root, path: &str, reason: impl Into<String>) -> Self {
        Self::Odd { path: root.shown(path).display().to_string(), reason: reason.into() }
    }
}

/// The host's name as the kernel knows it.
pub fn hostname(root: &Root) -> Result<String, HostError> {
    Ok(root.read("/proc/sys/kernel/hostname")?)
}

/// The CPUs that the kernel calls online. Where they cannot be read, hwloc answers with one made-up CPU.
pub fn online_cpus(root: &Root) -> Result<CpuList, HostError> {
    let path = format!("{CPUS}/online");
    match root.read(&path) {
        // Kernels before 2.6.27 have no list, and a captured tree may be of one.
        Err(error) if root.is_captured() && error.source.kind() == io::ErrorKind::NotFound => online_one_by_one(root),
        online => online?.parse().map_err(|source| HostError::Parse { path, source }),
    }
}

fn online_one_by_one(root: &Root) -> Result<CpuList, HostError> {
    let mut online = Vec::new();
    for name in root.names(CPUS)? {
        let Some(cpu) = name.strip_prefix("cpu").and_then(|id| id.parse().ok()) else { continue };
        // The first CPU mostly has no such file: it cannot be switched off.
        if root.read_some(format!("{CPUS}/{name}/online"))?.is_none_or(|text| text != "0") {
            online.push(cpu);
        }
    }
    Ok(online.into_iter().collect())
}

/// The CPUs among `cpus` whose place on the machine cannot be read, and why that of the first cannot. Without it hwloc
/// leaves a CPU out or takes it for a core in no package.
pub fn unreadable_cpus(root: &Root, cpus: &CpuList) -> Option<(CpuList, ReadError)> {
    // Every kernel has one of these, and a captured tree at least one of them.
    const FILES: [&str; 4] = ["core_id", "physical_package_id", "core_cpus", "thread_siblings"];
    let is_readable = |cpu: &u32| {
        let file = |file| root.path(format!("{CPUS}/cpu{cpu}/topology/{file}"));
        FILES.iter().any(|name| access(&file(name), AccessFlags::R_OK).is_ok())
    };
    let found: CpuList = cpus.iter().filter(|cpu| !is_readable(cpu)).collect();
    let path = format!("{CPUS}/cpu{}/topology/core_id", found.iter().next()?);
    let error = root.read(&path).err().unwrap_or_else(|| root.absent(&path));
    Some((found, error))
}

/// That a kernel that knows NUMA nodes lists at least one. Where its folder is empty (something is mounted over it),
/// hwloc 2.9 ends the whole process by an assertion.
pub fn check_nodes_listed(root: &Root) -> Result<(), HostError> {
    let names = match root.names(NODES) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names?,
    };
    let is_node = |name: &String| name.strip_prefix("node").is_some_and(|id| id.parse::<u32>().is_ok());
    if names.iter().any(is_node) {
        return Ok(());
    }
    Err(HostError::odd(root, NODES, "it names no NUMA node; is something mounted over it, or only half of it captured"))
}

/// The CPUs of each online NUMA node. hwloc cannot tell them for memory-only nodes: it gives those the
/// CPUs of the part they are near to, the kernel gives them none. `None` where the kernel knows no nodes at
/// all: it was built without NUMA, or /sys is not the kernel's.
pub fn node_cpus(root: &Root) -> Result<Option<BTreeMap<NodeId, CpuList>>, HostError> {
    let mut nodes = BTreeMap::new();
    let names = match root.names(NODES) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        names => names?,
    };
    for name in names {
        let Some(id) = name.strip_prefix("node").and_then(|id| id.parse().ok()) else { continue };
        let path = format!("{NODES}/{name}/cpulist");
        let cpus = root.read(&path)?.parse().map_err(|source| HostError::Parse { path, source })?;
        nodes.insert(NodeId(id), cpus);
    }
    Ok(Some(nodes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_node_folder_without_nodes_is_refused_before_anyone_trips_over_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        check_nodes_listed(&root).expect("a kernel without NUMA has no such folder");
        let nodes = dir.path().join("sys/devices/system/node");
        fs::create_dir_all(nodes.join("power")).unwrap();
        let error = check_nodes_listed(&root).unwrap_err().to_string();
        assert!(error.contains("names no NUMA node"), "{error}");
        fs::create_dir(nodes.join("node1")).unwrap();
        check_nodes_listed(&root).unwrap();
    }

    fn host(cpulist: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let nodes = dir.path().join("sys/devices/system/node");
        for (node, cpus) in [("node0", cpulist), ("node12", "\n")] {
            fs::create_dir_all(nodes.join(node)).unwrap();
            fs::write(nodes.join(node).join("cpulist"), cpus).unwrap();
        }
        fs::write(nodes.join("online"), "0,12\n").unwrap();
        dir
    }

    #[test]
    fn a_memory_only_node_has_no_cpus() {
        let dir = host("0-3,8\n");
        let nodes = node_cpus(&Root::at(dir.path())).unwrap().unwrap();
        assert_eq!(nodes[&NodeId(0)].to_string(), "0-3,8");
        assert!(nodes[&NodeId(12)].is_empty());
        assert_eq!(nodes.len(), 2);
    }

    #[test]
    fn a_kernel_without_nodes_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(node_cpus(&Root::at(dir.path())).unwrap(), None);
    }

    #[test]
    fn a_host_that_does_not_show_its_cpus_is_named() {
        let dir = host("0-3\n");
        let root = Root::at(dir.path());
        let error = online_cpus(&root).unwrap_err().to_string();
        assert!(error.contains("/sys/devices/system/cpu/online") && error.contains("No such file"), "{error}");
        let cpus = dir.path().join("sys/devices/system/cpu");
        fs::create_dir_all(&cpus).unwrap();
        fs::write(cpus.join("online"), "0-3\n").unwrap();
        assert_eq!(online_cpus(&root).unwrap().to_string(), "0-3");
        fs::write(cpus.join("online"), "some\n").unwrap();
        assert!(online_cpus(&root).unwrap_err().to_string().contains("some"));
    }

    #[test]
    fn a_captured_tree_without_a_list_is_asked_cpu_by_cpu() {
        let dir = tempfile::tempdir().unwrap();
        let cpu = |name: &str| dir.path().join("sys/devices/system/cpu").join(name);
        for name in ["cpu0", "cpu1", "cpu2", "cpufreq"] {
            fs::create_dir_all(cpu(name)).unwrap();
        }
        fs::write(cpu("cpu1").join("online"), "0\n").unwrap();
        fs::write(cpu("cpu2").join("online"), "1\n").unwrap();
        assert_eq!(online_cpus(&Root::captured(dir.path()).unwrap()).unwrap().to_string(), "0,2");
        assert!(online_cpus(&Root::at(dir.path())).is_err(), "a live kernel has the list");
    }

    #[test]
    fn cpus_whose_place_cannot_be_read_are_found_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        for (cpu, file) in [(0, "core_id"), (1, "thread_siblings"), (4, "other")] {
            let topology = dir.path().join(format!("sys/devices/system/cpu/cpu{cpu}/topology"));
            fs::create_dir_all(&topology).unwrap();
            fs::write(topology.join(file), "0\n").unwrap();
        }
        let root = Root::at(dir.path());
        assert!(unreadable_cpus(&root, &"0-1".parse().unwrap()).is_none());
        let (cpus, error) = unreadable_cpus(&root, &"0-2,4".parse().unwrap()).unwrap();
        assert_eq!(cpus.to_string(), "2,4");
        assert!(error.to_string().contains("cpu2/topology/core_id: No such file"), "{error}");
    }

    #[test]
    fn an_unreadable_host_is_named() {
        let dir = host("zero\n");
        let error = node_cpus(&Root::at(dir.path())).unwrap_err().to_string();
        assert!(error.contains("/sys/devices/system/node/node0/cpulist") && error.contains("zero"), "{error}");
        let error = hostname(&Root::at(dir.path())).unwrap_err().to_string();
        assert!(error.contains("/proc/sys/kernel/hostname"), "{error}");
    }
}
