//! Which cores PC1 tasks are bound to: the provers' arithmetic, written down a second time.
//!
//! On purpose: `machine::pc1_units` is what plans are made with, and this is what they are checked with. It goes by
//! the description of what the libraries do, not by the other's code; tests compare the two on random machines.
//!
//! ```text
//! cores that the cpuset shows ─► groups: first level above cores with fewer objects than cores ─► units of p + 1 cores
//!
//! machine ─ package ─ L3 (node #0) ┬ L2 ─ core, core     cpuset of the upper two cores, nothing else hidden:
//!                   │              └ L2 ─ core, core     stock: 1 L2 of 2 cores (the other L2 has no memory, so it is gone)
//!                   └ L3 (node #1) ─ L2 ─ core, core     own:   1 L3 of 2 cores
//! ```
//!
//! The cpuset hides CPUs, not memory. hwloc keeps an object of which only memory is left, and a stock prover that groups
//! by its level counts it: were no L2 shared above, the four cores of the first L3 would be taken for two groups of
//! two. `own` asks for cores alone, and passes over L2 caches: a sector's threads gain from sharing an L3.

use crate::{
    machine::{Machine, Part, PartKind},
    units::{CpuList, Prover},
};
use std::collections::BTreeSet;

/// What comes of a cpuset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arithmetic {
    /// Visible cores of each group.
    pub groups: Vec<usize>,
    /// Usable cores of each of these groups, whether the cpuset takes them or not.
    pub whole: Vec<usize>,
    /// Groups beside these that a stock prover counts too: their memory is seen and none of their cores.
    pub coreless: usize,
    /// The process stops with a panic when it starts.
    pub panics: bool,
    /// CPUs of each unit, the hashing one first.
    pub units: Vec<Vec<u32>>,
    /// How many of the units have cores in more than one group.
    pub straddling: usize,
    /// How many of them lack a core.
    pub short: usize,
}

impl Arithmetic {
    /// How many cores the prover takes each group to have; `own` looks at each, and the largest is what matters to it.
    pub fn group_size(&self, prover: Prover) -> usize {
        match prover {
            Prover::Own => self.groups.iter().copied().max().unwrap_or(0),
            Prover::Stock | Prover::StockDamocles => {
                self.groups.iter().sum::<usize>() / (self.groups.len() + self.coreless).max(1)
            }
        }
    }
}

/// A level of the tree. A group within a group is another level; L2 caches are not parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Part(PartKind, usize),
    L2,
}

/// An object of hwloc's tree: a core, or what is around cores.
struct Object {
    /// None: a core.
    level: Option<Level>,
    cpus: CpuList,
    /// A node in it is open to the process.
    memory: bool,
    inside: Vec<Object>,
}

/// Where an object is: how many others are around it, and which of all it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    level: Level,
    depth: usize,
    number: usize,
}

/// The tree laid out: cores in hwloc's order with the places around them, and the places that have memory.
#[derive(Default)]
struct Layout {
    cores: Vec<(CpuList, Vec<Place>)>,
    with_memory: Vec<Place>,
    objects: usize,
}

/// A visible core: its first CPU, and the places around it.
struct Seen<'l> {
    cpu: u32,
    around: &'l [Place],
}

/// Plays `prover` through on `cpuset`.
pub fn units(machine: &Machine, cpuset: &CpuList, prover: Prover, producers: usize) -> Arithmetic {
    let layout = Layout::of(machine);
    let allowed = machine.allowed_cpus.and(&machine.cpus());
    let cpus = cpuset.and(&allowed);
    let seen = layout.visible(&cpus);
    let objects = layout.counted(&seen, prover);
    let level = level(&objects, seen.len());
    let group_of = |core: &Seen| match level {
        // Nothing to tell cores apart by: they are one group.
        None => Some(0),
        Some(level) => core.around.iter().find(|place| place.level == level).map(|place| place.number),
    };
    let groups: Vec<Option<usize>> = seen.iter().map(group_of).collect();
    let mut order: Vec<usize> = Vec::new();
    for group in groups.iter().flatten() {
        if !order.contains(group) {
            order.push(*group);
        }
    }
    let sizes = |groups: &[Option<usize>]| -> Vec<usize> {
        order.iter().map(|group| groups.iter().filter(|of| **of == Some(*group)).count()).collect()
    };
    let everything: Vec<Option<usize>> = layout.visible(&allowed).iter().map(group_of).collect();
    let group_count = level.map_or(1, |level| count(&objects, level));
    let mut found = bind(&seen, &groups, group_count, &cpus, prover, producers);
    (found.groups, found.whole) = (sizes(&groups), sizes(&everything));
    found.coreless = if level.is_some() { group_count - order.len() } else { 0 };
    found
}

/// What is in a part, in hwloc's order: by the lowest CPU on the whole machine, those without one first.
fn inside(part: &Part, outer: &mut Vec<PartKind>, l2s: &[CpuList]) -> Vec<Object> {
    let core = |cpus: &CpuList| Object { level: None, cpus: cpus.clone(), memory: false, inside: Vec::new() };
    let mut all: Vec<Object> = part.cores.iter().map(|of| core(&of.cpus)).collect();
    for inner in &part.parts {
        let level = Level::Part(inner.kind, outer.iter().filter(|kind| **kind == inner.kind).count());
        outer.push(inner.kind);
        let within = inside(inner, outer, l2s);
        outer.pop();
        let memory = inner.nodes.iter().any(|node| !node.forbidden) || within.iter().any(|object| object.memory);
        all.push(Object { level: Some(level), cpus: inner.cpus(), memory, inside: within });
    }
    let own = part.cpus();
    for l2 in l2s.iter().filter(|l2| !l2.is_empty() && is_within(l2, &own)) {
        all = gather(all, l2);
    }
    in_order(&mut all);
    all
}

/// Puts an L2 around the objects that lie in it. A part as large as the L2 is outside of it: it has it inside already.
fn gather(objects: Vec<Object>, l2: &CpuList) -> Vec<Object> {
    let belongs = |object: &Object| {
        let fits = !object.cpus.is_empty() && is_within(&object.cpus, l2);
        fits && (object.level.is_none() || object.cpus != *l2)
    };
    let (mut within, mut rest): (Vec<_>, Vec<_>) = objects.into_iter().partition(belongs);
    if !within.is_empty() {
        in_order(&mut within);
        let memory = within.iter().any(|object| object.memory);
        rest.push(Object { level: Some(Level::L2), cpus: l2.clone(), memory, inside: within });
    }
    rest
}

fn is_within(inner: &CpuList, outer: &CpuList) -> bool {
    inner.iter().all(|cpu| outer.contains(cpu))
}

fn in_order(objects: &mut [Object]) {
    objects.sort_by_key(|object| object.cpus.iter().next());
}

impl Layout {
    fn of(machine: &Machine) -> Self {
        let l2s = machine.l2_groups.as_deref().unwrap_or_default();
        let mut layout = Self::default();
        layout.lay(inside(&machine.topology, &mut Vec::new(), l2s), &mut Vec::new());
        layout
    }

    fn lay(&mut self, objects: Vec<Object>, around: &mut Vec<Place>) {
        for object in objects {
            let Some(level) = object.level else {
                self.cores.push((object.cpus, around.clone()));
                continue;
            };
            let place = Place { level, depth: around.len(), number: self.objects };
            self.objects += 1;
            self.with_memory.extend(object.memory.then_some(place));
            around.push(place);
            self.lay(object.inside, around);
            around.pop();
        }
    }

    fn visible(&self, cpus: &CpuList) -> Vec<Seen<'_>> {
        let first = |own: &CpuList| own.iter().find(|cpu| cpus.contains(*cpu));
        self.cores.iter().filter_map(|(own, around)| Some(Seen { cpu: first(own)?, around })).collect()
    }

    /// The objects that a prover counts: those around visible cores; for a stock prover those whose memory it sees, too.
    fn counted(&self, seen: &[Seen], prover: Prover) -> BTreeSet<Place> {
        let around_cores = seen.iter().flat_map(|core| core.around);
        match prover {
            Prover::Own => around_cores.filter(|place| place.level != Level::L2).copied().collect(),
            Prover::Stock | Prover::StockDamocles => around_cores.chain(&self.with_memory).copied().collect(),
        }
    }
}

/// The innermost level that has fewer objects than there are cores.
fn level(objects: &BTreeSet<Place>, cores: usize) -> Option<Level> {
    // A level may be missing around some cores, and lie deeper around others: the deepest counts.
    let fewer = objects.iter().filter(|place| count(objects, place.level) < cores);
    fewer.max_by_key(|place| (place.depth, place.level)).map(|place| place.level)
}

fn count(objects: &BTreeSet<Place>, level: Level) -> usize {
    objects.iter().filter(|place| place.level == level).count()
}

fn bind(
    seen: &[Seen],
    groups: &[Option<usize>],
    group_count: usize,
    cpus: &CpuList,
    prover: Prover,
    producers: usize,
) -> Arithmetic {
    let mut found = Arithmetic {
        groups: vec![],
        whole: vec![],
        coreless: 0,
        panics: false,
        units: vec![],
        straddling: 0,
        short: 0,
    };
    if seen.is_empty() {
        return found;
    }
    let width = producers.saturating_add(1);
    let cores = match prover {
        Prover::Own => own(groups, width),
        Prover::Stock | Prover::StockDamocles => {
            if !seen.len().is_multiple_of(group_count) {
                found.panics = true;
                return found;
            }
            stock(prover, seen.len() / group_count, group_count, width, cpus)
        }
    };
    for unit in cores {
        // Numbers that are looked up and found are bound, even when no core has them.
        let bound: Vec<&usize> = unit.iter().filter(|core| **core < seen.len()).collect();
        let touched: BTreeSet<Option<usize>> = bound.iter().map(|core| groups[**core]).collect();
        found.straddling += usize::from(touched.len() > 1);
        found.short += usize::from(bound.len() < width);
        found.units.push(bound.into_iter().map(|core| seen[*core].cpu).collect());
    }
    found
}

/// Whole runs of `width` cores within each group, one of every group before a second of any.
fn own(groups: &[Option<usize>], width: usize) -> Vec<Vec<usize>> {
    let names: BTreeSet<Option<usize>> = groups.iter().copied().collect();
    let mut rounds: Vec<(usize, Vec<usize>)> = Vec::new();
    for name in names {
        let members: Vec<usize> = (0..groups.len()).filter(|core| groups[*core] == name).collect();
        let runs = members.len() / width;
        rounds.extend((0..runs).map(|round| (round, members[round * width..(round + 1) * width].to_vec())));
    }
    rounds.sort_by_key(|(round, unit)| (*round, members_first(groups, unit[0])));
    rounds.into_iter().map(|(_, unit)| unit).collect()
}

/// The first core of the group that this core is in.
fn members_first(groups: &[Option<usize>], core: usize) -> usize {
    groups.iter().position(|group| *group == groups[core]).unwrap_or(core)
}

/// By averages: unit i is in group `i mod groups`, round `i div groups`, and starts where that group would start if all
/// were equally large. A core's number is then looked for among the CPUs that are allowed.
fn stock(prover: Prover, per_group: usize, group_count: usize, width: usize, cpus: &CpuList) -> Vec<Vec<usize>> {
    let allowed: Vec<usize> = cpus.iter().map(|cpu| cpu as usize).collect();
    let offset = if prover == Prover::StockDamocles { allowed.first().copied().unwrap_or(0) } else { 0 };
    let mut units = Vec::new();
    for i in 0..group_count * (per_group / width) {
        let (group, round) = (i % group_count, i / group_count);
        let start = group * per_group + round * width;
        let place = |core: usize| allowed.binary_search(&(core + offset)).ok();
        let found: Vec<usize> = (start..start + width)
            // The fork takes the place among the allowed CPUs for the core's number, the library the number itself.
            .filter_map(|core| place(core).map(|place| if prover == Prover::StockDamocles { place } else { core }))
            .collect();
        if !found.is_empty() {
            units.push(found);
        }
    }
    units
}
