//! hwinfo against the guest's own /sys, fact by fact.

use crate::{
    guest::{self, Guest, When},
    script::Script,
    sysfs::{self, Cpus, Kernel, cpus},
};
use damocles_worker::{
    machine::{self, Machine, Part, PartKind},
    units::CpuList,
};
use std::collections::{BTreeMap, BTreeSet};

/// The hugepages that stories ask for.
const PAGE: u64 = 2 << 20;

/// What a story says its guest is, so that a guest that is not what was meant is no proof.
pub struct Expected {
    pub packages: &'static [&'static str],
    pub l3: &'static [&'static str],
    /// Each node's own CPUs, by number.
    pub nodes: &'static [&'static str],
    pub smt: bool,
    pub offline: &'static str,
    /// A row a node; without, what a kernel says where nobody told it.
    pub distances: &'static [&'static [u32]],
    /// Pages of 2 MiB on each node, by number.
    pub pages: &'static [u64],
    /// The CPUs and nodes that the cgroup leaves.
    pub allowed: Option<(&'static str, &'static str)>,
}

impl Default for Expected {
    /// Nothing unusual: to be said are packages, caches and nodes.
    fn default() -> Self {
        Self { packages: &[], l3: &[], nodes: &[], smt: false, offline: "", distances: &[], pages: &[], allowed: None }
    }
}

/// Boots the guest; the guest is as expected, and hwinfo in it says what its kernel says.
pub fn story(name: &str, when: When, guest: &Guest, expected: &Expected) {
    let script = Script::new()
        .program("damocles-worker-util")
        .step("json", "damocles-worker-util hwinfo --json")
        .step("tree", "damocles-worker-util hwinfo")
        .step("picture", "damocles-worker-util hwinfo --svg -")
        .files("sys", sysfs::FILES);
    let Some(answers) = guest::ask(name, when, guest, &script) else { return };
    let kernel = Kernel::read(answers.files("sys"));
    assert_is(&kernel, expected);
    let machine = machine::parse(answers.said("json")).unwrap();
    assert_agrees(&machine, &kernel);
    assert_tree(answers.said("tree"), &machine, &kernel);
    assert_picture(answers.said("picture"), &kernel);
}

/// The guest is what the story asked qemu for.
fn assert_is(kernel: &Kernel, expected: &Expected) {
    let sets = |lists: &[&str]| lists.iter().map(|list| cpus(list)).collect::<BTreeSet<_>>();
    assert_eq!(kernel.packages, sets(expected.packages));
    assert_eq!(kernel.l3.keys().cloned().collect::<BTreeSet<_>>(), sets(expected.l3));
    let nodes: Vec<_> = kernel.nodes.values().map(|node| node.cpus.clone()).collect();
    assert_eq!(nodes, expected.nodes.iter().map(|list| cpus(list)).collect::<Vec<_>>());
    assert_eq!((kernel.has_smt, &kernel.offline), (expected.smt, &cpus(expected.offline)));
    let far = |row: usize, column: usize| match expected.distances {
        [] => {
            if row == column {
                10
            } else {
                20
            }
        }
        told => told[row][column],
    };
    let count = kernel.nodes.len();
    let distances: Vec<Vec<u32>> = (0..count).map(|row| (0..count).map(|column| far(row, column)).collect()).collect();
    assert_eq!(kernel.distances, distances);
    let pages = |node: usize| [expected.pages.get(node).copied().unwrap_or(0); 2];
    let found: Vec<_> = kernel.nodes.values().map(|node| node.pools[&PAGE]).collect();
    assert_eq!(found, (0..count).map(|node| [pages(node)[0], pages(node)[1], 0]).collect::<Vec<_>>());
    assert_eq!(kernel.allowed, expected.allowed.map(|(own, nodes)| (cpus(own), cpus(nodes))));
}

/// machine.json says what /sys says.
fn assert_agrees(machine: &Machine, kernel: &Kernel) {
    assert_eq!(machine.hostname, "guest");
    assert_eq!(set(&machine.cpus()), kernel.online);
    let (allowed, allowed_nodes) =
        kernel.allowed.clone().unwrap_or_else(|| (kernel.online.clone(), kernel.nodes.keys().copied().collect()));
    assert_eq!(set(&machine.allowed_cpus), allowed);
    let nodes = machine.nodes();
    let usable: Cpus = nodes.iter().filter(|node| !node.forbidden).map(|node| node.os_index.0).collect();
    assert_eq!(usable, allowed_nodes);
    assert_eq!(set(&machine.offline_cpus), kernel.offline);
    assert_eq!(machine.cores().into_iter().map(|core| set(&core.cpus)).collect::<BTreeSet<_>>(), kernel.cores);
    assert_eq!(machine.cores().len(), kernel.cores.len());
    let packages = machine.parts_of(PartKind::Package);
    assert_eq!(packages.iter().map(|package| set(&package.cpus())).collect::<BTreeSet<_>>(), kernel.packages);
    let l3: BTreeMap<_, _> = machine.l3_groups().into_iter().map(size_of_group).collect();
    assert_eq!((l3, machine.l3_groups().len()), (kernel.l3.clone(), kernel.l3.len()));
    assert_eq!(machine.has_smt(), kernel.has_smt);
    assert_memory_agrees(machine, kernel);
}

/// So does what it says of memory: sizes, what is free, pools, distances.
fn assert_memory_agrees(machine: &Machine, kernel: &Kernel) {
    let nodes = machine.nodes();
    assert_eq!(
        nodes.iter().map(|node| node.os_index.0).collect::<BTreeSet<_>>(),
        kernel.nodes.keys().copied().collect()
    );
    for node in nodes {
        let expected = &kernel.nodes[&node.os_index.0];
        assert_eq!((set(&node.cpus), node.memory_bytes.0), (expected.cpus.clone(), expected.bytes));
        let pools = node.page_pools.iter().flatten();
        let pools: BTreeMap<_, _> =
            pools.map(|pool| (pool.page_bytes.0, [pool.pages, pool.free.unwrap(), pool.surplus.unwrap()])).collect();
        assert_eq!(pools, expected.pools);
        // The steps between the two looks keep their output in memory.
        let free = node.free_bytes.unwrap().0;
        assert!(free <= node.memory_bytes.0 && free.abs_diff(expected.free_bytes) < 32 << 20, "{free} {expected:?}");
    }
    let distances = machine.distances.as_ref().unwrap();
    assert_eq!(
        distances.nodes.iter().map(|node| node.0).collect::<Vec<_>>(),
        kernel.nodes.keys().copied().collect::<Vec<_>>()
    );
    assert_eq!(distances.rows, kernel.distances);
}

fn size_of_group(group: &Part) -> (Cpus, u64) {
    (set(&group.cpus()), group.size_bytes.map_or(0, |size| size.0))
}

fn set(cpus: &CpuList) -> Cpus {
    cpus.iter().collect()
}

/// The tree for people shows every core with its siblings, every node, and what is switched off.
fn assert_tree(tree: &str, machine: &Machine, kernel: &Kernel) {
    let cores: BTreeSet<Cpus> = tree
        .lines()
        .filter_map(|line| line.find("PU #").map(|at| &line[at..]))
        .flat_map(|cores| cores.split(" + "))
        .map(|core| {
            core.trim_start_matches("PU ").split('/').map(|cpu| cpu.trim_start_matches('#').parse().unwrap()).collect()
        })
        .collect();
    assert_eq!(cores, kernel.cores, "{tree}");
    let (allowed, allowed_nodes) = kernel.allowed.clone().unzip();
    for (id, node) in &kernel.nodes {
        let line =
            tree.lines().find(|line| line.contains(&format!("NUMANode (#{id} "))).unwrap_or_else(|| panic!("{tree}"));
        assert_eq!(line.contains("memory only"), node.cpus.is_empty(), "{tree}");
        let is_forbidden = allowed_nodes.as_ref().is_some_and(|allowed| !allowed.contains(id));
        assert_eq!(line.contains("forbidden by the cgroup"), is_forbidden, "{tree}");
    }
    assert_eq!(tree.matches("L3 (").count(), kernel.l3.len(), "{tree}");
    let offline = format!("Offline CPUs: {}\n", machine.offline_cpus);
    assert_eq!(tree.contains(&offline), !kernel.offline.is_empty(), "{tree}");
    let forbidden = allowed.map(|allowed| &kernel.online - &allowed).unwrap_or_default();
    let line = tree.lines().find_map(|line| line.strip_prefix("CPUs forbidden by the cgroup: "));
    assert_eq!(line.map(cpus).unwrap_or_default(), forbidden, "{tree}");
}

/// The picture has a box for each CPU, another one for those that may not be used.
fn assert_picture(picture: &str, kernel: &Kernel) {
    let usable = kernel.allowed.as_ref().map_or(kernel.online.len(), |(allowed, _)| allowed.len());
    assert_eq!(picture.matches("<rect class=\"cpu\"").count(), usable);
    assert_eq!(picture.matches("<rect class=\"forbidden\"").count(), kernel.online.len() - usable);
    assert_eq!(picture.matches("<rect class=\"l3\"").count(), kernel.l3.len());
}
