//! Which NUMA nodes are near to a CPU, and in which order the others follow.

use crate::{
    sys::{Root, host, memory},
    units::{CpuList, NodeId},
};
use std::collections::BTreeMap;

/// The nodes of a machine, their CPUs and how far they are from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes {
    cpus: BTreeMap<NodeId, CpuList>,
    distances: BTreeMap<(NodeId, NodeId), u32>,
}

impl Nodes {
    /// Those of this machine. Where nothing can be learned of them it is one node, as on a kernel without NUMA.
    pub fn here(root: &Root) -> Self {
        let known = host::node_cpus(root).map_err(|error| tracing::debug!(%error, "nodes are not known"));
        let cpus = known.ok().flatten().filter(|nodes| !nodes.is_empty());
        let cpus = cpus.unwrap_or_else(|| BTreeMap::from([(NodeId(0), CpuList::default())]));
        let mut distances = BTreeMap::new();
        match memory::distances(root) {
            Ok((nodes, rows)) => {
                for (from, row) in nodes.iter().zip(&rows) {
                    distances.extend(nodes.iter().zip(row).map(|(to, distance)| ((*from, *to), *distance)));
                }
            }
            Err(error) => tracing::debug!(%error, "distances are not known"),
        }
        Self { cpus, distances }
    }

    /// Their numbers.
    pub fn all(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.cpus.keys().copied()
    }

    /// The nodes of these CPUs; all nodes where the CPUs are on none that is known.
    pub fn near(&self, cpus: &CpuList) -> Vec<NodeId> {
        let near: Vec<_> = self.cpus.iter().filter(|(_, of)| !of.and(cpus).is_empty()).map(|(node, _)| *node).collect();
        if near.is_empty() { self.all().collect() } else { near }
    }

    /// The one node of these CPUs, on a machine of several.
    pub fn only_near(&self, cpus: &CpuList) -> Option<NodeId> {
        match self.near(cpus)[..] {
            [node] if self.cpus.len() > 1 => Some(node),
            _ => None,
        }
    }

    /// All nodes in the order in which memory is looked for: the near ones, then the others, nearest first.
    pub fn in_order(&self, near: &[NodeId]) -> Vec<NodeId> {
        let distance = |node: NodeId| {
            let from = near.iter().filter_map(|near| self.distances.get(&(*near, node)));
            from.min().copied().unwrap_or(u32::MAX)
        };
        let mut nodes: Vec<_> = self.all().collect();
        nodes.sort_by_key(|node| (!near.contains(node), distance(*node), *node));
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    fn four() -> Nodes {
        const NODE: &str = "sys/devices/system/node";
        let file = |name: &str, text: &str| (format!("{NODE}/{name}"), text.to_owned());
        let files = [
            file("online", "0-3\n"),
            file("node0/cpulist", "0-1\n"),
            file("node1/cpulist", "2-3\n"),
            file("node2/cpulist", "4-5\n"),
            file("node3/cpulist", "\n"),
            file("node0/distance", "10 32 21 17\n"),
            file("node1/distance", "32 10 32 28\n"),
            file("node2/distance", "21 32 10 28\n"),
            file("node3/distance", "17 28 28 10\n"),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        Nodes::here(&tree(&files).1)
    }

    fn numbers(nodes: Vec<NodeId>) -> Vec<u32> {
        nodes.into_iter().map(|node| node.0).collect()
    }

    #[test]
    fn the_own_node_comes_first_and_then_the_nearest() {
        let nodes = four();
        let order = |cpus: &str| numbers(nodes.in_order(&nodes.near(&cpus.parse().unwrap())));
        assert_eq!(order("1"), [0, 3, 2, 1]);
        assert_eq!(order("2-3"), [1, 3, 0, 2]);
        assert_eq!(order("0,4"), [0, 2, 3, 1], "a task that floats over two nodes");
        assert_eq!(nodes.only_near(&"4".parse().unwrap()), Some(NodeId(2)));
        assert_eq!(nodes.only_near(&"0-5".parse().unwrap()), None);
        assert_eq!(order("99"), [0, 1, 2, 3], "of CPUs that are not there nothing is known");
    }

    #[test]
    fn a_machine_without_nodes_is_one_node() {
        let nodes = Nodes::here(&tree(&[]).1);
        assert_eq!(numbers(nodes.in_order(&nodes.near(&"0-7".parse().unwrap()))), [0]);
        assert_eq!(nodes.only_near(&"0".parse().unwrap()), None, "nothing to choose among");
    }
}
