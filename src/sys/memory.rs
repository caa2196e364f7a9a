//! Memory of the NUMA nodes: what is free, how far nodes are from each other, their hugepage pools.

use super::{
    host::HostError,
    root::Root,
    settings::{kib_field, meminfo},
};
use crate::units::{Bytes, CpuList, NodeId};
use std::io;

const NODES: &str = "/sys/devices/system/node";

/// The hugepages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    pub page_bytes: Bytes,
    pub pages: u64,
    pub free: u64,
    pub surplus: u64,
}

/// What is free on a node. A kernel built without NUMA has one memory and no folder for it.
pub fn free(root: &Root, node: NodeId) -> Result<Bytes, HostError> {
    if !has_nodes(root) {
        return meminfo(root, "MemFree");
    }
    let path = format!("{NODES}/node{node}/meminfo");
    kib_field(&root.read(&path)?, "MemFree").ok_or_else(|| HostError::odd(root, &path, "it has no field MemFree in kB"))
}

/// About what a node can give before it has to be asked for more: what is free, and the page cache of files.
pub fn available(root: &Root, node: NodeId) -> Result<Bytes, HostError> {
    if !has_nodes(root) {
        return meminfo(root, "MemAvailable");
    }
    let path = format!("{NODES}/node{node}/meminfo");
    let text = root.read(&path)?;
    let field = |name: &str| {
        kib_field(&text, name).ok_or_else(|| HostError::odd(root, &path, format!("it has no field {name} in kB")))
    };
    Ok(Bytes(field("MemFree")?.0 + field("Active(file)")?.0 + field("Inactive(file)")?.0))
}

/// All memory of a node.
pub fn total(root: &Root, node: NodeId) -> Result<Bytes, HostError> {
    if !has_nodes(root) {
        return meminfo(root, "MemTotal");
    }
    let path = format!("{NODES}/node{node}/meminfo");
    kib_field(&root.read(&path)?, "MemTotal")
        .ok_or_else(|| HostError::odd(root, &path, "it has no field MemTotal in kB"))
}

/// The pools of a node, smallest pages first; none where the kernel has no hugepages. What was captured of a kernel
/// says nothing by what is not there.
pub fn pools(root: &Root, node: NodeId) -> Result<Vec<Pool>, HostError> {
    let folder =
        if has_nodes(root) { format!("{NODES}/node{node}/hugepages") } else { "/sys/kernel/mm/hugepages".to_owned() };
    let names = match root.names(&folder) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound && !root.is_captured() => return Ok(Vec::new()),
        names => names?,
    };
    let mut pools = Vec::new();
    for name in names {
        let size = name.strip_prefix("hugepages-").and_then(|size| size.strip_suffix("kB"));
        let Some(kib) = size.and_then(|size| size.parse::<u64>().ok()) else { continue };
        let number = |file: &str| number(root, &format!("{folder}/{name}/{file}"));
        pools.push(Pool {
            page_bytes: Bytes(kib.saturating_mul(1024)),
            pages: number("nr_hugepages")?,
            free: number("free_hugepages")?,
            surplus: number("surplus_hugepages")?,
        });
    }
    pools.sort_by_key(|pool| pool.page_bytes);
    Ok(pools)
}

/// The online nodes, and a row of distances for each. One memory is 10 from itself.
pub fn distances(root: &Root) -> Result<(Vec<NodeId>, Vec<Vec<u32>>), HostError> {
    if !has_nodes(root) {
        return Ok((vec![NodeId(0)], vec![vec![10]]));
    }
    // The kernel gives columns for online nodes only.
    let nodes = online(root)?;
    let mut rows = Vec::new();
    for node in nodes.iter() {
        let path = format!("{NODES}/node{node}/distance");
        let text = root.read(&path)?;
        let row: Option<Vec<u32>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
        match row {
            Some(row) if row.len() == nodes.len() => rows.push(row),
            _ => return Err(HostError::odd(root, &path, format!("{text:?} is not {} numbers", nodes.len()))),
        }
    }
    Ok((nodes.iter().map(NodeId).collect(), rows))
}

/// The online nodes: their numbers have the form of CPU lists.
fn online(root: &Root) -> Result<CpuList, HostError> {
    let path = format!("{NODES}/online");
    match root.read(&path) {
        // Kernels before 2.6.27 have no list, and a folder for each online node.
        Err(error) if root.is_captured() && error.source.kind() == io::ErrorKind::NotFound => {
            let names = root.names(NODES)?;
            Ok(names.iter().filter_map(|name| name.strip_prefix("node")?.parse::<u32>().ok()).collect())
        }
        text => text?.parse().map_err(|source| HostError::Parse { path, source }),
    }
}

fn has_nodes(root: &Root) -> bool {
    root.path(NODES).exists()
}

fn number(root: &Root, path: &str) -> Result<u64, HostError> {
    let text = root.read(path)?;
    text.parse().map_err(|_| HostError::odd(root, path, format!("{text:?} is not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    #[test]
    fn offline_nodes_have_no_column() {
        let (_dir, root) = tree(&[
            ("sys/devices/system/node/online", "0,2\n"),
            ("sys/devices/system/node/node0/distance", "10 21\n"),
            ("sys/devices/system/node/node1/distance", "\n"),
            ("sys/devices/system/node/node2/distance", "21 10\n"),
        ]);
        let (nodes, rows) = distances(&root).unwrap();
        assert_eq!(nodes, [NodeId(0), NodeId(2)]);
        assert_eq!(rows, [[10, 21], [21, 10]]);
    }

    #[test]
    fn a_capture_of_an_old_kernel_has_a_folder_for_each_online_node() {
        let (dir, live) = tree(&[
            ("sys/devices/system/node/node0/distance", "10 20\n"),
            ("sys/devices/system/node/node1/distance", "20 10\n"),
        ]);
        let root = Root::captured(dir.path()).unwrap();
        assert_eq!(distances(&root).unwrap().1, [[10, 20], [20, 10]]);
        assert!(distances(&live).is_err());
        // No folder of hugepages was captured: that is not to say that the kernel has none.
        assert!(pools(&root, NodeId(0)).is_err());
        assert_eq!(pools(&live, NodeId(0)).unwrap(), []);
    }

    #[test]
    fn a_row_that_is_too_short_is_named() {
        let (_dir, root) =
            tree(&[("sys/devices/system/node/online", "0-1\n"), ("sys/devices/system/node/node0/distance", "10\n")]);
        let error = distances(&root).unwrap_err().to_string();
        assert!(error.contains("node0/distance") && error.contains("is not 2 numbers"), "{error}");
    }

    const POOL: &str = "sys/devices/system/node/node1/hugepages/hugepages-1048576kB";
    const SMALL_POOL: &str = "sys/devices/system/node/node1/hugepages/hugepages-2048kB";

    #[test]
    fn pools_are_per_size_smallest_first() {
        let file = |pool: &str, name: &str| format!("{pool}/{name}");
        let (dir, root) = tree(&[
            (&file(POOL, "nr_hugepages"), "64\n"),
            (&file(POOL, "free_hugepages"), "3\n"),
            (&file(POOL, "surplus_hugepages"), "0\n"),
            (&file(SMALL_POOL, "nr_hugepages"), "10\n"),
            (&file(SMALL_POOL, "free_hugepages"), "10\n"),
            (&file(SMALL_POOL, "surplus_hugepages"), "2\n"),
            ("sys/devices/system/node/node1/meminfo", "\nNode 1 MemTotal: 8 kB\nNode 1 MemFree:  3 kB\n"),
            ("sys/devices/system/node/node3/meminfo", "Node 3 MemTotal: 0 kB\n"),
        ]);
        let pools_found = pools(&root, NodeId(1)).unwrap();
        assert_eq!(pools_found[0], Pool { page_bytes: Bytes::mib(2), pages: 10, free: 10, surplus: 2 });
        assert_eq!(pools_found[1], Pool { page_bytes: Bytes::gib(1), pages: 64, free: 3, surplus: 0 });
        assert_eq!(free(&root, NodeId(1)).unwrap(), Bytes(3072));
        // No hugepages folder: the kernel has none.
        assert_eq!(pools(&root, NodeId(3)).unwrap(), []);
        assert!(free(&root, NodeId(3)).unwrap_err().to_string().contains("node3/meminfo"));
        // A file that cannot be read is no empty pool.
        let broken = dir.path().join(file(POOL, "free_hugepages"));
        std::fs::remove_file(&broken).unwrap();
        std::fs::create_dir(&broken).unwrap();
        assert!(pools(&root, NodeId(1)).unwrap_err().to_string().contains("free_hugepages"));
    }

    #[test]
    fn a_kernel_without_nodes_has_one_memory() {
        let (_dir, root) = tree(&[("proc/meminfo", "MemFree: 7 kB\n")]);
        assert_eq!(free(&root, NodeId(0)).unwrap(), Bytes(7168));
        assert_eq!(distances(&root).unwrap(), (vec![NodeId(0)], vec![vec![10]]));
    }
}
