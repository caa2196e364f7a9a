//! The facts of this machine that a plan rests on: nodes, pools, page sizes, mounts.

use super::error::{InitError, Refusal};
use crate::{
    sys::{
        Root,
        host::{self, HostError},
        hugetlb,
        memory::{self, Pool},
        mount::{self, Mounted},
        pin,
    },
    units::{Bytes, CpuList, NodeId},
};
use std::collections::{BTreeMap, BTreeSet};

/// A machine as far as hugepages go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub nodes: BTreeMap<NodeId, Node>,
    pub page_sizes: Vec<Bytes>,
    /// Free pages of each size that are promised to somebody.
    pub reserved: BTreeMap<Bytes, u64>,
    pub mounts: Vec<Mounted>,
    /// The nodes whose memory this process may have.
    pub allowed: BTreeSet<NodeId>,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// None on a node of memory alone.
    pub cpus: CpuList,
    pub memory: Bytes,
    pub pools: Vec<Pool>,
}

impl Node {
    /// The pool of one page size.
    pub fn pool(&self, page_bytes: Bytes) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.page_bytes == page_bytes)
    }
}

impl Facts {
    /// The nodes that have memory.
    pub fn with_memory(&self) -> BTreeSet<NodeId> {
        self.nodes.iter().filter(|(_, node)| node.memory.0 > 0).map(|(id, _)| *id).collect()
    }

    /// The nodes that PC1 can run on with memory of their own.
    pub fn serving(&self) -> BTreeSet<NodeId> {
        let has_cpus = |node: &NodeId| self.nodes.get(node).is_some_and(|node| !node.cpus.is_empty());
        self.with_memory().into_iter().filter(has_cpus).collect()
    }

    /// That a node is there, has memory and CPUs, and is allowed.
    pub fn usable(&self, node: NodeId) -> Result<&Node, Refusal> {
        let found = self.nodes.get(&node).ok_or_else(|| Refusal::NoNode { node, there: self.with_memory() })?;
        if found.memory.0 == 0 {
            return Err(Refusal::NoMemory { node, there: self.serving() });
        }
        if found.cpus.is_empty() {
            return Err(Refusal::MemoryOnly { node, there: self.serving() });
        }
        if !self.allowed.contains(&node) {
            return Err(Refusal::NotAllowed { node, allowed: super::error::list(&self.allowed) });
        }
        Ok(found)
    }
}

/// Looks at the machine.
pub fn look(root: &Root) -> Result<Facts, InitError> {
    let cpus = match host::node_cpus(root)? {
        Some(nodes) => nodes,
        // Without nodes there is one memory, near to every CPU.
        None => BTreeMap::from([(NodeId(0), pin::cpus_of_this_thread().unwrap_or_default())]),
    };
    let mut facts = Facts { page_sizes: hugetlb::page_sizes(root)?, mounts: mount::mounts(root)?, ..Facts::default() };
    for (id, cpus) in cpus {
        let node = Node { cpus, memory: memory::total(root, id)?, pools: memory::pools(root, id)? };
        facts.nodes.insert(id, node);
    }
    for page_bytes in &facts.page_sizes {
        facts.reserved.insert(*page_bytes, hugetlb::reserved(root, *page_bytes)?);
    }
    facts.allowed = allowed(root)?.unwrap_or_else(|| facts.nodes.keys().copied().collect());
    Ok(facts)
}

/// `Mems_allowed_list` of this process; a kernel without cpusets says nothing.
fn allowed(root: &Root) -> Result<Option<BTreeSet<NodeId>>, HostError> {
    const PATH: &str = "/proc/self/status";
    let text = root.read(PATH)?;
    let list = text.lines().find_map(|line| line.strip_prefix("Mems_allowed_list:"));
    let Some(list) = list.map(str::trim).filter(|list| !list.is_empty()) else { return Ok(None) };
    let nodes: CpuList = list.parse().map_err(|source| HostError::Parse { path: PATH.into(), source })?;
    Ok(Some(nodes.iter().map(NodeId).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let node = |gib, cpu| Node { memory: Bytes::gib(gib), cpus: [cpu].into_iter().collect(), ..Node::default() };
        let memory = Node { memory: Bytes::gib(8), ..Node::default() };
        Facts {
            nodes: BTreeMap::from([
                (NodeId(0), node(8, 0)),
                (NodeId(1), node(0, 1)),
                (NodeId(2), node(8, 2)),
                (NodeId(3), memory),
            ]),
            allowed: BTreeSet::from([NodeId(0), NodeId(1)]),
            ..Facts::default()
        }
    }

    #[test]
    fn nodes_that_cannot_serve_are_refused_with_the_reason() {
        let refused = |node| facts().usable(NodeId(node)).unwrap_err().to_string();
        facts().usable(NodeId(0)).unwrap();
        assert_eq!(refused(7), "node 7 is not there; this machine has 0,2,3");
        assert!(refused(1).contains("no memory of its own"));
        assert_eq!(
            refused(3),
            "node 3 has memory and no CPUs: PC1 takes files of the node that it runs on and would never find these; choose among 0,2"
        );
        assert_eq!(facts().serving(), BTreeSet::from([NodeId(0), NodeId(2)]));
        assert!(refused(2).contains("the memory of 0,1 only") && refused(2).contains("cpuset.mems"));
    }

    #[test]
    fn this_machine_has_a_node_that_is_allowed() {
        let facts = look(&Root::at("/")).unwrap();
        assert!(facts.with_memory().iter().any(|node| facts.usable(*node).is_ok()), "{facts:?}");
    }
}
