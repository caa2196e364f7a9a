//! `[processors]`: limits, static trees, external processors.

use super::{doubt_long, elements, locks, or};
use crate::{
    units::{NodeId, SectorSize},
    worker_config::{
        diagnosis::Log,
        raw,
        read::{At, Entry},
        tree::quoted,
        types::{Cgroup, Limitation, Processor, Processors, StageName},
        values::Positive,
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

pub(super) fn processors(raw: &raw::Processors, log: &mut Log) -> Processors {
    let limitation = limitation(raw, log);
    let all = || raw.stages.iter().flat_map(|(_, list)| list).chain(&raw.sealing_daemons);
    locks::check(&raw.ext_locks, &all().collect::<Vec<_>>(), log);
    for (stage, list) in &raw.stages {
        check_sum(*stage, list, limitation.concurrent.get(stage).copied(), log);
        check_hugepages(*stage, list, log);
    }
    let mut lowered = |list: &[raw::Processor]| list.iter().map(|one| processor(one, log)).collect::<Vec<_>>();
    let stages = raw.stages.iter().filter(|(_, list)| !list.is_empty());
    let stages = stages.map(|(stage, list)| (*stage, lowered(list))).collect();
    let sealing_daemons = lowered(&raw.sealing_daemons);
    Processors {
        limitation,
        ext_locks: raw.ext_locks.iter().filter_map(|lock| Some((lock.name.clone(), lock.value.as_ref()?.0))).collect(),
        static_tree_d: static_tree_d(&raw.static_tree_d, log),
        stages,
        sealing_daemons,
    }
}

/// The old `limit` and the new `limitation.concurrent`, merged per stage: the new key wins.
fn limitation(raw: &raw::Processors, log: &mut Log) -> Limitation {
    let mut concurrent: BTreeMap<StageName, u32> =
        raw.concurrent.iter().map(|(stage, at)| (*stage, at.value.0)).collect();
    for (stage, At { value: Positive(old), place }) in &raw.limit {
        let new = *concurrent.entry(*stage).or_insert(*old);
        if new == *old {
            log.warning(place, "old form", format!("write {stage} = {old} under [processors.limitation.concurrent]"));
        } else {
            let found = format!("old form with {old}, but limitation.concurrent.{stage} is {new}");
            log.warning(place, found, format!("{new} is used: remove this key"));
        }
    }
    raw.staggered.iter().for_each(|(_, gap)| doubt_long(&gap.place, gap.value, log));
    let staggered = raw.staggered.iter().map(|(stage, at)| (*stage, at.value)).collect();
    Limitation { concurrent, staggered }
}

fn static_tree_d(raw: &[Entry<PathBuf>], log: &mut Log) -> BTreeMap<SectorSize, PathBuf> {
    let mut trees = BTreeMap::new();
    for Entry { name, place, value } in raw {
        let Ok(size) = name.parse::<SectorSize>() else {
            let found = format!("{} is not a sector size", quoted(name));
            log.problem(place, found, "accepted: 2KiB, 8MiB, 512MiB, 32GiB or 64GiB");
            continue;
        };
        let Some(path) = value else { continue };
        if trees.insert(size, path.clone()).is_some() {
            log.problem(place, format!("{size} stands here in two spellings"), "keep one of them");
        }
    }
    trees
}

/// What the processors of a stage take together should be what the stage may have.
fn check_sum(stage: StageName, list: &[raw::Processor], limit: Option<u32>, log: &mut Log) {
    let sum: Option<u64> = list.iter().map(|one| Some(u64::from(one.concurrent.as_ref()?.value.0))).sum();
    let (Some(sum), Some(limit), Some(first)) = (sum, limit.map(u64::from), list.first()) else { return };
    let place = &first.place;
    let accepted = format!("make the sum of concurrent and limitation.concurrent.{stage} agree");
    if sum < limit {
        log.warning(
            place,
            format!("all {stage} processors take {sum} tasks, so the limit of {limit} is never reached"),
            accepted,
        );
    } else if sum > limit {
        log.warning(
            place,
            format!("all {stage} processors take {sum} tasks, but the limit lets only {limit} run"),
            accepted,
        );
    }
}

/// Two processes that map the same hugepage file as their own memory destroy each other's work. Ours lock what they map, and
/// may run short.
fn check_hugepages(stage: StageName, list: &[raw::Processor], log: &mut Log) {
    if stage != StageName::Pc1 {
        return;
    }
    let mut seen: HashMap<(&str, &str), &str> = HashMap::new();
    for processor in list {
        for env in processor.envs.iter().filter(|env| env.name.starts_with("HUGEPAGE_FILES_PATH")) {
            let Some(path) = &env.value else { continue };
            if let Some(first) = seen.insert((&env.name, path), &processor.place.path) {
                let found = format!("{} is also the hugepage folder of {first}", quoted(path));
                log.warning(&env.place, found, "provers that take no lock would write over each other's memory, ours may run short of files: give each its own folder");
            }
        }
    }
}

fn processor(raw: &raw::Processor, log: &mut Log) -> Processor {
    let default = Processor::default();
    Processor {
        bin: raw.bin.as_ref().map(|at| at.value.clone()),
        args: elements(&raw.args),
        stable_wait: raw.stable_wait.as_ref().map_or(default.stable_wait, |at| at.value.0),
        cgroup: Cgroup { group_name: group_name(raw, log), cpuset: raw.cpuset.as_ref().map(|at| at.value.clone()) },
        envs: envs(&raw.envs, log),
        numa_preferred: raw.numa_preferred.as_ref().map(|at| NodeId(at.value)),
        concurrent: raw.concurrent.as_ref().map(|at| at.value.0),
        locks: raw
            .locks
            .as_ref()
            .map_or_else(Vec::new, |at| at.value.iter().map(|lock| lock.value.0.clone()).collect()),
        auto_restart: or(&raw.auto_restart, default.auto_restart),
        inherit_envs: or(&raw.inherit_envs, default.inherit_envs),
    }
}

fn group_name(raw: &raw::Processor, log: &mut Log) -> Option<String> {
    let name = raw.group_name.as_ref()?;
    let text = &name.value.0;
    if text.starts_with('/') || text.split('/').any(|part| part == ".." || part == "." || part.is_empty()) {
        let accepted = "accepted: a name below the cgroup root, such as \"vc-worker\"";
        log.problem(&name.place, format!("found {}, which is not the name of a cgroup", quoted(text)), accepted);
    }
    Some(text.clone())
}

/// Variables that the proofs libraries ignore, or read otherwise than their name says.
fn envs(raw: &[Entry<String>], log: &mut Log) -> BTreeMap<String, String> {
    for Entry { name, place, .. } in raw {
        if name.is_empty() || name.contains(['=', '\0']) {
            log.problem(
                place,
                format!("{} cannot be the name of a variable", quoted(name)),
                "accepted: a name without =",
            );
        }
        match name.as_str() {
            "FIL_PROOFS_MAXIMIZE_CACHING" => {
                log.warning(place, "obsolete variable", "it has no effect since 2020: remove it");
            }
            "BELLMAN_CUSTOM_GPU" => {
                log.warning(place, "old form", "write RUST_GPU_TOOLS_CUSTOM_GPU, which wins when both are set");
            }
            "FIL_PROOFS_USE_GPU_COLUMN_BUILDER"
                if !raw.iter().any(|env| env.name == "FIL_PROOFS_USE_GPU_TREE_BUILDER") =>
            {
                let accepted = "alone it has no effect: set FIL_PROOFS_USE_GPU_TREE_BUILDER = \"1\" as well";
                log.warning(
                    place,
                    "FIL_PROOFS_USE_GPU_COLUMN_BUILDER without FIL_PROOFS_USE_GPU_TREE_BUILDER",
                    accepted,
                );
            }
            _ => {}
        }
    }
    raw.iter().filter_map(|env| Some((env.name.clone(), env.value.clone()?))).collect()
}
