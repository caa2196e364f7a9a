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

/// What a story says its guest is, so that a guest that is not what was meant is no proof.
pub struct Expected {
    pub packages: &'static [&'static str],
    pub l3: &'static [&'static str],
    /// Each node's own CPUs, by number.
    pub nodes: &'static [&'static str],
    pub smt: bool,
    pub offline: &'static str,
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
    let nodes: Vec<_> = kernel.nodes.values().map(|(own, _)| own.clone()).collect();
    assert_eq!(nodes, expected.nodes.iter().map(|list| cpus(list)).collect::<Vec<_>>());
    assert_eq!((kernel.has_smt, &kernel.offline), (expected.smt, &cpus(expected.offline)));
}

/// machine.json says what /sys says.
fn assert_agrees(machine: &Machine, kernel: &Kernel) {
    assert_eq!(machine.hostname, "guest");
    assert_eq!(set(&machine.cpus()), kernel.online);
    assert_eq!(set(&machine.allowed_cpus), kernel.online);
    assert_eq!(set(&machine.offline_cpus), kernel.offline);
    assert_eq!(machine.cores().into_iter().map(|core| set(&core.cpus)).collect::<BTreeSet<_>>(), kernel.cores);
    assert_eq!(machine.cores().len(), kernel.cores.len());
    let packages = machine.parts_of(PartKind::Package);
    assert_eq!(packages.iter().map(|package| set(&package.cpus())).collect::<BTreeSet<_>>(), kernel.packages);
    let l3: BTreeMap<_, _> = machine.l3_groups().into_iter().map(size_of_group).collect();
    assert_eq!((l3, machine.l3_groups().len()), (kernel.l3.clone(), kernel.l3.len()));
    assert_eq!(machine.has_smt(), kernel.has_smt);
    let nodes = machine.nodes().into_iter();
    let nodes: BTreeMap<_, _> = nodes.map(|node| (node.os_index.0, (set(&node.cpus), node.memory_bytes.0))).collect();
    assert_eq!(nodes, kernel.nodes);
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
    for (node, (own, _)) in &kernel.nodes {
        let line =
            tree.lines().find(|line| line.contains(&format!("NUMANode (#{node} "))).unwrap_or_else(|| panic!("{tree}"));
        assert_eq!(line.contains("memory only"), own.is_empty(), "{tree}");
    }
    assert_eq!(tree.matches("L3 (").count(), kernel.l3.len(), "{tree}");
    let offline = format!("Offline CPUs: {}\n", machine.offline_cpus);
    assert_eq!(tree.contains(&offline), !kernel.offline.is_empty(), "{tree}");
}

/// The picture has a box for each CPU.
fn assert_picture(picture: &str, kernel: &Kernel) {
    assert_eq!(picture.matches("<rect class=\"cpu\"").count(), kernel.online.len());
    assert_eq!(picture.matches("<rect class=\"l3\"").count(), kernel.l3.len());
}
