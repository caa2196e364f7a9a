//! Turns a machine, a target rate and the operator's choices into a complete worker.toml and a forecast.
//!
//! ```text
//!                        ┌─ small sizes: capacity   (stages share the daemon's cores)
//! Machine ─► inventory ─►┤                                                             ├─► render ─► read back ─► Plan
//! profile ─► costs ─────►└─ 32 and 64 GiB: placement (stages on cores and GPUs of theirs)
//!                                             └─ with `optimise`: the best of all by simulation, and its bound
//! ```
//!
//! Both ways answer the same: the most that one machine makes, so how many machines the target takes, and what one of
//! them is to do. What is rendered is read back and judged by `verify`, which shares no code with placement: a plan that
//! it refuses is not handed out. Pure: the same input gives the same bytes. No clock, no files, no environment, no host.

pub mod artefacts;
mod asked;
mod bound;
mod capacity;
pub mod catalogue;
mod change;
mod choices;
mod costs;
pub mod fleet;
mod forecast;
mod inventory;
mod locations;
mod optimise;
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

pub use change::Change;
pub use choices::{Attached, C2Place, Choices, Manager, Site};
pub use forecast::{Bottleneck, Capacity, Limits};
pub use optimise::Optimum;
pub use placement::{Folder, GpuProcessor, GpuUse, Memory, NodeMemory, Pc1Processor, Placement, Short};
pub use render::ReadBackError;
pub use target::Target;
pub use templates::{Template, TemplateFault, Templates};

use self::{inventory::Inventory, locations::Locations};
use crate::{
    machine::Machine,
    profile::{Cost, Profile, Stage},
    units::{Bytes, HumanDuration, Rate, SectorSize},
};
use serde::Serialize;
use std::path::PathBuf;

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
    /// What the verifier found beside that; no error is among it.
    pub findings: Vec<verify::Finding>,
    /// How the search for the best layout ended, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimum: Option<Optimum>,
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
    #[error("plan {sector_size} sectors on {hostname}: {short}; {}", change_or_else(.change.as_ref()))]
    NothingFits { hostname: String, sector_size: SectorSize, short: Short, change: Option<Change> },
    /// The answer is no: what follows from machine and choices has an error, so it must not be handed out.
    #[error("plan for {hostname}: what follows from these choices does not pass `plan verify`: {found}")]
    Refused { hostname: String, found: String },
    #[error(
        "plan {sector_size} sectors with {flag}: their stages share the daemon's cores and memory; it is for 32GiB and 64GiB"
    )]
    SmallSectors { flag: &'static str, sector_size: SectorSize },
    #[error(
        "plan with --deals and --static-tree-d: a sector with deals has a tree-d of its own; leave one of the two out"
    )]
    DealsHaveTheirTreeD,
    #[error("plan: {0}")]
    Bound(#[from] bound::BoundError),
    #[error("plan: {0}")]
    Simulation(#[from] simulate::SimulationError),
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

fn change_or_else(change: Option<&Change>) -> String {
    change.map_or_else(|| "no other machine like it would do".to_owned(), Change::to_string)
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
        matches!(self, Self::Infeasible { .. } | Self::NothingFits { .. } | Self::Refused { .. })
    }
}

/// Plans `machine` for what is asked.
///
/// # Errors
/// The target is out of reach (`is_answer`), or the input cannot be planned.
pub fn plan(machine: &Machine, request: &Request) -> Result<Plan, PlanError> {
    asked::plan(machine, request)
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
    let (text, _) = render::worker_toml(plan, &Inventory::of(machine), request, &locations, templates)?;
    Ok(text)
}

/// Plays the file of a plan through: what one machine will make, where sectors wait, what is in the way.
///
/// # Errors
/// The file cannot be played through.
pub fn foresee(machine: &Machine, request: &Request, plan: &Plan) -> Result<simulate::Forecast, PlanError> {
    let loaded = crate::worker_config::parse(&plan.worker_toml).map_err(ReadBackError::Problems)?;
    let question = asked::question(&loaded.config, machine, request);
    // So many sectors tell enough: a month of small ones is millions.
    let per_day = plan.capacity.sectors_per_hour_expected * 24.0;
    let ways = FORECAST_WAYS * plan.capacity.minutes_per_sector / 1440.0;
    let days = (FORECAST_SECTORS / per_day).max(ways).min(FORECAST_DAYS_MAX);
    Ok(simulate::forecast(&question, days, FORECAST_SEED)?)
}

/// What a plan's forecast plays through: enough sectors, several times a sector's whole way, at most a month.
const FORECAST_SECTORS: f64 = 2_000.0;
const FORECAST_WAYS: f64 = 8.0;
const FORECAST_DAYS_MAX: f64 = 30.0;
/// Where chance begins: everybody who plans the same sees the same.
pub(crate) const FORECAST_SEED: u64 = 1;

/// How long one epoch of the embedded manager's chain lasts. The network's 30 s would make each 2KiB sector
/// wait 75 minutes for its seed; nothing but the simulated chain depends on it.
pub(crate) const EMBEDDED_EPOCH: HumanDuration = HumanDuration(std::time::Duration::from_millis(100));
