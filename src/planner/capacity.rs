//! Stages inside the daemon, on cores that they all share: how many sealing threads and tasks a rate takes, and
//! whether they fit. So are the small sector sizes planned, whose tasks are short and need no cores of their own.
//!
//! Three things bound a rate: the cores' work, the memory of all tasks that may run at once, and the number
//! of sealing threads. `shape` says what one rate takes; it only grows with the rate, so the most that a
//! machine can do is found by bisection on the very same function.

use super::{Bottleneck, Capacity, Limits, THREADS_MAX, costs::Costs, placement::memory::planned, steady};
use crate::{
    profile::{Cost, Stage},
    units::Bytes,
};

/// What a machine has to give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Resources {
    pub cores: u32,
    pub memory_bytes: Bytes,
    /// The part of the cores that is planned: the rest is for the system and for stages that meet.
    pub utilisation: f64,
}

/// What `needed` sectors per hour take; or the most that these resources reach, and what bounds them.
pub(crate) fn decide(needed: f64, resources: &Resources, costs: &Costs) -> Result<Capacity, (f64, Bottleneck)> {
    let shape_at = |rate| shape(rate, resources, costs);
    match shape_at(needed) {
        Ok(shape) => Ok(forecast(needed, shape, resources, costs)),
        Err(mut bottleneck) => {
            let (mut feasible, mut infeasible) = (0.0, needed);
            // A double has 53 bits and an exponent of 11: beyond that bisection cannot move.
            for _ in 0..128 {
                let middle = (feasible + infeasible) / 2.0;
                match shape_at(middle) {
                    Ok(_) => feasible = middle,
                    Err(reason) => (infeasible, bottleneck) = (middle, reason),
                }
            }
            Err((feasible, bottleneck))
        }
    }
}

/// Threads and limits.
struct Shape {
    threads: u32,
    limits: Limits,
    memory_bytes: Bytes,
}

/// What `rate` sectors per hour take, if it fits.
fn shape(rate: f64, resources: &Resources, costs: &Costs) -> Result<Shape, Bottleneck> {
    if rate * core_seconds(costs) / 3600.0 > f64::from(resources.cores) * resources.utilisation {
        return Err(Bottleneck::Cores);
    }
    let threads = steady::places(rate, cycle_minutes(resources, costs));
    if threads > THREADS_MAX {
        return Err(Bottleneck::SealingThreads);
    }
    let limits: Limits = costs
        .all_on_cores()
        .filter(|cost| cost.stage.can_be_limited())
        .map(|cost| (cost.stage, steady::places(rate, cost.minutes(resources.cores)).min(threads)))
        .collect();
    let memory_bytes = worst_memory(threads, &limits, resources, costs);
    if memory_bytes > planned(resources.memory_bytes) {
        return Err(Bottleneck::Memory);
    }
    Ok(Shape { threads, limits, memory_bytes })
}

/// What the largest task holds: the least memory that tasks take.
pub(crate) fn largest_task(resources: &Resources, costs: &Costs) -> Bytes {
    costs.all_on_cores().map(|cost| cost.memory_on(resources.cores)).max().unwrap_or_default()
}

/// How much more memory makes one task at a time fit; none where that is not what is missing.
pub(crate) fn memory_missing(resources: &Resources, costs: &Costs) -> Option<Bytes> {
    const STEP: Bytes = Bytes::mib(64);
    let fits = |memory_bytes| shape(f64::MIN_POSITIVE, &Resources { memory_bytes, ..*resources }, costs).is_ok();
    let mut more = (1..=16_384u64).map(|steps| Bytes(STEP.0 * steps));
    more.find(|more| fits(Bytes(resources.memory_bytes.0 + more.0)))
}

/// Work of a whole sector, in seconds of one core.
fn core_seconds(costs: &Costs) -> f64 {
    costs.all_on_cores().map(Cost::core_seconds).sum()
}

/// How long one sector takes from empty to finished.
fn cycle_minutes(resources: &Resources, costs: &Costs) -> f64 {
    costs.all_on_cores().map(|cost| cost.minutes(resources.cores)).sum::<f64>() + costs.waits
}

/// The most memory that tasks can hold at once: every thread is in at most one stage, so it is that of the
/// `threads` largest tasks that the limits let run together.
fn worst_memory(threads: u32, limits: &Limits, resources: &Resources, costs: &Costs) -> Bytes {
    let mut tasks: Vec<(Bytes, Stage)> =
        costs.all_on_cores().map(|cost| (cost.memory_on(resources.cores), cost.stage)).collect();
    tasks.sort_by_key(|(memory, _)| std::cmp::Reverse(*memory));
    let (mut free, mut bytes) = (threads, 0u64);
    for (memory, stage) in tasks {
        let count = limits.get(&stage).map_or(free, |limit| free.min(*limit));
        free -= count;
        bytes = bytes.saturating_add(memory.0.saturating_mul(count.into()));
    }
    Bytes(bytes)
}

fn forecast(needed: f64, shape: Shape, resources: &Resources, costs: &Costs) -> Capacity {
    let cycle = cycle_minutes(resources, costs);
    let cores = f64::from(resources.cores) * resources.utilisation * 3600.0 / core_seconds(costs);
    let threads = steady::per_hour(shape.threads, cycle);
    let stages = costs.all_on_cores().filter_map(|cost| {
        let limit = shape.limits.get(&cost.stage)?;
        Some((steady::per_hour(*limit, cost.minutes(resources.cores)), Bottleneck::Stage(cost.stage)))
    });
    let bounds = [(cores, Bottleneck::Cores), (threads, Bottleneck::SealingThreads)].into_iter().chain(stages);
    let (expected, bottleneck) = bounds.min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are at least two bounds");
    Capacity {
        sectors_per_hour_needed: needed,
        sectors_per_hour_expected: expected,
        bottleneck,
        sealing_threads: shape.threads,
        limits: shape.limits,
        minutes_per_sector: cycle,
        tasks_memory_bytes: shape.memory_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        machine,
        planner::{Choices, Manager, Site, inventory::Inventory},
        profile::Profile,
        units::SectorSize,
    };
    use proptest::prelude::*;

    fn costs(sector_size: SectorSize) -> Costs {
        let text =
            r#"{"version":1,"hostname":"a","allowed_cpus":"0","topology":{"kind":"machine","cores":[{"cpus":"0"}]}}"#;
        let machine = machine::parse(text).unwrap();
        let site = Site {
            manager: Manager::Embedded,
            manager_dir: "m".into(),
            sealing_dirs: Vec::new(),
            sealing_dirs_are_default: true,
            attached: Vec::new(),
            miner: None,
        };
        Costs::of(&Inventory::of(&machine), sector_size, &Choices::default(), &site, &Profile::shipped()).unwrap()
    }

    fn resources(cores: u32, gib: u64) -> Resources {
        Resources { cores, memory_bytes: Bytes::gib(gib), utilisation: 0.9 }
    }

    fn try_decide(needed: f64, cores: u32, gib: u64) -> Result<Capacity, (f64, Bottleneck)> {
        decide(needed, &resources(cores, gib), &costs(SectorSize::KiB2))
    }

    #[test]
    fn a_small_target_takes_one_thread() {
        let capacity = try_decide(1.0, 2, 16).unwrap();
        assert_eq!(capacity.sealing_threads, 1);
        assert!(capacity.limits.values().all(|limit| *limit == 1));
        assert_eq!(capacity.bottleneck, Bottleneck::SealingThreads);
        assert_eq!(capacity.tasks_memory_bytes, Bytes::mib(2816), "one thread holds one task at a time");
    }

    #[test]
    fn a_larger_target_takes_more_threads() {
        let (few, many) = (try_decide(100.0, 64, 256).unwrap(), try_decide(1500.0, 64, 256).unwrap());
        assert!(few.sealing_threads < many.sealing_threads);
    }

    #[test]
    fn too_few_cores_are_named_with_what_they_reach() {
        let (possible, bottleneck) = try_decide(1e6, 2, 64).unwrap_err();
        assert_eq!(bottleneck, Bottleneck::Cores);
        let bound = 2.0 * 0.9 * 3600.0 / core_seconds(&costs(SectorSize::KiB2));
        assert!((possible - bound).abs() < 1e-6 * bound, "{possible} {bound}");
    }

    #[test]
    fn too_little_memory_is_named() {
        assert_eq!(try_decide(1.0, 2, 3).unwrap_err(), (0.0, Bottleneck::Memory), "a single task does not fit");
        let (possible, bottleneck) = try_decide(4000.0, 128, 4).unwrap_err();
        assert_eq!(bottleneck, Bottleneck::Memory);
        assert!(possible > 0.0);
    }

    proptest! {
        #[test]
        fn what_is_planned_is_expected_and_fits(
            needed in 0.001f64..5000.0, cores in 1u32..256, gib in 1u64..2048, size in 0usize..3
        ) {
            let (costs, resources) = (costs(SectorSize::ALL[size]), resources(cores, gib));
            match decide(needed, &resources, &costs) {
                Ok(capacity) => {
                    prop_assert!(capacity.sectors_per_hour_expected >= needed * (1.0 - 1e-9));
                    prop_assert!(capacity.tasks_memory_bytes < resources.memory_bytes);
                    prop_assert!(capacity.limits.values().all(|limit| (1..=capacity.sealing_threads).contains(limit)));
                }
                Err((possible, bottleneck)) => {
                    prop_assert!(possible < needed);
                    // What it says it could do, it can; a little more, it cannot.
                    if possible > 0.0 {
                        prop_assert!(decide(possible, &resources, &costs).is_ok());
                    }
                    let more = decide(possible * 1.001 + 1e-9, &resources, &costs);
                    prop_assert_eq!(more.unwrap_err().1, bottleneck);
                }
            }
        }
    }
}
