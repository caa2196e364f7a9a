//! Which core each sector is hashed on: a rule over what the kernel says of this process's CPUs.
//!
//! ```text
//! allowed CPUs ─► whole cores ─► their shared caches ─► one core of each cache, then the second of each, …
//! ```
//!
//! A sector is one chain of hashes, so it wants one core and that core alone: the other thread of a core shares the
//! unit that hashes. Caches are filled in turns, because what neighbours share is the way to memory. It is the rule
//! that `hwinfo cpuset --prover own` foretells. Any set of CPUs works; what is not best is said in a line.

use crate::{
    sys::{Root, root::ReadError},
    units::CpuList,
};
use std::collections::BTreeMap;

const CPUS: &str = "/sys/devices/system/cpu";

/// A core as far as this process may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// The CPU to hash on: the first allowed one.
    pub cpu: u32,
    /// All its threads, allowed or not.
    pub threads: CpuList,
    /// The CPUs that share the nearest cache of more than one core, or the package where there is none.
    pub group: CpuList,
}

/// The cores of these CPUs in the order in which they are taken.
pub fn cores(root: &Root, allowed: &CpuList) -> Vec<Core> {
    let described: Vec<(Core, Vec<CpuList>)> = allowed
        .iter()
        .map(|cpu| {
            let alone: CpuList = [cpu].into_iter().collect();
            let threads = threads(root, cpu).unwrap_or_else(|_| alone.clone()).or(&alone);
            let around = around(root, cpu).unwrap_or_default();
            (Core { cpu, threads, group: CpuList::default() }, around)
        })
        .collect();
    let mut cores: Vec<(Core, Vec<CpuList>)> = Vec::new();
    for (core, around) in described {
        if !cores.iter().any(|(known, _)| known.threads.contains(core.cpu)) {
            cores.push((core, around));
        }
    }
    in_turns(grouped(cores, allowed))
}

/// Gives each core its group: of the levels around cores the innermost that has fewer objects than there are cores.
fn grouped(cores: Vec<(Core, Vec<CpuList>)>, allowed: &CpuList) -> Vec<Core> {
    let levels = cores.iter().map(|(_, around)| around.len()).max().unwrap_or_default();
    let level = (0..levels).find(|level| {
        let mut objects: Vec<&CpuList> = cores.iter().filter_map(|(_, around)| around.get(*level)).collect();
        objects.sort();
        objects.dedup();
        objects.len() < cores.len()
    });
    let of = |around: &[CpuList]| level.and_then(|level| around.get(level)).unwrap_or(allowed).clone();
    cores.into_iter().map(|(core, around)| Core { group: of(&around), ..core }).collect()
}

/// One core of each group, then the second of each, and so on.
fn in_turns(cores: Vec<Core>) -> Vec<Core> {
    let mut groups: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    let mut placed: Vec<(usize, u32, Core)> = Vec::new();
    for core in cores {
        let first = core.group.iter().next();
        let round = groups.entry(first).or_default();
        placed.push((*round, first.unwrap_or_default(), core));
        *round += 1;
    }
    placed.sort_by_key(|(round, group, _)| (*round, *group));
    placed.into_iter().map(|(_, _, core)| core).collect()
}

fn threads(root: &Root, cpu: u32) -> Result<CpuList, ReadError> {
    // The name until Linux 5.0 was thread_siblings_list; both are there since.
    let text = root.read(format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list"))?;
    Ok(text.parse().unwrap_or_default())
}

/// The CPUs of the last cache and of the package around a CPU, innermost first.
fn around(root: &Root, cpu: u32) -> Result<Vec<CpuList>, ReadError> {
    let folder = format!("{CPUS}/cpu{cpu}/cache");
    let mut caches: Vec<(u32, CpuList)> = Vec::new();
    for name in root.names(&folder).unwrap_or_default().iter().filter(|name| name.starts_with("index")) {
        let level = root.read(format!("{folder}/{name}/level"))?.parse().unwrap_or(0);
        let shared = root.read(format!("{folder}/{name}/shared_cpu_list"))?.parse().unwrap_or_default();
        caches.push((level, shared));
    }
    let last = caches.into_iter().filter(|(level, _)| *level >= 3).max_by_key(|(level, _)| *level);
    let package = root.read(format!("{CPUS}/cpu{cpu}/topology/core_siblings_list"))?.parse().unwrap_or_default();
    Ok(last.map(|(_, shared)| shared).into_iter().chain([package]).collect())
}

/// What is not best about these CPUs, in one line; nothing where all is well.
pub fn judge(allowed: &CpuList, cores: &[Core]) -> Option<String> {
    let foreign: CpuList =
        cores.iter().flat_map(|core| core.threads.minus(allowed).iter().collect::<Vec<_>>()).collect();
    if !foreign.is_empty() {
        return Some(format!(
            "the cpuset {allowed} has only one thread of some cores: what runs on CPUs {foreign} takes up to half of them; \
             add these CPUs to the cpuset, or keep them idle"
        ));
    }
    if cores.len() == 1 {
        return Some(format!(
            "the cpuset {allowed} is a single core: writing a finished layer shares it with hashing, which takes about \
             2 % longer; a second core is enough for many pc1 tasks"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    /// A machine's sysfs: packages × caches × cores × threads, numbered as on an EPYC (threads last), every core in a
    /// cache.
    fn machine(packages: u32, caches: u32, cores: u32, threads: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let all = packages * caches * cores;
        let list = |cpus: Vec<u32>| cpus.into_iter().collect::<CpuList>().to_string();
        let spread = |from: u32, count: u32| {
            list((0..threads).flat_map(|t| (from..from + count).map(move |core| core + t * all)).collect())
        };
        for cpu in 0..all * threads {
            let core = cpu % all;
            let (cache, package) = (core / cores * cores, core / (cores * caches) * cores * caches);
            let base = folder.path().join(format!("sys/devices/system/cpu/cpu{cpu}"));
            let write = |name: &str, text: String| {
                let path = base.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            };
            write("topology/thread_siblings_list", spread(core, 1));
            write("topology/core_siblings_list", spread(package, cores * caches));
            write("cache/index2/level", "2\n".into());
            write("cache/index2/shared_cpu_list", spread(core, 1));
            write("cache/index3/level", "3\n".into());
            write("cache/index3/shared_cpu_list", spread(cache, cores));
        }
        folder
    }

    fn order(folder: &tempfile::TempDir, allowed: &str) -> Vec<u32> {
        cores(&Root::at(folder.path()), &allowed.parse().unwrap()).into_iter().map(|core| core.cpu).collect()
    }

    #[test]
    fn caches_are_filled_in_turns_and_only_whole_cores_count() {
        let epyc = machine(1, 2, 3, 2);
        assert_eq!(order(&epyc, "0-11"), [0, 3, 1, 4, 2, 5]);
        assert_eq!(order(&epyc, "1,2,4,7,9"), [1, 4, 2, 9], "9 is the second thread of core 3, 7 that of core 1");
        assert_eq!(order(&epyc, "5"), [5]);
    }

    #[test]
    fn where_each_core_has_its_own_cache_packages_are_filled_in_turns() {
        assert_eq!(order(&machine(2, 2, 1, 1), "0-3"), [0, 2, 1, 3]);
    }

    #[test]
    fn a_machine_that_describes_nothing_still_has_its_cpus() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(order(&folder, "0-2"), [0, 1, 2]);
        assert_eq!(order(&folder, ""), [0; 0]);
    }

    #[test]
    fn what_is_not_best_is_said_in_a_line() {
        let epyc = machine(1, 2, 3, 2);
        let judged = |allowed: &str| {
            let allowed: CpuList = allowed.parse().unwrap();
            judge(&allowed, &cores(&Root::at(epyc.path()), &allowed))
        };
        assert_eq!(judged("0-11"), None);
        assert!(judged("0-5").unwrap().contains("what runs on CPUs 6-11 takes up to half"));
        assert!(judged("2,8").unwrap().contains("a single core"));
    }

    proptest! {
        // Each case writes a machine of files.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_cpuset_gives_distinct_cores_of_its_own(
            shape in (1u32..3, 1u32..4, 1u32..5, 1u32..3), keep in prop::collection::vec(any::<bool>(), 48),
        ) {
            let folder = machine(shape.0, shape.1, shape.2, shape.3);
            let all = shape.0 * shape.1 * shape.2 * shape.3;
            let allowed: CpuList = (0..all).filter(|cpu| keep[*cpu as usize]).collect();
            let found = cores(&Root::at(folder.path()), &allowed);
            for (i, core) in found.iter().enumerate() {
                prop_assert!(allowed.contains(core.cpu));
                prop_assert!(found[..i].iter().all(|other| other.threads.and(&core.threads).is_empty()));
            }
            let covered: CpuList = found.iter().flat_map(|core| core.threads.and(&allowed).iter().collect::<Vec<_>>()).collect();
            prop_assert_eq!(covered, allowed.clone());
            let _ = judge(&allowed, &found);
        }
    }
}
