//! The one home of the arithmetic of PC1 units and shared-cache groups: which cores a PC1 task is bound to.
//!
//! A *unit* is the cores of one multi-core PC1 task: one that hashes and `producers` that read ahead for it.
//! A *group* is the cores of one object of the first level above cores that has fewer objects than cores: the
//! L3 on most machines, the package where every core has an L3 of its own.
//!
//! ```text
//! cpuset ∩ usable CPUs ─► cores that the process sees ─► groups ─► units ─► each unit's OS CPUs
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
//! and asks nothing of the others. All three give each group one unit before any group gets a second.
//!
//! The process is taken to be in a cgroup with this cpuset, as damocles starts processors: other CPUs are
//! hidden from it. Cores count, not threads: a unit is bound to the first allowed CPU of each of its cores.
//! Pure: reads a `Machine`, touches nothing.

pub use crate::units::Prover;

use super::{Core, Machine, Part, PartKind};
use crate::units::CpuList;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a prover makes of a cpuset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pc1Units {
    /// The CPUs of the cpuset that the process can use.
    pub cpus: CpuList,
    /// How many cores it sees.
    pub cores: usize,
    /// What the groups are; the whole machine where no level has fewer objects than there are cores.
    pub level: PartKind,
    /// The groups with a visible core, in the order of the tree.
    pub groups: Vec<Group>,
    /// How many units the cores give before any is lost to a mistaken number; none for a prover that panics.
    pub units_due: usize,
    pub outcome: Outcome,
}

/// A shared cache, or what stands for it, as the cpuset takes from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    pub kind: PartKind,
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
    let visible: Vec<&Leaf> = leaves.0.iter().filter(|leaf| !leaf.core.cpus.and(&cpus).is_empty()).collect();
    let level = group_level(&visible);
    let groups = groups(&leaves, &visible, level, &usable, &cpus);
    let seen: Vec<Seen> = visible.iter().map(|leaf| see(leaf, level, &cpus)).collect();
    let cores_per_unit = producers.saturating_add(1);
    let outcome = match prover {
        _ if seen.is_empty() => Outcome::NoCores,
        Prover::Own => Outcome::Units(own_units(&seen, cores_per_unit)),
        Prover::Stock | Prover::StockDamocles => stock_units(prover, &seen, groups.len(), &cpus, cores_per_unit),
    };
    let units_due = match &outcome {
        Outcome::NoCores | Outcome::Panics => 0,
        Outcome::Units(units) if prover == Prover::Own => units.len(),
        Outcome::Units(_) => groups.len().max(1) * (seen.len() / groups.len().max(1) / cores_per_unit),
    };
    let level = level.map_or(PartKind::Machine, |level| level.kind);
    Pc1Units { cpus, cores: seen.len(), level, groups, units_due, outcome }
}

/// One level of the tree. Parts of a kind within parts of the same kind are levels of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Level {
    kind: PartKind,
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
}

/// A core and the parts around it.
struct Leaf<'m> {
    core: &'m Core,
    around: Vec<Around>,
}

/// All cores in hwloc's logical order, which is what the stock provers number them by.
struct Leaves<'m>(Vec<Leaf<'m>>);

impl<'m> Leaves<'m> {
    fn of(machine: &'m Machine) -> Self {
        let mut walk = Walk::default();
        walk.part(&machine.topology, &[]);
        Self(walk.leaves)
    }
}

#[derive(Default)]
struct Walk<'m> {
    leaves: Vec<Leaf<'m>>,
    places: BTreeMap<Level, usize>,
    logical: BTreeMap<PartKind, usize>,
}

/// What is right inside a part.
enum Child<'m> {
    Part(&'m Part),
    Core(&'m Core),
}

impl<'m> Walk<'m> {
    fn part(&mut self, part: &'m Part, around: &[Around]) {
        let parts = part.parts.iter().map(|part| (part.cpus().iter().next(), Child::Part(part)));
        let cores = part.cores.iter().map(|core| (core.cpus.iter().next(), Child::Core(core)));
        let mut children: Vec<_> = parts.chain(cores).collect();
        // hwloc numbers siblings by their lowest CPU; the contract keeps cores and parts apart.
        children.sort_by_key(|(first_cpu, _)| *first_cpu);
        for (_, child) in children {
            match child {
                Child::Core(core) => self.leaves.push(Leaf { core, around: around.to_vec() }),
                Child::Part(part) => {
                    let mut inner = around.to_vec();
                    inner.push(self.enter(part, around));
                    self.part(part, &inner);
                }
            }
        }
    }

    fn enter(&mut self, part: &Part, around: &[Around]) -> Around {
        let nesting = around.iter().filter(|outer| outer.level.kind == part.kind).count();
        let level = Level { kind: part.kind, nesting };
        Around {
            level,
            place: next(&mut self.places, level),
            os_index: part.os_index,
            logical: next(&mut self.logical, part.kind),
        }
    }
}

fn next<K: Ord>(counters: &mut BTreeMap<K, usize>, key: K) -> usize {
    let counter = counters.entry(key).or_default();
    *counter += 1;
    *counter - 1
}

/// The first level above the visible cores that has fewer objects than there are cores.
fn group_level(visible: &[&Leaf]) -> Option<Level> {
    // A level may be missing around some cores, so its depth is the deepest it is found at.
    let mut depths: BTreeMap<Level, usize> = BTreeMap::new();
    let mut objects: BTreeMap<Level, Vec<usize>> = BTreeMap::new();
    for leaf in visible {
        for (depth, around) in leaf.around.iter().enumerate() {
            let deepest = depths.entry(around.level).or_default();
            *deepest = depth.max(*deepest);
            let seen = objects.entry(around.level).or_default();
            if !seen.contains(&around.place) {
                seen.push(around.place);
            }
        }
    }
    let fewer = depths.into_iter().filter(|(level, _)| objects[level].len() < visible.len());
    fewer.max_by_key(|(_, depth)| *depth).map(|(level, _)| level)
}

/// The groups with a visible core. Without a level the machine is one group.
fn groups(leaves: &Leaves, visible: &[&Leaf], level: Option<Level>, usable: &CpuList, cpus: &CpuList) -> Vec<Group> {
    let key = |leaf: &Leaf| group_of(leaf, level);
    let mut groups: Vec<(Option<usize>, Group)> = Vec::new();
    for leaf in visible {
        let own = leaf.core.cpus.and(cpus);
        match groups.iter_mut().find(|(place, _)| *place == key(leaf)) {
            Some((_, group)) => {
                group.cores += 1;
                group.cpus = group.cpus.or(&own);
            }
            None if level.is_some() && key(leaf).is_none() => {}
            None => groups.push((key(leaf), first_of(leaf, level, own))),
        }
    }
    for leaf in leaves.0.iter().filter(|leaf| !leaf.core.cpus.and(usable).is_empty()) {
        if let Some((_, group)) = groups.iter_mut().find(|(place, _)| *place == key(leaf)) {
            group.cores_whole += 1;
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn first_of(leaf: &Leaf, level: Option<Level>, cpus: CpuList) -> Group {
    let around = level.and_then(|level| at(leaf, level));
    Group {
        kind: level.map_or(PartKind::Machine, |level| level.kind),
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
    let l3 = leaf.around.iter().find(|around| around.level.kind == PartKind::L3);
    Seen {
        first_cpu: leaf.core.cpus.and(cpus).iter().next().expect("a visible core has an allowed CPU"),
        group: group_of(leaf, level),
        l3: l3.map(|around| around.place),
    }
}

/// The stock library's units. It computes with averages: that groups follow one another with equally many
/// cores is assumed by it, not looked up.
fn stock_units(prover: Prover, seen: &[Seen], groups: usize, cpus: &CpuList, cores_per_unit: usize) -> Outcome {
    // Every core can lie outside the level's parts only if there is no such level, and then the group is one.
    let groups = groups.max(1);
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
    items.collect::<std::collections::BTreeSet<_>>().len()
}
