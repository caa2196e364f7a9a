//! Stages on cores beside PC1: how many processors of each, on how many cores, make the most of what PC1 leaves.
//!
//! ```text
//! shares of PC2    1 x 1, 1 x 2, … 3 x 16 cores     each with its rate, memory, minutes
//! shares of C2     1 x 1, …        2 x 14 cores     of all pairs that fit, the one that makes the most
//! ```
//!
//! Every pair is looked at, but for those that another beats in everything: more cores or more memory add pairs and take
//! none away, so a larger machine never makes less.

use super::{
    Query, Short,
    build::{Builder, remote_minutes},
    layout::Layout,
    steady,
};
use crate::{
    profile::{Cost, Stage},
    units::Bytes,
};
use std::rc::Rc;

/// Processors of a stage and the cores of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub processors: usize,
    pub cores: usize,
}

/// PC2's and C2's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub pc2: Share,
    pub c2: Share,
}

/// A share with what it makes and holds.
#[derive(Clone, Debug)]
struct Way {
    share: Share,
    rate: f64,
    memory: u64,
    minutes: f64,
}

impl Way {
    fn cores(&self) -> usize {
        self.share.processors * self.share.cores
    }

    fn on_cores(share: Share, cost: &Cost) -> Self {
        let (cores, processors) = (share.cores as u32, share.processors as u32);
        let minutes = cost.minutes(cores);
        let memory = cost.memory_on(cores).0.saturating_mul(processors.into());
        Self { share, rate: steady::per_hour(processors, minutes), memory, minutes }
    }

    fn on_gpus(cores: usize, costs: &[&Cost]) -> Self {
        let share = Share { processors: costs.len(), cores };
        let all = costs.iter().map(|cost| Self::on_cores(Share { processors: 1, cores }, cost));
        let sum = Self { share, rate: 0.0, memory: 0, minutes: 0.0 };
        all.fold(sum, |sum, one| Self {
            share,
            rate: sum.rate + one.rate,
            memory: sum.memory.saturating_add(one.memory),
            minutes: sum.minutes.max(one.minutes),
        })
    }

    fn beats(&self, other: &Self) -> bool {
        self.rate >= other.rate
            && self.cores() <= other.cores()
            && self.memory <= other.memory
            && self.minutes <= other.minutes
    }
}

/// The ways of both stages in one layout, the fastest first.
pub(super) struct Ways {
    pc2: Rc<Vec<Way>>,
    c2: Rc<Vec<Way>>,
}

/// The ways without GPUs, which are the same in every layout.
pub(super) struct OnCores {
    pc2: Rc<Vec<Way>>,
    c2: Rc<Vec<Way>>,
}

impl OnCores {
    /// With no more processors than make `rate_max`.
    pub fn new(query: &Query, rate_max: f64) -> Self {
        let ways = |stage| Rc::new(on_cores(query, stage, rate_max));
        let c2 = if query.choices.is_c2_local() { ways(Stage::C2) } else { Rc::new(vec![elsewhere(query)]) };
        Self { pc2: ways(Stage::Pc2), c2 }
    }

    /// None where GPUs do both stages: there cores are dealt by what each GPU can use.
    pub fn in_layout(&self, query: &Query, layout: &Layout) -> Option<Ways> {
        let has_cores_for_one = !layout.has(Stage::Pc2) || (!layout.has(Stage::C2) && query.choices.is_c2_local());
        let on_gpus = |stage, gpus: &[usize], else_on: &Rc<Vec<Way>>| {
            if gpus.is_empty() { else_on.clone() } else { Rc::new(on_gpus(query, stage, gpus)) }
        };
        (layout.both.is_empty() && has_cores_for_one).then(|| Ways {
            pc2: on_gpus(Stage::Pc2, &layout.pc2, &self.pc2),
            c2: on_gpus(Stage::C2, &layout.c2, &self.c2),
        })
    }
}

fn elsewhere(query: &Query) -> Way {
    let share = Share { processors: 0, cores: 0 };
    Way { share, rate: f64::INFINITY, memory: 0, minutes: remote_minutes(query) }
}

fn on_gpus(query: &Query, stage: Stage, gpus: &[usize]) -> Vec<Way> {
    let costs: Vec<&Cost> = gpus.iter().filter_map(|gpu| query.costs.on_gpu(*gpu, stage)).collect();
    let most = costs.iter().map(|cost| cost.cores() as usize).max().unwrap_or(0);
    unbeaten((1..=most).map(|cores| Way::on_gpus(cores, &costs)).collect())
}

fn on_cores(query: &Query, stage: Stage, rate_max: f64) -> Vec<Way> {
    let cost = query.costs.on_cores(stage);
    let with_cores = |cores: usize| {
        let wanted = (rate_max / steady::per_hour(1, cost.minutes(cores as u32))).ceil().max(1.0) as usize;
        let most = (query.inventory.cores as usize / cores).min(wanted);
        (1..=most).map(move |processors| Way::on_cores(Share { processors, cores }, cost))
    };
    unbeaten((1..=cost.cores() as usize).flat_map(with_cores).collect())
}

/// Those that no other beats, the fastest first.
fn unbeaten(mut all: Vec<Way>) -> Vec<Way> {
    all.sort_by(|a, b| b.rate.total_cmp(&a.rate).then_with(|| (a.cores(), a.memory).cmp(&(b.cores(), b.memory))));
    let mut kept: Vec<Way> = Vec::new();
    for way in all {
        if !kept.iter().any(|other| other.beats(&way)) {
            kept.push(way);
        }
    }
    kept
}

impl Builder<'_> {
    /// The pair of shares that makes the most, or what the nearest pair lacks.
    pub fn best_split(&self, ways: &Ways) -> Result<Split, Short> {
        let base = self.bases.of(self.tasks)?;
        let (cores, have) = (base.pool.len(), self.have(&base));
        let fixed = self.fixed_memory(Cost::memory_on);
        let top = self.pc1_rate();
        let mut best: Option<(f64, Split)> = None;
        let mut lack: Option<Short> = None;
        'all: for pc2 in ways.pc2.iter() {
            for c2 in ways.c2.iter() {
                let rate = pc2.rate.min(c2.rate).min(top);
                if best.as_ref().is_some_and(|(best, _)| rate <= *best) {
                    // The next ones are no faster.
                    break;
                }
                if pc2.cores() + c2.cores() > cores {
                    continue;
                }
                let rate = rate.min(self.rate_by_disks(self.minutes_with(pc2.minutes, c2.minutes)));
                let held = fixed.saturating_add(pc2.memory).saturating_add(c2.memory);
                match self.light(rate, Bytes(held), have) {
                    Ok(light) if best.as_ref().is_none_or(|(best, _)| light.rate > *best) => {
                        best = Some((light.rate, Split { pc2: pc2.share, c2: c2.share }));
                        if light.rate >= top {
                            break 'all;
                        }
                    }
                    Ok(_) => {}
                    Err(short) => {
                        if lack.as_ref().is_none_or(|lack| short.size() < lack.size()) {
                            lack = Some(short);
                        }
                    }
                }
            }
        }
        best.map(|(_, split)| split).ok_or_else(|| lack.unwrap_or_else(|| self.query.cores_short(1)))
    }
}
