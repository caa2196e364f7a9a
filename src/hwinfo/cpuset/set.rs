//! What a cpuset is on a machine, whoever uses it: CPUs that cannot be used, cores, nodes, siblings.

use crate::{
    machine::Machine,
    units::{CpuList, NodeId},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// A cpuset as a machine sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetFacts {
    /// The CPUs of the set that can be used.
    pub usable: CpuList,
    /// CPUs that this machine does not have.
    pub absent: CpuList,
    /// CPUs that are switched off.
    pub offline: CpuList,
    /// Whether those of `offline` may as well be forbidden: the machine is of an export, which leaves out both.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub offline_or_forbidden: bool,
    /// CPUs that a cgroup around the process forbids.
    pub forbidden: CpuList,
    /// Cores with at least one usable CPU in the set.
    pub cores: usize,
    /// The nodes whose own CPUs the set takes.
    pub nodes: Vec<NodeShare>,
    /// CPUs of the set whose core is in it already with a lower number.
    pub second_siblings: CpuList,
    /// Usable CPUs outside the set on cores that are in it.
    pub siblings_left_out: CpuList,
}

/// What a set takes of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeShare {
    pub node: NodeId,
    pub cpus: CpuList,
    pub cores: usize,
}

impl SetFacts {
    /// Looks `cpuset` up in `machine`.
    pub fn of(machine: &Machine, cpuset: &CpuList) -> Self {
        let online = machine.cpus();
        let usable = cpuset.and(&online).and(&machine.allowed_cpus);
        let offline = cpuset.and(&machine.offline_cpus);
        let cores: Vec<CpuList> =
            machine.cores().iter().map(|core| core.cpus.clone()).filter(|cpus| !cpus.and(&usable).is_empty()).collect();
        let second = cores.iter().flat_map(|cpus| cpus.and(&usable).iter().skip(1).collect::<Vec<_>>());
        let left_out =
            cores.iter().flat_map(|cpus| cpus.and(&machine.allowed_cpus).minus(cpuset).iter().collect::<Vec<_>>());
        Self {
            absent: cpuset.minus(&online).minus(&offline),
            forbidden: cpuset.and(&online).minus(&machine.allowed_cpus),
            nodes: nodes(machine, &usable, &cores),
            second_siblings: second.collect(),
            siblings_left_out: left_out.collect(),
            cores: cores.len(),
            offline_or_forbidden: machine.offline_or_forbidden && !offline.is_empty(),
            usable,
            offline,
        }
    }

    /// How many CPUs of the set cannot be used.
    pub fn unusable(&self) -> usize {
        self.absent.len() + self.offline.len() + self.forbidden.len()
    }
}

fn nodes(machine: &Machine, usable: &CpuList, cores: &[CpuList]) -> Vec<NodeShare> {
    let mut owner: BTreeMap<u32, NodeId> = BTreeMap::new();
    for node in machine.nodes() {
        owner.extend(node.cpus.iter().map(|cpu| (cpu, node.os_index)));
    }
    let mut shares: BTreeMap<NodeId, (Vec<u32>, usize)> = BTreeMap::new();
    for core in cores {
        let used = core.and(usable);
        let Some(node) = used.iter().next().and_then(|cpu| owner.get(&cpu)) else { continue };
        let (cpus, cores) = shares.entry(*node).or_default();
        cpus.extend(used.iter());
        *cores += 1;
    }
    let share = |(node, (cpus, cores)): (NodeId, (Vec<u32>, usize))| NodeShare {
        node,
        cpus: cpus.into_iter().collect(),
        cores,
    };
    shares.into_iter().map(share).collect()
}
