//! Machines to draw: the one that the field's documents print, and random ones.

use damocles_worker::{
    machine::{Core, Disk, Gpu, Machine, Nic, NumaNode, Part, PartKind, VERSION},
    units::{Bytes, CpuList, NodeId},
};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// 2 x 32 cores in 16 L3 groups, as a machine.json.
pub fn documented_machine() -> String {
    let package = |package: u64, bytes: u64| {
        let groups: Vec<_> = (package * 8..package * 8 + 8)
            .map(|l3| {
                let cores: Vec<_> =
                    (l3 * 4..l3 * 4 + 4).map(|cpu| serde_json::json!({ "cpus": cpu.to_string() })).collect();
                serde_json::json!({ "kind": "l3", "os_index": l3, "size_bytes": 16 << 20, "cores": cores })
            })
            .collect();
        serde_json::json!({
            "kind": "package", "os_index": package, "model": "*** *** *** 32-Core Processor", "memory_bytes": bytes,
            "nodes": [{ "os_index": package, "memory_bytes": bytes,
                        "cpus": format!("{}-{}", package * 32, package * 32 + 31) }],
            "parts": groups,
        })
    };
    let (first, second) = (270_119_186_432u64, 270_559_428_608u64);
    serde_json::json!({
        "version": 1, "hostname": "documented", "allowed_cpus": "0-63",
        "topology": { "kind": "machine", "memory_bytes": first + second,
                      "parts": [package(0, first), package(1, second)] },
    })
    .to_string()
}

/// Parts nested in any order, with any number of nodes and cores; some CPUs forbidden, some offline.
pub fn any_machine() -> impl Strategy<Value = Machine> {
    (any_part(), ".{0,30}", 1u32..5, any::<u64>(), 0u32..70, any_devices()).prop_map(
        |(mut topology, hostname, stride, mask, offline, devices)| {
            topology.kind = PartKind::Machine;
            let mut numbers = Numbers { cpu: 0, node: 0, stride };
            numbers.give(&mut topology);
            let cpus = topology.cpus();
            let allowed_cpus: CpuList = cpus.iter().filter(|cpu| mask >> (cpu % 64) & 1 == 1).collect();
            let offline_cpus = (numbers.cpu..numbers.cpu + offline).collect();
            let mut machine = without_devices();
            (machine.hostname, machine.allowed_cpus, machine.offline_cpus) = (hostname, allowed_cpus, offline_cpus);
            machine.topology = topology;
            (machine.gpus, machine.disks, machine.nics) = devices;
            machine
        },
    )
}

fn any_part() -> impl Strategy<Value = Part> {
    let leaf = one_part(Just(Vec::new()));
    leaf.prop_recursive(4, 60, 6, |inner| one_part(proptest::collection::vec(inner, 0..6)))
}

fn one_part(parts: impl Strategy<Value = Vec<Part>>) -> impl Strategy<Value = Part> {
    let kinds = [PartKind::Package, PartKind::Die, PartKind::Group, PartKind::L5, PartKind::L4, PartKind::L3];
    let cores = proptest::collection::vec(1u32..9, 0..20);
    let nodes = proptest::collection::vec((any::<u64>(), any::<bool>()), 0..3);
    (
        proptest::sample::select(kinds.to_vec()),
        any::<Option<u32>>(),
        proptest::option::of(".{0,80}"),
        nodes,
        cores,
        parts,
    )
        .prop_map(|(kind, os_index, model, nodes, cores, parts)| Part {
            kind,
            os_index,
            model,
            memory_bytes: Bytes(0),
            size_bytes: os_index.map(|index| Bytes(u64::from(index))),
            nodes: nodes.into_iter().map(node).collect(),
            parts,
            // The numbers come later; until then each core holds as many CPUs as it will have.
            cores: cores.into_iter().map(|cpus| Core { os_index: None, cpus: (0..cpus).collect() }).collect(),
        })
}

fn node((bytes, has_cpus): (u64, bool)) -> NumaNode {
    let cpus = if has_cpus { (0..1).collect() } else { CpuList::default() };
    fact(json!({ "os_index": 0, "memory_bytes": bytes, "cpus": cpus, "subtype": has_cpus.then_some("DRAM") }))
}

/// A part of the contract from its data: what is not said is absent, whatever else the contract knows.
fn fact<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn without_devices() -> Machine {
    let topology = json!({ "kind": "machine" });
    fact(json!({ "version": VERSION, "hostname": "", "allowed_cpus": "", "topology": topology }))
}

type Devices = (Option<Vec<Gpu>>, Option<Vec<Disk>>, Option<Vec<Nic>>);

/// Devices near nodes that may be there, near none, and none at all.
fn any_devices() -> impl Strategy<Value = Devices> {
    let one = || (".{0,40}", proptest::option::of(0u32..4), any::<u64>(), 0usize..5);
    let some = || proptest::option::of(proptest::collection::vec(one(), 0..6));
    let gpu = |(name, node, bytes, _)| fact(json!({ "name": name, "node": node, "memory_bytes": bytes }));
    let disk = |(name, node, bytes, kind): (String, Option<u32>, u64, usize)| {
        let kind = ["nvme", "ssd", "hdd", "unknown", "tape"][kind];
        fact(json!({ "name": "sda", "model": name, "node": node, "size_bytes": bytes, "kind": kind }))
    };
    let nic = |(name, node, speed, _)| fact(json!({ "name": name, "node": node, "speed_mbits": speed }));
    (some(), some(), some()).prop_map(move |(gpus, disks, nics)| {
        (
            gpus.map(|gpus| gpus.into_iter().map(gpu).collect()),
            disks.map(|disks| disks.into_iter().map(disk).collect()),
            nics.map(|nics| nics.into_iter().map(nic).collect()),
        )
    })
}

/// The documented machine with two GPUs and two NVMe disks, one of them near no node that is known.
pub fn with_devices() -> Machine {
    let mut machine: Machine = fact(serde_json::from_str(&documented_machine()).unwrap());
    let gpu = |node: u32, address: &str| {
        fact(
            json!({ "name": "NVIDIA GeForce RTX 3090", "node": node, "memory_bytes": 24u64 << 30, "pci_address": address }),
        )
    };
    let disk = |name: &str, node: Option<u32>| {
        fact(json!({ "name": name, "model": "KIOXIA KCD61LUL7T68", "size_bytes": 7_681_501_126_656u64, "kind": "nvme",
                     "node": node, "mounts": [{ "path": format!("/mnt/{name}"), "filesystem": "xfs" }] }))
    };
    machine.gpus = Some(vec![gpu(0, "0000:21:00.0"), gpu(1, "0000:a1:00.0")]);
    machine.disks = Some(vec![disk("nvme0n1", Some(0)), disk("nvme1n1", None)]);
    machine.nics = Some(vec![fact(json!({ "name": "eth0", "speed_mbits": 100_000, "node": 1 }))]);
    machine
}

/// The next numbers to give out.
struct Numbers {
    cpu: u32,
    node: u32,
    stride: u32,
}

impl Numbers {
    fn give(&mut self, part: &mut Part) {
        for node in &mut part.nodes {
            node.os_index = NodeId(self.node);
            self.node += 1;
        }
        for core in &mut part.cores {
            let cpus = core.cpus.len() as u32;
            core.cpus = (0..cpus).map(|i| self.cpu + i * self.stride).collect();
            self.cpu += cpus * self.stride;
        }
        part.parts.iter_mut().for_each(|part| self.give(part));
    }
}
