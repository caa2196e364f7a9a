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
        let (l3s, cores) = (rng.gen_range(1..=6), rng.gen_range(1..=6));
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
        let mut shape = Self { packages, offline: Vec::new(), forbidden: Vec::new() };
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

    /// All CPUs that are switched on.
    pub fn cpus(&self) -> Vec<u32> {
        self.packages
            .iter()
            .flatten()
            .flat_map(|die| die.l3s.iter().flatten().chain(&die.bare).flatten().copied())
            .collect()
    }

    pub fn machine(&self) -> Machine {
        let mut packages = Vec::new();
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
            let cpus = package.cpus();
            package.nodes = vec![node(i as u32, &cpus)];
            package.memory_bytes = Bytes(1);
            packages.push(package);
        }
        let memory_bytes = Bytes(packages.len() as u64);
        let topology = Part { parts: packages, memory_bytes, ..part(PartKind::Machine, None) };
        let forbidden: CpuList = self.forbidden.iter().copied().collect();
        let machine = Machine {
            allowed_cpus: topology.cpus().minus(&forbidden),
            offline_cpus: self.offline.iter().copied().collect(),
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
        let set: Vec<u32> = match rng.gen_range(0..5) {
            0 => {
                let first = rng.gen_range(0..top);
                (first..rng.gen_range(first + 1..top + 2)).collect()
            }
            1 => (0..rng.gen_range(1..=top)).collect(),
            2 => {
                let l3s: Vec<_> = self.packages.iter().flatten().flat_map(|die| die.l3s.clone()).collect();
                l3s.into_iter().filter(|_| rng.gen_bool(0.5)).flatten().flatten().collect()
            }
            3 => {
                let dies = self.packages.iter().flatten();
                let cores = dies.flat_map(|die| die.l3s.iter().flatten().chain(&die.bare));
                cores.map(|cpus| cpus[0]).filter(|_| rng.gen_bool(0.9)).collect()
            }
            _ => all.iter().copied().filter(|_| rng.gen_bool(0.6)).collect(),
        };
        if set.is_empty() { all } else { set }
    }
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
