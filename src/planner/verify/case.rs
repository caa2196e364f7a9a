//! The configuration with what each check needs to know of each processor: stage, path, CPUs, tasks, units, GPUs.

use super::{
    Question,
    units::{Arithmetic, units},
};
use crate::{
    machine::{Answer, Gpu, Machine},
    profile::{Cost, Question as CostQuestion, Stage},
    units::{CpuList, Prover, SectorSize},
    worker_config::{Processor, StageName},
};

pub(super) struct Case<'a> {
    pub question: &'a Question<'a>,
    pub machine: &'a Machine,
    pub sector_size: SectorSize,
    pub static_tree_d: bool,
    pub threads: u32,
    pub processors: Vec<Placed<'a>>,
}

/// A processor and its facts.
pub(super) struct Placed<'a> {
    /// None for a sealing daemon.
    pub stage: Option<StageName>,
    pub path: String,
    pub processor: &'a Processor,
    /// The CPUs of its cpuset that can be used.
    pub usable: Option<CpuList>,
    /// The most tasks at once: its own number, the stage's limit, the threads.
    pub tasks: u32,
    /// PC1 that binds its tasks.
    pub binding: Option<Binding>,
    pub gpus: GpuView,
    /// A program of somebody else's that neither gets CPUs nor a GPU here: it works elsewhere.
    pub is_elsewhere: bool,
}

pub(super) struct Binding {
    pub producers: usize,
    pub arithmetic: Arithmetic,
}

/// Which GPUs a processor's tasks use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GpuView {
    /// Cores do the work.
    None,
    /// These, by their numbers; they may not exist.
    Devices(Vec<usize>),
    /// Not by number.
    Named(String),
}

impl<'a> Case<'a> {
    pub fn of(question: &'a Question<'a>) -> Self {
        let config = question.config;
        let (sector_size, _) = crate::planner::simulate::sector_size(config);
        let mut case = Self {
            question,
            machine: question.machine,
            sector_size,
            static_tree_d: config.processors.static_tree_d.contains_key(&sector_size) && !config.sealing.enable_deals,
            threads: config.sealing_thread.len() as u32,
            processors: Vec::new(),
        };
        let mut all = Vec::new();
        for (stage, list) in &config.processors.stages {
            all.extend(list.iter().enumerate().map(|(i, one)| (Some(*stage), i, one)));
        }
        all.extend(config.processors.sealing_daemons.iter().enumerate().map(|(i, one)| (None, i, one)));
        case.processors = all.into_iter().map(|(stage, i, one)| case.placed(stage, i, one)).collect();
        case
    }

    fn placed(&self, stage: Option<StageName>, index: usize, processor: &'a Processor) -> Placed<'a> {
        let name = stage.map_or("sealing_daemons", StageName::name);
        let limit = stage.and_then(|stage| self.limit(stage));
        let has_nothing_here = processor.cgroup.cpuset.is_none() && !processor.envs.contains_key(VISIBLE);
        let is_elsewhere = processor.bin.is_some() && has_nothing_here;
        let gpus = if is_elsewhere { GpuView::None } else { gpus(stage, processor, self.cuda_gpus().len()) };
        Placed {
            stage,
            path: format!("processors.{name}[{index}]"),
            processor,
            usable: processor.cgroup.cpuset.as_ref().map(|cpus| cpus.and(&self.usable_cpus())),
            tasks: [processor.concurrent, limit].into_iter().flatten().fold(self.threads, u32::min),
            binding: self.binding(stage, processor),
            gpus,
            is_elsewhere,
        }
    }

    fn binding(&self, stage: Option<StageName>, processor: &Processor) -> Option<Binding> {
        let prover = self.question.prover;
        let is_pc1 = stage == Some(StageName::Pc1);
        if !is_pc1 || (prover != Prover::Own && !is_on(processor, "FIL_PROOFS_USE_MULTICORE_SDR")) {
            return None;
        }
        let told = processor.envs.get(PRODUCERS).and_then(|value| value.trim().parse().ok());
        let producers = match prover {
            // Ours hashes a sector on one core, whatever the variable says.
            Prover::Own => 0,
            Prover::Stock | Prover::StockDamocles => told.unwrap_or(3),
        };
        let cpus = processor.cgroup.cpuset.clone().unwrap_or_else(|| self.machine.allowed_cpus.clone());
        Some(Binding { producers, arithmetic: units(self.machine, &cpus, prover, producers) })
    }

    pub fn usable_cpus(&self) -> CpuList {
        self.machine.cpus().and(&self.machine.allowed_cpus)
    }

    pub fn limit(&self, stage: StageName) -> Option<u32> {
        self.question.config.processors.limitation.concurrent.get(&stage).copied()
    }

    /// The processors of a stage.
    pub fn of_stage(&self, stage: StageName) -> impl Iterator<Item = &Placed<'a>> {
        self.processors.iter().filter(move |placed| placed.stage == Some(stage))
    }

    /// NVIDIA's, in the order of their bus addresses.
    pub fn cuda_gpus(&self) -> Vec<&'a Gpu> {
        let mut gpus: Vec<_> = self.machine.compute_gpus();
        gpus.retain(|gpu| gpu.vendor_id.as_deref() == Some("10de"));
        gpus.sort_by(|a, b| a.pci_address.cmp(&b.pci_address));
        gpus
    }

    /// What a task of a stage takes on this processor, or inside the daemon.
    pub fn cost(&self, stage: Stage, placed: Option<&Placed>) -> Option<Cost> {
        let gpus = self.cuda_gpus();
        let gpu = match placed.map(|placed| &placed.gpus) {
            Some(GpuView::Devices(devices)) => {
                Some(devices.first().and_then(|first| gpus.get(*first)).map_or("a GPU", |gpu| gpu.name.as_str()))
            }
            Some(GpuView::Named(name)) => Some(name.as_str()),
            Some(GpuView::None) => None,
            None if stage == Stage::C2 => gpus.first().map(|gpu| gpu.name.as_str()),
            None => None,
        };
        let sha = match self.machine.pc1_capable().answer {
            Answer::Yes => Some(true),
            Answer::No => Some(false),
            Answer::Unknown => None,
        };
        self.question.profile.lookup(&CostQuestion {
            stage,
            sector_size: self.sector_size,
            prover: self.question.prover,
            suite: self.question.suite,
            cpu: self.machine.cpu_model(),
            ghz: self.question.ghz,
            sha,
            gpu,
            static_tree_d: self.static_tree_d,
        })
    }

    /// The nodes that CPUs belong to, with how many cores on each.
    pub fn nodes_of(&self, cpus: &CpuList) -> Vec<(crate::units::NodeId, usize)> {
        let nodes = self.machine.nodes().into_iter();
        let shares = nodes.map(|node| (node.os_index, self.cores_in(&cpus.and(&node.cpus))));
        shares.filter(|(_, cores)| *cores > 0).collect()
    }

    pub fn cores_in(&self, cpus: &CpuList) -> usize {
        self.machine.cores().into_iter().filter(|core| !core.cpus.and(cpus).is_empty()).count()
    }
}

impl Placed<'_> {
    /// Whether it holds up others only by being there.
    pub fn is_light(&self) -> bool {
        matches!(self.stage, Some(StageName::AddPieces | StageName::TreeD | StageName::Transfer) | None)
    }

    pub fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    pub fn env(&self, name: &str) -> String {
        format!("{}.envs.{name}", self.path)
    }
}

pub(super) const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
pub(super) const PRODUCERS: &str = "FIL_PROOFS_MULTICORE_SDR_PRODUCERS";
pub(super) const TREE_BUILDER: &str = "FIL_PROOFS_USE_GPU_TREE_BUILDER";

/// What the proofs library takes for yes.
pub(super) fn is_on(processor: &Processor, variable: &str) -> bool {
    processor.envs.get(variable).is_some_and(|value| as_bool(value) == Some(true))
}

pub(super) fn as_bool(value: &str) -> Option<bool> {
    match value.trim().to_lowercase().as_str() {
        "1" | "true" | "on" | "yes" => Some(true),
        "0" | "false" | "off" | "no" | "" => Some(false),
        _ => None,
    }
}

fn gpus(stage: Option<StageName>, processor: &Processor, there: usize) -> GpuView {
    let wanted = match stage {
        Some(StageName::Pc2 | StageName::SnapEncode) => is_on(processor, TREE_BUILDER),
        Some(StageName::C2 | StageName::SnapProve | StageName::WindowPost) => {
            !processor.envs.contains_key("BELLMAN_NO_GPU")
        }
        _ => false,
    };
    let Some(visible) = processor.envs.get(VISIBLE).filter(|_| wanted) else {
        return if wanted && there > 0 { GpuView::Devices((0..there).collect()) } else { GpuView::None };
    };
    let names: Vec<&str> = visible.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.first().is_none_or(|first| first.starts_with('-')) {
        return GpuView::None;
    }
    let numbers: Result<Vec<usize>, _> = names.iter().map(|name| name.parse()).collect();
    numbers.map_or_else(|_| GpuView::Named(visible.clone()), GpuView::Devices)
}
