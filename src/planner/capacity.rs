//! How many sealing threads, and how many tasks of each stage at once, a rate takes, and whether they fit.
//!
//! Three things bound a rate: the cores' work, the memory of all tasks that may run at once, and the number
//! of sealing threads. `shape` says what one rate takes; it only grows with the rate, so the most that a
//! machine can do is found by bisection on the very same function.

use super::profile::{Profile, Stage, StageCost};
use crate::units::{Bytes, HumanDuration};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// The part of the cores that is planned: the rest is for the system and for stages that meet.
const CPU_SHARE: f64 = 0.9;

/// The part of the memory that is planned: the rest is for the system and its page cache.
const MEMORY_SHARE: f64 = 0.85;

/// Epochs between a landed PreCommit and its seed, fixed by the network.
const SEED_EPOCHS: f64 = 150.0;

/// A sealing thread is a thread of the daemon with a store and a journal of its own; beyond this number
/// a second daemon is the better answer.
const THREADS_MAX: u32 = 256;

/// What a machine has to give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Resources {
    pub cores: u32,
    pub memory_bytes: Bytes,
}

/// The pauses of a pipeline that are no work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Timing {
    /// The length of a chain epoch.
    pub epoch: HumanDuration,
    /// The pause between two polls of the manager.
    pub poll: HumanDuration,
}

/// At most so many tasks of each stage at once; a stage that worker.toml cannot limit is not in it.
pub type Limits = BTreeMap<Stage, u32>;

/// What a rate takes, and what can be expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Capacity {
    pub sectors_per_hour_needed: f64,
    pub sectors_per_hour_expected: f64,
    /// What keeps the expectation from being higher.
    pub bottleneck: Bottleneck,
    pub sealing_threads: u32,
    pub limits: Limits,
    /// From the first byte to the landed proof of one sector.
    pub minutes_per_sector: f64,
    /// The most memory that tasks may hold at once.
    pub tasks_memory_bytes: Bytes,
}

/// What bounds a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bottleneck {
    Cores,
    Memory,
    SealingThreads,
    /// A stage's limit.
    Stage(Stage),
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cores => f.write_str("cores"),
            Self::Memory => f.write_str("memory"),
            Self::SealingThreads => f.write_str("sealing threads"),
            Self::Stage(stage) => write!(f, "the limit of {}", stage.name()),
        }
    }
}

/// What `needed` sectors per hour take; or the most that these resources reach, and what bounds them.
pub(crate) fn decide(
    needed: f64,
    resources: &Resources,
    profile: &Profile,
    timing: &Timing,
) -> Result<Capacity, (f64, Bottleneck)> {
    let shape_at = |rate| shape(rate, resources, profile, timing);
    match shape_at(needed) {
        Ok(shape) => Ok(forecast(needed, shape, resources, profile, timing)),
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
fn shape(rate: f64, resources: &Resources, profile: &Profile, timing: &Timing) -> Result<Shape, Bottleneck> {
    if rate * profile.core_seconds() / 3600.0 > f64::from(resources.cores) * CPU_SHARE {
        return Err(Bottleneck::Cores);
    }
    let threads = in_flight(rate, cycle_seconds(resources, profile, timing));
    if threads > THREADS_MAX {
        return Err(Bottleneck::SealingThreads);
    }
    let limits: Limits = profile
        .stages
        .iter()
        .filter(|cost| cost.stage.can_be_limited())
        .map(|cost| (cost.stage, in_flight(rate, stage_seconds(cost, resources)).min(threads)))
        .collect();
    let memory_bytes = worst_memory(threads, &limits, profile);
    if memory_bytes.0 as f64 > resources.memory_bytes.0 as f64 * MEMORY_SHARE {
        return Err(Bottleneck::Memory);
    }
    Ok(Shape { threads, limits, memory_bytes })
}

/// How many things of this length are under way at once (Little's law), at least one.
fn in_flight(per_hour: f64, seconds: f64) -> u32 {
    // `as` saturates, so a rate beyond every machine stays beyond every limit.
    ((per_hour * seconds / 3600.0).ceil() as u32).max(1)
}

/// How long a task of a stage takes on this machine.
fn stage_seconds(cost: &StageCost, resources: &Resources) -> f64 {
    cost.core_seconds / f64::from(cost.cores_max.min(resources.cores))
}

/// How long one sector takes from empty to finished.
fn cycle_seconds(resources: &Resources, profile: &Profile, timing: &Timing) -> f64 {
    let work: f64 = profile.stages.iter().map(|cost| stage_seconds(cost, resources)).sum();
    // Asked for work, landed PreCommit and landed proof: each is noticed a poll late at worst.
    work + SEED_EPOCHS * timing.epoch.0.as_secs_f64() + 3.0 * timing.poll.0.as_secs_f64()
}

/// The most memory that tasks can hold at once: every thread is in at most one stage, so it is that of the
/// `threads` largest tasks that the limits let run together.
fn worst_memory(threads: u32, limits: &Limits, profile: &Profile) -> Bytes {
    let mut costs: Vec<_> = profile.stages.iter().collect();
    costs.sort_by_key(|cost| std::cmp::Reverse(cost.memory_bytes));
    let (mut free, mut bytes) = (threads, 0u64);
    for cost in costs {
        let tasks = limits.get(&cost.stage).map_or(free, |limit| free.min(*limit));
        free -= tasks;
        bytes = bytes.saturating_add(cost.memory_bytes.0.saturating_mul(tasks.into()));
    }
    Bytes(bytes)
}

fn forecast(needed: f64, shape: Shape, resources: &Resources, profile: &Profile, timing: &Timing) -> Capacity {
    let cycle = cycle_seconds(resources, profile, timing);
    let cores = f64::from(resources.cores) * CPU_SHARE * 3600.0 / profile.core_seconds();
    let threads = f64::from(shape.threads) * 3600.0 / cycle;
    let stages = profile.stages.iter().filter_map(|cost| {
        let limit = shape.limits.get(&cost.stage)?;
        Some((f64::from(*limit) * 3600.0 / stage_seconds(cost, resources), Bottleneck::Stage(cost.stage)))
    });
    let bounds = [(cores, Bottleneck::Cores), (threads, Bottleneck::SealingThreads)].into_iter().chain(stages);
    let (expected, bottleneck) = bounds.min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are at least two bounds");
    Capacity {
        sectors_per_hour_needed: needed,
        sectors_per_hour_expected: expected,
        bottleneck,
        sealing_threads: shape.threads,
        limits: shape.limits,
        minutes_per_sector: cycle / 60.0,
        tasks_memory_bytes: shape.memory_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::profile::profile, *};
    use crate::units::SectorSize;
    use proptest::prelude::*;

    const TIMING: Timing =
        Timing { epoch: HumanDuration(std::time::Duration::from_millis(100)), poll: HumanDuration::secs(1) };

    fn try_decide(needed: f64, cores: u32, gib: u64) -> Result<Capacity, (f64, Bottleneck)> {
        let resources = Resources { cores, memory_bytes: Bytes::gib(gib) };
        decide(needed, &resources, &profile(SectorSize::KiB2).unwrap(), &TIMING)
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
        let bound = 2.0 * CPU_SHARE * 3600.0 / profile(SectorSize::KiB2).unwrap().core_seconds();
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
            let profile = profile(SectorSize::ALL[size]).unwrap();
            let resources = Resources { cores, memory_bytes: Bytes::gib(gib) };
            match decide(needed, &resources, &profile, &TIMING) {
                Ok(capacity) => {
                    prop_assert!(capacity.sectors_per_hour_expected >= needed * (1.0 - 1e-9));
                    prop_assert!(capacity.tasks_memory_bytes < resources.memory_bytes);
                    prop_assert!(capacity.limits.values().all(|limit| (1..=capacity.sealing_threads).contains(limit)));
                }
                Err((possible, bottleneck)) => {
                    prop_assert!(possible < needed);
                    // What it says it could do, it can; a little more, it cannot.
                    if possible > 0.0 {
                        prop_assert!(decide(possible, &resources, &profile, &TIMING).is_ok());
                    }
                    let more = decide(possible * 1.001 + 1e-9, &resources, &profile, &TIMING);
                    prop_assert_eq!(more.unwrap_err().1, bottleneck);
                }
            }
        }
    }
}
