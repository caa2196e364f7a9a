//! Turns a machine, a target rate and the operator's choices into a complete worker.toml and a forecast.
//!
//! ```text
//! Machine ─┐
//! Target ──┼─► capacity (threads, limits, forecast, or how far it would reach) ─► render ─► read back ─► Plan
//! profile ─┘                                                               Site ──┘
//! ```
//!
//! Pure: the same input gives the same bytes. No clock, no files, no environment, no host.

mod capacity;
mod profile;
mod render;
pub mod sealcalc;
pub mod simulate;
pub mod verify;

pub use capacity::{Bottleneck, Capacity, Limits};
pub use profile::{Profile, Stage, StageCost, profile};
pub use render::ReadBackError;

use crate::{
    machine::Machine,
    units::{Bytes, HumanDuration, Rate, SectorSize},
};
use serde::Serialize;
use std::path::{Component, Path, PathBuf};

/// What is to be produced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    pub rate: Rate,
    pub sector_size: SectorSize,
    /// Productive days in a month, for rates per month.
    pub days_per_month: f64,
}

/// What hardware does not tell: the operator's choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub manager: Manager,
    /// The embedded manager's folder; another manager has no use for it.
    pub manager_dir: PathBuf,
    /// Folders for sealing stores; thread `i` gets a store of its own in one of them.
    pub sealing_dirs: Vec<PathBuf>,
    /// Persistent stores.
    pub attached: Vec<Attached>,
    pub miner: Option<u64>,
}

/// Where the sector manager is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Inside the daemon, against a simulated chain.
    Embedded,
    /// At this address.
    Remote(String),
}

/// A persistent store and the name that the manager knows it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub name: String,
    pub location: PathBuf,
}

/// A plan: the configuration and what to expect of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The host planned for.
    pub hostname: String,
    pub target: Rate,
    pub sector_size: SectorSize,
    pub days_per_month: f64,
    /// Cores and memory of the machine.
    pub cores: u32,
    pub memory_bytes: Bytes,
    #[serde(flatten)]
    pub capacity: Capacity,
    /// What each stage takes, and how that is known.
    pub stages: Vec<StageCost>,
    /// Disk that all sealing threads may hold at once.
    pub scratch_bytes: Bytes,
    /// The configuration file.
    pub worker_toml: String,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The answer is no: the machine does not reach the target.
    #[error(
        "plan {target} of {sector_size} sectors: that is {needed:.2} sectors/h, this machine could do {possible:.2} \
         ({possible_rate}), limited by {bottleneck}; lower the target or plan a larger machine with --machine"
    )]
    Infeasible {
        target: Rate,
        sector_size: SectorSize,
        /// Sectors per hour.
        needed: f64,
        /// Sectors per hour.
        possible: f64,
        /// The same, in the target's terms.
        possible_rate: String,
        bottleneck: Bottleneck,
    },
    #[error("plan {0} sectors: not supported in this version; supported are 2KiB, 8MiB and 512MiB")]
    SectorSize(SectorSize),
    #[error("plan with {0} days a month: a month has more than 0 and at most 31 days")]
    Month(f64),
    #[error("plan for {hostname}: the machine description tells no memory; fill in memory_bytes of its nodes")]
    NoMemory { hostname: String },
    #[error("plan for {hostname}: the machine has no usable core; check allowed_cpus of its description")]
    NoCores { hostname: String },
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

impl PlanError {
    /// Whether the question was answered, with no: everything else could not be planned at all.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Infeasible { .. })
    }
}

/// Plans `machine` for `target`.
///
/// # Errors
/// The target is out of reach (`is_answer`), or the input cannot be planned.
pub fn plan(machine: &Machine, target: &Target, site: &Site) -> Result<Plan, PlanError> {
    let profile = profile(target.sector_size).ok_or(PlanError::SectorSize(target.sector_size))?;
    let needed = sectors_per_hour(target)?;
    let resources = resources(machine)?;
    let locations = Locations::of(site)?;
    let capacity = capacity::decide(needed, &resources, &profile, &timing(site))
        .map_err(|(possible, bottleneck)| infeasible(target, needed, possible, bottleneck))?;
    let mut plan = Plan {
        hostname: machine.hostname.clone(),
        target: target.rate,
        sector_size: target.sector_size,
        days_per_month: target.days_per_month,
        cores: resources.cores,
        memory_bytes: resources.memory_bytes,
        scratch_bytes: Bytes(profile.scratch_bytes().0.saturating_mul(capacity.sealing_threads.into())),
        stages: profile.stages.to_vec(),
        capacity,
        worker_toml: String::new(),
    };
    plan.worker_toml = render::worker_toml(&plan, site, &locations)?;
    Ok(plan)
}

fn sectors_per_hour(target: &Target) -> Result<f64, PlanError> {
    let days = target.days_per_month;
    if !(days > 0.0 && days <= 31.0) {
        return Err(PlanError::Month(days));
    }
    Ok(target.rate.bytes_per_hour(days) / target.sector_size.bytes().0 as f64)
}

fn resources(machine: &Machine) -> Result<capacity::Resources, PlanError> {
    let hostname = || machine.hostname.clone();
    let cores = machine.usable_cores().len() as u32;
    if cores == 0 {
        return Err(PlanError::NoCores { hostname: hostname() });
    }
    if machine.memory_bytes() == Bytes(0) {
        return Err(PlanError::NoMemory { hostname: hostname() });
    }
    Ok(capacity::Resources { cores, memory_bytes: machine.memory_bytes() })
}

/// How long one epoch of the embedded manager's chain lasts. The network's 30 s would make each 2KiB sector
/// wait 75 minutes for its seed; nothing but the simulated chain depends on it.
pub(crate) const EMBEDDED_EPOCH: HumanDuration = HumanDuration(std::time::Duration::from_millis(100));

/// The pauses of a pipeline that are no work.
fn timing(site: &Site) -> capacity::Timing {
    match site.manager {
        Manager::Embedded => capacity::Timing { epoch: EMBEDDED_EPOCH, poll: HumanDuration::secs(1) },
        Manager::Remote(_) => capacity::Timing { epoch: HumanDuration::secs(30), poll: HumanDuration::secs(180) },
    }
}

fn infeasible(target: &Target, needed: f64, possible: f64, bottleneck: Bottleneck) -> PlanError {
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

    /// The store of each sealing thread: threads go around the folders, each into one of its own.
    fn stores(&self, threads: u32) -> Vec<String> {
        let dirs = &self.sealing_dirs;
        (0..threads as usize)
            .map(|thread| {
                let dir = dirs[thread % dirs.len()].trim_end_matches('/');
                format!("{dir}/{}", thread / dirs.len())
            })
            .collect()
    }
}
