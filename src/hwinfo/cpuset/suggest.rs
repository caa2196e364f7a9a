//! Good sets: those nearest to a given one, and those for so many tasks. Each was judged good before it is named.
//!
//! Candidates are runs of neighbouring whole groups of one size. The stock prover forms units only where the
//! set begins with the machine's first CPUs, so runs from the first group are always tried. Where cores share an L2,
//! there are runs of L2 caches and runs of L3 caches.
//!
//! ```text
//! asked producers, one node ─► fewer producers, one node ─► asked producers, across nodes ─► fewer, across nodes
//! ```
//!
//! A set for so many tasks is looked for in that order: a task that reads another node's memory is slow all the
//! time, one with fewer helpers only where the memory is fast enough for more. What is given up is said.

use super::{
    Question,
    judge::{Verdict, judge_alone},
    set::SetFacts,
    words::count,
};
use crate::{
    machine::{
        Machine,
        pc1_units::{Group, GroupKind, Prover, pc1_units},
    },
    units::{CpuList, NodeId},
};
use serde::Serialize;

/// No more runs than so many are judged, of those from the first group and of the others.
const TRIES_MAX: usize = 64;
/// More rows than this help nobody to choose.
const LISTED_MAX: usize = 16;
/// No more starts than so many are judged for sets of a number of tasks; machines that are built have fewer groups.
const STARTS_MAX: usize = 256;
/// With more groups runs begin at the first and where the given set does: all runs would be millions.
const ALL_RUNS_MAX: usize = 512;

/// A set that was judged good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    pub cpuset: CpuList,
    pub cores: usize,
    /// Shared-cache groups in it; absent for stages without units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<usize>,
    /// What they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_kind: Option<GroupKind>,
    /// Units formed; absent for stages without units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
    /// With so many producers: where the asked number gives no good set, another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producers: Option<usize>,
    pub nodes: Vec<NodeId>,
    /// CPUs of it on cores that no unit is bound to: room for other stages.
    #[serde(skip_serializing_if = "CpuList::is_empty")]
    pub left_over: CpuList,
    /// What it gives of what was asked, and what is given up; for sets of a number of tasks.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Suggestion {
    /// Whether it takes CPUs of several nodes.
    pub fn crosses_nodes(&self) -> bool {
        self.nodes.len() > 1
    }
}

/// The nearest good sets by their number of cores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Nearest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smaller: Option<Suggestion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_size: Option<Suggestion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub larger: Option<Suggestion>,
}

impl Nearest {
    /// Smaller first.
    pub fn iter(&self) -> impl Iterator<Item = &Suggestion> {
        [&self.smaller, &self.same_size, &self.larger].into_iter().flatten()
    }
}

/// The good sets nearest to `cpuset`. Near a good one those of the same question, smaller and larger.
pub(super) fn nearest(machine: &Machine, cpuset: &CpuList, question: &Question, is_good: bool) -> Nearest {
    if !question.forms_units() {
        return if is_good { Nearest::default() } else { usable_part(machine, cpuset, question) };
    }
    if is_good {
        return Nearest { same_size: None, ..nearest_runs(machine, cpuset, question, question.producers) };
    }
    let tries = producers_to_try(machine, question);
    let asked = question.producers;
    let mut found = tries.into_iter().map(|question| nearest_runs(machine, cpuset, &question, asked));
    found.find(|nearest| nearest.iter().next().is_some()).unwrap_or_default()
}

/// Sets that hold `tasks` concurrent tasks, the best first. Empty where no set does.
pub fn suggest(machine: &Machine, tasks: usize, question: &Question) -> Vec<Suggestion> {
    if !question.forms_units() || tasks == 0 {
        return Vec::new();
    }
    let asked = Question { concurrent: Some(tasks), ..*question };
    let mut across = Vec::new();
    for question in &producers_to_try(machine, &asked) {
        let mut found = sets_for(machine, tasks, question);
        for (set, all_siblings) in &mut found {
            set.reason = reason(machine, set, &asked, *all_siblings);
        }
        let (crossing, mut within): (Vec<_>, Vec<_>) =
            found.into_iter().map(|(set, _)| set).partition(Suggestion::crosses_nodes);
        if !within.is_empty() {
            within.append(&mut across);
            return within;
        }
        if across.is_empty() {
            across = crossing;
        }
    }
    across
}

/// What a set gives of what was asked, and what it gives up.
fn reason(machine: &Machine, set: &Suggestion, asked: &Question, all_siblings: bool) -> String {
    let fewer = set.producers.filter(|producers| *producers < asked.producers);
    let mut told: Vec<String> = Vec::new();
    match fewer {
        Some(producers) => told.push(format!(
            "{} instead of {}: each task has {} fewer to read ahead",
            count(producers, "producer"),
            asked.producers,
            count(asked.producers - producers, "core")
        )),
        None => told.push(format!("{} as asked", count(set.producers.unwrap_or(asked.producers), "producer"))),
    }
    if set.crosses_nodes() {
        told.push(format!("crosses {} NUMA nodes: memory of another node is slower", set.nodes.len()));
    } else if machine.nodes().len() > 1 {
        told.push("within one NUMA node".to_owned());
    }
    if all_siblings != asked.smt {
        let form = if all_siblings { "all SMT siblings of its cores" } else { "one CPU of each core" };
        told.push(format!("holds {form}: no set of the other form is good"));
    }
    told.join("; ")
}

/// The question as asked, then with fewer producers: 1 first where caches are small, because two cores of a small
/// cache are the field's proven choice; else the most that fit.
fn producers_to_try(machine: &Machine, question: &Question) -> Vec<Question> {
    let largest = layouts(machine, question, true).iter().map(|blocks| largest_group(blocks)).max().unwrap_or(1);
    let least = question.prover.least_producers();
    let mut fewer: Vec<usize> = (least..question.producers.min(largest)).rev().collect();
    if largest <= 4
        && let Some(one) = fewer.iter().position(|producers| *producers == 1)
    {
        fewer[..=one].rotate_right(1);
    }
    let producers = std::iter::once(question.producers.max(least)).chain(fewer);
    let fitting = producers.filter(|producers| (least..largest).contains(producers));
    fitting.map(|producers| Question { producers, ..*question }).collect()
}

/// What a group puts into a set: one CPU per core, or all of them.
struct Block {
    cpus: CpuList,
    cores: usize,
}

/// The machine's groups as blocks to build sets of: as the prover groups them, and by L3 where that is by L2.
fn layouts(machine: &Machine, question: &Question, all_siblings: bool) -> Vec<Vec<Block>> {
    let second = SetFacts::of(machine, &machine.allowed_cpus).second_siblings;
    let groups = |prover| pc1_units(machine, &machine.allowed_cpus, prover, question.producers).groups;
    let block = |group: Group| Block {
        cpus: if all_siblings { group.cpus } else { group.cpus.minus(&second) },
        cores: group.cores,
    };
    let mut layouts = vec![groups(question.prover)];
    if layouts[0].first().is_some_and(|group| group.kind == GroupKind::L2) {
        layouts.push(groups(Prover::Own));
    }
    layouts.into_iter().map(|groups| groups.into_iter().map(block).collect()).collect()
}

/// How many neighbouring blocks from `first` on have as many cores as that one.
fn alike(blocks: &[Block], first: usize) -> usize {
    blocks[first..].iter().take_while(|block| block.cores == blocks[first].cores).count()
}

/// The most cores that a prover could take for one group. Groups of one core are none: it looks a level higher.
fn largest_group(blocks: &[Block]) -> usize {
    let single = (0..blocks.len()).filter(|first| blocks[*first].cores == 1);
    let longest = single.map(|first| alike(blocks, first)).max().unwrap_or(1);
    blocks.iter().map(|block| block.cores).max().unwrap_or(1).max(longest)
}

/// The sibling forms to try: as asked, then the other where the machine has siblings at all. Without units every
/// CPU is one more thread.
fn forms(machine: &Machine, question: &Question) -> Vec<bool> {
    let first = question.smt || !question.forms_units();
    if machine.has_smt() { vec![first, !first] } else { vec![first] }
}

/// A run of neighbouring blocks.
#[derive(Clone, Copy)]
struct Run {
    first: usize,
    blocks: usize,
    cores: usize,
    cpus: usize,
    /// CPUs of the given set that it lacks, and by how many CPUs it is larger or smaller. A run elsewhere lacks all,
    /// and then the one of the most similar size is nearest.
    distance: usize,
}

fn nearest_runs(machine: &Machine, cpuset: &CpuList, question: &Question, asked: usize) -> Nearest {
    // As many cores as were meant, whether they can be used or not; without units as many CPUs.
    let online = machine.cores().iter().filter(|core| !core.cpus.and(cpuset).is_empty()).count();
    let meant = online + cpuset.minus(&machine.cpus()).len();
    let size = |run: &Run| if question.forms_units() { run.cores.cmp(&meant) } else { run.cpus.cmp(&cpuset.len()) };
    for all_siblings in forms(machine, question) {
        for blocks in layouts(machine, question, all_siblings) {
            let mut runs = runs(&blocks, cpuset);
            runs.sort_by_key(|run| (run.distance, run.first));
            let pick = |wanted: std::cmp::Ordering| {
                let fitting: Vec<Run> = runs.iter().copied().filter(|run| size(run) == wanted).collect();
                first_good(machine, &blocks, &fitting, question)
            };
            let found = Nearest {
                smaller: pick(std::cmp::Ordering::Less),
                same_size: pick(std::cmp::Ordering::Equal)
                    .filter(|found| found.cpuset != *cpuset || question.producers != asked),
                larger: pick(std::cmp::Ordering::Greater),
            };
            if found.iter().next().is_some() {
                return found;
            }
        }
    }
    Nearest::default()
}

/// Every run of neighbouring blocks of one size.
fn runs(blocks: &[Block], cpuset: &CpuList) -> Vec<Run> {
    let common: Vec<usize> = blocks.iter().map(|block| block.cpus.and(cpuset).len()).collect();
    let begins = common.iter().position(|shared| *shared > 0);
    let firsts = (0..blocks.len()).filter(|i| blocks.len() <= ALL_RUNS_MAX || *i == 0 || Some(*i) == begins);
    let mut runs = Vec::new();
    for first in firsts {
        let (mut cores, mut cpus, mut shared) = (0, 0, 0);
        for (i, block) in blocks[first..first + alike(blocks, first)].iter().enumerate() {
            cores += block.cores;
            cpus += block.cpus.len();
            shared += common[first + i];
            runs.push(Run {
                first,
                blocks: i + 1,
                cores,
                cpus,
                distance: cpuset.len() - shared + cpus.abs_diff(cpuset.len()),
            });
        }
    }
    runs
}

/// The first run that is judged good: of those nearest, and of those from the first group.
fn first_good(machine: &Machine, blocks: &[Block], runs: &[Run], question: &Question) -> Option<Suggestion> {
    let (mut from_first, mut others) = (0, 0);
    for run in runs.iter().filter(|run| may_hold(blocks, run, question)) {
        let tries = if run.first == 0 { &mut from_first } else { &mut others };
        *tries += 1;
        if *tries > TRIES_MAX {
            continue;
        }
        if let Some(found) = if_good(machine, &cpus_of(blocks, run), question) {
            return Some(found);
        }
    }
    None
}

/// Whether the run has cores for the tasks, as far as arithmetic tells without judging it.
fn may_hold(blocks: &[Block], run: &Run, question: &Question) -> bool {
    let needed = blocks_needed(&blocks[run.first], question.concurrent.unwrap_or(1), question);
    !question.forms_units() || needed.is_some_and(|needed| needed <= run.blocks)
}

/// How many blocks like this one hold units for so many tasks.
fn blocks_needed(block: &Block, tasks: usize, question: &Question) -> Option<usize> {
    let cores_per_unit = question.producers.saturating_add(1);
    if block.cores == 1 {
        return Some(tasks.saturating_mul(cores_per_unit));
    }
    let per_block = block.cores / cores_per_unit;
    (per_block > 0).then(|| tasks.div_ceil(per_block))
}

fn cpus_of(blocks: &[Block], run: &Run) -> CpuList {
    blocks[run.first..run.first + run.blocks].iter().flat_map(|block| block.cpus.iter()).collect()
}

fn if_good(machine: &Machine, cpuset: &CpuList, question: &Question) -> Option<Suggestion> {
    // The stock library's first unit begins with the core number 0, which it looks for among the CPUs.
    let lacks_first = question.forms_units() && question.prover == Prover::Stock && !cpuset.contains(0);
    if cpuset.is_empty() || lacks_first {
        return None;
    }
    let verdict = judge_alone(machine, cpuset, question);
    verdict.good.then(|| suggestion(verdict))
}

fn suggestion(verdict: Verdict) -> Suggestion {
    let pc1 = verdict.pc1;
    Suggestion {
        cores: verdict.set.cores,
        nodes: verdict.set.nodes.iter().map(|share| share.node).collect(),
        groups: pc1.as_ref().map(|pc1| pc1.groups.len()),
        group_kind: pc1.as_ref().map(|pc1| pc1.group_kind),
        units: pc1.as_ref().map(|pc1| pc1.units.len()),
        producers: pc1.as_ref().map(|pc1| pc1.producers),
        left_over: pc1.map(|pc1| pc1.left_over).unwrap_or_default(),
        cpuset: verdict.cpuset,
        reason: String::new(),
    }
}

/// The shortest good runs for so many tasks that share no group, with their sibling form: those within nodes, the
/// fewest cores first, or else one across them.
fn sets_for(machine: &Machine, tasks: usize, question: &Question) -> Vec<(Suggestion, bool)> {
    let mut across = Vec::new();
    for all_siblings in forms(machine, question) {
        for blocks in layouts(machine, question, all_siblings) {
            let (crossing, mut within): (Vec<_>, Vec<_>) =
                good_runs(machine, &blocks, tasks, question).into_iter().partition(Suggestion::crosses_nodes);
            if !within.is_empty() {
                within.sort_by_key(|set| set.cores);
                return within.into_iter().take(LISTED_MAX).map(|set| (set, all_siblings)).collect();
            }
            if across.is_empty() {
                across.extend(crossing.into_iter().next().map(|set| (set, all_siblings)));
            }
        }
    }
    across
}

/// The shortest good runs from each start on; those within a node share no group.
fn good_runs(machine: &Machine, blocks: &[Block], tasks: usize, question: &Question) -> Vec<Suggestion> {
    let (mut found, mut within, mut first) = (Vec::new(), 0, 0);
    while first < blocks.len().min(STARTS_MAX) && within < LISTED_MAX {
        let needed = blocks_needed(&blocks[first], tasks, question).filter(|needed| *needed <= alike(blocks, first));
        let run = needed.map(|needed| Run { first, blocks: needed, cores: 0, cpus: 0, distance: 0 });
        match run.and_then(|run| Some((run, if_good(machine, &cpus_of(blocks, &run), question)?))) {
            Some((run, set)) => {
                // Past a set within a node; one that crosses must not hide those behind its start.
                first += if set.crosses_nodes() { 1 } else { run.blocks };
                within += usize::from(!set.crosses_nodes());
                found.push(set);
            }
            None => first += 1,
        }
    }
    found
}

/// For stages without units: what can be used of the set, or sets of its size where nothing can.
fn usable_part(machine: &Machine, cpuset: &CpuList, question: &Question) -> Nearest {
    let usable = SetFacts::of(machine, cpuset).usable;
    if usable.is_empty() {
        return nearest_runs(machine, cpuset, question, question.producers);
    }
    let groups = pc1_units(machine, &machine.allowed_cpus, Prover::Own, 0).groups;
    let touched = groups.into_iter().filter(|group| !group.cpus.and(&usable).is_empty());
    let whole: CpuList = touched.flat_map(|group| group.cpus.iter().collect::<Vec<_>>()).collect();
    Nearest {
        smaller: if_good(machine, &usable, question),
        same_size: None,
        larger: if_good(machine, &whole, question).filter(|found| found.cpuset.len() > cpuset.len()),
    }
}
