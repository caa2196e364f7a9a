//! What one machine of a type makes in each role that it may have.

use super::{Entry, FleetError, Role, deal};
use crate::{
    machine::Machine,
    planner::{
        self, Bottleneck, C2Place, Choices, Placement, PlanError, Request, costs::Costs, inventory::Inventory,
        placement::memory::reserve, steady,
    },
    profile::{Cost, Stage},
    units::{Bytes, Rate},
};
use serde::Serialize;

/// A role of a type.
#[derive(Clone, Debug, PartialEq)]
pub struct Ability {
    /// The place of its type in the fleet file.
    pub entry: usize,
    pub role: Role,
    /// Sectors an hour.
    pub rate: f64,
    pub limited_by: Bottleneck,
    pub work: Vec<Work>,
}

/// Processors of a stage on one machine, for the table of operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Work {
    pub stage: Stage,
    pub tasks: u32,
    /// The cores, where they are known; else how many each task has.
    pub cores: String,
    pub gpu: Option<usize>,
}

/// All roles of a type, or why it has none.
pub(super) fn abilities(place: usize, entry: &Entry, request: &Request) -> Result<(Vec<Ability>, String), FleetError> {
    let mut found = Vec::new();
    let mut why = "none of its roles is possible".to_owned();
    let machine = entry.described()?;
    for role in Role::ALL.into_iter().filter(|role| entry.may(*role)) {
        let ability = match &machine {
            None => measured(place, entry, role, request),
            Some(machine) => match planned(place, machine, role, request) {
                Ok(ability) => ability,
                Err(no) if no.is_answer() => {
                    why = no.to_string();
                    None
                }
                Err(error) => return Err(error.into()),
            },
        };
        found.extend(ability);
    }
    Ok((found, why))
}

/// From stage times that were measured: the role is the one that these stages make.
fn measured(place: usize, entry: &Entry, role: Role, request: &Request) -> Option<Ability> {
    let has = |stage| entry.stages.iter().any(|one| one.stage == stage);
    let is_role = match role {
        Role::Seal => has(Stage::Pc1) && has(Stage::C2),
        Role::Precommit => has(Stage::Pc1) && !has(Stage::C2),
        Role::C2 => !has(Stage::Pc1) && has(Stage::C2),
    };
    let rates = entry.stages.iter().map(|one| (steady::per_hour(one.tasks, one.minutes), one.stage));
    let (rate, stage) = rates.min_by(|a, b| a.0.total_cmp(&b.0)).filter(|_| is_role)?;
    let work = entry.stages.iter().map(|one| Work {
        stage: one.stage,
        tasks: one.tasks,
        cores: one.cores.map_or_else(String::new, |cores| format!("{cores} each")),
        gpu: None,
    });
    Some(Ability {
        entry: place,
        role,
        rate: rate * request.choices.utilisation,
        limited_by: Bottleneck::Stage(stage),
        work: work.collect(),
    })
}

fn planned(place: usize, machine: &Machine, role: Role, request: &Request) -> Result<Option<Ability>, PlanError> {
    if role == Role::C2 {
        return c2_only(place, machine, request);
    }
    let c2 = match (role, &request.choices.c2) {
        (Role::Seal, _) => C2Place::Local,
        (_, C2Place::Remote(program)) => C2Place::Remote(program.clone()),
        (_, C2Place::Local) => C2Place::Remote("c2".into()),
    };
    let mut all = request.clone();
    // Any number of machines, and each at its most: the mix counts them.
    all.choices = Choices { c2, count: None, ..request.choices.clone() };
    all.target.rate = Rate { bytes: Bytes(u64::MAX), ..request.target.rate };
    let plan = planner::plan(machine, &all)?;
    let rate = plan.sectors_per_hour_possible;
    let work = plan.placement.as_ref().map(work).unwrap_or_default();
    Ok(Some(Ability { entry: place, role, rate, limited_by: plan.capacity.bottleneck, work }))
}

fn work(placement: &Placement) -> Vec<Work> {
    let pc1 = placement.pc1.iter().map(|one| Work {
        stage: Stage::Pc1,
        tasks: one.tasks,
        cores: one.cpuset.to_string(),
        gpu: None,
    });
    let others = placement.processors.iter().map(|one| Work {
        stage: one.stage,
        tasks: 1,
        cores: one.cpuset.to_string(),
        gpu: one.gpu,
    });
    pc1.chain(others).collect()
}

/// C2 and nothing else: one on each GPU that memory allows, or else as few on cores as use them all.
fn c2_only(place: usize, machine: &Machine, request: &Request) -> Result<Option<Ability>, PlanError> {
    let inventory = Inventory::of(machine);
    let costs = Costs::of(&inventory, request.target.sector_size, &request.choices, &request.site, &request.profile)?;
    let have = inventory.memory.0.saturating_sub(reserve(inventory.memory).0);
    let cores = inventory.cores.saturating_sub(inventory.cores.div_ceil(24));
    let found = match on_gpus(&inventory, &costs, have, cores) {
        found if found.tasks.is_empty() => on_cores(costs.on_cores(Stage::C2), have, cores),
        found => found,
    };
    let gpus: Vec<_> = found.tasks.iter().map(|task| task.gpu).collect();
    let cpusets = deal::cpusets(&inventory, &gpus, found.cores_each);
    let work = gpus.iter().zip(cpusets).map(|(gpu, cpuset)| Work {
        stage: Stage::C2,
        tasks: 1,
        cores: cpuset.to_string(),
        gpu: *gpu,
    });
    let rate: f64 = found.tasks.iter().map(|task| steady::per_hour(1, task.minutes)).sum();
    let rate = rate * request.choices.utilisation;
    let ability = || Ability { entry: place, role: Role::C2, rate, limited_by: found.bound, work: work.collect() };
    Ok((rate > 0.0).then(ability))
}

/// What a machine does at once that has only C2 to do.
struct C2Tasks {
    tasks: Vec<C2Task>,
    cores_each: u32,
    bound: Bottleneck,
}

#[derive(Clone)]
struct C2Task {
    gpu: Option<usize>,
    minutes: f64,
}

fn on_gpus(inventory: &Inventory, costs: &Costs, have: u64, cores: u32) -> C2Tasks {
    let mut able: Vec<(usize, &Cost)> =
        (0..inventory.gpus.len()).filter_map(|gpu| Some((gpu, costs.on_gpu(gpu, Stage::C2)?))).collect();
    able.sort_by(|a, b| a.1.minutes(u32::MAX).total_cmp(&b.1.minutes(u32::MAX)));
    let fits = able.iter().scan(have, |left, (_, cost)| {
        *left = left.checked_sub(cost.memory_on(1).0)?;
        Some(())
    });
    let count = fits.count().min(cores as usize);
    let bound = if count < able.len() { Bottleneck::Memory } else { Bottleneck::Gpus };
    let cores_each = cores / (count as u32).max(1);
    let timed = |(gpu, cost): &(usize, &Cost)| C2Task { gpu: Some(*gpu), minutes: cost.minutes(cores_each) };
    C2Tasks { tasks: able[..count].iter().map(timed).collect(), cores_each, bound }
}

/// As few processors as can use all cores, each with as many cores as its memory allows.
fn on_cores(cost: &Cost, have: u64, cores: u32) -> C2Tasks {
    let wanted = cores.div_ceil(cost.cores()).max(1);
    let fitting = |count: u32| {
        let each = (cores / count).min(cost.cores());
        (1..=each)
            .rev()
            .find(|each| cost.memory_on(*each).0.saturating_mul(count.into()) <= have)
            .map(|each| (count, each))
    };
    // The work per hour is what counts, and with too little memory fewer processors may have more cores together.
    let all = (1..=wanted.min(cores)).filter_map(fitting);
    let Some((count, each)) = all.max_by_key(|(count, each)| count * each) else {
        return C2Tasks { tasks: Vec::new(), cores_each: 0, bound: Bottleneck::Memory };
    };
    let bound =
        if count * each + count > cores || each == cost.cores() { Bottleneck::Cores } else { Bottleneck::Memory };
    let task = C2Task { gpu: None, minutes: cost.minutes(each) };
    C2Tasks { tasks: vec![task; count as usize], cores_each: each, bound }
}
