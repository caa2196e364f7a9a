//! The two writings of the provers' PC1 arithmetic, of plans and of their verifier, on machines nobody would build.
//!
//! An even machine from one line gets quirks: cores that are missing, CPU numbers in any order, shared L2 caches, nodes
//! that a cgroup closes. Then a cpuset is taken from it, mostly one that means something there.

use damocles_worker::{
    machine::{
        Machine, Part,
        pc1_units::{GroupKind, Outcome, pc1_units},
    },
    planner::verify::units,
    units::{CpuList, Prover},
};
use proptest::{
    bool::weighted,
    collection::{btree_set, vec},
    prelude::*,
    sample::subsequence,
    test_runner::TestRunner,
};
use std::cell::RefCell;
use std::collections::BTreeMap;

const CASES: u32 = 3_000;

/// What is done to an even machine.
#[derive(Clone, Debug)]
struct Quirks {
    /// Whether each core is there.
    kept: Vec<bool>,
    /// The number that each CPU gets.
    numbers: Vec<u32>,
    /// How many cores the L2 caches take, in turn; 0 leaves a core without one. Empty: the machine tells of none.
    l2s: Vec<usize>,
    closed_nodes: Vec<bool>,
}

fn any_quirks(machine: &Machine) -> impl Strategy<Value = Quirks> + use<> {
    let (cores, nodes) = (machine.cores().len(), machine.nodes().len());
    let numbers: Vec<u32> = machine.cpus().iter().collect();
    // As many kernels number them: the first threads of all cores, then the second ones.
    let threads = machine.cores()[0].cpus.len();
    let firsts: Vec<u32> = (0..numbers.len()).map(|cpu| (cpu % threads * cores + cpu / threads) as u32).collect();
    let kept = prop_oneof![3 => Just(vec![true; cores]), 1 => vec(weighted(0.8), cores)];
    let numbers = prop_oneof![4 => Just(numbers.clone()), 3 => Just(firsts), 1 => Just(numbers).prop_shuffle()];
    let l2s = prop_oneof![
        6 => Just(vec![]),
        3 => (2usize..4).prop_map(|size| vec![size]),
        2 => vec(1usize..4, 1..4),
        1 => vec(0usize..4, 2..5),
    ];
    let closed_nodes = prop_oneof![2 => Just(vec![false; nodes]), 1 => vec(weighted(0.5), nodes)];
    let all = (kept, numbers, l2s, closed_nodes);
    all.prop_map(|(kept, numbers, l2s, closed_nodes)| Quirks { kept, numbers, l2s, closed_nodes })
}

fn with_quirks(mut machine: Machine, quirks: &Quirks) -> Machine {
    let mut kept = quirks.kept.iter().copied();
    // Without a core it were no machine.
    kept.next();
    let mut kept = std::iter::once(true).chain(kept);
    let mut closed = quirks.closed_nodes.iter().copied();
    change(&mut machine.topology, &quirks.numbers, &mut kept, &mut closed);
    let online = machine.cpus();
    keep_in_nodes(&mut machine.topology, &online);
    machine.allowed_cpus = online;
    let l2s = l2s(&machine, &quirks.l2s);
    if (1..machine.cores().len()).contains(&l2s.len()) {
        machine.l2_caches = Some(l2s.len() as u32);
        machine.l2_groups = Some(l2s);
    }
    assert_eq!(machine.check(), []);
    machine
}

fn change(
    part: &mut Part,
    numbers: &[u32],
    kept: &mut dyn Iterator<Item = bool>,
    closed: &mut dyn Iterator<Item = bool>,
) {
    let renumbered = |cpus: &CpuList| cpus.iter().map(|cpu| numbers[cpu as usize]).collect();
    part.cores.retain(|_| kept.next().unwrap());
    for core in &mut part.cores {
        core.cpus = renumbered(&core.cpus);
    }
    for node in &mut part.nodes {
        node.cpus = renumbered(&node.cpus);
        node.forbidden = closed.next().unwrap();
    }
    for inner in &mut part.parts {
        change(inner, numbers, kept, closed);
    }
}

fn keep_in_nodes(part: &mut Part, online: &CpuList) {
    for node in &mut part.nodes {
        node.cpus = node.cpus.and(online);
    }
    part.parts.iter_mut().for_each(|inner| keep_in_nodes(inner, online));
}

/// L2 caches of neighbours within the innermost parts.
fn l2s(machine: &Machine, sizes: &[usize]) -> Vec<CpuList> {
    let mut sizes = sizes.iter().copied().cycle();
    let mut l2s = Vec::new();
    for part in machine.parts() {
        let mut left = part.cores.as_slice();
        while let Some(size) = sizes.next().filter(|_| !left.is_empty()) {
            let (cores, rest) = left.split_at(size.max(1).min(left.len()));
            if size > 0 {
                l2s.push(cores.iter().flat_map(|core| core.cpus.iter()).collect());
            }
            left = rest;
        }
    }
    l2s
}

fn any_machine() -> impl Strategy<Value = Machine> {
    // Where memory hangs: at packages, groups or L3 caches; the last is what makes groups without cores.
    let home = prop_oneof![1 => 0usize..2, 2 => Just(2)];
    let shape = (1usize..3, 1usize..3, 0usize..5, 1usize..9, 1usize..3, home);
    let even = shape.prop_map(|(packages, groups, caches, cores, threads, home)| {
        let memory = |at| if at == home { "[numa(memory=64GB)] " } else { "" };
        // Without an L3 the package has its memory.
        let (l3, home) = match caches {
            0 => (String::new(), if home == 2 { "[numa(memory=64GB)] " } else { memory(0) }),
            _ => (format!("l3:{caches}(size=16777216) {}", memory(2)), memory(0)),
        };
        let line = format!("pack:{packages} {home}group:{groups} {}{l3}core:{cores} pu:{threads}", memory(1));
        crate::machine(&line)
    });
    even.prop_flat_map(|machine| {
        let quirks = any_quirks(&machine);
        (Just(machine), quirks)
    })
    .prop_map(|(machine, quirks)| with_quirks(machine, &quirks))
}

/// Whole parts or L2 caches, a range, one CPU of each part, anything.
fn any_cpuset(machine: &Machine) -> impl Strategy<Value = CpuList> + use<> {
    let cpus: Vec<u32> = machine.cpus().iter().collect();
    let top = cpus.iter().max().unwrap() + 3;
    let some_of = |sets: Vec<CpuList>| {
        let many = 0..=sets.len();
        subsequence(sets, many).prop_map(|sets| sets.iter().flat_map(CpuList::iter).collect::<CpuList>())
    };
    let parts: Vec<CpuList> = machine.parts().iter().map(|part| part.cpus()).collect();
    let leaves: Vec<CpuList> =
        machine.parts().iter().filter(|part| !part.cores.is_empty()).map(|part| part.cpus()).collect();
    let firsts: Vec<CpuList> = leaves.iter().map(|part| part.iter().take(1).collect()).collect();
    let l2s = machine.l2_groups.clone().unwrap_or_else(|| leaves.clone());
    let range = (0..top, 0..top).prop_map(|(a, b)| (a.min(b)..=a.max(b)).collect());
    let anything = btree_set(0..top, 0..=cpus.len()).prop_map(|cpus| cpus.into_iter().collect());
    // What begins at CPU 0 has units more often than not.
    let first_leaves = (0..leaves.len()).prop_map({
        let leaves = leaves.clone();
        move |last| leaves[..=last].iter().flat_map(CpuList::iter).collect()
    });
    prop_oneof![
        1 => some_of(parts),
        1 => some_of(leaves),
        1 => some_of(firsts),
        1 => some_of(l2s),
        3 => first_leaves,
        2 => (0..top).prop_map(|top| (0..=top).collect()),
        1 => range,
        1 => anything
    ]
}

fn any_case() -> impl Strategy<Value = (Machine, CpuList)> {
    any_machine().prop_flat_map(|machine| {
        let cpus: Vec<u32> = machine.cpus().iter().collect();
        let many = 1..=cpus.len();
        let allowed = prop_oneof![3 => Just(None), 1 => subsequence(cpus, many).prop_map(Some)];
        let cpuset = any_cpuset(&machine);
        (Just(machine), allowed, cpuset).prop_map(|(mut machine, allowed, cpuset)| {
            if let Some(allowed) = allowed {
                machine.allowed_cpus = allowed.into_iter().collect();
            }
            (machine, cpuset)
        })
    })
}

#[test]
fn both_arithmetics_of_pc1_units_agree() {
    // A failure is printed with its case, and its seed is kept beside this file and replayed first.
    let config = ProptestConfig { cases: CASES, source_file: Some(file!()), ..ProptestConfig::default() };
    let met: RefCell<BTreeMap<&str, usize>> = RefCell::default();
    let meet = |what, times: bool| *met.borrow_mut().entry(what).or_default() += usize::from(times);
    let cases = (any_case(), prop_oneof![3 => 0usize..2, 1 => 2usize..5], 0usize..3);
    let agreed = TestRunner::new(config).run(&cases, |((machine, cpuset), producers, prover)| {
        let prover = Prover::ALL[prover];
        let ours = units(&machine, &cpuset, prover, producers);
        let theirs = pc1_units(&machine, &cpuset, prover, producers);
        prop_assert_eq!(ours.panics, theirs.outcome == Outcome::Panics, "{:?} {:?}", ours, theirs);
        let bound: Vec<_> = theirs.units().iter().map(|unit| unit.cpus.clone()).collect();
        prop_assert_eq!(&ours.units, &bound, "{:?}", theirs);
        prop_assert_eq!(ours.straddling, theirs.straddling().count(), "{:?}", theirs);
        prop_assert_eq!(ours.short, theirs.short().count(), "{:?}", theirs);
        prop_assert_eq!(&ours.groups, &theirs.groups.iter().map(|group| group.cores).collect::<Vec<_>>());
        prop_assert_eq!(&ours.whole, &theirs.groups.iter().map(|group| group.cores_whole).collect::<Vec<_>>());
        prop_assert_eq!(ours.coreless, theirs.coreless, "{:?}", theirs);
        meet("panic", ours.panics);
        meet("straddling", ours.straddling > 0);
        meet("short", ours.short > 0);
        meet("no unit", ours.units.is_empty());
        meet("coreless", ours.coreless > 0);
        meet("coreless with units", ours.coreless > 0 && !ours.units.is_empty());
        let has_l2s = machine.l2_groups.is_some();
        meet("by L2", theirs.level == GroupKind::L2);
        meet("by L2 with units", theirs.level == GroupKind::L2 && !ours.units.is_empty());
        meet("own with L2s", has_l2s && prover == Prover::Own && !ours.units.is_empty());
        Ok(())
    });
    agreed.unwrap_or_else(|found| panic!("{found}"));
    // Agreement says little about what was not met.
    let met = met.into_inner();
    assert!(met.len() == 9 && met.values().all(|times| *times >= 10), "{met:?}");
}
