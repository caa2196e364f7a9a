//! Ways to give GPUs and left-over cores to PC2 and C2: which are worth trying, and what each makes.
//!
//! ```text
//! exclusive   GPU 0: PC2   GPU 1: C2        nobody waits for a lock; one of the two often idles
//! shared      GPU 0: PC2 or C2 (lock gpu1)  GPU 1: the same (lock gpu2); no GPU idles
//! mixed       GPU 0: PC2   GPU 1: PC2 or C2 (lock gpu2); only looked for with `--optimise`
//! ```
//!
//! A stage without a GPU is done by cores.

use super::{Query, split::Split};
use crate::{
    planner::{costs::Costs, inventory::Inventory},
    profile::Stage,
};
use serde::Serialize;
use std::{cmp::Reverse, fmt};

/// How PC2 and C2 use the GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuUse {
    /// Each GPU serves one stage.
    Exclusive,
    /// Each GPU serves both, one at a time, under a lock.
    Shared,
}

impl GpuUse {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
        }
    }
}

impl fmt::Display for GpuUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which GPU does what, by their places in the inventory, and how cores are dealt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// GPUs for PC2 alone, for C2 alone, and for both under a lock.
    pub pc2: Vec<usize>,
    pub c2: Vec<usize>,
    pub both: Vec<usize>,
    /// Every processor takes its cores from all nodes, although each node has one.
    pub spread: bool,
    /// With C2 on cores: its processors.
    pub c2_processors: usize,
    /// Cores of each processor of the stage that is served first (PC2; C2 where cores do PC2 alone; together where cores do
    /// both); none: what it can use, or else a fair part.
    pub first_cores: Option<usize>,
    /// The cores of every processor; then nothing is dealt by the rules above.
    pub split: Option<Split>,
}

/// More layouts than these are not looked at one by one.
const EVERY_LAYOUT_MAX: usize = 600;

/// Nor more cores than these for PC2 where cores do everything.
const SPLITS_MAX: usize = 64;

/// The layouts worth trying, those that use the most and wait the least first.
///
/// Not every GPU has to be used: each costs the memory of its task, which PC1 may need more.
pub(super) fn layouts(
    inventory: &Inventory,
    costs: &Costs,
    only: Option<GpuUse>,
    c2_local: bool,
    wide: bool,
) -> Vec<Layout> {
    let can = |gpu: &usize, stage| costs.on_gpu(*gpu, stage).is_some();
    let mut gpus: Vec<usize> = (0..inventory.gpus.len()).collect();
    order(&mut gpus, inventory, costs);
    let pc2: Vec<usize> = gpus.iter().copied().filter(|gpu| can(gpu, Stage::Pc2)).collect();
    let c2: Vec<usize> = gpus.iter().rev().copied().filter(|gpu| can(gpu, Stage::C2) && c2_local).collect();
    let both: Vec<usize> = gpus.iter().copied().filter(|gpu| can(gpu, Stage::Pc2) && c2.contains(gpu)).collect();
    let exclusive = (0..=pc2.len()).flat_map(|a| (0..=c2.len()).map(move |b| (a, b)));
    let mut found: Vec<Layout> = exclusive
        .map(|(a, b)| (sorted(&pc2[..a]), sorted(&c2[..b])))
        .filter(|(pc2, c2)| pc2.iter().all(|gpu| !c2.contains(gpu)))
        .map(|(pc2, c2)| layout(pc2, c2, Vec::new()))
        .collect();
    found.sort_by_key(|one| Reverse((one.pc2.len().min(one.c2.len()), one.pc2.len() + one.c2.len())));
    let shared = (1..=both.len()).rev().map(|count| sorted(&both[..count]));
    found.extend(shared.map(|gpus| layout(Vec::new(), Vec::new(), gpus)));
    if wide {
        let more = every(inventory, &gpus, &|gpu, stage| can(&gpu, stage) && (c2_local || stage == Stage::Pc2));
        found.extend(more);
        let mut seen = Vec::new();
        found.retain(|one| {
            !seen.contains(one) && {
                seen.push(one.clone());
                true
            }
        });
    }
    found.retain(|layout| only.is_none_or(|only| only == layout.gpu_use()));
    // Who asks for GPUs of their own means both stages, where there are GPUs for both.
    if only.is_some() && found.iter().any(uses_both) {
        found.retain(uses_both);
    }
    let spread = |one: &Layout| [one.clone(), Layout { spread: true, ..one.clone() }];
    if inventory.nodes.len() > 1 { found.iter().flat_map(spread).collect() } else { found }
}

fn uses_both(layout: &Layout) -> bool {
    layout.has(Stage::Pc2) && layout.has(Stage::C2)
}

fn layout(pc2: Vec<usize>, c2: Vec<usize>, both: Vec<usize>) -> Layout {
    Layout { pc2, c2, both, spread: false, c2_processors: 1, first_cores: None, split: None }
}

/// Every way to give each GPU to PC2, to C2, to both or to nobody, equal GPUs of a node counted and not told apart; none
/// where there are too many ways.
fn every(inventory: &Inventory, gpus: &[usize], can: &dyn Fn(usize, Stage) -> bool) -> Vec<Layout> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let kind = |gpu: usize| (&inventory.gpus[gpu].name, inventory.gpus[gpu].memory, inventory.gpus[gpu].node);
    for gpu in gpus {
        match groups.iter_mut().find(|group| kind(group[0]) == kind(*gpu)) {
            Some(group) => group.push(*gpu),
            None => groups.push(vec![*gpu]),
        }
    }
    let mut all = vec![layout(Vec::new(), Vec::new(), Vec::new())];
    for group in &groups {
        let most = |stage| if can(group[0], stage) { group.len() } else { 0 };
        let (pc2, c2) = (most(Stage::Pc2), most(Stage::C2));
        let ways = (0..=pc2).flat_map(|a| (0..=c2).flat_map(move |b| (0..=pc2.min(c2)).map(move |w| (a, b, w))));
        let ways: Vec<_> = ways.filter(|(a, b, w)| a + b + w <= group.len()).collect();
        if all.len() * ways.len() > EVERY_LAYOUT_MAX {
            return Vec::new();
        }
        let with = |one: &Layout, (a, b, w): &(usize, usize, usize)| {
            let add = |to: &[usize], from: usize, count: usize| sorted(&[to, &group[from..from + count]].concat());
            layout(add(&one.pc2, 0, *a), add(&one.c2, *a, *b), add(&one.both, a + b, *w))
        };
        all = all.iter().flat_map(|one| ways.iter().map(move |way| with(one, way))).collect();
    }
    all
}

impl Layout {
    pub fn gpu_use(&self) -> GpuUse {
        if self.both.is_empty() { GpuUse::Exclusive } else { GpuUse::Shared }
    }

    /// Whether a GPU does this stage.
    pub fn has(&self, stage: Stage) -> bool {
        let alone = if stage == Stage::Pc2 { &self.pc2 } else { &self.c2 };
        !self.both.is_empty() || !alone.is_empty()
    }

    /// GPUs that prove, alone or under a lock.
    pub fn proving(&self) -> Vec<usize> {
        sorted(&[self.c2.as_slice(), &self.both].concat())
    }

    /// Every division of the cores between the stage that is served first and the other.
    pub fn with_splits(&self, query: &Query) -> Vec<Self> {
        let most = match (self.has(Stage::Pc2), self.has(Stage::C2)) {
            (true, _) if self.pc2.is_empty() => 0,
            (true, _) => query.costs.cores_max(Stage::Pc2),
            (false, true) => query.costs.cores_max(Stage::C2),
            (false, false) => SPLITS_MAX.min(query.inventory.cores as usize),
        };
        (1..=most).map(|cores| Self { first_cores: Some(cores), ..self.clone() }).collect()
    }

    /// With C2 on cores: as one processor, as two, as many as can use all cores.
    pub fn with_processors(&self, query: &Query) -> Vec<Self> {
        if !self.has_c2_on_cores(query) {
            return vec![self.clone()];
        }
        let cores = query.costs.on_cores(Stage::C2).cores() as usize;
        let most = (query.inventory.cores as usize).div_ceil(cores).max(1);
        (1..=most).map(|c2_processors| Self { c2_processors, ..self.clone() }).collect()
    }

    fn has_c2_on_cores(&self, query: &Query) -> bool {
        !self.has(Stage::C2) && query.choices.is_c2_local()
    }
}

fn sorted(gpus: &[usize]) -> Vec<usize> {
    let mut gpus = gpus.to_vec();
    gpus.sort_unstable();
    gpus
}

/// Those that are better at PC2 than at C2 first; of equal ones the first of each node, then the second of each.
fn order(gpus: &mut [usize], inventory: &Inventory, costs: &Costs) {
    let node = |gpu: usize| inventory.gpus[gpu].node;
    let on_node = |gpu: usize| (0..gpu).filter(|other| node(*other) == node(gpu)).count();
    let minutes = |gpu: usize, stage| costs.on_gpu(gpu, stage).map_or(f64::INFINITY, |cost| cost.minutes(u32::MAX));
    let ratio = |gpu: usize| {
        let ratio = minutes(gpu, Stage::Pc2) / minutes(gpu, Stage::C2);
        if ratio.is_nan() { f64::INFINITY } else { ratio }
    };
    gpus.sort_by(|a, b| ratio(*a).total_cmp(&ratio(*b)).then_with(|| (on_node(*a), *a).cmp(&(on_node(*b), *b))));
}
