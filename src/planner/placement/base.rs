//! What all layouts with the same number of PC1 tasks share: PC1 on its cores, the system's cores, and the rest.

use super::{
    Query, Short,
    deal::Pool,
    memory::reserve,
    pc1::{Pc1Set, Pc1Sets},
};
use crate::{planner::inventory::Core, profile::Stage, units::Bytes};
use std::{cell::RefCell, collections::HashMap, rc::Rc};

/// PC1 in its place.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// By the place of the node.
    pub pc1: Vec<(usize, Pc1Set)>,
    pub system: Vec<u32>,
    /// What PC1 and the system leave.
    pub pool: Pool,
}

/// The bases of one question, each worked out once.
pub(super) struct Bases<'a> {
    query: &'a Query<'a>,
    sets: Pc1Sets<'a>,
    known: RefCell<HashMap<u32, Result<Rc<Base>, Short>>>,
}

impl<'a> Bases<'a> {
    pub fn new(query: &'a Query<'a>, producers: usize) -> Self {
        let inventory = query.inventory;
        let sets = Pc1Sets::new(inventory.machine, &inventory.nodes, query.choices.prover, producers);
        Self { query, sets, known: RefCell::default() }
    }

    /// The most PC1 tasks that the machine's cores carry.
    pub fn most(&self) -> u32 {
        (0..self.query.inventory.nodes.len()).map(|node| self.sets.most(node)).sum()
    }

    pub fn of(&self, tasks: u32) -> Result<Rc<Base>, Short> {
        if let Some(known) = self.known.borrow().get(&tasks) {
            return known.clone();
        }
        let base = self.work_out(tasks).map(Rc::new);
        self.known.borrow_mut().insert(tasks, base.clone());
        base
    }

    fn work_out(&self, tasks: u32) -> Result<Base, Short> {
        let pc1 = self.pc1(tasks)?;
        let (mut pool, left_over) = self.pool(&pc1);
        let system = pool.reserve(&self.query.system_cores(), &left_over);
        if system.is_empty() {
            return Err(self.query.cores_short(1));
        }
        Ok(Base { pc1, system, pool })
    }

    /// The most PC1 tasks of each node, by its cores and its memory.
    pub fn rooms(&self) -> Vec<u32> {
        let memory = self.query.costs.on_cores(Stage::Pc1).memory_on(1).0.max(1);
        let room = |node: usize| {
            let by_memory = self.query.node_have(node).0 / memory;
            self.sets.most(node).min(u32::try_from(by_memory).unwrap_or(u32::MAX))
        };
        (0..self.query.inventory.nodes.len()).map(room).collect()
    }

    /// PC1 tasks spread over the nodes, evenly by what each can carry.
    fn pc1(&self, tasks: u32) -> Result<Vec<(usize, Pc1Set)>, Short> {
        let rooms = self.rooms();
        let mut counts = vec![0u32; rooms.len()];
        for _ in 0..tasks {
            let open = (0..rooms.len()).filter(|node| counts[*node] < rooms[*node]);
            let Some(node) = open.min_by_key(|node| counts[*node]) else { return Err(self.node_short(tasks)) };
            counts[node] += 1;
        }
        let placed = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        placed
            .map(|(node, count)| {
                let most = self.sets.most(node);
                let set = self.sets.fit(node, *count);
                set.map(|set| (node, set)).ok_or(Short::Units { tasks: *count, most })
            })
            .collect()
    }

    /// Which node is nearest to carrying one task more, and what it lacks for that.
    fn node_short(&self, tasks: u32) -> Short {
        let task = self.query.costs.on_cores(Stage::Pc1).memory_on(1).0;
        let nodes = self.query.inventory.nodes.iter().enumerate();
        let lacking = nodes.filter_map(|(place, node)| {
            let have = self.query.node_have(place);
            let carried = have.0 / task.max(1);
            let has_units = carried < u64::from(self.sets.most(place));
            has_units.then(|| Short::NodeMemory { node: node.id, need: Bytes((carried + 1) * task), have })
        });
        let least = lacking.min_by(|a, b| a.size().total_cmp(&b.size()));
        least.unwrap_or(Short::Units { tasks, most: self.most() })
    }

    /// Cores that PC1 leaves on each node, and how many of them lie in its own groups.
    fn pool(&self, pc1: &[(usize, Pc1Set)]) -> (Pool, Vec<usize>) {
        let mut left_over = Vec::new();
        let nodes = self.query.inventory.nodes.iter().enumerate().map(|(place, node)| {
            let set = pc1.iter().find(|(at, _)| *at == place).map(|(_, set)| set);
            let mut cores = set.map(|set| set.rest.clone()).unwrap_or_default();
            left_over.push(cores.len());
            let is_free = |group: usize| set.is_none_or(|set| group < set.groups.0 || group > set.groups.1);
            let free = node.groups.iter().enumerate().filter(|(at, _)| is_free(*at));
            cores.extend(free.flat_map(|(_, group)| group).map(|core: &Core| core.first));
            cores
        });
        let pool = Pool(nodes.collect());
        (pool, left_over)
    }
}

impl Query<'_> {
    /// One core in 24 of each node for the system.
    pub(crate) fn system_cores(&self) -> Vec<usize> {
        self.inventory.nodes.iter().map(|node| node.cores().div_ceil(24)).collect()
    }

    pub(super) fn cores_short(&self, more: u32) -> Short {
        let have = self.inventory.cores;
        Short::Cores { need: have + more, have }
    }

    /// What may be planned on a node: its memory without its part of the reserve, and without pages that are taken.
    pub(super) fn node_have(&self, node: usize) -> Bytes {
        let node = &self.inventory.nodes[node];
        let all = u128::from(self.inventory.memory.0.max(1));
        let part = u128::from(reserve(self.inventory.memory).0) * u128::from(node.memory.0) / all;
        // Pages in pools are lost to everybody, unless PC1 is to use them.
        let lost = if self.choices.hugepages.is_some() { 0 } else { node.pooled.0 };
        Bytes(node.memory.0.saturating_sub(part as u64).saturating_sub(lost))
    }
}
