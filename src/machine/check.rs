//! What holds for every machine, whoever wrote it down.

use super::{Machine, Part, PartKind, VERSION};
use crate::units::{Bytes, CpuList, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// A broken invariant: where in the machine, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Broken {
    /// The place, as a path of field names: `topology.parts[0].cores[2].cpus`.
    pub path: String,
    pub reason: String,
}

impl Machine {
    /// Every invariant that this machine breaks; none for a machine that makes sense.
    pub fn check(&self) -> Vec<Broken> {
        let mut found = Found::default();
        if self.version != VERSION {
            found.at("version", format!("is {}, this program knows {VERSION}", self.version));
        }
        if self.topology.kind != PartKind::Machine {
            found.at("topology.kind", "the outermost part must be \"machine\"");
        }
        found.part("topology", &self.topology, &self.cpus());
        self.check_cpus(&mut found);
        self.check_l2(&mut found);
        self.check_distances(&mut found);
        self.check_kinds(&mut found);
        found.broken
    }

    fn check_cpus(&self, found: &mut Found) {
        let online = self.cpus();
        if online.is_empty() {
            found.at("topology", "there is no CPU in it");
        }
        if self.allowed_cpus.is_empty() {
            found.at("allowed_cpus", "no CPU may be used");
        }
        let strangers = self.allowed_cpus.minus(&online);
        if !strangers.is_empty() {
            found.at("allowed_cpus", format!("{strangers} are not in the topology"));
        }
        let both = self.offline_cpus.and(&online);
        if !both.is_empty() {
            found.at("offline_cpus", format!("{both} are in the topology, so they are online"));
        }
    }
}

impl Machine {
    fn check_kinds(&self, found: &mut Found) {
        let online = self.cpus();
        let mut before = CpuList::default();
        for (i, kind) in self.cpu_kinds.iter().enumerate() {
            let path = format!("cpu_kinds[{i}].cpus");
            let strangers = kind.cpus.minus(&online);
            if !strangers.is_empty() {
                found.at(path.clone(), format!("{strangers} are not in the topology"));
            }
            let twice = kind.cpus.and(&before);
            if !twice.is_empty() {
                found.at(path, format!("{twice} are of another kind too"));
            }
            before = before.or(&kind.cpus);
        }
    }

    /// L2 caches lie in the tree as its parts do, although they are listed beside it: around cores, across nothing.
    fn check_l2(&self, found: &mut Found) {
        let Some(groups) = &self.l2_groups else { return };
        if let Some(caches) = self.l2_caches.filter(|caches| *caches as usize != groups.len()) {
            found.at("l2_caches", format!("is {caches}, but l2_groups lists {}", groups.len()));
        }
        let online = self.cpus();
        let mut owner = BTreeMap::new();
        for (i, group) in groups.iter().enumerate() {
            let path = format!("l2_groups[{i}]");
            if group.is_empty() {
                found.at(path.clone(), "a cache has at least one CPU");
            }
            let strangers = group.minus(&online);
            if !strangers.is_empty() {
                found.at(path.clone(), format!("{strangers} are not in the topology"));
            }
            let twice: CpuList = group.iter().filter(|cpu| owner.insert(*cpu, i).is_some()).collect();
            if !twice.is_empty() {
                found.at(path, format!("{twice} belong to another L2 cache too"));
            }
        }
        for core in self.cores() {
            if let Some(i) = split(&core.cpus, &owner, |_| usize::MAX) {
                found.at(format!("l2_groups[{i}]"), format!("takes a part of the core with the CPUs {}", core.cpus));
            }
        }
        for part in self.parts() {
            let cpus = part.cpus();
            if let Some(i) = split(&cpus, &owner, |i| groups[i].len()) {
                let kind = part.kind.name();
                found.at(format!("l2_groups[{i}]"), format!("lies partly in the {kind} with the CPUs {cpus}"));
            }
        }
    }

    fn check_distances(&self, found: &mut Found) {
        let Some(distances) = &self.distances else { return };
        for node in distances.nodes.iter().filter(|node| self.node(**node).is_none()) {
            found.at("distances.nodes", format!("there is no node {node} in the topology"));
        }
        let size = distances.nodes.len();
        if distances.rows.len() != size || distances.rows.iter().any(|row| row.len() != size) {
            found.at("distances.rows", format!("{size} nodes need {size} rows of {size} numbers"));
        }
    }
}

/// The first L2 cache that `cpus` hold only a part of, although they are not all of one cache.
fn split(cpus: &CpuList, owner: &BTreeMap<u32, usize>, size: impl Fn(usize) -> usize) -> Option<usize> {
    let mut held: BTreeMap<Option<usize>, usize> = BTreeMap::new();
    for cpu in cpus.iter() {
        *held.entry(owner.get(&cpu).copied()).or_default() += 1;
    }
    let several = held.len() > 1;
    held.into_iter().find_map(|(cache, count)| cache.filter(|cache| several && count < size(*cache)))
}

/// What was found while walking the tree.
#[derive(Default)]
struct Found {
    broken: Vec<Broken>,
    cpus_in_cores: BTreeSet<u32>,
    cpus_in_nodes: BTreeSet<u32>,
    nodes: BTreeSet<NodeId>,
}

impl Found {
    fn at(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.broken.push(Broken { path: path.into(), reason: reason.into() });
    }

    fn part(&mut self, path: &str, part: &Part, online: &CpuList) {
        for (i, node) in part.nodes.iter().enumerate() {
            let path = format!("{path}.nodes[{i}]");
            if !self.nodes.insert(node.os_index) {
                self.at(format!("{path}.os_index"), format!("there are two nodes {}", node.os_index));
            }
            let strangers = node.cpus.minus(online);
            if !strangers.is_empty() {
                self.at(format!("{path}.cpus"), format!("{strangers} are not in the topology"));
            }
            let twice: CpuList = node.cpus.iter().filter(|cpu| !self.cpus_in_nodes.insert(*cpu)).collect();
            if !twice.is_empty() {
                self.at(format!("{path}.cpus"), format!("{twice} belong to another node too"));
            }
        }
        for (i, core) in part.cores.iter().enumerate() {
            let path = format!("{path}.cores[{i}].cpus");
            if core.cpus.is_empty() {
                self.at(path.clone(), "a core has at least one CPU");
            }
            let twice: CpuList = core.cpus.iter().filter(|cpu| !self.cpus_in_cores.insert(*cpu)).collect();
            if !twice.is_empty() {
                self.at(path, format!("{twice} belong to another core too"));
            }
        }
        for (i, inner) in part.parts.iter().enumerate() {
            let path = format!("{path}.parts[{i}]");
            if inner.kind == PartKind::Machine {
                self.at(format!("{path}.kind"), "only the outermost part is \"machine\"");
            }
            self.part(&path, inner, online);
        }
        match inner_memory(part) {
            Some(sum) if sum == part.memory_bytes => {}
            Some(sum) => self.at(
                format!("{path}.memory_bytes"),
                format!("is {}, but the nodes in it sum to {}", part.memory_bytes.0, sum.0),
            ),
            None => self.at(format!("{path}.memory_bytes"), "the nodes in it sum to more than 2^64 bytes"),
        }
    }
}

/// What a part's memory must be: its nodes' and its parts'.
fn inner_memory(part: &Part) -> Option<Bytes> {
    let nodes = part.nodes.iter().map(|node| node.memory_bytes);
    let parts = part.parts.iter().map(|part| part.memory_bytes);
    nodes.chain(parts).try_fold(0u64, |sum, bytes| sum.checked_add(bytes.0)).map(Bytes)
}
