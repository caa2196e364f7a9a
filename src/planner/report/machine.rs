//! The machine as boxes: nodes, their cache groups, and in them the cores, coloured by the stages that work there.

use super::words::{class, count};
use crate::{
    machine::{Core, Machine, NumaNode, Part, pc1_units::pc1_units},
    planner::{
        artefacts::{Host, MachineType, Place, Played},
        inventory::Inventory,
    },
    units::{Bytes, CpuList},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// The drawing.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Drawn {
    counts: String,
    nodes: Vec<NodeBox>,
    legend: Vec<Legend>,
}

#[derive(Clone, Debug, Serialize)]
struct NodeBox {
    title: String,
    note: String,
    groups: Vec<GroupBox>,
    devices: Vec<Device>,
}

/// The cores of one cache.
#[derive(Clone, Debug, Serialize)]
struct GroupBox {
    title: String,
    cores: Vec<CoreBox>,
}

#[derive(Clone, Debug, Serialize)]
struct CoreBox {
    number: String,
    /// Of the colour; two where two stages take turns.
    class: &'static str,
    second: Option<&'static str>,
    title: String,
}

#[derive(Clone, Debug, Serialize)]
struct Device {
    title: String,
    note: String,
    class: &'static str,
    second: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct Legend {
    class: &'static str,
    text: String,
}

/// What a CPU is for, in the order in which it was given.
#[derive(Default)]
struct Uses(BTreeMap<u32, Vec<(&'static str, String)>>);

impl Uses {
    fn add(&mut self, cpu: u32, class: &'static str, what: &str) {
        let of_cpu = self.0.entry(cpu).or_default();
        match of_cpu.iter_mut().find(|(known, _)| *known == class) {
            Some((_, words)) if !words.contains(what) => *words = format!("{words}, {what}"),
            Some(_) => {}
            None => of_cpu.push((class, what.to_owned())),
        }
    }
}

pub(super) fn drawn(one: &MachineType, host: &Host, played: Option<&Played>) -> Drawn {
    let machine = &host.machine;
    let places = Place::all(one, played);
    let uses = uses(host, &places);
    let inventory = Inventory::of(machine);
    let nodes: Vec<NodeBox> = machine
        .nodes()
        .into_iter()
        .filter(|node| !node.cpus.is_empty())
        .map(|node| NodeBox {
            title: format!("Node {}", node.os_index),
            note: node_note(machine, node),
            groups: groups(machine, node, &uses),
            devices: devices(&inventory, node, &places, host, played),
        })
        .collect();
    Drawn { counts: counts(&inventory), legend: legend(&nodes), nodes }
}

/// Which stages work on which CPU.
fn uses(host: &Host, places: &[Place]) -> Uses {
    let mut uses = Uses::default();
    let placement = host.plan.as_ref().and_then(|plan| plan.placement.as_ref());
    let producers = placement.map_or(0, |placement| placement.producers as usize);
    for place in places {
        let Some(cpus) = &place.cpus else { continue };
        match place.stage.as_str() {
            "pc1" => {
                let found = pc1_units(&host.machine, cpus, host.request.choices.prover, producers);
                for (task, unit) in found.units().iter().take(place.tasks as usize).enumerate() {
                    for (i, cpu) in unit.cpus.iter().enumerate() {
                        let does = if i == 0 { "hashes" } else { "reads ahead" };
                        let kind = if i == 0 { "pc1" } else { "pc1b" };
                        uses.add(*cpu, kind, &format!("{} task {} {does}", place.name, task + 1));
                    }
                }
            }
            "add_pieces" | "tree_d" => cpus.iter().for_each(|cpu| uses.add(cpu, "system", &place.stage)),
            stage => cpus.iter().for_each(|cpu| uses.add(cpu, class(stage), &place.name)),
        }
    }
    uses
}

fn node_note(machine: &Machine, node: &NumaNode) -> String {
    let mut facts = vec![node.memory_bytes.human()];
    let own = |part: &&&Part| !part.cpus().and(&node.cpus).is_empty() && part.model.is_some();
    let model = machine.parts().iter().find(own).and_then(|part| part.model.clone());
    facts.extend(model.or_else(|| machine.cpu_model().map(str::to_owned)));
    facts.push(format!("CPUs {}", node.cpus));
    facts.join(" · ")
}

fn groups(machine: &Machine, node: &NumaNode, uses: &Uses) -> Vec<GroupBox> {
    let of_node = |core: &&Core| core.cpus.iter().next().is_some_and(|cpu| node.cpus.contains(cpu));
    let mut boxes = Vec::new();
    let mut seen = CpuList::default();
    for group in machine.l3_groups_of(node) {
        let cores: Vec<&Core> = group.walk().into_iter().flat_map(|part| &part.cores).filter(of_node).collect();
        seen = seen.or(&group.cpus());
        let size = group
            .size_bytes
            .filter(|size| *size > Bytes(0))
            .map_or_else(String::new, |size| format!(" {}", size.human()));
        boxes.push(GroupBox {
            title: format!("L3{}{size}", group.os_index.map_or_else(String::new, |index| format!(" #{index}"))),
            cores: cores.into_iter().map(|core| core_box(machine, core, uses)).collect(),
        });
    }
    let rest: Vec<&Core> =
        machine.cores().into_iter().filter(of_node).filter(|core| core.cpus.and(&seen).is_empty()).collect();
    if !rest.is_empty() {
        let cores = rest.into_iter().map(|core| core_box(machine, core, uses)).collect();
        boxes.push(GroupBox { title: "no shared L3".to_owned(), cores });
    }
    boxes
}

fn core_box(machine: &Machine, core: &Core, uses: &Uses) -> CoreBox {
    let first = core.cpus.iter().next().unwrap_or(0);
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for (class, words) in core.cpus.iter().filter_map(|cpu| uses.0.get(&cpu)).flatten() {
        if !found.iter().any(|(known, _)| known == class) {
            found.push((class, words.clone()));
        }
    }
    let is_usable = !core.cpus.and(&machine.allowed_cpus).is_empty();
    let nothing = if is_usable { ("free", "left to the system") } else { ("forbidden", "may not be used") };
    let words: Vec<&str> = found.iter().map(|(_, words)| words.as_str()).collect();
    let words = if words.is_empty() { nothing.1.to_owned() } else { words.join("; ") };
    CoreBox {
        number: first.to_string(),
        class: found.first().map_or(nothing.0, |(class, _)| class),
        second: found.get(1).map(|(class, _)| *class),
        title: format!("CPU {}: {words}", core.cpus),
    }
}

/// GPUs and file systems for sealing that are near the node; those of no known node are shown with the first.
fn devices(
    inventory: &Inventory,
    node: &NumaNode,
    places: &[Place],
    host: &Host,
    played: Option<&Played>,
) -> Vec<Device> {
    let first = inventory.machine.nodes().iter().find(|one| !one.cpus.is_empty()).map(|one| one.os_index);
    let is_here = |at: Option<crate::units::NodeId>| at.or(first) == Some(node.os_index);
    let mut found = Vec::new();
    for (number, gpu) in inventory.gpus.iter().enumerate() {
        if !is_here(gpu.node.map(|place| inventory.nodes[place].id)) {
            continue;
        }
        let users: Vec<&Place> = places.iter().filter(|place| place.gpu == Some(number)).collect();
        let names: Vec<&str> = users.iter().map(|place| place.name.as_str()).collect();
        found.push(Device {
            title: format!("GPU {number} · {}", gpu.name),
            note: if names.is_empty() { "not used".to_owned() } else { names.join(", ") },
            class: users.first().map_or("free", |place| class(&place.stage)),
            second: users.get(1).map(|place| class(&place.stage)),
        });
    }
    let placement = host.plan.as_ref().and_then(|plan| plan.placement.as_ref());
    for folder in placement.iter().flat_map(|placement| &placement.folders).filter(|folder| is_here(folder.node)) {
        let threads = played.iter().flat_map(|played| &played.config.sealing_thread);
        let threads = threads.filter(|thread| thread.location.starts_with(&folder.path)).count() as u32;
        let room = folder.room.map_or_else(String::new, |room| format!(" on {}", room.human()));
        found.push(Device {
            title: folder.path.display().to_string(),
            note: format!("{}{room}", count(threads, "sealing thread")),
            class: "disk",
            second: None,
        });
    }
    found
}

fn counts(inventory: &Inventory) -> String {
    let mut facts = vec![count(inventory.cores, "core")];
    facts.push(inventory.memory.human());
    if !inventory.gpus.is_empty() {
        facts.push(count(inventory.gpus.len() as u32, "GPU"));
    }
    facts.join(" · ")
}

/// The colours that are in the drawing.
fn legend(nodes: &[NodeBox]) -> Vec<Legend> {
    const WORDS: [(&str, &str); 9] = [
        ("pc1", "PC1"),
        ("pc1b", "PC1, reads ahead"),
        ("pc2", "PC2"),
        ("c2", "C2"),
        ("system", "system, add_pieces, tree_d"),
        ("shared", "all stages share it"),
        ("transfer", "transfer"),
        ("free", "left to the system"),
        ("forbidden", "may not be used"),
    ];
    let cores = || nodes.iter().flat_map(|node| &node.groups).flat_map(|group| &group.cores);
    let number = |class: &str| {
        let used = |core: &&CoreBox| core.class == class || core.second == Some(class);
        cores().filter(used).count() as u32
    };
    WORDS
        .into_iter()
        .filter(|(class, _)| number(class) > 0)
        .map(|(class, text)| Legend { class, text: format!("{text}: {}", count(number(class), "core")) })
        .collect()
}
