//! Machines to draw: the one that the field's documents print, and random ones.

use damocles_worker::{
    machine::{Core, Machine, NumaNode, Part, PartKind, VERSION},
    units::{Bytes, CpuList, NodeId},
};
use proptest::prelude::*;

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
    (any_part(), ".{0,30}", 1u32..5, any::<u64>(), 0u32..70).prop_map(
        |(mut topology, hostname, stride, mask, offline)| {
            topology.kind = PartKind::Machine;
            let mut numbers = Numbers { cpu: 0, node: 0, stride };
            numbers.give(&mut topology);
            let cpus = topology.cpus();
            let allowed_cpus: CpuList = cpus.iter().filter(|cpu| mask >> (cpu % 64) & 1 == 1).collect();
            let offline_cpus = (numbers.cpu..numbers.cpu + offline).collect();
            Machine { version: VERSION, hostname, allowed_cpus, offline_cpus, topology }
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
    NumaNode { os_index: NodeId(0), memory_bytes: Bytes(bytes), cpus, subtype: has_cpus.then(|| "DRAM".to_owned()) }
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
