//! What this host says of itself: its name, and which CPUs each NUMA node calls its own.

use super::root::{ReadError, Root};
use crate::units::{CpuList, NodeId, ParseError};
use std::{collections::BTreeMap, io};

const NODES: &str = "/sys/devices/system/node";

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
        Self::Odd { path: root.path(path).display().to_string(), reason: reason.into() }
    }
}

/// The host's name as the kernel knows it.
pub fn hostname(root: &Root) -> Result<String, HostError> {
    Ok(root.read("/proc/sys/kernel/hostname")?)
}

/// That the kernel's list of CPUs can be read here. Where it cannot, hwloc answers with one made-up CPU.
pub fn check_cpus_readable(root: &Root) -> Result<(), HostError> {
    const ONLINE: &str = "/sys/devices/system/cpu/online";
    let online = root.read(ONLINE)?;
    online.parse::<CpuList>().map(|_| ()).map_err(|source| HostError::Parse { path: ONLINE.into(), source })
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
        let error = check_cpus_readable(&root).unwrap_err().to_string();
        assert!(error.contains("/sys/devices/system/cpu/online") && error.contains("No such file"), "{error}");
        let cpus = dir.path().join("sys/devices/system/cpu");
        fs::create_dir_all(&cpus).unwrap();
        fs::write(cpus.join("online"), "0-3\n").unwrap();
        check_cpus_readable(&root).unwrap();
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
