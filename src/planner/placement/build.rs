//! One candidate, from a layout and a number of PC1 tasks: a draft that says whether it fits and what it makes, and
//! the placement that it becomes if it is chosen.

use super::{
    GpuProcessor, Memory, NodeMemory, Pc1Processor, Placement, Query, Short,
    base::{Base, Bases},
    deal::{Dealt, Pool},
    disk_traffic, disks,
    layout::Layout,
    memory::reserve,
    pc1::Pc1Set,
    split::Split,
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
    /// Whether another stage has the same GPU, under a lock.
    is_shared: bool,
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
    /// What no number of threads and no order of tasks exceeds here.
    pub most: f64,
    pub bottleneck: Bottleneck,
}

impl Builder<'_> {
    pub fn draft(&self) -> Result<Draft<'_>, Short> {
        let base = self.bases.of(self.tasks)?;
        let mut pool = base.pool.clone();
        let stations = self.stations(&mut pool)?;
        let rates = Rates::of(self, &stations);
        let minutes_per_sector = self.minutes_per_sector(&stations);
        let threads = self.threads(&rates, minutes_per_sector, stations.len() as u32)?;
        let (rate, bottleneck) = self.bound(rates.lowest(), threads, minutes_per_sector);
        let threads_most = disks::most_threads(self.query.folders).unwrap_or(THREADS_MAX).min(THREADS_MAX);
        let (most, _) = self.bound((rates.most, bottleneck), threads_most, minutes_per_sector);
        let light = |stage: Stage| steady::places(rate / LIGHT_LOAD, self.system_minutes(stage));
        let (add_pieces, tree_d) = (light(Stage::AddPieces), light(Stage::TreeD));
        let builder = self;
        Draft {
            builder,
            base,
            stations,
            rates,
            threads,
            add_pieces,
            tree_d,
            minutes_per_sector,
            rate,
            most,
            bottleneck,
        }
        .within_memory()
    }

    fn cost(&self, stage: Stage) -> &Cost {
        self.query.costs.on_cores(stage)
    }

    fn bound(&self, (rate, bottleneck): (f64, Bottleneck), threads: u32, minutes_per_sector: f64) -> (f64, Bottleneck) {
        let by_threads = steady::per_hour(threads, minutes_per_sector);
        let is_disk = disks::most_threads(self.query.folders) == Some(threads);
        let of_threads = if is_disk { Bottleneck::DiskRoom } else { Bottleneck::SealingThreads };
        let (reads, writes) = disk_traffic(self.query.costs);
        let by_disks = disks::most_per_hour(self.query.folders, reads, writes).unwrap_or(f64::INFINITY);
        let bounds = [(rate, bottleneck), (by_threads, of_threads), (by_disks, Bottleneck::DiskSpeed)];
        bounds.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are three")
    }

    fn stations(&self, pool: &mut Pool) -> Result<Vec<Station<'_>>, Short> {
        let stations = self.dealt(pool);
        let empty = stations.iter().filter(|station| station.dealt.cores.is_empty()).count() as u32;
        if empty > 0 { Err(self.query.cores_short(empty)) } else { Ok(stations) }
    }

    /// The node of each GPU, or none where cores are to be taken from all nodes.
    fn homes(&self, gpus: &[usize]) -> Vec<Option<usize>> {
        gpus.iter().map(|gpu| self.query.inventory.gpus[*gpu].node.filter(|_| !self.layout.spread)).collect()
    }

    /// Cores do what no GPU does. Whoever comes second gets what is left.
    fn dealt(&self, pool: &mut Pool) -> Vec<Station<'_>> {
        let is_local = self.query.choices.is_c2_local();
        let Layout { pc2, c2, .. } = self.layout;
        if let Some(split) = self.layout.split {
            return self.split_stations(pool, split);
        }
        let mut stations = match (self.layout.has(Stage::Pc2), self.layout.has(Stage::C2)) {
            (false, false) if is_local => {
                let share = self.layout.first_cores.unwrap_or_else(|| self.pc2_share(pool.len())).min(pool.len());
                let mut stations = self.pc2_on_cores(pool, share);
                stations.extend(self.c2_on_cores(pool));
                stations
            }
            (false, _) => {
                let mut stations = self.deal_to_gpus(pool, Stage::C2, c2, 1);
                let rest = pool.len();
                stations.extend(self.pc2_on_cores(pool, rest));
                stations
            }
            (true, false) if is_local => {
                let mut stations = self.deal_to_gpus(pool, Stage::Pc2, pc2, self.layout.c2_processors);
                stations.extend(self.c2_on_cores(pool));
                stations
            }
            (true, _) => self.all_on_gpus(pool),
        };
        stations.sort_by_key(|station| station.stage);
        stations
    }

    /// Those with GPUs first: their cores should be near.
    fn split_stations(&self, pool: &mut Pool, split: Split) -> Vec<Station<'_>> {
        let mut stages = [(Stage::Pc2, split.pc2, &self.layout.pc2), (Stage::C2, split.c2, &self.layout.c2)];
        stages.sort_by_key(|(_, _, gpus)| gpus.is_empty());
        let mut stations = Vec::new();
        for (stage, share, gpus) in stages {
            if gpus.is_empty() {
                stations.extend(self.deal_to_cores(pool, stage, share.processors, share.processors * share.cores));
            } else {
                let dealt = pool.deal(&self.homes(gpus), Some(share.cores));
                stations.extend(gpus.iter().zip(dealt).map(|(gpu, dealt)| self.station(*gpu, stage, dealt)));
            }
        }
        stations.sort_by_key(|station| station.stage);
        stations
    }

    /// PC2 gets what it can use, C2 the rest. Of a GPU for both, C2 takes all cores of its share and PC2 the first of
    /// them: the lock keeps them apart.
    fn all_on_gpus(&self, pool: &mut Pool) -> Vec<Station<'_>> {
        let proving = self.layout.proving();
        let mut stations = self.deal_to_gpus(pool, Stage::Pc2, &self.layout.pc2, proving.len());
        let dealt = pool.deal(&self.homes(&proving), None);
        for (gpu, dealt) in proving.into_iter().zip(dealt) {
            let is_shared = self.layout.both.contains(&gpu);
            if is_shared {
                let mut first = dealt.clone();
                first.cores.truncate(self.on_gpu(gpu, Stage::Pc2).cores() as usize);
                stations.push(Station { is_shared, ..self.station(gpu, Stage::Pc2, first) });
            }
            stations.push(Station { is_shared, ..self.station(gpu, Stage::C2, dealt) });
        }
        stations
    }

    fn pc2_on_cores(&self, pool: &mut Pool, cores: usize) -> Vec<Station<'_>> {
        let processors = cores.div_ceil(self.cost(Stage::Pc2).cores() as usize).max(1);
        self.deal_to_cores(pool, Stage::Pc2, processors, cores)
    }

    fn c2_on_cores(&self, pool: &mut Pool) -> Vec<Station<'_>> {
        let each = self.cost(Stage::C2).cores() as usize;
        let cores = pool.len().min(self.layout.c2_processors * each);
        self.deal_to_cores(pool, Stage::C2, self.layout.c2_processors, cores)
    }

    fn on_gpu(&self, gpu: usize, stage: Stage) -> &Cost {
        self.query.costs.on_gpu(gpu, stage).expect("a layout gives a stage only GPUs that can do it")
    }

    fn station(&self, gpu: usize, stage: Stage, dealt: Dealt) -> Station<'_> {
        Station { stage, cost: self.on_gpu(gpu, stage), gpu: Some(gpu), is_shared: false, dealt }
    }

    /// As many cores for each GPU as its stage can use, but no more than a fair part where `followers` come after.
    fn deal_to_gpus(&self, pool: &mut Pool, stage: Stage, gpus: &[usize], followers: usize) -> Vec<Station<'_>> {
        let Some(wanted) = gpus.iter().map(|gpu| self.on_gpu(*gpu, stage).cores() as usize).max() else {
            return Vec::new();
        };
        let fair = pool.len() / (gpus.len() + followers);
        let each = self.layout.first_cores.unwrap_or(fair.max(1)).min(wanted);
        let dealt = pool.deal(&self.homes(gpus), Some(each));
        gpus.iter().zip(dealt).map(|(gpu, dealt)| self.station(*gpu, stage, dealt)).collect()
    }

    /// `cores` of the pool for the processors of a stage that cores do.
    fn deal_to_cores(&self, pool: &mut Pool, stage: Stage, processors: usize, cores: usize) -> Vec<Station<'_>> {
        let nodes = self.query.inventory.nodes.len();
        let home = |place: usize| (processors >= nodes && !self.layout.spread).then_some(place % nodes.max(1));
        let homes: Vec<_> = (0..processors).map(home).collect();
        let dealt = pool.deal(&homes, Some(cores / processors.max(1)));
        let station = |dealt| Station { stage, cost: self.cost(stage), gpu: None, is_shared: false, dealt };
        dealt.into_iter().map(station).collect()
    }

    /// PC2's part of cores that do both: by their work.
    fn pc2_share(&self, cores: usize) -> usize {
        let (pc2, c2) = (self.cost(Stage::Pc2).core_seconds(), self.cost(Stage::C2).core_seconds());
        let share = (cores as f64 * pc2 / (pc2 + c2)).round() as usize;
        share.clamp(1, cores.saturating_sub(1).max(1))
    }

    /// Sealing threads: what is under way on average and a bit more, no fewer than tasks have places, as far as the disks
    /// hold them.
    fn threads(&self, rates: &Rates, minutes_per_sector: f64, stations: u32) -> Result<u32, Short> {
        let by_disk = disks::most_threads(self.query.folders);
        let peak = self.cost(Stage::C2).scratch;
        if by_disk == Some(0) {
            let have = self.query.folders.iter().filter_map(|folder| folder.room).max().unwrap_or_default();
            return Err(Short::Disk { need: disks::least_room(peak), have });
        }
        let wanted = steady::places(rates.lowest().0 * SLACK, minutes_per_sector);
        let places = self.tasks.saturating_add(stations);
        Ok(wanted.max(places).min(by_disk.unwrap_or(u32::MAX)).min(THREADS_MAX))
    }

    fn system_minutes(&self, stage: Stage) -> f64 {
        self.cost(stage).minutes(self.query.system_cores().iter().sum::<usize>() as u32)
    }

    /// From the first byte to the landed proof, waiting for no place.
    fn minutes_per_sector(&self, stations: &[Station]) -> f64 {
        let slowest = |stage: Stage| {
            let minutes = stations.iter().filter(|station| station.stage == stage).map(Station::minutes);
            minutes.reduce(f64::max).unwrap_or_else(|| remote_minutes(self.query))
        };
        self.minutes_with(slowest(Stage::Pc2), slowest(Stage::C2))
    }

    pub fn minutes_with(&self, pc2: f64, c2: f64) -> f64 {
        let light = [Stage::AddPieces, Stage::TreeD, Stage::C1].map(|stage| self.system_minutes(stage));
        light.iter().sum::<f64>() + self.pc1_minutes() + pc2 + c2 + self.query.costs.waits
    }

    pub fn pc1_rate(&self) -> f64 {
        steady::per_hour(self.tasks, self.pc1_minutes())
    }

    /// What room and speed of the disks let pass when a sector is under way for so long.
    pub fn rate_by_disks(&self, minutes_per_sector: f64) -> f64 {
        let threads = disks::most_threads(self.query.folders).unwrap_or(THREADS_MAX).min(THREADS_MAX);
        self.bound((f64::INFINITY, Bottleneck::DiskRoom), threads, minutes_per_sector).0
    }

    /// Held by PC1 and C1 at their limits.
    pub fn fixed_memory(&self, of: fn(&Cost, u32) -> Bytes) -> u64 {
        let times = |stage: Stage, tasks: u32| of(self.cost(stage), 1).0.saturating_mul(tasks.into());
        times(Stage::Pc1, self.tasks).saturating_add(times(Stage::C1, 1))
    }

    /// What may be planned on the machine: without the reserve, and without pages in pools beyond what PC1 uses.
    pub fn have(&self, base: &Base) -> Bytes {
        let query = self.query;
        let inventory = query.inventory;
        let lost: u64 = inventory
            .nodes
            .iter()
            .enumerate()
            .map(|(place, node)| {
                let set = base.pc1.iter().find(|(at, _)| *at == place && query.choices.hugepages.is_some());
                node.pooled.0.saturating_sub(set.map_or(0, |(_, set)| self.pc1_memory(set).0))
            })
            .sum();
        Bytes(inventory.memory.0.saturating_sub(reserve(inventory.memory).0).saturating_sub(lost))
    }

    fn pc1_memory(&self, set: &Pc1Set) -> Bytes {
        Bytes(self.cost(Stage::Pc1).memory_on(1).0.saturating_mul(set.tasks.into()))
    }

    /// Places of tree_d and add_pieces for a rate beside what the others hold: fewer where memory is short, and then they
    /// bound the rate.
    pub fn light(&self, rate: f64, held: Bytes, have: Bytes) -> Result<Light, Short> {
        let wanted = |stage: Stage| steady::places(rate / LIGHT_LOAD, self.system_minutes(stage));
        let (add_pieces, tree_d) = (wanted(Stage::AddPieces), wanted(Stage::TreeD));
        let mut light = Light { add_pieces, tree_d, rate, most: f64::INFINITY, bound: None };
        let bytes = |stage: Stage, places: u32| self.cost(stage).memory_on(1).0.saturating_mul(places.into());
        loop {
            let (add_pieces, tree_d) = (bytes(Stage::AddPieces, light.add_pieces), bytes(Stage::TreeD, light.tree_d));
            let need = Bytes(held.0.saturating_add(add_pieces).saturating_add(tree_d));
            if need <= have || self.query.choices.overcommit {
                return Ok(light);
            }
            let (stage, places) = match (light.tree_d, light.add_pieces) {
                (2.., _) => (Stage::TreeD, &mut light.tree_d),
                (_, 2..) => (Stage::AddPieces, &mut light.add_pieces),
                _ => return Err(Short::Memory { need, have }),
            };
            *places -= 1;
            light.most = light.most.min(steady::per_hour(*places, self.system_minutes(stage)) * LIGHT_LOAD);
            if light.most < light.rate {
                (light.rate, light.bound) = (light.most, Some(stage));
            }
        }
    }

    fn pc1_minutes(&self) -> f64 {
        let cost = self.cost(Stage::Pc1);
        cost.minutes(cost.cores())
    }
}

/// C2 elsewhere is taken to be as fast as a GPU of the field.
pub(super) fn remote_minutes(query: &Query) -> f64 {
    let here = (0..query.inventory.gpus.len()).filter_map(|gpu| query.costs.on_gpu(gpu, Stage::C2));
    here.map(|cost| cost.minutes(u32::MAX)).reduce(f64::min).unwrap_or(REMOTE_C2_MINUTES)
}

/// Places of the stages that are short, the rate with them, and which of them bounds it if one does.
pub(super) struct Light {
    add_pieces: u32,
    tree_d: u32,
    pub rate: f64,
    /// What the places that were given up leave.
    most: f64,
    bound: Option<Stage>,
}

impl Draft<'_> {
    /// With fewer tree_d and add_pieces at once where memory is short.
    fn within_memory(mut self) -> Result<Self, Short> {
        let held = self.held(Cost::memory_on);
        let light = self.builder.light(self.rate, held, self.builder.have(&self.base))?;
        (self.add_pieces, self.tree_d) = (light.add_pieces, light.tree_d);
        self.most = self.most.min(light.most);
        if let Some(stage) = light.bound {
            (self.rate, self.bottleneck) = (light.rate, Bottleneck::Stage(stage));
        }
        Ok(self)
    }

    pub fn finish(self) -> Placement {
        let builder = self.builder;
        let query = builder.query;
        let remote = steady::places(self.rate * SLACK, remote_minutes(query));
        let mut placement = Placement {
            gpu_use: builder.layout.gpu_use(),
            producers: query.choices.prover.least_producers() as u32,
            pc1: self.base.pc1.iter().map(|(node, set)| self.pc1_processor(*node, set)).collect(),
            processors: self.stations.iter().map(|station| self.processor(station)).collect(),
            system: query.inventory.cpus_of(&self.base.system),
            add_pieces: self.add_pieces,
            tree_d: self.tree_d,
            c2_remote: if query.choices.is_c2_local() { 0 } else { remote },
            threads: self.threads,
            pc1_gap_seconds: self.pc1_gap_seconds(),
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
            have: builder.have(&self.base),
            reserve: reserve(query.inventory.memory),
            nodes: self.prefer_nodes(&mut placement),
        };
        placement
    }

    fn pc1_processor(&self, node: usize, set: &Pc1Set) -> Pc1Processor {
        let node = self.builder.query.inventory.nodes[node].id;
        Pc1Processor { node, cpuset: set.cpuset.clone(), tasks: set.tasks, memory: self.builder.pc1_memory(set) }
    }

    /// Half the time that PC1 starts are apart on average: enough to spread the first ones, too little to hold back
    /// later ones.
    fn pc1_gap_seconds(&self) -> u64 {
        let rate = self.rates.stages.get(&Stage::Pc1).copied().unwrap_or(f64::INFINITY);
        if self.builder.tasks > 1 { (3600.0 / rate / 2.0) as u64 } else { 0 }
    }

    fn processor(&self, station: &Station) -> GpuProcessor {
        GpuProcessor {
            stage: station.stage,
            cpuset: self.builder.query.inventory.cpus_of(&station.dealt.cores),
            cores: station.cores(),
            gpu: station.gpu,
            lock: station.gpu.filter(|_| station.is_shared).map(|gpu| format!("gpu{}", gpu + 1)),
            numa_preferred: None,
            minutes: station.minutes(),
            memory: station.memory(),
        }
    }

    /// Everything at its limit at once.
    fn need(&self, of: fn(&Cost, u32) -> Bytes) -> Bytes {
        let times = |stage: Stage, tasks: u32| of(self.builder.cost(stage), 1).0.saturating_mul(tasks.into());
        let light = times(Stage::AddPieces, self.add_pieces).saturating_add(times(Stage::TreeD, self.tree_d));
        Bytes(self.held(of).0.saturating_add(light))
    }

    /// The same without tree_d and add_pieces.
    fn held(&self, of: fn(&Cost, u32) -> Bytes) -> Bytes {
        let fixed = self.builder.fixed_memory(of);
        let mut by_lock: BTreeMap<usize, u64> = BTreeMap::new();
        let mut alone = 0u64;
        for station in &self.stations {
            let bytes = of(station.cost, station.cores()).0;
            match station.gpu.filter(|_| station.is_shared) {
                Some(gpu) => {
                    let larger = by_lock.entry(gpu).or_default();
                    *larger = bytes.max(*larger);
                }
                None => alone = alone.saturating_add(bytes),
            }
        }
        Bytes(by_lock.into_values().fold(fixed.saturating_add(alone), u64::saturating_add))
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
    /// What GPUs that serve both stages let pass, with the others' help.
    gpus: Option<f64>,
    /// What no order of tasks exceeds.
    most: f64,
}

impl Rates {
    fn of(builder: &Builder, stations: &[Station]) -> Self {
        let mut stages = BTreeMap::from([(Stage::Pc1, steady::per_hour(builder.tasks, builder.pc1_minutes()))]);
        for station in stations {
            *stages.entry(station.stage).or_insert(0.0) += steady::per_hour(1, station.minutes());
        }
        let alone = |stage: Stage| {
            let own = stations.iter().filter(|station| station.stage == stage && !station.is_shared);
            own.map(|station| steady::per_hour(1, station.minutes())).sum()
        };
        let minutes = |gpu: usize, stage: Stage| {
            let mut of = stations.iter().filter(|station| station.gpu == Some(gpu) && station.stage == stage);
            of.next().map_or(f64::INFINITY, Station::minutes)
        };
        let pairs: Vec<(f64, f64)> =
            builder.layout.both.iter().map(|gpu| (minutes(*gpu, Stage::Pc2), minutes(*gpu, Stage::C2))).collect();
        let mut rates = Self { stages, gpus: None, most: f64::INFINITY };
        let (pc2, c2): (f64, f64) = (alone(Stage::Pc2), alone(Stage::C2));
        let shared = (!pairs.is_empty()).then(|| both_stages(pc2, c2, &pairs));
        rates.most = rates.lowest().0.min(shared.unwrap_or(f64::INFINITY));
        // Left to themselves, GPUs that differ each do as many of one as of the other.
        let is_alone = pc2 == 0.0 && c2 == 0.0;
        let in_turns = || pairs.iter().map(|(pc2, c2)| steady::per_hour(1, pc2 + c2)).sum();
        rates.gpus = shared.map(|shared| if is_alone { in_turns() } else { shared });
        rates
    }

    fn lowest(&self) -> (f64, Bottleneck) {
        let stages = self.stages.iter().map(|(stage, rate)| (*rate, Bottleneck::Stage(*stage)));
        let all = stages.chain(self.gpus.map(|rate| (rate, Bottleneck::Gpus)));
        all.min_by(|a, b| a.0.total_cmp(&b.0)).expect("PC1 is always among them")
    }
}

/// The most sectors an hour that pass both stages: so many of each are done elsewhere, and GPUs of so many minutes for
/// either divide their time between them. Those that are the better at PC2 do it first.
fn both_stages(pc2: f64, c2: f64, gpus: &[(f64, f64)]) -> f64 {
    let mut gpus = gpus.to_vec();
    gpus.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let is_enough = |rate: f64| {
        let (mut missing, mut proven) = (rate - pc2, c2);
        for (pc2_minutes, c2_minutes) in &gpus {
            let busy = (missing.max(0.0) * pc2_minutes).min(60.0);
            missing -= busy / pc2_minutes;
            proven += (60.0 - busy) / c2_minutes;
        }
        missing <= 1e-12 && proven >= rate - 1e-12
    };
    let (mut low, mut high) = (0.0, pc2 + gpus.iter().map(|(minutes, _)| 60.0 / minutes).sum::<f64>());
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if is_enough(middle) { low = middle } else { high = middle }
    }
    high
}
