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
    /// CPUs and bytes of each node.
    pub nodes: BTreeMap<u32, (Cpus, u64)>,
    pub has_smt: bool,
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

fn nodes(guest: &Files) -> BTreeMap<u32, (Cpus, u64)> {
    cpus(guest.get("/sys/devices/system/node/online"))
        .into_iter()
        .map(|node| {
            let own = cpus(guest.get(&format!("{NODE}node{node}/cpulist")));
            // `Node 0 MemTotal:        1009876 kB`
            let meminfo = guest.get(&format!("{NODE}node{node}/meminfo"));
            let total = meminfo.lines().find(|line| line.contains("MemTotal:")).unwrap();
            let kilobytes = total.split_whitespace().rev().nth(1).unwrap().parse::<u64>().unwrap();
            (node, (own, kilobytes * 1024))
        })
        .collect()
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
