//! The smallest change that makes a machine seal at all, found by trying: a flag, then hardware, then another prover.
//!
//! Each kind of change is tried alone, then memory with the others; how much of it is needed is found by bisection on
//! the very same question, so what is told has been planned with and worked.

use super::Request;
use crate::{
    machine::{Core, DiskKind, Machine, Part, PartKind},
    units::{Bytes, CpuList, Prover},
};
use serde::Serialize;
use std::fmt;

/// What to change. All of it together is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Fewer PC1 tasks than were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pc1: Option<u32>,
    /// Without the way to use GPUs that was asked for.
    pub without_layout: bool,
    /// Another prover, which binds PC1 on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prover: Option<Prover>,
    /// More memory, spread over the nodes as what they have is.
    pub memory: Bytes,
    /// More cores, in whole L3 groups like the largest that is there.
    pub cores: u32,
    /// A sealing disk of at least this size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Bytes>,
}

/// Where a search for what is missing ends: no machine of the field has more.
const MEMORY_MOST: Bytes = Bytes::tib(64);
const GROUPS_MOST: u32 = 64;
const DISK_MOST: Bytes = Bytes::tib(64);

/// The kinds of hardware that may be missing together, the fewest first: memory, cores, a disk.
const TOGETHER: [[bool; 3]; 7] = [
    [true, false, false],
    [false, false, true],
    [false, true, false],
    [true, false, true],
    [true, true, false],
    [false, true, true],
    [true, true, true],
];

/// What is missing for a single PC1 task (or for those that were asked for), where `fits` tells whether a machine and a
/// request do; none where nothing of all this helps.
pub(super) fn smallest(
    machine: &Machine,
    request: &Request,
    fits: &dyn Fn(&Machine, &Request) -> bool,
) -> Option<Change> {
    let search = Search { machine, request, fits, group: largest_group(&machine.topology) };
    let provers = Prover::ALL.into_iter().filter(|prover| *prover != request.choices.prover);
    search
        .flags()
        .or_else(|| search.hardware(&Change::default()))
        .or_else(|| provers.clone().map(with_prover).find(|change| search.fits(change)))
        .or_else(|| provers.clone().find_map(|prover| search.hardware(&with_prover(prover))))
}

fn with_prover(prover: Prover) -> Change {
    Change { prover: Some(prover), ..Change::default() }
}

struct Search<'s> {
    machine: &'s Machine,
    request: &'s Request,
    fits: &'s dyn Fn(&Machine, &Request) -> bool,
    /// Cores of the largest L3 group.
    group: u32,
}

impl Search<'_> {
    fn fits(&self, change: &Change) -> bool {
        (self.fits)(&change.applied_to(self.machine), &change.applied_to_request(self.request))
    }

    fn flags(&self) -> Option<Change> {
        let choices = &self.request.choices;
        let cores = self.machine.usable_cores().len() as u32;
        let fewer = choices.pc1.map(|told| (1..told.min(cores.saturating_add(1))).rev()).into_iter().flatten();
        let mut fewer = fewer.map(|pc1| Change { pc1: Some(pc1), ..Change::default() });
        let layout = Change { without_layout: choices.layout.is_some(), ..Change::default() };
        fewer
            .find(|change| self.fits(change))
            .or_else(|| Some(layout).filter(|one| one.without_layout && self.fits(one)))
    }

    fn hardware(&self, base: &Change) -> Option<Change> {
        let of = |[memory, cores, disk]: [bool; 3]| Change {
            memory: if memory { MEMORY_MOST } else { Bytes(0) },
            cores: if cores { GROUPS_MOST * self.group } else { 0 },
            disk: disk.then_some(DISK_MOST),
            ..base.clone()
        };
        let enough = TOGETHER.into_iter().map(of).find(|change| self.fits(change))?;
        Some(self.shrunk(enough))
    }

    /// No more of anything than is needed, cores first: each wants memory too.
    fn shrunk(&self, mut change: Change) -> Change {
        if change.cores > 0 {
            let fits = |groups: u64| self.fits(&Change { cores: groups as u32 * self.group, ..change.clone() });
            change.cores = least(u64::from(GROUPS_MOST), &fits) as u32 * self.group;
        }
        let gib = Bytes::gib(1).0;
        if change.memory > Bytes(0) {
            let fits = |memory: u64| self.fits(&Change { memory: Bytes(memory * gib), ..change.clone() });
            change.memory = Bytes(least(MEMORY_MOST.0 / gib, &fits) * gib);
        }
        if change.disk.is_some() {
            let fits = |size: u64| self.fits(&Change { disk: Some(Bytes(size * gib)), ..change.clone() });
            change.disk = Some(Bytes(least(DISK_MOST.0 / gib, &fits) * gib));
        }
        change
    }
}

/// The least number that fits, where `most` does and more always fits better.
fn least(most: u64, fits: &dyn Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, most);
    while low + 1 < high {
        let middle = low.midpoint(high);
        if fits(middle) { high = middle } else { low = middle }
    }
    high
}

fn largest_group(topology: &Part) -> u32 {
    let groups = topology.walk().into_iter().filter(|part| part.kind == PartKind::L3);
    groups.map(|group| group.cores.len() as u32).max().unwrap_or(1).max(1)
}

impl Change {
    /// The machine with it.
    pub fn applied_to(&self, machine: &Machine) -> Machine {
        let mut machine = machine.clone();
        if self.memory > Bytes(0) {
            let whole = machine.memory_bytes();
            let nodes = machine.nodes().iter().filter(|node| !node.is_memory_only()).count() as u64;
            add_memory(&mut machine.topology, self.memory, whole, nodes.max(1));
        }
        let size = largest_group(&machine.topology);
        for _ in 0..self.cores / size {
            add_group(&mut machine);
        }
        if let Some(size) = self.disk {
            widen_disk(&mut machine, size);
        }
        machine
    }

    /// The request with it.
    pub fn applied_to_request(&self, request: &Request) -> Request {
        let mut request = request.clone();
        let choices = &mut request.choices;
        choices.pc1 = self.pc1.or(choices.pc1);
        choices.layout = choices.layout.filter(|_| !self.without_layout);
        choices.prover = self.prover.unwrap_or(choices.prover);
        request
    }
}

/// To each node with CPUs its part of what is added: as it has its part of what there is. What was added below.
fn add_memory(part: &mut Part, more: Bytes, whole: Bytes, nodes: u64) -> u64 {
    let mut added = 0;
    for node in part.nodes.iter_mut().filter(|node| !node.is_memory_only()) {
        let share = match whole.0 {
            0 => more.0 / nodes,
            whole => (u128::from(more.0) * u128::from(node.memory_bytes.0) / u128::from(whole)) as u64,
        };
        node.memory_bytes.0 += share;
        added += share;
    }
    for inner in &mut part.parts {
        added += add_memory(inner, more, whole, nodes);
    }
    part.memory_bytes.0 += added;
    added
}

/// One more L3 group like the largest, beside it, with CPUs that nobody had.
fn add_group(machine: &mut Machine) {
    let mut next = machine.cpus().or(&machine.offline_cpus).iter().max().map_or(0, |last| last + 1);
    let size = largest_group(&machine.topology) as usize;
    let mut added = CpuList::default();
    let Some(neighbour) = insert_group(&mut machine.topology, size, &mut next, &mut added) else { return };
    extend_node(&mut machine.topology, neighbour, &added);
    machine.allowed_cpus = machine.allowed_cpus.or(&added);
}

/// The first CPU of the group that was copied.
fn insert_group(part: &mut Part, size: usize, next: &mut u32, added: &mut CpuList) -> Option<u32> {
    let is_model = |inner: &Part| inner.kind == PartKind::L3 && inner.cores.len() == size;
    if let Some(model) = part.parts.iter().find(|inner| is_model(inner)) {
        let first = model.cpus().iter().next()?;
        let mut group = Part { nodes: Vec::new(), memory_bytes: Bytes(0), os_index: None, ..model.clone() };
        for core in &mut group.cores {
            let cpus: CpuList = (*next..*next + core.cpus.len() as u32).collect();
            *next += core.cpus.len() as u32;
            *added = added.or(&cpus);
            *core = Core { os_index: None, cpus };
        }
        part.parts.push(group);
        return Some(first);
    }
    part.parts.iter_mut().find_map(|inner| insert_group(inner, size, next, added))
}

fn extend_node(part: &mut Part, neighbour: u32, added: &CpuList) {
    for node in part.nodes.iter_mut().filter(|node| node.cpus.contains(neighbour)) {
        node.cpus = node.cpus.or(added);
    }
    part.parts.iter_mut().for_each(|inner| extend_node(inner, neighbour, added));
}

/// The first fast disk with a file system, as large as this.
fn widen_disk(machine: &mut Machine, size: Bytes) {
    let fast = |kind: DiskKind| matches!(kind, DiskKind::Nvme | DiskKind::Ssd);
    let disks = machine.disks.iter_mut().flatten().filter(|disk| fast(disk.kind));
    for disk in disks {
        disk.size_bytes = disk.size_bytes.map(|has| has.max(size));
        for mount in disk.mounts.iter_mut().flatten() {
            mount.total_bytes = mount.total_bytes.map(|has| has.max(size));
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.prover.map(|prover| format!("--prover {prover}")));
        parts.extend(self.pc1.map(|pc1| format!("--pc1 {pc1}")));
        parts.extend(self.without_layout.then(|| "leaving out --layout".to_owned()));
        parts.extend((self.memory > Bytes(0)).then(|| format!("{} more of memory", self.memory.human())));
        parts.extend((self.cores > 0).then(|| format!("{} more cores", self.cores)));
        parts.extend(self.disk.map(|size| format!("a sealing disk of {}", size.human())));
        write!(f, "{} would do", parts.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::catalogue;

    #[test]
    fn a_changed_machine_is_still_a_machine() {
        for line in ["2x epyc-7642 2TiB 2x nvme-480GB", "1x epyc-7f32 64GiB smt", "1x xeon-gold-6330 128GiB"] {
            let machine = catalogue::machine(line).unwrap();
            let group = largest_group(&machine.topology);
            let change =
                Change { memory: Bytes::gib(100), cores: 2 * group, disk: Some(Bytes::tib(3)), ..Change::default() };
            let found = change.applied_to(&machine);
            assert_eq!(found.check(), [], "{line}");
            assert_eq!(found.cores().len(), machine.cores().len() + 2 * group as usize);
            let more = found.memory_bytes().0 - machine.memory_bytes().0;
            assert!(more <= Bytes::gib(100).0 && more + 4 > Bytes::gib(100).0, "{more}");
            assert!(found.disks.iter().flatten().all(|disk| disk.size_bytes == Some(Bytes::tib(3))));
        }
    }

    #[test]
    fn the_least_is_found() {
        assert_eq!(least(64, &|n| n >= 17), 17);
        assert_eq!((least(64, &|_| true), least(64, &|n| n >= 64)), (1, 64));
    }

    #[test]
    fn a_change_is_told_in_one_line() {
        let all =
            Change { pc1: Some(3), memory: Bytes::gib(5), cores: 2, disk: Some(Bytes::tib(1)), ..Change::default() };
        assert_eq!(
            all.to_string(),
            "--pc1 3 and 5 GiB more of memory and 2 more cores and a sealing disk of 1 TiB would do"
        );
        let flag = Change { without_layout: true, ..Change::default() };
        assert_eq!(flag.to_string(), "leaving out --layout would do");
    }
}
