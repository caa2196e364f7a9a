//! One question from its first check to a plan that has been read back and verified.
//!
//! ```text
//! checks ─► Asked (inventory, costs, paths) ─► in_daemon ─┐
//!                                          └─► placed ────┴─► Found ─► written (rendered, read back) ─► verified
//! ```

use super::{
    Bottleneck, Capacity, Change, Optimum, Placement, Plan, PlanError, Request, Short, Target, bound, capacity, change,
    costs::Costs,
    inventory::Inventory,
    locations::Locations,
    optimise,
    placement::{self, Candidates, disks},
    processors, render, simulate, steady,
    templates::Templates,
    verify::{self, Severity},
    warnings,
};
use crate::{
    machine::Machine,
    profile::{Cost, Stage},
    units::{Bytes, Rate, SectorSize},
    worker_config::WorkerConfig,
};

/// A question that makes sense, with everything that is looked up once.
struct Asked<'a> {
    machine: &'a Machine,
    request: &'a Request,
    inventory: Inventory<'a>,
    costs: Costs,
    locations: Locations,
    /// Sectors an hour.
    needed: f64,
}

/// What both ways of planning find.
struct Found {
    /// The most that one machine makes, in sectors an hour.
    possible: f64,
    machines: u32,
    capacity: Capacity,
    placement: Option<Placement>,
    optimum: Option<Optimum>,
}

/// See `planner::plan`.
pub(super) fn plan(machine: &Machine, request: &Request) -> Result<Plan, PlanError> {
    let asked = Asked::of(machine, request)?;
    let found = if is_small(request) { asked.in_daemon()? } else { asked.placed()? };
    let (plan, config) = asked.written(found)?;
    asked.verified(plan, &config)
}

/// Sectors whose stages share the daemon's cores.
fn is_small(request: &Request) -> bool {
    request.target.sector_size < SectorSize::GiB32
}

/// What the simulation is asked for a plan.
pub(in crate::planner) fn question<'a>(
    config: &'a WorkerConfig,
    machine: &'a Machine,
    request: &'a Request,
) -> simulate::Question<'a> {
    let choices = &request.choices;
    simulate::Question {
        config,
        machine,
        profile: &request.profile,
        prover: choices.prover,
        suite: choices.suite,
        ghz: choices.ghz,
    }
}

impl<'a> Asked<'a> {
    fn of(machine: &'a Machine, request: &'a Request) -> Result<Self, PlanError> {
        let (target, choices, site) = (&request.target, &request.choices, &request.site);
        let needed = target.sectors_per_hour()?;
        choices.check(target.sector_size)?;
        let locations = Locations::of(site)?;
        let inventory = Inventory::of(machine);
        let hostname = || machine.hostname.clone();
        if inventory.cores == 0 {
            return Err(PlanError::NoCores { hostname: hostname() });
        }
        if inventory.memory == Bytes(0) {
            return Err(PlanError::NoMemory { hostname: hostname() });
        }
        if !is_small(request) && inventory.nodes.iter().all(|node| node.memory == Bytes(0)) {
            return Err(PlanError::NoL3 { hostname: hostname() });
        }
        let costs = Costs::of(&inventory, target.sector_size, choices, site, &request.profile)?;
        Ok(Self { machine, request, inventory, costs, locations, needed })
    }

    /// How many machines the target takes when one makes so much; no where that is more than there are.
    fn machines(&self, each: f64, bottleneck: Bottleneck) -> Result<u32, PlanError> {
        let machines = steady::machines(self.needed, each);
        match (machines, self.request.choices.count) {
            (Some(machines), None) => Ok(machines),
            (Some(machines), Some(count)) if machines <= count => Ok(count),
            (_, count) => Err(infeasible(&self.request.target, self.needed, each, count.unwrap_or(1), bottleneck)),
        }
    }

    fn in_daemon(&self) -> Result<Found, PlanError> {
        let resources = capacity::Resources {
            cores: self.inventory.cores,
            memory_bytes: self.inventory.memory,
            utilisation: self.request.choices.utilisation,
        };
        let (possible, bottleneck) = match capacity::decide(f64::from(u32::MAX), &resources, &self.costs) {
            Ok(capacity) => (capacity.sectors_per_hour_expected, capacity.bottleneck),
            Err(most) => most,
        };
        if possible == 0.0 {
            return Err(self.too_small(&resources));
        }
        let machines = self.machines(possible, bottleneck)?;
        // Bisection stops a hair below what it says is possible.
        let each = (self.needed / f64::from(machines)).min(possible);
        let mut capacity = capacity::decide(each, &resources, &self.costs).map_err(|(possible, bottleneck)| {
            infeasible(&self.request.target, self.needed, possible, machines, bottleneck)
        })?;
        capacity.sectors_per_hour_needed = self.needed;
        Ok(Found { possible, machines, capacity, placement: None, optimum: None })
    }

    /// Not one sector at a time: its largest task does not fit in memory.
    fn too_small(&self, resources: &capacity::Resources) -> PlanError {
        let need = capacity::largest_task(resources, &self.costs);
        let more = capacity::memory_missing(resources, &self.costs);
        PlanError::NothingFits {
            hostname: self.machine.hostname.clone(),
            sector_size: self.request.target.sector_size,
            short: Short::Memory { need, have: placement::memory::planned(resources.memory_bytes) },
            change: more.map(|memory| Change { memory, ..Change::default() }),
        }
    }

    fn placed(&self) -> Result<Found, PlanError> {
        let (site, choices) = (&self.request.site, &self.request.choices);
        let peak = self.costs.on_cores(Stage::C2).scratch;
        let folders = disks::folders(&self.inventory, site, &self.request.profile, peak);
        let query = placement::Query { inventory: &self.inventory, costs: &self.costs, choices, folders: &folders };
        let all = placement::candidates(&query);
        let Some((best, bottleneck)) = all.best() else { return Err(self.nothing_fits(&all)) };
        if choices.optimise {
            return self.optimised(&query, &all);
        }
        let possible = best * choices.utilisation;
        let machines = self.machines(possible, bottleneck)?;
        let each = self.needed / f64::from(machines) / choices.utilisation;
        let placement = all.choose(each);
        let rate = placement.sectors_per_hour;
        Ok(self.found(possible, rate, machines, placement, None))
    }

    fn found(&self, possible: f64, rate: f64, machines: u32, placement: Placement, optimum: Option<Optimum>) -> Found {
        let capacity = Capacity {
            sectors_per_hour_needed: self.needed,
            sectors_per_hour_expected: rate * self.request.choices.utilisation,
            bottleneck: placement.bottleneck,
            sealing_threads: placement.threads,
            limits: placement.limits(),
            minutes_per_sector: placement.minutes_per_sector,
            tasks_memory_bytes: placement.memory.need,
        };
        Found { possible, machines, capacity, placement: Some(placement), optimum }
    }

    fn nothing_fits(&self, all: &Candidates) -> PlanError {
        let can_place = |machine: &Machine, request: &Request| {
            let mut one = request.clone();
            one.choices.pc1 = one.choices.pc1.or(Some(1));
            one.choices.optimise = false;
            Asked::of(machine, &one).is_ok_and(|asked| asked.can_place())
        };
        PlanError::NothingFits {
            hostname: self.machine.hostname.clone(),
            sector_size: self.request.target.sector_size,
            short: all.least_short().expect("a candidate fits or says what it lacks"),
            change: change::smallest(self.machine, self.request, &can_place),
        }
    }

    fn can_place(&self) -> bool {
        let peak = self.costs.on_cores(Stage::C2).scratch;
        let folders = disks::folders(&self.inventory, &self.request.site, &self.request.profile, peak);
        let choices = &self.request.choices;
        let query = placement::Query { inventory: &self.inventory, costs: &self.costs, choices, folders: &folders };
        placement::candidates(&query).best().is_some()
    }

    /// The layout that makes the most by simulation, whatever the target: as many machines as it then takes.
    fn optimised(&self, query: &placement::Query, all: &Candidates) -> Result<Found, PlanError> {
        let utilisation = self.request.choices.utilisation;
        let bound = bound::bound(query, all.most_pc1())?;
        let (first, _) = all.ranked().into_iter().next().expect("there is a best, so there is a first");
        let first = all.place(first);
        let (_, base) = self.written(self.found(first.sectors_per_hour, first.sectors_per_hour, 1, first, None))?;
        let simulated = |placement: &Placement| self.simulated(placement, &base);
        let (placement, optimum) =
            optimise::search(all, bound, simulated)?.expect("there is a best, so one was simulated");
        let rate = optimum.sectors_per_hour;
        let machines = self.machines(rate * utilisation, placement.bottleneck)?;
        Ok(self.found(rate * utilisation, rate, machines, placement, Some(optimum)))
    }

    /// Sectors an hour of a placement, with everything else as in a file that was written.
    fn simulated(&self, placement: &Placement, base: &WorkerConfig) -> Result<f64, PlanError> {
        let explained = processors::explained(placement, &self.inventory, self.request);
        let mut config = base.clone();
        config.processors = processors::processors(placement, &explained, self.request);
        let thread = base.sealing_thread.first().expect("a configuration has a sealing thread").clone();
        config.sealing_thread = vec![thread; placement.threads as usize];
        let question = question(&config, self.machine, self.request);
        let days = SIMULATED_SECTORS / (placement.sectors_per_hour * 24.0);
        let days = days.clamp(SIMULATED_DAYS.0, SIMULATED_DAYS.1);
        Ok(simulate::expected_per_day(&question, days, SIMULATED_SEED)? / 24.0)
    }

    /// The plan with its file, and what the file reads back as.
    fn written(&self, found: Found) -> Result<(Plan, WorkerConfig), PlanError> {
        let (request, target) = (self.request, &self.request.target);
        let peak = self.costs.on_cores(Stage::C2).scratch.0;
        let mut plan = Plan {
            hostname: self.machine.hostname.clone(),
            target: target.rate,
            sector_size: target.sector_size,
            days_per_month: target.days_per_month,
            machines: found.machines,
            sectors_per_hour_possible: found.possible,
            utilisation: request.choices.utilisation,
            cores: self.inventory.cores,
            memory_bytes: self.inventory.memory,
            scratch_bytes: Bytes(peak.saturating_mul(found.capacity.sealing_threads.into())),
            stages: stages(&self.costs, found.placement.as_ref()),
            warnings: warnings::of(&self.inventory, &self.costs, &found.capacity, found.placement.as_ref(), request),
            findings: Vec::new(),
            optimum: found.optimum,
            capacity: found.capacity,
            placement: found.placement,
            worker_toml: String::new(),
        };
        let (text, config) =
            render::worker_toml(&plan, &self.inventory, request, &self.locations, &Templates::shipped())?;
        plan.worker_toml = text;
        Ok((plan, config))
    }

    fn verified(&self, mut plan: Plan, config: &WorkerConfig) -> Result<Plan, PlanError> {
        let choices = &self.request.choices;
        let report = verify::verify(&verify::Question {
            config,
            warnings: &[],
            machine: self.machine,
            profile: &self.request.profile,
            prover: choices.prover,
            suite: choices.suite,
            ghz: choices.ghz,
            overcommit: choices.overcommit,
        });
        if let Some(error) = report.findings.iter().find(|finding| finding.severity == Severity::Error) {
            let found = format!("{}: {}; {} [{}]", error.path, error.found, error.advice, error.code);
            return Err(PlanError::Refused { hostname: self.machine.hostname.clone(), found });
        }
        // How many threads there are, the target decides.
        let is_told = |one: &verify::Finding| one.severity == Severity::Warning && one.code != "few-threads";
        plan.findings = report.findings.into_iter().filter(is_told).collect();
        Ok(plan)
    }
}

/// What the search for the best layout plays through.
const SIMULATED_SECTORS: f64 = 1_500.0;
const SIMULATED_DAYS: (f64, f64) = (14.0, 365.0);
const SIMULATED_SEED: u64 = 1;

/// The costs that the plan rests on: a stage's on the GPU that does it, where one does.
fn stages(costs: &Costs, placement: Option<&Placement>) -> Vec<Cost> {
    let on_gpu = |stage: Stage| {
        let mut processors = placement?.processors.iter().filter(|one| one.stage == stage);
        costs.on_gpu(processors.find_map(|one| one.gpu)?, stage)
    };
    Stage::ALL.into_iter().map(|stage| on_gpu(stage).unwrap_or_else(|| costs.on_cores(stage)).clone()).collect()
}

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
