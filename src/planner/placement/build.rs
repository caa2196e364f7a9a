//! One candidate, from a layout and a number of PC1 tasks: a draft that says whether it fits and what it makes, and
//! the placement that it becomes if it is chosen.

use super::{
    GpuProcessor, GpuUse, Memory, NodeMemory, Pc1Processor, Placement, Query, Short,
    base::{Base, Bases},
    deal::{Dealt, Pool},
    disk_traffic, disks,
    layout::Layout,
    memory::reserve,
    pc1::Pc1Set,
    steady,
};
use crate::{
    planner::{Bottleneck, THREADS_MAX},
    profile::{Cost, Stage},
    units::Bytes,
};
use std::{collections::BTreeMap, rc::Rc};

/// More threads than are under way on average, for waits that are longer than average.
const SLACK: f64 = 1.25;

/// Stages whose tasks are short get so many places that they are busy for this part of the time at most.
const LIGHT_LOAD: f64 = 0.8;

pub(super) struct Builder<'a> {
    pub query: &'a Query<'a>,
    pub bases: &'a Bases<'a>,
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

/// A candidate that fits.
pub(super) struct Draft<'a> {
    builder: &'a Builder<'a>,
    base: Rc<Base>,
    stations: Vec<Station<'a>>,
    rates: Rates,
    threads: u32,
    add_pieces: u32,
    tree_d: u32,
    minutes_per_sector: f64,
    pub rate: f64,
    pub bottleneck: Bottleneck,
}

impl Builder<'_> {
    pub fn draft(&self) -> Result<Draft<'_>, Short> {
        let base = self.bases.of(self.tasks)?;
        let mut pool = base.pool.clone();
        let stations = self.stations(&mut pool)?;
        let rates = Rates::of(self, &stations);
        let minutes_per_sector = self.minutes_per_sector(&stations);
        let threads = self.threads(&rates, minutes_per_sector)?;
        let (rate, bottleneck) = self.bound(&rates, threads, minutes_per_sector);
        let light = |stage: Stage| steady::places(rate / LIGHT_LOAD, self.system_minutes(stage));
        let (add_pieces, tree_d) = (light(Stage::AddPieces), light(Stage::TreeD));
        let builder = self;
        let draft =
            Draft { builder, base, stations, rates, threads, add_pieces, tree_d, minutes_per_sector, rate, bottleneck };
        let (need, have) = (draft.need(Cost::memory_on), draft.have());
        if need > have && !self.query.choices.overcommit {
            return Err(Short::Memory { need, have });
        }
        Ok(draft)
    }

    fn cost(&self, stage: Stage) -> &Cost {
        self.query.costs.on_cores(stage)
    }

    fn bound(&self, rates: &Rates, threads: u32, minutes_per_sector: f64) -> (f64, Bottleneck) {
        let by_threads = steady::per_hour(threads, minutes_per_sector);
        let (rate, bottleneck) = rates.lowest();
        let is_disk = disks::most_threads(self.query.folders) == Some(threads);
        let of_threads = if is_disk { Bottleneck::DiskRoom } else { Bottleneck::SealingThreads };
        let (reads, writes) = disk_traffic(self.query.costs);
        let by_disks = disks::most_per_hour(self.query.folders, reads, writes).unwrap_or(f64::INFINITY);
        let bounds = [(rate, bottleneck), (by_threads, of_threads), (by_disks, Bottleneck::DiskSpeed)];
        bounds.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are three")
    }

    fn stations(&self, pool: &mut Pool) -> Result<Vec<Station<'_>>, Short> {
        let stations = match self.layout.gpu_use {
            GpuUse::Shared => self.shared(pool),
            GpuUse::Exclusive => self.exclusive(pool),
        };
        let empty = stations.iter().filter(|station| station.dealt.cores.is_empty()).count() as u32;
        if empty > 0 { Err(self.query.cores_short(empty)) } else { Ok(stations) }
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
    fn threads(&self, rates: &Rates, minutes_per_sector: f64) -> Result<u32, Short> {
        let by_disk = disks::most_threads(self.query.folders);
        let peak = self.cost(Stage::C2).scratch;
        if by_disk == Some(0) {
            let have = self.query.folders.iter().filter_map(|folder| folder.room).max().unwrap_or_default();
            return Err(Short::Disk { need: disks::least_room(peak), have });
        }
        let wanted = steady::places(rates.lowest().0 * SLACK, minutes_per_sector);
        Ok(wanted.min(by_disk.unwrap_or(u32::MAX)).min(THREADS_MAX))
    }

    fn system_minutes(&self, stage: Stage) -> f64 {
        self.cost(stage).minutes(self.query.system_cores().iter().sum::<usize>() as u32)
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
}

impl Draft<'_> {
    pub fn finish(self) -> Placement {
        let builder = self.builder;
        let query = builder.query;
        let remote = steady::places(self.rate * SLACK, builder.remote_minutes());
        let mut placement = Placement {
            gpu_use: builder.layout.gpu_use,
            producers: query.choices.prover.least_producers() as u32,
            pc1: self.base.pc1.iter().map(|(node, set)| self.pc1_processor(*node, set)).collect(),
            processors: self.stations.iter().map(|station| self.processor(station)).collect(),
            system: query.inventory.cpus_of(&self.base.system),
            add_pieces: self.add_pieces,
            tree_d: self.tree_d,
            c2_remote: if query.choices.is_c2_local() { 0 } else { remote },
            threads: self.threads,
            memory: Memory::default(),
            folders: query.folders.to_vec(),
            minutes_per_sector: self.minutes_per_sector,
            sectors_per_hour: self.rate,
            bottleneck: self.bottleneck,
            stage_rates: self.rates.stages.clone(),
            writes_per_sector: disk_traffic(query.costs).1,
        };
        placement.memory = Memory {
            need: self.need(Cost::memory_on),
            need_most: self.need(Cost::memory_most_on),
            have: self.have(),
            reserve: reserve(query.inventory.memory),
            nodes: self.prefer_nodes(&mut placement),
        };
        placement
    }

    fn pc1_memory(&self, set: &Pc1Set) -> Bytes {
        Bytes(self.builder.cost(Stage::Pc1).memory_on(1).0.saturating_mul(set.tasks.into()))
    }

    fn pc1_processor(&self, node: usize, set: &Pc1Set) -> Pc1Processor {
        let node = self.builder.query.inventory.nodes[node].id;
        Pc1Processor { node, cpuset: set.cpuset.clone(), tasks: set.tasks, memory: self.pc1_memory(set) }
    }

    fn is_shared(&self) -> bool {
        self.builder.layout.gpu_use == GpuUse::Shared
    }

    fn processor(&self, station: &Station) -> GpuProcessor {
        GpuProcessor {
            stage: station.stage,
            cpuset: self.builder.query.inventory.cpus_of(&station.dealt.cores),
            cores: station.cores(),
            gpu: station.gpu,
            lock: station.gpu.filter(|_| self.is_shared()).map(|gpu| format!("gpu{}", gpu + 1)),
            numa_preferred: None,
            minutes: station.minutes(),
            memory: station.memory(),
        }
    }

    /// What may be planned on the machine: without the reserve, and without pages in pools beyond what PC1 uses.
    fn have(&self) -> Bytes {
        let query = self.builder.query;
        let inventory = query.inventory;
        let lost: u64 = inventory
            .nodes
            .iter()
            .enumerate()
            .map(|(place, node)| {
                let set = self.base.pc1.iter().find(|(at, _)| *at == place && query.choices.hugepages.is_some());
                node.pooled.0.saturating_sub(set.map_or(0, |(_, set)| self.pc1_memory(set).0))
            })
            .sum();
        Bytes(inventory.memory.0.saturating_sub(reserve(inventory.memory).0).saturating_sub(lost))
    }

    /// Everything at its limit at once.
    fn need(&self, of: fn(&Cost, u32) -> Bytes) -> Bytes {
        let times = |stage: Stage, tasks: u32| of(self.builder.cost(stage), 1).0.saturating_mul(tasks.into());
        let light = times(Stage::AddPieces, self.add_pieces)
            .saturating_add(times(Stage::TreeD, self.tree_d))
            .saturating_add(times(Stage::C1, 1));
        let pc1 = times(Stage::Pc1, self.builder.tasks);
        let mut by_lock: BTreeMap<usize, u64> = BTreeMap::new();
        let mut alone = 0u64;
        for station in &self.stations {
            let bytes = of(station.cost, station.cores()).0;
            match station.gpu.filter(|_| self.is_shared()) {
                Some(gpu) => {
                    let larger = by_lock.entry(gpu).or_default();
                    *larger = bytes.max(*larger);
                }
                None => alone = alone.saturating_add(bytes),
            }
        }
        Bytes(by_lock.into_values().fold(light.saturating_add(pc1).saturating_add(alone), u64::saturating_add))
    }

    /// Processors whose cores are all of one node prefer it where it has the room.
    fn prefer_nodes(&self, placement: &mut Placement) -> Vec<NodeMemory> {
        let query = self.builder.query;
        let node_memory = |(place, node): (usize, &crate::planner::inventory::Node)| NodeMemory {
            node: node.id,
            pc1: placement.pc1.iter().find(|one| one.node == node.id).map_or(Bytes(0), |one| one.memory),
            others: Bytes(0),
            have: query.node_have(place),
        };
        let mut nodes: Vec<NodeMemory> = query.inventory.nodes.iter().enumerate().map(node_memory).collect();
        for (station, processor) in self.stations.iter().zip(&mut placement.processors) {
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
