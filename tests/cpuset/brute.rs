//! A second opinion: the provers played through step by step, on plain lists, sharing no code with the verdicts.
//!
//! Every level of the tree is a list of objects, each a list of CPUs; a cpuset is cut out of all of them as hwloc
//! cuts a cgroup out. Then the library's loop runs as it is written, one core number after the other.

use crate::random::{Shape, rng};
use damocles_worker::{
    hwinfo::cpuset::{Question, judge, judge_alone, suggest},
    machine::pc1_units::{GroupKind, Outcome, Prover, pc1_units},
    units::CpuList,
};
use rand::Rng;

const RUNS: u64 = 10_000;

/// The L2 caches, the levels above them, innermost first, and the cores, as a process in the cpuset sees them.
struct Visible {
    cores: Vec<Vec<u32>>,
    l2s: Vec<Vec<u32>>,
    /// With objects of which only memory is seen: no CPUs.
    levels: Vec<Vec<Vec<u32>>>,
    levels_of_cores: Vec<Vec<Vec<u32>>>,
    l3s: Vec<Vec<u32>>,
    allowed: Vec<u32>,
    /// What could be used, in the cpuset or not.
    l3s_of_machine: Vec<Vec<u32>>,
    cores_of_machine: Vec<Vec<u32>>,
}

fn cut(object: &[u32], allowed: &[u32]) -> Vec<u32> {
    let mut kept: Vec<u32> = object.iter().copied().filter(|cpu| allowed.contains(cpu)).collect();
    kept.sort_unstable();
    kept
}

/// A level as a process sees it: objects without a CPU of its own are gone, unless they have memory.
fn cut_level_with_memory(objects: Vec<Vec<u32>>, has_memory: bool, allowed: &[u32]) -> Vec<Vec<u32>> {
    let cut = objects.iter().map(|object| cut(object, allowed));
    cut.filter(|object| has_memory || !object.is_empty()).collect()
}

fn cut_level(objects: Vec<Vec<u32>>, allowed: &[u32]) -> Vec<Vec<u32>> {
    objects.iter().map(|object| cut(object, allowed)).filter(|object| !object.is_empty()).collect()
}

fn flat(l3s: &[Vec<Vec<u32>>], bare: &[Vec<u32>]) -> Vec<u32> {
    l3s.iter().flatten().chain(bare).flatten().copied().collect()
}

/// hwloc's order: objects under one parent go by the lowest CPU they have on the whole machine.
fn order(objects: &mut [Vec<Vec<u32>>]) {
    objects.sort_by_key(|cores| cores.iter().flatten().min().copied());
}

/// Cores that stand together, each as its CPUs.
type Cores = Vec<Vec<u32>>;

/// The children of one parent in the tree: `children` are L3 caches with their cores, or bare cores. Those that an L2
/// holds together stand together, and hwloc orders both L2 caches and what is in them by their lowest CPU.
fn in_l2s(children: Vec<Cores>, l2s: &[Vec<u32>]) -> Vec<Cores> {
    let mut clusters: Vec<(Option<usize>, Vec<Cores>)> = Vec::new();
    for child in children {
        let is_inside = |l2: &Vec<u32>| child.iter().flatten().all(|cpu| l2.contains(cpu));
        let l2 = l2s.iter().position(is_inside);
        match clusters.iter_mut().find(|(place, _)| l2.is_some() && *place == l2) {
            Some((_, cluster)) => cluster.push(child),
            None => clusters.push((l2, vec![child])),
        }
    }
    let mut blocks: Vec<Cores> = Vec::new();
    for (_, mut cluster) in clusters {
        order(&mut cluster);
        blocks.push(cluster.concat());
    }
    order(&mut blocks);
    blocks
}

fn look(shape: &Shape, cpuset: &[u32]) -> Visible {
    let mut allowed: Vec<u32> = shape.cpus();
    allowed.retain(|cpu| cpuset.contains(cpu) && !shape.forbidden.contains(cpu));
    allowed.sort_unstable();
    let l2s: Vec<Vec<u32>> = shape.l2s.iter().map(|cores| cores.concat()).collect();
    let mut cores: Vec<Vec<u32>> = Vec::new();
    let mut packages: Vec<Vec<Vec<u32>>> = Vec::new();
    for package in &shape.packages {
        // Each die's children are its L3 caches and its bare cores; a hidden die's are its package's.
        let mut dies: Vec<Vec<Vec<u32>>> = Vec::new();
        let mut loose: Vec<Vec<Vec<u32>>> = Vec::new();
        for die in package {
            let alone = |cores: &Vec<Vec<u32>>| cores.iter().map(|core| vec![core.clone()]).collect();
            let mut children: Vec<Vec<Vec<u32>>> = die.l3s.iter().map(|l3| in_l2s(alone(l3), &l2s).concat()).collect();
            children.extend(die.bare.iter().map(|core| vec![core.clone()]));
            if die.shown {
                dies.push(in_l2s(children, &l2s).concat());
            } else {
                loose.extend(children);
            }
        }
        dies.extend(in_l2s(loose, &l2s));
        order(&mut dies);
        packages.push(dies.concat());
    }
    order(&mut packages);
    for package in &packages {
        cores.extend(package.iter().cloned());
    }
    let dies = || shape.packages.iter().flatten();
    let l3s: Vec<Vec<u32>> = dies().flat_map(|die| die.l3s.iter().map(|cores| cores.concat())).collect();
    let shown: Vec<Vec<u32>> = dies().filter(|die| die.shown).map(|die| flat(&die.l3s, &die.bare)).collect();
    let sockets: Vec<Vec<u32>> =
        shape.packages.iter().map(|dies| dies.iter().flat_map(|die| flat(&die.l3s, &die.bare)).collect()).collect();
    // Dies with memory in them are those with an L3, where L3 caches have it.
    let with_l3: Vec<bool> = dies().filter(|die| die.shown).map(|die| !die.l3s.is_empty()).collect();
    let seen_dies = shown
        .iter()
        .zip(with_l3)
        .flat_map(|(die, with_l3)| cut_level_with_memory(vec![die.clone()], shape.memory_on_l3s && with_l3, &allowed));
    let levels = |with_memory: bool| {
        let seen =
            |level: &Vec<Vec<u32>>, memory: bool| cut_level_with_memory(level.clone(), memory && with_memory, &allowed);
        let dies = if with_memory { seen_dies.clone().collect() } else { seen(&shown, false) };
        // A package has memory, its own or its caches'.
        vec![seen(&l3s, shape.memory_on_l3s), dies, seen(&sockets, true)]
    };
    Visible {
        cores: cut_level(cores, &allowed),
        l2s: cut_level(l2s, &allowed),
        levels: levels(true),
        levels_of_cores: levels(false),
        l3s: cut_level(l3s.clone(), &allowed),
        l3s_of_machine: cut_level(l3s, &usable(shape)),
        cores_of_machine: shape.packages.iter().flatten().flat_map(|die| flat_cores(&die.l3s, &die.bare)).collect(),
        allowed,
    }
}

fn usable(shape: &Shape) -> Vec<u32> {
    shape.cpus().into_iter().filter(|cpu| !shape.forbidden.contains(cpu)).collect()
}

fn flat_cores(l3s: &[Vec<Vec<u32>>], bare: &[Vec<u32>]) -> Vec<Vec<u32>> {
    l3s.iter().flatten().chain(bare).cloned().collect()
}

impl Visible {
    /// The first level with some objects, but fewer than cores. Ours looks neither at L2 caches nor at memory.
    fn groups(&self, prover: Prover) -> Option<&Vec<Vec<u32>>> {
        let own = prover == Prover::Own;
        let levels = if own { &self.levels_of_cores } else { &self.levels };
        let mut levels = (!own).then_some(&self.l2s).into_iter().chain(levels);
        levels.find(|level| !level.is_empty() && level.len() < self.cores.len())
    }

    fn group_of(&self, core: usize, prover: Prover) -> Option<usize> {
        self.groups(prover)?.iter().position(|group| group.contains(&self.cores[core][0]))
    }

    /// Whether the machine has an L3 with two cores that may be used.
    fn cores_share_l3s(&self) -> bool {
        let cores_in =
            |l3: &Vec<u32>| self.cores_of_machine.iter().filter(|core| core.iter().any(|cpu| l3.contains(cpu))).count();
        self.l3s_of_machine.iter().any(|l3| cores_in(l3) > 1)
    }
}

/// A unit as lists: bound CPUs and how many threads go without.
type Played = (Vec<u32>, usize);

/// The stock loop as it is written. `None`: it panics.
fn play_stock(seen: &Visible, producers: usize, fork: bool) -> Option<Vec<Played>> {
    let core_count = seen.cores.len();
    let group_count = seen.groups(Prover::Stock).map_or(1, Vec::len);
    if !core_count.is_multiple_of(group_count) {
        return None;
    }
    let cores_per_unit = producers + 1;
    let group_size = core_count / group_count;
    let unit_count = group_count * (group_size / cores_per_unit);
    let mut units = Vec::new();
    for i in 0..unit_count {
        let mut indices = Vec::new();
        for j in 0..cores_per_unit {
            let round = i / group_count;
            let core_index = (j + i * group_size) % core_count + round * cores_per_unit;
            let cpu = if fork { core_index as u32 + seen.allowed[0] } else { core_index as u32 };
            if let Some(rank) = seen.allowed.iter().position(|allowed| *allowed == cpu) {
                indices.push(if fork { rank } else { core_index });
            }
        }
        if !indices.is_empty() {
            let cpus: Vec<u32> = indices.iter().filter(|i| **i < core_count).map(|i| seen.cores[*i][0]).collect();
            let unbound = cores_per_unit - cpus.len();
            units.push((cpus, unbound));
        }
    }
    Some(units)
}

/// Ours: cores are dealt group by group, a unit each in turn, until no group has enough left.
fn play_own(seen: &Visible, producers: usize) -> Vec<Played> {
    let mut left: Vec<(Option<usize>, Vec<u32>)> = Vec::new();
    for (i, core) in seen.cores.iter().enumerate() {
        let home = seen.group_of(i, Prover::Own);
        match left.iter_mut().find(|(group, _)| *group == home) {
            Some((_, cores)) => cores.push(core[0]),
            None => left.push((home, vec![core[0]])),
        }
    }
    let mut units = Vec::new();
    loop {
        let before = units.len();
        for (_, cores) in &mut left {
            if cores.len() > producers {
                units.push((cores.drain(..=producers).collect(), 0));
            }
        }
        if units.len() == before {
            return units;
        }
    }
}

/// How many of `objects` the CPUs are in; those in none are together.
fn spread(cpus: &[u32], objects: Option<&Vec<Vec<u32>>>) -> usize {
    let home = |cpu: &u32| objects.and_then(|objects| objects.iter().position(|object| object.contains(cpu)));
    let mut homes: Vec<Option<usize>> = cpus.iter().map(home).collect();
    homes.sort_unstable();
    homes.dedup();
    homes.len()
}

struct Case {
    shape: Shape,
    cpuset: Vec<u32>,
    question: Question,
}

fn case(seed: u64) -> Case {
    let mut rng = rng(seed);
    let shape = Shape::random(&mut rng);
    let mut cpuset = shape.cpuset(&mut rng);
    if rng.gen_bool(0.05) {
        cpuset.push(5_000);
    }
    let mut question = Question::pc1(Prover::ALL[rng.gen_range(0..3)]);
    question.producers = rng.gen_range(0..=4);
    question.concurrent = rng.gen_bool(0.5).then(|| rng.gen_range(1..=12));
    Case { shape, cpuset, question }
}

fn played(seen: &Visible, question: &Question) -> Option<Vec<Played>> {
    match question.prover {
        Prover::Own => Some(play_own(seen, question.producers)),
        prover => play_stock(seen, question.producers, prover == Prover::StockDamocles),
    }
}

/// Whether an operator may be sent away with this set.
fn is_good(case: &Case, seen: &Visible) -> bool {
    let question = &case.question;
    let stock = question.prover != Prover::Own;
    let all_usable = case.cpuset.iter().all(|cpu| seen.allowed.contains(cpu));
    if !all_usable || (stock && question.producers == 0) {
        return false;
    }
    let Some(units) = played(seen, question) else { return false };
    let mut sizes: Vec<usize> = Vec::new();
    let groups_seen = seen.groups(question.prover);
    if let Some(groups) = groups_seen {
        let homes: Vec<Option<usize>> =
            (0..seen.cores.len()).map(|core| seen.group_of(core, question.prover)).collect();
        sizes = (0..groups.len()).map(|group| homes.iter().filter(|home| **home == Some(group)).count()).collect();
        sizes.retain(|size| *size > 0);
        if stock && homes.contains(&None) {
            return false;
        }
    }
    let equal = sizes.iter().all(|size| *size == sizes[0]);
    let groups = groups_seen.map_or(1, Vec::len);
    let due = groups * (seen.cores.len() / groups / (question.producers + 1));
    let complete = !stock || (equal && units.len() == due);
    complete
        && !units.is_empty()
        && units.iter().all(|(cpus, unbound)| *unbound == 0 && spread(cpus, groups_seen) == 1)
        && units.iter().all(|(cpus, _)| spread(cpus, Some(&seen.l3s)) == 1 || !seen.cores_share_l3s())
        && question.concurrent.is_none_or(|tasks| tasks <= units.len())
}

#[test]
fn verdicts_agree_with_the_provers_played_through() {
    let (mut good, mut panics, mut none, mut straddling) = (0, 0, 0, 0);
    let (mut by_l2, mut good_by_l2, mut coreless) = (0, 0, 0);
    for seed in 0..RUNS {
        let case = case(seed);
        let machine = case.shape.machine();
        let set: CpuList = case.cpuset.iter().copied().collect();
        let seen = look(&case.shape, &case.cpuset);
        let told = format!("seed {seed}: replay with case({seed}): {set} {:?} on {:?}", case.question, case.shape);
        let found = pc1_units(&machine, &set, case.question.prover, case.question.producers);
        assert_eq!(found.cores, seen.cores.len(), "{told}");
        let verdict = judge_alone(&machine, &set, &case.question);
        if seen.cores.is_empty() {
            assert_eq!((found.outcome, verdict.good), (Outcome::NoCores, false), "{told}");
            continue;
        }
        let prover = case.question.prover;
        assert_eq!(found.groups.len() + found.coreless, seen.groups(prover).map_or(1, Vec::len), "{told}");
        coreless += usize::from(found.coreless > 0);
        by_l2 += usize::from(found.level == GroupKind::L2);
        good_by_l2 += usize::from(found.level == GroupKind::L2 && verdict.good);
        match played(&seen, &case.question) {
            None => {
                panics += 1;
                assert_eq!(found.outcome, Outcome::Panics, "{told}");
            }
            Some(units) => {
                let ours: Vec<Played> = found.units().iter().map(|unit| (unit.cpus.clone(), unit.unbound)).collect();
                assert_eq!(ours, units, "{told}");
                for (unit, (cpus, _)) in found.units().iter().zip(&units) {
                    assert_eq!(unit.groups, spread(cpus, seen.groups(prover)), "{told}");
                    assert_eq!(unit.l3_caches, spread(cpus, Some(&seen.l3s)), "{told}");
                    straddling += usize::from(unit.groups > 1);
                }
                none += usize::from(units.is_empty());
                let tasks = case.question.concurrent.unwrap_or(0);
                assert_eq!(found.floating(tasks), tasks.saturating_sub(units.len()), "{told}");
            }
        }
        assert_eq!(verdict.good, is_good(&case, &seen), "{told}: {verdict:#?}");
        good += usize::from(verdict.good);
    }
    // The generator must reach every kind of verdict, or agreement says little.
    let told = format!("{good} {panics} {none} {straddling} {by_l2} {good_by_l2}");
    assert!(good > 1_000 && panics > 1_000 && none > 1_000 && straddling > 200, "{told}");
    assert!(by_l2 > 1_000 && good_by_l2 > 10 && coreless > 100, "{told} {coreless}");
}

#[test]
fn whatever_is_suggested_is_good() {
    let (mut near, mut listed, mut across, mut traded) = (0, 0, 0, 0);
    for seed in 0..RUNS / 10 {
        let case = case(seed);
        let machine = case.shape.machine();
        let set: CpuList = case.cpuset.iter().copied().collect();
        let check = |found: &damocles_worker::hwinfo::cpuset::Suggestion, concurrent| {
            let question = Question { producers: found.producers.unwrap(), concurrent, ..case.question };
            let told = format!("seed {seed}: {found:?} for {question:?} on {:?}", case.shape);
            let verdict = judge_alone(&machine, &found.cpuset, &question);
            assert!(verdict.good, "{told}: {verdict:#?}");
            // By the second opinion too.
            let cpuset: Vec<u32> = found.cpuset.iter().collect();
            let seen = look(&case.shape, &cpuset);
            let again = Case { shape: Shape::random(&mut rng(seed)), cpuset, question };
            assert!(is_good(&again, &seen), "{told}");
            assert_eq!(found.units, Some(played(&seen, &question).unwrap().len()), "{told}");
        };
        let nearest = judge(&machine, &set, &case.question).nearest;
        for found in nearest.iter() {
            near += 1;
            check(found, case.question.concurrent);
        }
        let touched = |cpus: &CpuList| machine.cores().iter().filter(|core| !core.cpus.and(cpus).is_empty()).count();
        let cores = |cpus: &CpuList| touched(cpus) + cpus.minus(&machine.cpus()).len();
        assert!(nearest.smaller.iter().all(|found| found.cores < cores(&set)), "seed {seed}");
        assert!(nearest.larger.iter().all(|found| found.cores > cores(&set)), "seed {seed}");
        let sets = suggest(&machine, 3, &case.question);
        for found in &sets {
            listed += 1;
            check(found, Some(3));
            assert!(!found.reason.is_empty(), "seed {seed}");
        }
        // Never a set across nodes before one within a node, and within nodes the fewest cores first.
        let within = sets.iter().take_while(|set| set.nodes.len() == 1).count();
        assert!(sets[within..].iter().all(|set| set.nodes.len() > 1), "seed {seed}: {sets:?}");
        assert!(sets[..within].is_sorted_by_key(|set| set.cores), "seed {seed}: {sets:?}");
        across += usize::from(within == 0 && !sets.is_empty());
        traded += usize::from(within > 0 && within < sets.len());
    }
    assert!(near > 500 && listed > 500 && across > 5 && traded > 5, "{near} {listed} {across} {traded}");
}
