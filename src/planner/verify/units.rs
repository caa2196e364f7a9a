//! Which cores PC1 tasks are bound to: the provers' arithmetic, written down a second time.
//!
//! On purpose: `machine::pc1_units` is what plans are made with, and this is what they are checked with. It goes by
//! the description of what the libraries do, not by the other's code; tests compare the two on random machines.
//!
//! ```text
//! cores that the cpuset shows ─► groups: first level above cores with fewer objects than cores ─► units of p + 1 cores
//! ```

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
    /// The process stops with a panic when it starts.
    pub panics: bool,
    /// CPUs of each unit, the hashing one first.
    pub units: Vec<Vec<u32>>,
    /// How many of the units have cores in more than one group.
    pub straddling: usize,
    /// How many of them lack a core.
    pub short: usize,
}

/// A visible core: its first CPU, and the parts around it from the inside out.
struct Seen {
    cpu: u32,
    around: Vec<(PartKind, usize, usize)>,
}

/// Plays `prover` through on `cpuset`.
pub fn units(machine: &Machine, cpuset: &CpuList, prover: Prover, producers: usize) -> Arithmetic {
    let allowed = machine.allowed_cpus.and(&machine.cpus());
    let cpus = cpuset.and(&allowed);
    let seen = visible(machine, &cpus);
    let Some(level) = level(&seen) else { return in_one_group(machine, &seen, &cpus, prover, producers) };
    let group_of = |core: &Seen| core.around.iter().find(|around| (around.0, around.1) == level).map(|around| around.2);
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
    let everything: Vec<Option<usize>> = visible(machine, &allowed).iter().map(group_of).collect();
    let mut found = bind(&seen, &groups, order.len(), &cpus, prover, producers);
    (found.groups, found.whole) = (sizes(&groups), sizes(&everything));
    found
}

/// Cores in the order in which hwloc numbers them: depth first, siblings by their lowest CPU.
fn visible(machine: &Machine, cpus: &CpuList) -> Vec<Seen> {
    let mut all = Vec::new();
    let mut next = 0;
    descend(&machine.topology, &mut Vec::new(), &mut next, &mut all);
    let first = |own: &CpuList| own.and(cpus).iter().next();
    all.into_iter()
        .filter_map(|(own, mut around): (CpuList, Vec<_>)| {
            around.reverse();
            Some(Seen { cpu: first(&own)?, around })
        })
        .collect()
}

type Around = Vec<(PartKind, usize, usize)>;

fn descend(part: &Part, around: &mut Around, next: &mut usize, all: &mut Vec<(CpuList, Around)>) {
    enum Inner<'a> {
        Part(&'a Part),
        Core(&'a CpuList),
    }
    let mut inner: Vec<(Option<u32>, Inner)> = Vec::new();
    inner.extend(part.parts.iter().map(|part| (part.cpus().iter().next(), Inner::Part(part))));
    inner.extend(part.cores.iter().map(|core| (core.cpus.iter().next(), Inner::Core(&core.cpus))));
    inner.sort_by_key(|(first, _)| *first);
    for (_, inner) in inner {
        match inner {
            Inner::Core(cpus) => all.push((cpus.clone(), around.clone())),
            Inner::Part(part) => {
                // A group within a group is another level.
                let nesting = around.iter().filter(|(kind, ..)| *kind == part.kind).count();
                *next += 1;
                around.push((part.kind, nesting, *next));
                descend(part, around, next, all);
                around.pop();
            }
        }
    }
}

/// The innermost level that has fewer objects than there are cores.
fn level(seen: &[Seen]) -> Option<(PartKind, usize)> {
    let levels: BTreeSet<(PartKind, usize)> =
        seen.iter().flat_map(|core| core.around.iter().map(|a| (a.0, a.1))).collect();
    let objects = |level: (PartKind, usize)| -> BTreeSet<usize> {
        let all = seen.iter().flat_map(|core| core.around.iter());
        all.filter(|around| (around.0, around.1) == level).map(|around| around.2).collect()
    };
    // How many levels lie outside of it: the more, the further inside.
    let depth = |level: (PartKind, usize)| {
        let depths = seen.iter().filter_map(|core| {
            let place = core.around.iter().position(|around| (around.0, around.1) == level)?;
            Some(core.around.len() - place)
        });
        depths.max().unwrap_or(0)
    };
    levels.into_iter().filter(|level| objects(*level).len() < seen.len()).max_by_key(|level| depth(*level))
}

fn in_one_group(machine: &Machine, seen: &[Seen], cpus: &CpuList, prover: Prover, producers: usize) -> Arithmetic {
    let groups = vec![Some(0); seen.len()];
    let mut found = bind(seen, &groups, 1, cpus, prover, producers);
    (found.groups, found.whole) = (vec![seen.len()], vec![visible(machine, &machine.allowed_cpus).len()]);
    found
}

fn bind(
    seen: &[Seen],
    groups: &[Option<usize>],
    group_count: usize,
    cpus: &CpuList,
    prover: Prover,
    producers: usize,
) -> Arithmetic {
    let mut found = Arithmetic { groups: vec![], whole: vec![], panics: false, units: vec![], straddling: 0, short: 0 };
    if seen.is_empty() {
        return found;
    }
    let width = producers.saturating_add(1);
    let cores = match prover {
        Prover::Own => own(groups, width),
        Prover::Stock | Prover::StockDamocles => {
            let group_count = group_count.max(1);
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
