//! Turns a machine, a target rate and the operator's choices into a complete worker.toml and a forecast.
//!
//! ```text
//!                        ┌─ small sizes: capacity   (stages share the daemon's cores)
//! Machine ─► inventory ─►┤                                                             ├─► render ─► read back ─► Plan
//! profile ─► costs ─────►└─ 32 and 64 GiB: placement (stages on cores and GPUs of theirs)
//! ```
//!
//! Both ways answer the same: the most that one machine makes, so how many machines the target takes, and what one of
//! them is to do. Pure: the same input gives the same bytes. No clock, no files, no environment, no host.

pub mod artefacts;
mod capacity;
pub mod catalogue;
mod choices;
mod costs;
pub mod fleet;
mod forecast;
mod inventory;
mod placement;
mod processors;
mod render;
mod report;
pub mod sealcalc;
pub mod simulate;
pub mod steady;
mod target;
mod templates;
pub mod verify;
mod warnings;

pub use choices::{Attached, C2Place, Choices, Manager, Site};
pub use forecast::{Bottleneck, Capacity, Limits};
pub use placement::{Folder, GpuProcessor, GpuUse, Memory, NodeMemory, Pc1Processor, Placement, Short};
pub use render::ReadBackError;
pub use target::Target;
pub use templates::{Template, TemplateFault, Templates};

use crate::{
    machine::Machine,
    profile::{Cost, Profile, Stage},
    units::{Bytes, HumanDuration, Rate, SectorSize},
};
use costs::Costs;
use inventory::Inventory;
use serde::Serialize;
use std::path::{Component, Path, PathBuf};

/// A sealing thread is a thread of the daemon with a store and a journal of its own; beyond this number
/// a second daemon is the better answer.
pub(crate) const THREADS_MAX: u32 = 256;

/// Everything but the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub target: Target,
    pub choices: Choices,
    pub site: Site,
    pub profile: Profile,
}

/// A plan: the configuration of one machine and what to expect of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The host planned for.
    pub hostname: String,
    pub target: Rate,
    pub sector_size: SectorSize,
    pub days_per_month: f64,
    /// Machines like this one that the target takes.
    pub machines: u32,
    /// The most that one of them makes, in sectors an hour.
    pub sectors_per_hour_possible: f64,
    /// The part of the time that stages are planned to be busy.
    pub utilisation: f64,
    /// Cores and memory of the machine.
    pub cores: u32,
    pub memory_bytes: Bytes,
    #[serde(flatten)]
    pub capacity: Capacity,
    /// What each stage takes, and how that is known.
    pub stages: Vec<Cost>,
    /// Disk that all sealing threads may hold at once.
    pub scratch_bytes: Bytes,
    /// Where everything stands, for sector sizes whose stages get cores and GPUs of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// The configuration file.
    pub worker_toml: String,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The answer is no: so many machines do not reach the target.
    #[error(
        "plan {target} of {sector_size} sectors: that is {needed:.2} sectors/h, {} could do {possible:.2} \
         ({possible_rate}), limited by {bottleneck}; {}",
        these(*.count), change(*.machines)
    )]
    Infeasible {
        target: Rate,
        sector_size: SectorSize,
        /// Sectors per hour.
        needed: f64,
        /// Sectors per hour, of all machines.
        possible: f64,
        /// The same, in the target's terms.
        possible_rate: String,
        bottleneck: Bottleneck,
        /// How many machines there are.
        count: u32,
        /// How many would do; none where no number does.
        machines: Option<u32>,
    },
    /// The answer is no: not one sector can be sealed here.
    #[error("plan {sector_size} sectors on {hostname}: {short}; {}", .short.change())]
    NothingFits { hostname: String, sector_size: SectorSize, short: Short },
    #[error("plan {sector_size} sectors: the profile has no duration of {stage}; add a row for it")]
    NoFigures { stage: Stage, sector_size: SectorSize },
    #[error("plan with {0} days a month: a month has more than 0 and at most 31 days")]
    Month(f64),
    #[error("plan with a utilisation of {0}: it is a part, more than 0 and at most 1")]
    Utilisation(f64),
    #[error("plan with a clock of {0} GHz: give what the processor keeps up with all cores busy, such as 3.3")]
    Clock(f64),
    #[error("plan with {0} 0: give at least 1")]
    Zero(&'static str),
    #[error("plan for {hostname}: the machine description tells no memory; fill in memory_bytes of its nodes")]
    NoMemory { hostname: String },
    #[error("plan for {hostname}: the machine has no usable core; check allowed_cpus of its description")]
    NoCores { hostname: String },
    #[error(
        "plan for {hostname}: the machine description tells no L3 cache on a NUMA node with memory, and PC1 is placed \
         by them; describe the machine with `damocles-worker-util hwinfo --json` on the machine itself"
    )]
    NoL3 { hostname: String },
    #[error("plan without a {0}: give at least one")]
    Missing(&'static str),
    #[error(
        "plan with sealing folders {} and {}: one holds the other, and each sealing thread needs a store of its own",
        .0.display(), .1.display()
    )]
    SealingDirsOverlap(PathBuf, PathBuf),
    #[error("plan with path {}: it is not UTF-8, so no TOML file can hold it; rename the folder", .0.display())]
    NotUtf8(PathBuf),
    #[error("plan: the worker.toml that follows from these choices is not sound: {0}")]
    ReadBack(#[from] ReadBackError),
}

fn these(count: u32) -> String {
    if count == 1 { "this machine".to_owned() } else { format!("{count} such machines") }
}

fn change(machines: Option<u32>) -> String {
    match machines {
        Some(machines) => format!("{machines} such machines would do (--count {machines}), or lower the target"),
        None => "lower the target or plan a larger machine with --machine".to_owned(),
    }
}

impl PlanError {
    /// Whether the question was answered, with no: everything else could not be planned at all.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Infeasible { .. } | Self::NothingFits { .. })
    }
}

/// Plans `machine` for what is asked.
///
/// # Errors
/// The target is out of reach (`is_answer`), or the input cannot be planned.
pub fn plan(machine: &Machine, request: &Request) -> Result<Plan, PlanError> {
    let (target, choices, site) = (&request.target, &request.choices, &request.site);
    let needed = target.sectors_per_hour()?;
    choices.check()?;
    let locations = Locations::of(site)?;
    let inventory = Inventory::of(machine);
    check_machine(&inventory)?;
    let costs = Costs::of(&inventory, target.sector_size, choices, site, &request.profile)?;
    let found = match target.sector_size {
        SectorSize::KiB2 | SectorSize::MiB8 | SectorSize::MiB512 => in_daemon(&inventory, &costs, request, needed)?,
        SectorSize::GiB32 | SectorSize::GiB64 => placed(&inventory, &costs, request, needed)?,
    };
    let stages = stages(&costs, found.placement.as_ref());
    let peak = costs.on_cores(Stage::C2).scratch.0;
    let mut plan = Plan {
        hostname: machine.hostname.clone(),
        target: target.rate,
        sector_size: target.sector_size,
        days_per_month: target.days_per_month,
        machines: found.machines,
        sectors_per_hour_possible: found.possible,
        utilisation: choices.utilisation,
        cores: inventory.cores,
        memory_bytes: inventory.memory,
        scratch_bytes: Bytes(peak.saturating_mul(found.capacity.sealing_threads.into())),
        stages,
        capacity: found.capacity,
        warnings: warnings::of(&inventory, &costs, found.placement.as_ref(), request),
        placement: found.placement,
        worker_toml: String::new(),
    };
    plan.worker_toml = render::worker_toml(&plan, &inventory, request, &locations, &Templates::shipped())?;
    Ok(plan)
}

/// The file of a plan once more, with an operator's template.
///
/// # Errors
/// The template is broken, or what it makes does not say what was planned.
pub fn worker_toml(
    plan: &Plan,
    machine: &Machine,
    request: &Request,
    templates: &Templates,
) -> Result<String, PlanError> {
    let locations = Locations::of(&request.site)?;
    Ok(render::worker_toml(plan, &Inventory::of(machine), request, &locations, templates)?)
}

fn check_machine(inventory: &Inventory) -> Result<(), PlanError> {
    let hostname = || inventory.machine.hostname.clone();
    if inventory.cores == 0 {
        return Err(PlanError::NoCores { hostname: hostname() });
    }
    if inventory.memory == Bytes(0) {
        return Err(PlanError::NoMemory { hostname: hostname() });
    }
    Ok(())
}

/// What both ways of planning find.
struct Found {
    /// The most that one machine makes, in sectors an hour.
    possible: f64,
    machines: u32,
    capacity: Capacity,
    placement: Option<Placement>,
}

/// How many machines the target takes when one makes so much; no where that is more than there are.
fn machines(request: &Request, needed: f64, each: f64, bottleneck: Bottleneck) -> Result<u32, PlanError> {
    let machines = steady::machines(needed, each);
    match (machines, request.choices.count) {
        (Some(machines), None) => Ok(machines),
        (Some(machines), Some(count)) if machines <= count => Ok(count),
        (_, count) => Err(infeasible(&request.target, needed, each, count.unwrap_or(1), bottleneck)),
    }
}

fn in_daemon(inventory: &Inventory, costs: &Costs, request: &Request, needed: f64) -> Result<Found, PlanError> {
    let resources = capacity::Resources {
        cores: inventory.cores,
        memory_bytes: inventory.memory,
        utilisation: request.choices.utilisation,
    };
    let (possible, bottleneck) = match capacity::decide(f64::from(u32::MAX), &resources, costs) {
        Ok(capacity) => (capacity.sectors_per_hour_expected, capacity.bottleneck),
        Err(most) => most,
    };
    let machines = machines(request, needed, possible, bottleneck)?;
    // Bisection stops a hair below what it says is possible.
    let each = (needed / f64::from(machines)).min(possible);
    let mut capacity = capacity::decide(each, &resources, costs)
        .map_err(|(possible, bottleneck)| infeasible(&request.target, needed, possible, machines, bottleneck))?;
    capacity.sectors_per_hour_needed = needed;
    Ok(Found { possible, machines, capacity, placement: None })
}

fn placed(inventory: &Inventory, costs: &Costs, request: &Request, needed: f64) -> Result<Found, PlanError> {
    if inventory.nodes.iter().all(|node| node.memory == Bytes(0)) {
        return Err(PlanError::NoL3 { hostname: inventory.machine.hostname.clone() });
    }
    let (site, choices) = (&request.site, &request.choices);
    let peak = costs.on_cores(Stage::C2).scratch;
    let folders = placement::disks::folders(inventory, site, &request.profile, peak);
    let query = placement::Query { inventory, costs, choices, folders: &folders };
    let all = placement::candidates(&query);
    let Some((best, bottleneck)) = all.best() else {
        let short = all.least_short().expect("a candidate fits or says what it lacks");
        let hostname = inventory.machine.hostname.clone();
        return Err(PlanError::NothingFits { hostname, sector_size: request.target.sector_size, short });
    };
    let possible = best * choices.utilisation;
    let machines = machines(request, needed, possible, bottleneck)?;
    let each = needed / f64::from(machines) / choices.utilisation;
    let placement = all.choose(each);
    let capacity = Capacity {
        sectors_per_hour_needed: needed,
        sectors_per_hour_expected: placement.sectors_per_hour * choices.utilisation,
        bottleneck: placement.bottleneck,
        sealing_threads: placement.threads,
        limits: placement.limits(),
        minutes_per_sector: placement.minutes_per_sector,
        tasks_memory_bytes: placement.memory.need,
    };
    Ok(Found { possible, machines, capacity, placement: Some(placement) })
}

/// The costs that the plan rests on: a stage's on the GPU that does it, where one does.
fn stages(costs: &Costs, placement: Option<&Placement>) -> Vec<Cost> {
    let on_gpu = |stage: Stage| {
        let mut processors = placement?.processors.iter().filter(|one| one.stage == stage);
        costs.on_gpu(processors.find_map(|one| one.gpu)?, stage)
    };
    Stage::ALL.into_iter().map(|stage| on_gpu(stage).unwrap_or_else(|| costs.on_cores(stage)).clone()).collect()
}

/// How long one epoch of the embedded manager's chain lasts. The network's 30 s would make each 2KiB sector
/// wait 75 minutes for its seed; nothing but the simulated chain depends on it.
pub(crate) const EMBEDDED_EPOCH: HumanDuration = HumanDuration(std::time::Duration::from_millis(100));

fn infeasible(target: &Target, needed: f64, each: f64, count: u32, bottleneck: Bottleneck) -> PlanError {
    let possible = each * f64::from(count);
    let hours = target.rate.period.hours(target.days_per_month);
    let bytes = Bytes((possible * hours * target.sector_size.bytes().0 as f64) as u64);
    let rate = Rate { bytes, period: target.rate.period }.to_string();
    let period = rate.split_once('/').map_or("", |(_, period)| period);
    PlanError::Infeasible {
        target: target.rate,
        sector_size: target.sector_size,
        needed,
        possible,
        possible_rate: format!("{}/{period}", bytes.human()),
        bottleneck,
        count,
        machines: steady::machines(needed, each),
    }
}

/// `./sealing` and `sealing` are one folder.
fn plain(dir: &Path) -> PathBuf {
    dir.components().filter(|part| *part != Component::CurDir).collect()
}

/// The site's paths as text, checked.
pub(crate) struct Locations {
    manager_dir: String,
    sealing_dirs: Vec<String>,
    attached: Vec<(String, String)>,
}

impl Locations {
    fn of(site: &Site) -> Result<Self, PlanError> {
        if site.sealing_dirs.is_empty() {
            return Err(PlanError::Missing("sealing folder"));
        }
        if site.attached.is_empty() {
            return Err(PlanError::Missing("persistent store"));
        }
        let is_empty = |path: &PathBuf| path.as_os_str().is_empty();
        if site.sealing_dirs.iter().any(is_empty) {
            return Err(PlanError::Missing("name for each sealing folder"));
        }
        if is_empty(&site.manager_dir) {
            return Err(PlanError::Missing("name for the manager's folder"));
        }
        if site.attached.iter().any(|store| store.name.is_empty() || is_empty(&store.location)) {
            return Err(PlanError::Missing("name and a path for each persistent store"));
        }
        for (i, dir) in site.sealing_dirs.iter().enumerate() {
            for other in &site.sealing_dirs[..i] {
                if plain(dir).starts_with(plain(other)) || plain(other).starts_with(plain(dir)) {
                    return Err(PlanError::SealingDirsOverlap(other.clone(), dir.clone()));
                }
            }
        }
        let text = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| PlanError::NotUtf8(path.to_owned()));
        Ok(Self {
            manager_dir: text(&site.manager_dir)?,
            sealing_dirs: site.sealing_dirs.iter().map(|dir| text(dir)).collect::<Result<_, _>>()?,
            attached: site
                .attached
                .iter()
                .map(|store| Ok((store.name.clone(), text(&store.location)?)))
                .collect::<Result<_, PlanError>>()?,
        })
    }
}
