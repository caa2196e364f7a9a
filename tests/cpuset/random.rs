//! Machines nobody would build, by seed.

use damocles_worker::{
    machine::{Core, Machine, NumaNode, Part, PartKind, VERSION},
    units::{Bytes, CpuList},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

/// A machine as plain lists, from which both the contract and the brute-force check are made.
#[derive(Debug)]
pub struct Shape {
    pub packages: Vec<Vec<Die>>,
    /// The cores of each L2 cache; none where the machine tells of no L2 or every core has its own.
    pub l2s: Vec<Vec<Vec<u32>>>,
    /// A NUMA node at each L3; where a package has none, and otherwise, one at each package.
    pub memory_on_l3s: bool,
    pub offline: Vec<u32>,
    pub forbidden: Vec<u32>,
}

/// `l3s` are lists of cores, `bare` cores without an L3; a core is the list of its CPUs.
#[derive(Debug)]
pub struct Die {
    pub l3s: Vec<Vec<Vec<u32>>>,
    pub bare: Vec<Vec<u32>>,
    pub shown: bool,
}

pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

impl Shape {
    pub fn random(rng: &mut StdRng) -> Self {
        let regular = rng.gen_bool(0.7);
        let dies_shown = rng.gen_bool(0.2);
        let packages = rng.gen_range(1..=2);
        let (l3s, cores) = (rng.gen_range(1..=6), rng.gen_range(1..=8));
        let smt = if rng.gen_bool(0.4) { 2 } else { 1 };
        let counts: Vec<Vec<(Vec<usize>, usize)>> = (0..packages)
            .map(|_| {
                (0..if dies_shown { 2 } else { 1 })
                    .map(|_| match regular {
                        true => (vec![cores; l3s], 0),
                        false => {
                            let l3s = rng.gen_range(0..=4);
                            let bare = if l3s == 0 || rng.gen_bool(0.2) { rng.gen_range(1..=3) } else { 0 };
                            ((0..l3s).map(|_| rng.gen_range(1..=6)).collect(), bare)
                        }
                    })
                    .collect()
            })
            .collect();
        let all: usize = counts.iter().flatten().map(|(l3s, bare)| l3s.iter().sum::<usize>() + bare).sum();
        let mut cores = numbers(rng, all, smt).into_iter();
        let mut take = |many: usize| cores.by_ref().take(many).collect::<Vec<_>>();
        let mut packages: Vec<Vec<Die>> = Vec::new();
        for dies in counts {
            let die = |(l3s, bare): (Vec<usize>, usize)| Die {
                l3s: l3s.into_iter().map(&mut take).collect(),
                bare: take(bare),
                shown: dies_shown,
            };
            packages.push(dies.into_iter().map(die).collect());
        }
        let l2s = if rng.gen_bool(0.4) { l2s(rng, &packages) } else { Vec::new() };
        let mut shape =
            Self { packages, l2s, memory_on_l3s: rng.gen_bool(0.25), offline: Vec::new(), forbidden: Vec::new() };
        let top = shape.cpus().iter().max().copied().unwrap();
        if rng.gen_bool(0.2) {
            shape.offline = vec![top + 1, top + 2];
        }
        if rng.gen_bool(0.2) {
            let keep = shape.cpus()[0];
            shape.forbidden = shape.cpus().into_iter().filter(|cpu| *cpu != keep && rng.gen_bool(0.2)).collect();
        }
        shape
    }

    /// The cores, each as its CPUs.
    fn cores(&self) -> impl Iterator<Item = &Vec<u32>> {
        self.packages.iter().flatten().flat_map(|die| die.l3s.iter().flatten().chain(&die.bare))
    }

    /// All CPUs that are switched on.
    pub fn cpus(&self) -> Vec<u32> {
        self.packages
            .iter()
            .flatten()
            .flat_map(|die| die.l3s.iter().flatten().chain(&die.bare).flatten().copied())
            .collect()
    }

    pub fn machine(&self) -> Machine {
        let (mut packages, mut next_node) = (Vec::new(), 0);
        for (i, dies) in self.packages.iter().enumerate() {
            let mut package = part(PartKind::Package, Some(i as u32));
            for die in dies {
                let mut inside = part(PartKind::Die, None);
                inside.cores = die.bare.iter().map(|cpus| core(cpus)).collect();
                inside.parts = die
                    .l3s
                    .iter()
                    .map(|cores| Part {
                        cores: cores.iter().map(|cpus| core(cpus)).collect(),
                        ..part(PartKind::L3, None)
                    })
                    .collect();
                if die.shown {
                    package.parts.push(inside);
                } else {
                    package.cores.extend(inside.cores);
                    package.parts.extend(inside.parts);
                }
            }
            if !self.memory_on_l3s || feed_l3s(&mut package, &mut next_node) == 0 {
                let cpus = package.cpus();
                package.nodes = vec![node(next_node, &cpus)];
                package.memory_bytes = Bytes(1);
                next_node += 1;
            }
            packages.push(package);
        }
        let memory_bytes = Bytes(packages.iter().map(|package| package.memory_bytes.0).sum());
        let topology = Part { parts: packages, memory_bytes, ..part(PartKind::Machine, None) };
        let forbidden: CpuList = self.forbidden.iter().copied().collect();
        let machine = Machine {
            allowed_cpus: topology.cpus().minus(&forbidden),
            offline_cpus: self.offline.iter().copied().collect(),
            l2_caches: Some(self.l2s.len() as u32).filter(|caches| *caches > 0),
            l2_groups: Some(self.l2s.iter().map(|cores| cores.iter().flatten().copied().collect()).collect())
                .filter(|_| (1..self.cores().count()).contains(&self.l2s.len())),
            topology,
            ..empty()
        };
        assert_eq!(machine.check(), []);
        machine
    }

    /// A set that means something here: a range, whole L3 caches, one CPU per core, or anything.
    pub fn cpuset(&self, rng: &mut StdRng) -> Vec<u32> {
        let mut all = self.cpus();
        all.sort_unstable();
        let top = all.len() as u32;
        let set: Vec<u32> = match rng.gen_range(0..if self.l2s.is_empty() { 5 } else { 6 }) {
            5 => {
                let first = rng.gen_range(0..self.l2s.len());
                let many = rng.gen_range(1..=self.l2s.len() - first);
                self.l2s[first..first + many].iter().flatten().flatten().copied().collect()
            }
            0 => {
                let first = rng.gen_range(0..top);
                (first..rng.gen_range(first + 1..top + 2)).collect()
            }
            1 => (0..rng.gen_range(1..=top)).collect(),
            2 => {
                let l3s: Vec<_> = self.packages.iter().flatten().flat_map(|die| die.l3s.clone()).collect();
                l3s.into_iter().filter(|_| rng.gen_bool(0.5)).flatten().flatten().collect()
            }
            3 => self.cores().map(|cpus| cpus[0]).filter(|_| rng.gen_bool(0.9)).collect(),
            _ => all.iter().copied().filter(|_| rng.gen_bool(0.6)).collect(),
        };
        if set.is_empty() { all } else { set }
    }
}

/// L2 caches of neighbouring cores within an L3, or of cores without one: clusters of two or four, single cores beside
/// clusters as processors of two kinds of cores have them, anything; sometimes some cores have none.
fn l2s(rng: &mut StdRng, packages: &[Vec<Die>]) -> Vec<Vec<Vec<u32>>> {
    // Clusters that fill the L3 caches are what is built.
    let cores = packages.iter().flatten().flat_map(|die| &die.l3s).map(Vec::len).next().unwrap_or(1);
    let filling: Vec<usize> = (2..cores).filter(|cluster| cores.is_multiple_of(*cluster)).collect();
    let cluster = match filling.choose(rng) {
        Some(cluster) if rng.gen_bool(0.7) => *cluster,
        _ => rng.gen_range(2..=4),
    };
    let kind = rng.gen_range(0..4);
    let lacking = rng.gen_bool(0.1);
    let mut l2s = Vec::new();
    for die in packages.iter().flatten() {
        for cores in die.l3s.iter().chain(std::iter::once(&die.bare)) {
            // The first cores are the large ones here.
            let mut left = cores.as_slice();
            let mut large = if kind == 1 { rng.gen_range(0..=cores.len()) } else { 0 };
            while !left.is_empty() {
                let size = match kind {
                    2 => rng.gen_range(1..=4),
                    _ if large > 0 => 1,
                    _ => cluster,
                };
                large = large.saturating_sub(1);
                let (l2, rest) = left.split_at(size.min(left.len()));
                if !lacking || rng.gen_bool(0.7) {
                    l2s.push(l2.to_vec());
                }
                left = rest;
            }
        }
    }
    l2s
}

/// The CPUs of each core, numbered in one of the ways that kernels number them, or in none.
fn numbers(rng: &mut StdRng, cores: usize, smt: usize) -> Vec<Vec<u32>> {
    let at = |core: usize, thread: usize| match smt {
        1 => core,
        _ => core + thread * cores,
    };
    match rng.gen_range(0..5) {
        // Siblings far apart.
        0 | 1 => (0..cores).map(|core| (0..smt).map(|thread| at(core, thread) as u32).collect()).collect(),
        // Siblings side by side.
        2 => (0..cores).map(|core| (0..smt).map(|thread| (core * smt + thread) as u32).collect()).collect(),
        // Even numbers first: two packages that take turns.
        3 => {
            let order = (0..cores).step_by(2).chain((1..cores).step_by(2));
            order.map(|core| (0..smt).map(|thread| at(core, thread) as u32).collect()).collect()
        }
        _ => {
            let mut all: Vec<u32> = (0..(cores * smt) as u32).collect();
            all.shuffle(rng);
            all.chunks(smt)
                .map(|cpus| {
                    let mut cpus = cpus.to_vec();
                    cpus.sort_unstable();
                    cpus
                })
                .collect()
        }
    }
}

fn part(kind: PartKind, os_index: Option<u32>) -> Part {
    Part {
        kind,
        os_index,
        model: None,
        memory_bytes: Bytes(0),
        size_bytes: None,
        nodes: Vec::new(),
        parts: Vec::new(),
        cores: Vec::new(),
    }
}

/// Gives each L3 in `part` a node of one byte; how many there are.
fn feed_l3s(part: &mut Part, next: &mut u32) -> u64 {
    if part.kind == PartKind::L3 {
        part.nodes = vec![node(*next, &part.cpus())];
        *next += 1;
    }
    let inner: u64 = part.parts.iter_mut().map(|part| feed_l3s(part, next)).sum();
    part.memory_bytes = Bytes(part.nodes.len() as u64 + inner);
    part.memory_bytes.0
}

fn core(cpus: &[u32]) -> Core {
    Core { os_index: None, cpus: cpus.iter().copied().collect() }
}

fn node(os_index: u32, cpus: &CpuList) -> NumaNode {
    let node = serde_json::json!({ "os_index": os_index, "memory_bytes": 1, "cpus": cpus });
    serde_json::from_value(node).unwrap()
}

/// A machine's other fields, whatever they come to be: read as a file would be.
fn empty() -> Machine {
    let text = r#"{"version": 0, "hostname": "random", "allowed_cpus": "", "topology": {"kind": "machine"}}"#;
    let mut machine: Machine = serde_json::from_str(text).unwrap();
    machine.version = VERSION;
    machine
}
