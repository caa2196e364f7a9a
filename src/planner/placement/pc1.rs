//! PC1 on one node: the smallest run of whole L3 groups whose units carry so many tasks, legal for the prover.
//!
//! ```text
//! groups of a node   |0 1 2|3 4 5|6 7 8| …          14 tasks of two cores each: 14 groups,
//! units (1 producer) |0 1 .|3 4 .|6 7 .| …          cpuset 0-41, cores 2, 5, 8 … are left to other stages
//! ```
//!
//! Whether a set is legal is not computed here: `machine::pc1_units` says which units the prover would form, and only
//! a set that gives every task a unit of its own, whole and within one group, is taken.

use crate::{
    machine::{
        Machine,
        pc1_units::{Outcome, Unit, pc1_units},
    },
    planner::inventory::{Core, Node},
    units::{CpuList, Prover},
};
use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    ops::RangeInclusive,
    rc::Rc,
};

/// Tasks on whole groups of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pc1Set {
    pub cpuset: CpuList,
    pub tasks: u32,
    /// The first and the last group.
    pub groups: (usize, usize),
    /// Cores of these groups that no task is bound to, in their order.
    pub rest: Vec<u32>,
}

/// The sets of one machine, each worked out once.
pub(super) struct Pc1Sets<'m> {
    machine: &'m Machine,
    nodes: &'m [Node],
    prover: Prover,
    producers: usize,
    known: RefCell<HashMap<(usize, u32), Option<Pc1Set>>>,
    most: RefCell<HashMap<usize, u32>>,
    /// By node, first group and number of groups.
    runs: RefCell<HashMap<(usize, usize, usize), Rc<Vec<Run>>>>,
}

/// A cpuset of whole groups, and the CPUs of each sound unit that the prover forms on it.
struct Run {
    cpuset: CpuList,
    units: Vec<Vec<u32>>,
}

impl<'m> Pc1Sets<'m> {
    pub fn new(machine: &'m Machine, nodes: &'m [Node], prover: Prover, producers: usize) -> Self {
        let (known, most, runs) = Default::default();
        Self { machine, nodes, prover, producers, known, most, runs }
    }

    /// The most tasks that a node can carry by its cores.
    pub fn most(&self, node: usize) -> u32 {
        if let Some(most) = self.most.borrow().get(&node) {
            return *most;
        }
        let cores = self.nodes[node].cores() / (self.producers + 1);
        let candidates = if self.is_hopeless(node) { 0..=0 } else { 1..=cores as u32 };
        let most = candidates.rev().find(|tasks| self.fit(node, *tasks).is_some()).unwrap_or(0);
        self.most.borrow_mut().insert(node, most);
        most
    }

    /// Whether no set of this node can have a unit: the whole node, which is begun where every run of the stock library
    /// begins, starts and forms none.
    fn is_hopeless(&self, node: usize) -> bool {
        let all: CpuList = self.nodes[node].groups.iter().flatten().flat_map(|core| core.cpus.iter()).collect();
        let found = pc1_units(self.machine, &all, self.prover, self.producers);
        self.prover == Prover::Stock && found.outcome == Outcome::Units(Vec::new())
    }

    /// The set for so many tasks; none where no run of groups of the node carries them.
    pub fn fit(&self, node: usize, tasks: u32) -> Option<Pc1Set> {
        if let Some(set) = self.known.borrow().get(&(node, tasks)) {
            return set.clone();
        }
        let set = self.search(node, tasks);
        self.known.borrow_mut().insert((node, tasks), set.clone());
        set
    }

    fn search(&self, node: usize, tasks: u32) -> Option<Pc1Set> {
        let groups = &self.nodes[node].groups;
        let cores: usize = self.nodes[node].cores();
        let wanted = tasks as usize * (self.producers + 1);
        if tasks == 0 || wanted > cores {
            return None;
        }
        let largest = groups.iter().map(Vec::len).max().unwrap_or(1);
        let least = wanted.div_ceil(largest).max(1);
        (least..=groups.len())
            .find_map(|length| self.starts(node, length).find_map(|first| self.judge(node, first, length, tasks)))
    }

    /// Where a run may begin. Of groups with equally many cores every run is like the first; and the stock library
    /// knows its cores by number only from CPU 0 on, so for it only the first can be legal.
    fn starts(&self, node: usize, length: usize) -> RangeInclusive<usize> {
        let groups = &self.nodes[node].groups;
        let is_equal = groups.windows(2).all(|pair| pair[0].len() == pair[1].len());
        0..=(if is_equal || self.prover == Prover::Stock { 0 } else { groups.len() - length })
    }

    fn judge(&self, node: usize, first: usize, length: usize, tasks: u32) -> Option<Pc1Set> {
        let runs = self.runs(node, first, length);
        let run = runs.iter().find(|run| run.units.len() >= tasks as usize)?;
        let bound: CpuList = run.units[..tasks as usize].iter().flatten().copied().collect();
        let cores = self.nodes[node].groups[first..first + length].iter().flatten();
        let is_free = |core: &&Core| !core.cpus.iter().any(|cpu| bound.contains(cpu));
        let rest = cores.filter(is_free).map(|core| core.first).collect();
        Some(Pc1Set { cpuset: run.cpuset.clone(), tasks, groups: (first, first + length - 1), rest })
    }

    /// With all siblings of each core, or else with the first CPU of each: the stock provers lose count where a
    /// cpuset has holes, and siblings are numbered far away on most machines.
    fn runs(&self, node: usize, first: usize, length: usize) -> Rc<Vec<Run>> {
        if let Some(runs) = self.runs.borrow().get(&(node, first, length)) {
            return runs.clone();
        }
        let cores = || self.nodes[node].groups[first..first + length].iter().flatten();
        let whole: CpuList = cores().flat_map(|core| core.cpus.iter()).collect();
        let firsts: CpuList = cores().map(|core| core.first).collect();
        let is_smt = whole.len() > firsts.len();
        let cpusets = [Some(whole), is_smt.then_some(firsts)].into_iter().flatten();
        let runs = Rc::new(cpusets.map(|cpuset| self.run(cpuset)).collect::<Vec<_>>());
        self.runs.borrow_mut().insert((node, first, length), runs.clone());
        runs
    }

    /// The units up to the first that is not sound: not whole, in two groups, or on a core of another.
    fn run(&self, cpuset: CpuList) -> Run {
        let found = pc1_units(self.machine, &cpuset, self.prover, self.producers);
        let mut taken = BTreeSet::new();
        let is_sound =
            |unit: &&Unit| unit.unbound == 0 && unit.groups == 1 && unit.cpus.iter().all(|cpu| taken.insert(*cpu));
        let units = found.units().iter().take_while(is_sound).map(|unit| unit.cpus.clone()).collect();
        Run { cpuset, units }
    }
}
