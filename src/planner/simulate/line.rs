//! The line that a configuration makes of a machine: stations with servers, locks, pools of shared cores and GPUs, waits.

use crate::{
    machine::{
        Gpu, Machine,
        pc1_units::{Outcome, pc1_units},
    },
    planner::verify::circle,
    profile::{Band, Cost, Profile, Question as CostQuestion, Stage, Suite, WaitName},
    units::{CpuList, HumanDuration, Prover, SectorSize},
    worker_config::{Processor, RpcClient, StageName, WorkerConfig},
};
use std::collections::BTreeMap;

/// What is to be played through.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub config: &'a WorkerConfig,
    pub machine: &'a Machine,
    pub profile: &'a Profile,
    pub prover: Prover,
    pub suite: Suite,
    /// The sustained clock, where it is known.
    pub ghz: Option<f64>,
}

/// Why a configuration cannot be played through.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SimulationError {
    #[error(
        "simulate {stage} of {sector_size} sectors: the profile has no row for it on this machine; give one with --profile"
    )]
    NoRow { stage: Stage, sector_size: SectorSize },
    #[error(
        "simulate {path}: the {prover} prover does not start on CPUs {cpuset} ({why}); \
         `plan verify` says which sets are good"
    )]
    NeverStarts { path: String, prover: Prover, cpuset: CpuList, why: &'static str },
    #[error(
        "simulate: locks are taken in a circle, {way}: some day everything waits for ever; list them in one order everywhere"
    )]
    LockCircle { way: String },
    #[error("simulate {days} days: more than 0 and at most 3650 are played through")]
    Days { days: f64 },
}

/// How long something takes, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Duration {
    pub ms: f64,
    pub band: Band,
    /// The band is what differs from task to task, because it was measured here; else what is not known.
    pub measured: bool,
}

/// A line of stations, as `engine` plays it.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The pause between two polls of the manager, for each sealing thread.
    pub threads: Vec<f64>,
    /// In the order of a sector's life; a sector that finds one empty of servers would never go on.
    pub stations: Vec<Station>,
    /// How many may hold each lock.
    pub locks: Vec<(String, u32)>,
    /// What tasks share without a lock: cores and GPUs, by how much of them there is.
    pub pools: Vec<(String, f64)>,
    /// Before the station of this index; the seed's is counted from the end of the PreCommit's.
    pub waits: Vec<(usize, Wait)>,
    /// Between the end of a sector and the beginning of the thread's next.
    pub turnaround_ms: f64,
    /// What was taken for granted.
    pub notes: Vec<String>,
}

/// A stage with all that limits it.
#[derive(Clone, Debug, PartialEq)]
pub struct Station {
    pub name: &'static str,
    pub limit: Option<u32>,
    pub stagger_ms: f64,
    pub servers: Vec<Server>,
}

/// A processor of a stage, or the daemon itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Its key in the file.
    pub path: String,
    pub concurrent: Option<u32>,
    /// Indices of locks that each task holds.
    pub locks: Vec<usize>,
    pub duration: Duration,
    /// The pool that its tasks work in and how much each takes of it; none with cores of its own.
    pub pool: Option<(usize, f64)>,
}

/// A pause in which no station works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wait {
    /// For a message to land and to be seen; the seed's time begins with it.
    Message(Duration),
    /// So long after the message before it landed.
    Seed { ms: f64 },
    /// At the end of a sector.
    LastMessage(Duration),
}

/// Milliseconds in a minute.
pub(super) const MINUTE: f64 = 60_000.0;

/// The pool of the cores that no PC1 task is bound to.
const CORES: usize = 0;

/// A PC1 task that is bound to no unit takes so much longer (lotus issue 8917).
const FLOATING: f64 = 1.5;

/// Bytes per second to a persistent store, where nothing tells.
const PERSIST: f64 = 1e9;

/// The size of the sectors that a configuration seals, and whether it says so.
pub fn sector_size(config: &WorkerConfig) -> (SectorSize, bool) {
    match (&config.sector_manager.rpc_client, config.sealing.allowed_sizes.as_slice()) {
        (RpcClient::Embedded(manager), _) => (manager.proof_type.sector_size(), true),
        (RpcClient::Remote(_), [size]) => (*size, true),
        (RpcClient::Remote(_), sizes) => (sizes.first().copied().unwrap_or(SectorSize::GiB32), false),
    }
}

impl Line {
    /// The line of a configuration.
    ///
    /// # Errors
    /// The profile lacks a stage, a processor would not start, or locks are taken in a circle.
    pub fn of(question: &Question) -> Result<Self, SimulationError> {
        let processors = &question.config.processors;
        let all = processors.stages.values().flatten().chain(&processors.sealing_daemons);
        if let Some(way) = circle(all.map(|one| one.locks.as_slice())) {
            return Err(SimulationError::LockCircle { way: way.join(" → ") });
        }
        Builder::new(question).line()
    }

    /// The most tasks of a station that can run at once.
    pub fn width(&self, station: usize) -> u32 {
        let station = &self.stations[station];
        let together = station.servers.iter().map(|server| server.concurrent).sum::<Option<u32>>();
        let threads = self.threads.len() as u32;
        [station.limit, together].into_iter().flatten().fold(threads, u32::min)
    }
}

struct Builder<'a> {
    question: &'a Question<'a>,
    sector_size: SectorSize,
    static_tree_d: bool,
    gpus: Gpus<'a>,
    locks: BTreeMap<&'a str, usize>,
    pool_cores: f64,
    notes: Vec<String>,
}

impl<'a> Builder<'a> {
    fn new(question: &'a Question<'a>) -> Self {
        let Question { config, machine, .. } = *question;
        let (sector_size, is_told) = sector_size(config);
        let mut notes = Vec::new();
        if !is_told {
            notes.push(format!("the configuration does not tell one sector size: {sector_size} is played through"));
        }
        let bound: CpuList = pc1_cpus(question).iter().flat_map(|cpus| cpus.iter()).collect();
        let free = machine.usable_cores().into_iter().filter(|core| core.cpus.and(&bound).is_empty()).count();
        Self {
            question,
            sector_size,
            static_tree_d: config.processors.static_tree_d.contains_key(&sector_size) && !config.sealing.enable_deals,
            gpus: Gpus::of(question),
            locks: config.processors.ext_locks.keys().enumerate().map(|(i, name)| (name.as_str(), i)).collect(),
            pool_cores: free.max(1) as f64,
            notes,
        }
    }

    fn line(mut self) -> Result<Line, SimulationError> {
        let config = self.question.config;
        let stages = [Stage::AddPieces, Stage::TreeD, Stage::Pc1, Stage::Pc2].map(Some);
        let stations = stages.into_iter().chain([None, Some(Stage::C1), Some(Stage::C2)]);
        let stations: Vec<_> = stations.map(|stage| self.station(stage)).collect::<Result<_, _>>()?;
        let mut pools = vec![("cores".to_owned(), self.pool_cores)];
        pools.extend(self.gpus.groups.iter().map(|group| (group.name.clone(), group.devices.len() as f64)));
        let locks = &config.processors.ext_locks;
        let threads = config.sealing_thread.iter();
        Ok(Line {
            threads: threads.map(|thread| self.poll(ms(thread.sealing.rpc_polling_interval))).collect(),
            stations,
            locks: locks.iter().map(|(name, holders)| (name.clone(), *holders)).collect(),
            pools,
            waits: self.waits(),
            turnaround_ms: 0.0,
            notes: self.notes,
        })
    }

    /// What the profile says of messages holds for polls of the usual 180 s.
    fn poll(&self, poll_ms: f64) -> f64 {
        match self.question.config.sector_manager.rpc_client {
            RpcClient::Remote(_) if poll_ms <= 3.0 * MINUTE => 0.0,
            _ => poll_ms,
        }
    }

    fn station(&mut self, stage: Option<Stage>) -> Result<Station, SimulationError> {
        let name = match stage {
            None => Some(StageName::Transfer),
            Some(stage) => StageName::ALL.into_iter().find(|name| name.name() == stage.name()),
        };
        let processors = &self.question.config.processors;
        let limit = name.and_then(|name| processors.limitation.concurrent.get(&name)).copied();
        let stagger = name.and_then(|name| processors.limitation.staggered.get(&name)).copied();
        let listed = name.and_then(|name| processors.stages.get(&name));
        let label = stage.map_or("transfer", Stage::name);
        let mut servers = Vec::new();
        match listed {
            None => servers.push(self.in_process(stage, label)?),
            Some(listed) => {
                for (i, processor) in listed.iter().enumerate() {
                    servers.extend(self.servers(
                        stage,
                        format!("processors.{label}[{i}]"),
                        processor,
                        limit,
                        listed.len(),
                    )?);
                }
            }
        }
        Ok(Station { name: label, limit, stagger_ms: stagger.map_or(0.0, ms), servers })
    }

    /// Inside the daemon: as many at once as come, on the shared cores.
    fn in_process(&self, stage: Option<Stage>, label: &str) -> Result<Server, SimulationError> {
        let Some(stage) = stage else { return Ok(self.transfer(format!("{label}, inside the daemon"), None, vec![])) };
        // What its environment says of GPUs the file does not tell; c2 takes one that is there.
        let gpu = if stage == Stage::C2 { self.gpus.all() } else { None };
        let path = format!("{label}, inside the daemon");
        self.server(stage, path, None, vec![], None, gpu)
    }

    fn servers(
        &mut self,
        stage: Option<Stage>,
        path: String,
        processor: &Processor,
        limit: Option<u32>,
        of: usize,
    ) -> Result<Vec<Server>, SimulationError> {
        let mut locks: Vec<usize> =
            processor.locks.iter().filter_map(|name| self.locks.get(name.as_str())).copied().collect();
        locks.sort_unstable();
        let Some(stage) = stage else { return Ok(vec![self.transfer(path, processor.concurrent, locks)]) };
        if let Some(bin) = &processor.bin {
            let is_elsewhere =
                processor.cgroup.cpuset.is_none() && !processor.envs.contains_key("CUDA_VISIBLE_DEVICES");
            let as_what = if is_elsewhere {
                "to work elsewhere, on a GPU of the usual speed"
            } else {
                "to be as fast as the built-in one"
            };
            self.notes.push(format!("{path} runs {}: it is taken {as_what}", bin.display()));
            if is_elsewhere {
                let cost = self.cost(stage, Some("a GPU elsewhere"))?;
                let duration = duration(&cost, cost.cores());
                return Ok(vec![Server { path, concurrent: processor.concurrent, locks, duration, pool: None }]);
            }
        }
        if stage == Stage::Pc1 && binds(processor, self.question.prover) {
            return self.bound_servers(path, processor, limit, &locks);
        }
        let at_once = f64::from(self.at_once(processor, limit, of));
        let cores = processor.cgroup.cpuset.as_ref().map(|cpus| cores_in(self.question.machine, cpus) / at_once);
        let gpu = self.gpus.of_processor(stage, processor);
        Ok(vec![self.server(stage, path, processor.concurrent, locks, cores, gpu)?])
    }

    /// The most tasks of one of `of` processors at once; tasks go to the one that has least to do.
    fn at_once(&self, processor: &Processor, limit: Option<u32>, of: usize) -> u32 {
        let config = self.question.config;
        let threads = config.sealing_thread.len() as u32;
        let share = limit.unwrap_or(threads).min(threads).div_ceil(of as u32);
        let holders = processor.locks.iter().filter_map(|lock| config.processors.ext_locks.get(lock)).copied();
        processor.concurrent.into_iter().chain(holders).fold(share, u32::min).max(1)
    }

    /// PC1 on units of cores: as many tasks as there are units are bound, the others float and are slower.
    fn bound_servers(
        &self,
        path: String,
        processor: &Processor,
        limit: Option<u32>,
        locks: &[usize],
    ) -> Result<Vec<Server>, SimulationError> {
        let Question { machine, prover, config, .. } = *self.question;
        let cpuset = processor.cgroup.cpuset.clone().unwrap_or_else(|| machine.allowed_cpus.clone());
        let producers = producers(processor, prover);
        let found = pc1_units(machine, &cpuset, prover, producers);
        let why = match &found.outcome {
            Outcome::NoCores => Some("none of them can be used"),
            Outcome::Panics => Some("its cores do not divide by its shared caches"),
            Outcome::Units(_) => None,
        };
        if let Some(why) = why {
            return Err(SimulationError::NeverStarts { path, prover, cpuset, why });
        }
        let cost = self.cost(Stage::Pc1, None)?;
        let units = found.units().len() as u32;
        let threads = config.sealing_thread.len() as u32;
        let most = processor.concurrent.unwrap_or_else(|| limit.unwrap_or(threads).min(threads));
        let bound = Server {
            path: path.clone(),
            concurrent: Some(most.min(units)),
            locks: locks.to_vec(),
            duration: duration(&cost, producers as u32 + 1),
            pool: None,
        };
        let mut slow = bound.duration;
        // Beyond its cores they also take turns.
        slow.ms *= (f64::from(most) / found.cores.max(1) as f64).max(FLOATING);
        let floating = Server {
            path: format!("{path} (floating)"),
            concurrent: Some(most.saturating_sub(units)),
            duration: slow,
            ..bound.clone()
        };
        Ok([bound, floating].into_iter().filter(|server| server.concurrent != Some(0)).collect())
    }

    fn transfer(&self, path: String, concurrent: Option<u32>, locks: Vec<usize>) -> Server {
        let seconds = self.sector_size.bytes().0 as f64 / PERSIST;
        let duration = Duration { ms: seconds * 1e3, band: Band::EXACT, measured: false };
        Server { path, concurrent, locks, duration, pool: None }
    }

    fn server(
        &self,
        stage: Stage,
        path: String,
        concurrent: Option<u32>,
        locks: Vec<usize>,
        own_cores: Option<f64>,
        gpu: Option<GpuUse>,
    ) -> Result<Server, SimulationError> {
        let cost = self.cost(stage, gpu.as_ref().map(|gpu| gpu.name.as_str()))?;
        let most = (self.pool_cores as u32).max(1).min(cost.cores().max(1));
        // Without a cpuset it works where there is room; a GPU's tasks wait for the GPU, not for cores.
        let pool = match (&gpu, own_cores) {
            (Some(gpu), _) => Some((1 + gpu.group, 1.0)),
            (None, None) => Some((CORES, f64::from(most))),
            (None, Some(_)) => None,
        };
        let mut duration = duration(&cost, own_cores.map_or(most, |cores| (cores as u32).max(1)));
        // Less than a core each: they take turns.
        duration.ms /= own_cores.map_or(1.0, |cores| cores.min(1.0));
        if stage == Stage::Pc1 && self.question.prover != Prover::Own {
            // Without multi-core SDR one core does what two shared.
            duration.ms = cost.minutes(cost.cores()) * MINUTE * FLOATING;
        }
        Ok(Server { path, concurrent, locks, duration, pool })
    }

    fn cost(&self, stage: Stage, gpu: Option<&str>) -> Result<Cost, SimulationError> {
        let Question { machine, profile, prover, suite, ghz, .. } = *self.question;
        let sha = match machine.pc1_capable().answer {
            crate::machine::Answer::Yes => Some(true),
            crate::machine::Answer::No => Some(false),
            crate::machine::Answer::Unknown => None,
        };
        let question = CostQuestion {
            stage,
            sector_size: self.sector_size,
            prover,
            suite,
            cpu: machine.cpu_model(),
            ghz,
            sha,
            gpu,
            static_tree_d: self.static_tree_d,
        };
        profile.lookup(&question).ok_or(SimulationError::NoRow { stage, sector_size: self.sector_size })
    }

    fn waits(&self) -> Vec<(usize, Wait)> {
        const TRANSFER: usize = 4;
        const C1: usize = 5;
        const END: usize = 7;
        let (message, seed, last) = match &self.question.config.sector_manager.rpc_client {
            RpcClient::Embedded(manager) => embedded_waits(ms(manager.epoch)),
            RpcClient::Remote(_) => {
                let wait = |name, otherwise: f64| {
                    let known = self.question.profile.wait(name);
                    Duration {
                        ms: known.map_or(otherwise, |wait| wait.minutes) * MINUTE,
                        band: known.and_then(|wait| wait.band).unwrap_or(Band::EXACT),
                        measured: false,
                    }
                };
                (wait(WaitName::Precommit, 5.0), wait(WaitName::Seed, 75.0).ms, wait(WaitName::Prove, 5.0))
            }
        };
        let check = !self.question.config.sealing.ignore_proof_check;
        let mut waits = vec![(TRANSFER, Wait::Message(message)), (C1, Wait::Seed { ms: seed })];
        if check {
            waits.push((END, Wait::LastMessage(last)));
        }
        waits
    }
}

/// The simulated chain: a message lands with the second epoch after it was sent, the seed comes 150 later.
fn embedded_waits(epoch_ms: f64) -> (Duration, f64, Duration) {
    let landing = Duration { ms: 1.5 * epoch_ms, band: Band { low: 2.0 / 3.0, high: 4.0 / 3.0 }, measured: true };
    // The manager answers with whole seconds, rounded up.
    (landing, 150.0 * epoch_ms + 500.0, landing)
}

fn duration(cost: &Cost, cores: u32) -> Duration {
    Duration { ms: cost.minutes(cores) * MINUTE, band: cost.band, measured: cost.measured_here }
}

fn ms(duration: HumanDuration) -> f64 {
    duration.0.as_secs_f64() * 1e3
}

/// Whether the tasks of a PC1 processor are bound to units. Ours always binds.
fn binds(processor: &Processor, prover: Prover) -> bool {
    prover == Prover::Own || is_on(processor, "FIL_PROOFS_USE_MULTICORE_SDR")
}

fn is_on(processor: &Processor, variable: &str) -> bool {
    let value = processor.envs.get(variable).map(|value| value.trim().to_lowercase());
    value.is_some_and(|value| ["1", "true", "on", "yes"].contains(&value.as_str()))
}

fn producers(processor: &Processor, prover: Prover) -> usize {
    let told = processor.envs.get("FIL_PROOFS_MULTICORE_SDR_PRODUCERS").and_then(|value| value.trim().parse().ok());
    let told = if prover == Prover::Own { None } else { told };
    told.unwrap_or_else(|| prover.default_producers()).clamp(prover.least_producers(), 64)
}

/// The CPUs that PC1 tasks are bound to, for each processor.
fn pc1_cpus(question: &Question) -> Vec<CpuList> {
    let listed = question.config.processors.stages.get(&StageName::Pc1).into_iter().flatten();
    let bound = listed.filter(|processor| binds(processor, question.prover));
    bound
        .filter_map(|processor| {
            let cpuset = processor.cgroup.cpuset.as_ref()?;
            let found = pc1_units(question.machine, cpuset, question.prover, producers(processor, question.prover));
            let tasks = processor.concurrent.map_or(usize::MAX, |tasks| tasks as usize);
            Some(found.units().iter().take(tasks).flat_map(|unit| unit.cpus.iter().copied()).collect())
        })
        .collect()
}

fn cores_in(machine: &Machine, cpus: &CpuList) -> f64 {
    let usable = cpus.and(&machine.allowed_cpus);
    machine.cores().into_iter().filter(|core| !core.cpus.and(&usable).is_empty()).count().max(1) as f64
}

/// GPUs as processors see them. Those that any processor sees together are one group: a task takes one of them.
struct Gpus<'a> {
    machine: &'a Machine,
    groups: Vec<GpuGroup>,
}

struct GpuGroup {
    name: String,
    devices: Vec<usize>,
}

/// One group, and the model of its GPUs.
struct GpuUse {
    group: usize,
    name: String,
}

impl<'a> Gpus<'a> {
    fn of(question: &Question<'a>) -> Self {
        let mut gpus = Self { machine: question.machine, groups: Vec::new() };
        let processors = &question.config.processors;
        let mut sets: Vec<Vec<usize>> = Vec::new();
        for stage in [Stage::Pc2, Stage::C2] {
            let name = if stage == Stage::C2 { StageName::C2 } else { StageName::Pc2 };
            let listed = processors.stages.get(&name);
            sets.extend(listed.into_iter().flatten().filter_map(|processor| gpus.devices(stage, processor)));
            if listed.is_none() && stage == Stage::C2 {
                sets.extend(gpus.devices(stage, &Processor::default()));
            }
        }
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for set in sets {
            let (mut joined, rest): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|group| group.iter().any(|device| set.contains(device)));
            joined.push(set);
            let mut all: Vec<usize> = joined.into_iter().flatten().collect();
            all.sort_unstable();
            all.dedup();
            groups = rest;
            groups.push(all);
        }
        groups.sort();
        gpus.groups = groups.into_iter().map(|devices| GpuGroup { name: group_name(&devices), devices }).collect();
        gpus
    }

    /// The GPUs that a processor's tasks use; none where cores do the work.
    fn devices(&self, stage: Stage, processor: &Processor) -> Option<Vec<usize>> {
        let wanted = match stage {
            // The tree builder's flag turns both on; the column builder's alone nothing.
            Stage::Pc2 => is_on(processor, "FIL_PROOFS_USE_GPU_TREE_BUILDER"),
            Stage::C2 => !processor.envs.contains_key("BELLMAN_NO_GPU"),
            _ => false,
        };
        let there = match &self.machine.gpus {
            Some(_) => cuda_gpus(self.machine).len(),
            // A description that does not tell its GPUs is believed to have those that the file names.
            None => usize::MAX,
        };
        let visible = match processor.envs.get("CUDA_VISIBLE_DEVICES") {
            Some(list) => list.split(',').map_while(|device| device.trim().parse().ok()).collect(),
            None if there == usize::MAX => Vec::new(),
            None => (0..there).collect::<Vec<usize>>(),
        };
        let devices: Vec<usize> = visible.into_iter().filter(|device| *device < there).collect();
        (wanted && !devices.is_empty()).then_some(devices)
    }

    fn of_processor(&self, stage: Stage, processor: &Processor) -> Option<GpuUse> {
        let devices = self.devices(stage, processor)?;
        let group = self.groups.iter().position(|group| group.devices.contains(&devices[0]))?;
        let told = cuda_gpus(self.machine);
        let name = told.get(devices[0]).map_or("a GPU that the machine does not tell", |gpu| &gpu.name);
        Some(GpuUse { group, name: name.to_owned() })
    }

    fn all(&self) -> Option<GpuUse> {
        self.of_processor(Stage::C2, &Processor::default())
    }
}

/// NVIDIA's, in the order of their bus addresses, as `CUDA_DEVICE_ORDER=PCI_BUS_ID` counts them.
fn cuda_gpus(machine: &Machine) -> Vec<&Gpu> {
    let mut gpus = machine.compute_gpus();
    gpus.retain(|gpu| gpu.vendor_id.as_deref() == Some("10de"));
    gpus.sort_by(|a, b| a.pci_address.cmp(&b.pci_address));
    gpus
}

fn group_name(devices: &[usize]) -> String {
    let list: Vec<_> = devices.iter().map(ToString::to_string).collect();
    format!("GPU {}", list.join(","))
}
