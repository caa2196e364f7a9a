//! A third opinion, from hwloc itself: the levels above the cores are walked as the stock library walks them, on hwloc's
//! own tree, and the group counts and the order of cores are compared with those worked out from the contract.

use crate::{cpus, random::rng};
use damocles_worker::{
    hwinfo,
    machine::pc1_units::{Prover, pc1_units},
    sys::topology::{Detail, Source, load},
    units::CpuList,
};
use hwlocality::{
    Topology,
    bitmap::BitmapIndex,
    cpu::cpuset::CpuSet,
    object::{depth::NormalDepth, types::ObjectType},
    topology::editor::RestrictFlags,
};
use rand::{Rng, rngs::StdRng};
use std::{fs, path::PathBuf};

const LINES: usize = 400;

/// `get_shared_cache_count` of the library: up from the cores, the first level with fewer objects.
fn shared_cache_count(topology: &Topology, cores: usize) -> usize {
    let core_depth = topology.depth_or_below_for_type(ObjectType::Core).unwrap().expect_normal();
    let mut depth = core_depth;
    while depth > NormalDepth::MIN {
        let objects = topology.objects_at_depth(depth).count();
        if objects < cores {
            return objects;
        }
        depth = depth.checked_sub(NormalDepth::ONE).unwrap();
    }
    1
}

fn cores(topology: &Topology) -> Vec<CpuList> {
    let list = |set: &CpuSet| set.iter_set().map(|cpu| usize::from(cpu) as u32).collect();
    topology.objects_with_type(ObjectType::Core).map(|core| list(&core.cpuset().unwrap())).collect()
}

/// Cores and groups as a process sees them whose cgroup shows it these CPUs, and all memory.
fn seen(source: &Source, cpuset: &CpuList) -> (usize, usize) {
    let mut topology = load(source, Detail::Structure).unwrap();
    let set: CpuSet = cpuset.iter().map(|cpu| BitmapIndex::try_from(cpu as usize).unwrap()).collect();
    topology.edit(|editor| editor.restrict(&set, RestrictFlags::empty()).unwrap());
    let cores = cores(&topology).len();
    (cores, shared_cache_count(&topology, cores))
}

/// Levels that nest as hardware does, some of them shared L2 caches, with any numbering of siblings.
fn line(rng: &mut StdRng) -> String {
    let mut words = vec![format!("pack:{}", rng.gen_range(1..=2))];
    if rng.gen_bool(0.3) {
        words.push("die:2".to_owned());
    }
    let l3 = rng.gen_bool(0.8).then(|| format!("l3:{}", rng.gen_range(1..=4)));
    match (l3, rng.gen_bool(0.3)) {
        (Some(l3), true) => words.extend([l3, "[numa]".to_owned()]),
        (l3, _) => words.extend(std::iter::once("[numa]".to_owned()).chain(l3)),
    }
    if rng.gen_bool(0.7) {
        words.push(format!("l2:{}", rng.gen_range(1..=4)));
    }
    words.push(format!("core:{} pu:{}", rng.gen_range(1..=4), rng.gen_range(1..=2)));
    words.join(" ")
}

fn some_of(all: &CpuList, rng: &mut StdRng) -> CpuList {
    let share = rng.gen_range(0.1..1.0);
    let first = all.iter().next();
    let some: CpuList = match rng.gen_bool(0.5) {
        true => all.iter().filter(|_| rng.gen_bool(share)).collect(),
        false => all.iter().take(rng.gen_range(1..=all.len())).collect(),
    };
    if some.is_empty() { first.into_iter().collect() } else { some }
}

/// Compares one source under several cpusets; how many of them are grouped by something with several cores.
fn compare(source: &Source, sets: usize, rng: &mut StdRng) -> usize {
    let machine = hwinfo::describe(source, "hwloc").unwrap();
    // Units of one core of the whole machine, where the group is all of it, come in the order of the cores.
    let logical: Vec<CpuList> = cores(&load(source, Detail::Structure).unwrap());
    let mut grouped = 0;
    for _ in 0..sets {
        let set = some_of(&machine.cpus(), rng);
        let found = pc1_units(&machine, &set, Prover::StockDamocles, 0);
        let told = format!("{source:?} {set}");
        assert_eq!((found.cores, found.groups.len() + found.coreless), seen(source, &set), "{told}");
        grouped += usize::from(found.groups.len() > 1);
        // The groups hold the cores in hwloc's order.
        let visible = logical.iter().filter(|core| !core.and(&set).is_empty());
        let in_order: Vec<u32> = visible.map(|core| core.and(&set).iter().next().unwrap()).collect();
        if found.groups.iter().map(|group| group.cores).sum::<usize>() == found.cores {
            let mut left = in_order.as_slice();
            for group in &found.groups {
                let (own, rest) = left.split_at(group.cores);
                assert!(own.iter().all(|cpu| group.cpus.contains(*cpu)), "{told}: {own:?} in {group:?}");
                left = rest;
            }
        }
    }
    grouped
}

#[test]
fn groups_are_those_that_hwloc_counts() {
    let mut grouped = 0;
    for seed in 0..LINES as u64 {
        let mut rng = rng(seed);
        let line = line(&mut rng);
        grouped += compare(&Source::Synthetic(line), 6, &mut rng);
    }
    assert!(grouped > LINES, "{grouped}");
}

/// Exports of real machines, where the environment names a folder of them.
fn exports() -> Vec<PathBuf> {
    let Some(folder) = std::env::var_os("DAMOCLES_TEST_TOPOLOGIES") else { return Vec::new() };
    let files = fs::read_dir(PathBuf::from(folder).join("xml")).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "xml")).collect()
}

#[test]
fn groups_of_exported_machines_are_those_that_hwloc_counts() {
    let mut grouped = 0;
    for path in exports() {
        let source = Source::Xml(path);
        // A version that this hwloc cannot read is another test's. CPUs that no core is told of are cores to us.
        if load(&source, Detail::Structure).is_ok_and(|topology| !cores(&topology).is_empty()) {
            grouped += compare(&source, 20, &mut rng(7));
        }
    }
    let skipped = std::env::var_os("DAMOCLES_TEST_TOPOLOGIES").is_none();
    assert!(skipped || grouped > 50, "{grouped}");
}

#[test]
fn an_l2_of_two_cores_is_listed_and_one_of_each_core_is_not() {
    let describe = |line: &str| hwinfo::describe(&Source::Synthetic(line.to_owned()), "l2").unwrap();
    let shared = describe("pack:1 l3:1 l2:2 core:2 pu:2");
    assert_eq!(shared.l2_groups, Some(vec![cpus("0-3"), cpus("4-7")]));
    assert_eq!((shared.l2_caches, shared.unlisted_l2()), (Some(2), None));
    let own = describe("pack:1 l3:1 l2:4 core:1 pu:2");
    assert_eq!((own.l2_groups, own.l2_caches), (None, Some(4)));
    assert_eq!(describe("pack:1 l3:1 core:4 pu:1").l2_groups, None);
}

/// A capture of a process in a cgroup with 6 of 32 CPUs and 6 of 8 nodes. hwloc shows such a process 6 cores, 6 L3
/// caches, four of them for their memory alone, and 3 packages.
#[test]
fn a_captured_cgroup_is_counted_as_hwloc_shows_it() {
    let Some(folder) = std::env::var_os("DAMOCLES_TEST_TOPOLOGIES") else { return };
    let capture = PathBuf::from(folder).join("linux/32amd64-4s2n4c-cgroup2.tar.bz2");
    let mut command = assert_cmd::Command::cargo_bin("damocles-worker-util").unwrap();
    let output =
        command.args(["hwinfo", "--json", "cpuset", "0-5", "--producers", "1", "--from"]).arg(capture).output();
    let verdict: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let pc1 = &verdict["pc1"];
    assert_eq!((&pc1["group_kind"], &pc1["coreless_groups"]), (&"package".into(), &2.into()), "{verdict:#}");
    let units: Vec<_> = pc1["units"].as_array().unwrap().iter().map(|unit| unit["cpus"].to_string()).collect();
    assert_eq!(units, ["[0,1]", "[2,3]", "[4,5]"]);
}
