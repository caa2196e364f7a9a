//! Ways to give GPUs and left-over cores to PC2 and C2: which are worth trying, and what each makes.
//!
//! ```text
//! exclusive   GPU 0: PC2   GPU 1: C2        nobody waits for a lock; one of the two often idles
//! shared      GPU 0: PC2 or C2 (lock gpu1)  GPU 1: the same (lock gpu2); no GPU idles
//! ```
//!
//! A stage without a GPU is done by cores.

use super::Query;
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
    pub gpu_use: GpuUse,
    pub pc2: Vec<usize>,
    pub c2: Vec<usize>,
    /// Every processor takes its cores from all nodes, although each node has one.
    pub spread: bool,
    /// With C2 on cores: processors, and the most cores that they get together.
    pub c2_processors: usize,
    pub c2_cores: Option<usize>,
}

/// The layouts worth trying, those that use the most and wait the least first.
///
/// Not every GPU has to be used: each costs the memory of its task, which PC1 may need more.
pub(super) fn layouts(inventory: &Inventory, costs: &Costs, only: Option<GpuUse>, c2_local: bool) -> Vec<Layout> {
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
        .map(|(pc2, c2)| layout(GpuUse::Exclusive, pc2, c2))
        .collect();
    found.sort_by_key(|one| Reverse((one.pc2.len().min(one.c2.len()), one.pc2.len() + one.c2.len())));
    let shared = (1..=both.len()).rev().map(|count| sorted(&both[..count]));
    found.extend(shared.map(|gpus| layout(GpuUse::Shared, gpus.clone(), gpus)));
    found.retain(|layout| only.is_none_or(|only| only == layout.gpu_use));
    // Who asks for GPUs of their own means both stages, where there are GPUs for both.
    if only.is_some() && found.iter().any(uses_both) {
        found.retain(uses_both);
    }
    let spread = |one: &Layout| [one.clone(), Layout { spread: true, ..one.clone() }];
    if inventory.nodes.len() > 1 { found.iter().flat_map(spread).collect() } else { found }
}

fn uses_both(layout: &Layout) -> bool {
    !layout.pc2.is_empty() && !layout.c2.is_empty()
}

fn layout(gpu_use: GpuUse, pc2: Vec<usize>, c2: Vec<usize>) -> Layout {
    Layout { gpu_use, pc2, c2, spread: false, c2_processors: 1, c2_cores: None }
}

impl Layout {
    /// With C2 on cores: as one processor, as two, as many as can use all cores.
    pub fn with_processors(&self, query: &Query) -> Vec<Self> {
        if !self.has_c2_on_cores(query) {
            return vec![self.clone()];
        }
        let cores = query.costs.on_cores(Stage::C2).cores() as usize;
        let most = (query.inventory.cores as usize).div_ceil(cores).max(1);
        (1..=most).map(|c2_processors| Self { c2_processors, ..self.clone() }).collect()
    }

    /// With C2 on fewer cores than there are: each of its threads holds memory.
    pub fn with_fewer_cores(&self, query: &Query) -> Vec<Self> {
        if !self.has_c2_on_cores(query) {
            return Vec::new();
        }
        let threads = query.costs.on_cores(Stage::C2).memory_threads as usize;
        (1..threads).rev().map(|cores| Self { c2_cores: Some(cores), ..self.clone() }).collect()
    }

    fn has_c2_on_cores(&self, query: &Query) -> bool {
        self.c2.is_empty() && query.choices.is_c2_local()
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
