//! The guest's own /sys as sets of CPUs: what hwinfo must agree with, read without hwloc and without our code.

use crate::script::Files;
use std::collections::{BTreeMap, BTreeSet};

pub type Cpus = BTreeSet<u32>;

/// What the kernel says of the machine.
#[derive(Debug)]
pub struct Kernel {
    pub online: Cpus,
    pub offline: Cpus,
    /// The CPUs of each core, of each package, of each L3 with its bytes.
    pub cores: BTreeSet<Cpus>,
    pub packages: BTreeSet<Cpus>,
    pub l3: BTreeMap<Cpus, u64>,
    pub nodes: BTreeMap<u32, Node>,
    /// From each online node, to each.
    pub distances: Vec<Vec<u32>>,
    /// The CPUs and nodes that a cgroup leaves; `None` without one.
    pub allowed: Option<(Cpus, Cpus)>,
    pub has_smt: bool,
}

/// What the kernel says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub cpus: Cpus,
    pub bytes: u64,
    pub free_bytes: u64,
    /// By the page's bytes: pages, free ones, surplus ones.
    pub pools: BTreeMap<u64, [u64; 3]>,
}

/// The files that all of this is read from.
pub const FILES: &[&str] = &[
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/offline",
    "/sys/devices/system/cpu/smt/active",
    "/sys/devices/system/cpu/cpu*/topology/*_list",
    "/sys/devices/system/cpu/cpu*/cache/index*/level",
    "/sys/devices/system/cpu/cpu*/cache/index*/size",
    "/sys/devices/system/cpu/cpu*/cache/index*/shared_cpu_list",
    "/sys/devices/system/node/online",
    "/sys/devices/system/node/node*/cpulist",
    "/sys/devices/system/node/node*/meminfo",
    "/sys/devices/system/node/node*/distance",
    "/sys/devices/system/node/node*/hugepages/hugepages-*/*_hugepages",
    "/sys/fs/cgroup/story/cpuset.*.effective",
];

const CPU: &str = "/sys/devices/system/cpu/";
const NODE: &str = "/sys/devices/system/node/";

impl Kernel {
    pub fn read(guest: &Files) -> Self {
        let lists = |ending: &'static str| {
            guest.below(CPU).filter(move |(path, _)| path.ends_with(ending)).map(|(_, text)| cpus(text)).collect()
        };
        Self {
            online: cpus(guest.get("/sys/devices/system/cpu/online")),
            offline: cpus(guest.get("/sys/devices/system/cpu/offline")),
            cores: lists("/topology/thread_siblings_list"),
            packages: lists("/topology/package_cpus_list"),
            l3: l3(guest),
            nodes: nodes(guest),
            distances: guest
                .below(NODE)
                .filter(|(path, _)| path.ends_with("/distance"))
                .map(|(_, row)| numbers(row))
                .collect(),
            allowed: allowed(guest),
            has_smt: guest.get("/sys/devices/system/cpu/smt/active").trim() == "1",
        }
    }
}

fn l3(guest: &Files) -> BTreeMap<Cpus, u64> {
    let levels = guest.below(CPU).filter(|(path, text)| path.ends_with("/level") && text.trim() == "3");
    levels
        .map(|(path, _)| {
            let folder = path.trim_end_matches("level");
            let size = guest.get(&format!("{folder}size")).trim().trim_end_matches('K').parse::<u64>().unwrap();
            (cpus(guest.get(&format!("{folder}shared_cpu_list"))), size * 1024)
        })
        .collect()
}

fn nodes(guest: &Files) -> BTreeMap<u32, Node> {
    cpus(guest.get("/sys/devices/system/node/online"))
        .into_iter()
        .map(|node| {
            let folder = format!("{NODE}node{node}/");
            let meminfo = guest.get(&format!("{folder}meminfo"));
            let (bytes, free_bytes) = (field(meminfo, "MemTotal:"), field(meminfo, "MemFree:"));
            let own = cpus(guest.get(&format!("{folder}cpulist")));
            (node, Node { cpus: own, bytes, free_bytes, pools: pools(guest, &format!("{folder}hugepages/")) })
        })
        .collect()
}

/// `Node 0 MemTotal:        1009876 kB`, in bytes.
fn field(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find(|line| line.contains(name)).unwrap();
    line.split_whitespace().rev().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn pools(guest: &Files, folder: &str) -> BTreeMap<u64, [u64; 3]> {
    let totals = guest.below(folder).filter_map(|(path, _)| path.strip_suffix("/nr_hugepages"));
    totals
        .map(|pool| {
            let kilobytes = pool.rsplit_once('-').unwrap().1.trim_end_matches("kB").parse::<u64>().unwrap();
            let count = |file: &str| guest.get(&format!("{pool}/{file}_hugepages")).trim().parse().unwrap();
            (kilobytes * 1024, [count("nr"), count("free"), count("surplus")])
        })
        .collect()
}

fn allowed(guest: &Files) -> Option<(Cpus, Cpus)> {
    let mut files = guest.below("/sys/fs/cgroup/story/cpuset.");
    let (own, nodes) = files.next().zip(files.next())?;
    assert!(own.0.ends_with("cpus.effective") && nodes.0.ends_with("mems.effective"), "{own:?} {nodes:?}");
    Some((cpus(own.1), cpus(nodes.1)))
}

fn numbers(row: &str) -> Vec<u32> {
    row.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// A kernel list: `0-3,8`, or nothing.
pub fn cpus(list: &str) -> Cpus {
    let ranges = list.trim().split(',').filter(|range| !range.is_empty());
    ranges
        .flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse::<u32>().unwrap()..=last.parse().unwrap()
        })
        .collect()
}
