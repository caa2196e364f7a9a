//! Pure questions to a machine: its cores, its cache groups, its nodes, whatever the nesting.

use super::{Core, Machine, NumaNode, Part, PartKind};
use crate::units::{Bytes, CpuList, NodeId};

impl Machine {
    /// The number of L2 caches, where cores share them and a description does not tell which: one of an older release.
    pub fn unlisted_l2(&self) -> Option<u32> {
        let untold = |caches: &u32| self.l2_groups.is_none() && (*caches as usize) < self.cores().len();
        self.l2_caches.filter(untold)
    }

    /// All memory of the machine.
    pub fn memory_bytes(&self) -> Bytes {
        self.topology.memory_bytes
    }

    /// Every part, the root first, each before what is inside it.
    pub fn parts(&self) -> Vec<&Part> {
        self.topology.walk()
    }

    /// The parts of one kind, in the order of the tree.
    pub fn parts_of(&self, kind: PartKind) -> Vec<&Part> {
        self.parts().into_iter().filter(|part| part.kind == kind).collect()
    }

    /// The L3 groups, in the order of the tree. None where the machine has no L3 or does not tell.
    pub fn l3_groups(&self) -> Vec<&Part> {
        self.parts_of(PartKind::L3)
    }

    /// Every NUMA node, in the order of the tree.
    pub fn nodes(&self) -> Vec<&NumaNode> {
        self.parts().into_iter().flat_map(|part| &part.nodes).collect()
    }

    /// The node with this OS index.
    pub fn node(&self, id: NodeId) -> Option<&NumaNode> {
        self.nodes().into_iter().find(|node| node.os_index == id)
    }

    /// Every core, in the order of the tree.
    pub fn cores(&self) -> Vec<&Core> {
        self.parts().into_iter().flat_map(|part| &part.cores).collect()
    }

    /// Every online CPU.
    pub fn cpus(&self) -> CpuList {
        self.topology.cpus()
    }

    /// Online CPUs that a cgroup forbids.
    pub fn forbidden_cpus(&self) -> CpuList {
        self.cpus().minus(&self.allowed_cpus)
    }

    /// The cores that may be used: at least one of their CPUs is allowed.
    pub fn usable_cores(&self) -> Vec<&Core> {
        self.cores().into_iter().filter(|core| !core.cpus.and(&self.allowed_cpus).is_empty()).collect()
    }

    /// The L3 groups that hold CPUs of this node. A group that spans nodes is a group of each.
    pub fn l3_groups_of(&self, node: &NumaNode) -> Vec<&Part> {
        self.l3_groups().into_iter().filter(|group| !group.cpus().and(&node.cpus).is_empty()).collect()
    }

    /// The node whose own CPU this is.
    pub fn node_of(&self, cpu: u32) -> Option<&NumaNode> {
        self.nodes().into_iter().find(|node| node.cpus.contains(cpu))
    }

    /// Whether any core runs more than one CPU.
    pub fn has_smt(&self) -> bool {
        self.cores().iter().any(|core| core.cpus.len() > 1)
    }
}

impl Part {
    /// This part and all parts inside it, each before what is inside it.
    pub fn walk(&self) -> Vec<&Self> {
        std::iter::once(self).chain(self.parts.iter().flat_map(Self::walk)).collect()
    }

    /// Every online CPU of this part.
    pub fn cpus(&self) -> CpuList {
        self.walk().into_iter().flat_map(|part| &part.cores).flat_map(|core| core.cpus.iter()).collect()
    }
}

impl NumaNode {
    /// Whether no CPU calls this node its own.
    pub fn is_memory_only(&self) -> bool {
        self.cpus.is_empty()
    }
}
