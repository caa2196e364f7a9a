//! One candidate, from a layout and a number of PC1 tasks: cores, memory, disks, then the rate of what stands there.

use super::{
    GpuProcessor, GpuUse, Memory, NodeMemory, Pc1Processor, Placement, Query, Short,
    deal::{Dealt, Pool},
    disks,
    layout::Layout,
    memory::reserve,
    pc1::{Pc1Set, Pc1Sets},
    steady, writes_per_sector,
};
use crate::{
    planner::{Bottleneck, THREADS_MAX},
    profile::{Cost, Stage},
    units::{Bytes, CpuList},
};
use std::collections::BTreeMap;

/// More threads than are under way on average, for waits that are longer than average.
const SLACK: f64 = 1.25;

/// Stages whose tasks are short get so many places that they are busy for this part of the time at most.
const LIGHT_LOAD: f64 = 0.8;

pub(super) struct Builder<'a> {
    pub query: &'a Query<'a>,
    pub sets: &'a Pc1Sets<'a>,
    pub layout: &'a Layout,
    pub tasks: u32,
}

/// A PC2 or C2 processor on its way.
#[derive(Clone, Debug)]
struct Station<'a> {
    stage: Stage,
    cost: &'a Cost,
    gpu: Option<usize>,
    dealt: Dealt,
}

impl Station<'_> {
    fn cores(&self) -> u32 {
        self.dealt.cores.len() as u32
    }

    fn minutes(&self) -> f64 {
        self.cost.minutes(self.cores())
    }

    fn memory(&self) -> Bytes {
        self.cost.memory_on(self.cores())
    }
}

impl Builder<'_> {
    pub fn build(&self) -> Result<Placement, Short> {
        let pc1 = self.pc1()?;
        let (mut pool, left_over) = self.pool(&pc1);
        let system = pool.reserve(&self.system_cores(), &left_over);
        let stations = self.stations(&mut pool)?;
        if system.is_empty() {
            return Err(self.cores_short(1));
        }
        let rates = Rates::of(self, &stations);
        let threads = self.threads(&rates, &stations)?;
        let mut placement = self.placement(pc1, &stations, &system, &rates, threads);
        placement.memory = self.memory(&mut placement, &stations)?;
        Ok(placement)
    }

    fn cost(&self, stage: Stage) -> &Cost {
        self.query.costs.on_cores(stage)
    }

    /// PC1 tasks spread over the nodes, evenly by what each can carry.
    fn pc1(&self) -> Result<Vec<(usize, Pc1Set)>, Short> {
        let inventory = self.query.inventory;
        let memory = self.cost(Stage::Pc1).memory_on(1).0.max(1);
        let room = |node: usize| {
            let by_memory = self.node_have(node).0 / memory;
            self.sets.most(node).min(u32::try_from(by_memory).unwrap_or(u32::MAX))
        };
        let rooms: Vec<u32> = (0..inventory.nodes.len()).map(room).collect();
        let mut counts = vec![0u32; rooms.len()];
        for _ in 0..self.tasks {
            let open = (0..rooms.len()).filter(|node| counts[*node] < rooms[*node]);
            let Some(node) = open.min_by_key(|node| counts[*node]) else { return Err(self.node_short()) };
            counts[node] += 1;
        }
        let placed = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        placed
            .map(|(node, count)| {
                let set = self.sets.fit(node, *count);
                let most = self.sets.most(node);
                set.map(|set| (node, set)).ok_or(Short::Units { tasks: *count, most })
            })
            .collect()
    }

    /// Which node is nearest to carrying one task more, and what it lacks for that.
    fn node_short(&self) -> Short {
        let task = self.cost(Stage::Pc1).memory_on(1).0;
        let nodes = self.query.inventory.nodes.iter().enumerate();
        let lacking = nodes.filter_map(|(place, node)| {
            let have = self.node_have(place);
            let carried = have.0 / task.max(1);
            let free_units = carried < u64::from(self.sets.most(place));
            free_units.then(|| Short::NodeMemory { node: node.id, need: Bytes((carried + 1) * task), have })
        });
        let least = lacking.min_by(|a, b| a.size().total_cmp(&b.size()));
        let most = (0..self.query.inventory.nodes.len()).map(|node| self.sets.most(node)).sum();
        least.unwrap_or(Short::Units { tasks: self.tasks, most })
    }

    /// What may be planned on a node: its memory without its part of the reserve, and without pages that are taken.
    fn node_have(&self, node: usize) -> Bytes {
        let inventory = self.query.inventory;
        let node = &inventory.nodes[node];
        let of_machine = reserve(inventory.memory).0 as u128 * u128::from(node.memory.0);
        let part = (of_machine / u128::from(inventory.memory.0.max(1))) as u64;
        Bytes(node.memory.0.saturating_sub(part).saturating_sub(self.pages_lost(node.pooled).0))
    }

    /// Pages in pools are lost to everybody, unless PC1 is to use them.
    fn pages_lost(&self, pooled: Bytes) -> Bytes {
        if self.query.choices.hugepages.is_some() { Bytes(0) } else { pooled }
    }

    /// Cores that PC1 leaves on each node, and how many of them lie in its own groups.
    fn pool(&self, pc1: &[(usize, Pc1Set)]) -> (Pool, Vec<usize>) {
        let mut left_over = Vec::new();
        let nodes = self.query.inventory.nodes.iter().enumerate().map(|(place, node)| {
            let set = pc1.iter().find(|(at, _)| *at == place).map(|(_, set)| set);
            let mut cores = set.map(|set| set.rest.clone()).unwrap_or_default();
            left_over.push(cores.len());
            let is_free = |group: usize| set.is_none_or(|set| group < set.groups.0 || group > set.groups.1);
            cores.extend(
                node.groups.iter().enumerate().filter(|(at, _)| is_free(*at)).flat_map(|(_, group)| group.clone()),
            );
            cores
        });
        let pool = Pool(nodes.collect());
        (pool, left_over)
    }

    /// One core in 24 of each node for the system.
    fn system_cores(&self) -> Vec<usize> {
        self.query.inventory.nodes.iter().map(|node| node.cores().div_ceil(24)).collect()
    }

    fn cores_short(&self, more: u32) -> Short {
        let have = self.query.inventory.cores;
        Short::Cores { need: have + more, have }
    }

    fn stations(&self, pool: &mut Pool) -> Result<Vec<Station<'_>>, Short> {
        let stations = match self.layout.gpu_use {
            GpuUse::Shared => self.shared(pool),
            GpuUse::Exclusive => self.exclusive(pool),
        };
        let empty = stations.iter().filter(|station| station.dealt.cores.is_empty()).count() as u32;
        if empty > 0 { Err(self.cores_short(empty)) } else { Ok(stations) }
    }

    /// The node of each GPU, or none where cores are to be taken from all nodes.
    fn homes(&self, gpus: &[usize]) -> Vec<Option<usize>> {
        gpus.iter().map(|gpu| self.query.inventory.gpus[*gpu].node.filter(|_| !self.layout.spread)).collect()
    }

    /// Each GPU's C2 takes all cores of its share, and its PC2 the first of them: the lock keeps them apart.
    fn shared(&self, pool: &mut Pool) -> Vec<Station<'_>> {
        let dealt = pool.deal(&self.homes(&self.layout.c2), None);
        let pairs = self.layout.c2.iter().zip(dealt).flat_map(|(gpu, dealt)| {
            let (pc2, c2) = (self.on_gpu(*gpu, Stage::Pc2), self.on_gpu(*gpu, Stage::C2));
            let mut first = dealt.clone();
            first.cores.truncate(pc2.cores() as usize);
            [
                Station { stage: Stage::Pc2, cost: pc2, gpu: Some(*gpu), dealt: first },
                Station { stage: Stage::C2, cost: c2, gpu: Some(*gpu), dealt },
            ]
        });
        let mut stations: Vec<_> = pairs.collect();
        stations.sort_by_key(|station| station.stage);
        stations
    }

    fn exclusive(&self, pool: &mut Pool) -> Vec<Station<'_>> {
        let is_local = self.query.choices.is_c2_local();
        let (pc2, c2) = (&self.layout.pc2, &self.layout.c2);
        let mut stations = match (pc2.is_empty(), c2.is_empty()) {
            // Cores do what no GPU does. Whoever comes second gets what is left.
            (true, true) if is_local => {
                let share = self.pc2_share(pool.len());
                let mut stations = self.pc2_on_cores(pool, share);
                stations.extend(self.c2_on_cores(pool));
                stations
            }
            (true, _) => {
                let mut stations = self.deal_to_gpus(pool, Stage::C2, c2, 1);
                let rest = pool.len();
                stations.extend(self.pc2_on_cores(pool, rest));
                stations
            }
            (false, true) if is_local => {
                let mut stations = self.deal_to_gpus(pool, Stage::Pc2, pc2, self.layout.c2_processors);
                stations.extend(self.c2_on_cores(pool));
                stations
            }
            (false, _) => {
                let mut stations = self.deal_to_gpus(pool, Stage::Pc2, pc2, c2.len());
                let all = pool.deal(&self.homes(c2), None);
                stations.extend(c2.iter().zip(all).map(|(gpu, dealt)| self.station(*gpu, Stage::C2, dealt)));
                stations
            }
        };
        stations.sort_by_key(|station| station.stage);
        stations
    }

    fn pc2_on_cores(&self, pool: &mut Pool, cores: usize) -> Vec<Station<'_>> {
        let processors = cores.div_ceil(self.cost(Stage::Pc2).cores() as usize).max(1);
        self.deal_to_cores(pool, Stage::Pc2, processors, cores)
    }

    fn c2_on_cores(&self, pool: &mut Pool) -> Vec<Station<'_>> {
        let each = self.cost(Stage::C2).cores() as usize;
        let cores = pool.len().min(self.layout.c2_cores.unwrap_or(usize::MAX)).min(self.layout.c2_processors * each);
        self.deal_to_cores(pool, Stage::C2, self.layout.c2_processors, cores)
    }

    fn on_gpu(&self, gpu: usize, stage: Stage) -> &Cost {
        self.query.costs.on_gpu(gpu, stage).expect("a layout gives a stage only GPUs that can do it")
    }

    fn station(&self, gpu: usize, stage: Stage, dealt: Dealt) -> Station<'_> {
        Station { stage, cost: self.on_gpu(gpu, stage), gpu: Some(gpu), dealt }
    }

    /// As many cores for each GPU as its stage can use, but no more than a fair part where `followers` come after.
    fn deal_to_gpus(&self, pool: &mut Pool, stage: Stage, gpus: &[usize], followers: usize) -> Vec<Station<'_>> {
        let Some(wanted) = gpus.iter().map(|gpu| self.on_gpu(*gpu, stage).cores() as usize).max() else {
            return Vec::new();
        };
        let fair = pool.len() / (gpus.len() + followers);
        let dealt = pool.deal(&self.homes(gpus), Some(wanted.min(fair.max(1))));
        gpus.iter().zip(dealt).map(|(gpu, dealt)| self.station(*gpu, stage, dealt)).collect()
    }

    /// `cores` of the pool for the processors of a stage that cores do.
    fn deal_to_cores(&self, pool: &mut Pool, stage: Stage, processors: usize, cores: usize) -> Vec<Station<'_>> {
        let nodes = self.query.inventory.nodes.len();
        let home = |place: usize| (processors >= nodes && !self.layout.spread).then_some(place % nodes.max(1));
        let homes: Vec<_> = (0..processors).map(home).collect();
        let dealt = pool.deal(&homes, Some(cores / processors));
        dealt.into_iter().map(|dealt| Station { stage, cost: self.cost(stage), gpu: None, dealt }).collect()
    }

    /// PC2's part of cores that do both: by their work.
    fn pc2_share(&self, cores: usize) -> usize {
        let (pc2, c2) = (self.cost(Stage::Pc2).core_seconds(), self.cost(Stage::C2).core_seconds());
        let share = (cores as f64 * pc2 / (pc2 + c2)).round() as usize;
        share.clamp(1, cores.saturating_sub(1).max(1))
    }

    /// Sealing threads: what is under way on average and a bit more, as far as the disks hold them.
    fn threads(&self, rates: &Rates, stations: &[Station]) -> Result<u32, Short> {
        let by_disk = disks::most_threads(self.query.folders);
        let peak = self.cost(Stage::C2).scratch;
        if by_disk == Some(0) {
            let have = self.query.folders.iter().filter_map(|folder| folder.room).max().unwrap_or_default();
            return Err(Short::Disk { need: peak, have });
        }
        let wanted = steady::places(rates.lowest().0 * SLACK, self.minutes_per_sector(stations));
        Ok(wanted.min(by_disk.unwrap_or(u32::MAX)).min(THREADS_MAX))
    }

    fn system_minutes(&self, stage: Stage) -> f64 {
        self.cost(stage).minutes(self.system_cores().iter().sum::<usize>() as u32)
    }

    /// From the first byte to the landed proof, waiting for no place.
    fn minutes_per_sector(&self, stations: &[Station]) -> f64 {
        let slowest = |stage: Stage| {
            let minutes = stations.iter().filter(|station| station.stage == stage).map(Station::minutes);
            minutes.reduce(f64::max).unwrap_or_else(|| self.remote_minutes())
        };
        let light = [Stage::AddPieces, Stage::TreeD, Stage::C1].map(|stage| self.system_minutes(stage));
        light.iter().sum::<f64>()
            + self.pc1_minutes()
            + slowest(Stage::Pc2)
            + slowest(Stage::C2)
            + self.query.costs.waits
    }

    fn pc1_minutes(&self) -> f64 {
        let cost = self.cost(Stage::Pc1);
        cost.minutes(cost.cores())
    }

    /// C2 elsewhere is taken to be as fast as a GPU of the field.
    fn remote_minutes(&self) -> f64 {
        let here = (0..self.query.inventory.gpus.len()).filter_map(|gpu| self.query.costs.on_gpu(gpu, Stage::C2));
        here.map(|cost| cost.minutes(u32::MAX)).reduce(f64::min).unwrap_or(REMOTE_C2_MINUTES)
    }

    fn placement(
        &self,
        pc1: Vec<(usize, Pc1Set)>,
        stations: &[Station],
        system: &[CpuList],
        rates: &Rates,
        threads: u32,
    ) -> Placement {
        let minutes_per_sector = self.minutes_per_sector(stations);
        let threads_rate = steady::per_hour(threads, minutes_per_sector);
        let by_disk = disks::most_threads(self.query.folders) == Some(threads);
        let (mut rate, mut bottleneck) = rates.lowest();
        if threads_rate < rate {
            (rate, bottleneck) =
                (threads_rate, if by_disk { Bottleneck::DiskRoom } else { Bottleneck::SealingThreads });
        }
        let light = |stage: Stage| steady::places(rate / LIGHT_LOAD, self.system_minutes(stage));
        let remote = steady::places(rate * SLACK, self.remote_minutes());
        Placement {
            gpu_use: self.layout.gpu_use,
            producers: self.query.choices.prover.least_producers() as u32,
            pc1: pc1.into_iter().map(|(node, set)| self.pc1_processor(node, set)).collect(),
            processors: stations.iter().map(|station| self.processor(station)).collect(),
            system: system.iter().flat_map(CpuList::iter).collect(),
            add_pieces: light(Stage::AddPieces),
            tree_d: light(Stage::TreeD),
            c2_remote: if self.query.choices.is_c2_local() { 0 } else { remote },
            threads,
            memory: Memory::default(),
            folders: self.query.folders.to_vec(),
            minutes_per_sector,
            sectors_per_hour: rate,
            bottleneck,
            stage_rates: rates.stages.clone(),
            writes_per_sector: writes_per_sector(self.query.costs),
        }
    }

    fn pc1_processor(&self, node: usize, set: Pc1Set) -> Pc1Processor {
        let memory = self.cost(Stage::Pc1).memory_on(1).0.saturating_mul(set.tasks.into());
        Pc1Processor {
            node: self.query.inventory.nodes[node].id,
            cpuset: set.cpuset,
            tasks: set.tasks,
            memory: Bytes(memory),
        }
    }

    fn processor(&self, station: &Station) -> GpuProcessor {
        let is_shared = self.layout.gpu_use == GpuUse::Shared;
        GpuProcessor {
            stage: station.stage,
            cpuset: station.dealt.cores.iter().flat_map(CpuList::iter).collect(),
            cores: station.cores(),
            gpu: station.gpu,
            lock: station.gpu.filter(|_| is_shared).map(|gpu| format!("gpu{}", gpu + 1)),
            numa_preferred: None,
            minutes: station.minutes(),
            memory: station.memory(),
        }
    }

    /// Everything at its limit at once; processors whose cores are all of one node prefer it where it has the room.
    fn memory(&self, placement: &mut Placement, stations: &[Station]) -> Result<Memory, Short> {
        let inventory = self.query.inventory;
        let kept = reserve(inventory.memory);
        let lost = self.lost_pages(placement);
        let have = Bytes(inventory.memory.0.saturating_sub(kept.0).saturating_sub(lost.0));
        let need = self.need(placement, stations, Cost::memory_on);
        let need_most = self.need(placement, stations, Cost::memory_most_on);
        if need > have && !self.query.choices.overcommit {
            return Err(Short::Memory { need, have });
        }
        let nodes = self.prefer_nodes(placement, stations);
        Ok(Memory { need, need_most, have, reserve: kept, nodes })
    }

    /// Pages in pools beyond what PC1 uses.
    fn lost_pages(&self, placement: &Placement) -> Bytes {
        let pools = self.query.inventory.nodes.iter().map(|node| {
            let used = placement.pc1.iter().find(|one| one.node == node.id).map_or(0, |one| one.memory.0);
            let used = if self.query.choices.hugepages.is_some() { used } else { 0 };
            node.pooled.0.saturating_sub(used)
        });
        Bytes(pools.sum())
    }

    fn need(&self, placement: &Placement, stations: &[Station], of: fn(&Cost, u32) -> Bytes) -> Bytes {
        let times = |stage: Stage, tasks: u32| of(self.cost(stage), 1).0.saturating_mul(tasks.into());
        let light = times(Stage::AddPieces, placement.add_pieces)
            .saturating_add(times(Stage::TreeD, placement.tree_d))
            .saturating_add(times(Stage::C1, 1));
        let pc1 = times(Stage::Pc1, self.tasks);
        let mut by_lock: BTreeMap<usize, u64> = BTreeMap::new();
        let mut alone = 0u64;
        for station in stations {
            let bytes = of(station.cost, station.cores()).0;
            match station.gpu.filter(|_| self.layout.gpu_use == GpuUse::Shared) {
                Some(gpu) => {
                    let larger = by_lock.entry(gpu).or_default();
                    *larger = bytes.max(*larger);
                }
                None => alone = alone.saturating_add(bytes),
            }
        }
        Bytes(by_lock.into_values().fold(light.saturating_add(pc1).saturating_add(alone), u64::saturating_add))
    }

    fn prefer_nodes(&self, placement: &mut Placement, stations: &[Station]) -> Vec<NodeMemory> {
        let mut nodes: Vec<NodeMemory> = self
            .query
            .inventory
            .nodes
            .iter()
            .enumerate()
            .map(|(place, node)| NodeMemory {
                node: node.id,
                pc1: placement.pc1.iter().find(|one| one.node == node.id).map_or(Bytes(0), |one| one.memory),
                others: Bytes(0),
                have: self.node_have(place),
            })
            .collect();
        for (station, processor) in stations.iter().zip(&mut placement.processors) {
            let Some(place) = station.dealt.node else { continue };
            let node = &mut nodes[place];
            let after = node.others.0.saturating_add(processor.memory.0);
            if node.pc1.0.saturating_add(after) <= node.have.0 {
                node.others = Bytes(after);
                processor.numa_preferred = Some(node.node);
            }
        }
        nodes
    }
}

/// Where nothing is known of the C2 elsewhere.
const REMOTE_C2_MINUTES: f64 = 15.0;

/// What the stages make, and which makes the least.
struct Rates {
    stages: BTreeMap<Stage, f64>,
    gpus: Option<f64>,
}

impl Rates {
    fn of(builder: &Builder, stations: &[Station]) -> Self {
        let mut stages = BTreeMap::from([(Stage::Pc1, steady::per_hour(builder.tasks, builder.pc1_minutes()))]);
        for station in stations {
            *stages.entry(station.stage).or_insert(0.0) += steady::per_hour(1, station.minutes());
        }
        let pairs = builder.layout.c2.iter().map(|gpu| {
            let both = stations.iter().filter(|station| station.gpu == Some(*gpu)).map(Station::minutes);
            steady::per_hour(1, both.sum())
        });
        let gpus = (builder.layout.gpu_use == GpuUse::Shared).then(|| pairs.sum());
        Self { stages, gpus }
    }

    fn lowest(&self) -> (f64, Bottleneck) {
        let stages = self.stages.iter().map(|(stage, rate)| (*rate, Bottleneck::Stage(*stage)));
        let all = stages.chain(self.gpus.map(|rate| (rate, Bottleneck::Gpus)));
        all.min_by(|a, b| a.0.total_cmp(&b.0)).expect("PC1 is always among them")
    }
}
