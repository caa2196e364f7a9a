//! The layouts that a stage is measured in: how many tasks at once, in which processes, on which CPUs. Pure.
//!
//! ```text
//! shared   one process, no cpuset, n tasks        as stages of small sectors run, inside the daemon
//! pinned   m processes of k cores, a task each    as PC2, C2, add_pieces and tree_d of large sectors are placed
//!          one process a node, n tasks            as PC1 is placed: whole L3 groups, a core a task
//! ```
//!
//! A set of CPUs never takes a part of an L3 group where a whole one would do, and stays in one node while one is enough.

use crate::{
    machine::Machine,
    profile::Stage,
    units::{CpuList, NodeId, ParseError},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// How tasks come to their cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// All in one process, on every core.
    Shared,
    /// On cpusets.
    Pinned,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Shared => "shared",
            Self::Pinned => "pinned",
        })
    }
}

impl FromStr for Kind {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "shared" => Ok(Self::Shared),
            "pinned" => Ok(Self::Pinned),
            _ => Err(ParseError::new(text, "a kind of layout", "shared or pinned")),
        }
    }
}

/// One process and what it gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<CpuList>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Cores that its tasks have together.
    pub cores: u32,
    /// Tasks at once.
    pub tasks: u32,
}

/// Everything that runs at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub kind: Kind,
    pub seats: Vec<Seat>,
}

impl Layout {
    /// Tasks at once.
    pub fn at_once(&self) -> u32 {
        self.seats.iter().map(|seat| seat.tasks).sum()
    }

    /// Cores in use.
    pub fn cores(&self) -> u32 {
        self.seats.iter().map(|seat| seat.cores).sum()
    }

    /// Cores of a task, at least one.
    pub fn cores_of_task(&self) -> u32 {
        (self.cores() / self.at_once().max(1)).max(1)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at_once, cores) = (self.at_once(), self.cores());
        let plural = if cores == 1 { "core" } else { "cores" };
        match self.kind {
            Kind::Shared => write!(f, "{at_once} at once, sharing {cores} {plural}"),
            Kind::Pinned => {
                let sets: Vec<_> =
                    self.seats.iter().filter_map(|seat| Some(seat.cpuset.as_ref()?.to_string())).collect();
                write!(f, "{at_once} at once on {cores} {plural}, CPUs {}", sets.join(" "))
            }
        }
    }
}

/// The cores of one L3 group in one node, each with all its usable CPUs.
struct Group {
    node: Option<NodeId>,
    cores: Vec<CpuList>,
}

/// The layouts of a stage on a machine. `counts` are the numbers of cores to try; without any a range is chosen.
pub fn layouts(machine: &Machine, stage: Stage, counts: &[u32], kinds: &[Kind]) -> Vec<Layout> {
    let groups = groups(machine);
    let total = groups.iter().map(|group| group.cores.len() as u32).sum();
    let counts = if counts.is_empty() { range(&groups, total) } else { counts.to_vec() };
    let mut found = Vec::new();
    for kind in kinds {
        found.extend(match (kind, stage) {
            // It runs inside the daemon, one at a time in each sealing thread, and takes no cores of its own.
            (_, Stage::C1) => vec![shared(1, total)],
            (Kind::Shared, _) => {
                counts.iter().filter(|count| (1..=total).contains(*count)).map(|n| shared(*n, total)).collect()
            }
            (Kind::Pinned, Stage::Pc1) => counts.iter().filter_map(|count| pc1(&groups, *count)).collect(),
            (Kind::Pinned, _) => counts.iter().flat_map(|count| pinned(&groups, *count)).collect(),
        });
    }
    let mut unique: Vec<Layout> = Vec::new();
    for layout in found {
        if !unique.contains(&layout) {
            unique.push(layout);
        }
    }
    unique
}

fn groups(machine: &Machine) -> Vec<Group> {
    let caches: Vec<CpuList> = machine.l3_groups().iter().map(|group| group.cpus()).collect();
    let mut found: BTreeMap<(Option<NodeId>, usize), Vec<CpuList>> = BTreeMap::new();
    for core in machine.usable_cores() {
        let cpus = core.cpus.and(&machine.allowed_cpus);
        let Some(first) = cpus.iter().next() else { continue };
        let node = machine.node_of(first).map(|node| node.os_index);
        let cache = caches.iter().position(|cache| cache.contains(first)).unwrap_or(usize::MAX);
        found.entry((node, cache)).or_default().push(cpus);
    }
    found.into_iter().map(|((node, _), cores)| Group { node, cores }).collect()
}

/// From one L3 group, doubled until all cores are in use; where there is one group, from one core.
fn range(groups: &[Group], total: u32) -> Vec<u32> {
    let smallest = groups.iter().map(|group| group.cores.len() as u32).min().unwrap_or(1);
    let mut count = if groups.len() > 1 { smallest } else { 1 };
    let mut counts = Vec::new();
    while count < total {
        counts.push(count);
        count *= 2;
    }
    counts.push(total);
    counts
}

fn shared(tasks: u32, total: u32) -> Layout {
    Layout { kind: Kind::Shared, seats: vec![Seat { cpuset: None, node: None, cores: total, tasks }] }
}

/// `count` tasks on a core each, spread over the nodes; each node's on as few whole groups as hold them.
fn pc1(groups: &[Group], count: u32) -> Option<Layout> {
    let mut nodes: Vec<Option<NodeId>> = groups.iter().map(|group| group.node).collect();
    nodes.dedup();
    let room = |node: &Option<NodeId>| -> u32 {
        groups.iter().filter(|group| group.node == *node).map(|group| group.cores.len() as u32).sum()
    };
    if count == 0 || count > nodes.iter().map(room).sum() {
        return None;
    }
    let mut tasks = vec![0; nodes.len()];
    for turn in 0.. {
        if tasks.iter().sum::<u32>() == count {
            break;
        }
        let place = turn % nodes.len();
        if tasks[place] < room(&nodes[place]) {
            tasks[place] += 1;
        }
    }
    let seats = nodes.iter().zip(tasks).filter(|(_, tasks)| *tasks > 0).map(|(node, tasks)| {
        let (mut cpus, mut cores) = (CpuList::default(), 0);
        for group in groups.iter().filter(|group| group.node == *node) {
            if cores < tasks {
                cores += group.cores.len() as u32;
                cpus = group.cores.iter().fold(cpus, |all, core| all.or(core));
            }
        }
        Seat { cpuset: Some(cpus), node: *node, cores: tasks, tasks }
    });
    Some(Layout { kind: Kind::Pinned, seats: seats.collect() })
}

/// One task on `count` cores, and as many such tasks as the machine holds.
fn pinned(groups: &[Group], count: u32) -> Vec<Layout> {
    let sets = sets(groups, count as usize);
    let layout = |sets: &[(Option<NodeId>, CpuList)]| Layout {
        kind: Kind::Pinned,
        seats: sets
            .iter()
            .map(|(node, cpus)| Seat { cpuset: Some(cpus.clone()), node: *node, cores: count, tasks: 1 })
            .collect(),
    };
    match sets.len() {
        0 => Vec::new(),
        1 => vec![layout(&sets)],
        _ => vec![layout(&sets[..1]), layout(&sets)],
    }
}

/// Sets of `count` cores: inside groups while they fit there, else of whole groups of one node, else of all in a row.
fn sets(groups: &[Group], count: usize) -> Vec<(Option<NodeId>, CpuList)> {
    if count == 0 {
        return Vec::new();
    }
    let join = |cores: &[CpuList]| cores.iter().fold(CpuList::default(), |all, core| all.or(core));
    let inside: Vec<_> = groups
        .iter()
        .flat_map(|group| group.cores.chunks_exact(count).map(|cores| (group.node, join(cores))))
        .collect();
    if !inside.is_empty() {
        return inside;
    }
    let mut nodes: Vec<Option<NodeId>> = groups.iter().map(|group| group.node).collect();
    nodes.dedup();
    let mut found = Vec::new();
    for node in nodes {
        let mut cores: Vec<CpuList> = Vec::new();
        for group in groups.iter().filter(|group| group.node == node) {
            cores.extend(group.cores.iter().cloned());
            if cores.len() >= count {
                found.push((node, join(&cores[..count])));
                cores.clear();
            }
        }
    }
    let all: Vec<CpuList> = groups.iter().flat_map(|group| group.cores.iter().cloned()).collect();
    if found.is_empty() && all.len() >= count {
        found.push((None, join(&all[..count])));
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Nodes of L3 groups of cores, numbered through, one CPU a core.
    pub(in crate::bench) fn machine(nodes: u32, groups: u32, cores: u32) -> Machine {
        let mut next = 0;
        let mut core = || {
            next += 1;
            format!(r#"{{"cpus":"{}"}}"#, next - 1)
        };
        let parts: Vec<String> = (0..nodes)
            .map(|node| {
                let first = node * groups * cores;
                let l3: Vec<String> = (0..groups)
                    .map(|_| {
                        let cores: Vec<String> = (0..cores).map(|_| core()).collect();
                        format!(r#"{{"kind":"l3","cores":[{}]}}"#, cores.join(","))
                    })
                    .collect();
                format!(
                    r#"{{"kind":"package","memory_bytes":1073741824,"nodes":[{{"os_index":{node},"memory_bytes":1073741824,"cpus":"{first}-{}"}}],"parts":[{}]}}"#,
                    first + groups * cores - 1,
                    l3.join(",")
                )
            })
            .collect();
        let text = format!(
            r#"{{"version":1,"hostname":"rig","allowed_cpus":"0-{}","topology":{{"kind":"machine","memory_bytes":{},"parts":[{}]}}}}"#,
            nodes * groups * cores - 1,
            u64::from(nodes) << 30,
            parts.join(",")
        );
        crate::machine::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn shown(machine: &Machine, stage: Stage, counts: &[u32], kind: Kind) -> Vec<String> {
        layouts(machine, stage, counts, &[kind]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_small_machine_is_tried_from_one_core_on() {
        let two = machine(1, 1, 2);
        assert_eq!(
            shown(&two, Stage::C2, &[], Kind::Pinned),
            ["1 at once on 1 core, CPUs 0", "2 at once on 2 cores, CPUs 0 1", "1 at once on 2 cores, CPUs 0-1"]
        );
        assert_eq!(
            shown(&two, Stage::C2, &[], Kind::Shared),
            ["1 at once, sharing 2 cores", "2 at once, sharing 2 cores"]
        );
        assert_eq!(shown(&two, Stage::C1, &[], Kind::Pinned), ["1 at once, sharing 2 cores"]);
    }

    #[test]
    fn pc1_lies_on_whole_groups_of_every_node() {
        let seed = machine(2, 2, 3);
        assert_eq!(
            shown(&seed, Stage::Pc1, &[1, 4, 8, 12, 13], Kind::Pinned),
            [
                "1 at once on 1 core, CPUs 0-2",
                "4 at once on 4 cores, CPUs 0-2 6-8",
                "8 at once on 8 cores, CPUs 0-5 6-11",
                "12 at once on 12 cores, CPUs 0-5 6-11"
            ]
        );
        assert_eq!(shown(&seed, Stage::Pc1, &[], Kind::Pinned).len(), 3, "3, 6 and 12 cores");
    }

    #[test]
    fn sets_end_where_l3_groups_end() {
        let seed = machine(2, 4, 3);
        assert_eq!(
            shown(&seed, Stage::Pc2, &[2, 6, 24], Kind::Pinned),
            [
                "1 at once on 2 cores, CPUs 0-1",
                "8 at once on 16 cores, CPUs 0-1 3-4 6-7 9-10 12-13 15-16 18-19 21-22",
                "1 at once on 6 cores, CPUs 0-5",
                "4 at once on 24 cores, CPUs 0-5 6-11 12-17 18-23",
                "1 at once on 24 cores, CPUs 0-23",
            ]
        );
    }

    proptest! {
        #[test]
        fn no_cpu_has_two_seats_and_no_seat_lacks_cores(
            nodes in 1u32..4, groups in 1u32..5, cores in 1u32..9, count in 0u32..80, stage in 0usize..6
        ) {
            let machine = machine(nodes, groups, cores);
            let stage = Stage::ALL[stage];
            for layout in layouts(&machine, stage, &[count], &[Kind::Pinned, Kind::Shared]) {
                let mut seen = CpuList::default();
                for cpus in layout.seats.iter().filter_map(|seat| seat.cpuset.as_ref()) {
                    prop_assert!(seen.and(cpus).is_empty());
                    seen = seen.or(cpus);
                }
                prop_assert!(layout.at_once() > 0 && layout.cores() <= nodes * groups * cores);
                for seat in layout.seats.iter().filter(|seat| seat.cpuset.is_some()) {
                    let cpus = seat.cpuset.as_ref().map_or(0, CpuList::len) as u32;
                    let suffices = if stage == Stage::Pc1 { cpus >= seat.tasks } else { cpus == seat.cores };
                    prop_assert!(suffices);
                }
            }
        }
    }
}
