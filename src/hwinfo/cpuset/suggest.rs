//! Good sets: those nearest to a given one, and those for so many tasks. Each was judged good before it is named.
//!
//! Candidates are runs of neighbouring whole groups of one size. The stock prover forms units only where the
//! set begins with the machine's first CPUs, so runs from the first group are always tried.

use super::{
    Question,
    judge::{Verdict, judge_alone},
    set::SetFacts,
};
use crate::{
    machine::{
        Machine,
        pc1_units::{Group, pc1_units},
    },
    units::{CpuList, NodeId},
};
use serde::Serialize;

/// No more runs than so many are judged, of those from the first group and of the others.
const TRIES_MAX: usize = 64;
/// More rows than this help nobody to choose.
const LISTED_MAX: usize = 16;

/// A set that was judged good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    pub cpuset: CpuList,
    pub cores: usize,
    /// Shared-cache groups in it; absent for stages without units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<usize>,
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

/// The good sets nearest to `cpuset`.
pub(super) fn nearest(machine: &Machine, cpuset: &CpuList, question: &Question) -> Nearest {
    if !question.forms_units() {
        return usable_part(machine, cpuset, question);
    }
    let tries = producers_to_try(machine, question);
    let asked = question.producers;
    let mut found = tries.into_iter().map(|question| nearest_runs(machine, cpuset, &question, asked));
    found.find(|nearest| nearest.iter().next().is_some()).unwrap_or_default()
}

/// Sets that hold `tasks` concurrent tasks, those within one node first. Empty where no set does.
pub fn suggest(machine: &Machine, tasks: usize, question: &Question) -> Vec<Suggestion> {
    if !question.forms_units() || tasks == 0 {
        return Vec::new();
    }
    let asked = Question { concurrent: Some(tasks), ..*question };
    let tries = producers_to_try(machine, &asked);
    tries.iter().map(|question| sets_for(machine, tasks, question)).find(|sets| !sets.is_empty()).unwrap_or_default()
}

/// The question as asked, then with fewer producers: 1 first where caches are small, because two cores of a small
/// cache are the field's proven choice; else the most that fit.
fn producers_to_try(machine: &Machine, question: &Question) -> Vec<Question> {
    let largest = whole_machine(machine, question).iter().map(|group| group.cores).max().unwrap_or(1);
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

/// The groups of all usable cores.
fn whole_machine(machine: &Machine, question: &Question) -> Vec<Group> {
    pc1_units(machine, &machine.allowed_cpus, question.prover, question.producers).groups
}

/// What a group puts into a set: one CPU per core, or all of them.
struct Block {
    cpus: CpuList,
    cores: usize,
}

fn blocks(machine: &Machine, question: &Question, all_siblings: bool) -> Vec<Block> {
    let second = SetFacts::of(machine, &machine.allowed_cpus).second_siblings;
    let groups = whole_machine(machine, question).into_iter();
    groups
        .map(|group| Block {
            cpus: if all_siblings { group.cpus } else { group.cpus.minus(&second) },
            cores: group.cores,
        })
        .collect()
}

/// The sibling forms to try: as asked, then the other where the machine has siblings at all.
fn forms(machine: &Machine, question: &Question) -> Vec<bool> {
    if machine.has_smt() { vec![question.smt, !question.smt] } else { vec![question.smt] }
}

/// A run of neighbouring blocks.
#[derive(Clone, Copy)]
struct Run {
    first: usize,
    blocks: usize,
    cores: usize,
    /// CPUs of the given set that it lacks, and by how many CPUs it is larger or smaller. A run elsewhere lacks all,
    /// and then the one of the most similar size is nearest.
    distance: usize,
}

fn nearest_runs(machine: &Machine, cpuset: &CpuList, question: &Question, asked: usize) -> Nearest {
    let size = SetFacts::of(machine, cpuset).cores + cpuset.minus(&machine.cpus()).len();
    for all_siblings in forms(machine, question) {
        let blocks = blocks(machine, question, all_siblings);
        let mut runs = runs(&blocks, cpuset);
        runs.sort_by_key(|run| (run.distance, run.first));
        let pick = |wanted: std::cmp::Ordering| {
            let fitting: Vec<Run> = runs.iter().copied().filter(|run| run.cores.cmp(&size) == wanted).collect();
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
    Nearest::default()
}

/// Every run of neighbouring blocks of one size.
fn runs(blocks: &[Block], cpuset: &CpuList) -> Vec<Run> {
    let common: Vec<usize> = blocks.iter().map(|block| block.cpus.and(cpuset).len()).collect();
    let mut runs = Vec::new();
    for first in 0..blocks.len() {
        let (mut cores, mut cpus, mut shared) = (0, 0, 0);
        let same = blocks[first..].iter().take_while(|block| block.cores == blocks[first].cores);
        for (i, block) in same.enumerate() {
            cores += block.cores;
            cpus += block.cpus.len();
            shared += common[first + i];
            runs.push(Run {
                first,
                blocks: i + 1,
                cores,
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
    let per_block = blocks[run.first].cores / question.producers.saturating_add(1);
    per_block * run.blocks >= question.concurrent.unwrap_or(1)
}

fn cpus_of(blocks: &[Block], run: &Run) -> CpuList {
    blocks[run.first..run.first + run.blocks].iter().flat_map(|block| block.cpus.iter()).collect()
}

fn if_good(machine: &Machine, cpuset: &CpuList, question: &Question) -> Option<Suggestion> {
    if cpuset.is_empty() {
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
        units: pc1.as_ref().map(|pc1| pc1.units.len()),
        producers: pc1.as_ref().map(|pc1| pc1.producers),
        left_over: pc1.map(|pc1| pc1.left_over).unwrap_or_default(),
        cpuset: verdict.cpuset,
    }
}

/// The shortest good runs for so many tasks that share no group, within nodes before across them.
fn sets_for(machine: &Machine, tasks: usize, question: &Question) -> Vec<Suggestion> {
    for all_siblings in forms(machine, question) {
        let blocks = blocks(machine, question, all_siblings);
        let mut found = Vec::new();
        let mut first = 0;
        while first < blocks.len() && found.len() < LISTED_MAX {
            let Some(needed) = blocks_needed(&blocks, first, tasks, question) else {
                first += 1;
                continue;
            };
            let run = Run { first, blocks: needed, cores: 0, distance: 0 };
            match if_good(machine, &cpus_of(&blocks, &run), question) {
                Some(set) => {
                    // Past a set within a node; one that crosses is kept, but must not hide those behind its start.
                    first += if set.nodes.len() > 1 { 1 } else { needed };
                    found.push(set);
                }
                None => first += 1,
            }
        }
        if found.iter().any(|set| set.nodes.len() <= 1) {
            found.retain(|set| set.nodes.len() <= 1);
        } else {
            found.truncate(1);
        }
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// How many blocks of one size from `first` on hold so many units.
fn blocks_needed(blocks: &[Block], first: usize, tasks: usize, question: &Question) -> Option<usize> {
    let per_block = blocks[first].cores / question.producers.saturating_add(1);
    if per_block == 0 {
        return None;
    }
    let needed = tasks.div_ceil(per_block);
    let same = blocks[first..].iter().take_while(|block| block.cores == blocks[first].cores).count();
    (needed <= same).then_some(needed)
}

/// For stages without units: what can be used of the set.
fn usable_part(machine: &Machine, cpuset: &CpuList, question: &Question) -> Nearest {
    let usable = SetFacts::of(machine, cpuset).usable;
    let groups = whole_machine(machine, question);
    let touched = groups.into_iter().filter(|group| !group.cpus.and(&usable).is_empty());
    let whole: CpuList = touched.flat_map(|group| group.cpus.iter().collect::<Vec<_>>()).collect();
    Nearest {
        smaller: if_good(machine, &usable, question),
        same_size: None,
        larger: if_good(machine, &whole, question).filter(|found| found.cpuset.len() > cpuset.len()),
    }
}
