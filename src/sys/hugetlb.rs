//! The kernel's hugepage pools, to read and to change: `nr_hugepages` of a node, compaction, fragmentation.
//!
//! What stands in `nr_hugepages` of a node counts surplus pages too; what is written there is the pool without them. A
//! write that the kernel can only follow in part is no error: whoever writes reads back.

use super::{
    host::HostError,
    memory::{self, Pool},
    root::{ReadError, Root, WriteError},
};
use crate::units::{Bytes, NodeId};
use nix::unistd::{AccessFlags, access};
use std::{io, path::PathBuf};

const NODES: &str = "/sys/devices/system/node";
const POOLS: &str = "/sys/kernel/mm/hugepages";

/// `hugepages-2048kB`
fn folder_name(page_bytes: Bytes) -> String {
    format!("hugepages-{}kB", page_bytes.0 / 1024)
}

/// The file that says and takes how many pages a node's pool has. Of a kernel without nodes, the machine's.
pub fn pool_file(root: &Root, node: NodeId, page_bytes: Bytes) -> PathBuf {
    let name = folder_name(page_bytes);
    if root.path(NODES).exists() {
        format!("{NODES}/node{node}/hugepages/{name}/nr_hugepages").into()
    } else {
        format!("{POOLS}/{name}/nr_hugepages").into()
    }
}

/// The file on which runs that change pools of these pages lock one another out, whatever else they do not share.
pub fn lock_file(root: &Root, page_bytes: Bytes) -> PathBuf {
    root.path(format!("{POOLS}/{}/nr_hugepages", folder_name(page_bytes)))
}

/// The page sizes that this kernel has, smallest first.
pub fn page_sizes(root: &Root) -> Result<Vec<Bytes>, ReadError> {
    let names = match root.names(POOLS) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names?,
    };
    let size = |name: &String| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok().map(Bytes::kib);
    let mut sizes: Vec<_> = names.iter().filter_map(size).collect();
    sizes.sort();
    Ok(sizes)
}

/// The pool of one page size; nothing where the kernel has none of that size.
pub fn pool(root: &Root, node: NodeId, page_bytes: Bytes) -> Result<Option<Pool>, HostError> {
    Ok(memory::pools(root, node)?.into_iter().find(|pool| pool.page_bytes == page_bytes))
}

/// Free pages that are promised to mappings which have not touched them yet: of all nodes together.
pub fn reserved(root: &Root, page_bytes: Bytes) -> Result<u64, HostError> {
    of_machine(root, page_bytes, "resv_hugepages")
}

/// Free pages of all nodes together, the promised ones included.
pub fn free(root: &Root, page_bytes: Bytes) -> Result<u64, HostError> {
    of_machine(root, page_bytes, "free_hugepages")
}

fn of_machine(root: &Root, page_bytes: Bytes, file: &str) -> Result<u64, HostError> {
    let path = format!("{POOLS}/{}/{file}", folder_name(page_bytes));
    let text = root.read(&path)?;
    text.parse().map_err(|_| HostError::odd(root, &path, format!("{text:?} is not a number")))
}

/// Asks the kernel for a pool of so many pages, surplus ones not counted.
pub fn set_pool(root: &Root, node: NodeId, page_bytes: Bytes, pages: u64) -> Result<(), WriteError> {
    root.write("set the pool", pool_file(root, node, page_bytes), &pages.to_string())
}

/// Whether this process may change a pool: `EACCES` says no, `EROFS` that nobody may here.
pub fn may_change(root: &Root, node: NodeId, page_bytes: Bytes) -> Result<(), (PathBuf, nix::errno::Errno)> {
    let path = root.path(pool_file(root, node, page_bytes));
    access(&path, AccessFlags::W_OK).map_err(|errno| (path, errno))
}

/// Asks the kernel to move what can be moved on a node, so that free memory lies together.
pub fn compact(root: &Root, node: NodeId) -> Result<(), WriteError> {
    let of_node = format!("{NODES}/node{node}/compact");
    let path = if root.path(&of_node).exists() { of_node } else { "/proc/sys/vm/compact_memory".to_owned() };
    root.write("compact the memory of a node through", path, "1")
}

/// How a node's free memory lies.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Fragmentation {
    pub free_bytes: Bytes,
    /// Free memory in blocks of `block_bytes` and larger.
    pub in_large_blocks_bytes: Bytes,
    pub block_bytes: Bytes,
}

/// How much free memory of a node lies in blocks of at least `page_bytes`, or of the largest size that the kernel keeps, which
/// is smaller than a page of 1 GiB.
pub fn fragmentation(
    root: &Root,
    node: NodeId,
    page_bytes: Bytes,
    small_page: Bytes,
) -> Result<Fragmentation, HostError> {
    const PATH: &str = "/proc/buddyinfo";
    let text = root.read(PATH)?;
    let mut found = Fragmentation { block_bytes: page_bytes, ..Fragmentation::default() };
    for line in text.lines().filter(|line| line.starts_with(&format!("Node {node},"))) {
        let counts: Vec<u64> = line.split_whitespace().skip(4).filter_map(|count| count.parse().ok()).collect();
        let block = |order: usize| small_page.0 << order;
        let Some(largest) = counts.len().checked_sub(1).map(block) else {
            return Err(HostError::odd(root, PATH, format!("{line:?} has no counts of blocks")));
        };
        found.block_bytes = page_bytes.min(Bytes(largest));
        for (order, count) in counts.iter().enumerate() {
            let bytes = count.saturating_mul(block(order));
            found.free_bytes.0 += bytes;
            found.in_large_blocks_bytes.0 += if block(order) >= found.block_bytes.0 { bytes } else { 0 };
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    const POOL: &str = "sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages";
    const GLOBAL: &str = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

    #[test]
    fn the_pool_of_a_node_is_written_and_of_a_kernel_without_nodes_the_machines() {
        let (dir, root) = tree(&[(POOL, "0\n"), (GLOBAL, "0\n")]);
        set_pool(&root, NodeId(1), Bytes::mib(2), 64).unwrap();
        assert!(std::fs::read_to_string(dir.path().join(POOL)).unwrap().starts_with("64"));
        let (dir, root) = tree(&[(GLOBAL, "0\n")]);
        set_pool(&root, NodeId(0), Bytes::mib(2), 7).unwrap();
        assert!(std::fs::read_to_string(dir.path().join(GLOBAL)).unwrap().starts_with('7'));
        assert_eq!(page_sizes(&root).unwrap(), [Bytes::mib(2)]);
        let error = set_pool(&root, NodeId(0), Bytes::gib(1), 7).unwrap_err().to_string();
        assert!(error.contains("write 7 to ") && error.contains("hugepages-1048576kB"), "{error}");
    }

    #[test]
    fn free_memory_is_told_apart_by_the_size_of_its_blocks() {
        let (_dir, root) = tree(&[(
            "proc/buddyinfo",
            "Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3 \n\
             Node 0, zone   Normal     10      0      0      0      0      0      0      0      0      2      1 \n\
             Node 1, zone   Normal      1      0      0      0      0      0      0      0      0      0      0 \n",
        )]);
        let small = Bytes::kib(4);
        let found = fragmentation(&root, NodeId(0), Bytes::mib(2), small).unwrap();
        assert_eq!(found.in_large_blocks_bytes, Bytes::mib(2 + 3 * 4 + 2 * 2 + 4));
        assert_eq!(found.free_bytes, Bytes(found.in_large_blocks_bytes.0 + (1 << 20) + 10 * 4096));
        // A page of 1 GiB is made of many of the largest blocks.
        let found = fragmentation(&root, NodeId(0), Bytes::gib(1), small).unwrap();
        assert_eq!((found.block_bytes, found.in_large_blocks_bytes), (Bytes::mib(4), Bytes::mib(4 * 4)));
        let found = fragmentation(&root, NodeId(1), Bytes::mib(2), small).unwrap();
        assert_eq!((found.free_bytes, found.in_large_blocks_bytes), (small, Bytes(0)));
    }
}
