//! The one home of the arithmetic of PC1 units and shared-cache groups: which cores a PC1 task is bound to.
//!
//! A *unit* is the cores of one multi-core PC1 task: one that hashes and `producers` that read ahead for it.
//! A *group* is the cores of one object of the first level above cores that has fewer objects than cores: the
//! L3 on most machines, the L2 where cores share one, the package where every core has an L3 of its own. What the
//! process does not see does not count: a cpuset with one core of each L3 is grouped by packages.
//!
//! ```text
//! cpuset ∩ usable CPUs ─► cores that the process sees ─► groups ─► units ─► each unit's OS CPUs
//!
//!  machine ─ package ─ L3 ┬ L2 ─ core          stock: 3 cores, 2 objects at the level of L2: groups of 1.5, a panic
//!                         └ L2 ┬ core          own:   3 cores of one L3
//!                              └ core
//! ```
//!
//! Three provers share the idea and differ in the details:
//!
//! | prover | group size | which cores | known trap |
//! | --- | --- | --- | --- |
//! | `stock` | cores / groups, must divide | logical number, kept if a CPU *of that number* is allowed | 0 units where the cpuset does not reach down to CPU 0 |
//! | `stock-damocles` | cores / groups, must divide | the same plus the first allowed CPU | loses units where the cpuset has holes |
//! | `own` | the group's own cores | OS index | none known |
//!
//! `stock` is rust-fil-proofs with its pull request 1633, `stock-damocles` the fork that damocles-worker links.
//! Both assume that every group has as many cores as the average one, so unequal groups give units that
//! straddle caches. `own`, the runtime of this project, fills each group with as many units as its cores hold
//! and asks nothing of the others; its groups are never smaller than an L3, since that is what a sector's threads
//! gain from sharing. All three give each group one unit before any group gets a second.
//!
//! The process is taken to be in a cgroup with this cpuset, as damocles starts processors: other CPUs are
//! hidden from it, and no further memory is, because only `cpuset.cpus` is written. hwloc keeps an object that has memory
//! although its CPUs are hidden, and the stock provers count it as a group: on a machine whose L3 caches are NUMA
//! nodes, or whose groups are packages, groups of other sets count too. Cores count, not threads: a unit is bound to the first allowed CPU of each of its cores.
//! Pure: reads a `Machine`, touches nothing.

pub use crate::units::Prover;

use super::{Core, Machine, Part, PartKind};
use crate::units::CpuList;
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// What a prover makes of a cpuset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pc1Units {
    /// The CPUs of the cpuset that the process can use.
    pub cpus: CpuList,
    /// How many cores it sees.
    pub cores: usize,
    /// What the groups are; the whole machine where no level has fewer objects than there are cores.
    pub level: GroupKind,
    /// The groups with a visible core, in the order of the tree.
    pub groups: Vec<Group>,
    /// Groups without a visible core that the prover counts all the same, since it sees memory there.
    pub coreless: usize,
    /// How many units the cores give before any is lost to a mistaken number; none for a prover that panics.
    pub units_due: usize,
    pub outcome: Outcome,
}

/// What a group is: a part of the machine's tree, or an L2 cache, which the contract lists beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupKind {
    Part(PartKind),
    L2,
}

impl GroupKind {
    pub const MACHINE: Self = Self::Part(PartKind::Machine);

    /// What people call it, as in the tree.
    pub fn name(self) -> &'static str {
        match self {
            Self::Part(kind) => kind.name(),
            Self::L2 => "L2",
        }
    }

    /// Whether its cores share a cache, as far as the machine tells.
    pub const fn is_cache(self) -> bool {
        matches!(self, Self::L2 | Self::Part(PartKind::L3 | PartKind::L4 | PartKind::L5))
    }
}

impl Serialize for GroupKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name().to_lowercase())
    }
}

/// A shared cache, or what stands for it, as the cpuset takes from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    pub kind: GroupKind,
    /// The operating system's number, where it has one.
    pub os_index: Option<u32>,
    /// Its place among all parts of its kind in the machine.
    pub logical: usize,
    /// The usable CPUs of the cpuset in it.
    pub cpus: CpuList,
    /// Cores of the cpuset in it.
    pub cores: usize,
    /// All cores in it that may be used.
    pub cores_whole: usize,
}

/// What happens when the prover starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It sees no core at all.
    NoCores,
    /// It panics: its cores do not divide by its groups.
    Panics,
    /// It runs with these units, first come first served; tasks beyond them float over all its CPUs.
    Units(Vec<Unit>),
}

/// The cores that one PC1 task is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// The OS CPUs of its threads, the hashing one first.
    pub cpus: Vec<u32>,
    /// Its threads that get no core of their own and float.
    pub unbound: usize,
    /// How many groups its cores are in: more than one means that it straddles caches.
    pub groups: usize,
    /// The same for L3 caches, which are smaller than groups where each core has its own L3.
    pub l3_caches: usize,
}

impl Pc1Units {
    /// The units; none where it does not start.
    pub fn units(&self) -> &[Unit] {
        match &self.outcome {
            Outcome::Units(units) => units,
            Outcome::NoCores | Outcome::Panics => &[],
        }
    }

    /// How many of `concurrent` tasks run bound to no unit.
    pub fn floating(&self, concurrent: usize) -> usize {
        concurrent.saturating_sub(self.units().len())
    }

    /// Units whose cores share no cache.
    pub fn straddling(&self) -> impl Iterator<Item = &Unit> {
        self.units().iter().filter(|unit| unit.groups > 1)
    }

    /// Units with a thread that is bound to no core.
    pub fn short(&self) -> impl Iterator<Item = &Unit> {
        self.units().iter().filter(|unit| unit.unbound > 0)
    }

    /// Whether every group gives as many cores as the next.
    pub fn is_equal(&self) -> bool {
        self.groups.windows(2).all(|pair| pair[0].cores == pair[1].cores)
            && self.groups.iter().map(|group| group.cores).sum::<usize>() == self.cores
    }

    /// Whether it takes every usable core of each group it touches.
    pub fn is_whole(&self) -> bool {
        self.groups.iter().all(|group| group.cores == group.cores_whole)
    }
}

/// A core that the process sees.
#[derive(Clone, Debug)]
struct Seen {
    /// The CPU that a thread on this core is bound to.
    first_cpu: u32,
    group: Option<usize>,
    l3: Option<usize>,
}

/// What `prover` with so many `producers` makes of `cpuset` on `machine`.
pub fn pc1_units(machine: &Machine, cpuset: &CpuList, prover: Prover, producers: usize) -> Pc1Units {
    let usable = machine.cpus().and(&machine.allowed_cpus);
    let cpus = cpuset.and(&usable);
    let leaves = Leaves::of(machine);
    let visible: Vec<&Leaf> = leaves.cores.iter().filter(|leaf| !leaf.core.cpus.and(&cpus).is_empty()).collect();
    let (level, counted) = group_level(&leaves, &visible, prover).unzip();
    let groups = groups(&leaves, &visible, level, &usable, &cpus);
    let counted = counted.unwrap_or(1);
    let seen: Vec<Seen> = visible.iter().map(|leaf| see(leaf, level, &cpus)).collect();
    let cores_per_unit = producers.saturating_add(1);
    let outcome = match prover {
        _ if seen.is_empty() => Outcome::NoCores,
        Prover::Own => Outcome::Units(own_units(&seen, cores_per_unit)),
        Prover::Stock | Prover::StockDamocles => stock_units(prover, &seen, counted, &cpus, cores_per_unit),
    };
    let units_due = match &outcome {
        Outcome::NoCores | Outcome::Panics => 0,
        Outcome::Units(units) if prover == Prover::Own => units.len(),
        Outcome::Units(_) => counted * (seen.len() / counted / cores_per_unit),
    };
    let coreless = if level.is_some() { counted - groups.len() } else { 0 };
    let level = level.map_or(GroupKind::MACHINE, |level| level.kind);
    Pc1Units { cpus, cores: seen.len(), level, groups, coreless, units_due, outcome }
}

/// One level of the tree. Parts of a kind within parts of the same kind are levels of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Level {
    kind: GroupKind,
    nesting: usize,
}

/// A part around a core, from the root down.
#[derive(Clone, Copy, Debug)]
struct Around {
    level: Level,
    /// Its place among all parts of its level.
    place: usize,
    os_index: Option<u32>,
    /// Its place among all parts of its kind.
    logical: usize,
    /// How many CPUs it holds.
    cpus: usize,
}

/// A core and the parts around it.
struct Leaf<'m> {
    core: &'m Core,
    around: Vec<Around>,
}

/// A part that holds memory, at its depth.
struct Memory {
    level: Level,
    depth: usize,
    place: usize,
}

/// All cores in hwloc's logical order, which is what the stock provers number them by, and the parts with memory.
struct Leaves<'m> {
    cores: Vec<Leaf<'m>>,
    memory: Vec<Memory>,
}

impl<'m> Leaves<'m> {
    fn of(machine: &'m Machine) -> Self {
        let mut walk = Walk { l2s: L2s::of(machine), ..Walk::default() };
        walk.part(&machine.topology, &[]);
        Self { cores: walk.leaves, memory: walk.memory }
    }
}

/// The L2 caches beside the tree: which one each CPU has.
#[derive(Default)]
struct L2s {
    of_cpu: BTreeMap<u32, usize>,
    /// The first CPU of each, and how many it has.
    extents: Vec<(u32, usize)>,
}

impl L2s {
    fn of(machine: &Machine) -> Self {
        let mut all = Self::default();
        for cpus in machine.l2_groups.iter().flatten() {
            let Some(first) = cpus.iter().next() else { continue };
            all.of_cpu.extend(cpus.iter().map(|cpu| (cpu, all.extents.len())));
            all.extents.push((first, cpus.len()));
        }
        all
    }

    /// The L2 with this CPU: its place, its first CPU, how many it has.
    fn at(&self, cpu: u32) -> Option<(usize, u32, usize)> {
        let place = *self.of_cpu.get(&cpu)?;
        let (first, cpus) = self.extents[place];
        Some((place, first, cpus))
    }

    /// What siblings in the tree are ordered by. hwloc orders them by their lowest CPU, and those in one L2 stand
    /// together where that L2 does.
    fn order(&self, cpus: &CpuList) -> Option<(u32, u32)> {
        let own = cpus.iter().next()?;
        let around = self.at(own).filter(|(_, _, size)| cpus.len() <= *size);
        Some((around.map_or(own, |(_, first, _)| first), own))
    }
}

#[derive(Default)]
struct Walk<'m> {
    leaves: Vec<Leaf<'m>>,
    memory: Vec<Memory>,
    places: BTreeMap<Level, usize>,
    logical: BTreeMap<GroupKind, usize>,
    l2s: L2s,
}

/// What is right inside a part.
enum Child<'m> {
    Part(&'m Part),
    Core(&'m Core),
}

impl<'m> Walk<'m> {
    fn part(&mut self, part: &'m Part, around: &[Around]) {
        let parts = part.parts.iter().map(|part| (self.l2s.order(&part.cpus()), Child::Part(part)));
        let cores = part.cores.iter().map(|core| (self.l2s.order(&core.cpus), Child::Core(core)));
        let mut children: Vec<_> = parts.chain(cores).collect();
        // The contract keeps cores and parts apart, hwloc does not.
        children.sort_by_key(|(order, _)| *order);
        for (_, child) in children {
            match child {
                Child::Core(core) => self.leaves.push(self.leaf(core, around)),
                Child::Part(part) => {
                    let mut inner = around.to_vec();
                    let entered = self.enter(part, around);
                    let mut nodes = part.walk().into_iter().flat_map(|part| &part.nodes);
                    if nodes.any(|node| !node.forbidden) {
                        self.memory.push(Memory { level: entered.level, depth: around.len(), place: entered.place });
                    }
                    inner.push(entered);
                    self.part(part, &inner);
                }
            }
        }
    }

    fn enter(&mut self, part: &Part, around: &[Around]) -> Around {
        let kind = GroupKind::Part(part.kind);
        let nesting = around.iter().filter(|outer| outer.level.kind == kind).count();
        let level = Level { kind, nesting };
        Around {
            level,
            place: next(&mut self.places, level),
            os_index: part.os_index,
            logical: next(&mut self.logical, kind),
            cpus: part.cpus().len(),
        }
    }

    /// A core with its L2 where that lies in the tree: caches nest, so below the parts that hold no less.
    fn leaf(&self, core: &'m Core, around: &[Around]) -> Leaf<'m> {
        let mut around = around.to_vec();
        let l2 = core.cpus.iter().next().and_then(|cpu| self.l2s.at(cpu));
        if let Some((place, _, cpus)) = l2 {
            let depth = around.iter().take_while(|outer| outer.cpus >= cpus).count();
            let level = Level { kind: GroupKind::L2, nesting: 0 };
            around.insert(depth, Around { level, place, os_index: None, logical: place, cpus });
        }
        Leaf { core, around }
    }
}

fn next<K: Ord>(counters: &mut BTreeMap<K, usize>, key: K) -> usize {
    let counter = counters.entry(key).or_default();
    *counter += 1;
    *counter - 1
}

/// The first level above the visible cores that has fewer objects than there are cores, and how many it has.
fn group_level(leaves: &Leaves, visible: &[&Leaf], prover: Prover) -> Option<(Level, usize)> {
    // A level may be missing around some cores, so its depth is the deepest it is found at.
    let mut depths: BTreeMap<Level, usize> = BTreeMap::new();
    let mut objects: BTreeMap<Level, BTreeSet<usize>> = BTreeMap::new();
    let mut add = |level: Level, depth: usize, place: usize| {
        let deepest = depths.entry(level).or_default();
        *deepest = depth.max(*deepest);
        objects.entry(level).or_default().insert(place);
    };
    for leaf in visible {
        let all = leaf.around.iter().enumerate();
        all.filter(|(_, around)| prover != Prover::Own || around.level.kind != GroupKind::L2)
            .for_each(|(depth, around)| add(around.level, depth, around.place));
    }
    // Ours asks for cores only.
    for part in leaves.memory.iter().filter(|_| prover != Prover::Own) {
        add(part.level, part.depth, part.place);
    }
    let fewer = depths.into_iter().filter(|(level, _)| objects[level].len() < visible.len());
    fewer.max_by_key(|(_, depth)| *depth).map(|(level, _)| (level, objects[&level].len()))
}

/// The groups with a visible core. Without a level the machine is one group.
fn groups(leaves: &Leaves, visible: &[&Leaf], level: Option<Level>, usable: &CpuList, cpus: &CpuList) -> Vec<Group> {
    let key = |leaf: &Leaf| group_of(leaf, level);
    let mut groups: Vec<Group> = Vec::new();
    let mut of_place: BTreeMap<Option<usize>, usize> = BTreeMap::new();
    for leaf in visible {
        let own = leaf.core.cpus.and(cpus);
        match of_place.get(&key(leaf)) {
            Some(i) => {
                groups[*i].cores += 1;
                groups[*i].cpus = groups[*i].cpus.or(&own);
            }
            None if level.is_some() && key(leaf).is_none() => {}
            None => {
                of_place.insert(key(leaf), groups.len());
                groups.push(first_of(leaf, level, own));
            }
        }
    }
    for leaf in leaves.cores.iter().filter(|leaf| !leaf.core.cpus.and(usable).is_empty()) {
        if let Some(i) = of_place.get(&key(leaf)) {
            groups[*i].cores_whole += 1;
        }
    }
    groups
}

fn first_of(leaf: &Leaf, level: Option<Level>, cpus: CpuList) -> Group {
    let around = level.and_then(|level| at(leaf, level));
    Group {
        kind: level.map_or(GroupKind::MACHINE, |level| level.kind),
        os_index: around.and_then(|around| around.os_index),
        logical: around.map_or(0, |around| around.logical),
        cpus,
        cores: 1,
        cores_whole: 0,
    }
}

fn at<'l>(leaf: &'l Leaf, level: Level) -> Option<&'l Around> {
    leaf.around.iter().find(|around| around.level == level)
}

fn group_of(leaf: &Leaf, level: Option<Level>) -> Option<usize> {
    level.and_then(|level| at(leaf, level)).map(|around| around.place)
}

fn see(leaf: &Leaf, level: Option<Level>, cpus: &CpuList) -> Seen {
    let l3 = leaf.around.iter().find(|around| around.level.kind == GroupKind::Part(PartKind::L3));
    Seen {
        first_cpu: leaf.core.cpus.and(cpus).iter().next().expect("a visible core has an allowed CPU"),
        group: group_of(leaf, level),
        l3: l3.map(|around| around.place),
    }
}

/// The stock library's units. It computes with averages: that groups follow one another with equally many
/// cores is assumed by it, not looked up.
fn stock_units(prover: Prover, seen: &[Seen], groups: usize, cpus: &CpuList, cores_per_unit: usize) -> Outcome {
    if !seen.len().is_multiple_of(groups) {
        return Outcome::Panics;
    }
    let group_size = seen.len() / groups;
    let rounds = group_size / cores_per_unit;
    let first_allowed = cpus.iter().next().unwrap_or_default();
    let ranks: BTreeMap<u32, usize> = cpus.iter().zip(0..).collect();
    let starts =
        (0..rounds).flat_map(|round| (0..groups).map(move |group| group * group_size + round * cores_per_unit));
    let units = starts.filter_map(|start| {
        let cores: Vec<usize> = (start..start + cores_per_unit)
            .filter_map(|index| match prover {
                // A logical number is looked up among OS CPUs: the same only where both count from 0.
                Prover::Stock => cpus.contains(as_cpu(index)).then_some(index),
                // The CPU so many after the first is sought, and its rank among the CPUs is taken for a core's number.
                _ => ranks.get(&first_allowed.saturating_add(as_cpu(index))).copied(),
            })
            .collect();
        (!cores.is_empty()).then(|| unit(seen, &cores, cores_per_unit))
    });
    Outcome::Units(units.collect())
}

/// A core's number as a CPU number; what no CPU has stays such a number.
fn as_cpu(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Our units: each group's own cores, in runs of `cores_per_unit`; one unit per group first.
fn own_units(seen: &[Seen], cores_per_unit: usize) -> Vec<Unit> {
    let mut groups: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for (index, core) in seen.iter().enumerate() {
        groups.entry(core.group).or_default().push(index);
    }
    let mut units: Vec<(usize, usize, Unit)> = Vec::new();
    for cores in groups.values() {
        for (round, run) in cores.chunks_exact(cores_per_unit).enumerate() {
            units.push((round, cores[0], unit(seen, run, cores_per_unit)));
        }
    }
    units.sort_by_key(|(round, group_start, _)| (*round, *group_start));
    units.into_iter().map(|(_, _, unit)| unit).collect()
}

/// The unit of the cores with these numbers; a number beyond the last core leaves its thread unbound.
fn unit(seen: &[Seen], cores: &[usize], cores_per_unit: usize) -> Unit {
    let bound: Vec<&Seen> = cores.iter().filter_map(|index| seen.get(*index)).collect();
    Unit {
        cpus: bound.iter().map(|core| core.first_cpu).collect(),
        unbound: cores_per_unit - bound.len(),
        groups: distinct(bound.iter().map(|core| core.group)),
        l3_caches: distinct(bound.iter().map(|core| core.l3)),
    }
}

fn distinct<T: Ord>(items: impl Iterator<Item = T>) -> usize {
    items.collect::<BTreeSet<_>>().len()
}
