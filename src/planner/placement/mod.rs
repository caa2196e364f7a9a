//! Stages on concrete cores, GPUs, memory and disks: the best of all layouts, or what is missing for any.
//!
//! ```text
//! for each layout of the GPUs, for each number of PC1 tasks:
//!   PC1 on whole L3 groups of each node ─► cores left over ─► the system's, PC2's, C2's ─► memory ─► disks ─► rate
//! ```
//!
//! Every candidate is complete and checked; the best rate wins, then the layout without locks, then the fewest PC1
//! tasks. A candidate that does not fit says what it lacks, and the smallest lack is the answer where nothing fits.

mod base;
mod build;
mod deal;
pub(crate) mod disks;
mod layout;
pub(crate) mod memory;
mod pc1;
mod split;

pub use disks::Folder;
pub use layout::GpuUse;
pub use memory::{Memory, NodeMemory};

use super::{Bottleneck, Choices, costs::Costs, inventory::Inventory, steady};
use crate::{
    profile::{Cost, Stage},
    units::{Bytes, CpuList, NodeId},
};
use base::Bases;
use build::{Builder, Draft};
use layout::Layout;
use serde::Serialize;
use split::OnCores;
use std::{collections::BTreeMap, fmt, ops::RangeInclusive};

/// Everything of one machine in its place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Placement {
    pub gpu_use: GpuUse,
    /// Producers of each PC1 task.
    pub producers: u32,
    pub pc1: Vec<Pc1Processor>,
    /// PC2 and C2.
    pub processors: Vec<GpuProcessor>,
    /// Cores for the system, add_pieces and tree_d.
    pub system: CpuList,
    pub add_pieces: u32,
    pub tree_d: u32,
    /// Tasks that a C2 elsewhere has under way; 0 where C2 is done here.
    pub c2_remote: u32,
    pub threads: u32,
    /// PC1 tasks start at least so far apart; 0: whenever there is room.
    pub pc1_gap_seconds: u64,
    pub memory: Memory,
    pub folders: Vec<Folder>,
    pub minutes_per_sector: f64,
    pub sectors_per_hour: f64,
    #[serde(skip)]
    pub bottleneck: Bottleneck,
    /// What each stage makes here at most, in sectors an hour.
    pub stage_rates: BTreeMap<Stage, f64>,
    /// Bytes written to the sealing disks for each sector.
    pub writes_per_sector: Bytes,
}

/// A PC1 processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pc1Processor {
    pub node: NodeId,
    pub cpuset: CpuList,
    pub tasks: u32,
    pub memory: Bytes,
}

/// A PC2 or C2 processor: one task at a time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GpuProcessor {
    pub stage: Stage,
    pub cpuset: CpuList,
    /// Cores in it.
    pub cores: u32,
    /// The GPU, by its place on the bus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// The node that its memory is asked for on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa_preferred: Option<NodeId>,
    pub minutes: f64,
    pub memory: Bytes,
}

/// What a candidate lacks.
#[derive(Clone, Debug, PartialEq)]
pub enum Short {
    /// The machine's memory.
    Memory {
        need: Bytes,
        have: Bytes,
    },
    /// A node's.
    NodeMemory {
        node: NodeId,
        need: Bytes,
        have: Bytes,
    },
    Cores {
        need: u32,
        have: u32,
    },
    /// No set of L3 groups carries the PC1 tasks with this prover.
    Units {
        tasks: u32,
        most: u32,
    },
    /// Room for one sector.
    Disk {
        need: Bytes,
        have: Bytes,
    },
    /// A layout that was asked for and that the GPUs do not give.
    Gpus(GpuUse),
}

/// The question.
pub(crate) struct Query<'a> {
    pub inventory: &'a Inventory<'a>,
    pub costs: &'a Costs,
    pub choices: &'a Choices,
    pub folders: &'a [Folder],
}

/// All candidates that fit, with what is lacking beyond them.
pub(crate) struct Candidates<'a> {
    query: &'a Query<'a>,
    bases: Bases<'a>,
    fitting: Vec<Candidate>,
    short: Vec<Short>,
    /// PC1 tasks that are tried beyond the first number at which PC1 is not what limits.
    beyond: u32,
}

/// A candidate that fits: enough to build it again, and to choose by.
struct Candidate {
    layout: Layout,
    tasks: u32,
    rate: f64,
    most: f64,
    bottleneck: Bottleneck,
}

/// The search for the best looks at so many PC1 tasks more than balance: in turns and queues some of them always wait.
const BEYOND: u32 = 3;

/// Tries every layout with every number of PC1 tasks.
pub(crate) fn candidates<'a>(query: &'a Query<'a>) -> Candidates<'a> {
    let (inventory, choices) = (query.inventory, query.choices);
    let producers = choices.prover.least_producers();
    let bases = Bases::new(query, producers);
    let most = bases.most();
    let wide = choices.optimise;
    let beyond = if wide { BEYOND } else { 0 };
    let mut all = Candidates { query, bases, fitting: Vec::new(), short: Vec::new(), beyond };
    let tasks = choices.pc1.map_or(1..=most.max(1), |pc1| pc1..=pc1);
    if *tasks.start() > most {
        all.short.push(lack_of_units(inventory, *tasks.start(), producers, most));
        return all;
    }
    let layouts = layout::layouts(inventory, query.costs, choices.layout, choices.is_c2_local(), wide);
    if layouts.is_empty() {
        all.short.push(Short::Gpus(choices.layout.unwrap_or(GpuUse::Shared)));
    }
    let pc1 = query.costs.on_cores(Stage::Pc1);
    let on_cores = OnCores::new(query, steady::per_hour(*tasks.end(), pc1.minutes(pc1.cores())));
    for layout in &layouts {
        if wide {
            all.try_all(layout.with_splits(query), &tasks);
        }
        all.try_all(layout.with_processors(query), &tasks);
        if let Some(ways) = on_cores.in_layout(query, layout) {
            all.try_layout(&tasks, &|all, tasks| {
                let split = all.builder(layout, tasks).best_split(&ways)?;
                Ok(Layout { split: Some(split), ..layout.clone() })
            });
        }
    }
    all
}

fn lack_of_units(inventory: &Inventory, tasks: u32, producers: usize, most: u32) -> Short {
    let (need, have) = (tasks.saturating_mul(producers as u32 + 1), inventory.cores);
    if need > have { Short::Cores { need, have } } else { Short::Units { tasks, most } }
}

impl Candidates<'_> {
    fn try_all(&mut self, layouts: Vec<Layout>, tasks: &RangeInclusive<u32>) {
        layouts.into_iter().for_each(|layout| self.try_layout(tasks, &|_, _| Ok(layout.clone())));
    }

    /// From few PC1 tasks to many, until PC1 is not what limits: more of it would only take from the others.
    fn try_layout(&mut self, tasks: &RangeInclusive<u32>, layout_for: &dyn Fn(&Self, u32) -> Result<Layout, Short>) {
        let mut last: Option<Candidate> = None;
        let first = *tasks.start();
        let mut beyond = self.beyond;
        for tasks in tasks.clone() {
            match layout_for(self, tasks).and_then(|layout| self.candidate(layout, tasks)) {
                Ok(candidate) => {
                    let is_balanced = candidate.bottleneck != Bottleneck::Stage(Stage::Pc1);
                    self.fitting.extend(last.replace(candidate));
                    if is_balanced {
                        if beyond == 0 {
                            break;
                        }
                        beyond -= 1;
                    }
                }
                Err(short) => {
                    // What keeps PC1 from growing is the bottleneck of the last that fits.
                    if let Some(last) = last.as_mut().filter(|last| last.bottleneck == Bottleneck::Stage(Stage::Pc1)) {
                        last.bottleneck = short.bottleneck();
                    }
                    // Where not even the first fits, what it lacks is the least that is lacking.
                    if tasks == first {
                        self.short.push(short);
                    }
                }
            }
        }
        self.fitting.extend(last);
    }

    fn candidate(&self, layout: Layout, tasks: u32) -> Result<Candidate, Short> {
        let builder = self.builder(&layout, tasks);
        let Draft { rate, most, bottleneck, .. } = builder.draft()?;
        Ok(Candidate { layout, tasks, rate, most, bottleneck })
    }

    fn builder<'b>(&'b self, layout: &'b Layout, tasks: u32) -> Builder<'b> {
        Builder { query: self.query, bases: &self.bases, layout, tasks }
    }

    /// The most that any candidate makes, and what bounds it.
    pub fn best(&self) -> Option<(f64, Bottleneck)> {
        let best = self.fitting.iter().max_by(|a, b| a.rate.total_cmp(&b.rate))?;
        Some((best.rate, best.bottleneck))
    }

    /// The candidate for a rate: of those that make it (or, where none does, of the best) the one without locks, then
    /// with the fewest PC1 tasks. There is one, because there is a best.
    pub fn choose(&self, rate: f64) -> Placement {
        let goal = self.best().map_or(rate, |(best, _)| rate.min(best)) * (1.0 - 1e-9);
        let enough = self.fitting.iter().enumerate().filter(|(_, candidate)| candidate.rate >= goal);
        let chosen = enough.min_by_key(|(_, candidate)| (candidate.layout.gpu_use(), candidate.tasks));
        let (chosen, _) = chosen.expect("the best candidate makes no less than the goal");
        self.place(chosen)
    }

    /// All that fit, each with what it can make at most: those that can make the most first, then those without locks,
    /// then those with the fewest PC1 tasks.
    pub fn ranked(&self) -> Vec<(usize, f64)> {
        let mut order: Vec<usize> = (0..self.fitting.len()).collect();
        order.sort_by(|a, b| {
            let (a, b) = (&self.fitting[*a], &self.fitting[*b]);
            let by_rate = b.most.total_cmp(&a.most);
            by_rate.then_with(|| (a.layout.gpu_use(), a.tasks).cmp(&(b.layout.gpu_use(), b.tasks)))
        });
        order.into_iter().map(|place| (place, self.fitting[place].most)).collect()
    }

    /// The placement of one that fits.
    pub fn place(&self, candidate: usize) -> Placement {
        let chosen = &self.fitting[candidate];
        let builder = self.builder(&chosen.layout, chosen.tasks);
        let draft = builder.draft().expect("it fitted when it was tried");
        Placement { bottleneck: chosen.bottleneck, ..draft.finish() }
    }

    /// The most PC1 tasks that cores and the memory of their nodes carry.
    pub fn most_pc1(&self) -> u32 {
        self.bases.rooms().into_iter().sum()
    }

    /// The smallest of what is lacking.
    pub fn least_short(&self) -> Option<Short> {
        self.short.iter().cloned().min_by(|a, b| a.size().total_cmp(&b.size()))
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { need, have } => write!(
                f,
                "all tasks at their limits hold {} of memory, and {} can be planned",
                need.human(),
                have.human()
            ),
            Self::NodeMemory { node, need, have } => write!(
                f,
                "the PC1 tasks of node {node} would hold {} of its memory, and {} can be planned",
                need.human(),
                have.human()
            ),
            Self::Cores { need, have } => write!(f, "it takes {need} cores, and there are {have}"),
            Self::Units { tasks, most } => {
                write!(f, "{tasks} PC1 tasks need cores of their own in whole L3 groups, and this prover binds {most}")
            }
            Self::Disk { need, have } => {
                write!(f, "a sector holds {} of disk, and the largest sealing disk has {}", need.human(), have.human())
            }
            Self::Gpus(gpu_use) => write!(f, "no GPU can be used {gpu_use}ly"),
        }
    }
}

impl Short {
    /// How far it is from fitting, as a part of what there is.
    fn size(&self) -> f64 {
        let part = |need: f64, have: f64| (need - have) / have.max(1.0);
        match self {
            Self::Memory { need, have } | Self::NodeMemory { need, have, .. } | Self::Disk { need, have } => {
                part(need.0 as f64, have.0 as f64)
            }
            Self::Cores { need, have } => part((*need).into(), (*have).into()),
            Self::Units { tasks, most } => part((*tasks).into(), (*most).into()),
            Self::Gpus(_) => f64::INFINITY,
        }
    }

    fn bottleneck(&self) -> Bottleneck {
        match self {
            Self::Memory { .. } | Self::NodeMemory { .. } => Bottleneck::Memory,
            Self::Cores { .. } | Self::Units { .. } => Bottleneck::Cores,
            Self::Disk { .. } => Bottleneck::DiskRoom,
            Self::Gpus(_) => Bottleneck::Gpus,
        }
    }
}

#[cfg(test)]
impl Placement {
    /// With nothing in it.
    pub(crate) fn empty() -> Self {
        Self {
            gpu_use: GpuUse::Exclusive,
            producers: 0,
            pc1: Vec::new(),
            processors: Vec::new(),
            system: CpuList::default(),
            add_pieces: 1,
            tree_d: 1,
            c2_remote: 0,
            threads: 1,
            pc1_gap_seconds: 0,
            memory: Memory::default(),
            folders: vec![Folder::unknown("sealing")],
            minutes_per_sector: 1.0,
            sectors_per_hour: 1.0,
            bottleneck: Bottleneck::Cores,
            stage_rates: BTreeMap::new(),
            writes_per_sector: Bytes(0),
        }
    }
}

impl Placement {
    /// PC1 tasks under way at once.
    pub fn pc1_tasks(&self) -> u32 {
        self.pc1.iter().map(|processor| processor.tasks).sum()
    }

    /// Processors of a stage.
    pub fn count(&self, stage: Stage) -> u32 {
        self.processors.iter().filter(|processor| processor.stage == stage).count() as u32
    }

    /// Tasks of each stage at once.
    pub fn limits(&self) -> BTreeMap<Stage, u32> {
        [
            (Stage::AddPieces, self.add_pieces),
            (Stage::TreeD, self.tree_d),
            (Stage::Pc1, self.pc1_tasks()),
            (Stage::Pc2, self.count(Stage::Pc2)),
            (Stage::C2, self.count(Stage::C2).max(self.c2_remote)),
        ]
        .into()
    }

    /// How often the sealing disks are written from end to end in a day, at so many sectors an hour; none where the size
    /// of some is not known.
    pub fn drive_writes_per_day(&self, sectors_per_hour: f64) -> Option<f64> {
        let room: Option<Vec<Bytes>> = self.folders.iter().map(|folder| folder.room).collect();
        let room: u64 = room?.iter().map(|room| room.0).sum();
        (room > 0).then(|| self.writes_per_sector.0 as f64 * sectors_per_hour * 24.0 / room as f64)
    }

    /// The names of the locks, each once.
    pub fn locks(&self) -> Vec<&str> {
        let mut locks: Vec<_> = self.processors.iter().filter_map(|one| one.lock.as_deref()).collect();
        locks.sort_unstable();
        locks.dedup();
        locks
    }
}

/// Bytes that all stages of one sector read from and write to sealing disks.
pub(crate) fn disk_traffic(costs: &Costs) -> (Bytes, Bytes) {
    let sum = |of: fn(&Cost) -> Bytes| Bytes(costs.all_on_cores().map(|cost| of(cost).0).sum());
    (sum(|cost| cost.reads), sum(|cost| cost.writes))
}
