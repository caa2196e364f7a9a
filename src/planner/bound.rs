//! What no layout of a machine exceeds: a small integer programme over everything that a layout can choose.
//!
//! ```text
//! maximise   λ   sectors an hour
//! PC1        λ ≤ 60 p / T₁                      p tasks, whole; no more than cores and the memory of nodes carry
//! PC2, C2    λ ≤ Σ done on GPUs, or λ ≤ done on cores; each GPU serves one stage, or both within its 60 minutes
//! cores      p w + Σ work of a sector in core-minutes / 60 ≤ cores without the system's one
//! memory     p m₁ + Σ of each GPU's task + what is on average on cores + one add_pieces, tree_d and c1 ≤ what there is
//! disks      λ ≤ bytes; λ T ≤ 60 threads        T the shortest way from the first byte to the landed proof
//! ```
//!
//! Why each line holds for every layout, whatever its cpusets, threads and staggers, is in docs/design/planner.md. The
//! programme knows nothing of caches, fair shares and queues: what it forgets only ever lets it promise more.

use super::{
    GpuUse, THREADS_MAX,
    placement::{Query, disk_traffic, disks, memory::reserve},
};
use crate::{
    profile::{Cost, Stage},
    units::Bytes,
};
use good_lp::{Expression, ProblemVariables, Solution, SolverModel, Variable, constraint, default_solver, variable};

/// The programme had no answer, although no work at all is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bound of all layouts was not found: {0}; this is a bug, please report it")]
pub struct BoundError(String);

/// The solver's own rounding.
const ROUNDING: f64 = 1e-6;

/// GPUs that are alike.
struct Group<'c> {
    count: u32,
    pc2: Option<&'c Cost>,
    c2: Option<&'c Cost>,
}

/// Sectors an hour that no layout of this machine exceeds. `most_pc1` is how many PC1 tasks cores and nodes carry.
pub(crate) fn bound(query: &Query, most_pc1: u32) -> Result<f64, BoundError> {
    let mut programme = Programme::new(query, most_pc1);
    for group in groups(query) {
        programme.gpus(&group);
    }
    programme.solve()
}

fn groups<'c>(query: &Query<'c>) -> Vec<Group<'c>> {
    let is_local = query.choices.is_c2_local();
    let mut groups: Vec<Group> = Vec::new();
    for gpu in 0..query.inventory.gpus.len() {
        let of = |stage| query.costs.on_gpu(gpu, stage);
        let (pc2, c2) = (of(Stage::Pc2), of(Stage::C2).filter(|_| is_local));
        match groups.iter_mut().find(|group| group.pc2 == pc2 && group.c2 == c2) {
            Some(group) => group.count += 1,
            None => groups.push(Group { count: 1, pc2, c2 }),
        }
    }
    groups
}

struct Programme<'q, 'c> {
    query: &'q Query<'c>,
    variables: ProblemVariables,
    rate: Variable,
    /// Of PC2 and C2: whether cores do it, how much, and the sum of all that do it.
    stages: [OnCores; 2],
    cores: Expression,
    gib: Expression,
    /// Each at most 0.
    rules: Vec<Expression>,
}

/// A stage that is done by cores, or else by GPUs.
struct OnCores {
    is_on_cores: Variable,
    done: Expression,
    gpus: Expression,
}

fn gib(bytes: Bytes) -> f64 {
    bytes.0 as f64 / Bytes::gib(1).0 as f64
}

/// Work of one task in minutes of one core.
fn core_minutes(cost: &Cost) -> f64 {
    cost.core_seconds() / 60.0
}

impl<'q, 'c> Programme<'q, 'c> {
    fn new(query: &'q Query<'c>, most_pc1: u32) -> Self {
        let mut variables = ProblemVariables::new();
        let rate = variables.add(variable().min(0));
        let least = query.choices.pc1.unwrap_or(0).min(most_pc1);
        let most = query.choices.pc1.map_or(most_pc1, |told| told.min(most_pc1));
        let pc1 = variables.add(variable().integer().min(least).max(most));
        let mut on_cores = || OnCores {
            is_on_cores: variables.add(variable().binary()),
            done: Expression::from(0.0),
            gpus: Expression::from(0.0),
        };
        let stages = [on_cores(), on_cores()];
        let task = query.costs.on_cores(Stage::Pc1);
        let width = query.choices.prover.least_producers() as f64 + 1.0;
        let light = [Stage::AddPieces, Stage::TreeD, Stage::C1];
        let light: f64 = light.into_iter().map(|stage| gib(query.costs.on_cores(stage).memory_on(1))).sum();
        let mut programme = Self {
            query,
            variables,
            rate,
            stages,
            cores: width * pc1,
            gib: gib(task.memory_on(1)) * pc1 + light,
            rules: vec![rate - (60.0 / task.minutes(task.cores())) * pc1],
        };
        programme.on_cores(0, Stage::Pc2);
        if query.choices.is_c2_local() {
            programme.on_cores(1, Stage::C2);
        }
        programme
    }

    /// A stage on cores holds its memory for as long as it runs: on average so much for each sector an hour.
    fn on_cores(&mut self, place: usize, stage: Stage) {
        let cost = self.query.costs.on_cores(stage);
        let done = self.variables.add(variable().min(0));
        self.cores += (core_minutes(cost) / 60.0) * done;
        let held = |cores: u32| cost.minutes(cores) / 60.0 * gib(cost.memory_on(cores));
        let least = (1..=cost.cores().max(1)).map(held).fold(f64::INFINITY, f64::min);
        self.gib += least * done;
        // As much as all cores could do, if they may.
        let most = f64::from(self.query.inventory.cores) * 60.0 / core_minutes(cost);
        self.rules.push(done - most * self.stages[place].is_on_cores);
        self.stages[place].done += done;
    }

    fn gpus(&mut self, group: &Group) {
        let only = self.query.choices.layout;
        let count = f64::from(group.count);
        let mut whole = |allowed: bool| {
            let most = if allowed { count } else { 0.0 };
            self.variables.add(variable().integer().min(0).max(most))
        };
        let may_share = only != Some(GpuUse::Exclusive) && group.pc2.is_some() && group.c2.is_some();
        let may_alone = only != Some(GpuUse::Shared);
        let both = whole(may_share);
        let alone = [group.pc2, group.c2].map(|cost| whole(may_alone && cost.is_some()));
        self.rules.push(both + alone[0] + alone[1] - count);
        let mut shared_minutes = Expression::from(0.0);
        let mut shared_gib = 0.0f64;
        for (place, cost) in [group.pc2, group.c2].into_iter().enumerate() {
            let Some(cost) = cost else { continue };
            let minutes = cost.minutes(u32::MAX);
            let mut done = || self.variables.add(variable().min(0));
            let (by_own, by_shared) = (done(), done());
            self.rules.push(minutes * by_own - 60.0 * alone[place]);
            shared_minutes += minutes * by_shared;
            self.cores += (core_minutes(cost) / 60.0) * (by_own + by_shared);
            self.gib += gib(cost.memory_on(1)) * alone[place];
            shared_gib = shared_gib.max(gib(cost.memory_on(1)));
            self.stages[place].done += by_own + by_shared;
            self.stages[place].gpus += both + alone[place];
        }
        self.rules.push(shared_minutes - 60.0 * both);
        self.gib += shared_gib * both;
    }

    fn solve(self) -> Result<f64, BoundError> {
        let query = self.query;
        let gpus = query.inventory.gpus.len() as f64;
        let mut model = self.variables.maximise(self.rate).using(default_solver);
        for rule in self.rules {
            model = model.with(constraint!(rule <= 0.0));
        }
        let stages = if query.choices.is_c2_local() { 2 } else { 1 };
        for stage in self.stages.into_iter().take(stages) {
            model = model.with(constraint!(self.rate <= stage.done));
            model = model.with(constraint!(stage.gpus <= gpus - gpus * stage.is_on_cores));
        }
        model = model.with(constraint!(self.cores <= f64::from(query.inventory.cores.saturating_sub(1))));
        if !query.choices.overcommit {
            model = model.with(constraint!(self.gib <= gib(have(query))));
        }
        if let Some(most) = by_disks_and_threads(query) {
            model = model.with(constraint!(self.rate <= most));
        }
        let solution = model.solve().map_err(|error| BoundError(error.to_string()))?;
        Ok(solution.value(self.rate) * (1.0 + ROUNDING))
    }
}

/// Memory for tasks. Pages in pools are PC1's where it uses them, and nobody's otherwise.
fn have(query: &Query) -> Bytes {
    let inventory = query.inventory;
    let pooled: u64 = inventory.nodes.iter().map(|node| node.pooled.0).sum();
    let lost = if query.choices.hugepages.is_some() { 0 } else { pooled };
    Bytes(inventory.memory.0.saturating_sub(reserve(inventory.memory).0).saturating_sub(lost))
}

fn by_disks_and_threads(query: &Query) -> Option<f64> {
    let (reads, writes) = disk_traffic(query.costs);
    let by_speed = disks::most_per_hour(query.folders, reads, writes);
    let threads = disks::most_threads(query.folders).unwrap_or(THREADS_MAX).min(THREADS_MAX);
    let by_threads = f64::from(threads) * 60.0 / shortest_way(query);
    Some(by_speed.map_or(by_threads, |speed| speed.min(by_threads)))
}

/// Minutes of a sector that meets nobody, on the fastest of everything.
fn shortest_way(query: &Query) -> f64 {
    let costs = query.costs;
    let system = query.system_cores().iter().sum::<usize>() as u32;
    let light = [Stage::AddPieces, Stage::TreeD, Stage::C1];
    let light: f64 = light.into_iter().map(|stage| costs.on_cores(stage).minutes(system)).sum();
    let pc1 = costs.on_cores(Stage::Pc1);
    let fastest = |stage: Stage| {
        let on_gpus = (0..query.inventory.gpus.len()).filter_map(|gpu| costs.on_gpu(gpu, stage));
        let all = on_gpus.chain([costs.on_cores(stage)]);
        all.map(|cost| cost.minutes(cost.cores())).fold(f64::INFINITY, f64::min)
    };
    // C2 elsewhere takes its time too; how much, this machine does not tell.
    let c2 = if query.choices.is_c2_local() { fastest(Stage::C2) } else { 0.0 };
    light + pc1.minutes(pc1.cores()) + fastest(Stage::Pc2) + c2 + costs.waits
}
